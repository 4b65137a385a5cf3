"""One engine session: from the first job that may run until nothing of the run can go on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from ..errors import MetadirError, StoreError
from ..job import Job
from ..printable import listed
from ..settings import (
    HOOKS_BOUND_SECONDS,
    KILL_BOUND_SECONDS,
    KILL_STORE_SECONDS,
    STOP_TOLD_SECONDS,
    SUBMIT_BOUND_SECONDS,
)
from ..states import Reason
from .adopter import Adopter
from .cleaning import Cleaner
from .concluding import Concluder
from .finish import finish, survive, uncancel
from .killer import Killer
from .lifecycle import Lifecycle
from .ownership import Ownership
from .requests import Requests
from .room import Live, Room, StopReason
from .submitter import Submitter
from .watcher import Watcher

log = logging.getLogger("xqute.engine")


class Engine:
    """The one background task of a run. It owns the only task group; nothing is fire-and-forget."""

    def __init__(self, room: Room, lifecycle: Lifecycle, killer: Killer, ownership: Ownership) -> None:
        """Put the parts together; nothing runs before `work`."""
        self._room = room
        self._lifecycle = lifecycle
        self._killer = killer
        self._concluder = Concluder(room, lifecycle)
        self._submitter = Submitter(room, lifecycle, self._concluder, self._handed)
        self._watcher = Watcher(
            *(room, lifecycle, self._concluder),
            again=self._again,
            too_long=killer.too_long,
            freed=self._submitter.fill,
        )
        lifecycle.ended_for_good = Cleaner(room, lifecycle).ended_for_good
        self._adopter = Adopter(room, lifecycle, self._submitter, self._watcher, handed=self._handed)
        self._requests = Requests(room, lifecycle, killer, ownership)
        self._bug: Exception | None = None
        self._cancelled = False
        self._ending = False

    # The parts talk through these

    def _again(self, live: Live, reason: Reason) -> None:
        self._submitter.again(live, reason)

    def _handed(self, live: Live) -> None:
        self._watcher.follow(live)
        if live.stopped_by:
            self._killer.handed_over(live)

    # The session

    async def work(self) -> None:
        """Run until nothing can go on, or a stop is requested; wind down; raise what went wrong.

        Raises:
            Exception: A bug of the engine or trouble it can't outlive, after winding down.
        """
        async with AsyncExitStack() as stack:
            await self._open(stack)
            stack.push_async_callback(self._close)
            stack.callback(self._room.alarm.sleep)
            async with asyncio.TaskGroup() as group:
                await self._session(group)
        if self._bug is not None:
            raise self._bug
        if self._cancelled:
            raise asyncio.CancelledError

    async def _open(self, stack: AsyncExitStack) -> None:
        room = self._room
        room.plugins.collect()
        self._lifecycle.lines.begin()
        room.scheduler.notify = self._watcher.notify
        await room.scheduler.open(stack)
        await self._fire("on_init", room.scheduler)

    async def _session(self, group: asyncio.TaskGroup) -> None:
        """The tasks, and their end in an order that loses nothing."""
        lifecycle = self._lifecycle
        submitting = group.create_task(self._submit(), name="xqute submitter")
        services = [
            group.create_task(self._serve(self._watcher.run), name="xqute watcher"),
            group.create_task(self._serve(lifecycle.recorder.run), name="xqute recorder"),
            group.create_task(self._serve(partial(self._requests.run, group)), name="xqute requests"),
            group.create_task(self._serve(self._concluder.reports.run), name="xqute reports"),
            group.create_task(self._serve(lifecycle.tidier.run), name="xqute tidier"),
        ]
        self._killer.meet(self._submitter, self._watcher, group)
        lifecycle.lines.open(group)
        lifecycle.tell_again()
        self._room.claim_wanted.set()
        self._room.alarm.wake()
        try:
            await self._until_over()
            await self._wind_down(submitting)
        finally:
            self._ending = True
            lifecycle.lines.close()
            self._killer.leave()
            for task in (submitting, *services):
                task.cancel()

    async def _submit(self) -> None:
        """The submitter; it alone ends as soon as it is cancelled."""
        try:
            await finish(self._adopter.adopt(), SUBMIT_BOUND_SECONDS)
            await self._submitter.run()
        except Exception as exc:  # noqa: BLE001  raised at the end of `work`
            self._break(exc)

    async def _serve(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A part that winding down needs: it lives until the session ends."""
        try:
            await survive(work, lambda: self._ending)
        except Exception as exc:  # noqa: BLE001  raised at the end of `work`
            self._break(exc)

    def _break(self, bug: Exception) -> None:
        """A part that breaks stops the run; the others live on to wind down."""
        self._bug = self._bug or bug
        self._room.request_stop(StopReason("error", f"stopped by an error: {bug}"))

    async def _until_over(self) -> None:
        """Wait until nothing of the run can go on, or it must stop."""
        room = self._room
        while not self._over():
            if self._quiet():
                room.rests()
            try:
                await room.wake.wait()
            except asyncio.CancelledError:
                # also when the run was just asked to stop: `asyncio.run` cancels all tasks at once
                self._take_cancellation()
            room.wake.clear()

    def _over(self) -> bool:
        return self._room.stop is not None or (self._quiet() and not self._room.held)

    def _quiet(self) -> bool:
        """Whether nothing of the run can go on, and all that happened was told and written down."""
        told = self._lifecycle.lines.empty and self._lifecycle.recorder.clean
        return told and self._room.going == 0

    def _take_cancellation(self) -> None:
        """Whoever cancels the engine wants it to stop; it does so in order, then says so."""
        self._cancelled = True
        uncancel()
        self._room.abandon()

    def _insisted(self) -> bool:
        """Whether a cancellation that comes now, while winding down, is not the first."""
        return self._cancelled or (self._room.stop is not None and self._room.stop.code == "cancelled")

    # The end

    async def _wind_down(self, submitting: asyncio.Task[None]) -> None:
        """Stop submitting, end what runs, keep what became of it, let the hooks finish."""
        submitting.cancel()
        await self._bounded(partial(_gone, submitting), "end the submission under way")
        if any(live.doubted for live in self._room.ready):
            await self._bounded(self._submitter.settle_doubts, "find out what was handed over")
        await self._bounded(
            self._submitter.claimer.give_back, "give back what was not started", self._store_bound
        )
        if self._room.live:
            await self._leave_or_stop()
        await self._bounded(
            self._lifecycle.recorder.flush, "write down what became of the jobs", self._store_bound
        )
        await self._bounded(self._hooks_done, "let the plugins' hooks finish", HOOKS_BOUND_SECONDS)
        await self._bounded(self._lifecycle.recorder.flush, "write down what they did", KILL_STORE_SECONDS)

    @property
    def _store_bound(self) -> float:
        """A store that is known to be in trouble is not waited for at every step."""
        return KILL_STORE_SECONDS if self._lifecycle.recorder.down else KILL_BOUND_SECONDS

    async def _leave_or_stop(self) -> None:
        """Jobs that nobody pushed again outlive a run that is over; a stop ends all, or leaves all."""
        left = [live.job.id for live in self._room.live.values()]
        if self._room.stop is not None and not self._room.detaching:
            await self._stop_jobs()
        elif self._room.stop is not None:
            log.warning(
                "left running: job(s) %s; %s goes on with them, `xqute kill --run %s` ends them",
                *(listed(left), self._room.goes_on, self._room.run),
            )
        self._room.inherited = list(self._room.live.values())  # for an engine that starts again
        self._room.adopted.clear()

    async def _stop_jobs(self) -> None:
        jobs = [live.job for live in self._room.live.values()]
        told = partial(self._tell_plugins, jobs)
        await self._bounded(told, "tell the plugins", HOOKS_BOUND_SECONDS)
        kill = partial(self._killer.kill, jobs, self._room.stop or StopReason("error"))
        longest = max(job.call.options.grace for job in jobs)
        timer = asyncio.get_running_loop().call_later(STOP_TOLD_SECONDS, self._say_what_is_awaited, longest)
        await self._bounded(kill, "end the jobs", longest + 2 * KILL_BOUND_SECONDS)
        if self._bug is not None:
            look = partial(self._watcher.look_at, list(self._room.live.values()))
            await self._bounded(look, "look at the jobs once more")
        bound = KILL_BOUND_SECONDS + self._room.scheduler.kill_seconds
        await self._bounded(self._ended, "see all jobs ended", bound)
        timer.cancel()
        for live in self._room.live.values():
            log.error("%s may still be running: %s", live.job, live.job.reason)

    def _say_what_is_awaited(self, grace: float) -> None:
        """It takes longer than a moment: whoever waits wants to know what for, and how to end it."""
        if self._room.live and self._room.interrupted:
            log.warning(
                "stopping: %s job(s) were asked to end, and are forced %g s after that; "
                "a second Ctrl-C forces them now",
                *(len(self._room.live), grace),
            )

    async def _tell_plugins(self, jobs: Sequence[Job]) -> None:
        """Let them know; when the whole run stops, no kill can be forbidden."""
        await asyncio.gather(*(self._lifecycle.may_kill(job) for job in jobs))

    async def _ended(self) -> None:
        while self._room.live:
            self._room.wake.clear()
            await self._room.wake.wait()

    async def _hooks_done(self) -> None:
        while not self._lifecycle.lines.empty:
            self._room.wake.clear()
            await self._room.wake.wait()

    async def _bounded(
        self, work: Callable[[], Coroutine[Any, Any, None]], what: str, bound: float = KILL_BOUND_SECONDS
    ) -> None:
        """A clean-up that must not hang, and must not keep the others from happening."""
        try:
            async with asyncio.timeout(bound):
                await work()
        except TimeoutError:
            log.error("could not %s within %s s", what, bound)  # noqa: TRY400  a bound, not a bug
        except (StoreError, MetadirError) as exc:
            if not self._room.stops_for(exc):
                log.error("could not %s: %s", what, exc)  # noqa: TRY400  the sentence says it
        except Exception as exc:
            log.exception("could not %s", what)
            self._bug = self._bug or exc
        except asyncio.CancelledError:
            if self._insisted():
                raise
            self._take_cancellation()
            await self._bounded(work, what, bound)

    async def _close(self) -> None:
        """The last hooks, also after an engine that broke."""
        room = self._room
        await self._fire("on_complete", room.scheduler)
        await self._fire("on_shutdown", room.scheduler, room.consumer)

    async def _fire(self, hook: str, *args: Any) -> None:
        await self._lifecycle.lines.call(partial(self._room.plugins.fire, hook, *args))


async def _gone(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])
