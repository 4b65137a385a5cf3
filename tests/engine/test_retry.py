"""What a failed attempt means: ignored, tried again, or the end of everything."""

import asyncio
from itertools import pairwise

import pytest

from tests.engine.acting import SlowStore, act, cast, ended, now, until, walked
from xqute import Halted, JobFailed, JobStatus
from xqute.testing.fake import Play

FAILS = Play(rc=1)


def begin_times(fake) -> list[float]:
    return [call.at for call in fake.asked("submit")]


async def test_a_failed_job_is_ignored_by_default(xq, fake):
    fake.plan = cast({"bad": FAILS})
    bad = await xq.push(["fake"], title="bad")
    good = await xq.push(["fake"])

    report = await xq.run_until_complete()

    assert (bad.status, bad.attempt) == (JobStatus.FAILED, 1)
    assert good.status is JobStatus.FINISHED
    assert not report.ok
    assert [failure.id for failure in report.failures] == [bad.id]
    assert xq.stop_reason is None


async def test_a_retried_job_that_succeeds_is_finished(make, fake):
    fake.plan = act(FAILS, FAILS, Play())
    xq = make(job_error_strategy="retry")

    job = await xq.push(["fake"])
    await job

    assert (job.status, job.attempt, job.start) == (JobStatus.FINISHED, 3, 3)
    assert await walked(job) == [*["QUEUED", "SUBMITTED", "RUNNING"] * 3, "FINISHED"]


async def test_a_job_has_as_many_attempts_as_retries_and_one(make, fake):
    fake.plan = act(FAILS)
    xq = make(job_error_strategy="retry", job_num_retries=2)

    job = await xq.push(["fake"])

    with pytest.raises(JobFailed):
        await job
    assert (job.attempt, job.start, len(fake.began)) == (3, 3, 3)


async def test_retries_wait_longer_each_time_within_the_jitter(make, fake):
    fake.plan = act(Play(rc=1, runs=0))
    xq = make(job_error_strategy="retry", job_num_retries=5, retry_delay=10)

    await ended([await xq.push(["fake"])])

    times = begin_times(fake)
    gaps = [after - before for before, after in pairwise(times)]
    for gap, delay in zip(gaps, [10, 20, 40, 80, 160], strict=True):
        assert 0.75 * delay <= gap <= 1.25 * delay + 3


async def test_no_retry_waits_longer_than_the_maximum(make, fake):
    fake.plan = act(Play(rc=1, runs=0))
    xq = make(job_error_strategy="retry", job_num_retries=20, retry_delay=100)
    begun = now()

    await ended([await xq.push(["fake"])])

    assert now() - begun <= 20 * (300 * 1.25 + 3)


async def test_jobs_that_failed_together_do_not_return_together(make, fake):
    fake.plan = act(Play(rc=1), Play())
    xq = make(job_error_strategy="retry", retry_delay=60, scheduler_forks=20)
    await xq.push_many([["fake"]] * 20)

    await xq.run_until_complete()

    again = [call.at for call in fake.asked("submit")][1:]
    assert max(again) - min(again) > 10


async def test_the_reason_says_when_and_why_it_is_tried_again(make, fake):
    fake.plan = act(Play(rc=7), Play())
    xq = make(job_error_strategy="retry", retry_delay=60)
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.reason.code == "RETRY_DELAY")

        assert job.status is JobStatus.QUEUED
        assert str(job.reason).startswith("attempt 2 of 4 in ")
        assert str(job.reason).endswith("after EXIT 7")
        assert job.will_retry


@pytest.mark.parametrize("options", [{"retries": 1}, {"retries": 1, "error_strategy": "retry"}])
async def test_retries_given_at_push_mean_retry_for_that_job(xq, fake, options):
    fake.plan = act(FAILS)
    retried = await xq.push(["fake"], **options)
    other = await xq.push(["fake"])

    await xq.run_until_complete()

    assert (retried.attempt, other.attempt) == (2, 1)


async def test_a_strategy_given_at_push_is_nearer(make, fake):
    fake.plan = act(FAILS)
    xq = make(job_error_strategy="retry", job_num_retries=2)
    ignored = await xq.push(["fake"], error_strategy="ignore")
    retried = await xq.push(["fake"])

    await xq.run_until_complete()

    assert (ignored.attempt, retried.attempt) == (1, 3)


async def test_a_retry_delay_given_at_push_is_nearer(make, fake):
    fake.plan = act(Play(rc=1, runs=0), Play(runs=0))
    xq = make(job_error_strategy="retry", retry_delay=1)
    begun = now()

    await (await xq.push(["fake"], retry_delay="1h"))

    assert 0.75 * 3600 <= now() - begun <= 1.25 * 3600 + 10


async def test_a_retry_without_delay_follows_at_once(make, fake):
    fake.plan = act(Play(rc=1, runs=0), Play(runs=0))
    xq = make(job_error_strategy="retry", retry_delay=0)
    begun = now()

    await (await xq.push(["fake"]))

    assert now() - begun < 2


async def test_a_retry_is_not_forgotten_when_the_store_is_slower_than_the_delay(make, fake):
    fake.plan = act(FAILS, Play())
    xq = make(store=SlowStore(), job_error_strategy="retry", retry_delay=0.1)

    job = await xq.push(["fake"])
    await job

    assert job.attempt == 2


async def test_a_job_that_waits_for_its_retry_leaves_its_fork_to_others(make, fake):
    fake.plan = cast({"bad": FAILS})
    xq = make(scheduler_forks=1)
    await xq.push(["fake"], title="bad", retries=1, retry_delay=600)
    others = await xq.push_many([["fake"]] * 3)
    begun = now()
    async with xq:
        await asyncio.gather(*others)

        assert now() - begun < 60


async def test_the_files_of_earlier_starts_are_kept(make, fake):
    plays = [Play(rc=1, stdout="one"), Play(rc=2, stdout="two"), Play(stdout="three")]
    fake.plan = act(*plays)
    xq = make(job_error_strategy="retry")

    job = await xq.push(["fake"])

    assert await job == "three"
    kept = job.metadir / "job.retry"
    assert sorted(path.name for path in kept.iterdir()) == ["1", "2"]
    assert (kept / "1" / "job.stdout").read_text() == "one"
    assert (kept / "2" / "job.rc").read_text() == "2\n"
    assert (kept / "2" / "job.status").read_text().endswith("FAILED 2\n")
    assert (kept / "1" / "job.wrapped.fake").exists()
    assert not (kept / "2" / "job.retry").exists()


async def test_a_start_that_succeeded_at_once_keeps_no_folder_of_earlier_ones(xq):
    job = await xq.push(["fake", "ok"])

    await job

    assert not (job.metadir / "job.retry").exists()


async def test_the_lock_has_the_schedulers_id_while_the_job_is_there(xq, fake):
    async with xq:
        job = await xq.push(["fake", "ok", "10"])
        await until(lambda: job.status is JobStatus.RUNNING)
        content = job.lock_file.read_text()
        await job

        assert content == f"{job.uid}\n"
        assert not job.lock_file.exists()


async def test_what_can_not_be_submitted_is_not_tried_again(make, fake):
    xq = make(job_error_strategy="retry")
    job = await xq.push(["fake", "refuse"])

    with pytest.raises(JobFailed, match="refused as the command wishes"):
        await job

    assert (job.reason.code, len(fake.asked("submit"))) == ("SUBMIT_REFUSED", 1)
    assert not job.lock_file.exists()


async def test_a_failed_job_can_be_run_once_more_with_all_its_retries(make, fake, diary):
    fake.plan = act(FAILS, FAILS, FAILS, Play())
    xq = make(job_error_strategy="retry", job_num_retries=1, plugins=[diary])
    job = await xq.push(["fake"])
    await ended([job])
    assert (job.status, job.attempt, job.start) == (JobStatus.FAILED, 2, 2)

    await job.retry()
    await job

    assert (job.status, job.attempt, job.start) == (JobStatus.FINISHED, 2, 4)
    assert diary.of(job).count("queued") == 2


async def test_a_job_that_ended_well_is_not_run_once_more(xq, fake):
    job = await xq.push(["fake", "ok"])
    await job

    await job.retry()
    await xq.run_until_complete()

    assert fake.began == [(job.id, 1)]


# halt


async def halted_run(make, fake, **options):
    """One job fails after 5 s, while one runs, and one is queued."""
    fake.plan = cast({"bad": Play(rc=3, runs=5)}, Play(runs=1000))
    xq = make(job_error_strategy="halt", scheduler_forks=2, **options)
    jobs = [await xq.push(["fake"], title=title) for title in ("bad", "runs", "queued")]
    return xq, jobs


async def test_halt_stops_what_runs_and_starts_nothing_new(make, fake):
    xq, (bad, runs, queued) = await halted_run(make, fake)

    report = await xq.run_until_complete()

    assert (bad.status, runs.status) == (JobStatus.FAILED, JobStatus.KILLED)
    assert (queued.status, queued.start) == (JobStatus.QUEUED, 0)
    assert fake.alive == []
    assert len(fake.began) == 2
    assert xq.stop_reason.code == "halt"
    assert str(bad) in str(xq.stop_reason)
    assert report.stop_reason is xq.stop_reason
    assert report.counts == dict.fromkeys((bad.status, runs.status, queued.status), 1)


async def test_halt_raises_at_the_end_of_async_with(make, fake):
    xq, _ = await halted_run(make, fake)

    with pytest.raises(Halted, match="EXIT 3") as raised:
        async with xq:
            pass

    assert raised.value.reason is xq.stop_reason


async def test_awaiting_a_queued_job_raises_halted(make, fake):
    _, (_, _, queued) = await halted_run(make, fake)

    with pytest.raises(Halted):
        await queued
    with pytest.raises(Halted):
        await queued

    assert queued.status is JobStatus.QUEUED


async def test_a_queued_job_says_that_it_was_not_started_because_the_run_stopped(make, fake):
    xq, (_, _, queued) = await halted_run(make, fake)

    await xq.run_until_complete()

    assert queued.reason.code == "STOPPED"


async def test_a_job_that_ended_well_before_a_halt_keeps_its_result(make, fake):
    fake.plan = cast({"bad": Play(rc=1, runs=60)}, Play(stdout="kept"))
    xq = make(job_error_strategy="halt")
    good = await xq.push(["fake"])
    await xq.push(["fake"], title="bad")

    await xq.run_until_complete()

    assert await good == "kept"


async def test_halt_for_one_job_only(make, fake):
    fake.plan = act(FAILS)
    xq = make(scheduler_forks=1)
    await xq.push(["fake"])
    await xq.push(["fake"], error_strategy="halt")
    last = await xq.push(["fake"])

    await xq.run_until_complete()

    assert last.status is JobStatus.QUEUED
    assert xq.stop_reason.code == "halt"


async def test_a_halted_run_goes_on_when_it_is_awaited_again(make, fake):
    xq, (_, _, queued) = await halted_run(make, fake)
    await xq.run_until_complete()
    fake.plan = act(Play())

    await xq.run_until_complete()

    assert queued.status is JobStatus.FINISHED
    assert xq.stop_reason is None


async def test_a_halted_run_goes_on_in_another_async_with(make, fake):
    xq, (_, _, queued) = await halted_run(make, fake)
    await xq.run_until_complete()
    fake.plan = act(Play())

    async with xq:
        pass

    assert queued.status is JobStatus.FINISHED


async def test_a_retry_that_was_waiting_when_the_run_stopped_follows_in_the_next(make, fake):
    fake.plan = act(FAILS, Play())
    xq = make(job_error_strategy="retry", retry_delay=100)
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.reason.code == "RETRY_DELAY")
        xq.request_stop("enough")

    await xq.run_until_complete()

    assert job.status is JobStatus.FINISHED
    assert job.attempt == 2


# max_failures


async def test_a_run_stops_at_so_many_failed_jobs(make, fake):
    fake.plan = act(FAILS)
    xq = make(scheduler_forks=1, max_failures=3)
    await xq.push_many([["fake"]] * 10)

    report = await xq.run_until_complete()

    assert report.counts == {JobStatus.FAILED: 3, JobStatus.QUEUED: 7}
    assert xq.stop_reason.code == "max_failures"


async def test_a_run_stops_at_a_share_of_failed_jobs(make, fake):
    fake.plan = act(FAILS)
    xq = make(scheduler_forks=1, max_failures="20%")
    await xq.push_many([["fake"]] * 10)

    report = await xq.run_until_complete()

    assert report.counts == {JobStatus.FAILED: 2, JobStatus.QUEUED: 8}


async def test_attempts_that_are_tried_again_are_no_failed_jobs(make, fake):
    fake.plan = act(FAILS, FAILS, Play())
    xq = make(job_error_strategy="retry", max_failures=1)
    await xq.push_many([["fake"]] * 3)

    report = await xq.run_until_complete()

    assert report.ok
    assert xq.stop_reason is None


async def test_max_failures_raises_at_the_end_of_async_with(make, fake):
    xq = make(max_failures=1)

    with pytest.raises(Halted, match="1 of 1 jobs failed"):
        async with xq:
            await xq.push(["fake", "fail"])
