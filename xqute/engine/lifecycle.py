"""The door: the only place where a job's status changes, and where plugins hear of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from .. import metadir
from ..crash import crash_point
from ..errors import DependencyFailed, Halted
from ..hooking import hook_of
from ..job import Job
from ..states import TRANSITIONS, JobEvent, JobStatus, Reason, Transition
from .hooklines import HookLines
from .hookwaits import HookWaits
from .recorder import Recorder
from .room import Room
from .tidying import Tidier
from .waiting import Waiting

log = logging.getLogger("xqute.engine")

_BADLY = frozenset({JobStatus.FAILED, JobStatus.KILLED})

#: The claim is durable before a hand-over and the files tell the rest: a crash loses nothing here.
_UNAWAITED = frozenset({JobStatus.SUBMITTED, JobStatus.RUNNING})


class Lifecycle:
    """Applies events to jobs by the one table; an event the table does not list is late news."""

    def __init__(self, room: Room) -> None:
        """Share the room."""
        self._room = room
        self.lines = HookLines(self._line_empty)
        self.in_hooks = HookWaits(room, self.lines)
        self.recorder = Recorder(room)
        self.waiting = Waiting(room, self.apply, self.explain, self._give_up_on)
        self.tidier = Tidier(room, self.recorder, self.lines)
        #: Is told of each job whose end for good is durable.
        self.ended_for_good: Callable[[Job], None] = _nothing_to_do
        self._waiters: dict[int, list[asyncio.Future[None]]] = {}

    # Into the store

    def draft(self, job: Job, *, waits: bool = False) -> None:
        """Make a new job what it will be once the store accepted it."""
        event = JobEvent.ACCEPTED_WAITING if waits else JobEvent.ACCEPTED
        transition = TRANSITIONS[JobStatus.INIT, event]
        job.status = transition.to
        if waits:
            job.reason = Reason("NEEDS", {"needs": "others"})
        job.note(job.created)
        told = (("on_job_init",), _hook(transition, event))
        job.untold = tuple(hook for hook in told if self._room.plugins.has(hook[0]))

    def admit(self, jobs: Sequence[Job], pattern: Job) -> None:
        """The store accepted these new jobs, which were drafted like `pattern`."""
        for job in jobs:
            job.like(pattern)
        room = self._room
        room.counts[pattern.status] += len(jobs)
        if pattern.status is JobStatus.QUEUED:
            room.note_queued(jobs)
        for hook in pattern.untold:
            for job in jobs:
                self._put(job, hook)
        self._room.claim_wanted.set()
        if pattern.status is JobStatus.WAITING:
            for job in jobs:
                self.waiting.look_at(job)

    def retry(self, job: Job) -> bool:
        """Run an ended job once more, when what it needs is there; False: it did not end badly."""
        if job.status not in _BADLY:
            return False
        job.cleaned = 0  # what it does now is cleaned up after, too
        self.waiting.wanted_again(job)
        if self._room.graph.runnable(job.id):
            return self.apply(job, JobEvent.RETRY_ASKED, Reason("ACCEPTED"))
        return self.apply(job, JobEvent.RETRY_ASKED_WAITING, Reason("NEEDS", {"needs": "others"}))

    def report(self, job: Job, line: str) -> None:
        """The job said something of itself."""
        self._put(job, ("on_job_event", line))

    # Along the table

    def apply(self, job: Job, event: JobEvent, reason: Reason) -> bool:
        """Move the job; False: the event is late news for its status."""
        before = job.status
        transition = TRANSITIONS.get((before, event))
        if transition is None:
            log.debug("late news: %s is %s, %s changes nothing", job, before.name, event)
            return False
        now = self._room.clock()
        to, was_live, is_live = transition.to, before.live, transition.to.live
        job.status = to
        job.reason = reason
        _stamp(job, event, now, ended=to.final or was_live > is_live)
        job.note(now)
        if job.id not in self._room.unpushed:
            self._room.counts[before] -= 1
            self._room.counts[to] += 1
        hook = _hook(transition, event)
        if self._room.plugins.has(transition.hook):
            job.untold = (*job.untold, hook)
        if not is_live:
            self._room.leave(job)
        if was_live and not is_live and not to.final:
            metadir.remove_lock(job.directory)  # a final one's goes when that is durable
        then = partial(self._tell, job, transition, hook)
        self.recorder.add(job, then, lazily=not self._is_awaited(job, transition))
        if to is JobStatus.QUEUED:
            self._room.note_queued([job])
        elif not is_live:
            self.waiting.moved(job)
        return True

    def _is_awaited(self, job: Job, transition: Transition) -> bool:
        """Whether somebody waits until this change is durable."""
        if self._room.plugins.has(transition.hook):
            return True
        if transition.to.final:
            return job.id in self._waiters or not self._room.going
        return transition.to not in _UNAWAITED

    def explain(self, job: Job, reason: Reason) -> None:
        """The job stays where it is, for another reason than before."""
        if job.kept_reason != reason:
            job.reason = reason
            job.note(self._room.clock())
            self.recorder.add(job)

    async def may_kill(self, job: Job) -> bool:
        """Whether no plugin forbids this kill."""
        if not self._room.plugins.has("on_job_killing"):
            return True
        fire = partial(self._room.plugins.fire, "on_job_killing", self._room.scheduler, job)
        return not is_refused(await self.lines.ask(job, fire))

    # After the change is durable

    def _tell(self, job: Job, transition: Transition, hook: tuple[str, ...]) -> None:
        """Tell those who wait, then the plugins."""
        crash_point("after a change is recorded")
        if transition.to.final and job.status.final:  # else it was wanted again before this was told
            metadir.remove_lock(job.directory)
            crash_point("after the lock of an ended job is removed")
            for waiter in self._waiters.pop(job.id, ()):
                _let_go(waiter)
            if job.status in _BADLY:
                self.ended_for_good(job)
            self.tidier.add(job)
        elif transition.to is JobStatus.QUEUED:
            self._room.claim_wanted.set()  # only now the store lets go of its claim
        if self._room.plugins.has(transition.hook):
            self._put(job, hook)

    def tell_again(self) -> None:
        """Tell the plugins what an earlier manager recorded and did not come to tell."""
        jobs, self._room.untold = self._room.untold, []
        for job in jobs:
            for hook in job.untold:
                self._put(job, hook)

    def _put(self, job: Job, hook: tuple[str, ...]) -> None:
        self.lines.put(job, partial(self._fire, job, hook))

    async def _fire(self, job: Job, hook: tuple[str, ...]) -> None:
        """Fire a hook; until it returned, whoever takes the run over would fire it again."""
        name, *said = hook
        crash_point("before a hook is fired")
        await self._room.plugins.fire(name, self._room.scheduler, job, *said)
        crash_point("after a hook was fired")
        if hook in job.untold:
            place = job.untold.index(hook)
            job.untold = (*job.untold[:place], *job.untold[place + 1 :])
            self.recorder.add(job, lazily=True)

    def _line_empty(self, job: Job) -> None:
        self._room.wake.set()
        live = self._room.live.get(job.id)
        if live is not None and not live.handed:
            self._room.claim_wanted.set()

    # Those who wait

    async def ended(self, job: Job, *, kills: bool = False) -> None:
        """Return when the job's end is durable; `kills`: it was asked to stop.

        Raises:
            Halted: The run stops before.
            XquteError: A hook asks, and this can't be before that has returned; `NeverEnds` where it kills.
        """
        if job.status.final and self.recorder.settled(job):
            return
        if job.id in self._room.blocked:
            raise self._dependency_failed(job)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(job.id, [])
        waiters.append(waiter)
        if job.status.final:  # its end may have been told: then what is being written is that hooks were
            self.recorder.add(job, partial(_let_go, waiter))
        call = None if job.status.final else hook_of(self._room.plugins)
        try:
            await (waiter if call is None else self.in_hooks.wait(call, job, waiter, kills=kills))
        finally:
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters and self._waiters.get(job.id) is waiters:
                del self._waiters[job.id]

    def _give_up_on(self, job: Job) -> None:
        """It can't go on by itself: tell those who wait for it."""
        for waiter in self._waiters.pop(job.id, ()):
            if not waiter.done():
                waiter.set_exception(self._dependency_failed(job))

    def _dependency_failed(self, job: Job) -> DependencyFailed:
        """What is raised to whoever waits for a job that can't start; its cause is the job to blame."""
        id_ = self._room.graph.cause(job.id)
        cause = self._room.known(id_)
        told = f"job {id_}" if cause is None else f"{cause}, which is {cause.status.name}: {cause.reason}"
        error = DependencyFailed(f"{job} can't start: it needs {told}", job, job.reason, cause)
        error.__cause__ = cause.exception() if cause is not None and cause.done() else None
        return error

    def give_up(self, error: BaseException | None) -> None:
        """The engine ends: tell those who still wait why their jobs did not."""
        waiters, self._waiters = self._waiters, {}
        told = self._room.stop or "the engine ended"
        for id_, waiting in waiters.items():
            halted = Halted(f"{self._room.known(id_) or f'job {id_}'} did not end: {told}", self._room.stop)
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_exception(error or halted)


def _hook(transition: Transition, event: JobEvent) -> tuple[str, ...]:
    """The hook that tells of a change, with the event where it tells of many."""
    return (transition.hook, str(event)) if transition.hook == "on_job_event" else (transition.hook,)


def is_refused(answers: Sequence[object]) -> bool:
    """Whether a plugin answered a hook with False."""
    return any(answer is False for answer in answers)


def _stamp(job: Job, event: JobEvent, now: float, *, ended: bool) -> None:
    """Set the times that belong to the event."""
    if event is JobEvent.SUBMITTED:
        job.submitted, job.started, job.ended, job.rc = now, None, None, None
    elif event is JobEvent.STARTED:
        job.started = now
    elif event in (JobEvent.RETRY_ASKED, JobEvent.RETRY_ASKED_WAITING):
        job.attempt, job.after, job.ended, job.will_retry, job.renewed = 1, 0.0, None, False, False
        job.removed = False  # its directory is made again
        job.seen = False  # nobody has asked how this one ends
    elif ended:
        job.ended = now


def _let_go(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _nothing_to_do(job: Job) -> None:
    """Nobody cleans up."""
