"""What happens to jobs that wait in the queue, and to their numbers: real processes, toy clusters."""

import asyncio

import pytest

from tests.batches import SGE, SLURM
from tests.faults.batch.jobs import SECONDS, by_hand
from tests.waiting import until
from xqute import JobStatus
from xqute.testing import toyprocs
from xqute.testing.toycore import Table

WAITS = {SLURM: "PENDING (Resources)", SGE: "qw (waiting)"}


def live(cluster):
    return [job for job in cluster.jobs().values() if job.live]


# Waiting too long


async def test_jobs_that_wait_too_long_are_taken_out_of_the_queue_by_one_command(make, cluster, batch):
    xq = make(scheduler_pending_timeout="1s")
    cluster.hold()
    jobs = await xq.push_many([["true"]] * 3)

    async with asyncio.timeout(SECONDS):
        await xq.run_until_complete()

    assert {str(job.reason) for job in jobs} == {f"PENDING_TIMEOUT after 1 s: {WAITS[batch]}"}
    assert {(job.status, job.start) for job in jobs} == {(JobStatus.FAILED, 1)}
    assert len(cluster.calls(batch.cancel)) == 1
    assert not live(cluster)


async def test_a_job_that_waited_too_long_is_tried_again_like_any_failure(make, cluster):
    xq = make(scheduler_pending_timeout="1s")
    let_go = cluster.hold()
    job = await xq.push("echo ran", retries=1, retry_delay=0)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: "PENDING_TIMEOUT" in str(job.reason))
        xq.scheduler.pending_seconds = None
        let_go()
        result = await job

    assert (result, job.status, job.start) == ("ran", JobStatus.FINISHED, 2)


async def test_a_job_that_runs_for_longer_than_it_may_wait_goes_on(make, cluster, tmp_path):
    xq = make(scheduler_pending_timeout="1s")
    job = await xq.push(f"until [ -e '{tmp_path}/go' ]; do sleep 0.02; done")
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: job.status is JobStatus.RUNNING)
        asked = sum(xq.scheduler.commands.values())
        await until(lambda: sum(xq.scheduler.commands.values()) > asked + 1)
        (tmp_path / "go").touch()

    assert job.status is JobStatus.FINISHED


# Numbers that are given again


async def test_a_number_that_was_given_to_a_stranger_is_not_cancelled(
    make, cluster, batch, tmp_path, monkeypatch
):
    monkeypatch.setattr("xqute.schedulers.sightings.KNOWN_SECONDS", 0.0)  # it was not seen lately
    xq = make()
    xq.scheduler.poll_seconds = SECONDS
    job = await xq.push(f"touch '{tmp_path}/began'; sleep 60")
    stranger = tmp_path / "stranger.sh"
    stranger.write_text("#!/bin/sh\nsleep 60\n")
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: job.status is JobStatus.RUNNING and (tmp_path / "began").exists())
        watching = [one.supervisor for one in cluster.jobs().values()]
        cluster.lose(job.uid)
        await until(lambda: not any(map(toyprocs.alive, watching)))  # it would tell of an end by this number
        with Table(str(cluster.home)) as table:
            table.last = 0
        by_hand(cluster, batch.submit, stranger)
        assert [str(one.id) for one in live(cluster)] == [job.uid]
        await job.kill()
        await asyncio.wait([job.as_task()])

    assert job.status is JobStatus.KILLED
    assert cluster.calls(batch.cancel) == []
    assert [one.name for one in live(cluster)] == ["stranger.sh"]


# Hands of others


@pytest.mark.parametrize("batch", [SLURM], ids=["slurm"])
async def test_an_element_that_somebody_cancelled_while_it_waited_is_not_submitted_again(make, cluster):
    xq = make()
    let_go = cluster.hold()
    jobs = await xq.push_many([["true"]] * 3, retries=3)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: "Resources" in str(jobs[1].reason))
        by_hand(cluster, "scancel", jobs[1].uid)
        await asyncio.wait([jobs[1].as_task()])
        let_go()

    assert [job.status.name for job in jobs] == ["FINISHED", "FAILED", "FINISHED"]
    assert str(jobs[1].reason) == "KILLED by somebody: taken out of the queue while it waited"
    assert len(cluster.calls("sbatch")) == 1


@pytest.mark.parametrize("batch", [SGE], ids=["sge"])
@pytest.mark.parametrize("several", [1, 3])
async def test_a_job_that_somebody_deleted_while_it_waited_is_not_submitted_again(
    make, cluster, monkeypatch, several
):
    monkeypatch.setattr("xqute.schedulers.sightings.ACCOUNT_LATE_SECONDS", 1.0)
    cluster.set(keep=60)
    xq = make()
    let_go = cluster.hold()
    jobs = await xq.push_many([["true"]] * several, retries=3)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: "qw (waiting)" in str(jobs[0].reason))
        by_hand(cluster, "qdel", jobs[0].uid)
        await asyncio.wait([jobs[0].as_task()])
        let_go()

    assert [job.status.name for job in jobs] == ["FAILED", *["FINISHED"] * (several - 1)]
    assert str(jobs[0].reason) == "KILLED by somebody: taken out of the queue while it waited"
    assert len(cluster.calls("qsub")) == 1


# What need not be looked up


async def test_a_doubtful_submission_whose_jobs_have_ended_is_not_looked_up(make, cluster, tmp_path, batch):
    submit = batch.submit
    shim = tmp_path / submit
    ended = f"grep -q FINISHED '{tmp_path}/run/1/job.status' 2>/dev/null"
    lines = [f"'{cluster.bin}/{submit}' \"$@\" >&2", f"until {ended}; do sleep 0.02; done", "exit 1"]
    shim.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    shim.chmod(0o700)
    xq = make(**{submit: str(shim)})
    job = await xq.push(["true"])

    async with asyncio.timeout(SECONDS):
        await xq.run_until_complete()

    assert (job.status, job.start) == (JobStatus.FINISHED, 1)
    assert set(xq.scheduler.commands) == {submit}
    assert len(cluster.calls(submit)) == 1
