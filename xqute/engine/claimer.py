"""Takes jobs from the store: as many as there are free forks, and a few more to have them ready."""

from __future__ import annotations

import asyncio

from ..crash import crash_point
from ..job import Job
from ..settings import AHEAD
from ..states import JobStatus
from .lifecycle import Lifecycle
from .room import Live, Room, turn


class Claimer:
    """Keeps `room.ready` filled, best first.

    Where ends are told at once, a few jobs are claimed ahead of the forks: when one ends, the next is
    claimed and written already. A job pushed later with a higher priority overtakes them all the same.
    """

    def __init__(self, room: Room, lifecycle: Lifecycle) -> None:
        """Nothing is claimed yet."""
        self._room = room
        self._lifecycle = lifecycle
        self._ahead = AHEAD if room.scheduler.tells_ends else 0

    async def claim(self) -> None:
        """Fill up, when there is something to fill up with."""
        room = self._room
        await self._release()
        count = self._count()
        if count <= 0:
            return
        room.overtaken = False
        crash_point("before jobs are claimed")
        rows = await room.store.claim(room.owner, room.run, count, room.now())
        crash_point("after jobs are claimed")
        now = asyncio.get_running_loop().time()
        for row in rows:
            job = room.find(row)
            job.start = row.start
            if job.status is not JobStatus.QUEUED:
                # it was asked to stop meanwhile, and is kept so under the start it has now
                self._lifecycle.recorder.add(job)
                room.claim_wanted.set()
                continue
            job.resubmits = 0
            room.live[job.id] = live = Live(job, now)
            room.ready.append(live)
        room.ready.sort(key=lambda live: turn(live.job))

    def _count(self) -> int:
        """How many to claim now: several at once rather than one each time."""
        room = self._room
        if room.counts[JobStatus.QUEUED] <= len(room.ready):
            return 0
        missing = room.free - len(room.ready)
        if missing > 0 or len(room.ready) <= self._ahead // 2:
            return missing + self._ahead
        return room.free if room.overtaken else 0

    def withdraw(self, job: Job) -> bool:
        """Take a claimed job back before it is handed over; False: too late, or not claimed."""
        live = self._room.live.get(job.id)
        if live is None or live not in self._room.ready or live.doubted:
            return False
        self._room.ready.remove(live)
        return True

    async def give_back(self) -> None:
        """Give back what was claimed and not handed over; the run stops."""
        room = self._room
        ready, room.ready = room.ready, []
        for live in ready:
            live.job.start -= 1
            room.leave(live.job)
        room.unreleased += [live.job.id for live in ready]
        await self._release()

    async def _release(self) -> None:
        room = self._room
        if room.unreleased:
            crash_point("before claims are given back")
            await room.store.release(room.owner, room.unreleased)
            room.unreleased = []
