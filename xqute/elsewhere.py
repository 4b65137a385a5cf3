"""Builds that other runs have begun: which of them go on, and why the others do not."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from . import metadir
from .engine.room import REQUEST, Room
from .errors import BackendUnavailable, JobNotFound
from .job import Job
from .keeper import JobKeeper
from .owner import Owner
from .settings import ORPHAN_SECONDS, PARKED, PARKED_SECONDS
from .states import JobStatus, Presence, WaitReason
from .store import Row, RunRow

log = logging.getLogger("xqute")

#: How the bad ends read.
_STANDS = {"FAILED": "failed", "KILLED": "was killed"}


class Elsewhere:
    """Looks at the builds of other runs.

    Such a build goes on as long as the process lives that owns its run. When that is gone, nobody will
    say how the build ended; but what runs of it still runs, and it is not run a second time meanwhile.
    """

    def __init__(self, room: Room, keeper: JobKeeper) -> None:
        """Nothing was looked at."""
        self._room = room
        self._keeper = keeper
        self._told: set[int] = set()
        self._parked: dict[int, float] = {}  # since when that is known
        self._orphans: dict[int, tuple[float, bool]] = {}  # when they were looked for, and whether they ran

    async def look(
        self, rows: Iterable[Row], jobs: Iterable[Job], *, patient: bool = False
    ) -> dict[int, str]:
        """Of those that have not ended and are of other runs: why they don't go on; empty: they do.

        Patient: who has just taken a run over may be about to push its builds again, so they do for a while.
        """
        pairs = zip(rows, jobs, strict=True)
        begun = [(row, job) for row, job in pairs if row.run != self._room.run and not job.done()]
        if not begun:
            return {}
        runs = {run.id: run for run in await self._room.store.runs()}
        return {
            job.id: await self._trouble(row, job, runs.get(row.run), patient=patient) for row, job in begun
        }

    async def _trouble(self, row: Row, job: Job, run: RunRow | None, *, patient: bool) -> str:
        lives = run is not None and run.lives(self._room.now())
        if job.kept_reason.code == WaitReason.BLOCKED:
            cause = job.kept_reason.detail.get("cause", 0)
            return await self.blocked(job, cause if isinstance(cause, int) else 0)
        if job.after >= PARKED and not (patient and lives and self._is_new(job)):
            return f"{job}: {job.reason}"
        if lives:
            return ""
        if row.owner and await self._still_runs(job):
            return ""
        return f"{job} was left {job.status.name}: {_whose(run)} has ended; `xqute resume {row.run}` goes on"

    async def blocked(self, job: Job, cause: int) -> str:
        """Why a job can't start that needs one which ended badly."""
        try:
            told = how_it_ended(await self._keeper.get(cause))
        except JobNotFound:
            told = f"job {cause} is not there any more"
        return f"job {job.id} can't start: {told}"

    def _is_new(self, job: Job) -> bool:
        """Whether it has not been known for long that nobody pushed it again."""
        return time.monotonic() - self._parked.setdefault(job.id, time.monotonic()) < PARKED_SECONDS

    async def _still_runs(self, job: Job) -> bool:
        """Whether it outlived its manager; the scheduler is not asked more often than every few seconds."""
        asked, runs = self._orphans.get(job.id, (0.0, False))
        if not asked or time.monotonic() - asked > ORPHAN_SECONDS:
            try:
                runs = await self._is_there(job)
            except (BackendUnavailable, OSError):
                runs = True  # nobody knows: better late than twice
            self._orphans[job.id] = time.monotonic(), runs
        return runs

    async def _is_there(self, job: Job) -> bool:
        """Whether the scheduler has it: by the number in its files, or by its mark where none was kept."""
        scheduler = self._room.scheduler
        claim = metadir.read_claim(job.directory) if scheduler.on_this_host else None
        job.uid = metadir.read_uid(job.directory) or claim or job.uid
        if job.uid:
            [answer] = (await scheduler.poll_jobs([job])).values()
            if answer.presence is not Presence.GONE:
                return True
        return job in await scheduler.find_jobs([job])

    async def lost(self, ids: Iterable[int]) -> dict[int, Job | None]:
        """Those that will not end well any more, or did not; None: it is not in the store any more."""
        rows = await self._room.store.get(sorted(ids))
        jobs = await self._keeper.load_all(rows)
        troubles = await self.look(rows, jobs, patient=True)
        badly = [job for job in jobs if (job.done() and not job.status.well) or troubles.get(job.id)]
        gone = dict.fromkeys(set(ids) - {row.id for row in rows})
        return {**gone, **{job.id: job for job in badly}}

    async def tell(self, ids: Iterable[int]) -> None:
        """Say who builds what is waited for; each build is told of once."""
        new = sorted(set(ids) - self._told)
        if not new:
            return
        self._told.update(new)
        rows = await self._room.store.get(new)
        runs = {run.id: run for run in await self._room.store.runs()}
        for row, job in zip(rows, await self._keeper.load_all(rows), strict=True):
            run = runs.get(row.run)
            if run is not None and run.lives(self._room.now()):
                told = f"{job.name} is being built as job {job.id} by {_whose(run)}: waiting for it"
            else:
                told = (
                    f"what runs of job {job.id}, a build of {job.name} whose manager has ended, is waited for"
                )
            log.warning(told)


def was_asked_for(job: Job | None) -> bool:
    """Whether somebody stopped the job itself, and not its session: it is not to be built again by itself."""
    return job is not None and job.status is JobStatus.KILLED and job.kept_reason.detail.get("by") == REQUEST


def how_it_ended(job: Job) -> str:
    """The job, how it stands and why, in one sentence."""
    reason = str(job.reason)
    name = job.status.name
    return f"{job}: {reason}" if reason.startswith(name) else f"{job} {_STANDS.get(name, name)}: {reason}"


def _whose(run: RunRow | None) -> str:
    owner = Owner.parse(run.owner) if run is not None else None
    return "its manager" if owner is None else owner.told
