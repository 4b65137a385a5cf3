"""The jobs of an earlier run: found again when a script pushes them once more."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence

from . import metadir
from .crash import crash_point
from .engine.lifecycle import Lifecycle
from .engine.room import Live, Room
from .job import Job
from .rules.definition import Matching, plain_digest
from .rules.giving_way import given_up
from .settings import PARKED
from .states import JobEvent, JobStatus, Reason
from .store import Query, Row, every_row
from .work import Work

#: Rows read at a time.
_PAGE = 1000


class Heritage:
    """What an earlier session of the same run left.

    Jobs that run are watched from the beginning. All others wait until they are pushed again: what
    ended well is reused, what waits may run, what failed or was killed gets a new start.

    Attributes:
        jobs: Those that were not pushed again yet, by id.
        reused: How many ended before, and were pushed again.
    """

    def __init__(self, room: Room, lifecycle: Lifecycle, load: Callable[[Row], Job]) -> None:
        """Nothing is inherited yet; `load` makes the job of a row."""
        self._room = room
        self._lifecycle = lifecycle
        self._load = load
        self._matching = Matching(())
        self.jobs: dict[int, Job] = {}
        self._entered: dict[int, Job] = {}  # not pushed again, and of this session all the same
        self._overtaken: set[int] = set()
        self.reused = 0

    async def take_over(self) -> None:
        """Get to know the jobs of the run, which is ours by now."""
        async for row in every_row(self._room.store, Query(run=self._room.run, limit=_PAGE)):
            self._take(row)
        self._matching = Matching((job.id, _digest_of(job)) for job in self.jobs.values())
        crash_point("after the jobs of a run are read")

    async def park(self) -> None:
        """None of them may run before it is pushed again."""
        for job in self.jobs.values():
            waits = job.status in (JobStatus.QUEUED, JobStatus.WAITING)
            if waits and job.id not in self._room.live and job.after < PARKED:
                job.after = PARKED
                self._lifecycle.recorder.add(job)
        await self._lifecycle.recorder.flush()
        crash_point("after the jobs of a run are parked")

    def _take(self, row: Row) -> None:
        job = self._load(row)
        self.jobs[job.id] = job
        if row.owner and not job.status.final:
            live = Live(job, asyncio.get_running_loop().time())
            live.inherited = True
            live.handed = job.status.live
            self._room.live[job.id] = live
            self._room.inherited.append(live)
            self._room.unpushed.add(job.id)
        elif job.status is JobStatus.KILLING:
            self._finish_killing(job)
        elif job.status is JobStatus.WAITING:
            self._room.unpushed.add(job.id)  # it may go on to QUEUED without being counted
        if job.untold:
            self._room.untold.append(job)

    def _finish_killing(self, job: Job) -> None:
        """It was asked to stop before it was claimed: nothing of it runs."""
        self._room.unpushed.add(job.id)  # counted when it is pushed again
        self._lifecycle.apply(job, JobEvent.KILLED, Reason("KILLED", job.kept_reason.detail))
        self._room.unpushed.discard(job.id)

    @property
    def left(self) -> int:
        """How many were not pushed again, and have not ended well; without those that nobody wants."""
        return sum(1 for id_, job in self.jobs.items() if not job.status.well and id_ not in self._overtaken)

    @property
    def any(self) -> bool:
        """Whether there may be something to find again."""
        return bool(self.jobs or self._entered)

    def match(self, digest: str, work: Work) -> Job | None:
        """The job that this definition made in the earlier session; None for a new one."""
        while (id_ := self._matching.take(digest)) is not None:
            job = self.jobs.get(id_) or self._entered.pop(id_, None) or self._room.known(id_)
            if job is None:
                continue
            if not job.status.well:
                if job.id not in self._room.live:
                    job.call = work  # how it is to run may have changed
                return job
            if job.status is JobStatus.SKIPPED or job.removed or _has_result(job):
                return job
        return None

    def give_back(self, jobs: Sequence[Job | None]) -> None:
        """These were found, and could not be pushed after all."""
        for job in reversed(jobs):
            if job is not None:
                self._matching.put_back(_digest_of(job), job.id)
                if job.id not in self.jobs:
                    self._entered[job.id] = job

    async def overtaken(self) -> list[Job]:
        """Those that nobody wants any more: builds that have younger ones, and steps of those.

        What was handed over is left alone, and so is what ended well. What was only claimed may have been
        handed over all the same: it is watched then, and parked else.
        """
        jobs = [job for job in self.jobs.values() if not job.status.well]
        handed = {id_ for id_, live in self._room.live.items() if live.handed}
        newest = {name: await self._newest(name) for name in {job.name for job in jobs if job.name}}
        overtaken = given_up(jobs, newest, handed)
        self._overtaken = {job.id for job in overtaken}
        return overtaken

    async def _newest(self, name: str) -> int:
        rows = await self._room.store.page(Query(name=name, newest=True, limit=1))
        return max((row.id for row in rows), default=0)

    def enter_all(self) -> list[Job]:
        """They belong to this session, as if they had been pushed again; they still may be.

        All of them do, but for what nobody wants any more.
        """
        jobs = [job for job in self.jobs.values() if job.id not in self._overtaken]
        self._room.sharing.take_up(sorted(jobs, key=lambda job: job.id))
        for job in jobs:
            self.enter(job)
            self._entered[job.id] = job
        return jobs

    def know(self, job: Job) -> None:
        """It belongs to this session from now on; somebody asked for it by its id."""
        self._leave(job)
        self._entered[job.id] = job

    def forget(self, job: Job) -> None:
        """It is not in the store any more."""
        self.jobs.pop(job.id, None)
        self._entered.pop(job.id, None)

    def _leave(self, job: Job) -> None:
        del self.jobs[job.id]
        self._room.unpushed.discard(job.id)
        self._room.counts[job.status] += 1

    def enter(self, job: Job) -> None:
        """It is pushed again: it belongs to this session, and is run where that is left to do."""
        room = self._room
        self._leave(job)
        if not job.status.well:
            room.entered.add(job.id)
        if job.status.well:
            job.cached = True
            self.reused += 1
            self._lifecycle.tidier.add(job)
        elif job.status.final:
            self._lifecycle.retry(job)
        elif job.id not in room.live:
            job.after = 0.0 if job.after >= PARKED else job.after
            room.alarm.set(job.after)
            if job.status is JobStatus.QUEUED:
                room.note_queued([job])
            self._lifecycle.recorder.add(job)
        if job.status is JobStatus.WAITING:
            self._lifecycle.waiting.look_at(job)
        room.claim_wanted.set()


def _has_result(job: Job) -> bool:
    """Whether what it came to is still there."""
    if job.call.function is not None:
        return metadir.has_result(job.directory)
    return os.path.isdir(job.directory)


def _digest_of(job: Job) -> str:
    return job.digest or plain_digest(job.call, job.group)
