"""What follows when a start is over: a good end, another attempt, the end for good, or others first."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from functools import partial
from typing import Any

from .. import metadir
from ..errors import Reject
from ..job import Job
from ..rules.evidence import Judgement
from ..rules.verdict import Next, Verdict, after_failure
from ..states import JobEvent, JobStatus, Reason
from .explaining import explained
from .lifecycle import Lifecycle, is_refused
from .reports import Reports
from .requiring import Refused, Requirer
from .room import REQUEST, Live, Room, StopReason

log = logging.getLogger("xqute.engine")


class Concluder:
    """Applies what the evidence proved; a failed start first gets its verdict."""

    def __init__(self, room: Room, lifecycle: Lifecycle) -> None:
        """Share the room."""
        self._room = room
        self._lifecycle = lifecycle
        self._requirer = Requirer(room)
        self.reports = Reports(room, lifecycle.report)

    def conclude(self, job: Job, judgement: Judgement) -> None:
        """The start of a job is over."""
        if judgement.rc is not None:
            job.rc = judgement.rc
        if judgement.event is JobEvent.KILLED and self._begins_anew(job):
            self._lifecycle.apply(job, JobEvent.KILLED, judgement.reason)
            self._lifecycle.retry(job)
        elif judgement.event is JobEvent.FAILED:
            self._fail(job, explained(job, judgement.reason, self._room.scheduler))
        elif judgement.event is JobEvent.SUCCEEDED:
            self._succeed(job, judgement)
        else:
            self._lifecycle.apply(job, judgement.event, judgement.reason)

    def refuse(self, job: Job, reason: Reason) -> None:
        """The job can't be handed to any scheduler."""
        halt = after_failure(job.call.options, job.attempt, reason, 0.0).next is Next.HALT
        self._lifecycle.apply(job, JobEvent.REFUSED, reason)
        self._count_failure(job, halt=halt)

    def _begins_anew(self, job: Job) -> bool:
        """Whether it was killed with an earlier session, and is wanted in this one."""
        live = self._room.live.get(job.id)
        wanted = job.id not in self._room.unpushed and self._room.stop is None
        return live is not None and live.renews and wanted

    # Good ends

    def _succeed(self, job: Job, judgement: Judgement) -> None:
        live = self._room.live.get(job.id)
        if live is None or live.deciding:
            return
        said = self.reports.at_the_end(live)
        if said.requires:
            self._decide(live, partial(self._require, live, said.requires))
        elif _left_without_result(job) and said.skipped is None:
            told = "its process ended without leaving a result: something in it called exit, or os._exit"
            self._did_not_count(live, Reason("EXIT", {"rc": 0, "message": told}))
        elif said.skipped is not None:
            detail = {"message": said.skipped} if said.skipped else {}
            self._lifecycle.apply(job, JobEvent.SKIPPED, Reason("SKIPPED", detail))
        elif self._room.plugins.has("on_job_finishing"):
            self._decide(live, partial(self._ask_plugins, live, judgement))
        else:
            self._lifecycle.apply(job, judgement.event, judgement.reason)

    def _decide(self, live: Live, turn: partial[Any]) -> None:
        """After the hooks of what happened before, which wait until that is durable."""
        live.deciding = True
        self._lifecycle.in_hooks.look()
        lines = self._lifecycle.lines
        self._lifecycle.recorder.add(live.job, partial(lines.put, live.job, partial(_undecided, live, turn)))

    async def _ask_plugins(self, live: Live, judgement: Judgement) -> None:
        job = live.job
        try:
            answers = await self._room.plugins.fire("on_job_finishing", self._room.scheduler, job)
            rejected = "a plugin returned False in on_job_finishing" if is_refused(answers) else ""
        except Reject as exc:
            rejected = str(exc) or "a plugin rejected it"
        except BaseException:
            self._leave_undecided(live)
            raise
        if not rejected:
            self._lifecycle.apply(job, judgement.event, judgement.reason)
        else:
            self._did_not_count(live, Reason("REJECTED", {"message": rejected}))

    async def _require(self, live: Live, names: Sequence[str]) -> None:
        """It asked for others first: it waits for them, and starts again from the top."""
        job = live.job
        try:
            required = await self._requirer.take(job, names)
        except Refused as exc:
            self._did_not_count(live, Reason("REQUIRE_REFUSED", {"message": str(exc)}))
            return
        except BaseException:
            self._leave_undecided(live)
            raise
        if job.status is JobStatus.KILLING:
            self._killed(job, live.stopped_by, "it had asked for others first")
            return
        job.required = required
        job.rounds += 1
        self._lifecycle.waiting.require(job)
        self._lifecycle.apply(job, JobEvent.REQUIRED, self._lifecycle.waiting.why(job))

    def _did_not_count(self, live: Live, reason: Reason) -> None:
        """Its end looked good, and was none; one that was asked to stop meanwhile was stopped."""
        if live.job.status is JobStatus.KILLING:
            self._killed(live.job, live.stopped_by, str(reason.detail["message"]))
        else:
            self._fail(live.job, reason)

    def _leave_undecided(self, live: Live) -> None:
        """The answer will not come: cancelled, or the program ends."""
        if live.job.status is JobStatus.KILLING:  # nobody will look again: what was not approved was killed
            self._killed(live.job, live.stopped_by, "the program ended before it was said whether it counts")
        else:
            live.deciding = False  # its end will be looked at again

    def _killed(self, job: Job, by: str, told: str) -> None:
        self._lifecycle.apply(job, JobEvent.KILLED, Reason("KILLED", {"by": by or REQUEST, "message": told}))

    # Failed starts

    def _fail(self, job: Job, reason: Reason) -> None:
        live = self._room.live.get(job.id)
        if job.id in self._room.unpushed or (live is not None and live.inherited):
            self._fail_inherited(job, reason)
            return
        verdict = after_failure(job.call.options, job.attempt, reason, random.random())  # noqa: S311  jitter
        if verdict.next is Next.AGAIN:
            self._lifecycle.apply(job, JobEvent.RETURNED, reason)
        elif verdict.next is Next.RETRY and self._room.stop is None:
            self._retry_later(job, reason, verdict)
        else:
            job.will_retry = False
            self._lifecycle.apply(job, JobEvent.FAILED, reason)
            self._count_failure(job, halt=verdict.next is Next.HALT)

    def _fail_inherited(self, job: Job, reason: Reason) -> None:
        """It failed while nobody watched: as for all that failed before, a new start when it is wanted."""
        if job.id in self._room.unpushed:
            self._lifecycle.apply(job, JobEvent.FAILED, reason)
            return
        job.will_retry = job.renewed = True
        detail = {"attempt": 1, "attempts": job.call.options.retries + 1, "delay": 0, "after": str(reason)}
        self._lifecycle.apply(job, JobEvent.ATTEMPT_FAILED, Reason("RETRY_DELAY", detail))

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
        self._lifecycle.apply(job, JobEvent.ATTEMPT_FAILED, Reason("RETRY_DELAY", detail))

    def _count_failure(self, job: Job, *, halt: bool) -> None:
        room = self._room
        failed = room.counts[JobStatus.FAILED] - room.forgiven
        if halt:
            room.request_stop(StopReason("halt", f"halted because {job} failed: {job.reason}"))
        elif room.budget.spent(failed, room.jobs):
            told = f"stopped because {failed} of {room.jobs} jobs failed, the last was {job}: {job.reason}"
            room.request_stop(StopReason("max_failures", told))


async def _undecided(live: Live, turn: partial[Any]) -> None:
    """Decide, unless it was decided otherwise while this stood in line."""
    if live.deciding:
        await turn()


def _left_without_result(job: Job) -> bool:
    """Whether a Python call says that it ended well, and returned nothing at all; None is something, too."""
    return job.call.function is not None and not metadir.has_result(job.directory)
