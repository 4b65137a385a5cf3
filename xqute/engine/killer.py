"""Stops jobs: on request, when they run too long, and all of them when the run stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from ..job import Job
from ..settings import KILL_BOUND_SECONDS
from ..states import JobEvent, JobStatus, Reason
from .lifecycle import Lifecycle
from .room import Live, Room
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

    def meet(self, submitter: Submitter, watcher: Watcher, group: asyncio.TaskGroup) -> None:
        """An engine runs: live jobs can be stopped."""
        self._submitter, self._watcher, self._group = submitter, watcher, group

    async def kill(self, jobs: Sequence[Job], by: str, grace: float | None = None) -> None:
        """Ask jobs to stop, and end them; returns when the scheduler did what it could."""
        stopping = [job for job in jobs if self._ask(job, by, grace)]
        await self._lifecycle.recorder.flush()
        handed = []
        for job in stopping:
            live = self._room.live.get(job.id)
            if live is None or (self._submitter is not None and self._submitter.withdraw(job)):
                self._lifecycle.apply(job, JobEvent.KILLED, Reason("KILLED", {"by": by}))
            elif live.handed:
                handed.append(live)
            # else it is being handed over: `handed_over` ends it
        await self._lifecycle.recorder.flush()
        if handed:
            await self._end(handed)

    def handed_over(self, live: Live) -> None:
        """A job that was asked to stop while it was being handed over has arrived."""
        self._start(self._end([live]), live)

    def too_long(self, live: Live) -> None:
        """Stop a job that runs longer than its timeout; it will have failed, not been killed."""
        if self._room.live.get(live.job.id) is live and live.timed_out is None:
            timeout = live.job.call.options.timeout
            live.timed_out = Reason("TIMEOUT", {"timeout": f"{timeout:g}"})
            live.job.kill_grace = None
            self._start(self._end([live]), live)

    def _start(self, work: object, live: Live) -> None:
        if self._group is not None:
            self._group.create_task(work, name=f"xqute kill {live.job.id}")  # type: ignore[arg-type]

    def _ask(self, job: Job, by: str, grace: float | None) -> bool:
        if job.status is JobStatus.KILLING:
            return True
        if not self._lifecycle.apply(job, JobEvent.KILL_ASKED, Reason("KILLING", {"by": by})):
            return False
        job.kill_grace = grace
        live = self._room.live.get(job.id)
        if live is not None:
            live.stopped_by = by
        return True

    async def _end(self, lives: Sequence[Live]) -> None:
        """Have the scheduler end them; bounded, and what remains is named."""
        jobs = [live.job for live in lives]
        bound = max(_grace(job) for job in jobs) + KILL_BOUND_SECONDS + 1
        try:
            async with asyncio.timeout(bound):
                await self._room.scheduler.kill_jobs(jobs)
        except TimeoutError:
            self._name_survivors(lives, f"the scheduler did not end it within {bound:g} s")
        except Exception as exc:  # noqa: BLE001  whatever it is, the jobs may live
            self._name_survivors(lives, str(exc))
        if self._watcher is not None:
            self._watcher.ask_soon()

    def _name_survivors(self, lives: Sequence[Live], told: str) -> None:
        log.error("could not end %s: %s", ", ".join(str(live.job) for live in lives), told)
        for live in lives:
            if live.job.status is JobStatus.KILLING:
                detail = {"by": live.stopped_by, "message": told}
                self._lifecycle.explain(live.job, Reason("KILLING", detail))


def _grace(job: Job) -> float:
    return job.call.options.grace if job.kill_grace is None else job.kill_grace
