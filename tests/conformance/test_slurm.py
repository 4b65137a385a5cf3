"""The scheduler of Slurm keeps every promise, on a toy cluster with the face of Slurm."""

import pytest

from tests.conformance.slurms import Refusable, SlurmConformance
from xqute.testing import ToyCluster
from xqute.testing.toyslurm import Slurm


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
