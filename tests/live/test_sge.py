"""The scheduler of Grid Engine keeps every promise at a real Grid Engine."""

import os

import pytest

from tests.conformance.batches import SgeConformance
from tests.live.clusters import run

pytestmark = pytest.mark.live


class RealSge(SgeConformance):
    def scheduler_of(self, **options):
        scheduler = self.refusable(scheduler_rate=None, **options)
        scheduler.poll_seconds = scheduler.grace_seconds = 0.5
        return scheduler

    @pytest.fixture
    def scheduler(self, sge_clients):
        return self.scheduler_of()

    def another(self, scheduler):
        return self.scheduler_of()

    @pytest.fixture(autouse=True)
    def connection(self, monkeypatch, sge_clients):
        self.environment = monkeypatch
        yield
        run("qmod", "-e", "all.q")

    def disconnect(self, scheduler):
        port = os.environ["SGE_QMASTER_PORT"]
        self.environment.setenv("SGE_QMASTER_PORT", "1")
        return lambda: self.environment.setenv("SGE_QMASTER_PORT", port)

    def hold(self, scheduler):
        run("qmod", "-d", "all.q")
        return lambda: run("qmod", "-e", "all.q")


class TestRealSge(RealSge):
    """Several jobs are an array."""


class TestRealSgeWithoutArrays(RealSge):
    supports = SgeConformance.without_arrays
    test_many_jobs_are_submitted_by_few_commands = None  # what it can't do is no skipped live test

    @pytest.fixture
    def scheduler(self, sge_clients):
        return self.scheduler_of(scheduler_array_limit=1)
