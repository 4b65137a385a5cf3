"""SIGTERM and SIGHUP while an engine runs: wind down, then end as the program would have without us.

SIGINT is left to `asyncio.run`, which cancels the main task at the first and raises KeyboardInterrupt
at the second. A handler that the host program set is left alone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

_WATCHED: Final = (signal.SIGTERM, signal.SIGHUP)

#: Signals belong to the process: the engines of one loop share its handlers.
_listeners: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Callable[[int], None]]] = WeakKeyDictionary()


def listen(tell: Callable[[int], None]) -> Callable[[], bool]:
    """Call `tell` with the number of a signal; returns what to call when the engine ended.

    That returns whether nobody in this loop listens any more, so that the handlers were put back.
    """
    loop = asyncio.get_running_loop()
    listeners = _listeners.setdefault(loop, [])
    if not listeners:
        for number in _WATCHED:
            _set(loop, number)
    listeners.append(tell)

    def stop() -> bool:
        listeners.remove(tell)
        if not listeners:
            for number in _WATCHED:
                _unset(loop, number)
        return not listeners

    return stop


def end_as_signalled(number: int) -> None:
    """End this process by the signal that was held back."""
    os.kill(os.getpid(), number)


def _set(loop: asyncio.AbstractEventLoop, number: int) -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(number) is signal.SIG_DFL:
        loop.add_signal_handler(number, _tell_all, loop, number)


def _unset(loop: asyncio.AbstractEventLoop, number: int) -> None:
    if threading.current_thread() is threading.main_thread() and not loop.is_closed():
        loop.remove_signal_handler(number)


def _tell_all(loop: asyncio.AbstractEventLoop, number: int) -> None:
    for tell in tuple(_listeners.get(loop, ())):
        tell(number)
