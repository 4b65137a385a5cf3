"""The schedulers of Slurm and Grid Engine keep every promise, on toy clusters with their faces."""

import pytest

from tests.batches import SGE, SLURM
from tests.conformance.batches import BatchConformance, SgeConformance, SlurmConformance


class OnToy(BatchConformance):
    """Several jobs are an array."""

    @pytest.fixture
    def cluster(self, tmp_path):
        with self.batch.toy(tmp_path / "the cluster", grace=self.grace, keep=2) as self.cluster:
            yield self.cluster

    def scheduler_of(self, cluster, **options):
        scheduler = self.refusable(scheduler_rate=None, **cluster.options, **options)
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


class WithoutArraysBelowABanner(OnToy):
    supports = BatchConformance.without_arrays

    @pytest.fixture
    def scheduler(self, cluster):
        cluster.fault("banner", self.banner)
        return self.scheduler_of(cluster, scheduler_array_limit=1)


class TestToySlurm(OnToy, SlurmConformance):
    batch, grace = SLURM, 0.5


class TestToySlurmWithoutArraysBelowABanner(WithoutArraysBelowABanner, SlurmConformance):
    batch, grace = SLURM, 0.5
    banner = "\nMaintenance on Monday: 12\n3 hours | 7"


class TestToySge(OnToy, SgeConformance):
    batch, grace = SGE, 1


class TestToySgeWithoutArraysBelowABanner(WithoutArraysBelowABanner, SgeConformance):
    batch, grace = SGE, 1
    banner = "\n<Maintenance> on Monday: 12\n3 hours & 7"
