"""Places where the jobs of a story run, so that one story can be told at several."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xqute.schedulers.local import LocalScheduler
from xqute.schedulers.slurm import SlurmScheduler
from xqute.testing import ToyCluster
from xqute.testing.toyslurm import Slurm

KINDS = {"local": LocalScheduler, "slurm": SlurmScheduler}


@dataclass(frozen=True)
class Place:
    """A scheduler by its name, and the toy cluster it runs at, if any."""

    name: str
    cluster: ToyCluster | None = None
    #: seconds between questions about silent jobs at a cluster, and for which their files may be late
    interval: float = 0.3
    late: float = 2.0

    def scheduler(self, *, kind: type[Any] | None = None, **options: Any) -> Any:
        """A scheduler of this place, for one `Xqute`; of a subclass of its kind, where a story has one."""
        kind = kind or KINDS[self.name]
        if self.name == "local":
            return kind(**options)
        commands = self.cluster.options if self.cluster is not None else {}
        scheduler = kind(scheduler_rate=None, **commands, **options)
        scheduler.poll_seconds, scheduler.grace_seconds = self.interval, self.late
        scheduler.refill_seconds = 0.0
        return scheduler


def toy_slurm(home: Path) -> ToyCluster:
    """A toy Slurm in this directory, to be entered."""
    return ToyCluster(home, face=Slurm, slots=8, grace=0.5, keep=60, escaped=True)
