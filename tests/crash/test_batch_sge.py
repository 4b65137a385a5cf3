"""Managers of Grid Engine's jobs that die around a submission: with real processes, on a toy cluster."""

import pytest

from xqute.testing import ToyCluster
from xqute.testing.toysge import Sge

FOUR = """
xqute = make(scheduler="sge", scheduler_rate=None, resume=True)
xqute.scheduler.poll_seconds = xqute.scheduler.grace_seconds = 0.5
jobs = await xqute.push_many([hold(name, f"echo {name}; exit 0") for name in "abcd"], retries=2)
(HERE / "pushed").touch()
report = await xqute.run_until_complete()
tell(ok=report.ok, results=[await job for job in jobs], starts=[job.start for job in jobs])
"""

DONE = {"ok": True, "results": list("abcd"), "starts": [1] * 4}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    with ToyCluster(tmp_path / "cluster", face=Sge, slots=8, grace=0.3, keep=60) as cluster:
        monkeypatch.setenv("PATH", cluster.path)
        yield cluster


@pytest.fixture
def deadly(cluster, tmp_path, monkeypatch):
    """A qsub that ends the manager which runs it, once: before or after it does what it was asked."""

    def deadly(*, before):
        folder = tmp_path / "deadly"
        folder.mkdir()
        shim = folder / "qsub"
        kill, submit = f"mkdir '{folder}/done' 2>/dev/null && kill -9 $PPID", f"'{cluster.bin}/qsub' \"$@\""
        lines = [kill + " && exit 1", submit] if before else [submit, kill]
        shim.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        shim.chmod(0o700)
        monkeypatch.setenv("PATH", f"{folder}:{cluster.path}")

    return deadly


@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
def test_a_manager_that_dies_around_a_submission_repeats_and_loses_nothing(sessions, cluster, deadly, before):
    deadly(before=before)
    sessions.end(sessions.start(FOUR))
    sessions.go(*"abcd")

    assert sessions.facts(FOUR) == DONE
    assert sessions.ran == dict.fromkeys("abcd", 1)


def test_the_next_manager_goes_on_with_the_jobs_of_one_that_was_killed(sessions, cluster):
    sessions.killed(FOUR, *"abcd")
    sessions.go(*"abcd")

    assert sessions.facts(FOUR) == DONE
    assert sessions.ran == dict.fromkeys("abcd", 1)
    assert len(cluster.calls("qsub")) == 1
