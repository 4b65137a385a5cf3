"""The scheduler `local`: starts wrappers, hears of their exits, and ends what they started."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary, WeakSet

from ...errors import BackendUnavailable, SchedulerError, SubmitError
from ...job import Job
from ...scheduler import Outcome, Scheduler
from ...settings import LOCAL_FORKS, SUBMIT_BATCH
from ...states import Answer, Presence
from . import processes
from .adopted import Adopted, find_wrappers, wrapper_of
from .ending import Ending, Found, end
from .exits import HAS_PIDFDS, Exits, Start
from .leftovers import UNSEEN, Leftovers
from .processes import Process
from .reasons import REBOOTED, reason_of
from .served import UNTOLD
from .starting import Starting, descriptor_limit, refusal, snapshot
from .warm import Warm

log = logging.getLogger("xqute.local")

#: A wrapper as young as this may have a trap and no payload yet: what it begins after the polite
#: signal would not get it, and live until the firm one.
YOUNG_SECONDS: Final = 0.1

#: What forcing everything may take when there is no time to be polite.
ABANDON_SECONDS: Final = 2.0

#: Between asking and forcing what an earlier start left, when the next one is about to begin.
CLEAR_SECONDS: Final = 1.0


class LocalScheduler(Scheduler):
    """Runs jobs as processes of this host."""

    name = "local"
    options: ClassVar[Mapping[str, str]] = {}
    default_forks = LOCAL_FORKS
    max_batch = SUBMIT_BATCH
    grace_seconds = 0.0
    on_this_host = True
    tells_ends = True

    #: Whether exits are seen by descriptors; else running jobs are asked in turn.
    _pidfds: bool = HAS_PIDFDS

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._running: dict[Job, Start] = {}
        # How the newest start of a job ended, as long as somebody holds the job.
        self._ends: WeakKeyDictionary[Job, int] = WeakKeyDictionary()
        self._adopted: dict[Job, Adopted] = {}
        # Starts that ended, and left what could not be ended.
        self._left: WeakKeyDictionary[Job, Start] = WeakKeyDictionary()
        self._rebooted: WeakSet[Job] = WeakSet()
        self._exits: Exits | None = None
        self._leftovers = Leftovers()
        self._starting: Starting | None = None
        self._warm: Warm | None = None
        # Endings that were cancelled; whoever leaves in a hurry brings them to their end.
        self._unfinished: list[Ending] = []

    async def open(self, stack: AsyncExitStack) -> None:
        stack.push_async_exit(self._close)
        self._starting = Starting()
        self._exits = Exits(self._look, pidfds=self._pidfds)
        if type(self).launch is Scheduler.launch:
            self._warm = Warm(self._starting, self._tell, self._exits_of)
        for start in [*self._running.values(), *self._adopted.values()]:
            self._exits.add(start)

    async def _close(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is not None and not self.leaves_running:
            await self._abandon()
        try:
            await self._leftovers.close(hurry=kind is not None)
        finally:
            if self._warm is not None:
                warm, self._warm = self._warm, None
                await warm.close()
            if self._exits is not None:
                self._exits.close()
                self._exits = None
            if self._starting is not None:
                self._starting.close()
                self._starting = None

    async def _abandon(self) -> None:
        """The engine broke, or the user insisted on leaving now: there is no time to be polite."""
        for start in self._running.values():
            start.signal_group(signal.SIGKILL)
        now = time.monotonic()
        late, self._unfinished = self._unfinished, []
        for ending in late:
            ending.polite = ending.firm = now
        live = [Ending(start.job, start=start, polite=now, firm=now) for start in self._running.values()]
        adopted = [Ending(job, stranger=wrapper_of(job), polite=now, firm=now) for job in self._adopted]
        try:
            async with asyncio.timeout(ABANDON_SECONDS):
                await self._end([*live, *adopted, *late])
        except TimeoutError:
            log.error("left in a hurry: processes of jobs may still be running")  # noqa: TRY400

    # Starting

    async def submit_job(self, job: Job) -> int | str:
        [outcome] = await self.submit_jobs([job])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def submit_jobs(self, jobs: Sequence[Job]) -> Sequence[Outcome]:
        again = [job for job in jobs if job.start > 1]
        refused = await self._clear(again) if again else {}
        if self._warm is not None:
            self._warm.look(snapshot())
            await self._warm.wait_for(jobs, lambda job: job.script(self))
        return self._start_all(jobs, refused)

    def submit_jobs_nowait(self, jobs: Sequence[Job]) -> Sequence[Outcome] | None:
        # a later start waits until what the earlier one left has ended, a call for a copy of its runner
        if any(job.start > 1 for job in jobs) or (self._warm is not None and self._warm.wants(jobs)):
            return None
        return self._start_all(jobs, {})

    def _start_all(self, jobs: Sequence[Job], refused: Mapping[Job, Outcome]) -> Sequence[Outcome]:
        starting, exits = self._starting, self._exits
        if starting is None or exits is None:
            return [BackendUnavailable("the scheduler 'local' is not open")] * len(jobs)
        environ = snapshot()
        if self._warm is not None:
            self._warm.look(environ)
        exits.limit, exits.newest = descriptor_limit(), starting.newest()
        outcomes: list[Outcome] = []
        trouble: BackendUnavailable | None = None
        for job in jobs:
            outcome = trouble or refused.get(job) or self._start(job, environ, starting, exits)
            if isinstance(outcome, BackendUnavailable):
                trouble = outcome
            outcomes.append(outcome)
        return outcomes

    def _start(self, job: Job, environ: dict[bytes, bytes], starting: Starting, exits: Exits) -> Outcome:
        argv: Sequence[str] = ()
        warm = self._start_warm(job)
        if warm is not None:
            return warm.pid
        try:
            argv = self.launch(job)
            environ[processes.MARK] = job.mark.encode()
            pid = starting.spawn(argv, environ)
        except OSError as exc:
            return refusal(job, job.script(self), argv, exc)
        except Exception as exc:  # noqa: BLE001  what a subclass answered; the engine reads it
            return exc
        self._running[job] = start = Start(job, pid)
        self._ends.pop(job, None)
        exits.add(start)
        return pid

    def _start_warm(self, job: Job) -> Start | None:
        """Have a process do it that is there already; it tells of the end itself."""
        if self._warm is None or self.prescript or self.postscript:
            return None
        start = self._warm.start(job, job.script(self))
        if start is not None:
            self._running[job] = start
            self._ends.pop(job, None)
        return start

    async def _clear(self, jobs: Sequence[Job]) -> Mapping[Job, Outcome]:
        """End what earlier starts left; what can't be ended keeps its job from starting."""
        now = time.monotonic()
        left = await self._end([self._ending(job, now, CLEAR_SECONDS) for job in jobs])
        return {
            ending.job: SubmitError(
                f"{_survivors(ending, there)}: a second start beside them could do harm",
                scheduler=self.name,
            )
            for ending, there in left.items()
        }

    # Watching

    def _exits_of(self, starts: Sequence[Start]) -> None:
        """Look for the ends of these, of which nobody tells any more."""
        if self._exits is not None:
            for start in starts:
                self._exits.add(start)

    def _look(self, starts: Sequence[Start]) -> None:
        self._tell([start for start in starts if start.reap()])

    def _tell(self, ended: Sequence[Start]) -> None:
        for start in ended:
            self._note(start)
        if ended:
            self.notify([start.job for start in ended])

    def _note(self, start: Start) -> None:
        """Keep what is known about a start that ended."""
        job, code = start.job, start.exit
        if self._adopted.get(job) is start:
            del self._adopted[job]
        elif self._running.get(job) is start and code is not None:
            del self._running[job]
            if code != UNTOLD:
                self._ends[job] = code
            job.usage = start.usage
        if not start.killers and start.left_something():
            self._leftovers.add(start)

    async def job_is_running(self, job: Job) -> bool:
        return self._answer(job).presence is Presence.RUNNING

    async def poll_jobs(self, jobs: Sequence[Job]) -> Mapping[Job, Answer]:
        return {job: self._answer(job) for job in jobs}

    def _answer(self, job: Job) -> Answer:
        start = self._running.get(job)
        if start is not None:
            if not start.reap():
                return Answer(Presence.RUNNING)
            if self._exits is not None:
                self._exits.remove(start)
            self._note(start)
        code = self._ends.get(job)
        if code is not None:
            return Answer(Presence.GONE, reason_of(code))
        try:
            wrapper = wrapper_of(job)
        except OSError:
            return Answer(Presence.UNKNOWN)
        if wrapper is not None:
            return Answer(Presence.RUNNING)
        return Answer(Presence.GONE, REBOOTED if job in self._rebooted else None)

    # What another process started

    async def find_jobs(self, jobs: Sequence[Job]) -> Mapping[Job, int | str]:
        return await find_wrappers(jobs, {job: job.script(self) for job in jobs})

    async def adopt_jobs(self, jobs: Sequence[Job], *, rebooted: bool) -> None:
        if rebooted:
            self._rebooted.update(jobs)
        for job in jobs:
            process = None if job in self._running or job in self._adopted else wrapper_of(job)
            if process is not None and self._exits is not None:
                self._adopted[job] = start = Adopted(job, process)
                self._exits.add(start)

    # Killing

    async def kill_job(self, job: Job) -> None:
        await self.kill_jobs([job])

    async def kill_jobs(self, jobs: Sequence[Job]) -> None:
        now = time.monotonic()
        endings = []
        for job in dict.fromkeys(jobs):
            grace = job.call.options.grace if job.kill_grace is None else job.kill_grace
            endings.append(self._ending(job, now, grace))
        left = await self._end(endings)
        for ending in endings:
            self._left.pop(ending.job, None)
        if left:
            # by their session they are found again, also those whose mark may not be read
            self._left.update({ending.job: ending.start for ending in left if ending.start is not None})
            told = "; ".join(_survivors(ending, there) for ending, there in left.items())
            raise SchedulerError(told, scheduler=self.name)

    def _ending(self, job: Job, now: float, grace: float) -> Ending:
        start = self._running.get(job) or self._left.get(job)
        stranger = None if start or job in self._ends else wrapper_of(job)
        polite = max(now, start.begun + YOUNG_SECONDS) if start else now
        return Ending(job, start=start, stranger=stranger, polite=polite, firm=polite + grace)

    async def _end(self, endings: Sequence[Ending]) -> Found:
        starts = [ending.start for ending in endings if ending.start is not None]
        for start in starts:
            start.killers += 1
        try:
            return await end(endings)
        except asyncio.CancelledError:
            self._unfinished += endings
            raise
        finally:
            for start in starts:
                start.killers -= 1
                # Only when the call was cancelled: else nothing is left, or what is was named.
                if start.exit is not None and not start.killers and start.left_something():
                    self._leftovers.add(start)


def _survivors(ending: Ending, there: Sequence[Process]) -> str:
    numbers = {process.pid for process in there}
    if ending.start is not None and ending.lives:
        numbers.add(ending.start.pid)
    told = ", ".join(str(number) for number in sorted(numbers)) or UNSEEN
    return f"{ending.job}: processes {told} did not end when they were killed"
