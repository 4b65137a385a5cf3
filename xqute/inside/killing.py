"""What SIGTERM does to a call: it ends as by an exception, so that what it began is tidied up."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Final

from ..errors import JobKilled

#: The return code of a call that was ended by SIGTERM, as shells tell it.
RC: Final = 128 + signal.SIGTERM


class Killing:
    """Whether the call was asked to stop, and how it hears of it.

    Attributes:
        asked: A signal came.
        cancel: How an asynchronous call is told; None: `JobKilled` is raised in the main thread.
    """

    def __init__(self) -> None:
        """Nobody listens yet."""
        self.asked = False
        self.cancel: Callable[[], object] | None = None
        self._interruptible = False
        self._known_to_forks = False
        self._pid = 0

    def listen(self) -> None:
        """From now on the signal raises `JobKilled`."""
        self._pid = os.getpid()
        if not self._known_to_forks:
            self._known_to_forks = True
            os.register_at_fork(after_in_child=self._forget)
        self.asked = False
        self.cancel = None
        self._interruptible = True
        signal.signal(signal.SIGTERM, self._ask)

    def spare(self) -> None:
        """From now on the signal is only remembered: what is left to do is to write how it ended."""
        self._interruptible = False

    def _forget(self) -> None:
        """In a fork the signal ends the process, as its parent expects (`multiprocessing` does)."""
        # To ask it of a method twice gives two objects that are equal.
        if signal.getsignal(signal.SIGTERM) == self._ask:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            # It came between the fork and its first step.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        first, self.asked = not self.asked, True
        # Once: the second signal of somebody in a hurry must not break the tidying up after the first.
        if not (first and self._interruptible):
            return
        if self.cancel is not None:
            self.cancel()
        else:
            raise JobKilled("the job was asked to stop")


#: Signals are the whole process's.
KILLING: Final = Killing()
