"""The options that programs such as `sbatch` have, to tell a misspelt one from one that is new; pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from ..errors import OptionError

#: How alike an unknown name and a known one are where the first is taken for the second, misspelt.
_ALIKE: Final = 0.8


class Natives(NamedTuple):
    """What a program takes.

    Attributes:
        program: Its name. page: Where they are documented.
        names: Its options, without what goes before them; those of plugins of a site are not among them.
    """

    program: str
    page: str
    names: frozenset[str]


#: Of Slurm 20.11 to 25.05. An option may be given by as much of its name as is like no other's.
_OF_SBATCH: Final = """
account acctg-freq array batch bb bbf begin chdir cluster cluster-constraint clusters comment
consolidate-segments constraint container container-id contiguous core-spec cores-per-socket cpu-freq
cpus-per-gpu cpus-per-task deadline delay-boot dependency error exclude exclusive export export-file
extra extra-node-info get-user-env gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket
gpus-per-task gres gres-flags help hint hold ignore-pbs immediate input job-name jobid
kill-on-invalid-dep licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus
minsockets mincores minthreads network nice no-kill no-requeue nodefile nodelist nodes ntasks
ntasks-per-core ntasks-per-gpu ntasks-per-node ntasks-per-socket ntasks-per-tres oom-kill-step open-mode
output overcommit oversubscribe parsable partition power prefer priority profile propagate qos quiet
reboot requeue reservation resv-ports segment share signal sockets-per-node spread-job spread-segments
stepmgr switches tasks-per-node test-only thread-spec threads-per-core time time-min tmp tres-bind
tres-per-task uid usage use-min-nodes verbose version wait wait-all-nodes wait-for-switch wckey workdir
wrap
"""
SBATCH: Final = Natives(
    "sbatch",
    "https://slurm.schedmd.com/sbatch.html",
    frozenset(_OF_SBATCH.split()),
)

#: Of Grid Engine 6.2 and its successors.
_OF_QSUB: Final = """
a ac adds A ar b binding c ckpt clear clearp clears cwd C dc display dl e h hard hold_jid hold_jid_ad i
inherit j jc js jsv l m M masterl masterq mods N notify now o ot P p par pe pty q r R rdi rou S sc shell
si soft sync t tc tcon terse umask v V verify w wd xd xdv xd_run_as_image_user
"""
QSUB: Final = Natives(
    "qsub",
    "`man qsub`",
    frozenset(_OF_QSUB.split()),
)


def refuse_misspelt(options: Mapping[str, Any], prefixes: Iterable[str], natives: Natives) -> None:
    """Raise for the first option that the program does not have, and that looks like one that it has.

    What looks like none may be of a plugin, or newer than this list: the program is the judge of it.

    Raises:
        OptionError: Names the nearest, and where they are documented.
    """
    for given in options:
        prefix = next((prefix for prefix in prefixes if given.startswith(prefix)), None)
        if prefix is not None and (near := _meant(given.removeprefix(prefix), natives.names)) is not None:
            meant = prefix + near.replace("-", "_")
            told = f"{natives.program} has no such option: did you mean {meant!r}? See {natives.page}"
            raise OptionError(f"{given!r}: {told}")


def _meant(name: str, known: Iterable[str]) -> str | None:
    """The option that a name looks like; None: it is one, or the beginning of one, or like none.

    >>> [_meant(name, SBATCH.names) for name in ("tme", "cpus_per_task", "part", "p", "x11")]
    ['time', None, None, None, None]
    """
    known = {option.replace("-", "_"): option for option in sorted(known)}
    name = name.replace("-", "_")
    if len(name) == 1 or any(option.startswith(name) for option in known):
        return None
    found = difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE)
    return known[found[0]] if found else None
