"""A hook that waits for what waits for it is told at once; one whose wait can end gets what it waits for."""

import asyncio
import logging
from math import inf

import pytest

from tests.engine.acting import act, cast, now, plugin, until
from xqute import Halted, JobStatus, XquteError, cmd
from xqute.testing.fake import Play


async def run(xq) -> float:
    """Virtual seconds that a run took; a run that hangs fails the test."""
    begun = now()
    async with asyncio.timeout(1000):
        await xq.run_until_complete()
    return now() - begun


class Told:
    """Calls something in a hook, and keeps what that raised or returned."""

    def __init__(self, doing) -> None:
        self._doing = doing
        self.answers = []

    async def __call__(self, *args) -> None:
        try:
            self.answers.append(await self._doing(*args))
        except (XquteError, TimeoutError) as exc:
            self.answers.append(exc)

    @property
    def words(self) -> str:
        [answer] = self.answers
        assert isinstance(answer, XquteError)
        return str(answer)


def told(hook: str, doing) -> tuple[Told, object]:
    """A plugin with one hook, and what happened in it."""
    what = Told(doing)

    async def call(scheduler, job):
        await what(job)

    async def call_of_run(scheduler):
        await what(None)

    async def call_of_shutdown(scheduler, consumer):
        await what(None)

    calls = {"on_init": call_of_run, "on_complete": call_of_run, "on_shutdown": call_of_shutdown}
    return what, plugin("waiter", **{hook: calls.get(hook, call)})


# The run


@pytest.mark.parametrize(
    "hook", ["on_init", "on_job_init", "on_job_finishing", "on_job_succeeded", "on_complete"]
)
async def test_a_hook_can_not_wait_for_the_run(make, hook):
    what, waiter = told(hook, lambda job: xq.run_until_complete())
    xq = make(plugins=[waiter])
    await xq.push(["fake"])

    assert await run(xq) < 5

    assert what.words.startswith(f"{hook} of plugin 'waiter'")
    assert "can't use run_until_complete()" in what.words
    assert "asyncio.create_task" in what.words


async def test_a_hook_can_not_enter_a_block_of_its_own_run(make):
    async def nested(job):
        async with xq:
            await xq.push(["fake"])

    what, waiter = told("on_job_succeeded", nested)
    xq = make(plugins=[waiter])
    await xq.push(["fake"])

    assert await run(xq) < 5
    assert "can't use `async with`" in what.words


async def test_a_task_that_a_hook_started_may_wait_for_the_run(make):
    reports = []

    async def wait():
        reports.append(await xq.run_until_complete())

    async def succeeded(scheduler, job):
        tasks.append(asyncio.create_task(wait()))
        await asyncio.sleep(1)

    tasks = []
    xq = make(plugins=[plugin(on_job_succeeded=succeeded)])
    await xq.push(["fake"])

    await run(xq)
    await tasks[0]

    assert [report.counts for report in reports] == [{JobStatus.FINISHED: 1}]


async def test_a_hook_that_waits_for_the_run_in_a_task_is_cancelled_and_holds_nobody(make, caplog):
    async def succeeded(scheduler, job):
        await asyncio.gather(xq.run_until_complete())

    xq = make(plugins=[plugin("waiter", on_job_succeeded=succeeded)])
    await xq.push(["fake"])

    with caplog.at_level(logging.WARNING):
        assert await run(xq) < 70

    assert "on_job_succeeded of plugin 'waiter' was cancelled after 60" in caplog.text


# Jobs that can't go on


@pytest.mark.parametrize("hook", ["on_init", "on_complete", "on_shutdown"])
async def test_a_hook_of_the_run_can_not_await_a_job(make, hook):
    async def wait(job):
        if not what.answers:
            await (await xq.push(["fake"], title="summary"))

    what, waiter = told(hook, wait)
    xq = make(plugins=[waiter])
    await xq.push(["fake"])

    assert await run(xq) < 5

    assert isinstance(what.answers[0], XquteError)
    assert f"{hook} of plugin 'waiter' can't await job" in str(what.answers[0])
    assert "(summary)" in str(what.answers[0])


@pytest.mark.parametrize("hook", ["on_job_init", "on_job_queued", "on_job_started", "on_job_finishing"])
async def test_a_hook_can_not_await_its_own_job(make, hook):
    async def wait(job):
        await job

    what, waiter = told(hook, wait)
    xq = make(plugins=[waiter])
    job = await xq.push(["fake"], title="mine")

    assert await run(xq) < 5

    assert f"{hook} of plugin 'waiter' for job 1 (mine) can't await its own job" in what.words
    assert job.status is JobStatus.FINISHED


async def test_a_hook_may_await_its_own_job_when_that_has_ended(make, fake):
    fake.plan = act(Play(stdout="done"))
    what, waiter = told("on_job_succeeded", lambda job: job)
    xq = make(plugins=[waiter])
    await xq.push(["fake"])

    await run(xq)

    assert what.answers == ["done"]


async def test_a_hook_can_not_await_a_job_that_needs_its_own(make):
    async def wait_for_the_other(job):
        if job.title == "first":
            await second

    what, waiter = told("on_job_started", wait_for_the_other)
    xq = make(plugins=[waiter, plugin(on_job_finishing=nothing)])
    first = await xq.push(["fake"], title="first")
    second = await xq.push(cmd("fake").after(first), title="second")

    assert await run(xq) < 5

    assert "can't await job 2 (second)" in str(what.answers[0])
    assert second.status is JobStatus.FINISHED


async def nothing(scheduler, job):
    """A hook that does nothing."""


async def check(job):
    """Awaits another job, but for that itself."""
    if job.title != "check":
        return await (await job._keeper._room.consumer.push(["fake"], title="check"))
    return None


async def test_with_one_fork_a_finishing_hook_can_not_await_a_job_that_has_not_started(make):
    what, waiter = told("on_job_finishing", check)
    xq = make(plugins=[waiter], scheduler_forks=1)
    job = await xq.push(["fake"], title="mine")

    assert await run(xq) < 10

    assert "on_job_finishing of plugin 'waiter' for job 1 (mine) can't await job 2 (check)" in str(
        what.answers[0]
    )
    assert "hooks that wait keep all 1 fork(s)" in str(what.answers[0])
    assert job.status is JobStatus.FINISHED


async def test_with_a_free_fork_a_finishing_hook_gets_what_it_awaits(make, fake):
    fake.plan = cast({"check": Play(stdout="good", runs=30)})
    what, waiter = told("on_job_finishing", check)
    xq = make(plugins=[waiter], scheduler_forks=2)
    await xq.push(["fake"])

    await run(xq)

    assert what.answers == [None, "good"]


async def test_finishing_hooks_that_keep_all_forks_lose_one_and_the_others_go_on(make, fake):
    fake.plan = cast({"check": Play(stdout="good")}, Play(runs=5))
    what, waiter = told("on_job_finishing", check)
    xq = make(plugins=[waiter], scheduler_forks=4)
    await xq.push_many([["fake"]] * 4)

    assert await run(xq) < 30

    refused = [answer for answer in what.answers if isinstance(answer, XquteError)]
    assert len(refused) == 1
    assert what.answers.count("good") == 3


async def test_a_hook_whose_wait_can_not_end_any_more_is_told_when_its_job_ends(make, fake):
    """It awaits while its job runs; then that wants to be decided on, and keeps its fork."""
    fake.plan = act(Play(runs=5))
    what, waiter = told("on_job_started", check)
    xq = make(plugins=[waiter, plugin(on_job_finishing=nothing)], scheduler_forks=1)
    await xq.push(["fake"], title="mine")

    assert await run(xq) < 30

    assert "for job 1 (mine) can't await job 2 (check)" in str(what.answers[0])


async def test_hooks_of_more_jobs_than_run_at_once_may_all_await_another(make, fake):
    fake.plan = cast({"check": Play(stdout="good", runs=0)}, Play(runs=0))
    what, waiter = told("on_job_init", check)
    xq = make(plugins=[waiter], scheduler_forks=1)
    await xq.push_many([["fake"]] * 100)

    await run(xq)

    assert what.answers.count("good") == 100
    assert sum(answer is not None for answer in what.answers) == 100


# Waits that take long


async def test_a_slow_hook_says_which_job_it_awaits(make, fake, caplog):
    fake.plan = cast({"check": Play(runs=inf)})
    _, waiter = told("on_job_finishing", lambda job: asyncio.gather(check(job)))
    xq = make(plugins=[waiter], scheduler_forks=2)
    await xq.push(["fake"], title="mine")
    running = asyncio.create_task(xq.run_until_complete())

    with caplog.at_level(logging.WARNING):
        await until(lambda: "takes more than" in caplog.text)
        assert "takes more than 10.0 s: it awaits job 2 (check), which is RUNNING" in caplog.text
        await until(lambda: "is cancelled after" in caplog.text)
        assert "is cancelled after 60.0 s: it awaits job 2 (check)" in caplog.text
    xq.request_stop("enough")
    await running


@pytest.mark.parametrize("nested", [False, True], ids=["itself", "in tasks"])
async def test_a_stop_lets_go_the_hooks_that_wait(make, fake, nested):
    fake.plan = cast({"check": Play(runs=inf)})

    async def wait(job):
        await (asyncio.gather(check(job)) if nested else check(job))

    what, waiter = told("on_job_init", wait)
    xq = make(plugins=[waiter], scheduler_forks=1)
    await xq.push_many([["fake"]] * 40)
    running = asyncio.create_task(xq.run_until_complete())
    await until(lambda: fake.alive)
    begun = now()

    running.cancel()
    await asyncio.wait([running])

    assert running.cancelled()
    assert now() - begun < 10
    assert {type(answer) for answer in what.answers} == {type(None), Halted}


async def test_hooks_that_take_too_long_together_are_left_behind_when_the_run_stops(make, fake):
    called = []

    async def init(scheduler, job):
        called.append(job.id)
        await asyncio.sleep(55)

    xq = make(plugins=[plugin(on_job_init=init, on_job_queued=init)])
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: called)
        begun = now()
        xq.request_stop("enough")

    assert called == [job.id] * 2
    assert now() - begun < 95
    await run(xq)
    assert job.status is JobStatus.FINISHED


# Killing


async def test_a_finishing_hook_that_kills_its_own_job_hears_that_it_had_ended(make):
    what, waiter = told("on_job_finishing", lambda job: job.kill())
    xq = make(plugins=[waiter])
    job = await xq.push(["fake"])

    assert await run(xq) < 5

    assert what.answers == [False]
    assert job.status is JobStatus.FINISHED


async def test_a_hook_that_kills_its_own_job_as_that_ends_hears_that_it_had_ended(make, fake):
    fake.plan = act(Play(runs=5))

    async def kill(job):
        await until(lambda: not fake.alive)
        return await job.kill()

    what, waiter = told("on_job_started", kill)
    xq = make(plugins=[waiter, plugin(on_job_finishing=nothing)])
    job = await xq.push(["fake"])

    assert await run(xq) < 20

    assert what.answers == [False]
    assert job.status is JobStatus.FINISHED


async def test_a_killing_hook_can_not_kill_its_own_job_and_the_kill_goes_on(make, fake):
    fake.plan = act(Play(runs=inf))
    what, waiter = told("on_job_killing", lambda job: job.kill())
    async with make(plugins=[waiter]) as xq:
        job = await xq.push(["fake"], title="mine")
        await until(lambda: job.status is JobStatus.RUNNING)

        assert await job.kill() is True

    assert what.words.startswith("on_job_killing of plugin 'waiter' for job 1 (mine) can't kill it")
