"""Stops jobs: on request, when they run too long, and all of them when the run stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..errors import MetadirError, StoreError, XquteError
from ..job import Job
from ..rules.verdict import backoff
from ..settings import (
    KILL_BOUND_SECONDS,
    KILL_STORE_SECONDS,
    TROUBLE_MAX_SECONDS,
    TROUBLE_MIN_SECONDS,
)
from ..states import EndReason, JobEvent, JobStatus, Reason
from .hookwaits import NeverEnds
from .lifecycle import Lifecycle
from .room import Live, Room, StopReason, who
from .submitter import Submitter
from .watcher import Watcher

log = logging.getLogger("xqute.engine")


class Killer:
    """KILLING is stored before the first signal, so that a successor would go on killing."""

    def __init__(self, room: Room, lifecycle: Lifecycle) -> None:
        """The submitter and the watcher are made after it; see `meet`."""
        self._room = room
        self._lifecycle = lifecycle
        self._submitter: Submitter | None = None
        self._watcher: Watcher | None = None
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def meet(self, submitter: Submitter, watcher: Watcher, group: asyncio.TaskGroup) -> None:
        """An engine runs: live jobs can be stopped."""
        self._submitter, self._watcher, self._group = submitter, watcher, group

    async def kill(self, jobs: Sequence[Job], by: StopReason, grace: float | None = None) -> None:
        """Ask jobs to stop, and end them; returns when the scheduler did what it could."""
        await self._see_what_ended(jobs)
        stopping = [job for job in jobs if self._ask(job, by, grace)]
        await self.store_soon()
        handed = []
        for job in stopping:
            live = self._room.live.get(job.id)
            if live is None or (self._submitter is not None and self._submitter.claimer.withdraw(job)):
                self._lifecycle.apply(job, JobEvent.KILLED, Reason("KILLED", _said(by)))
            elif live.handed:
                handed.append(live)
            # else it is being handed over: `handed_over` ends it
        await self.store_soon()
        if handed:
            await self._end(handed)

    async def see_ended(self, job: Job, grace: float) -> None:
        """Return when the job that was asked to stop has ended, or its own hook asks and decides on that.

        Raises:
            XquteError: It may still be running when all bounds are over.
        """
        bound = KILL_BOUND_SECONDS + grace + self._room.scheduler.kill_seconds
        try:
            async with asyncio.timeout(bound):
                await self._lifecycle.ended(job, kills=True)
        except NeverEnds:
            pass  # its process has ended by itself
        except TimeoutError as exc:
            msg = f"{job} may still be running {bound:g} s after it was asked to stop: {job.reason}"
            raise XquteError(msg) from exc

    async def _see_what_ended(self, jobs: Sequence[Job]) -> None:
        """What ended by itself before it was asked to stop was not stopped; files in trouble say nothing."""
        lives = [live for job in jobs if (live := self._room.live.get(job.id)) is not None and live.handed]
        if self._watcher is not None and lives:
            with suppress(TimeoutError):
                async with asyncio.timeout(KILL_STORE_SECONDS):
                    await self._watcher.see_ended(lives)

    async def store_soon(self) -> None:
        """Have stored what happened so far; a store in trouble does not let jobs live that are to stop."""
        try:
            async with asyncio.timeout(KILL_STORE_SECONDS):
                await self._lifecycle.recorder.flush()
        except TimeoutError:
            log.error("jobs are stopped although the store could not be told first")  # noqa: TRY400
        except (StoreError, MetadirError) as exc:
            if not self._room.stops_for(exc):
                log.error("jobs are stopped although the store could not be told first: %s", exc)  # noqa: TRY400
        except Exception:
            log.exception("jobs are stopped although the store could not be told first")

    def handed_over(self, live: Live) -> None:
        """A job that was asked to stop while it was being handed over has arrived."""
        self._start(self._end([live]), live)

    def too_long(self, late: Mapping[Live, Reason]) -> None:
        """Stop jobs that run, or wait, longer than they may; they will have failed, not been killed."""
        self._start(self._stop(late), next(iter(late)))

    async def _stop(self, late: Mapping[Live, Reason]) -> None:
        await self._see_what_ended([live.job for live in late])
        here = self._room.live
        lives = [
            live
            for live, reason in late.items()
            if here.get(live.job.id) is live and live.timed_out is None and not _began(live.job, reason)
        ]
        for live in lives:
            live.timed_out = late[live]
            live.job.kill_grace = None
        if lives:
            await self._end(lives)

    def leave(self) -> None:
        """The engine ends: what could not be ended by now is not asked any more."""
        for task in self._tasks:
            task.cancel()
        self._submitter = self._watcher = self._group = None

    def _start(self, work: Coroutine[Any, Any, None], live: Live) -> None:
        if self._group is None:
            work.close()
            return
        task = self._group.create_task(work, name=f"xqute kill {live.job.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _ask(self, job: Job, by: StopReason, grace: float | None) -> bool:
        if job.status is JobStatus.KILLING:
            return True
        if not self._lifecycle.apply(job, JobEvent.KILL_ASKED, Reason("KILLING", _said(by))):
            return False
        job.kill_grace = grace
        live = self._room.live.get(job.id)
        if live is not None:
            live.stopped_by = by.code
        return True

    async def _end(self, lives: Sequence[Live]) -> None:
        """Have the scheduler end them; bounded. What remains is named, and asked again."""
        told = await self._try(lives)
        left = [live for live in lives if self._room.live.get(live.job.id) is live]
        if told and left:
            log.error("could not end %s: %s", ", ".join(str(live.job) for live in left), told)
            self._explain(left, told)
            self._start(self._insist(left), left[0])

    async def _try(self, lives: Sequence[Live]) -> str:
        """What went wrong; empty when nothing did."""
        jobs = [live.job for live in lives]
        bound = max(_grace(job) for job in jobs) + self._room.scheduler.kill_seconds + KILL_BOUND_SECONDS + 1
        for live in lives:
            live.ending += 1
        stuck = True
        try:
            async with asyncio.timeout(bound):
                await self._room.scheduler.kill_jobs(jobs)
            stuck = False
        except TimeoutError:
            return f"the scheduler did not end it within {bound:g} s"
        except Exception as exc:  # noqa: BLE001  whatever it is, the jobs may live
            return str(exc) or type(exc).__name__
        finally:
            for live in lives:
                live.ending -= 1
                live.stuck = stuck
            if self._watcher is not None:
                self._watcher.look_again(lives)
                self._watcher.ask_soon()
        return ""

    async def _insist(self, lives: Sequence[Live]) -> None:
        """Try again, later each time, until they are gone."""
        tries = 0
        while left := [live for live in lives if self._room.live.get(live.job.id) is live]:
            tries += 1
            await asyncio.sleep(backoff(TROUBLE_MIN_SECONDS, tries, TROUBLE_MAX_SECONDS))
            self._explain(left, await self._try(left))

    def _explain(self, lives: Sequence[Live], told: str) -> None:
        for live in lives:
            job = live.job
            if job.status is JobStatus.KILLING and self._room.live.get(job.id) is live:
                trouble = {"again": True, "message": told} if told else {}
                self._lifecycle.explain(job, Reason("KILLING", {"by": live.stopped_by, **trouble}))


def _said(by: StopReason) -> dict[str, str]:
    """Who asked, and in which words."""
    said = {"by": who(by.code)}
    return {**said, "message": by.detail} if by.detail else said


def _began(job: Job, late: Reason) -> bool:
    """Whether a job that waited too long waits no more."""
    return late.code == EndReason.PENDING_TIMEOUT and job.status is not JobStatus.SUBMITTED


def _grace(job: Job) -> float:
    return job.call.options.grace if job.kill_grace is None else job.kill_grace
