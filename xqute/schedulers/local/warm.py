"""Which Python calls a warm process serves, and which one.

A call begins in a fresh interpreter, below the shell wrapper, unless a process that has imported its
module is there. Such a process is started when a second call of the same module comes. Calls wait a
moment for it; after that, and until it is ready, they begin as they would without it. Calls of tasks that
may share a process (`reuse=True`) share one from the first on.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple

from ...errors import XquteError
from ...handing import read_place
from ...inside.line import SPARES
from ...job import Job
from . import processes
from .exits import HAS_PIDFDS, Start
from .helpers import ROOM, Helper, Plan
from .runners import Runner, Worker
from .starting import Starting

log = logging.getLogger("xqute.local")

#: Calls of a module that come before it is worth a process of its own.
WORTH: Final = 2

#: Warm processes that may be idle, and modules that are counted.
HELPERS_MAX: Final = 8
COUNTED_MAX: Final = 256

#: What a call waits for a process that is being started, at most; then it begins without it.
PATIENCE_SECONDS: Final = 0.4

#: How long an import may take, and a copy; and how long a process stays that nobody needs.
IMPORT_SECONDS: Final = 60.0
COPY_SECONDS: Final = 2.0
IDLE_SECONDS: Final = 30.0

#: How long a process that was let go may take to end.
LEAVE_SECONDS: Final = 2.0

#: Of sessions that are over: they end with what they served, and are waited for when there is another.
_left: list[Helper] = []

_ROOT: Final = os.path.abspath(f"{os.path.dirname(__file__)}/../../..")


class Key(NamedTuple):
    """Calls that one process can serve: the same place, module and environment of the user's own."""

    place: str
    module: str
    env: tuple[tuple[str, str], ...]
    reuse: bool


class Warm:
    """The warm processes of a scheduler, while it is open."""

    def __init__(
        self,
        starting: Starting,
        ended: Callable[[Sequence[Start]], None],
        lost: Callable[[Sequence[Start]], None],
    ) -> None:
        """None is started yet.

        Args:
            starting: Starts them.
            ended: Is told of starts that ended.
            lost: Is told of starts that run, whose process nobody tells of any more.
        """
        self._starting = starting
        self._ended = ended
        self._lost = lost
        self._seen: Counter[Key] = Counter()
        self._runners: dict[Key, Runner] = {}
        self._workers: dict[Key, list[Worker]] = {}
        self._refused: set[Key] = set()
        self._helpers: list[Helper] = []
        self._environ: Mapping[bytes, bytes] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        wait_for_left()

    # Which calls

    def wants(self, jobs: Sequence[Job]) -> bool:
        """Whether some of these may soon have a copy that is not there yet."""
        return any(self._lacks(key, len(calls)) for key, calls in self._by_key(jobs).items())

    def _by_key(self, jobs: Sequence[Job]) -> dict[Key, list[Job]]:
        """The calls among them that a copy could serve."""
        found: dict[Key, list[Job]] = {}
        for job in jobs:
            key = key_of(job)
            if key is not None and not key.reuse and key not in self._refused:
                found.setdefault(key, []).append(job)
        return found

    def _lacks(self, key: Key, calls: int) -> bool:
        runner = self._runners.get(key)
        if runner is None:
            return self._seen[key] + calls >= WORTH
        if not runner.ready:
            return runner.alive and self._loop.time() < runner.begun + PATIENCE_SECONDS
        return runner.spares < min(calls, SPARES)

    async def wait_for(self, jobs: Sequence[Job], script_of: Callable[[Job], str]) -> None:
        """Until there is a copy for each that is served by one; not long."""
        for key, calls in self._by_key(jobs).items():
            if not self._lacks(key, len(calls)):
                continue
            runner = self._runners.get(key) or self._begin(key, calls[0], script_of(calls[0]))
            if runner is not None:
                await self._wait_for(runner, min(len(calls), SPARES))

    async def _wait_for(self, runner: Runner, copies: int) -> None:
        was_ready = runner.ready
        until = self._loop.time() + COPY_SECONDS if was_ready else runner.begun + PATIENCE_SECONDS
        try:
            async with asyncio.timeout_at(until):
                await runner.has(copies)
        except TimeoutError:
            if was_ready:  # it can't make any; while it imports, calls begin without it
                self._retire(runner)

    def look(self, environ: Mapping[bytes, bytes]) -> None:
        """Calls are to be started with this environment: processes with another one serve no more."""
        if environ != self._environ:
            self._environ = dict(environ)
            for helper in self._helpers:
                if not helper.retired:
                    self._retire(helper)

    def start(self, job: Job, script: str) -> Start | None:
        """Have a warm process do a job; None: it begins in a fresh interpreter."""
        key = key_of(job)
        if key is None or key in self._refused:
            return None
        if key.reuse:
            return self._reuse(key, job, script)
        runner = self._runner(key, job, script)
        return runner.take(job, script) if runner is not None else None

    # Processes

    def _runner(self, key: Key, job: Job, script: str) -> Runner | None:
        runner = self._runners.get(key)
        if runner is not None:
            return runner if runner.fits(job, script) else None
        if len(self._seen) >= COUNTED_MAX:
            self._seen.clear()
        self._seen[key] += 1
        if self._seen[key] >= WORTH:
            self._begin(key, job, script)
        return None  # it is not ready yet

    def _begin(self, key: Key, job: Job, script: str) -> Runner | None:
        """Start a runner; None: it can't be."""
        if not self._make_room():
            return None
        with suppress(OSError, XquteError):  # then without
            self._runners[key] = runner = Runner(
                self._plan(key, job, script, "fork"), self._ended, lambda runner: self._silent(key, runner)
            )
            self._keep(runner)
            self._loop.call_later(IMPORT_SECONDS, self._hurry, key, runner)
            return runner
        return None

    def _reuse(self, key: Key, job: Job, script: str) -> Start | None:
        workers = [worker for worker in self._workers.get(key, ()) if worker.alive]
        self._workers[key] = workers
        for worker in workers:
            if not worker.busy and worker.fits(job, script):
                start = worker.take(job, script)
                if start is not None:
                    return start
        self._make_room()
        try:
            worker = Worker(self._plan(key, job, script, "reuse"), self._ended, partial(self._refuse, key))
        except (OSError, XquteError):
            return None
        workers.append(worker)
        self._keep(worker)
        return worker.take(job, script)

    def _plan(self, key: Key, job: Job, script: str, how: str) -> Plan:
        """How to start one.

        Raises:
            XquteError: The place of the call is not known.
        """
        place = read_place(os.path.dirname(job.directory), key.place)
        if place["root"] != _ROOT:
            raise XquteError("the call was pushed by another installation, which may say other things")
        argv = (place["python"], f"{_ROOT}/xqute/inside/start.py", "--serve", how, script, "." * ROOM)
        environ = dict(self._environ)
        environ |= {os.fsencode(name): os.fsencode(value) for name, value in key.env}
        environ[processes.MARK] = os.fsencode(job.mark) + b"." * ROOM
        return Plan(self._starting, argv, environ)

    def _make_room(self) -> bool:
        """Whether one more may be started; the one that was idle longest makes room for it."""
        known = [helper for helper in self._helpers if not (helper.retired or helper.reaped)]
        idle = [helper for helper in known if helper.ready and not helper.busy]
        if len(self._runners) < HELPERS_MAX and len(idle) < HELPERS_MAX:
            return True
        if idle:
            self._retire(min(idle, key=lambda helper: helper.idle_since))
        return bool(idle)

    # Their ends

    def _keep(self, helper: Helper) -> None:
        self._helpers = [known for known in self._helpers if not known.reaped]
        self._helpers.append(helper)
        if self._timer is None:
            self._timer = self._loop.call_later(IDLE_SECONDS / 2, self._tidy)

    def _silent(self, key: Key, runner: Runner) -> None:
        """A runner ended, or never was one."""
        if self._runners.get(key) is runner:
            del self._runners[key]
            if not runner.ready:
                self._refuse(key, runner.unfit or "it ended while it was imported")
        self._lost(list(runner.starts.values()))

    def _hurry(self, key: Key, runner: Runner) -> None:
        """Its import takes too long."""
        if runner.alive and not runner.ready and self._runners.get(key) is runner:
            del self._runners[key]
            self._refuse(key, f"importing it takes more than {IMPORT_SECONDS:g} s")
            runner.close()
            runner.kill()

    def _refuse(self, key: Key, why: str) -> None:
        self._refused.add(key)
        log.warning("each call of a function in %s begins in a fresh interpreter: %s", key.module, why)

    def _retire(self, helper: Helper) -> None:
        """Use it no more; what it serves goes on."""
        for key, runner in list(self._runners.items()):
            if runner is helper:
                del self._runners[key]
        for workers in self._workers.values():
            if helper in workers:
                workers.remove(helper)
        helper.retire()

    def _tidy(self) -> None:
        """Let go what nobody has needed for long."""
        since = self._loop.time() - IDLE_SECONDS
        for helper in self._helpers:
            if helper.ready and not helper.busy and helper.idle_since < since:
                self._retire(helper)
        self._helpers = [helper for helper in self._helpers if not helper.reap()]
        self._timer = self._loop.call_later(IDLE_SECONDS / 2, self._tidy) if self._helpers else None

    async def close(self) -> None:
        """Let all go, and return when those that serve nothing have ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._runners.clear()
        self._workers.clear()
        for helper in self._helpers:
            helper.retire()
        free = [helper for helper in self._helpers if not helper.busy]
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await asyncio.gather(*(helper.ended() for helper in free))
        for helper in free:
            helper.kill()
        for helper in self._helpers:
            helper.close()
            helper.forget()
        _left.extend(helper for helper in self._helpers if not helper.reaped)
        wait_for_left()


def wait_for_left() -> None:
    """Wait for warm processes of earlier sessions that have ended by now."""
    _left[:] = [helper for helper in _left if not helper.reap()]


def key_of(job: Job) -> Key | None:
    """Which processes could serve a job; None: it is no call, or must have its own."""
    function: Any = getattr(job.call, "function", None)
    if function is None or not function.fork or not HAS_PIDFDS or not job.claims():
        return None
    target = function.target
    if isinstance(target, str):
        module = target.partition(":")[0]
    else:
        module = target.get("file", "a notebook or an interactive session")
    # A process that serves one call after the other has imported before it knows their environment.
    return Key(function.place, module, () if function.reuse else job.call.options.env, function.reuse)
