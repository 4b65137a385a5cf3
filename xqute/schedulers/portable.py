"""Resources by the names that are the same everywhere, as each batch scheduler has them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import ceil
from typing import Any, Final, NamedTuple

from ..errors import OptionError
from .batching import expand


class Portable(NamedTuple):
    """How a scheduler is asked for a resource.

    Attributes:
        line: Makes the directive, without its prefix, of an amount.
        natives: The scheduler's own options that say the same.
    """

    line: Callable[[float], str]
    natives: frozenset[str]


def _clock(seconds: float) -> str:
    whole = ceil(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _mebibytes(count: float) -> str:
    return f"{max(1, ceil(count / 2**20))}M"


#: `sbatch`: https://slurm.schedmd.com/sbatch.html
SLURM: Final[Mapping[str, Portable]] = {
    "cpus": Portable(lambda n: f"--cpus-per-task={ceil(n)}", frozenset(("cpus-per-task", "c"))),
    "mem": Portable(lambda n: f"--mem={_mebibytes(n)}", frozenset(("mem", "mem-per-cpu", "mem-per-gpu"))),
    "gpus": Portable(lambda n: f"--gres=gpu:{ceil(n)}", frozenset(("gres", "gpus", "G"))),
    "time": Portable(lambda n: f"--time={_clock(n)}", frozenset(("time", "t"))),
}

#: `qsub`: the parallel environment `smp` and the complex `gpu` are what most sites call them.
GRID_ENGINE: Final[Mapping[str, Portable]] = {
    "cpus": Portable(lambda n: f"-pe smp {ceil(n)}", frozenset(("pe",))),
    "mem": Portable(lambda n: f"-l h_vmem={_mebibytes(n)}", frozenset(("l h_vmem",))),
    "gpus": Portable(lambda n: f"-l gpu={ceil(n)}", frozenset(("l gpu",))),
    "time": Portable(lambda n: f"-l h_rt={_clock(n)}", frozenset(("l h_rt",))),
}


def natives_of(options: Mapping[str, Any], prefixes: tuple[str, ...]) -> Mapping[str, str]:
    """The scheduler's own options that a user gave: as `Portable.natives` names them, and as the user did.

    >>> natives_of({"sge_l": "gpu=1"}, ("sge_",))
    {'l': "sge_l='gpu=1'", 'l gpu': "sge_l='gpu=1'"}
    """
    found: dict[str, str] = {}
    for option, given in options.items():
        for name, value in expand({option: given}, prefixes):
            parts = ["", *(f" {part.partition('=')[0]}" for part in (value or "").split(",") if part)]
            found |= {f"{name.replace('_', '-')}{part}": f"{option}={given!r}" for part in parts}
    return found


def refuse(names: Iterable[str], table: Mapping[str, Portable], given: Mapping[str, str]) -> None:
    """Raise for the first resource that a scheduler has not, or that its own options say, too.

    Args:
        names: Of what a job takes.
        table: The scheduler's.
        given: As `natives_of` has them.

    Raises:
        OptionError: Names what is known, or both options.
    """
    for name in names:
        if name not in table:
            known = ", ".join(table) or "none"
            raise OptionError(f"resource {name!r} is not known to this scheduler: known are {known}")
        if twice := sorted(table[name].natives & given.keys()):
            raise OptionError(f"{name}= and {given[twice[0]]} both say it: give one")


def lines(
    amounts: Mapping[str, float], table: Mapping[str, Portable], given: Mapping[str, str]
) -> Iterator[str]:
    """The directives for what a job takes, without their prefix; one cpu is what every job has.

    Args:
        amounts: By name; memory in bytes, time in seconds.
        table: The scheduler's.
        given: As `natives_of` has them.

    Raises:
        OptionError: As `refuse` does.
    """
    refuse(amounts, table, given)
    for name, amount in amounts.items():
        if (name, amount) != ("cpus", 1):
            yield table[name].line(amount)
