"""Takes jobs from the store: as many as there are free forks, and a few more to have them ready."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..crash import crash_point
from ..errors import StoreUnavailable
from ..job import Job
from ..settings import AHEAD, HOLDERS_SECONDS
from ..states import JobStatus, Reason
from ..store import Row
from .holding import Holders
from .lifecycle import Lifecycle
from .room import Live, Room, turn
from .sharing import Chooser

log = logging.getLogger("xqute.engine")


class Claimer:
    """Keeps `room.ready` filled, best first.

    Where ends are told at once, a few jobs are claimed ahead of the forks: when one ends, the next is
    claimed and written already. A job pushed later with a higher priority overtakes them all the same.
    """

    def __init__(self, room: Room, lifecycle: Lifecycle, refuse: Callable[[Job, Reason], None]) -> None:
        """Nothing is claimed yet; `refuse` lets a job fail that can never start."""
        self._room = room
        self._lifecycle = lifecycle
        self._refuse = refuse
        self._ahead = AHEAD if room.scheduler.tells_ends else 0
        self._look_again = 0.0
        self._told: set[str] = set()

    async def claim(self) -> None:
        """Fill up, when there is something to fill up with."""
        await self._release()
        count = max(self._count(), 0)
        if count or self._room.too_large:
            await self._claim(count)

    async def refuse(self) -> None:
        """Let those fail that can never start; nothing else is claimed."""
        if self._room.too_large:
            await self._claim(0)

    async def _claim(self, count: int) -> None:
        room = self._room
        chooser = self._chooser(count)
        room.overtaken = False
        crash_point("before jobs are claimed")
        rows = await room.store.claim(room.owner, room.run, count, room.now(), chooser)
        crash_point("after jobs are claimed")
        self._take(rows, chooser.settle())
        if rows and self._ready < len(room.ready):
            room.claim_wanted.set()  # what their hooks wait for may come behind them
        room.sharing.note(live.job for live in room.live.values())
        await self._look_for_holders()

    async def _look_for_holders(self) -> None:
        """A limit may be held by jobs of other runs, and one of those by nobody who lives: say so."""
        sharing, now = self._room.sharing, asyncio.get_running_loop().time()
        limited = sharing.limited
        if not limited or now < self._look_again:
            return
        self._look_again = now + HOLDERS_SECONDS
        self._mention_closed(key for key, reason in limited.items() if not reason.detail["limit"])
        mine = Counter((live.job.call.options.limit or ("",))[0] for live in self._room.live.values())
        holders = Holders(self._room.store, self._room.now())
        try:
            sharing.others = {
                key: (await holders.of_limit(key, reason, self._room.run)).detail
                for key, reason in limited.items()
                if reason.detail["used"] > mine[key]
            }
        except StoreUnavailable:
            return  # it is only told a little later

    def _mention_closed(self, keys: Iterable[str]) -> None:
        """A limit of 0 may stand in the store since long ago."""
        for key in set(keys) - self._told:
            self._told.add(key)
            log.warning(
                "jobs wait for the limit %r, which is 0 in the store until it is changed: "
                "`await xq.set_limit(%r, …)` or limits= (None: what the task says)",
                *(key, key),
            )

    def _chooser(self, count: int) -> Chooser:
        """Decides who is claimed, where jobs share something; those are not claimed ahead of free forks."""
        room = self._room
        forks = min(count, max(0, room.free - (0 if room.overtaken else self._ready)))
        jobs = [live.job for live in room.live.values()] if room.sharing.total else []
        now = asyncio.get_running_loop().time()
        return Chooser(room.sharing, jobs, forks, count - forks, now)

    def _take(self, rows: Sequence[Row], refused: Mapping[int, Reason]) -> None:
        room = self._room
        now = asyncio.get_running_loop().time()
        for row in rows:
            job = room.find(row)
            job.start = row.start
            if job.status is not JobStatus.QUEUED:
                # it was asked to stop meanwhile, and is kept so under the start it has now
                self._lifecycle.recorder.add(job)
                room.claim_wanted.set()
                continue
            if job.id in refused:
                job.begin_attempt()
                self._refuse(job, refused[job.id])
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
        ready = self._ready
        missing = room.free - ready
        if missing > 0 or ready <= self._ahead // 2:
            return missing + self._ahead
        return room.free if room.overtaken else 0

    @property
    def _ready(self) -> int:
        """Those that are ready but for hooks that wait for no job: such a job may be yet to be claimed."""
        return len(self._room.ready) - self._lifecycle.in_hooks.holding(self._room.ready)

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
        room.give_back(ready)
        await self._release()

    async def _release(self) -> None:
        room = self._room
        if room.unreleased:
            crash_point("before claims are given back")
            await room.store.release(room.owner, room.unreleased)
            room.unreleased = []
