"""Plugins hear of everything, in order, one at a time per job, and can harm no job."""

import asyncio
import logging
from math import inf

import pytest

from tests.engine.acting import Diary, act, cast, ended, now, plugin, until
from xqute import JobFailed, JobStatus, Reject, cmd, simplug
from xqute.testing.fake import Play

ORDERLY = ["init", "queued", "submitted", "started", "finishing", "succeeded"]


async def test_the_hooks_of_a_job_that_succeeds(xq, diary):
    job = await xq.push(["fake", "ok"])

    await xq.run_until_complete()

    assert diary.of(job) == ORDERLY


async def test_a_job_that_ends_before_it_was_seen_running_has_all_hooks(xq, fake, diary):
    fake.plan = act(Play(runs=0))
    job = await xq.push(["fake"])

    await xq.run_until_complete()

    assert diary.of(job) == ORDERLY


async def test_the_hooks_of_each_failed_attempt(xq, diary):
    job = await xq.push(["fake", "fail"], retries=1)

    await xq.run_until_complete()

    attempt = ["submitted", "started", "failed"]
    assert diary.of(job) == ["init", "queued", *attempt, *attempt]
    assert diary.will_retry == [True, False]


async def test_a_job_that_needs_others_tells_that_it_was_accepted_waiting(xq, diary):
    first = await xq.push(["fake", "ok"])
    second = await xq.push(cmd("fake", "ok").after(first))

    await xq.run_until_complete()

    assert diary.of(second) == ["init", "event", *ORDERLY[1:]]
    assert diary.events == ["accepted waiting"]


async def test_the_hooks_of_a_refused_job(xq, diary):
    job = await xq.push(["fake", "refuse"])

    await xq.run_until_complete()

    assert diary.of(job) == ["init", "queued", "failed"]


async def test_the_hooks_of_jobs_that_a_stop_kills(xq, fake, diary):
    fake.plan = act(Play(runs=inf))
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: "started" in diary.of(job))
        xq.request_stop("enough")

    assert diary.of(job) == ["init", "queued", "submitted", "started", "killing", "event", "killed"]


async def test_the_hooks_of_the_run_come_once_per_session_and_in_order(xq, diary):
    await xq.push(["fake"])
    await xq.run_until_complete()
    assert diary.run == ["on_init", "on_complete", "on_shutdown"]
    assert [diary.lines[0][0], *[hook for hook, _ in diary.lines[-2:]]] == diary.run

    await xq.push(["fake"])
    await xq.run_until_complete()

    assert diary.run == ["on_init", "on_complete", "on_shutdown"] * 2


async def test_the_consumer_in_on_shutdown_is_the_xqute(make):
    seen = []

    async def shutdown(scheduler, consumer):
        seen.append((scheduler, consumer))

    xq = make(plugins=[plugin(on_shutdown=shutdown)])
    await xq.run_until_complete()

    assert seen == [(xq.scheduler, xq)]


async def test_a_job_has_its_status_when_its_hook_is_called(xq, diary):
    await xq.push(["fake", "ok", "5"])

    await xq.run_until_complete()

    assert [status for _, _, status in diary.seen] == [
        "QUEUED",
        "QUEUED",
        "SUBMITTED",
        "RUNNING",
        "RUNNING",
        "FINISHED",
    ]


async def test_a_change_is_in_the_store_before_its_hook(make, store):
    kept = []

    async def succeeded(scheduler, job):
        kept.extend(row.status for row in await store.get([job.id]))

    xq = make(plugins=[plugin(on_job_succeeded=succeeded)])
    await xq.push(["fake"])

    await xq.run_until_complete()

    assert kept == [JobStatus.FINISHED]


async def test_a_job_is_not_handed_over_before_its_hooks_returned(make, fake):
    async def init(scheduler, job):
        await asyncio.sleep(8)

    xq = make(plugins=[plugin(on_job_init=init)])
    begun = now()
    async with xq:
        slow = await xq.push(["fake"])
        await slow

    assert fake.asked("submit")[0].at >= begun + 8


async def test_the_slow_hook_of_one_job_keeps_no_other_job_waiting(make, fake):
    async def queued(scheduler, job):
        if job.title == "slow":
            await asyncio.sleep(50)

    xq = make(plugins=[plugin(on_job_queued=queued)])
    await xq.push(["fake"], title="slow")
    begun = now()

    await (await xq.push(["fake"]))

    assert now() - begun < 10


async def test_hooks_of_one_job_run_one_at_a_time(make, fake):
    class Slow(Diary):
        name = "slow"
        running = 0

        def write(self, hook, job=None):
            assert self.running == 0
            super().write(hook, job)

        @simplug.impl
        async def on_job_started(self, scheduler, job):
            self.write("started", job)
            self.running = 1
            await asyncio.sleep(7)
            self.running = 0

        @simplug.impl
        async def on_job_submitted(self, scheduler, job):
            self.write("submitted", job)
            self.running = 1
            await asyncio.sleep(3)
            self.running = 0

    slow = Slow()
    xq = make(plugins=[slow])
    job = await xq.push(["fake", "ok", "1"])

    await xq.run_until_complete()

    assert slow.of(job) == ORDERLY


async def test_a_stop_waits_for_the_running_hook_of_a_job_before_its_killing_hook(make, fake):
    running, overlaps = [], []

    async def started(scheduler, job):
        running.append(job)
        await asyncio.sleep(5)
        running.clear()

    async def killing(scheduler, job):
        overlaps.extend(running)

    fake.plan = act(Play(runs=inf))
    xq = make(plugins=[plugin(on_job_started=started, on_job_killing=killing)])
    async with xq:
        await xq.push(["fake"])
        await until(lambda: running)
        xq.request_stop("enough")

    assert overlaps == []


async def test_a_raising_hook_is_logged_with_its_plugins_name_and_harms_nobody(make, diary, caplog):
    async def boom(scheduler, job):
        raise RuntimeError("no network")

    names = ["init", "queued", "submitted", "started", "finishing", "succeeded"]
    # a function carries one hook's name, so each hook has its own
    hooks = {f"on_job_{name}": _copy(boom) for name in names}
    xq = make(plugins=[plugin("notifier", **hooks), diary])
    job = await xq.push(["fake"])

    report = await xq.run_until_complete()

    assert report.ok
    assert diary.of(job) == ORDERLY
    for name in names:
        assert f"on_job_{name} of plugin 'notifier' raised" in caplog.text


def _copy(hook):
    async def copied(scheduler, job):
        return await hook(scheduler, job)

    return copied


async def test_raising_hooks_of_the_run_harm_nobody(make, caplog):
    def boom():
        async def hook(scheduler):
            raise RuntimeError("no network")

        return hook

    async def shutdown(scheduler, consumer):
        raise RuntimeError("no network")

    hooks = {"on_init": boom(), "on_complete": boom(), "on_shutdown": shutdown}
    xq = make(plugins=[plugin("notifier", **hooks)])
    await xq.push(["fake"])

    report = await xq.run_until_complete()

    assert report.ok
    assert caplog.text.count("of plugin 'notifier' raised") == 3


async def test_a_slow_hook_is_named_and_a_very_slow_one_is_cancelled(make, diary, caplog):
    cancelled = []

    async def queued(scheduler, job):
        try:
            await asyncio.sleep(inf)
        except asyncio.CancelledError:
            cancelled.append(now())
            raise

    xq = make(plugins=[plugin("sloth", on_job_queued=queued), diary])
    begun = now()
    job = await xq.push(["fake"])
    async with xq:
        await asyncio.sleep(11)
        assert "on_job_queued of plugin 'sloth' takes more than 10" in caplog.text
        await job

    assert cancelled == [begun + 60]
    assert "on_job_queued of plugin 'sloth' was cancelled after 60" in caplog.text
    assert diary.of(job) == ORDERLY


async def test_a_hook_that_ends_as_cancelled_harms_nobody(make, diary):
    async def cancelled(scheduler, job):
        task = asyncio.ensure_future(asyncio.sleep(100))
        task.cancel()
        await task

    xq = make(plugins=[plugin(on_job_started=cancelled), diary])
    job = await xq.push(["fake"])

    await xq.run_until_complete()

    assert job.status is JobStatus.FINISHED
    assert diary.of(job) == ORDERLY


async def test_a_finishing_hook_that_ends_as_cancelled_harms_nobody(make):
    async def cancelled(scheduler, job):
        task = asyncio.ensure_future(asyncio.sleep(100))
        task.cancel()
        await task

    xq = make(plugins=[plugin(on_job_finishing=cancelled)])
    job = await xq.push(["fake"])

    await xq.run_until_complete()

    assert job.status is JobStatus.FINISHED


# finishing


async def test_false_in_on_job_finishing_makes_a_failed_attempt(make, fake):
    async def finishing(scheduler, job):
        return False

    xq = make(plugins=[plugin(on_job_finishing=finishing)])
    job = await xq.push(["fake"])

    with pytest.raises(JobFailed, match="REJECTED"):
        await job

    assert (job.status, job.reason.code, job.rc) == (JobStatus.FAILED, "REJECTED", 0)


@pytest.mark.parametrize("answer", [None, True, 0, ""], ids=repr)
async def test_any_other_answer_in_on_job_finishing_is_a_success(make, answer):
    async def finishing(scheduler, job):
        return answer

    xq = make(plugins=[plugin(on_job_finishing=finishing)])
    job = await xq.push(["fake"])

    await job

    assert job.status is JobStatus.FINISHED


async def test_a_rejected_success_is_retried_with_its_words(make, diary):
    async def finishing(scheduler, job):
        if job.attempt == 1:
            raise Reject("outputs missing")

    xq = make(plugins=[plugin(on_job_finishing=finishing), diary])
    job = await xq.push(["fake"], retries=1)

    await xq.run_until_complete()

    assert (job.status, job.attempt) == (JobStatus.FINISHED, 2)
    assert any("REJECTED: outputs missing" in line.error for line in await job.history())
    assert diary.of(job).count("failed") == 1


async def test_reject_anywhere_else_is_an_error_of_the_plugin(make, caplog):
    async def started(scheduler, job):
        raise Reject("wrong place")

    xq = make(plugins=[plugin("picky", on_job_started=started)])
    job = await xq.push(["fake"])

    await xq.run_until_complete()

    assert job.status is JobStatus.FINISHED
    assert "on_job_started of plugin 'picky' raised Reject" in caplog.text


async def test_a_job_that_is_killed_while_plugins_decide_ends(make, fake):
    async def finishing(scheduler, job):
        await asyncio.sleep(8)

    xq = make(plugins=[plugin(on_job_finishing=finishing)])
    async with xq:
        job = await xq.push(["fake", "ok", "1"])
        await until(lambda: not fake.alive and job.status is JobStatus.RUNNING)
        await asyncio.sleep(4)
        killed = await job.kill()

    assert killed is False
    assert job.status is JobStatus.FINISHED


# from hooks


async def test_a_job_pushed_from_a_hook_runs_in_the_same_run(make, fake):
    async def succeeded(scheduler, job):
        if job.id < 4:
            await xq.push(["fake"])

    xq = make(plugins=[plugin(on_job_succeeded=succeeded)])
    await xq.push(["fake"])

    report = await xq.run_until_complete()

    assert report.counts == {JobStatus.FINISHED: 4}


async def test_a_job_pushed_from_the_hook_of_a_failed_job_runs(make, fake):
    fake.plan = cast({"bad": Play(rc=1)})

    async def failed(scheduler, job):
        await xq.push(["fake"], title="repair")

    xq = make(plugins=[plugin(on_job_failed=failed)])
    await xq.push(["fake"], title="bad")

    report = await xq.run_until_complete()

    assert report.counts == {JobStatus.FAILED: 1, JobStatus.FINISHED: 1}


async def test_a_hook_may_await_another_job(make, fake):
    async def succeeded(scheduler, job):
        if job.title == "first":
            await (await xq.push(["fake", "ok", "5"], title="second"))

    xq = make(plugins=[plugin(on_job_succeeded=succeeded)])
    await xq.push(["fake"], title="first")

    report = await xq.run_until_complete()

    assert report.counts == {JobStatus.FINISHED: 2}


async def test_a_hook_may_stop_the_run(make, fake):
    async def started(scheduler, job):
        xq.request_stop("a hook said so")

    fake.plan = act(Play(runs=inf))
    xq = make(plugins=[plugin(on_job_started=started)])
    await xq.push(["fake"])

    report = await xq.run_until_complete()

    assert report.counts == {JobStatus.KILLED: 1}
    assert str(xq.stop_reason) == "a hook said so"


async def test_a_job_pushed_in_on_complete_is_not_lost(make, fake):
    pushed = []

    async def complete(scheduler):
        if not pushed:
            pushed.append(await xq.push(["fake"]))

    xq = make(plugins=[plugin(on_complete=complete)])
    await xq.push(["fake"])

    await xq.run_until_complete()
    await xq.run_until_complete()

    assert pushed[0].status is JobStatus.FINISHED


async def test_a_plain_function_works_as_a_hook_and_warns(make):
    seen = []

    def on_job_succeeded(scheduler, job):
        seen.append(job.id)

    with pytest.warns(Warning, match="sync"):
        xq = make(plugins=[plugin("plain", on_job_succeeded=on_job_succeeded)])
    await xq.push(["fake"])
    await xq.run_until_complete()

    assert seen == [1]


async def test_plugins_registered_for_all_are_heard_too(make):
    seen = []

    async def succeeded(scheduler, job):
        seen.append(job.id)

    with simplug.plugins_context([plugin("registered", on_job_succeeded=succeeded)]):
        xq = make()
        await xq.push(["fake"])
        await xq.run_until_complete()

    assert seen == [1]


async def test_hooks_of_many_jobs_run_side_by_side(make, fake):
    async def queued(scheduler, job):
        await asyncio.sleep(5)

    xq = make(plugins=[plugin(on_job_queued=queued)], scheduler_forks=50)
    await xq.push_many([["fake"]] * 50)
    begun = now()

    await xq.run_until_complete()

    assert now() - begun < 20


async def test_a_hook_is_called_for_each_of_many_jobs(make, diary, caplog):
    caplog.set_level(logging.WARNING)
    xq = make(plugins=[diary], scheduler_forks=100)
    jobs = await xq.push_many([["fake"]] * 300)

    await xq.run_until_complete()

    assert all(diary.of(job) == ORDERLY for job in jobs)
    await ended(jobs)


async def test_a_hook_that_pushes_whenever_the_run_is_complete_is_told_that_it_never_ends(make, caplog):
    class Endless:
        name = "endless"

        @simplug.impl
        async def on_complete(self, scheduler):
            await xq.push(["fake"])

    xq = make(plugins=[Endless()])
    await xq.push(["fake"])
    running = asyncio.create_task(xq.run_until_complete())
    await until(lambda: "never lets it end" in caplog.text)
    xq.request_stop("enough")

    assert (await running).stop_reason.code == "enough"
    assert caplog.text.count("was about to end 3 times, and jobs were pushed each time") == 1
