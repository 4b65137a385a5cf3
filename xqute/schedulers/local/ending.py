"""Ends everything of a job: politely, then firmly, until nothing is found any more.

What belongs to a job is found by its session and by the mark in its processes' environment; one
look at /proc serves all jobs of a call. Looking and signalling are repeated until a look finds
nothing, since what is being ended may still fork.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ...job import Job
from ...settings import KILL_BOUND_SECONDS
from . import processes
from .exits import Start
from .processes import Process

#: Between two looks at processes whose exit is no event here: first, and at most.
LOOK_MIN_SECONDS: Final = 0.02
LOOK_MAX_SECONDS: Final = 0.25

#: Each look without news waits this many times as long as the one before.
LOOK_BACKOFF: Final = 1.5

#: Processes read, or jobs signalled, without letting the event loop breathe: some milliseconds.
READ_BATCH: Final = 100

#: A look is taken again for what appeared meanwhile, so that no fork escapes it; at most this
#: often, because on a busy host something always appears.
LOOK_ROUNDS: Final = 4


class Ending:
    """What is to end, and when it is asked how.

    Args:
        job: Whose processes.
        start: The start whose wrapper this process is, or was, the parent of.
        stranger: The job's wrapper, when another process started it.
        everywhere: Also what left the session.
        polite: When to ask (monotonic).
        firm: When to force.
    """

    def __init__(
        self,
        job: Job,
        *,
        start: Start | None = None,
        stranger: Process | None = None,
        everywhere: bool = True,
        polite: float,
        firm: float,
    ) -> None:
        self.job = job
        self.mark = job.mark.encode()
        self.start = start
        self.everywhere = everywhere
        self.polite = polite
        self.firm = firm
        #: The number of the job's session; 0 when it is not known.
        self.session = start.pid if start else stranger.pid if stranger else 0
        self._until = processes.ticks_now() if stranger else 0
        self._asked: set[Process] = set()
        self._group_asked = False

    @property
    def lives(self) -> bool:
        """Whether its wrapper has not ended, as far as this process is the parent of it."""
        return self.start is not None and self.start.exit is None

    def owns(self, process: Process) -> bool:
        """Whether its session proves that a process is the job's.

        The number of a session is its own while the leader has not been waited for; a process that
        started later may be in another session of the same number, and counts by its mark only.
        """
        return self.lives or process.since <= (self.start.until if self.start else self._until)

    def due(self, now: float) -> float:
        """When something is to be done next, after `now`."""
        moments = (self.polite, self.firm, self.firm + KILL_BOUND_SECONDS)
        return next((moment for moment in moments if moment > now), math.inf)

    def press(self, found: Iterable[Process], now: float) -> None:
        """Ask what was not asked yet, or force all of it."""
        if now >= self.firm:
            self._force(found)
        elif now >= self.polite:
            self._ask(found)

    def _ask(self, found: Iterable[Process]) -> None:
        # A stopped process takes the polite signal only when it goes on.
        if self.start is not None and self.lives and not self._group_asked:
            self._group_asked = True
            self.start.signal_group(signal.SIGTERM, signal.SIGCONT)
        for process in found:
            # The same signal twice means "at once" to some programs.
            in_group = self._group_asked and process.group == self.session
            if not in_group and process not in self._asked:
                self._asked.add(process)
                processes.send(process, signal.SIGTERM, signal.SIGCONT)

    def _force(self, found: Iterable[Process]) -> None:
        lives = self.lives
        if self.start is not None and lives:
            self.start.signal_group(signal.SIGKILL)
        for process in found:
            if not (lives and process.group == self.session):
                processes.send(process, signal.SIGKILL)


Found = Mapping[Ending, Sequence[Process]]


async def look(endings: Sequence[Ending]) -> tuple[Found, bool]:
    """What there is of each, in one look for all; and whether all could be seen now."""
    try:
        return await _find(endings), True
    except OSError:
        return dict.fromkeys(endings, ()), False


async def _find(endings: Sequence[Ending]) -> Found:
    found: dict[Ending, list[Process]] = {ending: [] for ending in endings}
    # Session 0 is that of kernel threads.
    sessions = {ending.session: ending for ending in endings if ending.session}
    marks = {ending.mark: ending for ending in endings if ending.everywhere}
    seen = {os.getpid()}
    for _ in range(LOOK_ROUNDS):
        fresh = [pid for pid in processes.pids() if pid not in seen]
        seen.update(fresh)
        for place, pid in enumerate(fresh, 1):
            process = processes.read(pid)
            owner = _owner(process, sessions, marks) if process else None
            if process and owner:
                found[owner].append(process)
            if place % READ_BATCH == 0:
                await asyncio.sleep(0)
        if not fresh:
            break
    return found


def _owner(process: Process, sessions: Mapping[int, Ending], marks: Mapping[bytes, Ending]) -> Ending | None:
    ending = sessions.get(process.session)
    if ending is not None and ending.owns(process):
        return ending
    if ending is None and not marks:
        return None
    mark = processes.mark_of(process.pid)
    return ending if ending is not None and ending.mark == mark else marks.get(mark)


async def end(endings: Sequence[Ending]) -> Found:
    """End all of them at the same time; returns when nothing is left, or at the bound: what is."""
    # The groups at once: the look takes its time.
    await _press(dict.fromkeys(endings, ()), time.monotonic())
    pause = LOOK_MIN_SECONDS
    while True:
        found, seen = await look(endings)
        now = time.monotonic()
        await _press(found, now)
        left = {ending: there for ending, there in found.items() if there or ending.lives or not seen}
        if not left or now >= max(ending.firm for ending in left) + KILL_BOUND_SECONDS:
            return left
        due = min(ending.due(now) for ending in left)
        pause = await _news(left, due, pause)


async def _press(found: Found, now: float) -> None:
    for place, (ending, there) in enumerate(found.items(), 1):
        ending.press(there, now)
        if place % READ_BATCH == 0:
            await asyncio.sleep(0)


async def _news(left: Found, due: float, pause: float) -> float:
    """Wait until all that is left may be gone, at most until `due`; returns the next pause."""
    starts = [ending.start for ending in left if ending.start is not None and ending.lives]
    if starts:
        await _exits(starts, due - time.monotonic())
        return LOOK_MIN_SECONDS
    while (now := time.monotonic()) < due:
        await asyncio.sleep(min(pause, due - now))
        pause = min(pause * LOOK_BACKOFF, LOOK_MAX_SECONDS)
        if not _is_seen(known for there in left.values() for known in there):
            break
    return pause


def _is_seen(known: Iterable[Process]) -> bool:
    """Whether one of these is there, as far as can be seen now."""
    try:
        return any(processes.read(process.pid) == process for process in known)
    except OSError:
        return False


async def _exits(starts: Sequence[Start], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    waiters = [(start, loop.create_future()) for start in starts]
    for start, waiter in waiters:
        start.waiters.append(waiter)
    try:
        await asyncio.wait([waiter for _, waiter in waiters], timeout=max(0.0, seconds))
    finally:
        for start, waiter in waiters:
            start.waiters.remove(waiter)
