"""A job is awaitable like anything else in asyncio, and waiting for it changes nothing."""

import asyncio
import pickle
from operator import attrgetter

import pytest

from tests.engine.acting import act, cast, ended, now, until
from xqute import Halted, JobFailed, JobKilled, JobStatus, OptionError, cmd
from xqute import simplug as pm
from xqute.errors import StoreError
from xqute.stores.memory import MemoryStore
from xqute.testing.fake import Play


async def test_awaiting_a_job_starts_the_engine_and_returns_its_output(xq, fake):
    fake.plan = act(Play(stdout="a\nb\n\n"))

    assert await (await xq.push(["fake"])) == "a\nb"


async def test_awaiting_a_failed_job_raises_each_time(xq):
    job = await xq.push(["fake", "fail", "1", "3"])

    for _ in range(2):
        with pytest.raises(JobFailed, match="EXIT 3") as raised:
            await job
        assert raised.value.job is job
        assert raised.value.reason == job.reason


async def test_awaiting_an_ended_job_returns_at_once(xq):
    job = await xq.push(["fake", "ok"])
    await job
    begun = now()

    await job

    assert now() == begun


async def test_awaiting_a_job_while_it_is_written_that_its_hook_was_told_returns(make, fake):
    returned = asyncio.Event()

    class Plugin:
        name = "told"

        @pm.impl
        async def on_job_succeeded(self, scheduler, job):
            asyncio.get_running_loop().call_soon(returned.set)

    async with make(plugins=[Plugin()]) as xq:
        job = await xq.push(["fake"])
        await returned.wait()

        async with asyncio.timeout(60):
            assert await job == ""


async def test_a_misspelt_argument_of_find_is_named_with_the_right_one(xq):
    with pytest.raises(OptionError, match="unknown argument 'tags': did you mean 'tag'"):
        await xq.find(tags="a")


async def test_two_tasks_may_await_the_same_job(xq, fake):
    fake.plan = act(Play(stdout="both"))
    job = await xq.push(["fake"])

    async def wait():
        return await job

    assert await asyncio.gather(wait(), wait()) == ["both", "both"]


async def test_gather_returns_results_in_the_order_given(xq, fake):
    fake.plan = lambda job: Play(runs=10 - job.id, stdout=f"{job.id}")
    jobs = await xq.push_many([["fake"]] * 5)

    assert await asyncio.gather(*jobs) == ["1", "2", "3", "4", "5"]


async def test_gather_can_return_exceptions(xq):
    jobs = [await xq.push(["fake", verb]) for verb in ("ok", "fail")]

    results = await asyncio.gather(*jobs, return_exceptions=True)

    assert results[0] == ""
    assert isinstance(results[1], JobFailed)


async def test_wait_for_gives_up_and_the_job_runs_on(xq, fake):
    fake.plan = act(Play(runs=60))
    async with xq:
        job = await xq.push(["fake"])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(job, 10)

        assert job.status is JobStatus.RUNNING

    assert job.status is JobStatus.FINISHED


async def test_cancelling_the_wait_touches_no_job(xq, fake):
    fake.plan = act(Play(runs=60, stdout="done"))
    job = await xq.push(["fake"])

    async def wait():
        return await job

    waits = [asyncio.ensure_future(wait()) for _ in range(2)]
    await until(lambda: job.status is JobStatus.RUNNING)
    waits[0].cancel()

    assert await waits[1] == "done"
    assert waits[0].cancelled()
    assert fake.asked("kill") == []


async def test_asyncio_as_completed_takes_jobs(xq, fake):
    fake.plan = lambda job: Play(runs=job.id * 10, stdout=f"{job.id}")
    jobs = await xq.push_many([["fake"]] * 3)

    assert [await next_ for next_ in asyncio.as_completed(jobs)] == ["1", "2", "3"]


async def test_as_completed_yields_jobs_in_the_order_of_their_ends(xq, fake):
    fake.plan = cast({"slow": Play(runs=50), "bad": Play(runs=20, rc=1), "fast": Play(runs=5)})
    jobs = [await xq.push(["fake"], title=title) for title in ("slow", "bad", "fast")]

    assert [job.title async for job in xq.as_completed(jobs)] == ["fast", "bad", "slow"]


async def test_leaving_as_completed_early_touches_no_job(xq, fake):
    fake.plan = lambda job: Play(runs=job.id * 10)
    async with xq:
        jobs = await xq.push_many([["fake"]] * 3)
        ends = xq.as_completed(jobs)
        async for _ in ends:
            break
        await ends.aclose()

    assert [job.status for job in jobs] == [JobStatus.FINISHED] * 3


async def test_asyncio_wait_takes_the_tasks_of_jobs(xq, fake):
    fake.plan = lambda job: Play(runs=job.id * 100)
    async with xq:
        jobs = await xq.push_many([["fake"]] * 2)
        assert jobs[0].as_task() is jobs[0].as_task()

        done, pending = await asyncio.wait(
            [job.as_task() for job in jobs], return_when=asyncio.FIRST_COMPLETED
        )

        assert done == {jobs[0].as_task()}
        assert pending == {jobs[1].as_task()}
        await jobs[1]


async def test_cancelling_the_task_of_a_job_touches_no_job(xq, fake):
    fake.plan = act(Play(runs=60))
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.status is JobStatus.RUNNING)
        job.as_task().cancel()

    assert job.status is JobStatus.FINISHED


async def test_results_are_there_without_waiting_once_a_job_ended(xq, fake):
    fake.plan = cast({"good": Play(stdout="out"), "bad": Play(rc=1)})
    jobs = [await xq.push(["fake"], title=title) for title in ("good", "bad")]
    with pytest.raises(asyncio.InvalidStateError):
        jobs[0].result()

    await ended(jobs)

    assert jobs[0].result() == "out"
    assert jobs[0].exception() is None
    assert isinstance(jobs[1].exception(), JobFailed)
    assert [job.done() for job in jobs] == [True, True]


async def test_a_killed_job_raises_job_killed_to_all_who_wait(xq, fake):
    fake.plan = act(Play(runs=1000))
    async with xq:
        job = await xq.push(["fake"])
        waits = [asyncio.ensure_future(job._outcome()) for _ in range(3)]
        await until(lambda: job.status is JobStatus.RUNNING)
        await job.kill()

        for wait in waits:
            with pytest.raises(JobKilled):
                await wait


async def test_a_second_run_runs_what_was_pushed_after_the_first(xq, fake):
    first = await xq.push(["fake"])
    await xq.run_until_complete()
    second = await xq.push(["fake"])

    report = await xq.run_until_complete()

    assert (first.status, second.status) == (JobStatus.FINISHED, JobStatus.FINISHED)
    assert fake.began == [(first.id, 1), (second.id, 1)]
    assert report.counts == {JobStatus.FINISHED: 2}


async def test_a_job_pushed_and_awaited_after_a_run_runs(xq):
    await xq.run_until_complete()

    job = await xq.push(["fake", "ok"])
    await job

    assert job.status is JobStatus.FINISHED


async def test_jobs_pushed_while_the_engine_is_about_to_end_run(xq, fake):
    for _ in range(50):
        job = await xq.push(["fake", "ok", "0"])
        await job
        assert job.status is JobStatus.FINISHED

    assert len(fake.began) == 50


async def test_a_run_of_no_jobs_ends_at_once(xq, diary):
    report = await xq.run_until_complete()

    assert report.ok
    assert report.counts == {}
    assert diary.run == ["on_init", "on_complete", "on_shutdown"]


async def test_two_may_wait_for_the_same_run(xq):
    await xq.push(["fake"])

    reports = await asyncio.gather(xq.run_until_complete(), xq.run_until_complete())

    assert [report.counts for report in reports] == [{JobStatus.FINISHED: 1}] * 2


class SlowReader(MemoryStore):
    """Each look at failures takes longer than the one before, and needs the store to be open."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = False
        self.looks = 0

    async def open(self) -> None:
        self.is_open = True
        await super().open()

    async def close(self) -> None:
        self.is_open = False
        await super().close()

    async def page(self, query):
        if query.statuses:
            self.looks += 1
            await asyncio.sleep(self.looks)
        if not self.is_open:
            raise StoreError("the store is not open")
        return await super().page(query)


async def test_two_who_wait_for_the_same_run_both_get_their_report(make):
    xq = make(store=SlowReader())
    await xq.push(["fake", "fail"])

    reports = await asyncio.gather(xq.run_until_complete(), xq.run_until_complete())

    assert [len(report.failures) for report in reports] == [1, 1]
    assert not xq._driver.opened


# Inside a block the engine goes on when nothing can


async def test_inside_a_block_a_run_is_complete_when_nothing_can_go_on_and_goes_on_with_what_is_pushed_then(
    xq, fake, diary
):
    async with asyncio.timeout(60), xq:
        first = await xq.push(["fake"])
        report = await xq.run_until_complete()
        assert report.counts == {JobStatus.FINISHED: 1}
        assert "on_shutdown" not in diary.run

        second = await xq.push(["fake"])
        report = await xq.run_until_complete()
        assert report.counts == {JobStatus.FINISHED: 2}
        third = await xq.push(["fake"])

    assert fake.began == [(job.id, 1) for job in (first, second, third)]
    assert diary.run == ["on_init", "on_complete", "on_shutdown"]


async def test_inside_a_block_a_run_without_jobs_is_complete_at_once(xq):
    async with asyncio.timeout(60), xq:
        reports = await asyncio.gather(xq.run_until_complete(), xq.run_until_complete())

    assert [report.counts for report in reports] == [{}] * 2


async def test_inside_a_block_a_run_is_complete_when_only_blocked_jobs_are_left(xq):
    async with asyncio.timeout(60), xq:
        failing = await xq.push(["fake", "fail"])
        await xq.push(cmd("fake").after(failing))

        report = await xq.run_until_complete()

        assert report.counts == {JobStatus.FAILED: 1, JobStatus.WAITING: 1}


async def test_inside_a_block_a_run_that_halts_is_reported_and_leaving_it_raises(make):
    xq = make(job_error_strategy="halt")

    async def halted() -> None:
        async with xq:
            await xq.push(["fake", "fail"])
            report = await xq.run_until_complete()
            assert report.stop_reason.code == "halt"

    with pytest.raises(Halted):
        await asyncio.wait_for(halted(), 60)

    assert not xq._driver.running


async def test_inside_a_block_cancelling_who_waits_for_the_run_stops_it(xq, fake):
    fake.plan = act(Play(runs=1000))
    async with asyncio.timeout(60), xq:
        job = await xq.push(["fake"])
        waiting = asyncio.create_task(xq.run_until_complete())
        await until(lambda: job.status is JobStatus.RUNNING)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    assert job.status is JobStatus.KILLED
    assert xq.stop_reason.code == "cancelled"


async def test_jobs_may_be_pushed_from_many_tasks_while_the_engine_runs(make, fake):
    xq = make(scheduler_forks=10)

    async def push_some(count):
        for _ in range(count):
            await xq.push(["fake"])
            await asyncio.sleep(0.3)

    async with xq:
        await asyncio.gather(*(push_some(10) for _ in range(10)))

    assert (await xq.stats()).counts == {JobStatus.FINISHED: 100}
    assert sorted(fake.began) == [(job, 1) for job in range(1, 101)]


async def test_async_with_waits_for_the_jobs_pushed_in_it(xq):
    async with xq:
        jobs = await xq.push_many([["fake"]] * 10)

    assert all(job.status is JobStatus.FINISHED for job in jobs)


async def test_stats_say_how_the_run_stands(make, fake):
    fake.plan = act(Play(runs=100))
    xq = make(scheduler_forks=2)
    async with xq:
        await xq.push_many([["fake"]] * 5)
        await until(lambda: len(fake.began) == 2)
        await asyncio.sleep(3)
        stats = await xq.stats()

    assert stats.counts == {JobStatus.RUNNING: 2, JobStatus.QUEUED: 3}
    assert (stats.used, stats.forks, stats.running) == (2, 2, True)


async def test_a_report_quotes_the_last_lines_of_stderr(xq, fake):
    fake.plan = act(Play(rc=2, stderr="\n".join(str(line) for line in range(100)) + "\n"))
    await xq.push(["fake"], title="bad")

    report = await xq.run_until_complete()

    assert report.failures[0].stderr == ("95", "96", "97", "98", "99")
    assert "bad" in str(report)


async def test_awaiting_a_job_of_a_stopped_run_that_never_ran_raises_halted(xq, fake):
    job = await xq.push(["fake"])
    async with xq:
        xq.request_stop("enough")

    with pytest.raises(Halted, match="enough"):
        await job


async def test_who_waits_for_a_job_that_did_not_end_is_told_its_command(make):
    async with make(scheduler_forks=1) as xq:
        jobs = await xq.push_many([["fake", "ok", "60"], ["fake", "never"]])
        waiting = jobs[1].as_task()
        await until(lambda: jobs[0].status is JobStatus.RUNNING)
        xq.request_stop("enough")

    with pytest.raises(Halted, match=r"^job 2 \(fake never\) did not end: enough$"):
        await waiting


async def test_failures_that_nobody_asked_about_are_mentioned_when_the_block_is_left(xq, caplog):
    async with xq:
        await xq.push(["fake", "fail", "1", "3"])

    assert mentioned(caplog) == ["1 job(s) failed: job 1 (fake fail 1 3): EXIT 3; `xqute why` tells more"]


async def test_failures_that_were_asked_about_are_not(xq, caplog):
    async with xq:
        job = await xq.push(["fake", "fail", "1", "3"])
        with pytest.raises(JobFailed):
            await job

    assert not [record for record in caplog.records if "failed" in record.message]


async def test_a_job_that_was_asked_about_and_fails_once_more_is_mentioned(xq, caplog):
    async with xq:
        job = await xq.push(["fake", "fail", "1", "3"])
        with pytest.raises(JobFailed):
            await job
        await job.retry()

    assert mentioned(caplog) == ["1 job(s) failed: job 1 (fake fail 1 3): EXIT 3; `xqute why` tells more"]


async def test_failures_are_mentioned_once_where_nobody_takes_the_report(xq, caplog):
    await xq.push(["fake", "fail", "1", "3"])

    await xq.run_until_complete()
    at_once = mentioned(caplog)
    await xq.push(["fake"])
    await xq.run_until_complete()

    assert at_once == ["1 job(s) failed: job 1 (fake fail 1 3): EXIT 3; `xqute why` tells more"]
    assert mentioned(caplog) == at_once


async def test_a_report_that_is_kept_and_never_looked_at_mentions_them_when_it_goes(xq, caplog):
    job = await xq.push(["fake", "fail", "1", "3"])
    report = await xq.run_until_complete()
    assert (report.seconds >= 0, "EXIT 3" in repr(report)) == (True, True)
    assert (job.seen, mentioned(caplog)) == (False, [])

    del report

    assert len(mentioned(caplog)) == 1


@pytest.mark.parametrize("look", [str, attrgetter("ok"), attrgetter("counts"), attrgetter("failures")])
async def test_who_looks_at_the_report_is_not_told_again(xq, caplog, look):
    await xq.push(["fake", "fail", "1", "3"])

    look(await xq.run_until_complete())

    assert not mentioned(caplog)


async def test_who_asked_a_job_is_not_told_when_the_report_goes(xq, caplog):
    job = await xq.push(["fake", "fail", "1", "3"])
    with pytest.raises(JobFailed):
        await job

    await xq.run_until_complete()

    assert not mentioned(caplog)


async def test_a_report_in_a_block_leaves_it_to_the_end_of_the_block(xq, caplog):
    async with xq:
        await xq.push(["fake", "fail", "1", "3"])
        await xq.run_until_complete()
        within = mentioned(caplog)

    assert within == []
    assert len(mentioned(caplog)) == 1


async def test_who_looked_at_the_report_in_a_block_is_not_told_at_its_end(xq, caplog):
    async with xq:
        await xq.push(["fake", "fail", "1", "3"])
        assert not (await xq.run_until_complete()).ok

    assert not mentioned(caplog)


async def test_what_the_progress_showed_is_not_mentioned_again(make, caplog, capsys):
    xq = make(progress=True)
    await xq.push(["fake", "fail", "1", "3"])

    await xq.run_until_complete()

    assert not mentioned(caplog)
    assert "fake fail 1 3" in capsys.readouterr().err


async def test_a_program_that_counts_its_progress_is_told_what_failed(make, caplog):
    xq = make(progress="counts")
    await xq.push(["fake", "fail", "1", "3"])

    await xq.run_until_complete()

    assert len(mentioned(caplog)) == 1


async def test_a_report_can_be_copied(xq):
    await xq.push(["fake", "fail", "1", "3"])
    report = await xq.run_until_complete()

    copied = pickle.loads(pickle.dumps(report))

    assert copied == report


def mentioned(caplog):
    return [record.message for record in caplog.records if "job(s) failed" in record.message]
