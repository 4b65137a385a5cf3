"""Starts an engine whenever one is wanted, and knows how the last one ended."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final

from ..errors import Halted, MetadirError, StoreError
from ..hooking import hook_of
from ..job import Job
from ..report import mention_failures
from ..settings import KILL_BOUND_SECONDS
from ..states import JobStatus
from . import unawaited
from .killer import Killer
from .lifecycle import Lifecycle
from .ownership import Hold, Ownership
from .room import Room, StopReason
from .run import Engine
from .signals import end_as_signalled, listen

log = logging.getLogger("xqute.engine")

#: So many engines, each for what was pushed while the one before closed down, are hardly what anybody wants.
ENGINES_IN_A_ROW: Final = 4


class Driver:
    """Over the life of a producer: at most one engine at a time, and the store open while needed."""

    def __init__(
        self,
        room: Room,
        lifecycle: Lifecycle,
        killer: Killer,
        ownership: Ownership,
        *,
        inherit: Callable[[], Awaitable[None]],
        jobs: Callable[[], Iterable[Job]],
        root: str,
    ) -> None:
        """Nothing is opened or started yet.

        `inherit` gets to know the jobs of a run taken over; `jobs` are those of this session.
        """
        self._ownership = ownership
        ownership.let_go = self.let_go
        self._inherit = inherit
        self._jobs = jobs
        self._room = room
        self._lifecycle = lifecycle
        self._killer = killer
        self._root = root
        self._task: asyncio.Task[None] | None = None
        self._opened = False
        self._declared = False  # the store knows the limits that were given
        self._opening = asyncio.Lock()
        #: The task in whose `async with` this is.
        self.block: asyncio.Task[Any] | None = None
        self._needed = 0  # how many wait for the end of the run, and for its report
        self._began: float | None = None
        #: What the last engine ended with, when it broke.
        self.crash: Exception | None = None

    @property
    def running(self) -> bool:
        """Whether an engine runs."""
        return self._task is not None and not self._task.done()

    @property
    def opened(self) -> bool:
        """Whether the store is open."""
        return self._opened

    @property
    def seconds(self) -> float:
        """Since the first engine started."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    async def crowd(self) -> int:
        """How many job directories there are, where they are very many; else 0."""
        return await self._lifecycle.tidier.count()

    async def open(self) -> None:
        """Open the store where it is not."""
        async with self._opening:
            await self._open()

    async def own(self) -> None:
        """Own the run, before anything of it is changed; where there is none yet, none is begun.

        Raises:
            RunOwned: Another process does.
        """
        async with self._opening:
            await self._open()
            if await self._ownership.take():
                self._room.rebooted = self._ownership.rebooted
                await self._inherit()
            if not self._declared:
                await self._room.sharing.declare(self._room.store)
                self._declared = True

    async def begin(self) -> None:
        """Own a run that jobs can be accepted for; where there is none, a new one."""
        async with self._opening:
            await self._ownership.begin()

    async def _open(self) -> None:
        if not self._opened:
            await self._room.store.open()
            try:
                await self._ownership.belonging.claim()
            except BaseException:
                await self._room.store.close()
                raise
            self._opened = True

    @asynccontextmanager
    async def needed(self) -> AsyncIterator[None]:
        """Somebody waits for the run, and reports of it: nobody else lets go of it meanwhile."""
        self._needed += 1
        try:
            yield
        finally:
            self._needed = max(0, self._needed - 1)  # 0: a signal ends the process
            await self.close()

    async def let_go(self) -> Hold:
        """Another of this process wants the run: it gets it where nobody works on it here."""
        call = hook_of(self._room.plugins)
        if call.direct if call is not None else self.block is asyncio.current_task():
            return Hold.NEVER_ENDS
        if (
            call is not None
            or self._room.held
            or self._needed
            or self._opening.locked()
            or (self.running and self._room.going)
        ):
            return Hold.WORKS
        if self.running and self._task is not None:
            await asyncio.wait([self._task])  # it is about to end
        await self.close()
        return Hold.NONE

    async def close(self) -> None:
        """Let go of the run and the store, unless somebody still needs them."""
        try:
            if self._is_left:
                await self._finish_tidying()
        finally:  # a Ctrl-C while very many directories go leaves the rest, and the run in order
            async with self._opening:  # who pushes now finds the run left, or not, but not half left
                if self._is_left:
                    await self._let_go()

    async def _let_go(self) -> None:
        self._opened = self._declared = False
        await self._finish_writing()
        try:
            await self._ownership.give_back()
        except (StoreError, MetadirError) as exc:
            if not self._room.stops_for(exc):
                log.warning("run %s could not be given back: %s", self._room.run, exc)
        self._ownership.belonging.release()
        await self._room.store.close()

    @property
    def _is_left(self) -> bool:
        """Whether nobody needs the store any more."""
        return self._opened and not (self.running or self._room.held or self._needed)

    async def _finish_tidying(self) -> None:
        """Remove the directories that are not to be kept."""
        try:
            await self._lifecycle.tidier.finish()
        except (StoreError, MetadirError) as exc:
            if not self._room.stops_for(exc):
                log.warning("not all directories that keep= does not keep were removed: %s", exc)

    async def _finish_writing(self) -> None:
        """What became of jobs while no engine ran, or while the store could not be written."""
        try:
            async with asyncio.timeout(KILL_BOUND_SECONDS):
                await self._lifecycle.recorder.flush()
        except TimeoutError:
            log.error("the store could not be told what became of the jobs")  # noqa: TRY400  a bound
        except (StoreError, MetadirError) as exc:
            if not self._room.stops_for(exc):
                log.error("the store could not be told what became of the jobs: %s", exc)  # noqa: TRY400

    def forget_stop(self) -> None:
        """A run that was stopped may be started again, when a user says so."""
        if not self.running:
            self._room.stop, self._room.abandoned = None, False
            self._room.forgiven = self._room.counts[JobStatus.FAILED]
            self.crash = None

    async def start(self) -> None:
        """Start the engine where none runs."""
        await self.own()
        if not self.running:
            self._began = self._began or time.monotonic()
            unawaited.awaited(self._root)
            self._task = asyncio.create_task(self._work(), name=f"xqute engine {self._room.run}")

    async def see_begun(self) -> None:
        """Return when `on_init` has returned, or no engine runs; in a hook of the run at once."""
        task = self._task
        if task is None or task.done() or task is asyncio.current_task():
            return
        begun = asyncio.ensure_future(self._lifecycle.lines.opened.wait())
        await asyncio.wait([task, begun], timeout=KILL_BOUND_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()

    async def wait(self, job: Job) -> None:
        """Return when the job has ended; the engine starts, unless the run was stopped.

        Raises:
            Halted: The run was stopped before the job ended.
        """
        if not self.running and job.id not in self._room.blocked:
            if self.crash is not None:
                raise self.crash
            if self._room.stop is not None:
                unawaited.awaited(self._root)  # whoever awaits one is told why they did not run
                raise Halted(f"{job} did not end: {self._room.stop}", self._room.stop)
            await self.start()
        await self._lifecycle.ended(job)

    async def complete(self) -> None:
        """Return when nothing of the run can go on: the engine rests where more may be pushed, else ends.

        Whoever cancels this stops the run, and waits for its end first.
        """
        rests = asyncio.get_running_loop().create_future()
        self._room.resting.append(rests)
        self._room.wake.set()
        try:
            await self.ended(rests)
        finally:
            self._room.resting.remove(rests)

    async def ended(self, *enough: asyncio.Future[None]) -> None:
        """Return when no engine runs, or one of these is done; whoever cancels this stops the run first."""
        cancelled = False
        while self.running and self._task is not None:
            try:
                await asyncio.wait([self._task, *enough], return_when=asyncio.FIRST_COMPLETED)
                if any(other.done() for other in enough):
                    return
            except asyncio.CancelledError:
                cancelled, enough = True, ()
                self._room.request_stop(StopReason("cancelled"))
                if hook_of(self._room.plugins) is not None:
                    raise  # the engine's end would wait for the hook, and that for this
        if cancelled:
            await self.close()
            raise asyncio.CancelledError

    async def _work(self) -> None:
        """The background task: engines until nothing can go on, and the signals while they run."""
        stop_listening = listen(self._signalled)
        try:
            await self._run_engines()
        except Exception as exc:  # noqa: BLE001  raised to whoever waits for the engine
            self.crash = exc
        except asyncio.CancelledError:
            self._room.abandon()  # also when it was about to end, and came to know of new jobs
            raise
        finally:
            came = stop_listening()
            self._say_how_to_go_on()
            self._lifecycle.give_up(self.crash)
            if came:
                try:
                    await self._leave()
                finally:
                    end_as_signalled(came)

    def _say_how_to_go_on(self) -> None:
        """A run that was interrupted before all its jobs had ended is not lost; nor is what failed."""
        room = self._room
        if room.abandoned:
            mention_failures(self._jobs())
        left = room.jobs - room.counts[JobStatus.FINISHED] - room.counts[JobStatus.SKIPPED]
        if room.interrupted and not room.detaching and room.going + room.counts[JobStatus.KILLED]:
            how = "ended with its program, which did not wait" if room.abandoned else "was interrupted"
            log.warning(
                "run %s %s: %s of %s jobs have not ended well; %s goes on with it",
                *(room.run, how, left, room.jobs, room.goes_on),
            )

    async def _leave(self) -> None:
        """The process ends now: let go of everything."""
        self._room.held = False
        self._needed = 0
        self._task = None
        await self.close()

    async def _run_engines(self) -> None:
        """One engine, and another when jobs were pushed while it closed down."""
        for number in count(1):
            if number == ENGINES_IN_A_ROW:
                log.warning(
                    "run %s was about to end %s times, and jobs were pushed each time: "
                    "a hook on_complete or on_shutdown that always pushes never lets it end",
                    *(self._room.run, number - 1),
                )
            await Engine(self._room, self._lifecycle, self._killer, self._ownership).work()
            if self._room.stop is not None or not self._room.going:
                return

    def _signalled(self, number: int) -> None:
        name = signal.Signals(number).name
        self._room.request_stop(StopReason(name, f"stopped by {name}"))
