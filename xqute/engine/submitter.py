"""Hands claimed jobs to the scheduler whenever forks are free."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from .. import metadir
from ..crash import crash_point
from ..errors import BackendFull, MetadirError, SubmitError
from ..job import Job
from ..scheduler import Outcome
from ..settings import SUBMIT_BOUND_SECONDS, TROUBLE_MIN_SECONDS
from ..states import JobEvent, JobStatus, Reason, WaitReason
from .claimer import Claimer
from .concluding import Concluder
from .finish import finish
from .lifecycle import Lifecycle
from .preparing import prepare
from .room import REQUEST, Live, Room
from .trouble import Pause, as_trouble, take_back

log = logging.getLogger("xqute.engine")

#: Jobs that are written or noted without letting the event loop breathe.
_BREATH = 16


class Submitter:
    """One task that claims, prepares and submits; trouble of the infrastructure makes it pause."""

    def __init__(
        self, room: Room, lifecycle: Lifecycle, concluder: Concluder, handed: Callable[[Live], None]
    ) -> None:
        """Call `handed` when the scheduler has a job."""
        self._room = room
        self._lifecycle = lifecycle
        self._concluder = concluder
        self._handed = handed
        self._pause = Pause(self._has_begun)
        self._waiting_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.claimer = Claimer(room, lifecycle, concluder.refuse)

    async def run(self) -> None:
        """Work until cancelled, or until the run stops."""
        room, pause = self._room, self._pause
        try:
            while True:
                await self._wanted()
                room.claim_wanted.clear()
                if room.stop is not None:
                    return
                if pause.reason is None:
                    await self._pass()
                if pause.reason is not None:
                    await self._wait_out(pause.reason)
        finally:
            pause.look()  # the last job that began says it too
            if self._timer is not None:
                self._timer.cancel()

    async def _wanted(self) -> None:
        """Until there may be something to do; what proves that trouble is over is looked for meanwhile."""
        wanted = self._room.claim_wanted
        while self._pause.probing and not wanted.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(TROUBLE_MIN_SECONDS):
                    await wanted.wait()
            self._pause.look()
        await wanted.wait()

    async def _pass(self) -> None:
        """Hand over all that can be; trouble is for the pause."""
        try:
            await self._work()
        except Exception as exc:
            reason = as_trouble(exc)
            if reason is None:
                raise
            self._pause.begin(reason)
        else:
            self._pause.passed()

    async def _work(self) -> None:
        """Hand over what is ready; what comes next is claimed and written while that runs."""
        if self._holds_back():
            await self.claimer.refuse()
            return
        if self._room.overtaken:
            await self._lifecycle.recorder.flush()  # what goes before them is claimed first
        else:
            await self._submit_ready()
        await self.claimer.claim()
        await self._submit_ready()
        for live in tuple(self._room.ready):
            if not live.prepared and not self._lifecycle.lines.busy(live.job):
                await self._prepare(live)

    def _holds_back(self) -> bool:
        """Whether more forks are to be free first: handing over many costs as much as handing over one.

        A job for which a fork is free goes all the same when it has waited long enough.
        """
        room, scheduler = self._room, self._room.scheduler
        enough = room.free >= max(1.0, scheduler.refill_share * scheduler.forks)
        if enough or room.free <= 0 or not room.counts[JobStatus.QUEUED]:
            self._waiting_since = None
            return False
        now = asyncio.get_running_loop().time()
        self._waiting_since = self._waiting_since or now
        left = self._waiting_since + scheduler.refill_seconds - now
        if left <= 0:
            self._waiting_since = None
            return False
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(left, room.claim_wanted.set)
        return True

    def again(self, live: Live, reason: Reason) -> None:
        """Hand the same start over once more: it never began."""
        job = live.job
        self._pause.returned(live)
        if reason.code == WaitReason.DISK_FULL:
            self._pause.begin(reason)
        else:
            job.resubmits += 1
        fresh = Live(job, asyncio.get_running_loop().time())
        fresh.cleared = True
        self._room.live[job.id] = fresh
        self._room.ready.append(fresh)
        self._room.claim_wanted.set()

    def arrived(self, live: Live, uid: int | str) -> None:
        """An earlier manager handed it over: the scheduler has it."""
        live.prepared = True
        self._settle(live, uid)

    def fill(self, ended: int) -> None:
        """Start the next job in the same breath, where a fork is free and nothing must be waited for.

        Args:
            ended: Jobs that still hold forks and have ended.
        """
        room = self._room
        first = room.ready[0] if room.ready else None
        if first is None or not first.prepared or room.overtaken or room.stop is not None:
            return
        if self._pause.reason is not None:
            return
        if room.free + ended <= 0 or not self._lifecycle.lines.empty:
            return
        outcomes = room.scheduler.submit_jobs_nowait([first.job])
        if outcomes is not None:
            self._forget(first)
            trouble = self._settle(first, outcomes[0])
            if trouble is not None and (reason := as_trouble(trouble)) is not None:
                self._pause.begin(reason)
                room.claim_wanted.set()

    async def _submit_ready(self) -> None:
        """Fill the free forks, in batches, letting the loop breathe between.

        On a busy host each start takes its time: jobs that ended meanwhile wait for one at most.
        """
        room, recorder = self._room, self._lifecycle.recorder
        while room.stop is None and (batch := self._next_batch(1 if recorder.awaited else None)):
            done = await self._prepare_all(batch)
            prepared = [live for live in done if self._is_here(live)]  # not killed meanwhile
            never = await self._never_taken(prepared)
            if never:
                await self._submit(never)
            if recorder.awaited:
                await recorder.flush()
            if room.free and room.ready:
                await asyncio.sleep(0)

    def _next_batch(self, most: int | None) -> list[Live]:
        """What may be handed over now: no plugin is busy with it."""
        room = self._room
        size = min(room.free, most or room.scheduler.max_batch)
        if size <= 0 or self._lifecycle.lines.empty:
            return room.ready[: max(size, 0)]
        return [live for live in room.ready if not self._lifecycle.lines.busy(live.job)][:size]

    async def _prepare_all(self, batch: Sequence[Live]) -> Sequence[Live]:
        """Those that can run, their scripts written; a large batch lets the loop breathe."""
        done = []
        for place, live in enumerate(batch, 1):
            if await self._prepare(live):
                done.append(live)
            if place % _BREATH == 0:
                await asyncio.sleep(0)
        return done

    async def _prepare(self, live: Live) -> bool:
        """Have its script written; False: it can never run.

        Raises:
            Exception: Trouble, to be waited out; or the end of the run.
        """
        try:
            if live.cleared and not live.prepared:
                take_back(live.job.directory)
            await prepare(live, self._room.scheduler)
        except MetadirError:
            raise
        except Exception as exc:
            if as_trouble(exc) is not None:
                raise
            log.exception("%s can't be wrapped", live.job)
            self._forget(live)
            told = f"{type(exc).__name__}: {exc}"
            self._concluder.refuse(live.job, Reason("WRAP_FAILED", {"message": told}))
            return False
        return True

    async def _never_taken(self, lives: Sequence[Live]) -> Sequence[Live]:
        """Those that are to be handed over: the scheduler has others after all, although that went wrong.

        Raises:
            Exception: It can't be asked now.
        """
        doubted = [live for live in lives if live.doubted]
        if not doubted:
            return lives
        found = await self._room.scheduler.find_jobs([live.job for live in doubted])
        for live in doubted:
            live.doubted = False
            if live.job in found:
                self._forget(live)
                self._settle(live, found[live.job])
            elif live.stopped_by:
                self._forget(live)
                self._refuse(live.job, SubmitError("it was never handed over"))
        return [live for live in lives if not live.handed and self._is_here(live)]

    async def settle_doubts(self) -> None:
        """Find out what was handed over although it seemed to go wrong; nothing more is."""
        doubted = [live for live in self._room.ready if live.doubted]
        try:
            await self._never_taken(doubted)
        except Exception as exc:
            if as_trouble(exc) is None:
                raise
            told = ", ".join(str(live.job) for live in doubted)
            log.error("the scheduler may have, and run, %s: %s", told, exc)  # noqa: TRY400  it says why

    async def _submit(self, batch: Sequence[Live]) -> None:
        """Hand over; what was handed over is written down even when the engine is cancelled."""
        for live in batch:
            self._forget(live)
        crash_point("before jobs are handed over")
        outcomes = self._room.scheduler.submit_jobs_nowait([live.job for live in batch])
        if outcomes is not None:
            self._settle_all(batch, outcomes)
            return
        try:
            await finish(self._submit_and_settle(batch), SUBMIT_BOUND_SECONDS)
        except asyncio.CancelledError:
            # those whose hand-over never began are given back
            self._room.ready += [live for live in batch if self._untouched(live)]
            raise

    def _untouched(self, live: Live) -> bool:
        return self._is_here(live) and not live.handed and live not in self._room.ready

    def _is_here(self, live: Live) -> bool:
        return self._room.live.get(live.job.id) is live

    def _forget(self, live: Live) -> None:
        if live in self._room.ready:
            self._room.ready.remove(live)

    async def _submit_and_settle(self, batch: Sequence[Live]) -> None:
        scheduler = self._room.scheduler
        try:
            outcomes = await scheduler.submit_jobs([live.job for live in batch])
        except Exception as exc:  # noqa: BLE001  a plural that failed as a whole failed for each
            outcomes = [exc] * len(batch)
        trouble = None
        for place, (live, outcome) in enumerate(zip(batch, outcomes, strict=True), 1):
            trouble = self._settle(live, outcome) or trouble
            if place % _BREATH == 0:
                await asyncio.sleep(0)
        if trouble is not None:
            raise trouble

    def _settle_all(self, batch: Sequence[Live], outcomes: Sequence[Outcome]) -> None:
        trouble = None
        for live, outcome in zip(batch, outcomes, strict=True):
            trouble = self._settle(live, outcome) or trouble
        if trouble is not None:
            raise trouble

    def _settle(self, live: Live, outcome: Outcome) -> Exception | None:
        """Write one job's outcome down; returns the trouble to wait out, if there is any."""
        job = live.job
        if isinstance(outcome, Exception):
            unclear = not self._room.scheduler.on_this_host and not isinstance(outcome, BackendFull)
            if as_trouble(outcome) is not None and (unclear or not live.stopped_by):
                live.doubted = unclear
                self._room.ready.append(live)
                return outcome
            self._refuse(job, outcome)
            return None
        job.uid = str(outcome)
        live.handed = True
        crash_point("after a job is handed over")
        self._pause.handed(live)
        if self._lifecycle.apply(job, JobEvent.SUBMITTED, self._submitted(job)):
            try:
                metadir.write_lock(job.directory, outcome)
                crash_point("after a lock is written")
            except OSError as exc:
                log.warning("%s runs, but its lock can't be written: %s", job, exc)
        else:
            self._lifecycle.recorder.add(job)  # asked to stop meanwhile; its uid must not be lost
        self._handed(live)
        return None

    def _has_begun(self, live: Live) -> bool:
        """Where ends are told, a start begins at once; elsewhere it may be queued for long: it was taken."""
        room = self._room
        ended = room.live.get(live.job.id) is not live
        return ended or live.job.status is JobStatus.RUNNING or not room.scheduler.tells_ends

    def _submitted(self, job: Job) -> Reason:
        return Reason("PENDING", {"scheduler": self._room.scheduler.name, "uid": job.uid})

    def _refuse(self, job: Job, error: Exception) -> None:
        if job.status is JobStatus.KILLING:
            self._lifecycle.apply(job, JobEvent.KILLED, Reason("KILLED", {"by": REQUEST}))
            return
        if not isinstance(error, SubmitError):
            log.error("handing %s over raised", job, exc_info=error)
        told = str(error) if isinstance(error, SubmitError) else f"{type(error).__name__}: {error}"
        self._concluder.refuse(job, Reason("SUBMIT_REFUSED", {"message": told}))

    async def _wait_out(self, reason: Reason) -> None:
        room = self._room
        room.trouble = reason
        for live in room.ready:
            self._lifecycle.explain(live.job, reason)
        try:
            await self._pause.wait()
        finally:
            room.trouble = None
        room.claim_wanted.set()
