"""Takes jobs from the store when forks are free, writes their scripts, hands them to the scheduler."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

from .. import metadir
from ..errors import MetadirError, SubmitError
from ..job import Job
from ..scheduler import Outcome
from ..settings import SUBMIT_BOUND_SECONDS
from ..states import JobEvent, JobStatus, Reason, WaitReason
from .finish import finish
from .lifecycle import Lifecycle
from .room import Live, Room
from .trouble import Pause, as_trouble, vanished

log = logging.getLogger("xqute.engine")


class Submitter:
    """One task that claims, prepares and submits; trouble of the infrastructure makes it pause."""

    def __init__(self, room: Room, lifecycle: Lifecycle, handed: Callable[[Live], None]) -> None:
        """Call `handed` when the scheduler has a job."""
        self._room = room
        self._lifecycle = lifecycle
        self._handed = handed
        self._pause = Pause()
        self._trouble: Reason | None = None  # seen elsewhere, to be waited out here
        self._ready: list[Live] = []

    async def run(self) -> None:
        """Work until cancelled, or until the run stops."""
        room = self._room
        while True:
            await room.claim_wanted.wait()
            room.claim_wanted.clear()
            if room.stop is not None:
                return
            if self._trouble is not None:
                seen, self._trouble = self._trouble, None
                await self._wait_out(seen)
                continue
            try:
                await self._claim()
                await self._submit_ready()
            except Exception as exc:
                reason = as_trouble(exc)
                if reason is None:
                    raise
                await self._wait_out(reason)

    def again(self, live: Live, reason: Reason) -> None:
        """Hand the same start over once more: it never began."""
        job = live.job
        if reason.code == WaitReason.DISK_FULL:
            self._trouble = reason
        else:
            job.resubmits += 1
        fresh = Live(job, asyncio.get_running_loop().time())
        fresh.cleared = True
        self._room.live[job.id] = fresh
        self._ready.append(fresh)
        self._room.claim_wanted.set()

    def withdraw(self, job: Job) -> bool:
        """Take a claimed job back before it is handed over; False: too late, or not claimed."""
        live = self._room.live.get(job.id)
        if live is None or live not in self._ready:
            return False
        self._ready.remove(live)
        return True

    async def give_back(self) -> None:
        """Give back what was claimed and not handed over; the run stops."""
        room = self._room
        ready, self._ready = self._ready, []
        for live in ready:
            live.job.start -= 1
            room.leave(live.job)
        room.unreleased += [live.job.id for live in ready]
        await self._release()

    async def _release(self) -> None:
        room = self._room
        if room.unreleased:
            await room.store.release(room.owner, room.unreleased)
            room.unreleased = []

    # Claiming

    async def _claim(self) -> None:
        room = self._room
        await self._release()
        if room.free <= 0 or not room.counts[JobStatus.QUEUED]:
            return
        rows = await room.store.claim(room.owner, room.run, room.free, room.clock())
        loop_now = asyncio.get_running_loop().time()
        for row in rows:
            job = room.find(row)
            job.start = row.start
            if job.status is not JobStatus.QUEUED:
                # it was asked to stop meanwhile, and is kept so under the start it has now
                self._lifecycle.recorder.add(job)
                continue
            job.resubmits = 0
            live = Live(job, loop_now)
            room.live[job.id] = live
            self._ready.append(live)

    # Handing over

    async def _submit_ready(self) -> None:
        """Hand over what no plugin is busy with, in batches, letting the loop breathe between."""
        scheduler = self._room.scheduler
        while batch := self._next_batch(scheduler.max_batch):
            done = [live for live in batch if await self._prepare(live)]
            prepared = [live for live in done if self._is_here(live)]  # not killed meanwhile
            if prepared:
                await self._submit(prepared)
            await asyncio.sleep(0)
            if self._room.stop is not None:
                return

    def _next_batch(self, size: int) -> list[Live]:
        if self._lifecycle.lines.empty:
            return self._ready[:size]
        return [live for live in self._ready if not self._lifecycle.lines.busy(live.job)][:size]

    async def _prepare(self, live: Live) -> bool:
        """Write the job's script into its directory; False: it can never run.

        Raises:
            OSError: It can't be written now.
        """
        job = live.job
        if job.will_retry:
            job.will_retry = False
            job.attempt += 1
        try:
            self._make_directory(live)
            text = await _text(job.wrap_cmd(self._room.scheduler))
            metadir.write_script(job.script(self._room.scheduler), text)
        except MetadirError:
            raise
        except Exception as exc:
            if as_trouble(exc) is not None:
                raise
            log.exception("%s can't be wrapped", job)
            self._forget(live)
            told = f"{type(exc).__name__}: {exc}"
            self._lifecycle.refuse(job, Reason("WRAP_FAILED", {"message": told}))
            return False
        return True

    def _make_directory(self, live: Live) -> None:
        """Make it, or put the files of earlier starts away, once.

        Before the first start there may be one too: a user asked for it, or it is of an older store.
        """
        job = live.job
        try:
            os.mkdir(job.directory, 0o700)
        except FileExistsError:
            if not live.cleared:
                metadir.put_away(job.directory, job.start - 1)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise vanished(exc, os.path.dirname(job.directory)) from exc
        live.cleared = True

    async def _submit(self, batch: Sequence[Live]) -> None:
        """Hand over; what was handed over is written down even when the engine is cancelled."""
        for live in batch:
            self._forget(live)
        try:
            await finish(self._submit_and_settle(batch), SUBMIT_BOUND_SECONDS)
        except asyncio.CancelledError:
            # those whose hand-over never began are given back
            self._ready += [live for live in batch if self._untouched(live)]
            raise

    def _untouched(self, live: Live) -> bool:
        return self._is_here(live) and not live.handed and live not in self._ready

    def _is_here(self, live: Live) -> bool:
        return self._room.live.get(live.job.id) is live

    def _forget(self, live: Live) -> None:
        if live in self._ready:
            self._ready.remove(live)

    async def _submit_and_settle(self, batch: Sequence[Live]) -> None:
        scheduler = self._room.scheduler
        try:
            outcomes = await scheduler.submit_jobs([live.job for live in batch])
        except Exception as exc:  # noqa: BLE001  a plural that failed as a whole failed for each
            outcomes = [exc] * len(batch)
        trouble = None
        for live, outcome in zip(batch, outcomes, strict=True):
            trouble = self._settle(live, outcome) or trouble
        if trouble is not None:
            raise trouble

    def _settle(self, live: Live, outcome: Outcome) -> Exception | None:
        """Write one job's outcome down; returns the trouble to wait out, if there is any."""
        job = live.job
        if isinstance(outcome, Exception):
            if as_trouble(outcome) is not None and not live.stopped_by:
                self._ready.append(live)
                return outcome
            self._refuse(job, outcome)
            return None
        job.uid = str(outcome)
        live.handed = True
        self._pause.over()
        if self._lifecycle.apply(job, JobEvent.SUBMITTED, self._submitted(job)):
            try:
                metadir.write_lock(job.directory, outcome)
            except OSError as exc:
                log.warning("%s runs, but its lock can't be written: %s", job, exc)
        else:
            self._lifecycle.recorder.add(job)  # asked to stop meanwhile; its uid must not be lost
        self._handed(live)
        return None

    def _submitted(self, job: Job) -> Reason:
        return Reason("PENDING", {"scheduler": self._room.scheduler.name, "uid": job.uid})

    def _refuse(self, job: Job, error: Exception) -> None:
        if job.status is JobStatus.KILLING:
            self._lifecycle.apply(job, JobEvent.KILLED, Reason("KILLED", {"by": "request"}))
            return
        if not isinstance(error, SubmitError):
            log.error("handing %s over raised", job, exc_info=error)
        told = str(error) if isinstance(error, SubmitError) else f"{type(error).__name__}: {error}"
        self._lifecycle.refuse(job, Reason("SUBMIT_REFUSED", {"message": told}))

    async def _wait_out(self, reason: Reason) -> None:
        for live in self._ready:
            self._lifecycle.explain(live.job, reason)
        await self._pause.after(reason)
        self._room.claim_wanted.set()


async def _text(script: Any) -> str:
    """What `wrap_cmd` returned, awaited where it is a coroutine."""
    text = await script if inspect.isawaitable(script) else script
    if not isinstance(text, str):
        raise TypeError(f"wrap_cmd returned {type(text).__name__}: the text of a script is needed")
    return text
