"""SIGTERM and SIGHUP while an engine runs: wind down, then end as the program would have without us.

SIGINT is left to `asyncio.run`, which cancels the main task at the first and raises KeyboardInterrupt
at the second. A handler that the host program set, by `signal.signal` or on its event loop, is left
alone, and so is its wakeup descriptor: only the default is taken over, and put back.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

_WATCHED: Final = (signal.SIGTERM, signal.SIGHUP)


class _Listeners:
    """The engines of one event loop: signals belong to the process, so they share its handlers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.tell: list[Callable[[int], None]] = []
        self.ours: list[int] = []
        self.came = 0

    def take_over(self) -> None:
        """Handle what nobody handles."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _WATCHED:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self.handle)
                self.ours.append(number)

    def put_back(self) -> None:
        """Leave it as it was, unless somebody took it meanwhile."""
        for number in self.ours:
            if signal.getsignal(number) == self.handle:
                signal.signal(number, signal.SIG_DFL)
        self.ours.clear()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The handler; a loop that stands still can't wind anything down."""
        self.came = number
        if self.loop.is_running():
            self.loop.call_soon_threadsafe(self.tell_all, number)
        else:
            self.put_back()
            os.kill(os.getpid(), number)

    def tell_all(self, number: int) -> None:
        """Every engine of this loop stops."""
        for tell in tuple(self.tell):
            tell(number)


#: One for each loop with an engine, by the loop's id: no loop is kept alive.
_loops: Final[dict[int, _Listeners]] = {}


def listen(tell: Callable[[int], None]) -> Callable[[], int]:
    """Call `tell` with the number of a signal; returns what to call when the engine ended.

    That returns the number of the signal to end this process by, when the last engine of this loop
    ended and one came while they ran; else 0.
    """
    loop = asyncio.get_running_loop()
    listeners = _loops.get(id(loop))
    if listeners is None:
        listeners = _loops[id(loop)] = _Listeners(loop)
        listeners.take_over()
    listeners.tell.append(tell)

    def stop() -> int:
        listeners.tell.remove(tell)
        if listeners.tell:
            return 0
        listeners.put_back()
        _loops.pop(id(loop), None)
        return listeners.came

    return stop


def end_as_signalled(number: int) -> None:
    """End this process by the signal that was held back."""
    os.kill(os.getpid(), number)
