"""A job that waits too long in its scheduler's queue is taken back."""

import asyncio
from math import inf

import pytest

from tests.engine.acting import act, ended, now, until
from xqute import JobStatus, Reason
from xqute.testing.fake import Play

WAITS = Play(waits=inf, queue_reason=Reason("PENDING", {"message": "PENDING (Priority)"}))


async def test_jobs_that_wait_too_long_have_failed_and_are_taken_back_together(xq, fake):
    fake.plan = act(WAITS)
    fake.pending_seconds = 600.0
    begun = now()

    jobs = await xq.push_many([["fake"]] * 4)
    await xq.run_until_complete()

    assert {str(job.reason) for job in jobs} == {"PENDING_TIMEOUT after 600 s: PENDING (Priority)"}
    assert {job.status for job in jobs} == {JobStatus.FAILED}
    assert now() - begun == pytest.approx(600, abs=20)
    assert [len(call.jobs) for call in fake.asked("kill")] == [4]
    assert (fake.alive, fake.began) == ([], [])


async def test_only_the_wait_counts(xq, fake):
    fake.plan = act(Play(waits=500, runs=5000))
    fake.pending_seconds = 600.0

    job = await xq.push(["fake"])
    await job

    assert (job.status, fake.asked("kill")) == (JobStatus.FINISHED, [])


async def test_each_hand_over_may_wait_anew(xq, fake):
    fake.plan = act(WAITS, Play(waits=500))
    fake.pending_seconds = 600.0

    job = await xq.push(["fake"], retries=1)
    await job

    assert (job.status, job.start, job.attempt) == (JobStatus.FINISHED, 2, 2)
    assert any("PENDING_TIMEOUT" in str(line.reason) for line in await job.history())


async def test_a_scheduler_that_does_not_say_that_it_waits_proves_nothing(xq, fake):
    fake.plan = act(WAITS)
    fake.pending_seconds = 600.0
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.kept_reason.detail.get("message"))  # it was seen to wait
        fake.blind = True
        await asyncio.sleep(3000)
        asked = list(fake.asked("kill"))
        fake.blind = False
        await ended([job])

    assert asked == []
    assert job.reason.code == "PENDING_TIMEOUT"
