"""Starts that this process is the parent of: their exits are events, never found by asking.

One epoll object stands in the event loop, with a descriptor of each start (`pidfd`) in it: exits
that happen together are one callback. Where there are no such descriptors (macOS, Linux before
5.3), or too few are free, running starts are asked in turn every 20 to 200 ms.
"""

from __future__ import annotations

import asyncio
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from ...job import Job
from .processes import ticks_now

#: Between two rounds over starts without a descriptor: first, and after a long silence.
ROUND_MIN_SECONDS: Final = 0.02
ROUND_MAX_SECONDS: Final = 0.2

#: Each round without an exit waits this many times as long as the one before.
ROUND_BACKOFF: Final = 1.25

#: What takes the place of an exit status that another part of the program took away.
TAKEN: Final = -1

#: ru_maxrss is in KiB on Linux, in bytes on macOS.
RSS_UNIT: Final = 1 if sys.platform == "darwin" else 1024

HAS_PIDFDS: Final = hasattr(os, "pidfd_open") and hasattr(select, "epoll")
_CAN_PEEK: Final = hasattr(os, "waitid")
_PEEK: Final = os.WEXITED | os.WNOHANG | os.WNOWAIT if _CAN_PEEK else 0


class OwnPeak:
    """The most memory that this process has had, as it was when that was last asked; it only grows."""

    def __init__(self) -> None:
        """It was not asked yet."""
        self._known = 0

    def is_below(self, peak: int) -> bool:
        """Whether this process never had so much; the kernel is asked only where that may be."""
        if peak > self._known:
            self._known = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return self._known < peak


_ours: Final = OwnPeak()


class Start:
    """One wrapper that this process started; its number is its own until `reap` has answered.

    Attributes:
        job: Which job.
        pid: The wrapper's number, and that of its group and session.
        begun: When it was started (monotonic).
        pidfd: The descriptor its exit is seen by; -1 when there is none.
        exit: How it ended, as wait(2) has it, or `TAKEN`; None while it has not.
        usage: What it used.
        killers: How many calls are ending it right now.
        until: When its number was given back, in clock ticks since the boot.
        waiters: Whoever waits for its exit.
    """

    __slots__ = ("begun", "exit", "job", "killers", "pid", "pidfd", "until", "usage", "waiters")

    def __init__(self, job: Job, pid: int) -> None:
        self.job = job
        self.pid = pid
        self.begun = time.monotonic()
        self.pidfd = -1
        self.exit: int | None = None
        self.usage: dict[str, float] = {}
        self.killers = 0
        self.until = 0
        self.waiters: list[asyncio.Future[None]] = []

    def reap(self) -> bool:
        """Whether it has ended; its exit status is taken then, and its number no longer its own.

        A wrapper that a signal ended could not end its payload: the group is ended with it, before
        the number is given back. Where somebody is ending the job, its grace is left to them.
        """
        if self.exit is not None:
            return True
        try:
            if _CAN_PEEK and not self._peek():
                return False
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:
            self.exit = TAKEN
        else:
            if not pid:
                return False
            self.exit = status
            self._account(used.ru_utime + used.ru_stime, used.ru_maxrss)
        self.until = ticks_now()
        self._wake()
        return True

    def _wake(self) -> None:
        """Tell whoever waits for its exit."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _peek(self) -> bool:
        seen = os.waitid(os.P_PID, self.pid, _PEEK)
        if seen is None:
            return False
        if seen.si_code != os.CLD_EXITED and not self.killers:
            self.signal_group(signal.SIGKILL)
        return True

    def _account(self, cpu: float, peak: int) -> None:
        self.usage = {"wall": time.monotonic() - self.begun, "cpu": cpu}
        # The kernel counts what this process had when it forked as memory of the child: a peak
        # that isn't above ours says nothing about the job.
        if _ours.is_below(peak):
            self.usage["peak"] = peak * RSS_UNIT

    def signal_group(self, *signals: int) -> None:
        """Signal its whole group at once; nobody, when the number may be another's."""
        if self.exit is not None:
            return
        for number in signals:
            try:
                os.killpg(self.pid, number)
            except OSError:
                return  # it has just left, or became somebody else's (setuid): whoever asks looks

    def left_something(self) -> bool:
        """Whether its group may have members after its end; a guess, to be checked before use."""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return True


class Exits:
    """Tells which starts may have ended, all that did together in one call.

    Args:
        look: Is given the starts; calls `reap` on each.
        pidfds: False: ask in turn, although there are descriptors.
    """

    def __init__(self, look: Callable[[Sequence[Start]], None], *, pidfds: bool) -> None:
        self.newest = 0
        self.limit = sys.maxsize
        self._look = look
        self._loop = asyncio.get_running_loop()
        self._by_fd: dict[int, Start] = {}
        self._in_turn: dict[Start, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._pause = ROUND_MIN_SECONDS
        self._epoll = select.epoll() if pidfds else None
        if self._epoll is not None:
            self._loop.add_reader(self._epoll.fileno(), self._ready, self._epoll)

    def add(self, start: Start) -> None:
        """Watch a start; its number must still be its own."""
        if self._epoll is None or self.newest >= self.limit:
            self._add_in_turn(start)
            return
        try:
            fd = os.pidfd_open(start.pid)
        except OSError:  # no descriptor is free, an old kernel, or the exit was taken away
            self._add_in_turn(start)
            return
        try:
            # Once only: a host program that forks shares the epoll object with its child, where the
            # descriptor stays open; without ONESHOT its readiness would be reported for ever.
            self._epoll.register(fd, select.EPOLLIN | select.EPOLLONESHOT)
        except OSError:  # more than the kernel watches for one user
            os.close(fd)
            self._add_in_turn(start)
            return
        self._by_fd[fd] = start
        self.newest = start.pidfd = fd

    def remove(self, start: Start) -> None:
        """Stop watching; harmless when it is not watched."""
        self._in_turn.pop(start, None)
        if start.pidfd >= 0:
            del self._by_fd[start.pidfd]
            os.close(start.pidfd)
            start.pidfd = -1

    def close(self) -> None:
        """Give every descriptor back; the starts themselves go on."""
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
        if self._timer is not None:
            self._timer.cancel()
        for start in [*self._by_fd.values(), *self._in_turn]:
            self.remove(start)

    def _ready(self, epoll: select.epoll) -> None:
        known = self._by_fd
        starts = [known[fd] for fd, _ in epoll.poll(0) if fd in known]
        for start in starts:
            self.remove(start)
        try:
            self._look(starts)
        finally:
            for start in starts:
                if start.exit is None:  # a debugger has its exit first
                    self._add_in_turn(start)

    def _add_in_turn(self, start: Start) -> None:
        self._in_turn[start] = None
        if self._timer is not None and self._pause > ROUND_MIN_SECONDS:
            self._timer.cancel()
            self._timer = None
        self._pause = ROUND_MIN_SECONDS
        if self._timer is None:
            self._timer = self._loop.call_later(self._pause, self._round)

    def _round(self) -> None:
        starts = list(self._in_turn)
        self._look(starts)
        ended = [start for start in starts if start.exit is not None]
        for start in ended:
            self.remove(start)
        slower = min(self._pause * ROUND_BACKOFF, ROUND_MAX_SECONDS)
        self._pause = ROUND_MIN_SECONDS if ended else slower
        self._timer = self._loop.call_later(self._pause, self._round) if self._in_turn else None
