"""Removes the directories of jobs that have ended, as `keep=` says, once nobody needs them.

The store knows first that a directory is removed, then it goes: a job whose files are gone is never
taken for one that has them. What a manager that died left of it is removed by whoever goes on with its run.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import deque
from collections.abc import Sequence
from functools import partial

from ..crash import crash_point
from ..errors import StoreUnavailable
from ..job import Job
from ..settings import TIDY_AT_ONCE, TIDY_JOBS, TIDY_MAX_SECONDS, TIDY_MIN_SECONDS, TIDY_RATIO
from ..states import JobStatus
from ..store import Query, every_page
from .crowding import Crowd
from .hooklines import HookLines
from .recorder import Recorder
from .room import REQUEST, TAKEN_OVER, Room

log = logging.getLogger("xqute.engine")


class Tidier:
    """Follows jobs from their end until their directories may go.

    A directory is needed by jobs that need the result and have not ended well, by hooks that were not
    told, and by whoever awaits the job; where somebody may await it yet, until somebody has.
    Builds of named calls are results to keep: theirs stay. Those of jobs that ended badly stay until the
    run is over, for its report.
    """

    def __init__(self, room: Room, recorder: Recorder, lines: HookLines) -> None:
        """Nothing has ended yet."""
        self._room = room
        self._recorder = recorder
        self._lines = lines
        self._ended: deque[Job] = deque()
        self._recorded: list[Job] = []  # the store knows that their directories are removed
        self._left: list[Job] = []  # the same, and nobody else needs them: they go next
        self._others = _Others(room)
        self.crowd = Crowd(room)

    def add(self, job: Job) -> None:
        """The job has ended, and that is durable."""
        if job.removed:
            self._left.append(job)  # its manager may have died before that was done
        elif self._room.keep != "all" and not job.name and (job.status.well or self._room.keep == "none"):
            self._ended.append(job)

    async def run(self) -> None:
        """Work until cancelled: often while there is something to remove, seldom while there is not."""
        pause, clock = TIDY_MIN_SECONDS, asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(pause)
            began = clock()
            await self.crowd.check()
            done = await self._tidy(TIDY_JOBS, over=False)
            pause = TIDY_MIN_SECONDS if done else min(2 * pause, TIDY_MAX_SECONDS)
            pause = max(pause, TIDY_RATIO * (clock() - began))

    async def finish(self) -> None:
        """The run is left, and its report is made."""
        await self.crowd.check()
        stop = self._room.stop
        if not self._room.interrupted and (stop is None or stop.code != TAKEN_OVER):
            await self._tidy(len(self._ended), over=not self._room.attended)

    async def _tidy(self, looks: int, *, over: bool) -> bool:
        """Remove what may go of the next so many; whether something was removed."""
        looks = min(looks, len(self._ended))
        done = False
        while looks > 0 or self._recorded or self._left:
            count = min(looks, TIDY_JOBS)
            looks -= count
            jobs = self._next(count, over=over)
            if not (jobs or self._recorded or self._left):
                continue
            for job in jobs:
                job.removed = True
                self._recorder.add(job, partial(self._recorded.append, job))
            crash_point("before it is recorded that directories are removed")
            await self._recorder.flush()
            if not await self._spare_what_others_need():
                break
            done |= bool(self._left)
            await self._remove()
        return done

    def _next(self, count: int, *, over: bool) -> list[Job]:
        """Those of the next so many that may go; the others are looked at again later."""
        found = []
        for _ in range(count):
            job = self._ended.popleft()
            if job.removed or not job.status.final:  # it is to run once more
                continue
            if self._may_go(job, over=over):
                found.append(job)
            else:
                self._ended.append(job)
        return found

    def _may_go(self, job: Job, *, over: bool) -> bool:
        room = self._room
        told = not job.untold and not self._lines.busy(job) and self._recorder.settled(job)
        if job.awaited or job.id in room.wanted or not told:
            return False
        if not job.status.well:
            cleaner = room.known(job.cleaned) if job.cleaned else None
            return over and not wants_cleanup(job) and (cleaner is None or cleaner.status.final)
        room.graph.forget(job.id)  # unless somebody needs it who has not ended well
        return job.id not in room.graph and (over or job.taken or not room.attended)

    async def _spare_what_others_need(self) -> bool:
        """Whether it is known what jobs of other runs need, after they could know that it was to go."""
        try:
            needed = await self._others.needs() if self._recorded else set()
        except StoreUnavailable:
            return False
        recorded, self._recorded = self._recorded, []
        for job in recorded:
            if job.id in needed:
                job.removed = False
                self._recorder.add(job)
            else:
                self._left.append(job)
        return True

    async def _remove(self) -> None:
        failed: list[OSError] = []
        while self._left:
            jobs = self._left[:TIDY_AT_ONCE]
            crash_point("before directories are removed")
            failed += await asyncio.to_thread(_remove_all, [job.directory for job in jobs])
            self._left = self._left[len(jobs) :]
            crash_point("after directories were removed")
        if failed:
            log.warning("%s job directories could not be removed: %s", len(failed), failed[0])


def wants_cleanup(job: Job) -> bool:
    """Whether a cleanup function is to be called after it; one killed with its session begins anew."""
    function = job.call.function
    if function is None or not function.cleanup or job.cleaned:
        return False
    if job.status is JobStatus.KILLED:
        return job.kept_reason.detail.get("by") == REQUEST
    return job.status is JobStatus.FAILED


class _Others:
    """What jobs of other runs need; each of those is read once."""

    def __init__(self, room: Room) -> None:
        """Nothing is read yet."""
        self._room = room
        self._read: dict[str, int] = {}  # by run, the newest job that was looked at
        self._needed: set[int] = set()

    async def needs(self) -> set[int]:
        """The ids of jobs that those need which have not ended well."""
        store = self._room.store
        open_ = [status for status in JobStatus if not status.well]
        for run in await store.runs():
            if run.id == self._room.run:
                continue
            await asyncio.sleep(0)  # there may be very many runs
            query = Query(run.id, open_, beyond=self._read.get(run.id, 0), limit=1000)
            async for rows in every_page(store, query):
                groups = sorted({row.group for row in rows if row.group})
                for members in (await store.needs(groups)).values():
                    self._needed.update(members)
                self._read[run.id] = rows[-1].id
        return self._needed


def _remove_all(directories: Sequence[str]) -> list[OSError]:
    """Remove them; those that are gone are; returns what went wrong."""
    failed = []
    for directory in directories:
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            continue
        except OSError as exc:
            failed.append(exc)
    return failed
