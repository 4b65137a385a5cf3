"""Hooks of one job run one at a time and in order; those of different jobs side by side."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from ..job import Job
from ..settings import HOOK_LINES
from .finish import raise_in_loop, survive

log = logging.getLogger("xqute.engine")

#: One hook waiting for its turn.
Turn = Callable[[], Awaitable[Any]]


class HookLines:
    """A line of hooks per job.

    Without a group (no engine runs) the lines only grow; they are worked off when one starts, or by
    `drain`. A hook that ends the program (`sys.exit()`, a Ctrl-C that hits it) ends it from the event
    loop itself: raised in a task of the engine, it would take the engine down before it wound down.

    Attributes:
        opened: Set while an engine works the lines off.
    """

    def __init__(self, on_empty: Callable[[Job], None]) -> None:
        """Call `on_empty` when the last hook in a job's line returned."""
        self.opened = asyncio.Event()
        self._on_empty = on_empty
        self._lines: dict[int, deque[Turn]] = {}
        self._waiting: deque[Job] = deque()
        self._group: asyncio.TaskGroup | None = None
        self._running = 0
        self._aside = 0
        self._workers: dict[int, asyncio.Task[Any] | None] = {}
        self._leaving = False

    def put(self, job: Job, turn: Turn) -> None:
        """Stand in the job's line."""
        line = self._lines.get(job.id)
        if line is not None:
            line.append(turn)
            return
        self._lines[job.id] = deque([turn])
        self._waiting.append(job)
        self._start()

    async def ask(self, job: Job, turn: Turn) -> Any:
        """Stand in the job's line, and return what the hook returned."""
        inside = self._workers.get(job.id) is asyncio.current_task()  # a hook of the job itself asks
        if self._group is None or inside:
            return await self.call(turn)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def answered() -> None:
            result = None
            try:
                result = await turn()
            finally:  # whoever asked is answered, also when the hook was cancelled or ended the program
                if not answer.done():
                    answer.set_result(result)

        self.put(job, answered)
        return await answer

    def busy(self, job: Job) -> bool:
        """Whether a hook of the job runs or waits."""
        return job.id in self._lines

    @property
    def empty(self) -> bool:
        """Whether no hook runs or waits."""
        return not self._lines

    def begin(self) -> None:
        """An engine begins: who wanted to leave the one before has left."""
        self._leaving = False

    def open(self, group: asyncio.TaskGroup) -> None:
        """Work the lines off in this group from now on."""
        self._group = group
        self.opened.set()
        self._start()

    def close(self) -> None:
        """Start no more hooks; those that run still are left behind, and the rest of their lines waits."""
        self.opened.clear()
        group, self._group = self._group, None
        if group is not None:
            for worker in self._workers.values():
                if worker is not None:
                    worker.cancel()

    async def drain(self) -> None:
        """Work off what waits, in the caller's task; for when no engine runs."""
        self.begin()
        while self._waiting and self._group is None:
            await self._work(self._waiting.popleft())

    async def call(self, turn: Turn) -> Any:
        """Call a hook; if it ends the program, the loop raises that, once: the engine lives to wind down."""
        try:
            return await turn()
        except (SystemExit, KeyboardInterrupt) as exc:
            if self._leaving:
                # one more would break off the winding down that the first one began
                log.warning("a hook ended the program, which is ending already: %r", exc)
            else:
                self._leaving = True
                raise_in_loop(exc)
        return None

    def step_aside(self) -> None:
        """A hook waits for a job, whose own hooks may need its place."""
        self._aside += 1
        self._start()

    def step_back(self) -> None:
        """It goes on."""
        self._aside -= 1

    def _start(self) -> None:
        while self._group is not None and self._waiting and self._running - self._aside < HOOK_LINES:
            self._running += 1
            job = self._waiting.popleft()
            self._group.create_task(self._work_in_group(job), name=f"xqute hooks {job.id}")

    async def _work_in_group(self, job: Job) -> None:
        """Work off a line; who cancels all tasks of the loop ends one hook, not the line."""
        try:
            await survive(partial(self._work, job), lambda: self._group is None)
        except asyncio.CancelledError:
            self._leave_behind(job)
            raise
        finally:
            self._running -= 1
            self._start()

    async def _work(self, job: Job) -> None:
        line = self._lines[job.id]
        self._workers[job.id] = asyncio.current_task()
        while line:
            await self.call(line.popleft())
        del self._lines[job.id], self._workers[job.id]
        self._on_empty(job)

    def _leave_behind(self, job: Job) -> None:
        """The engine has ended; what was not called yet waits for the next."""
        self._workers.pop(job.id, None)
        if self._lines[job.id]:
            self._waiting.append(job)
        else:
            del self._lines[job.id]
