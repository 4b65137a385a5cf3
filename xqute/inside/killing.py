"""What SIGTERM does to a call: it ends as by an exception, so that what it began is tidied up."""

from __future__ import annotations

import os
import signal
import time
from _thread import get_ident, start_new_thread
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from ..errors import JobKilled
from .handlers import DEFAULT, handler_of, set_handler

#: The return code of a call that was ended by SIGTERM, as shells tell it.
RC: Final = 128 + signal.SIGTERM

#: A fork is over by then.
LATER_SECONDS: Final = 0.01


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
        self._masks: dict[int, Any] = {}

    def listen(self) -> None:
        """From now on the signal raises `JobKilled`."""
        if not self._known_to_forks:
            self._known_to_forks = True
            os.register_at_fork(before=self._hold, after_in_parent=self._release, after_in_child=self._forget)
        self.asked = False
        self.cancel = None
        self._interruptible = True
        set_handler(signal.SIGTERM, self._ask)

    def spare(self) -> None:
        """From now on the signal is only remembered: what is left to do is to write how it ended."""
        self._interruptible = False

    # In a fork the signal ends the process, as its parent expects (`multiprocessing` does). Python drops
    # what reaches its handler in the first steps of a fork, so nothing reaches it before they are done.

    def _hold(self) -> None:
        self._masks[get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def _release(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.pop(get_ident()))

    def _forget(self) -> None:
        # To ask for a method twice gives two objects that are equal.
        if handler_of(signal.SIGTERM) == self._ask:
            set_handler(signal.SIGTERM, DEFAULT)
        self._release()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        first, self.asked = not self.asked, True
        # Once: the second signal of somebody in a hurry must not break the tidying up after the first.
        if not (first and self._interruptible):
            return
        if self.cancel is not None:
            self.cancel()
        elif _in_a_hook(frame):
            # What is raised in there is lost: once more, a moment later.
            self.asked = False
            start_new_thread(_ask_later, (get_ident(), number))
        else:
            raise JobKilled("the job was asked to stop")


def _in_a_hook(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals is globals() and frame.f_code.co_name in {"_hold", "_release"}:
            return True
        frame = frame.f_back
    return False


def _ask_later(thread: int, number: int) -> None:
    time.sleep(LATER_SECONDS)
    signal.pthread_kill(thread, number)


#: Signals are the whole process's.
KILLING: Final = Killing()
