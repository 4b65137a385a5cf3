"""Each row of the table of evidence, through the whole engine."""

import asyncio
import errno
from contextlib import suppress
from math import inf

import pytest

from tests.engine.acting import act, cast, ended, now, until, walked
from xqute import Job, JobFailed, JobKilled, JobStatus, Reason, metadir
from xqute.states import Answer, Presence
from xqute.testing.fake import FakeScheduler, Play, TellingFakeScheduler


class AuthorsJob(Job):
    """Its script has a trap of its own, and no claim."""

    async def wrap_cmd(self, scheduler):
        return "#!/bin/sh\n"


class AuthorsFake(FakeScheduler):
    job_class = AuthorsJob


class AuthorsTellingFake(TellingFakeScheduler):
    job_class = AuthorsJob


@pytest.fixture(params=[AuthorsFake, AuthorsTellingFake], ids=["swept", "telling"])
def fake(request):
    """Overrides: half of the table is about authors' scripts, and what they write, ours may too."""
    return request.param()


async def failed(job: Job) -> str:
    """The code of the reason why a job failed."""
    with pytest.raises(JobFailed):
        await job
    assert job.status is JobStatus.FAILED
    return job.reason.code


# our wrapper's words


async def test_rc_0_is_finished(xq, fake):
    fake.plan = act(Play(rc=0, stdout="out\n\n"))

    job = await xq.push(["fake"])

    assert await job == "out"
    assert (job.status, job.rc, str(job.reason)) == (JobStatus.FINISHED, 0, "EXIT 0")


@pytest.mark.parametrize(
    ("rc", "sentence"),
    [
        (1, "EXIT 1"),
        (3, "EXIT 3"),
        (255, "EXIT 255"),
        (127, "EXIT 127: command not found: fake"),
        (137, "SIGNAL 9"),
        (143, "SIGNAL 15"),
    ],
)
async def test_another_rc_is_failed_and_kept_exactly(xq, fake, rc, sentence):
    fake.plan = act(Play(rc=rc, stderr="first\nlast words\n"))

    job = await xq.push(["fake"])

    with pytest.raises(JobFailed, match="last words"):
        await job
    assert (job.status, job.rc, str(job.reason)) == (JobStatus.FAILED, rc, sentence)


@pytest.mark.parametrize("word", ["FINISHED", "6"])
@pytest.mark.parametrize(("rc", "status"), [(0, JobStatus.FINISHED), (4, JobStatus.FAILED)])
async def test_an_authors_word_counts_by_its_rc(xq, fake, word, rc, status):
    fake.plan = act(Play(word=word, rc=rc))

    job = await xq.push(["fake"])
    await ended([job])

    assert (job.status, job.rc) == (status, rc)


@pytest.mark.parametrize("word", ["FAILED", "7"])
async def test_an_authors_failed_counts_by_its_rc(xq, fake, word):
    fake.plan = act(Play(word=word, rc=9))

    job = await xq.push(["fake"])

    assert await failed(job) == "EXIT"
    assert job.rc == 9


@pytest.mark.parametrize("word", ["FINISHED", "FAILED", "6", "7"])
async def test_an_authors_word_without_rc_is_torn_after_the_grace(xq, fake, word):
    fake.plan = act(Play(word=word, tells_rc=False, runs=1))
    begun = now()

    job = await xq.push(["fake"])

    assert await failed(job) == "CORRUPT"
    assert now() - begun >= 1 + fake.grace_seconds


async def test_an_authors_rc_that_comes_late_counts(xq, fake):
    fake.plan = act(Play(word="FINISHED", tells_rc=False, runs=1))
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: fake.began and not fake.alive)
        job.rc_file.write_text("0\n")

    assert job.status is JobStatus.FINISHED


async def test_a_skipped_job_has_no_result_and_no_error(xq, fake, diary):
    fake.plan = act(Play(word="SKIPPED", tells_rc=False))

    job = await xq.push(["fake"])

    assert await job is None
    await xq.run_until_complete()
    assert job.status is JobStatus.SKIPPED
    assert "skipped" in diary.events


# what the scheduler says


async def test_running_is_seen_while_it_runs(xq, fake):
    fake.plan = act(Play(runs=50))
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.status is JobStatus.RUNNING, within=10)

        assert fake.alive == [job.id]


async def test_a_pending_job_waits_for_hours_and_says_why(xq, fake):
    why = Reason("PENDING", {"scheduler": "fake", "uid": "1", "message": "Priority"})
    fake.plan = act(Play(waits=5 * 3600, queue_reason=why))
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.reason == why, within=60)

        assert job.status is JobStatus.SUBMITTED

    assert job.status is JobStatus.FINISHED
    assert job.attempt == job.start == 1


async def test_unknown_changes_nothing_for_hours(xq, fake):
    fake.plan = act(Play(runs=1, vanishes=True))
    fake.blind = True
    async with xq:
        job = await xq.push(["fake"])
        await asyncio.sleep(6 * 3600)  # of virtual time

        assert job.status is JobStatus.RUNNING

        fake.blind = False

    assert (job.status, job.reason.code) == (JobStatus.FAILED, "LOST")


async def test_a_job_that_vanished_is_lost_after_the_grace(xq, fake):
    fake.plan = act(Play(runs=1, vanishes=True))
    begun = now()

    job = await xq.push(["fake"])

    assert await failed(job) == "LOST"
    assert fake.grace_seconds + 1 <= now() - begun <= fake.grace_seconds + 1 + 15


async def test_the_schedulers_own_reason_is_better_than_lost(xq, fake):
    fake.plan = act(Play(vanishes=True, reason=Reason("OOM")))

    job = await xq.push(["fake"])

    assert await failed(job) == "OOM"


async def test_files_that_come_within_the_grace_count(xq, fake):
    fake.plan = act(Play(late=fake.grace_seconds - 3))

    job = await xq.push(["fake"])
    await job

    assert (job.status, job.start) == (JobStatus.FINISHED, 1)


async def test_files_that_come_too_late_change_nothing(xq, fake):
    fake.plan = act(Play(runs=1, late=fake.grace_seconds + 100))
    async with xq:
        job = await xq.push(["fake"])
        code = await failed(job)
        await asyncio.sleep(500)

    assert code == "LOST"
    assert job.status is JobStatus.FAILED


@pytest.mark.parametrize("code", ["NODE_FAIL", "PREEMPTED"])
async def test_what_is_no_fault_of_the_job_starts_it_again_without_an_attempt(xq, fake, code):
    fake.plan = act(Play(vanishes=True, reason=Reason(code)), Play())

    job = await xq.push(["fake"], retries=0)
    await job

    assert (job.status, job.attempt, job.start) == (JobStatus.FINISHED, 1, 2)


async def test_an_unreadable_status_file_is_corrupt_once_the_job_is_gone(xq, fake):
    fake.plan = act(Play(runs=1, word="LOL"))

    job = await xq.push(["fake"])

    assert await failed(job) == "CORRUPT"


@pytest.mark.parametrize("signal", ["TERM", "HUP", "XCPU"])
async def test_a_job_that_somebody_stopped_failed_by_that_signal(xq, fake, signal):
    fake.plan = act(Play(rc=143, signal=signal))

    job = await xq.push(["fake"])

    assert await failed(job) == "SIGNAL"
    assert f"SIG{signal}" in str(job.reason)


async def test_a_signal_makes_the_end_failed_whatever_the_rc_says(xq, fake):
    fake.plan = act(Play(rc=0, signal="TERM"))

    job = await xq.push(["fake"])

    assert await failed(job) == "SIGNAL"


@pytest.mark.parametrize("code", ["TIMEOUT", "OOM"])
async def test_the_scheduler_is_asked_why_somebody_stopped_a_job(xq, fake, code):
    fake.plan = act(Play(rc=143, signal="TERM", reason=Reason(code, {"timeout": 60})))

    job = await xq.push(["fake"])

    assert await failed(job) == code


async def test_a_preempted_job_runs_again_though_its_wrapper_said_failed(xq, fake):
    fake.plan = act(Play(rc=143, signal="TERM", reason=Reason("PREEMPTED")), Play())

    job = await xq.push(["fake"])
    await job

    assert (job.status, job.attempt, job.start) == (JobStatus.FINISHED, 1, 2)


# asked to stop


async def kill_when_running(xq, job: Job, **options) -> bool:
    await until(lambda: job.status is JobStatus.RUNNING)
    return await job.kill(**options)


async def test_a_job_that_finished_before_the_signal_is_finished(xq, fake):
    fake.plan = act(Play(runs=2, deaf=inf))
    async with xq:
        job = await xq.push(["fake"])
        killed = await kill_when_running(xq, job, grace=60)

    assert killed is False
    assert job.status is JobStatus.FINISHED
    assert await walked(job) == ["QUEUED", "SUBMITTED", "RUNNING", "KILLING", "FINISHED"]


async def test_an_authors_finished_after_a_kill_is_killed(xq, fake):
    fake.plan = act(Play(runs=inf, word="FINISHED", tells_rc=False))
    async with xq:
        job = await xq.push(["fake"])
        killed = await kill_when_running(xq, job)

    assert killed is True
    assert job.status is JobStatus.KILLED


async def test_a_job_killed_hard_is_killed_when_it_is_gone(xq, fake):
    fake.plan = act(Play(runs=inf, vanishes=True))
    async with xq:
        job = await xq.push(["fake"])
        killed = await kill_when_running(xq, job)

        with pytest.raises(JobKilled):
            await job

    assert killed is True
    assert job.reason.code == "KILLED"


async def test_a_job_that_can_not_be_killed_stays_killing_and_is_named(xq, fake, caplog):
    fake.plan = cast({"stuck": Play(runs=1000, deaf=inf, undead=True)})
    async with xq:
        job = await xq.push(["fake"], title="stuck")
        with pytest.raises(Exception, match="may still be running"):
            await kill_when_running(xq, job)

        assert job.status is JobStatus.KILLING
        assert job.reason.code == "KILLING"

    assert job.status is JobStatus.FINISHED


class EndsWhenAsked(FakeScheduler):
    """Its jobs end after their files were read and before it answers."""

    grace_seconds = 0.0

    async def poll_jobs(self, jobs):
        for job in jobs:
            job.status_file.write_text("RUNNING 1\nFINISHED 0\n")
        return dict.fromkeys(jobs, Answer(Presence.GONE))


async def test_a_job_that_ends_between_looking_and_asking_is_judged_by_its_newest_files(make):
    scheduler = EndsWhenAsked()
    scheduler.plan = act(Play(runs=inf))
    async with make(scheduler) as xq:
        job = await xq.push(["fake"])

        assert await job == ""

    assert (job.status, job.start, str(job.reason)) == (JobStatus.FINISHED, 1, "EXIT 0")


async def test_nothing_is_concluded_where_the_newest_files_can_not_be_read(make, monkeypatch):
    class Stale(EndsWhenAsked):
        async def poll_jobs(self, jobs):
            answers = await super().poll_jobs(jobs)
            with suppress(StopIteration):
                next(troubles)
                monkeypatch.setattr(metadir, "read_news", unreadable)
                asyncio.get_running_loop().call_later(600, monkeypatch.undo)
            return answers

    def unreadable(directory):
        raise OSError(errno.ESTALE, "Stale file handle", directory)

    troubles = iter([1])
    scheduler = Stale()
    scheduler.plan = act(Play(runs=inf))
    async with make(scheduler) as xq:
        job = await xq.push(["fake"])
        begun = now()
        await job

    assert now() - begun > 600
    assert (job.status, job.start) == (JobStatus.FINISHED, 1)
