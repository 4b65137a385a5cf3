"""Stopping a job: wherever it is, and once it ran too long."""

import asyncio
from math import inf

import pytest

from tests.engine.acting import act, ended, now, plugin, until, walked
from xqute import Job, JobFailed, JobKilled, JobStatus
from xqute.stores.memory import MemoryStore
from xqute.testing.fake import FakeScheduler, Play

FOREVER = Play(runs=inf)


async def is_killed(job: Job) -> bool:
    with pytest.raises(JobKilled):
        await job
    return job.status is JobStatus.KILLED and job.reason.code == "KILLED"


async def test_a_queued_job_is_killed_and_never_runs(make, fake):
    fake.plan = act(Play(runs=100))
    xq = make(scheduler_forks=1)
    async with xq:
        first, second = await xq.push_many([["fake"]] * 2)
        await until(lambda: first.status is JobStatus.RUNNING)

        assert await second.kill() is True
        assert await is_killed(second)

    assert fake.began == [(first.id, 1)]
    assert await walked(second) == ["QUEUED", "KILLING", "KILLED"]


async def test_a_job_is_killed_before_any_engine_runs(xq, fake, diary):
    job = await xq.push(["fake"])

    assert await job.kill() is True

    assert job.status is JobStatus.KILLED
    assert diary.of(job) == ["init", "queued", "killing", "event", "killed"]
    await xq.run_until_complete()
    assert fake.began == []


async def test_a_job_that_is_killed_as_soon_as_it_is_pushed_has_its_hooks_in_order(make, diary):
    async def init(scheduler):
        await asyncio.sleep(3)

    async with make(plugins=[diary, plugin("slow", on_init=init)]) as xq:
        job = await xq.push(["fake"])
        assert await job.kill() is True

    assert diary.lines[0] == ("on_init", 0)
    assert diary.of(job) == ["init", "queued", "killing", "event", "killed"]


async def test_a_job_is_killed_in_on_init(make, fake, diary):
    took = []

    async def init(scheduler):
        begun = now()
        await job.kill()
        took.append(now() - begun)

    xq = make(plugins=[diary, plugin("killer", on_init=init)])
    job = await xq.push(["fake"])
    await xq.run_until_complete()

    assert took[0] < 1
    assert await is_killed(job)
    assert fake.began == []


async def test_a_job_is_killed_while_the_engine_can_not_begin(make, fake):
    async def broken(stack):
        await asyncio.sleep(2)
        raise RuntimeError("no cluster")

    fake.open = broken
    xq = make()
    job = await xq.push(["fake"])
    running = asyncio.ensure_future(xq.run_until_complete())
    await asyncio.sleep(1)

    assert await job.kill() is True

    with pytest.raises(RuntimeError, match="no cluster"):
        await running


async def test_a_job_is_killed_while_its_script_is_made(tmp_path, make):
    wrapping = asyncio.Event()

    class SlowJob(Job):
        async def wrap_cmd(self, scheduler):
            wrapping.set()
            await asyncio.sleep(10)
            return await super().wrap_cmd(scheduler)

    class SlowFake(FakeScheduler):
        job_class = SlowJob

    slow = SlowFake()
    xq = make(slow)
    async with xq:
        job = await xq.push(["fake"])
        other = await xq.push(["fake", "ok"])
        await wrapping.wait()
        killed = await job.kill()

    assert killed is True
    assert [began for began, _ in slow.began] == [other.id]
    assert other.status is JobStatus.FINISHED


async def test_a_job_is_killed_while_it_is_handed_over(xq, fake):
    fake.plan = act(Play(takes=8, runs=inf))
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: fake.asked("submit"))

        assert await job.kill() is True
        assert await is_killed(job)

        assert fake.alive == []


async def test_a_job_that_is_refused_while_it_is_killed_is_killed(xq, fake):
    fake.plan = act(Play(takes=8, refuses="no such queue"))
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: fake.asked("submit"))

        assert await job.kill() is True

    assert await is_killed(job)


async def test_a_submitted_job_is_killed_and_never_runs(xq, fake):
    fake.plan = act(Play(waits=1000))
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.status is JobStatus.SUBMITTED)

        assert await job.kill() is True

    assert fake.began == []
    assert await is_killed(job)
    assert not job.lock_file.exists()


async def test_a_running_job_is_killed(xq, fake, diary):
    fake.plan = act(FOREVER)
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.status is JobStatus.RUNNING)

        assert await job.kill() is True
        assert fake.alive == []

    assert await is_killed(job)
    assert str(job.reason) == "KILLED by request"
    assert diary.of(job)[2:] == ["submitted", "started", "killing", "event", "killed"]


async def test_a_polite_kill_waits_for_its_grace_and_becomes_firm(xq, fake):
    fake.plan = act(Play(runs=inf, deaf=inf))
    async with xq:
        job = await xq.push(["fake"], grace=30)
        await until(lambda: job.status is JobStatus.RUNNING)
        asked = now()
        await job.kill()

        assert 30 <= now() - asked <= 36

    assert await is_killed(job)


async def test_the_grace_given_to_kill_is_nearer(xq, fake):
    fake.plan = act(Play(runs=inf, deaf=inf))
    async with xq:
        job = await xq.push(["fake"], grace=30)
        await until(lambda: job.status is JobStatus.RUNNING)
        asked = now()
        await job.kill(grace="2s")

        assert 2 <= now() - asked <= 8


async def test_a_job_that_ended_is_not_killed(xq):
    job = await xq.push(["fake", "ok"])
    await job

    assert await job.kill() is False
    assert job.status is JobStatus.FINISHED


async def test_killing_twice_at_the_same_time_is_harmless(xq, fake):
    fake.plan = act(Play(runs=inf, deaf=3))
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.status is JobStatus.RUNNING)

        answers = await asyncio.gather(job.kill(), job.kill())

    assert answers == [True, True]
    assert [line.state.name for line in await job.history()].count("KILLED") == 1


async def test_a_job_that_waits_for_its_retry_is_killed(make, fake):
    fake.plan = act(Play(rc=1))
    xq = make(job_error_strategy="retry", retry_delay=100)
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.reason.code == "RETRY_DELAY")

        assert await job.kill() is True

    assert fake.began == [(job.id, 1)]
    assert await is_killed(job)


async def test_a_job_killed_before_its_retry_starts_from_its_first_attempt_when_asked_again(make, fake):
    fake.plan = act(Play(rc=1), Play())
    xq = make(job_error_strategy="retry", retry_delay=100)
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.reason.code == "RETRY_DELAY")
        await job.kill()
        await job.retry()

    assert job.status is JobStatus.FINISHED
    assert (job.attempt, job.start, job.will_retry) == (1, 2, False)


async def test_a_killed_job_is_not_retried(make, fake):
    fake.plan = act(FOREVER)
    xq = make(job_error_strategy="retry")
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.status is JobStatus.RUNNING)
        await job.kill()

    assert await is_killed(job)
    assert fake.began == [(job.id, 1)]


async def test_a_killed_job_does_not_halt_the_run(make, fake):
    fake.plan = act(Play(runs=100))
    xq = make(job_error_strategy="halt")
    async with xq:
        job, other = await xq.push_many([["fake"]] * 2)
        await until(lambda: job.status is JobStatus.RUNNING)
        await job.kill()

    assert other.status is JobStatus.FINISHED


async def test_killing_is_in_the_store_before_the_first_signal(make, fake):
    states = []

    class Watched(MemoryStore):
        async def record(self, records):
            states.extend((record.status, len(fake.asked("kill"))) for record in records)
            return await super().record(records)

    fake.plan = act(FOREVER)
    xq = make(store=Watched())
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.status is JobStatus.RUNNING)
        await job.kill()

    assert (JobStatus.KILLING, 0) in states


async def test_a_plugin_can_forbid_a_kill(make, fake):
    async def forbid(scheduler, job):
        return False

    fake.plan = act(Play(runs=30))
    xq = make(plugins=[plugin(on_job_killing=forbid)])
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.status is JobStatus.RUNNING)

        assert await job.kill() is False
        assert job.status is JobStatus.RUNNING

    assert job.status is JobStatus.FINISHED
    assert fake.asked("kill") == []


async def test_a_plugin_can_not_forbid_the_stop_of_the_run(make, fake):
    async def forbid(scheduler, job):
        return False

    fake.plan = act(FOREVER)
    xq = make(plugins=[plugin(on_job_killing=forbid)])
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.status is JobStatus.RUNNING)
        xq.request_stop("enough")

    assert await is_killed(job)
    assert "enough" in str(job.reason)


async def test_a_kill_that_could_not_be_asked_is_asked_again_when_the_scheduler_is_back(xq, fake):
    fake.plan = act(FOREVER)
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.status is JobStatus.RUNNING)
        fake.unreachable_for(120)
        with pytest.raises(Exception, match="may still be running"):
            await job.kill()
        await asyncio.sleep(600)

        status = job.status
        if status is not JobStatus.KILLED:
            await job.kill()
    assert status is JobStatus.KILLED


async def test_a_hook_may_kill_its_own_job(make, fake):
    async def started(scheduler, job):
        await job.kill()

    async def killing(scheduler, job):
        return True

    fake.plan = act(Play(runs=1000))
    xq = make(plugins=[plugin(on_job_started=started, on_job_killing=killing)])
    begun = now()

    job = await xq.push(["fake"])

    assert await is_killed(job)
    assert now() - begun < 30


# timeouts


async def test_a_job_that_runs_too_long_failed_by_its_timeout(xq, fake, diary):
    fake.plan = act(FOREVER)
    begun = now()

    job = await xq.push(["fake"], timeout="1m")

    with pytest.raises(JobFailed, match="TIMEOUT after 60 s"):
        await job
    assert (job.status, job.reason.code) == (JobStatus.FAILED, "TIMEOUT")
    assert now() - begun == pytest.approx(60, abs=7)
    assert fake.alive == []
    await xq.run_until_complete()
    assert diary.of(job)[-1] == "failed"


async def test_a_timeout_counts_from_the_start_not_from_the_queue(xq, fake):
    fake.plan = act(Play(waits=1000, runs=30))

    job = await xq.push(["fake"], timeout=60)
    await job

    assert job.status is JobStatus.FINISHED


async def test_a_timeout_is_retried(xq, fake):
    fake.plan = act(FOREVER, Play(runs=10))

    job = await xq.push(["fake"], timeout=60, retries=1)
    await job

    assert (job.status, job.attempt, job.start) == (JobStatus.FINISHED, 2, 2)
    reasons = [str(line.reason) for line in await job.history()]
    assert any("TIMEOUT after 60 s" in reason for reason in reasons)


async def test_each_attempt_has_the_whole_timeout(xq, fake):
    fake.plan = act(Play(runs=40, rc=1), Play(runs=40))

    job = await xq.push(["fake"], timeout=60, retries=1)
    await job

    assert job.status is JobStatus.FINISHED


async def test_a_job_that_ignores_its_timeout_is_ended_firmly(xq, fake):
    fake.plan = act(Play(runs=inf, deaf=inf))
    begun = now()

    job = await xq.push(["fake"], timeout=10, grace=5)
    await ended([job])

    assert job.reason.code == "TIMEOUT"
    assert now() - begun < 15 + fake.grace_seconds + 7


async def test_a_job_that_ends_well_during_the_grace_of_its_timeout_is_finished(xq, fake):
    fake.plan = act(Play(runs=12, deaf=inf))

    job = await xq.push(["fake"], timeout=10, grace=5)
    await job

    assert job.status is JobStatus.FINISHED


async def test_a_timeout_while_the_scheduler_is_unreachable_is_enforced_when_it_is_back(xq, fake):
    fake.plan = act(FOREVER)
    async with xq:
        job = await xq.push(["fake"], timeout=10)
        await until(lambda: job.status is JobStatus.RUNNING)
        fake.unreachable_for(300)
        await asyncio.sleep(1000)

        status = job.status
        if not status.final:
            await job.kill()
    assert status is JobStatus.FAILED


async def test_a_timeout_counts_also_when_the_start_was_not_seen_for_a_while(xq, fake):
    """The job runs; its status file is only seen after the first sweeps."""
    fake.plan = act(FOREVER)

    job = await xq.push(["fake"], timeout=0.01)
    await ended([job])

    assert job.reason.code == "TIMEOUT"


BY_ITSELF = Play(runs=inf, rc=3)


@pytest.mark.parametrize(("rc", "end"), [(3, "FAILED"), (0, "FINISHED")])
async def test_a_job_that_ended_before_it_was_killed_was_not_killed(xq, fake, rc, end):
    """Nobody had looked yet."""
    fake.plan = act(Play(runs=inf, rc=rc))
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.status is JobStatus.RUNNING)
        fake.end(job)

        assert await job.kill() is False

    assert (job.status.name, str(job.reason)) == (end, f"EXIT {rc}")


async def test_a_job_that_failed_before_it_was_killed_gets_no_other_attempt(xq, fake):
    fake.plan = act(BY_ITSELF)
    async with xq:
        job = await xq.push(["fake"], retries=2, retry_delay=100)
        await until(lambda: job.status is JobStatus.RUNNING)
        fake.end(job)

        assert await job.kill() is True

    assert await walked(job) == ["QUEUED", "SUBMITTED", "RUNNING", "QUEUED", "KILLING", "KILLED"]
    assert [str(line.reason) for line in await job.history()][3].endswith("after EXIT 3")


async def test_a_job_that_ended_before_its_run_was_stopped_was_not_killed(xq, fake):
    fake.plan = act(BY_ITSELF)
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.status is JobStatus.RUNNING)
        fake.end(job)
        xq.request_stop("enough")

    assert (job.status, str(job.reason)) == (JobStatus.FAILED, "EXIT 3")


async def test_a_job_that_ended_before_its_time_was_up_did_not_run_too_long(xq, fake):
    fake.plan = act(BY_ITSELF)
    async with xq:
        job = await xq.push(["fake"], timeout=50)
        await until(lambda: job.status is JobStatus.RUNNING)
        asyncio.get_running_loop().call_later(49.985, fake.end, job)
        await ended([job])

    assert (job.status, str(job.reason)) == (JobStatus.FAILED, "EXIT 3")
