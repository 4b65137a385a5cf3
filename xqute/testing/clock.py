"""Virtual time for tests: what waits for a timer waits no longer than the machine needs to get there.

With pytest-asyncio, in the `conftest.py` of a folder of tests:

    def pytest_asyncio_loop_factories(config, item):
        return {"autojump": AutojumpLoop}
"""

from __future__ import annotations

import asyncio
import selectors
from asyncio import events
from collections.abc import Callable
from math import inf
from typing import Any, Final, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Where virtual time begins, in seconds; as if the machine had been up for a while.
UPTIME_SECONDS: Final = 10_000.0

#: What the wall clock shows when the machine was booted, UTC: it is the same in every test.
BOOT_TIME: Final = 1_800_000_000.0


class Stalled(RuntimeError):
    """Nothing will ever happen again: no timer is set, or only what watches goes on and on."""


class AutojumpLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps: when only timers are left, it is the time of the next one.

    `time()` is virtual, so hours pass in milliseconds, in the right order and with exact numbers.
    When not even a timer is left, or virtual time has come to `horizon`, the loop raises `Stalled`
    instead of hanging.

    What takes real time has no place in it: no threads, processes, pidfds or sockets; the clock would
    run away while they work. Work for an executor (`asyncio.to_thread`) is done at once, in the loop.
    Signals arrive.
    """

    def __init__(self, horizon: float = inf) -> None:
        """Make a loop at the time `UPTIME_SECONDS`, that runs for at most so many virtual seconds."""
        self._virtual_time = UPTIME_SECONDS
        self._horizon = UPTIME_SECONDS + horizon
        super().__init__(_JumpSelector(self))

    def time(self) -> float:
        """Virtual seconds since the machine was booted."""
        return self._virtual_time

    def jump(self, seconds: float) -> None:
        """Let time pass at once, without what was due meanwhile: as if the machine had slept."""
        self._virtual_time += seconds
        if self._virtual_time > self._horizon:
            self._horizon = inf  # said once: what tidies up may take its time
            raise Stalled(f"still busy at the horizon; {_told(self)}")

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Call it now, in the loop; the future is done."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as exc:  # noqa: BLE001  it belongs to whoever awaits the future
            future.set_exception(exc)
        return future


def clock_time() -> float:
    """UTC seconds, virtual when the loop is; to be used as the clock of an engine."""
    return BOOT_TIME + events.get_running_loop().time()


class _JumpSelector(selectors.DefaultSelector):
    """Jumps over the time it was to wait, unless something is ready now."""

    def __init__(self, loop: AutojumpLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not ready and timeout is None:
            raise Stalled(f"nothing is ready and no timer is set; {_told(self._loop)}")
        if not ready and timeout:
            self._loop.jump(timeout)
        return ready


def _told(loop: AutojumpLoop) -> str:
    waiting = sorted(task.get_name() for task in asyncio.all_tasks(loop))
    return f"these tasks wait: {', '.join(waiting) or 'none'}"
