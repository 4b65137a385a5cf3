"""Where jobs are: a metadir and its store, opened to look at them without leaving a trace."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from xqute.engine.belonging import refuse_other
from xqute.engine.holding import Holders
from xqute.errors import JobNotFound, MetadirError, OptionError, XquteError
from xqute.handing import Sources
from xqute.job import Job
from xqute.rules.needing import blocked_by, needs_others
from xqute.settings import PARKED
from xqute.states import JobStatus, Reason, WaitReason
from xqute.store import Query, Row, RunRow, Store
from xqute.stores.names import make_store
from xqute.stores.sqlite import SqliteStore
from xqute.work import Work

from .runs import deserted


@dataclass(frozen=True)
class Place:
    """What `--metadir` and `--store` name.

    Attributes:
        root: The metadir, absolute.
        url: The store as it was given; None: the one in the metadir.
    """

    root: str
    url: str | None

    @classmethod
    def of(cls, metadir: str, store: str | None) -> Place:
        """The place that options name; neither must be there yet."""
        return cls(os.path.abspath(metadir), store)

    @property
    def shown(self) -> str:
        """The store, as a sentence names it."""
        return self.url or self.root

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Store]:
        """The store, open for reading only; nothing is made.

        Raises:
            MetadirError: There is no metadir, or no store in it; says what to do.
        """
        store = self._reader()
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    async def exists(self) -> bool:
        """Whether there is a store already."""
        try:
            async with self.reading():
                return True
        except MetadirError:
            return False

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Store]:
        """The store, open to change it; it must be there."""
        self._reader()
        store = make_store(self.url, Path(self.root))
        await store.open()
        try:
            refuse_other(store, self.root, time.time())
            yield store
        finally:
            await store.close()

    def _reader(self) -> Store:
        if self.url is None:
            self._refuse_missing()
        elif self.url.startswith("memory:"):
            raise OptionError("memory:// is the memory of one program: nothing of it can be seen from here")
        made = make_store(self.url, Path(self.root))
        return SqliteStore(made.path, readonly=True) if isinstance(made, SqliteStore) else made

    def _refuse_missing(self) -> None:
        if not os.path.isdir(self.root):
            raise MetadirError(
                f"there is no metadir {self.root}: go where the script was started, or name it with --metadir"
            )
        if not os.access(self.root, os.R_OK | os.X_OK):
            raise MetadirError(f"the metadir {self.root} can't be read: it belongs to somebody else")
        if not os.path.exists(f"{self.root}/xqute.db"):
            raise MetadirError(
                f"the metadir {self.root} has no store: nothing was pushed there, "
                "or its jobs are remembered elsewhere (--store)"
            )

    def job(self, row: Row, needs: tuple[int, ...] = (), waits: Reason | None = None) -> Job:
        """The job of a row, to look at; `waits` is why it does, where it says no reason of its own."""
        job = Job(row.id, Work.from_json(row.call), Onlooker(self.root, waits), 0.0)
        job.restore(row)
        job.given_needs = needs
        return job

    async def find(self, store: Store, id: int) -> tuple[Row, Job]:
        """One job.

        Raises:
            JobNotFound: There is none.
        """
        rows = await store.get([id])
        if not rows:
            raise JobNotFound(f"there is no job {id} in {self.shown}; `xqute ls` lists those there are")
        return (await self.look(store, rows))[0]

    async def look(self, store: Store, rows: Sequence[Row]) -> list[tuple[Row, Job]]:
        """The jobs of rows, with what they need, and why those wait that do."""
        groups = await store.needs(sorted({row.group for row in rows if row.group}))
        jobs = [self.job(row, groups.get(row.group, ())) for row in rows]
        waiting = [job for job in jobs if job.status is JobStatus.WAITING]
        known = await statuses_of(store, waiting)
        queue = Queue(store, time.time())
        told = []
        for row, job in zip(rows, jobs, strict=True):
            waits = needs_reason(job, known) if job in waiting else await queue.why(row, job)
            told.append((row, self.job(row, job.given_needs, waits)))
        return told


async def statuses_of(store: Store, jobs: Sequence[Job]) -> dict[int, JobStatus]:
    """How those stand that these jobs need; who is not there any more is left out."""
    ids = {id_ for job in jobs for id_ in job.needs}
    return {row.id: JobStatus(row.status) for row in await store.get(sorted(ids))} if ids else {}


def needs_reason(job: Job, known: Mapping[int, JobStatus]) -> Reason:
    """Why a job waits for others, by how those stand."""
    if job.kept_reason.code == WaitReason.BLOCKED:
        return job.kept_reason
    missing = missing_of(job, known)
    bad = [id_ for id_ in missing if id_ in known and known[id_].final]
    if bad:  # whoever would have said so has ended
        return blocked_by({id_: known[id_] for id_ in bad})
    return needs_others(missing, job.asked)


def missing_of(job: Job, known: Mapping[int, JobStatus]) -> list[int]:
    """What a job needs that has not ended well, by how those stand."""
    return [id_ for id_ in job.needs if id_ not in known or not known[id_].well]


#: What holds all jobs of a run, and passes.
_TROUBLE = frozenset({WaitReason.SCHEDULER_DOWN, WaitReason.SCHEDULER_FULL, WaitReason.DISK_FULL})


class Queue:
    """One look at why jobs wait that may run, as far as the store tells."""

    def __init__(self, store: Store, now: float) -> None:
        self._store = store
        self._now = now
        self._holders = Holders(store, now)
        self._of_runs: dict[str, Reason | None] = {}
        self._going: set[str] = set()

    async def why(self, row: Row, job: Job) -> Reason | None:
        """Nobody runs it, a limit or resources hold it, or what holds its whole run; None: none of these."""
        if job.status is not JobStatus.QUEUED:
            return None
        run = next((run for run in await self._holders.runs() if run.id == row.run), None)
        if run is None or deserted(run):
            return Reason("STOPPED", {"by": "nobody runs its run"})
        if job.kept_reason.code == WaitReason.RETRY_DELAY and job.after > self._now:
            return None
        held = None if row.owner else await self._holders.why(job, run)
        if held or (held := await self._of_run(run)):
            return held
        # it was accepted for a run that goes on
        return Reason("READY") if run.id in self._going and job.kept_reason.code == "ACCEPTED" else None

    async def _of_run(self, run: RunRow) -> Reason | None:
        if run.id not in self._of_runs:
            self._of_runs[run.id] = await self._of_forks(run) or await self._of_trouble(run)
        return self._of_runs[run.id]

    async def _of_forks(self, run: RunRow) -> Reason | None:
        counts = await self._store.counts(run.id)
        used = sum(count for status, count in counts.items() if JobStatus(status).live)
        if used:
            self._going.add(run.id)
        forks = json.loads(run.document).get("forks", 0)
        return Reason("FORKS", {"used": used, "forks": forks}) if forks and used >= forks else None

    async def _of_trouble(self, run: RunRow) -> Reason | None:
        """What those were told that its process could not hand over: others wait for the same."""
        rows = await self._store.page(Query(run.id, [JobStatus.QUEUED]))
        told = (Reason(*json.loads(row.document)["reason"]) for row in rows if row.owner)
        return next((reason for reason in told if reason.code in _TROUBLE), None)


def pick_run(runs: list[RunRow], wanted: str | None) -> RunRow:
    """The run of an id or of its first letters; the newest when none is wanted.

    Raises:
        XquteError: There is none, or several begin so.
    """
    if not runs:
        raise XquteError("there are no runs yet: nothing was pushed")
    if wanted is None:
        return runs[0]
    found = [run for run in runs if run.id.startswith(wanted)]
    exact = [run for run in found if run.id == wanted]
    if len(found) == 1 or exact:
        return (exact or found)[0]
    if found:
        raise XquteError(f"several runs begin with {wanted!r}: {', '.join(run.id for run in found)}")
    raise XquteError(f"there is no run {wanted!r}; `xqute ls` lists those there are")


class Onlooker:
    """Who keeps the jobs that are only looked at: it can do nothing about them."""

    token = ""

    def __init__(self, root: str, waits: Reason | None = None) -> None:
        self.root = root
        self.cwd = "/"
        self._waits = waits

    def why_waits(self, job: Job) -> Reason | None:
        """What can be seen from here; the process that runs a job may know more."""
        parked = job.status is not JobStatus.WAITING and job.after >= PARKED
        return Reason("PARKED") if parked else self._waits

    async def settle(self, job: Job) -> None:
        """Nothing is run here."""

    async def sources(self, job: Job) -> Sources:
        """Nothing is run here."""
        raise XquteError(f"{job} is not run by this process")

    async def wait(self, job: Job) -> None:
        """Jobs of others are not awaited here."""
        raise XquteError(f"{job} is not run by this process")

    async def kill(self, job: Job, grace: float | None) -> bool:
        """Jobs of others are not killed here."""
        raise XquteError(f"{job} is not run by this process")

    async def retry(self, job: Job) -> None:
        """Jobs of others are not run here."""
        raise XquteError(f"{job} is not run by this process")

    async def archive(self, job: Job) -> None:
        """Jobs of others are not put away here."""
        raise XquteError(f"{job} is not run by this process")

    async def delete(self, job: Job, *, force: bool) -> None:
        """Jobs of others are not deleted here."""
        raise XquteError(f"{job} is not run by this process")
