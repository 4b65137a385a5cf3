"""The scheduler of Slurm keeps every promise, on a toy cluster with the face of Slurm."""

from pathlib import Path

import pytest

from xqute.schedulers.slurm import SlurmScheduler
from xqute.testing import SchedulerConformance, ToyCluster
from xqute.testing.toyslurm import Slurm


class Refusable(SlurmScheduler):
    """Asks for a partition that there is not, for some jobs."""

    bad = ()

    def own_directives(self, job):
        lines = super().own_directives(job)
        return [*lines, "--partition=nowhere"] if job.directory in self.bad else lines


class SlurmConformance(SchedulerConformance):
    supports = (
        "refusal",
        "outage",
        "kill_pending",
        "reattach",
        "count_commands",
        "batch_submit",
        "kill_escaped",
    )

    def refuse(self, scheduler, job):
        scheduler.bad = (*scheduler.bad, job.directory)
        script = Path(job.script(scheduler))
        if script.exists():  # it was written before
            script.write_text(script.read_text().replace("\n", "\n#SBATCH --partition=nowhere\n", 1))
        return "nvalid partition"

    def commands(self, scheduler):
        return sum(scheduler.commands.values())


class OnToySlurm(SlurmConformance):
    @pytest.fixture
    def cluster(self, tmp_path):
        with ToyCluster(
            tmp_path / "the cluster", face=Slurm, slots=8, grace=0.5, escaped=True
        ) as self.cluster:
            yield self.cluster

    def scheduler_of(self, cluster, **options):
        scheduler = Refusable(scheduler_rate=None, **cluster.options, **options)
        scheduler.poll_seconds = scheduler.grace_seconds = 0.3
        return scheduler

    @pytest.fixture
    def scheduler(self, cluster):
        return self.scheduler_of(cluster)

    def another(self, scheduler):
        return self.scheduler_of(self.cluster)

    def disconnect(self, scheduler):
        return self.cluster.fault("fail")

    def hold(self, scheduler):
        return self.cluster.hold()


class TestToySlurm(OnToySlurm):
    """Several jobs are an array."""


class TestToySlurmWithoutArraysBelowABanner(OnToySlurm):
    supports = tuple(name for name in SlurmConformance.supports if name != "batch_submit")

    @pytest.fixture
    def scheduler(self, cluster):
        cluster.fault("banner", "\nMaintenance on Monday: 12\n3 hours | 7")
        return self.scheduler_of(cluster, scheduler_array_limit=1)
