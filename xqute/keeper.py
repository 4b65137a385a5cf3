"""Keeps the jobs of one run, and answers what they ask of whoever made them."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from weakref import WeakValueDictionary

from .arguments import need_same_loop
from .engine.cleaning import plan_cleanup
from .engine.driver import Driver
from .engine.killer import Killer
from .engine.lifecycle import Lifecycle
from .engine.ownership import Ownership, Wish
from .engine.reasons import why_not_handed
from .engine.room import REQUEST, Room, StopReason
from .errors import JobNotFound, StoreError, XquteError
from .handing import Sources
from .heritage import Heritage
from .hooking import decides_on
from .inputs import Inputs
from .job import Job
from .printable import listed
from .rules.needing import needs_others
from .settings import KILL_BOUND_SECONDS, PARKED
from .states import JobStatus, Reason, WaitReason
from .store import Row
from .work import Work

log = logging.getLogger("xqute")


class JobKeeper:
    """What `keeping.Keeper` asks for, for the jobs of one `Xqute`.

    Attributes:
        root: The metadir. cwd: Where jobs run that were not told; token: part of their mark.
        known: The jobs of this session, by id. pushed: Those that were pushed, in that order.
        heritage: Those of an earlier session.
    """

    def __init__(self, job_class: type[Job], root: str, wish: Wish) -> None:
        """The engine's parts come by `meet`: they need the keeper first."""
        self._job_class = job_class
        self._wish = wish
        self.root = root
        self.cwd = wish.cwd
        self.known: dict[int, Job] = {}
        self.pushed: list[Job] = []
        # Jobs of other runs that somebody holds: one object for each.
        self._held: WeakValueDictionary[int, Job] = WeakValueDictionary()
        self._loop = asyncio.get_running_loop()

    def meet(
        self, room: Room, lifecycle: Lifecycle, killer: Killer, ownership: Ownership, driver: Driver
    ) -> None:
        """Get to know the parts of the engine."""
        self._room = room
        self._lifecycle = lifecycle
        self._killer = killer
        self._ownership = ownership
        self._driver = driver
        self._inputs = Inputs(room, self)
        self.heritage = Heritage(room, lifecycle, self.load)

    async def inherit(self) -> None:
        """The run was taken over from an earlier session: get to know its jobs."""
        self.cwd = self._ownership.cwd
        await self.heritage.take_over()
        await self.connect(list(self.heritage.jobs.values()))
        if self._wish.everything:
            await self._give_way(await self.heritage.overtaken())
            self.known.update((job.id, job) for job in self.heritage.enter_all())
            await self._lifecycle.recorder.flush()
        else:
            await self.heritage.park()

    async def _give_way(self, jobs: Sequence[Job]) -> None:
        """These builds and their steps are not taken up: what has not begun is forgotten."""
        builds = [f"job {job.id} ({job.name})" for job in jobs if job.name]
        if builds:
            log.warning("not taken up again, since there are younger builds: %s", listed(builds))
        idle = [job for job in jobs if not job.status.final and job.id not in self._room.live]
        await self.withdraw(idle, "there is a younger build")

    async def enter(self, jobs: Sequence[Job]) -> None:
        """These are pushed again; returns when that is durable."""
        for job in self._with_needs(jobs):
            if job.id in self.heritage.jobs:
                self.heritage.enter(job)
            self.known[job.id] = job
        if jobs:
            await self._lifecycle.recorder.flush()

    def _with_needs(self, jobs: Sequence[Job]) -> list[Job]:
        """Jobs, and before each what it still needs of the earlier session, which must run too."""
        found: dict[int, Job] = {}
        below = [(job, False) for job in reversed(jobs)]
        while below:
            job, done = below.pop()
            if done or job.status.well:
                found.setdefault(job.id, job)
                continue
            below.append((job, True))
            needs = (self.heritage.jobs.get(id_) for id_ in reversed(job.needs) if id_ not in found)
            below += [(need, False) for need in needs if need is not None]
        return list(found.values())

    async def connect(self, jobs: Sequence[Job]) -> None:
        """Let the engine know which jobs these need, and how far those are."""
        groups = {job.group for job in jobs if job.group and not job.given_needs}
        needs = await self._room.store.needs(sorted(groups)) if groups else {}
        for job in jobs:
            job.given_needs = job.given_needs or needs.get(job.group, ())
        waiting = [job for job in jobs if job.given_needs or job.required]
        if not waiting:
            return
        members = {id_ for job in waiting for id_ in job.needs}
        await self._meet([id_ for id_ in members if self.job(id_) is None and id_ not in self._room.foreign])
        self._lifecycle.waiting.connect(waiting)

    async def _meet(self, ids: Sequence[int]) -> None:
        """Jobs of other runs are needed here: they are looked at until they end."""
        if not ids:
            return
        rows = await self._room.store.get(sorted(ids))
        self._room.foreign.update((row.id, row.status) for row in rows)
        gone = set(ids) - {row.id for row in rows}
        self._room.foreign.update(dict.fromkeys(gone, int(JobStatus.FAILED)))

    def job(self, id: int) -> Job | None:
        """The job of a number, where it is of this run."""
        return self.known.get(id) or self.heritage.jobs.get(id)

    def of_tree(self, number: int) -> Iterator[Job]:
        """The jobs of a tree that this run has."""
        for jobs in (self.known, self.heritage.jobs):
            yield from (job for job in jobs.values() if (job.tree or job.id) == number)

    @property
    def pushed_at(self) -> str:
        """Where jobs are pushed now, when that is not where their run began."""
        return "" if self._wish.cwd == self.cwd else self._wish.cwd

    @property
    def token(self) -> str:
        """Part of the mark in the environment of each process of a job."""
        return self._room.store.token

    def make(self, id: int, call: Work, created: float) -> Job:
        """A new job, of the scheduler's job class."""
        return self._job_class(id, call, self, created)

    def find(self, row: Row) -> Job:
        """The job of a row of this run."""
        return self.known.get(row.id) or self.heritage.jobs.get(row.id) or self._keep(self.load(row))

    def _keep(self, job: Job) -> Job:
        self.known[job.id] = job
        return job

    def load(self, row: Row) -> Job:
        """The job of a row, the object that users hold where there is one."""
        known = self.known.get(row.id) or self.heritage.jobs.get(row.id)
        if known is not None:
            return known
        try:
            job = self._held.get(row.id) or self.make(row.id, Work.from_json(row.call), 0.0)
            job.restore(row)
        except (ValueError, KeyError, TypeError) as exc:
            msg = f"the store of {self.root} is damaged: what it kept of job {row.id} can't be read ({exc})"
            raise StoreError(msg) from exc
        self._held[row.id] = job
        return job

    async def load_all(self, rows: Iterable[Row]) -> list[Job]:
        """The jobs of rows, with what they need."""
        jobs = [self.load(row) for row in rows]
        groups = sorted({job.group for job in jobs if job.group and not job.given_needs})
        if groups:
            needs = await self._room.store.needs(groups)
            for job in jobs:
                job.given_needs = job.given_needs or needs.get(job.group, ())
        return jobs

    async def get(self, id: int) -> Job:
        """The job with this id, of any run.

        Raises:
            JobNotFound: There is none.
        """
        rows = await self._room.store.get([id])
        if not rows:
            raise JobNotFound(f"there is no job {id} in {self.root}")
        return (await self.load_all(rows))[0]

    # What a job asks of its keeper

    def why_waits(self, job: Job) -> Reason | None:
        """Why a job waits for others, or may run and does not; None: what it says itself is the reason."""
        if job.status is JobStatus.WAITING:
            if self.job(job.id) is job:
                return self._lifecycle.waiting.why(job)
            blocked = job.kept_reason.code == WaitReason.BLOCKED or not job.needs
            return None if blocked else needs_others(job.needs, job.asked)
        if job.after >= PARKED:
            return Reason("PARKED")
        live = self._room.live.get(job.id)
        if not self._is_ours(job) or (live is not None and live.handed):
            return None
        if job.kept_reason.code == WaitReason.RETRY_DELAY and live is None and not self._is_due(job):
            return None
        return why_not_handed(self._room, job, running=self._driver.running)

    def _is_due(self, job: Job) -> bool:
        """Whether the time of its next attempt has come, and it was told that the last one failed."""
        return job.after <= self._room.now() and not self._lifecycle.lines.busy(job)

    async def settle(self, job: Job) -> None:
        """Note whose results the job takes, where that was not known when it was pushed."""
        job.stand_ins = await self._inputs.stand_ins(job)
        job.found = await self._inputs.found(job)

    async def sources(self, job: Job) -> Sources:
        """Where the results of what the job needs are."""
        return await self._inputs.sources(job)

    async def wait(self, job: Job) -> None:
        """Return when the job has ended and that is durable."""
        need_same_loop(self._loop)
        if job._keeper is not self:  # noqa: SLF001  of another Xqute, which may have another store
            await job._keeper.wait(job)  # noqa: SLF001
        elif not self._is_ours(job):
            await self._follow(job)
        elif not (job.status.final and self._lifecycle.recorder.settled(job)):
            await self._driver.wait(job)

    async def kill(self, job: Job, grace: float | None) -> bool:
        """Stop a job; False: it had ended, or a plugin forbade it."""
        need_same_loop(self._loop)
        if decides_on(self._room.plugins, job):
            return False
        await self._see_adopted(job)
        await self._make_ours(job)
        await self._tell_what_was_before()
        if job.status.final or not await self._lifecycle.may_kill(job) or job.status.final:
            return False
        await self._killer.kill([job], StopReason(REQUEST), grace)
        if self._driver.running:
            await self._killer.see_ended(job, job.call.options.grace if grace is None else grace)
        else:
            await self._lifecycle.recorder.flush()
            await self._lifecycle.lines.drain()
            await self._let_go()
        return job.status is JobStatus.KILLED

    async def _see_adopted(self, job: Job) -> None:
        """It may have ended while nobody watched: that was its end then. And `on_init` is the first hook."""
        await self._driver.own()
        await self._driver.see_begun()
        if self._driver.running and job.id in self._room.live:
            with suppress(TimeoutError):
                async with asyncio.timeout(KILL_BOUND_SECONDS):
                    await self._room.adopted.wait()

    async def _tell_what_was_before(self) -> None:
        """A job's hooks come in the order of what happened to it."""
        await self._killer.store_soon()
        if not self._driver.running:
            await self._lifecycle.lines.drain()

    async def retry(self, job: Job) -> None:
        """Run an ended job once more."""
        need_same_loop(self._loop)
        await self._make_ours(job)
        job.archived = False
        if self._lifecycle.retry(job):
            await self._lifecycle.recorder.flush()
            self._room.claim_wanted.set()

    async def archive(self, job: Job) -> None:
        """Put an ended job away; returns when that is durable."""
        need_same_loop(self._loop)
        was = await self._was_left(job)
        if was is None:
            await self._make_ours(job)
        else:  # somebody may have tried it again since it was loaded
            for row in await self._room.store.get([job.id]):
                job.restore(row)
        if not job.status.final:
            raise XquteError(f"{job} has not ended: only jobs that have can be archived")
        job.archived = True
        if was is None:
            self._lifecycle.recorder.add(job)
            await self._lifecycle.recorder.flush()
        elif not await self._lifecycle.recorder.put_away(job, was):
            job.archived = False
            raise XquteError(f"{job} is not archived: another process has taken its run over just now")

    async def delete(self, job: Job, *, force: bool) -> None:
        """Forget a job and remove its directory; its cleanup function is called first."""
        need_same_loop(self._loop)
        if await self._was_left(job) is None:
            await self._make_ours(job)
        if job.call.named is not None and job.call.named.protected and not force:
            raise XquteError(f"{job} is a build of {job.name}, which is protected: delete it with force=True")
        if not job.status.final and force:
            await self.kill(job, None)
        if not job.status.final:
            raise XquteError(f"{job} has not ended: kill it first, or delete it with force=True")
        waiting = [other for other in self.known.values() if job.id in other.needs and not other.status.final]
        if waiting:
            raise XquteError(f"{job} can't be deleted: {waiting[0]} waits for it")
        await self._clean_up(job)
        gone = await self._forget([job])
        await self._let_go()
        if not gone:
            raise XquteError(f"{job} has not ended: it was wanted again meanwhile")

    async def withdraw(self, jobs: Sequence[Job], why: str) -> None:
        """Forget jobs of this run that have not begun, as if they had never been accepted."""
        for job in jobs:
            if self.heritage.jobs.get(job.id) is job:
                self.heritage.know(job)
                self.known[job.id] = job
        if jobs:
            await self._killer.kill(jobs, StopReason("withdrawal", why))
            await self._forget(jobs)

    async def _forget(self, jobs: Sequence[Job]) -> set[int]:
        """Forget those that have ended; returns which, by their ids. The files of others stay."""
        gone = await self._room.store.delete([job.id for job in jobs])
        for job in jobs:
            if job.id not in gone:
                continue
            await asyncio.to_thread(shutil.rmtree, job.directory, ignore_errors=True)
            self.heritage.forget(job)
            if self.known.pop(job.id, None) is not None:
                self._room.counts[job.status] -= 1
        self.pushed = [job for job in self.pushed if job.id not in gone]
        return gone

    async def _let_go(self) -> None:
        """Where nothing is left to run, nothing is left that this process would have to own."""
        if not self._room.going:
            await self._driver.close()

    async def _clean_up(self, job: Job) -> None:
        """Call its cleanup function where there is one, and see it end."""
        if job.call.function is None or not job.call.function.cleanup:
            return
        if not job.cleaned:
            [cleaner] = await self._room.push(plan_cleanup(job), job)
            job.cleaned = cleaner.id
            if self._is_ours(job):
                self._lifecycle.recorder.add(job)
        cleaner = await self.get(job.cleaned)
        await cleaner

    async def _was_left(self, job: Job) -> str | None:
        """Whom the run belonged to in which it ended and that nobody runs any more; None: not so, or ours."""
        await self._driver.own()
        if self.job(job.id) is job or not job.status.final:
            return None
        [run] = {row.run for row in await self._room.store.get([job.id])} or {""}
        rows = [row for row in await self._room.store.runs() if row.id == run]
        return (
            None if any(row.lives(self._room.now()) for row in rows) else "".join(row.owner for row in rows)
        )

    def _is_ours(self, job: Job) -> bool:
        return self.known.get(job.id) is job

    async def _make_ours(self, job: Job) -> None:
        """Own the run before the job is changed; one that was not pushed again belongs to it too."""
        await self._driver.own()
        if self.heritage.jobs.get(job.id) is job:
            self.heritage.know(job)
            self.known[job.id] = job
        if not self._is_ours(job):
            msg = f"{job} was pushed by another run; only the process that runs it can change it"
            raise XquteError(msg)

    async def _follow(self, job: Job) -> None:
        """Wait for a job that another process runs."""
        while not job.status.final:
            await self._driver.open()
            for row in await self._room.store.get([job.id]):
                job.restore(row)
            if not job.status.final:
                await asyncio.sleep(1)
