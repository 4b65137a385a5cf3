"""The scheduler of Slurm keeps every promise at a real Slurm of four nodes."""

import pytest

from tests.conformance.batches import SlurmConformance
from tests.live.clusters import run

pytestmark = pytest.mark.live

UNREACHABLE = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"


class TestSlurm(SlurmConformance):
    @pytest.fixture(autouse=True)
    def use(self, slurm_clients, tmp_path):
        self.broken = tmp_path / "broken"
        self.broken.write_text(f"#!/bin/sh\necho '{UNREACHABLE}' >&2\nexit 1\n")
        self.broken.chmod(0o700)

    @pytest.fixture
    def scheduler(self):
        scheduler = self.refusable(scheduler_rate=None)
        scheduler.poll_seconds = scheduler.grace_seconds = 0.3
        return scheduler

    def another(self, scheduler):
        return self.refusable(scheduler_rate=None)

    def disconnect(self, scheduler):
        scheduler.config.update(dict.fromkeys(scheduler.programs, str(self.broken)))

        def mend():
            for program in scheduler.programs:
                scheduler.config.pop(program)

        return mend

    def hold(self, scheduler):
        return partition_down("main")


def partition_down(name):
    scontrol = ["scontrol", "update", f"partition={name}"]
    run(*scontrol, "state=down")
    return lambda: run(*scontrol, "state=up")
