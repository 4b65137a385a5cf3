"""Processes that are warm: they have imported a module, and serve calls of its functions.

`xqute/inside/serve.py` is what runs in them, and says what is sent to and fro. A `Runner` makes a copy of
itself for each call; a `Worker` does one call after the other. Both lead sessions of their own, are
children of this process, and end when their socket is closed, a runner after its last copy.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence

from ...inside.line import ENDED, LEAVES, LEFT, RECORD, SPARE, UNFIT
from ...job import Job
from .exits import Start
from .helpers import Helper, Plan
from .served import UNTOLD, Forked, Reused


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

    def close(self) -> None:
        super().close()
        self._wake()

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
