"""Which job starts when, and how many at a time."""

import asyncio
from functools import partial
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.acting import walked
from xqute import JobStatus, Xqute
from xqute.stores.memory import MemoryStore
from xqute.testing.clock import AutojumpLoop, clock_time
from xqute.testing.fake import FakeScheduler, Play, TellingFakeScheduler


async def test_jobs_start_by_priority_and_then_in_the_order_they_were_pushed(make, fake):
    xq = make(scheduler_forks=1)
    for priority in (0, 5, 0, -1, 5):
        await xq.push(["fake", "ok"], priority=priority)

    await xq.run_until_complete()

    assert [job for job, _ in fake.began] == [2, 5, 1, 3, 4]


async def test_a_job_pushed_later_with_a_higher_priority_overtakes(make, fake):
    xq = make(scheduler_forks=1)
    async with xq:
        jobs = await xq.push_many([["fake", "ok", "10"]] * 3)
        await jobs[0]
        await xq.push(["fake", "ok"], priority=1)

    assert [job for job, _ in fake.began] == [1, 2, 4, 3]


async def test_a_free_fork_is_used_as_soon_as_a_job_has_ended(make, fake):
    xq = make(scheduler_forks=2)
    began = asyncio.get_running_loop().time()
    await xq.push_many([["fake", "ok", "100"]] * 6)

    await xq.run_until_complete()

    assert fake.peak == 2
    assert asyncio.get_running_loop().time() - began == pytest.approx(300, abs=10)


async def test_a_jobs_history_goes_along_the_table(xq):
    job = await xq.push(["fake", "ok"])

    await job

    assert await walked(job) == ["QUEUED", "SUBMITTED", "RUNNING", "FINISHED"]
    assert [(line.start, line.attempt) for line in await job.history()] == [
        (0, 1),
        (1, 1),
        (1, 1),
        (1, 1),
    ]


async def test_a_jobs_times_are_in_order(xq):
    job = await xq.push(["fake", "ok", "60"])

    await job

    dates = [line.date for line in await job.history()]
    assert dates == sorted(dates)
    assert job.created <= job.submitted <= job.started < job.ended
    assert job.ended - job.started == pytest.approx(60, abs=3)


async def test_a_history_made_in_virtual_time_is_virtual_from_its_first_line(xq):
    job = await xq.push(["fake", "ok"])

    await job

    assert job.created == pytest.approx(job.submitted, abs=1)


async def test_a_job_faster_than_any_sweep_is_seen_running(xq, fake):
    fake.plan = lambda job: Play(runs=0)

    job = await xq.push(["fake"])
    await job

    assert await walked(job) == ["QUEUED", "SUBMITTED", "RUNNING", "FINISHED"]


async def test_a_thousand_jobs_cost_few_polls(make, fake):
    xq = make(scheduler_forks=100)
    await xq.push_many([["fake", "ok", "60"]] * 1000)

    report = await xq.run_until_complete()

    assert report.counts == {JobStatus.FINISHED: 1000}
    assert len(fake.asked("poll")) <= 10 * 60 / fake.poll_seconds + 10


virtual = partial(AutojumpLoop, horizon=30 * 86_400)
plays = st.builds(
    Play,
    takes=st.sampled_from([0, 0, 0.3, 20]),
    waits=st.sampled_from([0, 0, 1, 45]),
    begins=st.sampled_from([True, True, True, False]),
    runs=st.sampled_from([0, 0.01, 1, 7, 300]),
    rc=st.sampled_from([0, 0, 1, 137]),
    vanishes=st.sampled_from([False, False, True]),
    late=st.sampled_from([0, 0, 5, 30]),
    refuses=st.sampled_from(["", "", "", "no such queue"]),
)


@given(
    forks=st.integers(1, 5),
    telling=st.booleans(),
    acts=st.lists(plays, min_size=1, max_size=12),
    retries=st.integers(0, 2),
)
@settings(max_examples=60, deadline=None)
def test_forks_are_never_exceeded_and_every_job_ends_whatever_happens(forks, telling, acts, retries):
    fake = (TellingFakeScheduler if telling else FakeScheduler)()
    fake.plan = lambda job: acts[(job.id + job.start) % len(acts)]

    async def main(metadir):
        options = {"job_metadir": metadir, "scheduler_forks": forks, "store": MemoryStore()}
        xq = Xqute(fake, job_error_strategy="retry", job_num_retries=retries, **options)
        xq._room.clock = clock_time
        await xq.push_many([["fake"]] * len(acts))
        return await xq.run_until_complete()

    with TemporaryDirectory() as metadir, asyncio.Runner(loop_factory=virtual) as runner:
        report = runner.run(main(metadir))

    assert fake.peak <= forks
    assert fake.doubled == []
    assert fake.alive == []
    assert len(set(fake.began)) == len(fake.began)
    assert sum(report.counts.values()) == len(acts)
    assert all(status.final for status in report.counts)
