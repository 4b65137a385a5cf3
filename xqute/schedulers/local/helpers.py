"""A process that is warm, as this process has it: how it is started, talked to, and waited for."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Mapping
from typing import Final, NamedTuple

from ...inside.line import CONTROL_FD, PACKET
from ...job import Job
from . import processes
from .starting import Starting

#: Scripts of later jobs may have longer names than that of the first.
ROOM: Final = 24


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
        begun: When it was started (monotonic).
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
        self.begun = self.idle_since = self._loop.time()
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
