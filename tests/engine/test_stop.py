"""How a run ends before its jobs do, and that nothing is left of it."""

import asyncio
import os
import signal
from math import inf

import pytest

from tests.engine.acting import act, ended, now, plugin, until
from xqute import Halted, JobStatus
from xqute.testing.fake import FakeScheduler, Play

FOREVER = Play(runs=inf)


def names() -> list[str]:
    """Tasks beside the test's own."""
    return sorted(task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()})


async def running(xq, count: int = 1):
    jobs = await xq.push_many([["fake"]] * count)
    waiting = asyncio.ensure_future(xq.run_until_complete())
    await until(lambda: all(job.status is JobStatus.RUNNING for job in jobs))
    return jobs, waiting


async def test_request_stop_winds_down_and_leaves_nothing(xq, fake):
    fake.plan = act(FOREVER)
    jobs, waiting = await running(xq, 3)

    xq.request_stop("enough")
    report = await waiting

    assert report.counts == {JobStatus.KILLED: 3}
    assert [str(job.reason) for job in jobs] == ["KILLED by enough"] * 3
    assert fake.alive == []
    assert names() == []


async def test_the_first_reason_to_stop_wins(xq, fake):
    fake.plan = act(FOREVER)
    _, waiting = await running(xq)

    xq.request_stop("first")
    xq.request_stop("second")
    await waiting

    assert xq.stop_reason.code == "first"


async def test_cancelling_run_until_complete_winds_down_and_raises(xq, fake):
    fake.plan = act(FOREVER)
    jobs, waiting = await running(xq, 2)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert [job.status for job in jobs] == [JobStatus.KILLED] * 2
    assert xq.stop_reason.code == "cancelled"
    assert fake.alive == []
    assert names() == []


async def test_cancelling_twice_still_winds_down(xq, fake):
    fake.plan = act(Play(runs=inf, deaf=3))
    jobs, waiting = await running(xq, 2)

    waiting.cancel()
    await asyncio.sleep(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert [job.status for job in jobs] == [JobStatus.KILLED] * 2
    assert names() == []


async def test_wait_for_bounds_a_run(xq, fake):
    fake.plan = act(FOREVER)
    job = await xq.push(["fake"])

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(xq.run_until_complete(), 30)

    assert job.status is JobStatus.KILLED
    assert fake.alive == []
    assert names() == []


async def test_a_timeout_block_bounds_a_run(xq, fake):
    fake.plan = act(FOREVER)
    job = await xq.push(["fake"])

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30):
            await xq.run_until_complete()

    assert job.status is JobStatus.KILLED
    assert names() == []


async def test_an_exception_inside_async_with_passes_after_winding_down(xq, fake):
    fake.plan = act(FOREVER)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  the block is what is tested
        async with xq:
            job = await xq.push(["fake"])
            await until(lambda: job.status is JobStatus.RUNNING)
            raise ZeroDivisionError

    assert job.status is JobStatus.KILLED
    assert fake.alive == []
    assert names() == []
    assert "ZeroDivisionError" in str(xq.stop_reason)


async def test_cancelling_inside_async_with_stops_the_run(xq, fake):
    fake.plan = act(FOREVER)

    async def block():
        async with xq:
            await xq.push(["fake"])
            await asyncio.sleep(inf)

    task = asyncio.ensure_future(block())
    await until(lambda: fake.began)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert xq.stop_reason.code == "cancelled"
    assert fake.alive == []
    assert names() == []


async def test_jobs_that_were_not_started_stay_queued_for_the_next_run(make, fake, store):
    fake.plan = act(FOREVER)
    xq = make(scheduler_forks=1)
    jobs = await xq.push_many([["fake"]] * 3)
    async with xq:
        await until(lambda: fake.began)
        xq.request_stop("enough")
    rows = await store.get([2, 3])
    fake.plan = act(Play())

    await xq.run_until_complete()

    assert [(row.status, row.start, row.owner) for row in rows] == [(JobStatus.QUEUED, 0, "")] * 2
    assert [job.status for job in jobs] == [JobStatus.KILLED, *[JobStatus.FINISHED] * 2]


async def test_a_job_that_is_being_handed_over_when_the_run_stops_is_ended_too(make, fake):
    fake.plan = act(Play(takes=5, runs=inf))
    xq = make()
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: fake.asked("submit"))
        xq.request_stop("enough")

    assert job.status in {JobStatus.KILLED, JobStatus.QUEUED}
    assert fake.alive == []


async def test_claimed_jobs_that_were_not_handed_over_are_given_back(make, fake, store):
    fake.unreachable_for(1000)
    xq = make()
    async with xq:
        jobs = await xq.push_many([["fake"]] * 3)
        await until(lambda: jobs[0].reason.code == "SCHEDULER_DOWN")
        xq.request_stop("enough")

    assert [job.start for job in jobs] == [0, 0, 0]
    assert [(row.start, row.owner) for row in await store.get([1, 2, 3])] == [(0, "")] * 3


async def test_a_job_that_survives_the_stop_is_named(xq, fake, caplog):
    fake.plan = act(Play(runs=10**5, deaf=inf, undead=True))
    begun = now()
    jobs, waiting = await running(xq)

    xq.request_stop("enough")
    await waiting

    assert now() - begun < 120
    assert f"{jobs[0]} may still be running" in caplog.text
    assert jobs[0].status is JobStatus.KILLING


async def test_a_stop_before_anything_ran_starts_nothing(xq, fake):
    job = await xq.push(["fake"])
    async with xq:
        xq.request_stop("enough")

    assert fake.asked("submit") == []
    assert job.status is JobStatus.QUEUED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_winds_down_and_then_ends_the_program(xq, fake, monkeypatch, number):
    ended_by = []
    monkeypatch.setattr(os, "kill", lambda pid, number: ended_by.append((pid, number)))
    fake.plan = act(FOREVER)
    jobs, waiting = await running(xq)

    signal.raise_signal(number)
    await waiting

    assert jobs[0].status is JobStatus.KILLED
    assert ended_by == [(os.getpid(), number)]
    assert signal.getsignal(number) is signal.SIG_DFL
    assert xq.stop_reason.code == signal.Signals(number).name


# bugs


async def test_a_bug_in_a_part_ends_the_run_with_its_exception_after_winding_down(xq, fake, monkeypatch):
    from xqute.engine import watcher

    def broken(evidence):
        raise AssertionError("a bug")

    fake.plan = lambda job: Play(runs=20 if job.id == 1 else inf)
    _, waiting = await running(xq, 2)

    monkeypatch.setattr(watcher, "judge", broken)
    with pytest.raises(AssertionError, match="a bug"):
        await waiting

    assert fake.alive == []
    assert names() == []


async def test_a_bug_in_the_submitter_ends_the_run_with_its_exception(xq, fake):
    async def broken(owner, run, count, now, choose):
        raise AssertionError("a bug")

    await xq.push(["fake"])
    xq._store.claim = broken

    with pytest.raises(AssertionError, match="a bug"):
        await xq.run_until_complete()

    assert xq.stop_reason.code == "error"
    assert names() == []


async def test_a_bug_in_the_recorder_ends_the_run_with_its_exception(xq, fake):
    fake.plan = act(Play(runs=20))

    async def broken(records):
        raise AssertionError("a bug")

    _, waiting = await running(xq)
    xq._store.record = broken

    with pytest.raises(AssertionError, match="a bug"):
        await waiting

    assert fake.alive == []
    assert names() == []


async def test_a_bug_is_raised_to_whoever_awaits_a_job(xq, fake):
    async def broken(owner, run, count, now, choose=None):
        raise AssertionError("a bug")

    job = await xq.push(["fake"])
    xq._store.claim = broken

    with pytest.raises(AssertionError, match="a bug"):
        await job
    with pytest.raises(AssertionError, match="a bug"):
        await job


async def test_a_scheduler_that_can_not_be_opened_ends_the_run_with_its_exception(make):
    class Closed(FakeScheduler):
        async def open(self, stack):
            raise OSError("no such host")

    xq = make(Closed())
    job = await xq.push(["fake"])

    with pytest.raises(OSError, match="no such host"):
        await xq.run_until_complete()

    assert job.status is JobStatus.QUEUED
    assert names() == []


async def test_what_a_scheduler_opened_is_closed_when_the_engine_ends(make):
    seen = []

    class Opened(FakeScheduler):
        async def open(self, stack):
            seen.append("open")
            stack.callback(seen.append, "closed")

    async def shutdown(scheduler, consumer):
        seen.append("shutdown")

    xq = make(Opened(), plugins=[plugin(on_shutdown=shutdown)])
    await xq.push(["fake"])

    await xq.run_until_complete()

    assert seen == ["open", "shutdown", "closed"]


async def test_a_run_can_follow_a_run_that_a_bug_ended(xq, fake):
    claim = xq._store.claim

    async def broken(owner, run, count, now, choose=None):
        raise AssertionError("a bug")

    job = await xq.push(["fake"])
    xq._store.claim = broken
    with pytest.raises(AssertionError):
        await xq.run_until_complete()
    xq._store.claim = claim

    report = await xq.run_until_complete()

    assert report.counts == {JobStatus.FINISHED: 1}
    await ended([job])


async def test_a_second_async_with_after_a_stop_runs_what_is_pushed(xq, fake):
    async with xq:
        xq.request_stop("enough")

    async with xq:
        job = await xq.push(["fake"])

    assert job.status is JobStatus.FINISHED


async def test_halted_names_the_job_that_is_awaited(xq, fake):
    fake.plan = act(FOREVER)
    async with xq:
        job = await xq.push(["fake"])
        queued = await xq.push_many([["fake"]] * 4)
        await until(lambda: fake.began)
        xq.request_stop("enough")
        with pytest.raises(Halted, match=f"job {queued[-1].id} "):
            await queued[-1]
    await ended([job])
