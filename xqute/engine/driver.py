"""Starts an engine whenever one is wanted, and knows how the last one ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

from ..errors import Halted
from ..job import Job
from ..states import JobStatus
from ..store import RunRow
from . import unawaited
from .killer import Killer
from .lifecycle import Lifecycle
from .room import Room, StopReason
from .run import Engine
from .signals import end_as_signalled, listen


class Driver:
    """Over the life of a producer: at most one engine at a time, and the store open while needed."""

    def __init__(self, room: Room, lifecycle: Lifecycle, killer: Killer, root: str) -> None:
        """Nothing is opened or started yet."""
        self._room = room
        self._lifecycle = lifecycle
        self._killer = killer
        self._root = root
        self._task: asyncio.Task[None] | None = None
        self._opened = False
        self._opening = asyncio.Lock()
        self._began: float | None = None
        #: What the last engine ended with, when it broke.
        self.crash: Exception | None = None

    @property
    def running(self) -> bool:
        """Whether an engine runs."""
        return self._task is not None and not self._task.done()

    @property
    def seconds(self) -> float:
        """Since the first engine started."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    async def open(self) -> None:
        """Open the store where it is not, and make the run known to it once."""
        async with self._opening:
            if self._opened:
                return
            await self._room.store.open()
            row = RunRow(self._room.run, _script(), "owned", self._room.owner, self._room.now(), "{}")
            await self._room.store.run(row)
            self._opened = True

    async def close(self) -> None:
        """Let go of the store, unless somebody still needs it."""
        if self._opened and not self.running and not self._room.held:
            self._opened = False
            await self._room.store.close()

    def forget_stop(self) -> None:
        """A run that was stopped may be started again, when a user says so."""
        if not self.running:
            self._room.stop = None
            self._room.forgiven = self._room.counts[JobStatus.FAILED]
            self.crash = None

    async def start(self) -> None:
        """Start the engine where none runs."""
        await self.open()
        if not self.running:
            self._began = self._began or time.monotonic()
            unawaited.awaited(self._root)
            self._task = asyncio.create_task(self._work(), name=f"xqute engine {self._room.run}")

    async def wait(self, job: Job) -> None:
        """Return when the job has ended; the engine starts, unless the run was stopped.

        Raises:
            Halted: The run was stopped before the job ended.
        """
        if not self.running:
            if self.crash is not None:
                raise self.crash
            if self._room.stop is not None:
                raise Halted(f"{job} did not end: {self._room.stop}", self._room.stop)
            await self.start()
        await self._lifecycle.ended(job)

    async def ended(self) -> None:
        """Return when no engine runs; whoever cancels this stops the run first."""
        cancelled = False
        while self.running and self._task is not None:
            try:
                await asyncio.wait([self._task])
            except asyncio.CancelledError:
                cancelled = True
                self._room.request_stop(StopReason("cancelled"))
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
        finally:
            came = stop_listening()
            self._lifecycle.give_up(self.crash)
            if came:
                self._opened = False
                await self._room.store.close()
                end_as_signalled(came)

    async def _run_engines(self) -> None:
        """One engine, and another when jobs were pushed while it closed down."""
        while True:
            await Engine(self._room, self._lifecycle, self._killer).work()
            if self._room.stop is not None or not self._room.unfinished:
                return

    def _signalled(self, number: int) -> None:
        name = signal.Signals(number).name
        self._room.request_stop(StopReason(name, f"stopped by {name}"))


def _script() -> str:
    """What program pushes: the path of the script, empty in an interactive one."""
    return os.path.abspath(sys.argv[0]) if sys.argv and sys.argv[0] else ""
