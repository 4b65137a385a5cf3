"""Resources by the names that are the same everywhere, as each batch scheduler has them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from math import ceil
from typing import Final, NamedTuple

from ..errors import OptionError


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


def lines(
    amounts: Mapping[str, float], table: Mapping[str, Portable], given: Collection[tuple[str, str | None]]
) -> Iterator[str]:
    """The directives for what a job takes, without their prefix; one cpu is what every job has.

    Args:
        amounts: By name; memory in bytes, time in seconds.
        table: The scheduler's.
        given: The scheduler's own options that the user gave: names, and their values.

    Raises:
        OptionError: One of those says the same; names both. Or the scheduler has no such resource.
    """
    native = {name for name, _ in given}
    native |= {
        f"{name} {part.partition('=')[0]}" for name, value in given for part in (value or "").split(",")
    }
    for name, amount in amounts.items():
        if name not in table:
            raise OptionError(
                f"resource {name!r} is not known to this scheduler: known are {', '.join(table)}"
            )
        twice = sorted(table[name].natives & native)
        if twice:
            raise OptionError(f"{name}={amount:g} and the scheduler's own {twice[0]!r} both say it: give one")
        if (name, amount) != ("cpus", 1):
            yield table[name].line(amount)
