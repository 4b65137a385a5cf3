"""Starts of calls that a warm process serves: in a copy of it, or in itself."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Final

from ...job import Job
from ...metadir import read_claim
from . import processes
from .adopted import process_of
from .exits import RSS_UNIT, Start
from .helpers import Helper
from .processes import ticks_now

#: How a start ended of which nobody can tell, or that never began.
UNTOLD: Final = -3


class Forked(Start):
    """A call in a copy of a runner; the runner is its parent, and tells how it ended."""

    __slots__ = ("_runner",)

    def __init__(self, job: Job, pid: int, runner: Helper) -> None:
        super().__init__(job, pid)
        self._runner = runner

    def reap(self) -> bool:
        """Whether it has ended; without its runner nobody knows how."""
        if self.exit is None and not self._runner.alive and self._is_gone():
            self.exit = UNTOLD
            self.until = ticks_now()
            self._wake()
        return self.exit is not None

    def _is_gone(self) -> bool:
        """Whether it is seen that it is not there."""
        try:
            return not self._is_there()
        except OSError:
            return False

    def _is_there(self) -> bool:
        """Whether its number is still its own: a child of the runner, which shows the mark in a moment.

        Raises:
            OSError: That can't be seen now.
        """
        if self._runner.alive and processes.parent_of(self.pid) == self._runner.pid:
            return True
        return process_of(self.job, self.pid) is not None

    def ended(self, status: int, cpu: float, peak: int) -> None:
        """It has ended, and its parent waited for it."""
        self.exit = status
        self.until = ticks_now()
        self.usage = {"wall": time.monotonic() - self.begun, "cpu": cpu}
        if peak:
            self.usage["peak"] = peak * RSS_UNIT
        self._wake()

    def signal_group(self, *signals: int) -> None:
        """Signal its group; its parent may have given the number back a moment ago."""
        with suppress(OSError):  # whoever ends it looks, and asks again
            if self.exit is None and self._is_there():
                super().signal_group(*signals)


class Reused(Start):
    """A call in a worker, which may serve others after it."""

    __slots__ = ("_left", "_worker")

    def __init__(self, job: Job, worker: Helper) -> None:
        super().__init__(job, worker.pid)
        self._worker = worker
        self._left = False

    def reap(self) -> bool:
        """Whether it has ended; by the end of the worker, if nothing was told before."""
        if self.exit is None and super().reap():
            self._worker.reaped = True
            self._left = True
            self._forget_what_never_began()
        return self.exit is not None

    def _forget_what_never_began(self) -> None:
        """A process that can't serve is nothing that happened to the job."""
        if self.exit is not None and os.WIFEXITED(self.exit) and not self._claimed():
            self.exit = UNTOLD

    def _claimed(self) -> bool:
        """Whether it began, as far as that is known."""
        try:
            return read_claim(self.job.directory) is not None
        except OSError:
            return True

    def ended(self, status: int, cpu: float, *, left: bool) -> None:
        """The worker says that it has ended."""
        self.exit = status
        self.until = ticks_now()
        self.usage = {"wall": time.monotonic() - self.begun, "cpu": cpu}
        self._left = left
        self._wake()

    def left_something(self) -> bool:
        """Whether its group may have members that are not the worker."""
        return self._left and super().left_something()
