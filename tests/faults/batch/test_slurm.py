"""Trouble with the commands of Slurm is no trouble of its jobs: real processes, a toy cluster."""

import asyncio
import time

import pytest

from tests.batches import SLURM
from tests.faults.batch.jobs import SECONDS, by_hand, counting, holding, runs, well
from tests.waiting import until
from xqute import JobStatus


@pytest.fixture
def batch():
    return SLURM


async def test_a_submission_that_is_always_lost_is_lost_in_the_end(make, cluster):
    xq = make()
    job = await xq.push(["true"])
    cluster.fault("lose", verbs=["submit"])

    async with asyncio.timeout(SECONDS):
        await xq.run_until_complete()

    assert (job.status, job.reason.code, job.start) == (JobStatus.FAILED, "LOST", 1)


async def test_a_command_that_hangs_is_ended_and_nothing_is_concluded(make, cluster, tmp_path):
    xq = make(scheduler_command_timeout=0.5)
    jobs = await xq.push_many([holding(tmp_path)] * 3)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: runs(tmp_path) == 3)
        xq.scheduler.command_seconds, mend = 0.3, cluster.fault("hang", verbs=["queue"])
        await until(lambda: {job.reason.code for job in jobs} == {"UNREACHABLE"})
        statuses = {job.status for job in jobs}
        mend()
        xq.scheduler.command_seconds = SECONDS
        await until(lambda: {job.reason.code for job in jobs} == {"RUNNING"})
        (tmp_path / "go").touch()

    assert statuses == {JobStatus.RUNNING}
    assert well(jobs)


async def test_a_node_that_fails_costs_no_attempt_and_is_avoided(make, cluster, tmp_path):
    xq = make()
    job = await xq.push(holding(tmp_path))
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: runs(tmp_path) == 1 and job.status is JobStatus.RUNNING)
        cluster.fail_node(job.uid)
        await until(lambda: runs(tmp_path) == 2)
        (tmp_path / "go").touch()

    assert (job.status, job.start, job.attempt) == (JobStatus.FINISHED, 2, 1)
    assert "--exclude=n1" in xq.scheduler.own_directives(job)


async def cancelled_by_hand(xq, cluster, tmp_path):
    """A job that may be tried again, which `squeue` does not list any more."""
    cluster.set(slurm_accounts=True, slurm_accounts_late=True, slurm_forgets=True)
    job = await xq.push(holding(tmp_path), retries=1, retry_delay=0)
    await until(lambda: runs(tmp_path) == 1 and job.status is JobStatus.RUNNING)
    by_hand(cluster, "scancel", job.uid)
    return job


async def test_an_accounting_that_is_late_is_waited_for_before_a_cancelled_job_is_judged(
    make, cluster, tmp_path
):
    xq = make()
    async with asyncio.timeout(SECONDS), xq:
        job = await cancelled_by_hand(xq, cluster, tmp_path)
        await until(lambda: job.rc_file.exists() or job.start > 1)
        waits = time.monotonic() + xq.scheduler.grace_seconds
        asked = len(cluster.calls("sacct")) + 2

        def in_vain():
            return time.monotonic() > waits and len(cluster.calls("sacct")) >= asked

        await until(lambda: in_vain() or job.start > 1)
        meanwhile = job.status, job.start
        cluster.set(slurm_accounts_late=False)
        await asyncio.wait([job.as_task()])

    assert meanwhile == (JobStatus.RUNNING, 1)
    assert (job.status, job.reason.code, job.start) == (JobStatus.FAILED, "KILLED", 1)
    assert str(job.reason) == "KILLED by scancel"


async def test_an_accounting_that_never_says_how_a_job_ended_is_not_waited_for_without_end(
    make, cluster, tmp_path
):
    xq = make()
    xq.scheduler.account_seconds = 1.0
    async with asyncio.timeout(SECONDS), xq:
        job = await cancelled_by_hand(xq, cluster, tmp_path)
        (tmp_path / "go").touch()
        await job

    assert (job.status, job.start) == (JobStatus.FINISHED, 2)
    assert any("asked to stop by SIGTERM" in str(line.reason) for line in await job.history())


async def test_an_array_is_as_large_as_the_cluster_takes_it(make, cluster, tmp_path):
    cluster.set(array=6)
    xq = make()
    jobs = await xq.push_many([counting(tmp_path)] * 12)

    async with asyncio.timeout(SECONDS):
        report = await xq.run_until_complete()

    arrays = [word for call in cluster.calls("sbatch") for word in call if word.startswith("--array")]
    assert arrays == ["--array=1-5", "--array=1-5", "--array=1-2"]
    assert report.commands["sbatch"] == 3
    assert well(jobs)


async def test_the_queue_is_filled_up_by_many_at_a_time(make, tmp_path):
    xq = make(forks=12)
    jobs = await xq.push_many([counting(tmp_path, f"sleep 0.{n % 7 + 1}") for n in range(60)])

    async with asyncio.timeout(SECONDS):
        report = await xq.run_until_complete()

    assert well(jobs)
    assert report.commands["sbatch"] <= 60 / (12 / 4)
    assert (await xq.stats()).commands == report.commands


async def test_a_job_waits_for_others_to_be_submitted_with_for_a_bounded_time(make, tmp_path):
    xq = make(forks=8)
    xq.scheduler.refill_seconds = 1.0
    long = await xq.push_many([holding(tmp_path)] * 7)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: runs(tmp_path) == 7)
        began = time.monotonic()
        late = await xq.push(counting(tmp_path))
        await late
        waited = time.monotonic() - began
        (tmp_path / "go").touch()

    assert waited >= 0.9
    assert well([*long, late])


async def test_silent_jobs_are_asked_about_by_one_command_per_interval(make, cluster, tmp_path):
    xq = make()
    xq.scheduler.poll_seconds = 1.0
    jobs = await xq.push_many([holding(tmp_path)] * 8)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: runs(tmp_path) == 8)
        began, before = time.monotonic(), len(cluster.calls("squeue"))
        await until(lambda: len(cluster.calls("squeue")) >= before + 3)
        took = time.monotonic() - began
        (tmp_path / "go").touch()

    assert took >= 1.9
    assert well(jobs)


async def test_a_run_that_stops_finds_and_ends_what_it_does_not_know_to_have_submitted(
    make, cluster, tmp_path
):
    xq = make()
    jobs = await xq.push_many([holding(tmp_path)] * 3)
    cluster.fault("deny", verbs=["submit"], times=1)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: jobs[0].reason.code == "SCHEDULER_DOWN")
        xq.request_stop("test")

    assert {job.status for job in jobs} == {JobStatus.KILLED}
    assert not [job for job in cluster.jobs().values() if job.live]


async def test_a_kill_of_a_job_that_may_have_been_submitted_is_a_kill(make, cluster, tmp_path):
    xq = make()
    job = await xq.push(holding(tmp_path))
    cluster.fault("deny", verbs=["submit"], times=1)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: job.reason.code == "SCHEDULER_DOWN")
        assert await job.kill()

    assert job.status is JobStatus.KILLED
    assert not [job for job in cluster.jobs().values() if job.live]
