"""What other processes ask of the one that owns a run, and how they know that it lives."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence

from ..crash import crash_point
from ..errors import StoreUnavailable
from ..job import Job
from ..settings import LEASE_RENEW_SECONDS, REQUESTS_SECONDS
from ..states import JobStatus
from ..store import Request, Row
from .killer import Killer
from .lifecycle import Lifecycle
from .ownership import Ownership
from .room import REQUEST, TAKEN_OVER, Room, StopReason

log = logging.getLogger("xqute.engine")


class Requests:
    """One task: every second it takes the requests that were left, and now and then renews the lease."""

    def __init__(self, room: Room, lifecycle: Lifecycle, killer: Killer, ownership: Ownership) -> None:
        """Nothing is looked at yet."""
        self._room = room
        self._lifecycle = lifecycle
        self._killer = killer
        self._ownership = ownership
        self._renewed = 0.0
        self._asked: list[Request] = []

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Work until cancelled.

        Args:
            group: Where kills run, which take their grace.
        """
        self._renewed = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(REQUESTS_SECONDS)
            try:
                # what was taken is not in the store any more: it is kept until its jobs can be read, too
                self._asked += await self._room.store.asked(self._room.run)
                crash_point("after requests are taken")
                await self._renew()
                if self._room.foreign:
                    await self._look_at_others()
                rows = await self._room.store.get([request.job for request in self._asked])
            except StoreUnavailable as exc:
                log.debug("requests can't be read now: %s", exc)
                continue
            if self._room.sharing.limited:
                self._room.claim_wanted.set()  # what holds them may have ended elsewhere
            asked, self._asked = self._asked, []
            if asked:
                group.create_task(self._kill(asked, rows), name="xqute requests")

    async def _look_at_others(self) -> None:
        """Jobs of other runs that jobs of this one need: have they ended?"""
        room = self._room
        open_ = [id_ for id_, status in room.foreign.items() if not JobStatus(status).final]
        for row in await room.store.get(open_):
            room.foreign[row.id] = row.status
            self._lifecycle.waiting.ended_elsewhere(row.id, JobStatus(row.status))

    async def _renew(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._renewed < LEASE_RENEW_SECONDS:
            return
        self._renewed = now
        if not await self._ownership.renew():
            told = f"another process took run {self._room.run} over"
            self._room.request_stop(StopReason(TAKEN_OVER, told))

    async def _kill(self, asked: Sequence[Request], rows: Sequence[Row]) -> None:
        graces: dict[float | None, list[Job]] = {}
        wanted = {request.job: request for request in asked if request.what == "kill"}
        for row in rows:
            job = self._room.find(row)
            if row.id in wanted and not job.status.final and await self._lifecycle.may_kill(job):
                grace = json.loads(wanted[row.id].detail).get("grace")
                graces.setdefault(grace, []).append(job)
        for grace, jobs in graces.items():
            await self._killer.kill(jobs, StopReason(REQUEST, "asked by another process"), grace)
