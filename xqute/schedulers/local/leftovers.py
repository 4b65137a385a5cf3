"""What ended wrappers left in their groups gets its job's grace, and is ended then.

A payload may leave a process that still writes (`command > >(gzip >file)`): it ends by itself. One
that just stays is asked to end after the grace, and forced after another.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import Final

from .ending import LOOK_BACKOFF, LOOK_MIN_SECONDS, Ending, look
from .exits import Start

log = logging.getLogger(__name__)

#: The longest between two looks; they cost, and nobody waits.
LOOK_MAX_SECONDS: Final = 1.0

#: What is said of processes that could not be looked for.
UNSEEN: Final = "they can't be seen (is no file descriptor free?)"

#: From asking to forcing when the program does not wait for them any more.
HURRY_SECONDS: Final = 0.5


class Leftovers:
    """Ends what ended starts left; one task, and only while there is something."""

    def __init__(self) -> None:
        self._due: dict[Ending, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._pause = LOOK_MIN_SECONDS
        self._closing = asyncio.Event()

    def add(self, start: Start) -> None:
        """Take over what an ended start left in its group."""
        grace = start.job.call.options.grace
        polite = time.monotonic() + grace
        ending = Ending(start.job, start=start, everywhere=False, polite=polite, firm=polite + grace)
        self._due[ending] = polite
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._end_all(), name="xqute local leftovers")

    async def close(self, *, hurry: bool) -> None:
        """Return when nothing is left, or what is was named.

        Args:
            hurry: Ask at once, and force soon; else each has its grace.
        """
        if hurry:
            now = time.monotonic()
            for ending in self._due:
                ending.polite = now
                ending.firm = min(ending.firm, now + HURRY_SECONDS)
                self._due[ending] = min(self._due[ending], now)
        self._pause = LOOK_MIN_SECONDS
        self._closing.set()
        if self._task is not None:
            await self._task
            self._task = None

    async def _end_all(self) -> None:
        self._pause = LOOK_MIN_SECONDS
        self._closing = asyncio.Event()
        while self._due:
            try:
                async with asyncio.timeout(self._until_next()):
                    await self._closing.wait()
            except TimeoutError:
                pass
            self._closing.clear()
            self._pause = min(self._pause * LOOK_BACKOFF, LOOK_MAX_SECONDS)
            for ending in [ending for ending in self._due if not _is_there(ending)]:
                del self._due[ending]
            if self._due:
                await self._press()

    def _until_next(self) -> float:
        due = min(self._due.values()) - time.monotonic()
        return min(self._pause, max(due, LOOK_MIN_SECONDS))

    async def _press(self) -> None:
        """Do what is due, and forget what is gone."""
        found, seen = await look(list(self._due))
        now = time.monotonic()
        for ending, there in found.items():
            if seen and not there:
                del self._due[ending]
            elif now >= self._due[ending]:
                ending.press(there, now)
                self._due[ending] = ending.due(now)
            if self._due.get(ending) == math.inf:
                numbers = ", ".join(str(process.pid) for process in there)
                log.warning("%s left processes that did not end: %s", ending.job, numbers or UNSEEN)
                del self._due[ending]


def _is_there(ending: Ending) -> bool:
    """Whether its group may have members; `find` tells for certain, also where zombies pile up."""
    return ending.start is not None and ending.start.left_something()
