"""One timer for many times."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush


class Alarm:
    """Rings at each of the times it was set to; one timer of the event loop for all of them."""

    def __init__(self, ring: Callable[[], None], clock: Callable[[], float]) -> None:
        """Call `ring`; times are those of `clock`, in seconds."""
        self._ring = ring
        self._clock = clock
        self._times: list[float] = []
        self._timer: asyncio.TimerHandle | None = None
        self._asleep = True

    def set(self, at: float) -> None:
        """Ring at this time too."""
        heappush(self._times, at)
        if self._times[0] == at and not self._asleep:
            self._arm()

    def wake(self) -> None:
        """Ring from now on, also for the times that were set or passed meanwhile."""
        self._asleep = False
        if self._times:
            self._arm()

    def sleep(self) -> None:
        """Ring no more until `wake`; the times are kept."""
        self._asleep = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait = max(0.0, self._times[0] - self._clock()) + 0.001
        self._timer = asyncio.get_running_loop().call_later(wait, self._due)

    def _due(self) -> None:
        self._timer = None
        while self._times and self._times[0] <= self._clock():
            heappop(self._times)
        self._ring()
        if self._times:
            self._arm()
