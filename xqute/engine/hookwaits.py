"""Hooks that wait for jobs: those whose wait can't end are told at once, and a stop lets all go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..errors import Halted, XquteError
from ..hooking import REMEDY, HookCall
from ..job import Job
from ..states import JobStatus
from .hooklines import HookLines
from .room import Live, Room


class NeverEnds(XquteError):
    """A hook has its job killed, which ends only when the hook has returned."""


class _Wait(NamedTuple):
    """A hook waits for the end of a job; `direct`: it can't return before; `kills`: it has it killed."""

    call: HookCall
    job: Job
    waiter: asyncio.Future[None]
    direct: bool
    kills: bool


class HookWaits:
    """Who waits inside of hooks, and whether that can end.

    A job whose hook has not returned is not handed over, and when its process has ended well it keeps its
    fork. So a hook must not wait for its own job, for one that needs that, or for a fork where all are
    kept by such hooks.
    """

    def __init__(self, room: Room, lines: HookLines) -> None:
        """No hook waits."""
        self._room = room
        self._lines = lines
        self._waits: list[_Wait] = []
        room.let_hooks_go = self.let_go

    async def wait(self, call: HookCall, job: Job, waiter: asyncio.Future[None], *, kills: bool) -> None:
        """Wait inside a hook; its place among those that run at once is free meanwhile.

        Raises:
            XquteError: The wait can't end; `NeverEnds` where the job is killed.
            Halted: The run is stopping: no hook waits for jobs any more.
        """
        if self._room.stop is not None:
            raise self._halted(job)
        wait = _Wait(call, job, waiter, call.direct, kills)
        if wait.direct and not kills:
            self._refuse(wait)
        self._waits.append(wait)
        self._step_aside(call)
        call.awaits.append(job)
        self._room.claim_wanted.set()
        if wait.direct and kills:
            self.look()
        try:
            await waiter
        finally:
            self._waits.remove(wait)
            call.awaits.remove(job)
            self._step_back(call)

    def _step_aside(self, call: HookCall) -> None:
        if call.when_over is None:
            call.when_over = self._lines.step_back
            self._lines.step_aside()

    def _step_back(self, call: HookCall) -> None:
        if not call.awaits and not call.over and call.when_over is not None:
            call.when_over = None
            self._lines.step_back()

    def holding(self, lives: Sequence[Live]) -> int:
        """How many of these are held by hooks that wait for others."""
        if not self._waits:
            return 0
        held = {wait.call.job for wait in self._waits if not wait.call.over}
        return sum(live.job in held for live in lives)

    def let_go(self) -> None:
        """The run stops: what hooks wait for may never come, and the stop waits for the hooks."""
        for wait in self._waits:
            if not wait.call.over and not wait.waiter.done():
                wait.waiter.set_exception(self._halted(wait.job))

    def _halted(self, job: Job) -> Halted:
        return Halted(f"{job} did not end: {self._room.stop}", self._room.stop)

    def look(self) -> None:
        """A job's process has ended, and its hooks decide: can all who wait still get what they wait for?"""
        for wait in reversed(self._waits):
            if wait.direct and not wait.waiter.done() and self._never(wait.job, self._open()):
                told = self._never_ends(wait)
                wait.waiter.set_exception(NeverEnds(*told.args) if wait.kills else told)

    def _open(self) -> list[_Wait]:
        return [wait for wait in self._waits if wait.direct and not wait.waiter.done()]

    def _refuse(self, wait: _Wait) -> None:
        call, job = wait.call, wait.job
        if call.job is None:
            raise XquteError(f"{call} can't await {job}: no job runs before it has returned; {REMEDY}")
        if call.job is job:
            raise XquteError(f"{call} can't await its own job, which waits until it has returned; {REMEDY}")
        if self._never(job, [*self._open(), wait]):
            raise self._never_ends(wait)

    def _never_ends(self, wait: _Wait) -> XquteError:
        why = "that can't go on before this hook has returned"
        if wait.job.id not in self._room.live and self._room.free <= 0:
            why += f", since hooks that wait keep all {self._room.scheduler.forks} fork(s)"
        return XquteError(f"{wait.call} can't await {wait.job}: {why}; {REMEDY}")

    # Whether a wait can end

    def _never(self, job: Job, waits: Iterable[_Wait]) -> bool:
        """Whether a job can't end while these hooks wait."""
        held = {wait.call.job.id: wait.job for wait in waits if wait.call.job is not None}
        seen = {job.id: job}
        todo = [job]
        for each in todo:
            new = [
                other for other in (*self._awaited(each, held), *self._keepers(each)) if other.id not in seen
            ]
            seen.update((other.id, other) for other in new)
            todo += new
        can: set[int] = set()
        before = -1
        while before < len(can):
            before = len(can)
            can.update(each.id for each in reversed(todo) if self._can(each, held, can))
        return job.id not in can

    def _can(self, job: Job, held: dict[int, Job], can: set[int]) -> bool:
        """Whether it can end, once these can."""
        if not all(other.status.final or other.id in can for other in self._awaited(job, held)):
            return False
        keepers = self._keepers(job)
        return not keepers or any(other.id in can for other in keepers)

    def _awaited(self, job: Job, held: dict[int, Job]) -> list[Job]:
        """What must end before it can."""
        if job.status.final:
            return []
        live = self._room.live.get(job.id)
        runs = live is not None and live.handed and not live.deciding  # then it may end whatever hooks do
        awaited = [held[job.id]] if job.id in held and not runs else []
        if job.status is JobStatus.WAITING:
            needs = map(self._room.known, self._room.graph.missing(job.id))
            awaited += [other for other in needs if other is not None]
        return awaited

    def _keepers(self, job: Job) -> list[Job]:
        """Of which one must end before it can start; none when it has begun, or a fork is free."""
        live = self._room.live.get(job.id)
        if job.status.final or (live is not None and live.handed) or self._room.free > 0:
            return []
        return [other.job for other in self._room.live.values() if other not in self._room.ready]
