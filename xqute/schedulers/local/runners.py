"""Processes that are warm: they have imported a module, and serve calls of its functions.

`xqute/inside/serve.py` is what runs in them, and says what is sent to and fro. A `Runner` makes a copy of
itself for each call; a `Worker` does one call after the other. Both lead sessions of their own, are
children of this process, and end when their socket is closed, a runner after its last copy.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from ...inside.line import CONTROL_FD, ENDED, LEAVES, LEFT, PACKET, RECORD, SPARE, UNFIT
from ...job import Job
from ...metadir import read_claim
from . import processes
from .exits import RSS_UNIT, Start
from .processes import ticks_now
from .starting import Starting

#: Scripts of later jobs may have longer names than that of the first.
ROOM: Final = 24

#: How a start ended of which nobody can tell, or that never began.
UNTOLD: Final = -3


class Forked(Start):
    """A call in a copy of a runner; the runner is its parent, and tells how it ended."""

    __slots__ = ("_runner",)

    def __init__(self, job: Job, pid: int, runner: Runner) -> None:
        super().__init__(job, pid)
        self._runner = runner

    def reap(self) -> bool:
        """Whether it has ended; without its runner nobody knows how."""
        if self.exit is None and not self._runner.alive and not self._is_there():
            self.exit = UNTOLD
            self.until = ticks_now()
            self._wake()
        return self.exit is not None

    def _is_there(self) -> bool:
        """Whether its number is still its own: a child of the runner, which shows the mark in a moment."""
        if self._runner.alive and processes.parent_of(self.pid) == self._runner.pid:
            return True
        return processes.read(self.pid) is not None and processes.mark_of(self.pid) == self.job.mark.encode()

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
        if self.exit is None and self._is_there():
            super().signal_group(*signals)


class Reused(Start):
    """A call in a worker, which may serve others after it."""

    __slots__ = ("_left", "_worker")

    def __init__(self, job: Job, worker: Worker) -> None:
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


class Plan(NamedTuple):
    """How to start a warm process; the mark and the last two arguments are the room for those of jobs."""

    starting: Starting
    argv: tuple[str, ...]
    environ: Mapping[bytes, bytes]

    def room(self) -> tuple[int, int]:
        """How long the path of a script and a mark may be."""
        return len(os.fsencode(self.argv[-2])) + 1 + ROOM, len(self.environ[processes.MARK])


class Helper:
    """One warm process, as this process has it: a child, a socket, and a descriptor for its end.

    Attributes:
        pid: Its number.
        alive: It can be told something, and tells.
        ready: It may be let go.
        retired: It gets no more jobs.
        reaped: It was waited for.
        idle_since: When it last had something to do (monotonic).
    """

    def __init__(self, plan: Plan) -> None:
        """Start it.

        Raises:
            OSError: It can't be.
        """
        self._loop = asyncio.get_running_loop()
        self._room = plan.room()
        self._end_waiters: list[asyncio.Future[None]] = []
        self.ready = True
        self.retired = False
        self.alive = True
        self.reaped = False
        self.idle_since = self._loop.time()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self.pid = plan.starting.spawn(plan.argv, plan.environ, {theirs.fileno(): CONTROL_FD})
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)  # noqa: FBT003  its name is in the call
        self._socket = ours
        self._pidfd = -1
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:  # no descriptor is free
            self.close()
            self.kill()
            raise
        self._loop.add_reader(ours, self._hear)
        self._loop.add_reader(self._pidfd, self._end)

    def _hear(self) -> bool:
        """Take in a packet; False: there was none."""
        try:
            packet = self._socket.recv(PACKET)
        except BlockingIOError:
            return False
        except OSError:
            packet = b""
        if packet:
            self.heard(packet)
        else:
            self._fall_silent()
        return bool(packet)

    def heard(self, packet: bytes) -> None:
        """Take in what it told."""

    def silent(self) -> None:
        """It tells nothing any more."""

    def send(self, packet: bytes) -> bool:
        """Tell it something; whether it will get it."""
        try:
            self._socket.send(packet)
        except OSError:
            self.kill()
            return False
        return True

    def _fall_silent(self) -> None:
        if self.alive:
            self.close()
            self.silent()

    def _end(self) -> None:
        """It has ended; what it told before comes first."""
        while self.alive and self._hear():
            continue
        self._fall_silent()
        self.reap()

    def fits(self, job: Job, script: str) -> bool:
        """Whether a process of the job would be recognised."""
        path, mark = self._room
        return len(os.fsencode(script)) <= path and len(job.mark.encode()) <= mark

    def retire(self) -> None:
        """Give it no more jobs, and let it go when it serves none."""
        self.retired = True
        if not self.busy:
            self.close()

    def close(self) -> None:
        """Let it go: it ends when it has no more to do."""
        if self.alive:
            self.alive = False
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def kill(self) -> None:
        """End it by force; what it serves goes on."""
        if not self.reap():
            os.kill(self.pid, signal.SIGKILL)

    def reap(self) -> bool:
        """Whether it has ended and is waited for."""
        if not self.reaped:
            try:
                self.reaped = os.waitpid(self.pid, os.WNOHANG)[0] != 0
            except ChildProcessError:
                self.reaped = True
        if self.reaped:
            self.forget()
        return self.reaped

    async def ended(self) -> None:
        """Return when it has ended and is waited for."""
        while not self.reap():
            waiter = self._loop.create_future()
            self._end_waiters.append(waiter)
            try:
                await waiter
            finally:
                self._end_waiters.remove(waiter)

    def forget(self) -> None:
        """Give the descriptor of its end back."""
        for waiter in self._end_waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    @property
    def busy(self) -> bool:
        """Whether a call runs in it, or below it."""
        raise NotImplementedError


class Runner(Helper):
    """Makes a copy of itself for each call.

    Attributes:
        ready: It made copies, so it can.
        unfit: Why it can't; empty when it did not say.
        starts: The calls that run, by the number of their copy.
    """

    def __init__(
        self,
        plan: Plan,
        ended: Callable[[Sequence[Start]], None],
        lost: Callable[[Runner], None],
    ) -> None:
        self.unfit = ""
        self.starts: dict[int, Forked] = {}
        self._spares: deque[int] = deque()
        self._ended = ended
        self._lost = lost
        self._waiters: list[asyncio.Future[None]] = []
        super().__init__(plan)
        self.ready = False

    @property
    def busy(self) -> bool:
        return bool(self.starts)

    @property
    def spares(self) -> int:
        """Copies that wait for a job."""
        return len(self._spares)

    def take(self, job: Job, script: str) -> Forked | None:
        """Have a copy do a job; None: there is none."""
        if not self.alive or not self._spares:
            return None
        pid = self._spares.popleft()
        if not self.send(b"%d %s" % (pid, os.fsencode(script))):
            return None
        self.starts[pid] = start = Forked(job, pid, self)
        return start

    def heard(self, packet: bytes) -> None:
        ended: list[Start] = []
        if RECORD.unpack_from(packet)[0] == UNFIT:
            self.unfit = packet[RECORD.size :].decode(errors="replace")
            return
        for sort, pid, status, peak, cpu in RECORD.iter_unpack(packet):
            if sort == SPARE:
                self._spares.append(pid)
                self.ready = True
            elif sort == ENDED and (start := self.starts.pop(pid, None)) is not None:
                start.ended(status, cpu, peak)
                ended.append(start)
            elif pid in self._spares:
                self._spares.remove(pid)
        self._wake()
        if ended:
            self.idle_since = self._loop.time()
            if self.retired:
                self.retire()
            self._ended(ended)

    def silent(self) -> None:
        self._spares.clear()
        self._wake()
        self._lost(self)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def has(self, copies: int) -> None:
        """Return when so many wait for a job, or none will."""
        while self.alive and len(self._spares) < copies:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                self._waiters.remove(waiter)


class Worker(Helper):
    """Does one call after the other; each of its exits is the end of the call it does then.

    Attributes:
        start: The call that runs; None when it waits for one.
    """

    def __init__(
        self,
        plan: Plan,
        ended: Callable[[Sequence[Start]], None],
        unfit: Callable[[str], None],
    ) -> None:
        self.start: Reused | None = None
        self._ended = ended
        self._unfit = unfit
        super().__init__(plan)

    @property
    def busy(self) -> bool:
        return self.start is not None

    def take(self, job: Job, script: str) -> Reused | None:
        """Have it do a job; None: it can't."""
        if not self.alive or not self.send(os.fsencode(script)):
            return None
        self.start = start = Reused(job, self)
        return start

    def heard(self, packet: bytes) -> None:
        if RECORD.unpack_from(packet)[0] == UNFIT:
            self._refuse(packet[RECORD.size :].decode(errors="replace"))
            return
        for _, _, status, flags, cpu in RECORD.iter_unpack(packet):
            start, self.start = self.start, None
            if start is not None and start.exit is None:
                start.ended(status, cpu, left=bool(flags & LEFT))
                # Whoever is ending the call would take the next one in this process along.
                if flags & LEAVES or start.killers or self.retired:
                    self.retire()
                self._tell(start)

    def _refuse(self, why: str) -> None:
        """It can't serve; what it was given never began."""
        self._unfit(why)
        self.close()
        if self.start is not None:
            start, self.start = self.start, None
            start.ended(UNTOLD, 0.0, left=False)
            self._tell(start)

    def _tell(self, start: Start) -> None:
        self.idle_since = self._loop.time()
        self._ended([start])

    def reap(self) -> bool:
        start = self.start
        if start is None:
            return super().reap()
        if start.reap():
            self.start = None
            self.forget()
            if start.exit == UNTOLD:
                self._unfit("it ended before it began a call")
            self._tell(start)
        return self.reaped
