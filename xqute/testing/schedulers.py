"""The promises of a scheduler, one test each, for every scheduler there is.

A scheduler's whole test module:

    class TestMine(SchedulerConformance):
        @pytest.fixture
        def scheduler(self):
            return MyScheduler()

What not every scheduler can do, or what a test can't do to it without help, is an ability: it is
declared in `supports`, and the method that is named beside it in `trial.ABILITIES` is overridden. A
promise whose ability is not declared is a skip that says so.

Needs pytest and pytest-asyncio.
"""

# ruff: noqa: D102  the name of a test is its sentence
from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Final

import pytest

from ..errors import BackendUnavailable, SchedulerError
from ..job import Job
from ..producer import Xqute
from ..states import FileState, JobStatus, Presence
from ..wrapper import quote
from .bench import ENDED, Bench, Heart
from .bounds import within
from .running import RunningPromises
from .trial import cancel_at_submission, polls_of

#: Longest time that the event loop may be held, in seconds.
BLOCKED_SECONDS: Final = 0.05

#: Rounds of which one must keep to it: a busy host makes a pause longer, never shorter.
BLOCKED_ROUNDS: Final = 10

#: How often the engine is left without an answer.
OUTAGE_POLLS: Final = 3


@pytest.mark.asyncio
class SchedulerConformance(RunningPromises):
    """Inherit, override the fixture `scheduler`, and declare what else it can: see `SchedulerTrial`."""

    # Killing

    async def test_a_kill_ends_the_whole_tree_of_processes_within_the_grace(self, bench: Bench) -> None:
        self.need("commands")
        deaf = f"trap '' TERM; {bench.noting_pid('deaf')}; sleep 60; :"
        child = f"{bench.noting_pid('child')}; sleep 60; :"
        line = f"sh -c {quote(deaf)} & sh -c {quote(child)} & {bench.noting_pid('first')}; wait"
        await self._kill(bench, line, "first", "child", "deaf")

    async def test_a_kill_ends_what_left_the_session(self, bench: Bench) -> None:
        self.need("commands")
        self.need("kill_escaped")
        escaped = f"{bench.noting_pid('escaped')}; sleep 60; :"
        line = f"setsid sh -c {quote(escaped)} & {bench.noting_pid('first')}; wait"
        await self._kill(bench, line, "first", "escaped")

    async def _kill(self, bench: Bench, line: str, *names: str) -> None:
        job = await bench.job(line, grace=0.5)
        await bench.submit(job)
        pids = [await bench.pid(name) for name in names]

        await bench.scheduler.kill_job(job)

        await bench.until_gone(job)
        await bench.until(lambda: not any(map(bench.alive, pids)), "a killed process lives")

    async def test_a_kill_asks_before_it_forces(self, bench: Bench) -> None:
        self.need("commands")
        asked = bench.note("asked")
        line = f"trap \"echo >'{asked}'; exit 5\" TERM; {bench.noting_pid('first')}; sleep 60 & wait"
        job = await bench.job(line, grace=self.seconds / 2)
        await bench.submit(job)
        await bench.pid("first")

        await bench.scheduler.kill_job(job)

        await bench.until_gone(job)
        assert asked.exists()

    async def test_killing_twice_or_too_late_is_harmless(self, bench: Bench) -> None:
        ended, running, other = await bench.exiting(3), await bench.waiting(), await bench.waiting()
        await bench.submit(ended, running, other)
        await bench.end(ended)
        await bench.begun(running)
        await bench.begun(other)

        await asyncio.gather(*(bench.scheduler.kill_job(running) for _ in range(3)))
        await bench.until_gone(running)
        for _ in range(2):
            await bench.scheduler.kill_job(ended)
            await bench.scheduler.kill_jobs([running, ended])

        assert bench.news(ended).rc == 3  # noqa: PLR2004  as it was before
        assert await bench.scheduler.job_is_running(other)
        bench.release(other)
        assert (await bench.end(other)).rc == 0

    async def test_killing_a_job_that_has_just_ended_is_harmless(self, bench: Bench) -> None:
        """The loop is held meanwhile, so the scheduler can't have noticed the end."""
        self.need("commands")
        for rc in range(5):
            job = await bench.exiting(rc)
            await bench.submit(job)
            bound = time.monotonic() + self.seconds
            while bench.news(job).state not in ENDED and time.monotonic() < bound:
                time.sleep(0.001)  # noqa: ASYNC251  that is the point
            time.sleep(0.01 * rc)  # noqa: ASYNC251  the same

            await bench.scheduler.kill_job(job)

            assert (await bench.end(job)).rc == rc

    async def test_killing_a_pending_job_means_it_never_runs(self, bench: Bench) -> None:
        self.need("kill_pending")
        let_go = self.hold(bench.scheduler)
        job = await bench.waiting()
        await bench.submit(job)

        await bench.scheduler.kill_job(job)
        let_go()
        await bench.until_gone(job)
        after = await bench.exiting(0)
        await bench.submit(after)
        await bench.end(after)

        assert bench.runs(job) == 0

    async def test_a_kill_that_can_not_be_asked_says_so_and_can_be_asked_again(self, bench: Bench) -> None:
        self.need("outage")
        job = await bench.waiting()
        await bench.submit(job)
        await bench.begun(job)

        reconnect = self.disconnect(bench.scheduler)
        with pytest.raises(BackendUnavailable):
            await bench.scheduler.kill_job(job)
        with pytest.raises(SchedulerError):
            await bench.scheduler.kill_jobs([job])
        reconnect()

        assert (await bench.answer(job)).presence is Presence.RUNNING
        await bench.scheduler.kill_job(job)
        await bench.until_gone(job)

    async def test_another_object_can_ask_and_kill_by_the_uid(self, bench: Bench) -> None:
        self.need("reattach")
        job = await bench.waiting()
        await bench.submit(job)
        await bench.begun(job)
        new = type(bench)(self.another(bench.scheduler), bench.root / "another", bench.seconds)
        async with new.opened() as other:
            known = bench.copy(job)
            before = await other.scheduler.job_is_running(known)

            await other.scheduler.kill_job(known)

            assert before
            await other.until_gone(known)
        await bench.until_gone(job)

    # With the engine

    async def test_the_engine_gets_results_failures_and_kills(self, xq: Xqute, root: Path) -> None:
        good = await xq.push("exit 0", title="exit 0")
        bad = await xq.push("exit 42", title="exit 42")
        endless = await self.endless(xq, root)

        async with (
            within(self.seconds, lambda: f"{good} and {bad} never ended, or {endless} not when killed"),
            xq,
        ):
            await asyncio.wait([good.as_task(), bad.as_task()])
            assert await endless.kill()

        assert [(job.status.name, job.rc) for job in (good, bad)] == [("FINISHED", 0), ("FAILED", 42)]
        assert endless.status is JobStatus.KILLED
        assert not [job for job in (good, bad, endless) if job.lock_file.exists()]

    async def test_a_refused_job_fails_with_the_words_and_without_a_lock(self, xq: Xqute) -> None:
        self.need("refusal")
        bad = await xq.push("exit 0", title="exit 0")
        words = self.refuse(xq.scheduler, bad)

        await xq.run_until_complete()

        assert (bad.status, bad.reason.code) == (JobStatus.FAILED, "SUBMIT_REFUSED")
        assert words in str(bad.reason)
        assert not bad.lock_file.exists()

    async def test_an_outage_costs_the_engine_no_job(
        self, xq: Xqute, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.need("outage")
        if xq.scheduler.tells_ends:
            pytest.skip("it tells ends: it is not asked about running jobs")
        asked, bench = polls_of(xq.scheduler, monkeypatch), self.make_bench(xq.scheduler, root)
        job = await self.endless(xq, root)

        async with within(self.seconds, lambda: f"{job} never ended when killed"), xq:
            await bench.until(lambda: job.status is JobStatus.RUNNING, f"{job} never began")
            reconnect = self.disconnect(xq.scheduler)
            await bench.until(lambda: asked.count(Presence.UNKNOWN) >= OUTAGE_POLLS, "nobody asked")
            reconnect()
            await bench.until(lambda: asked[-1:] == [Presence.RUNNING], "it was never RUNNING again")
            survived = job.status
            assert await job.kill()

        assert (survived, job.status, job.start) == (JobStatus.RUNNING, JobStatus.KILLED, 1)

    async def test_a_cancelled_submission_leaves_no_orphan(
        self, xq: Xqute, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told = root / "pid"
        job = await xq.push(f"echo $$ >'{told}'; sleep 60", title="wait", grace=1)
        running = asyncio.ensure_future(xq.run_until_complete())
        cancel_at_submission(xq.scheduler, running, monkeypatch)

        await asyncio.wait([running])

        assert running.cancelled()
        bench = self.make_bench(xq.scheduler, root)
        async with bench.opened():
            await bench.until_gone(job)
        news = bench.news(job)
        ended = news.state in {FileState.ABSENT, *ENDED}
        # a wrapper that was ended firmly has no last word
        assert ended or not (news.pid and bench.alive(news.pid))
        assert not (told.exists() and told.read_text() and bench.alive(int(told.read_text())))

    # What it costs

    async def test_the_event_loop_is_never_held(self, bench: Bench) -> None:
        """On a busy host: what holds an idle loop is allowed besides, and one round of ten is enough."""
        pauses = []
        for _ in range(BLOCKED_ROUNDS):
            async with Heart() as idle:
                await asyncio.sleep(0.1)
            jobs = [await bench.waiting() for _ in range(8)]
            async with Heart() as busy:
                for batch in bench.batches(jobs):
                    await bench.submit(*batch)
                    await asyncio.sleep(0)  # as the engine does between two batches
                await bench.scheduler.poll_jobs(jobs)
                await bench.scheduler.kill_jobs(jobs)
                await bench.until_gone(*jobs)
            pauses.append(busy.pause - idle.pause)
            if pauses[-1] <= BLOCKED_SECONDS:
                break

        assert min(pauses) <= BLOCKED_SECONDS, f"held for {pauses} s more than an idle loop"

    async def test_many_jobs_are_asked_about_and_killed_by_few_commands(self, bench: Bench) -> None:
        self.need("count_commands")
        jobs = await self._many(bench)
        for batch in bench.batches(jobs):
            await bench.submit(*batch)

        marks = [self.commands(bench.scheduler)]
        for batch in bench.batches(jobs):
            await bench.scheduler.poll_jobs(batch)
        marks.append(self.commands(bench.scheduler))
        for batch in bench.batches(jobs):
            await bench.scheduler.kill_jobs(batch)
        marks.append(self.commands(bench.scheduler))

        spent = [after - before for before, after in pairwise(marks)]
        assert max(spent) <= self._few(bench, jobs), f"poll, kill: {spent} commands for {len(jobs)} jobs"

    async def test_many_jobs_are_submitted_by_few_commands(self, bench: Bench) -> None:
        self.need("count_commands")
        self.need("batch_submit")
        jobs = await self._many(bench)

        before = self.commands(bench.scheduler)
        for batch in bench.batches(jobs):
            await bench.submit(*batch)
        spent = self.commands(bench.scheduler) - before

        assert spent <= self._few(bench, jobs), f"{spent} commands for {len(jobs)} jobs"

    async def _many(self, bench: Bench) -> list[Job]:
        return [await bench.waiting() for _ in range(2 * min(bench.scheduler.max_batch, 64) + 1)]

    def _few(self, bench: Bench, jobs: list[Job]) -> int:
        return ceil(len(jobs) / bench.scheduler.max_batch) + 2
