"""Managers at real clusters that are killed at random while the controller comes and goes."""

import subprocess

import pytest

from tests.crash.keeping import chaos

pytestmark = pytest.mark.live


@pytest.fixture
def slurm(slurm_clients):
    """Nothing is left in its queue."""
    yield
    subprocess.run(["scancel", "--user=root"], check=False)


@pytest.fixture
def sge(sge_clients):
    """Nothing is left in its queue."""
    yield
    subprocess.run(["qdel", "-u", "root"], check=False)


def test_nothing_is_lost_and_nothing_runs_twice_at_a_slurm_that_comes_and_goes(slurm):
    told = chaos("--scheduler", "slurm", "--seconds", "15", "--jobs", "150", seconds=400)

    assert " outages, " in told
    assert "lost 0, overlapping starts 0, hangs 0, repeated good executions 0" in told


def test_nothing_is_lost_and_nothing_runs_twice_at_a_grid_engine_that_comes_and_goes(sge):
    told = chaos("--scheduler", "sge", "--seconds", "8", "--jobs", "60", seconds=400)

    assert " outages, " in told
    assert "lost 0, overlapping starts 0, hangs 0, repeated good executions 0" in told
