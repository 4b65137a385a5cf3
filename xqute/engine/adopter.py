"""Takes over the jobs that a manager which is gone had claimed: some run, some ended, some never began.

What the store says of a claimed job may be old: a manager tells the store of a hand-over some
milliseconds after it. The claim is durable before, and the files tell the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from .. import metadir
from ..crash import crash_point
from ..job import Job
from ..rules.limits import PLAIN
from ..rules.verdict import backoff
from ..settings import PARKED, TROUBLE_MIN_SECONDS
from ..states import JobStatus, Reason
from .lifecycle import Lifecycle
from .room import REQUEST, Live, Room, turn
from .sharing import kind_of
from .submitter import Submitter
from .trouble import as_trouble
from .watcher import Watcher

log = logging.getLogger("xqute.engine")

#: Jobs whose files are read at a time.
_BATCH: Final = 50

#: Between two questions, while the scheduler can't be asked.
_LOOK_MAX_SECONDS: Final = 5.0

T = TypeVar("T")


class Adopter:
    """Works off `room.inherited`, once, before anything new is handed over."""

    def __init__(
        self,
        room: Room,
        lifecycle: Lifecycle,
        submitter: Submitter,
        watcher: Watcher,
        *,
        handed: Callable[[Live], None],
    ) -> None:
        """Call `handed` with what the scheduler has."""
        self._room = room
        self._lifecycle = lifecycle
        self._submitter = submitter
        self._watcher = watcher
        self._handed = handed

    async def adopt(self) -> None:
        """Return when it is known of each whether it was handed over, and each of those is watched."""
        lives, self._room.inherited = self._room.inherited, []
        if lives:
            await self._adopt(lives)
        self._room.adopted.set()

    async def _adopt(self, lives: Sequence[Live]) -> None:
        for live in lives:
            if live.handed:
                self._take_over(live)
        await self._find_out([live for live in lives if not live.handed])
        crash_point("after it is known what was handed over")
        handed = [live for live in lives if live.handed and self._room.live.get(live.job.id) is live]
        jobs, rebooted = [live.job for live in handed], self._room.rebooted
        await self._patiently(jobs, lambda: self._room.scheduler.adopt_jobs(jobs, rebooted=rebooted))
        await self._watcher.look_at(handed)
        crash_point("after what was handed over is watched")

    def _take_over(self, live: Live) -> None:
        """The store says that the scheduler has it."""
        job = live.job
        live.cleared = live.prepared = True
        self._note_claim(live)
        if job.status is JobStatus.KILLING:
            live.stopped_by = str(job.kept_reason.detail.get("by", REQUEST))
            live.renews = live.stopped_by != REQUEST
        else:
            self._say_so(job)
        self._handed(live)

    def _note_claim(self, live: Live) -> None:
        if self._room.scheduler.on_this_host:  # elsewhere the clock of its files is another
            live.began = metadir.claimed_at(live.job.directory)

    def _say_so(self, job: Job) -> None:
        detail = {"scheduler": self._room.scheduler.name, "uid": job.uid, "message": "taken over"}
        code = "RUNNING" if job.status is JobStatus.RUNNING else "PENDING"
        self._lifecycle.explain(job, Reason(code, detail))

    async def _find_out(self, lives: Sequence[Live]) -> None:
        """The store says that they were claimed: were they handed over?"""
        unknown: dict[Job, Live] = {}
        for live in lives:
            live.job.begin_attempt()  # its manager died before it recorded that
        for first in range(0, len(lives), _BATCH):
            some = lives[first : first + _BATCH]
            uids = await self._read([live.job for live in some], self._uids_of)
            for live in some:
                live.cleared = live.job in uids
                if uid := uids.get(live.job):
                    self._arrived(live, uid)
                else:
                    unknown[live.job] = live
        if unknown:
            await self._look_for(unknown)

    async def _look_for(self, unknown: Mapping[Job, Live]) -> None:
        """Nobody wrote down where these are: the scheduler knows, a claim says it, or they never began."""
        jobs = list(unknown)
        # where the run stops meanwhile they are given back, and keep their start
        found = await self._patiently(jobs, lambda: self._room.scheduler.find_jobs(jobs)) or {}
        cleared = [job for job, live in unknown.items() if live.cleared and found.get(job) is None]
        where = {**found, **await self._read(cleared, self._claims_of)}
        for job, live in unknown.items():
            if job in where:
                self._arrived(live, where[job])
        await self._begin_again([live for job, live in unknown.items() if job not in where])

    async def _read(
        self, jobs: Sequence[Job], read: Callable[[Sequence[Job]], Mapping[Job, T]]
    ) -> Mapping[Job, T]:
        """What files of these say; a foreign file system may not hold the loop."""
        return await self._patiently(jobs, partial(asyncio.to_thread, read, jobs)) or {}

    async def _patiently(self, jobs: Sequence[Job], ask: Callable[[], Awaitable[T]]) -> T | None:
        """What is found out about these; tried again as long as that can't be, None when the run stops.

        Nothing is concluded before.
        """
        tries = 0
        while self._room.stop is None:
            try:
                return await ask()
            except Exception as exc:
                reason = as_trouble(exc)
                if reason is None:
                    raise
                tries += 1
                if tries == 1:
                    log.warning("%s; what an earlier manager left is looked for again", reason)
                for job in jobs:
                    self._lifecycle.explain(job, reason)
                await asyncio.sleep(backoff(TROUBLE_MIN_SECONDS, tries, _LOOK_MAX_SECONDS))
        return None

    def _uids_of(self, jobs: Sequence[Job]) -> Mapping[Job, str]:
        """Of those whose script is of this very start: the scheduler's id, where it was written down."""
        scripts = {job: job.script(self._room.scheduler) for job in jobs}
        cleared = [job for job in jobs if metadir.read_start(scripts[job], job.identity) == job.start]
        return {job: metadir.read_uid(job.directory) for job in cleared}

    def _claims_of(self, jobs: Sequence[Job]) -> Mapping[Job, int | str]:
        """Of those whose claim proves that they began: their process, where that says something here."""
        claims = {job: metadir.read_claim(job.directory) for job in jobs}
        here = self._room.scheduler.on_this_host  # what is not found elsewhere has ended
        return {job: claim if here else "" for job, claim in claims.items() if claim is not None}

    def _arrived(self, live: Live, uid: int | str) -> None:
        self._note_claim(live)
        self._submitter.arrived(live, uid)
        if live.job.status is JobStatus.SUBMITTED:
            self._say_so(live.job)

    @staticmethod
    def _is_shared(live: Live) -> bool:
        job = live.job
        return job.status is JobStatus.QUEUED and kind_of(job.call.options, job.next_attempt) != PLAIN

    async def _begin_again(self, lives: Sequence[Live]) -> None:
        """They were claimed and never began: the same start is handed over, or the claim given back."""
        room = self._room
        wanted = [live for live in lives if live.job.id not in room.unpushed]
        for live in wanted:
            live.inherited = False
        shared = [live for live in wanted if self._is_shared(live)]
        room.give_back(shared)  # whether there is room for them by now is decided in a claim
        room.note_queued([live.job for live in shared])
        room.ready += [live for live in wanted if live not in shared]
        others = [live.job for live in lives if live.job.id in room.unpushed]
        await room.store.release(room.owner, [job.id for job in others])
        for job in others:
            room.leave(job)
            job.start -= 1
            job.after = PARKED
            self._lifecycle.recorder.add(job)
        room.ready.sort(key=lambda live: turn(live.job))
        room.claim_wanted.set()
