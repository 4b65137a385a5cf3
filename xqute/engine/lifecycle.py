"""The door: the only place where a job's status changes, and where plugins hear of it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from functools import partial

from .. import metadir
from ..crash import crash_point
from ..errors import Halted, Reject
from ..job import Job
from ..rules.evidence import Judgement
from ..rules.verdict import Next, Verdict, after_failure
from ..settings import TAIL_BYTES
from ..states import TRANSITIONS, JobEvent, JobStatus, Reason, Transition
from ..wrapper import PRESCRIPT_FAILED
from .hooklines import HookLines
from .recorder import Recorder
from .room import REQUEST, Live, Room, StopReason

log = logging.getLogger("xqute.engine")

_OF_A_PUSH = ("on_job_init", "on_job_queued")

#: The claim is durable before a hand-over and the files tell the rest: a crash loses nothing here.
_UNAWAITED = frozenset({JobStatus.SUBMITTED, JobStatus.RUNNING})

_SIGKILL = 9


class Lifecycle:
    """Applies events to jobs by the one table; an event the table does not list is late news."""

    def __init__(self, room: Room) -> None:
        """Share the room."""
        self._room = room
        self.lines = HookLines(self._line_empty)
        self.recorder = Recorder(room)
        self._waiters: dict[int, list[asyncio.Future[None]]] = {}

    # Into the store

    def draft(self, job: Job) -> None:
        """Make a new job what it will be once the store accepted it."""
        job.status = TRANSITIONS[JobStatus.INIT, JobEvent.ACCEPTED].to
        job.note(job.created)
        job.untold = tuple((hook,) for hook in _OF_A_PUSH if self._room.plugins.has(hook))

    def admit(self, jobs: Sequence[Job], pattern: Job) -> None:
        """The store accepted these new jobs, which were drafted like `pattern`."""
        for job in jobs:
            job.like(pattern)
        room = self._room
        room.counts[pattern.status] += len(jobs)
        priority = pattern.call.options.priority
        room.overtaken |= any(live.job.call.options.priority < priority for live in room.ready)
        for hook in pattern.untold:
            for job in jobs:
                self._put(job, hook)
        self._room.claim_wanted.set()

    # Along the table

    def apply(self, job: Job, event: JobEvent, reason: Reason) -> bool:
        """Move the job; False: the event is late news for its status."""
        before = job.status
        transition = TRANSITIONS.get((before, event))
        if transition is None:
            log.debug("late news: %s is %s, %s changes nothing", job, before.name, event)
            return False
        now = self._room.clock()
        job.status = transition.to
        job.reason = reason
        _stamp(job, event, now, ended=transition.to.final or before.live > transition.to.live)
        job.note(now)
        if job.id not in self._room.unpushed:
            self._room.counts[before] -= 1
            self._room.counts[transition.to] += 1
        hook = (transition.hook, str(event)) if transition.hook == "on_job_event" else (transition.hook,)
        if self._room.plugins.has(transition.hook):
            job.untold = (*job.untold, hook)
        if not transition.to.live:
            self._room.leave(job)
        if before.live and transition.to is JobStatus.QUEUED:
            metadir.remove_lock(
                job.directory
            )  # of a start that is over; a final one's goes when that is durable
        then = partial(self._tell, job, transition, hook)
        self.recorder.add(job, then, lazily=not self._is_awaited(job, transition))
        return True

    def _is_awaited(self, job: Job, transition: Transition) -> bool:
        """Whether somebody waits until this change is durable."""
        if self._room.plugins.has(transition.hook):
            return True
        if transition.to.final:
            return job.id in self._waiters or not self._room.unfinished
        return transition.to not in _UNAWAITED

    def explain(self, job: Job, reason: Reason) -> None:
        """The job stays where it is, for another reason than before."""
        if job.kept_reason != reason:
            job.reason = reason
            job.note(self._room.clock())
            self.recorder.add(job)

    def conclude(self, job: Job, judgement: Judgement) -> None:
        """Apply what the evidence proved; a failed start first gets its verdict."""
        if judgement.rc is not None:
            job.rc = judgement.rc
        if judgement.event is JobEvent.KILLED and self._begins_anew(job):
            self.apply(job, JobEvent.KILLED, judgement.reason)
            self.apply(job, JobEvent.RETRY_ASKED, Reason("ACCEPTED"))
        elif judgement.event is JobEvent.FAILED:
            self._fail(job, self._explained(job, judgement.reason))
        elif judgement.event is JobEvent.SUCCEEDED and self._room.plugins.has("on_job_finishing"):
            self._ask_plugins(job, judgement)
        else:
            self.apply(job, judgement.event, judgement.reason)

    def _begins_anew(self, job: Job) -> bool:
        """Whether it was killed with an earlier session, and is wanted in this one."""
        live = self._room.live.get(job.id)
        wanted = job.id not in self._room.unpushed and self._room.stop is None
        return live is not None and live.renews and wanted

    def refuse(self, job: Job, reason: Reason) -> None:
        """The job can't be handed to any scheduler."""
        halt = after_failure(job.call.options, job.attempt, reason, 0.0).next is Next.HALT
        self.apply(job, JobEvent.REFUSED, reason)
        self._count_failure(job, halt=halt)

    # Failed starts

    def _fail(self, job: Job, reason: Reason) -> None:
        live = self._room.live.get(job.id)
        if job.id in self._room.unpushed or (live is not None and live.inherited):
            self._fail_inherited(job, reason)
            return
        verdict = after_failure(job.call.options, job.attempt, reason, random.random())  # noqa: S311  jitter
        if verdict.next is Next.AGAIN:
            self.apply(job, JobEvent.RETURNED, reason)
        elif verdict.next is Next.RETRY and self._room.stop is None:
            self._retry_later(job, reason, verdict)
        else:
            job.will_retry = False
            self.apply(job, JobEvent.FAILED, reason)
            self._count_failure(job, halt=verdict.next is Next.HALT)

    def _fail_inherited(self, job: Job, reason: Reason) -> None:
        """It failed while nobody watched: as for all that failed before, a new start when it is wanted."""
        if job.id in self._room.unpushed:
            self.apply(job, JobEvent.FAILED, reason)
            return
        job.will_retry = job.renewed = True
        detail = {"attempt": 1, "attempts": job.call.options.retries + 1, "delay": 0, "after": str(reason)}
        self.apply(job, JobEvent.ATTEMPT_FAILED, Reason("RETRY_DELAY", detail))

    def _retry_later(self, job: Job, reason: Reason, verdict: Verdict) -> None:
        job.will_retry = True
        job.after = self._room.clock() + verdict.delay
        self._room.alarm.set(job.after)
        detail = {
            "attempt": job.attempt + 1,
            "attempts": job.call.options.retries + 1,
            "delay": round(verdict.delay, 1),
            "after": str(reason),
        }
        self.apply(job, JobEvent.ATTEMPT_FAILED, Reason("RETRY_DELAY", detail))

    def _count_failure(self, job: Job, *, halt: bool) -> None:
        room = self._room
        failed = room.counts[JobStatus.FAILED] - room.forgiven
        if halt:
            room.request_stop(StopReason("halt", f"halted because {job} failed: {job.reason}"))
        elif room.budget.spent(failed, room.jobs):
            told = f"stopped because {failed} of {room.jobs} jobs failed, the last was {job}: {job.reason}"
            room.request_stop(StopReason("max_failures", told))

    def _explained(self, job: Job, reason: Reason) -> Reason:
        """Name the prescript, the command or the memory when they are to blame."""
        if reason.code == "SIGNAL" and reason.detail.get("signal") == _SIGKILL and "peak" in job.usage:
            told = (
                f"it had used {job.usage['peak'] / 2**20:.0f} MiB: the kernel ends so what has no memory left"
            )
            return Reason("SIGNAL", {**reason.detail, "message": told})
        if reason.code != "EXIT":
            return reason
        if self._room.scheduler.prescript:
            told = _prescript_failure(job)
            if told:
                return Reason("EXIT", {**reason.detail, "message": told})
        if reason.detail.get("rc") == 127 and job.call.argv[0] != "bash":  # noqa: PLR2004  POSIX: not found
            return Reason(
                "EXIT", {**reason.detail, "message": f"command not found: {job.call.argv[0][:200]}"}
            )
        return reason

    # Ends that plugins have a say in

    def _ask_plugins(self, job: Job, judgement: Judgement) -> None:
        live = self._room.live.get(job.id)
        if live is not None and not live.deciding:
            live.deciding = True
            # after the hooks of what happened before, which wait until that is durable
            self.recorder.add(job, partial(self.lines.put, job, partial(self._decide, live, judgement)))

    async def _decide(self, live: Live, judgement: Judgement) -> None:
        job = live.job
        try:
            answers = await self._room.plugins.fire("on_job_finishing", self._room.scheduler, job)
            rejected = "a plugin returned False in on_job_finishing" if _refused(answers) else ""
        except Reject as exc:
            rejected = str(exc) or "a plugin rejected it"
        except BaseException:
            self._leave_undecided(live)
            raise
        if not rejected:
            self.apply(job, judgement.event, judgement.reason)
        elif job.status is JobStatus.KILLING:
            self.apply(job, JobEvent.KILLED, Reason("KILLED", {"by": REQUEST, "message": rejected}))
        else:
            self._fail(job, Reason("REJECTED", {"message": rejected}))

    def _leave_undecided(self, live: Live) -> None:
        """The plugins' answer will not come: cancelled, or the program ends."""
        job = live.job
        if job.status is JobStatus.KILLING:  # nobody will look again: what was not approved was killed
            told = "the program ended before a plugin said whether it counts"
            self.apply(job, JobEvent.KILLED, Reason("KILLED", {"by": live.stopped_by, "message": told}))
        else:
            live.deciding = False  # its end will be looked at again

    async def may_kill(self, job: Job) -> bool:
        """Whether no plugin forbids this kill."""
        if not self._room.plugins.has("on_job_killing"):
            return True
        fire = partial(self._room.plugins.fire, "on_job_killing", self._room.scheduler, job)
        return not _refused(await self.lines.ask(job, fire))

    # After the change is durable

    def _tell(self, job: Job, transition: Transition, hook: tuple[str, ...]) -> None:
        """Tell those who wait, then the plugins."""
        crash_point("after a change is recorded")
        if transition.to.final and job.status.final:  # else it was wanted again before this was told
            metadir.remove_lock(job.directory)
            crash_point("after the lock of an ended job is removed")
            for waiter in self._waiters.pop(job.id, ()):
                if not waiter.done():
                    waiter.set_result(None)
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

    async def ended(self, job: Job) -> None:
        """Return when the job's end is durable; raises `Halted` when the run stops before."""
        if job.status.final and self.recorder.settled(job):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(job.id, [])
        waiters.append(waiter)
        if job.status.final:
            self.recorder.hurry()
        try:
            await waiter
        finally:
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters and self._waiters.get(job.id) is waiters:
                del self._waiters[job.id]

    def give_up(self, error: BaseException | None) -> None:
        """The engine ends: tell those who still wait why their jobs did not."""
        waiters, self._waiters = self._waiters, {}
        told = self._room.stop or "the engine ended"
        for id_, waiting in waiters.items():
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_exception(error or Halted(f"job {id_} did not end: {told}", self._room.stop))


def _refused(answers: Sequence[object]) -> bool:
    return any(answer is False for answer in answers)


def _stamp(job: Job, event: JobEvent, now: float, *, ended: bool) -> None:
    """Set the times that belong to the event."""
    if event is JobEvent.SUBMITTED:
        job.submitted, job.started, job.ended, job.rc = now, None, None, None
    elif event is JobEvent.STARTED:
        job.started = now
    elif event is JobEvent.RETRY_ASKED:
        job.attempt, job.after, job.ended, job.will_retry, job.renewed = 1, 0.0, None, False, False
    elif ended:
        job.ended = now


def _prescript_failure(job: Job) -> str:
    """What the wrapper wrote when the prescript failed, and the line before it; else nothing."""
    lines = metadir.read_tail(job.stderr_file, TAIL_BYTES, TAIL_BYTES)
    for place, line in enumerate(lines):
        if line.startswith(PRESCRIPT_FAILED):
            return " / ".join(["the prescript failed", *lines[max(0, place - 1) : place]])
    return ""
