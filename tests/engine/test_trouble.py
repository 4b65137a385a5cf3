"""Trouble of the infrastructure pauses, recovers by itself, and is no job's fault."""

import asyncio
import errno
import logging
from math import inf

import pytest

from tests.engine.acting import FailingStore, SlowStore, act, ended, now, until, walked
from xqute import Job, JobFailed, JobStatus
from xqute.engine.trouble import take_back
from xqute.errors import MetadirError
from xqute.states import Answer, Presence, Reason
from xqute.stores.memory import MemoryStore
from xqute.testing.fake import FakeScheduler, Play, TellingFakeScheduler
from xqute.wrapper import RETURNED


@pytest.fixture
def store(request) -> FailingStore:
    return FailingStore()


# the scheduler


async def test_a_scheduler_that_can_not_be_reached_is_tried_again_until_it_can(xq, fake):
    fake.unreachable_for(600)
    jobs = await xq.push_many([["fake"]] * 3, retries=1)

    report = await xq.run_until_complete()

    assert report.counts == {JobStatus.FINISHED: 3}
    assert [(job.attempt, job.start) for job in jobs] == [(1, 1)] * 3


async def test_a_job_says_that_its_scheduler_is_down(xq, fake):
    fake.unreachable_for(60)
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.reason.code == "SCHEDULER_DOWN")

        assert job.status is JobStatus.QUEUED
        assert "can't be reached now" in str(job.reason)

    assert job.status is JobStatus.FINISHED


async def test_tries_become_rarer_while_the_scheduler_is_down(xq, fake):
    fake.unreachable_for(3600)
    await xq.push_many([["fake"]] * 2)

    await xq.run_until_complete()

    assert len(fake.asked("submit")) < 3600 / 30 + 20


async def test_the_log_says_once_that_it_is_down_and_once_that_it_is_back(xq, fake, caplog):
    fake.unreachable_for(600)
    await xq.push(["fake"])

    await xq.run_until_complete()

    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len([line for line in warnings if "submissions pause" in line]) == 1
    assert len([line for line in warnings if "submissions go on" in line]) == 1


class FindsNoRoom(TellingFakeScheduler):
    """Its wrappers give their start back, until a time: they find no room for their files."""

    full_until = 0.0
    runs = 10.0

    async def submit_job(self, job):
        self.plan = act(Play(begins=now() >= self.full_until, runs=self.runs))
        return await super().submit_job(job)

    async def poll_jobs(self, jobs):
        answers = await super().poll_jobs(jobs)
        no_room = Answer(Presence.GONE, Reason("DISK_FULL", {"error": "no room"}))
        gone = [job for job, answer in answers.items() if answer.presence is Presence.GONE]
        return {**answers, **{job: no_room for job in gone if (job.id, job.start) not in self.began}}


@pytest.mark.parametrize("runs", [0.0, 10**4])
async def test_starts_that_come_back_again_and_again_are_one_line_until_one_begins(make, caplog, runs):
    scheduler = FindsNoRoom()
    scheduler.full_until, scheduler.runs = now() + 600, runs
    async with make(scheduler) as xq:
        jobs = await xq.push_many([["fake"]] * 3)
        await until(lambda: "submissions go on" in caplog.text)

        assert scheduler.full_until <= now() < scheduler.full_until + 60  # while they run

    assert [(job.status, job.attempt, job.start) for job in jobs] == [(JobStatus.FINISHED, 1, 1)] * 3
    assert caplog.text.count("submissions pause") == 1
    assert caplog.text.count("submissions go on") == 1


async def test_starts_that_come_back_are_handed_over_more_rarely_each_time(make):
    scheduler = FindsNoRoom()
    scheduler.full_until = now() + 3600
    xq = make(scheduler)
    await xq.push_many([["fake"]] * 2)

    await xq.run_until_complete()

    assert len(scheduler.asked("submit")) < 2 * (3600 / 30 + 20)


async def test_trouble_that_comes_again_after_it_was_over_is_told_again(make, caplog):
    scheduler = FindsNoRoom()
    xq = make(scheduler)
    for _ in range(2):
        scheduler.full_until = now() + 60
        await xq.push(["fake"])
        await xq.run_until_complete()

    assert caplog.text.count("submissions pause") == 2
    assert caplog.text.count("submissions go on") == 2


async def test_the_claim_of_a_start_that_came_back_is_removed_before_it_is_handed_over_again(make):
    class Claims(FindsNoRoom):
        async def submit_job(self, job):
            if now() < self.full_until:
                job.status_file.write_text(RETURNED)
            return await super().submit_job(job)

    scheduler = Claims()
    scheduler.full_until = now() + 60
    xq = make(scheduler)

    job = await xq.push(["fake"])
    await job

    assert (job.status, job.attempt, job.start) == (JobStatus.FINISHED, 1, 1)


@pytest.mark.parametrize("said", ["", "RUNNING 1\n", "RETURNED\n", "RETURNE", "FINISHED 0\n"], ids=repr)
async def test_a_claim_that_says_anything_else_is_never_removed(tmp_path, said):
    (tmp_path / "job.status").write_text(said)

    take_back(str(tmp_path))

    assert (tmp_path / "job.status").read_text() == said


async def test_running_jobs_outlive_a_scheduler_that_can_not_be_reached(xq, fake):
    fake.plan = act(Play(runs=1000))
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.status is JobStatus.RUNNING)
        fake.unreachable_for(900)

    assert await walked(job) == ["QUEUED", "SUBMITTED", "RUNNING", "FINISHED"]


async def test_a_poll_that_raises_changes_nothing(make):
    class Raising(FakeScheduler):
        async def poll_jobs(self, jobs):
            raise ConnectionResetError("the line is dead")

    xq = make(Raising(act(Play(runs=100, vanishes=True))))
    async with xq:
        job = await xq.push(["fake"])
        await asyncio.sleep(3600)

        assert job.status is JobStatus.RUNNING

        job.status_file.write_text("RUNNING 1\nFINISHED 0\n")


@pytest.mark.parametrize("answers", [{}, {"job": 1}], ids=repr)
async def test_no_answer_about_a_job_changes_nothing(make, answers):
    class Mumbling(FakeScheduler):
        async def poll_jobs(self, jobs):
            return answers

    xq = make(Mumbling(act(Play(runs=100))))

    job = await xq.push(["fake"])
    await job

    assert job.status is JobStatus.FINISHED


@pytest.mark.parametrize("garbage", [None, 7, "RUNNING"], ids=repr)
async def test_garbage_instead_of_answers_is_no_answer(make, garbage, caplog):
    class Babbling(FakeScheduler):
        async def poll_jobs(self, jobs):
            return garbage

    xq = make(Babbling(act(Play(runs=100))))

    job = await xq.push(["fake"])
    await job

    assert job.status is JobStatus.FINISHED
    assert repr(garbage) in caplog.text


async def test_a_poll_that_never_answers_does_not_stop_the_watching(make):
    class Hanging(FakeScheduler):
        async def poll_jobs(self, jobs):
            await asyncio.sleep(10**6)

    xq = make(Hanging(act(Play(runs=100))))
    begun = now()

    job = await xq.push(["fake"])
    await job

    assert now() - begun < 600


async def test_a_hand_over_that_never_returns_does_not_keep_the_run_from_stopping(make):
    class Hanging(FakeScheduler):
        async def submit_job(self, job):
            await asyncio.sleep(10**6)

    xq = make(Hanging())
    begun = now()
    async with xq:
        await xq.push(["fake"])
        await asyncio.sleep(10)
        xq.request_stop("enough")

    assert now() - begun < 600


async def test_a_refused_job_fails_and_the_others_go_on(xq, fake):
    refused = await xq.push(["fake", "refuse"])
    good = await xq.push(["fake", "ok"])

    await xq.run_until_complete()

    assert (refused.status, refused.reason.code) == (JobStatus.FAILED, "SUBMIT_REFUSED")
    assert good.status is JobStatus.FINISHED


async def test_a_hand_over_that_raises_anything_else_fails_that_job_only(make):
    class Buggy(FakeScheduler):
        async def submit_job(self, job):
            if job.title == "bad":
                raise KeyError("partition")
            return await super().submit_job(job)

    xq = make(Buggy())
    bad = await xq.push(["fake"], title="bad")
    good = await xq.push(["fake"])

    await xq.run_until_complete()

    assert (bad.status, bad.reason.code) == (JobStatus.FAILED, "SUBMIT_REFUSED")
    assert "KeyError" in str(bad.reason)
    assert good.status is JobStatus.FINISHED


async def test_fewer_outcomes_than_jobs_is_an_error_that_ends_the_run(make):
    class Short(FakeScheduler):
        async def submit_jobs(self, jobs):
            return []

    xq = make(Short())
    await xq.push(["fake"])

    with pytest.raises(ValueError, match="shorter"):
        await xq.run_until_complete()


# the metadir


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EROFS, errno.EDQUOT])
async def test_a_script_that_can_not_be_written_now_is_written_later(xq, monkeypatch, number):
    from xqute import metadir

    write, failures = metadir.write_script, iter(range(5))

    def fail_sometimes(path, text):
        if next(failures, None) is not None:
            raise OSError(number, "not now", path)
        write(path, text)

    monkeypatch.setattr(metadir, "write_script", fail_sometimes)

    job = await xq.push(["fake"])
    await job

    assert (job.status, job.attempt, job.start) == (JobStatus.FINISHED, 1, 1)
    assert "DISK_FULL" in [line.reason.code for line in await job.history()]


async def test_a_vanished_metadir_ends_the_run_and_what_runs(make, fake, tmp_path):
    fake.plan = act(Play(runs=inf))
    xq = make(scheduler_forks=2)
    jobs = await xq.push_many([["fake"]])
    with pytest.raises(MetadirError, match="vanished"):  # noqa: PT012  the same
        async with xq:
            await until(lambda: jobs[0].status is JobStatus.RUNNING)
            (tmp_path / "jobs").rename(tmp_path / "elsewhere")
            await xq.push(["fake"])
            await asyncio.sleep(60)

    assert fake.alive == []


# definitions


async def test_a_job_that_can_not_be_wrapped_fails_and_the_others_go_on(make, caplog):
    class Unwrappable(Job):
        async def wrap_cmd(self, scheduler):
            if self.title == "bad":
                raise RuntimeError("no template")
            return "#!/bin/sh\n"

    class Fake(FakeScheduler):
        job_class = Unwrappable

    xq = make(Fake())
    bad = await xq.push(["fake"], title="bad", retries=2)
    good = await xq.push(["fake"])

    await xq.run_until_complete()

    assert (bad.status, bad.reason.code) == (JobStatus.FAILED, "WRAP_FAILED")
    assert "no template" in str(bad.reason)
    assert good.status is JobStatus.FINISHED
    assert "no template" in caplog.text
    with pytest.raises(JobFailed, match="WRAP_FAILED"):
        await bad


async def test_a_plain_wrap_cmd_works_too(make):
    class Plain(Job):
        def wrap_cmd(self, scheduler):
            return "#!/bin/sh\n# plain\n"

    class Fake(FakeScheduler):
        job_class = Plain

    fake = Fake()
    xq = make(fake)

    job = await xq.push(["fake"])
    await job

    assert (await job.wrapped_script(fake)).read_text() == "#!/bin/sh\n# plain\n"


# the store


async def test_ends_are_kept_while_the_store_can_not_be_written_and_recorded_later(xq, fake, store, caplog):
    fake.plan = act(Play(runs=10))
    async with xq:
        jobs = await xq.push_many([["fake"]] * 3)
        await until(lambda: all(job.status is JobStatus.RUNNING for job in jobs))
        store.fails_for(300)
        asked = now()
        await asyncio.gather(*jobs)

        assert now() - asked >= 290  # nobody is told before it is durable

    assert [row.status for row in await store.get([1, 2, 3])] == [JobStatus.FINISHED] * 3
    assert len([line for line in caplog.messages if "jobs run on" in line]) == 1


async def test_jobs_are_claimed_once_the_store_can_be_read_again(xq, fake, store):
    store.fails_for(120)

    job = await xq.push(["fake"])
    await job

    assert (job.status, job.attempt) == (JobStatus.FINISHED, 1)


async def test_a_run_stops_in_bounded_time_though_the_store_is_down(xq, fake, store):
    fake.plan = act(Play(runs=inf))
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.status is JobStatus.RUNNING)
        store.fails_for(10**5)
        asked = now()
        xq.request_stop("enough")

    assert now() - asked < 300
    assert fake.alive == []


async def test_what_could_not_be_given_back_at_a_stop_runs_in_the_next_run(make, fake, store):
    fake.plan = act(Play())
    xq = make(scheduler_forks=2)
    async with xq:
        fake.unreachable_for(30)
        jobs = await xq.push_many([["fake"]] * 2)
        await until(lambda: jobs[0].reason.code == "SCHEDULER_DOWN")
        store.fails_for(60)
        xq.request_stop("enough")
    await asyncio.sleep(60)

    await xq.run_until_complete()

    assert [job.status for job in jobs] == [JobStatus.FINISHED] * 2


async def test_awaiting_an_ended_job_while_the_store_is_busy_with_others_returns(make, fake):
    """Told before, and not dirty any more: the end of this job is durable, whatever is written."""
    fake.plan = lambda job: Play(runs=job.id)
    xq = make(store=SlowStore())
    async with xq:
        first, *others = await xq.push_many([["fake"]] * 4)
        await first
        for _ in range(200):
            await asyncio.wait_for(first, 10)
            await asyncio.sleep(0.05)
        await ended(others)


async def test_a_slow_store_changes_no_outcome(make, fake):
    xq = make(store=SlowStore(), job_error_strategy="retry", retry_delay=0)
    await xq.push_many([["fake", "flaky", "1", "2"]] * 5)

    report = await xq.run_until_complete()

    assert report.counts == {JobStatus.FINISHED: 5}


class VanishingStore(MemoryStore):
    """Its folder goes away, and with that everything in it."""

    vanished = False

    def _look(self) -> None:
        if self.vanished:
            raise MetadirError("the metadir /here has vanished while jobs ran: the run was stopped")

    async def record(self, records):
        self._look()
        return await super().record(records)

    async def claim(self, owner, run, count, now, choose=None):
        self._look()
        return await super().claim(owner, run, count, now, choose)

    async def release(self, owner, ids):
        self._look()
        await super().release(owner, ids)

    async def own(self, row, before):
        self._look()
        return await super().own(row, before)


async def test_a_metadir_that_vanishes_is_said_once_and_without_tracebacks(make, fake, caplog):
    fake.plan = act(Play(runs=5))
    store = VanishingStore()
    xq = make(store=store, scheduler_forks=1)
    jobs = await xq.push_many([["fake"]] * 3)
    running = asyncio.create_task(xq.run_until_complete())
    await until(lambda: jobs[0].status is JobStatus.RUNNING)

    store.vanished = True
    with caplog.at_level(logging.WARNING), pytest.raises(MetadirError, match="has vanished"):
        await running

    assert "has vanished" not in caplog.text
    assert not [record for record in caplog.records if record.exc_info]
