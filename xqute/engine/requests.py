"""What other processes ask of the one that owns a run, and how they know that it lives."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Collection, Sequence

from ..crash import crash_point
from ..errors import StoreUnavailable
from ..job import Job
from ..owner import Owner
from ..settings import IDLE_SECONDS, LEASE_RENEW_SECONDS, REQUESTS_SECONDS
from ..states import JobStatus
from ..store import Request, Row, RunRow
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
        self._idle_since: dict[str, float] = {}
        self._told: set[str] = set()

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
        rows = await room.store.get(open_)
        for row in rows:
            room.foreign[row.id] = row.status
            self._lifecycle.waiting.ended_elsewhere(row.id, JobStatus(row.status))
        waited_for = [row for row in rows if not JobStatus(row.status).final]
        idle = await self._idle({row.run for row in waited_for})
        room.idle = {row.id: idle[row.run] for row in waited_for if row.run in idle}
        for row in waited_for:
            if row.run in idle.keys() - self._told:
                self._told.add(row.run)
                log.warning("waiting for job %s, which is of %s", row.id, idle[row.run])

    async def _idle(self, ids: Collection[str]) -> dict[str, str]:
        """Those of these runs of which nothing runs: which they are, and what to do."""
        if not ids:
            return {}
        room, now = self._room, asyncio.get_running_loop().time()
        runs = {run.id: run for run in await room.store.runs()}
        found = {}
        for id_ in ids:
            run = runs.get(id_)
            counts = await room.store.counts(id_)
            if any(count and JobStatus(status).live for status, count in counts.items()):
                self._idle_since.pop(id_, None)
            elif run is None or not run.lives(room.now()):
                found[id_] = f"run {id_}, which nobody runs: `xqute resume {id_}` does"
            elif now - self._idle_since.setdefault(id_, now) >= IDLE_SECONDS:
                found[id_] = (
                    f"run {id_} of {self._whose(run)}, where nothing runs:"
                    " start it with `async with xq` or `await xq.run_until_complete()` there"
                )
        return found

    def _whose(self, run: RunRow) -> str:
        owner, me = Owner.parse(run.owner), Owner.parse(self._room.owner)
        if owner is None or me is None:
            return "another process"
        return "another Xqute of this process" if owner[:-1] == me[:-1] else owner.told

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
