"""The batch schedulers as toy clusters, for tests that hold at each of them."""

from pathlib import Path
from typing import NamedTuple

from xqute.schedulers.sge import SgeScheduler
from xqute.schedulers.slurm import SlurmScheduler
from xqute.testing import ToyCluster
from xqute.testing.toyface import Face
from xqute.testing.toysge import Sge
from xqute.testing.toyslurm import Slurm


class Batch(NamedTuple):
    """A batch scheduler, the toy that stands for it, and how its commands are called."""

    name: str
    scheduler: type[SlurmScheduler | SgeScheduler]
    face: type[Face]
    submit: str
    ask: str
    cancel: str
    #: A cancelled job is ended with those of its processes that left its group.
    escaped: bool

    def toy(self, home: Path, *, grace: float, keep: float = 60) -> ToyCluster:
        """A cluster with its face, on which eight jobs run at a time."""
        return ToyCluster(home, face=self.face, escaped=self.escaped, slots=8, grace=grace, keep=keep)


SLURM = Batch("slurm", SlurmScheduler, Slurm, "sbatch", "squeue", "scancel", escaped=True)
SGE = Batch("sge", SgeScheduler, Sge, "qsub", "qstat", "qdel", escaped=False)
