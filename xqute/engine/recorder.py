"""Keeps what has become of jobs in the store, in batches, before anybody is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from ..crash import crash_point
from ..errors import StoreUnavailable
from ..job import Job
from ..rules.verdict import backoff
from ..settings import LAZY_SECONDS, TROUBLE_MAX_SECONDS, TROUBLE_MIN_SECONDS
from ..store import Record
from .room import TAKEN_OVER, Room, StopReason
from .sharing import kind_of

log = logging.getLogger("xqute.engine")


#: What is to happen once a change is durable.
Then = Callable[[], None]


class Recorder:
    """Changes come in by `add`; what follows from one is done after the store has it.

    Everything that changed meanwhile goes into one transaction. A store that can't be written now is
    tried again with back-off: the jobs run on, and no end is lost.
    """

    def __init__(self, room: Room) -> None:
        """Nothing is written before `run` or `flush`."""
        #: The store could not be written when it was tried last.
        self.down = False
        self._room = room
        self._dirty: dict[int, Job] = {}
        self._thens: list[tuple[Job, Then]] = []
        self._writing: dict[int, Job] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wanted = asyncio.Event()
        self._lock = asyncio.Lock()

    def add(self, job: Job, then: Then | None = None, *, lazily: bool = False) -> None:
        """Keep the job as it is now, and call `then` afterwards.

        Args:
            job: Which job.
            then: What follows once it is kept.
            lazily: Nobody waits for it, and a crash would lose nothing that the job's files don't tell:
                it may go with what comes within some milliseconds.
        """
        self._dirty[job.id] = job
        if then is not None:
            self._thens.append((job, then))
        if not lazily:
            self._wanted.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LAZY_SECONDS, self._wanted.set)

    @property
    def awaited(self) -> bool:
        """Whether something is to be written that somebody may wait for."""
        return self._wanted.is_set()

    @property
    def clean(self) -> bool:
        """Whether everything is in the store, and told."""
        return not self._dirty and not self._lock.locked()

    def settled(self, job: Job) -> bool:
        """Whether the job's newest change is in the store, and told."""
        return job.id not in self._dirty and job.id not in self._writing

    async def run(self) -> None:
        """Write whenever something changed, until cancelled."""
        while True:
            await self._wanted.wait()
            await self.flush()

    async def flush(self) -> None:
        """Return when all that changed before is durable and told."""
        async with self._lock:
            self._rest()
            while self._dirty:
                self._rest()
                jobs, self._dirty = self._dirty, {}
                thens, self._thens = self._thens, []
                self._writing = jobs
                try:
                    fenced = await self._write(jobs)
                except BaseException:
                    # cancelled, or a store that broke: nothing was kept, and nothing is forgotten
                    self._dirty = {**jobs, **self._dirty}
                    self._thens = [*thens, *self._thens]
                    self._writing = {}
                    raise
                self._writing = {}
                if self._room.sharing.limited:
                    self._room.claim_wanted.set()  # only now the store lets go of what held them
                for job, then in thens:
                    if job.id not in fenced:
                        then()
        if self._room.stop is not None or not self._room.going:
            self._room.wake.set()

    def _rest(self) -> None:
        self._wanted.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _write(self, jobs: dict[int, Job]) -> set[int]:
        records = [self._record(job) for job in jobs.values()]
        tries = 0
        while True:
            crash_point("before a change is recorded")
            try:
                fenced = await self._room.store.record(records)
            except StoreUnavailable as exc:
                tries += 1
                self.down = True
                if tries == 1:
                    log.warning("%s; jobs run on, their ends are kept until it can be written", exc)
                await asyncio.sleep(backoff(TROUBLE_MIN_SECONDS, tries, TROUBLE_MAX_SECONDS))
                continue
            self.down = False
            if tries:
                log.warning("the store can be written again; nothing was lost")
            if not fenced:
                return set()
            return await self._look_at_fenced(
                jobs, {record.id: record for record in records if record.id in fenced}
            )

    async def _look_at_fenced(self, jobs: dict[int, Job], fenced: Mapping[int, Record]) -> set[int]:
        """Another start of these jobs is in the store: ours, claimed meanwhile, or somebody else's."""
        lost = set(fenced)
        for row in await self._room.store.get(sorted(fenced)):
            job = jobs[row.id]
            if row.owner == self._room.owner and row.start != fenced[row.id].start:
                job.start = row.start
                self._dirty[job.id] = job
                lost.discard(row.id)
            else:
                log.warning("%s was taken over by another manager; this one lets go of it", job)
                self._room.leave(job)
                self._room.request_stop(StopReason(TAKEN_OVER, "another process took the run over"))
        return lost

    async def put_away(self, job: Job, was: str) -> bool:
        """Keep that a job of a run that this owner left is archived; False: somebody else has that by now."""
        record = self._record(job)._replace(held=False, owner=was or self._room.owner, kind=None)
        return not await self._room.store.record([record])

    def _record(self, job: Job) -> Record:
        options = job.call.options
        shares_anew = options.grows or job.id in self._room.entered
        return Record(
            job.id,
            job.start,
            int(job.status),
            job.attempt,
            job.uid,
            job.document(),
            job.after,
            held=job.id in self._room.live,
            owner=self._room.owner,
            archived=job.archived,
            kind=kind_of(options, job.next_attempt) if shares_anew else None,
        )
