"""Notices what became of the jobs that were handed over.

A scheduler that knows its jobs' ends tells them at once. For all others, and for the start of any
job, sweeps read the status files; jobs whose files are silent are asked about together.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from .. import metadir
from ..job import Job
from ..rules.evidence import NOT_ASKED, Evidence, Judgement, judge, may_be_asked_to_stop, overdue
from ..rules.sweeping import seconds_to_next
from ..settings import (
    POLL_FLOOR_SECONDS,
    RESUBMITS,
    SWEEP_MIN_SECONDS,
)
from ..states import (
    Answer,
    FileNews,
    FileState,
    JobErrorStrategy,
    JobEvent,
    JobStatus,
    Presence,
    Reason,
    WaitReason,
)
from .asking import ask
from .concluding import Concluder
from .lifecycle import Lifecycle
from .room import Live, Room, who

log = logging.getLogger("xqute.engine")

_ENDED = frozenset({FileState.FINISHED, FileState.FAILED, FileState.SKIPPED})


class Watcher:
    """One task that gathers evidence, has it judged, and tells the lifecycle."""

    def __init__(
        self,
        room: Room,
        lifecycle: Lifecycle,
        concluder: Concluder,
        *,
        again: Callable[[Live, Reason], None],
        too_long: Callable[[Mapping[Live, Reason]], None],
        freed: Callable[[int], None],
    ) -> None:
        """Say what to do with what is noticed.

        Args:
            room: The engine's.
            lifecycle: Is told what jobs do.
            concluder: Is told how their starts ended.
            again: Hands a start over once more.
            too_long: Stops jobs that run or wait too long.
            freed: Forks may be free: so many beyond those that were given back.
        """
        self._room = room
        self._lifecycle = lifecycle
        self._concluder = concluder
        self._again = again
        self._too_long = too_long
        self._freed = freed
        self._told: list[Live] = []
        self._bug: Exception | None = None
        self._swept: dict[int, Live] = {}
        self._wake = asyncio.Event()
        self._interval = SWEEP_MIN_SECONDS
        self._next: float | None = None  # when to sweep; None: there is nothing to sweep
        self._asked = 0.0

    # News come in

    def notify(self, jobs: Sequence[Job]) -> None:
        """The scheduler says that these have ended; a hint, checked at once."""
        try:
            self._take_in([self._room.live[job.id] for job in jobs if job.id in self._room.live])
        except Exception as exc:  # noqa: BLE001  raised by `run`: a bug here ends the run
            self._bug = exc
        if self._told or self._bug is not None:
            self._wake.set()

    def _take_in(self, lives: Sequence[Live]) -> None:
        sure = self._room.scheduler.tells_ends
        ended = sum(1 for live in lives if live.handed and self._can_not_halt(live)) if sure else 0
        if ended:
            self._freed(ended)  # first of all: what became of them can be read while the next one runs
        for live in lives:
            live.told = True
            if live.handed and not (sure and self._is_here(live) and self._read(live)):
                self._told.append(live)
        self._freed(0)

    def _can_not_halt(self, live: Live) -> bool:
        """Whether the run goes on however this job ended, and with what is ready."""
        halts = live.job.call.options.error_strategy is JobErrorStrategy.HALT
        others = live.job.id in self._room.graph or metadir.has_said(live.job.directory)  # they may go first
        return self._room.budget.unlimited and not halts and not others and self._is_here(live)

    def follow(self, live: Live) -> None:
        """A job was handed over: watch it."""
        if live.told:
            self._told.append(live)
        if live.job.status is JobStatus.RUNNING:
            self._time(live, live.job.started)
        self._swept[live.job.id] = live
        self._hurry()

    def look_again(self, lives: Iterable[Live]) -> None:
        """Whoever ended these did what could be done."""
        self._told += lives
        self._wake.set()

    def ask_soon(self) -> None:
        """Ask the scheduler at the next sweep, however short the silence."""
        for live in self._swept.values():
            live.asked = 0.0
        self._asked = 0.0
        self._hurry()

    def _hurry(self) -> None:
        """Sweep soon, and often at first: most news come early in a job's life."""
        self._interval = SWEEP_MIN_SECONDS
        soon = _now() + self._interval
        if self._next is None or soon < self._next:
            self._next = soon
            self._wake.set()

    # And are worked off

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self._sleep()
            if self._bug is not None:
                raise self._bug
            told, self._told = self._told, []
            if told:
                await self.look_at(told)
            if self._next is not None and _now() >= self._next:
                await self._sweep()

    async def _sleep(self) -> None:
        """Until there is news, or the next sweep is due."""
        timer = None
        if self._next is not None:
            timer = _loop().call_at(self._next, self._wake.set)
        await self._wake.wait()
        self._wake.clear()
        if timer is not None:
            timer.cancel()

    async def look_at(self, told: Sequence[Live]) -> None:
        """Read the files of jobs that are said to have ended; ask about those that don't say how."""
        here = [live for live in told if self._is_here(live)]
        silent = [live for live in here if not self._read(live)]
        if silent:
            await self._ask(silent)
            self._judge_all(silent)
            # nobody will tell again: what is still there is swept and asked about
            left = {live.job.id: live for live in silent if self._is_here(live)}
            if left:
                self._swept.update(left)
                self._hurry()

    async def see_ended(self, lives: Sequence[Live]) -> None:
        """Judge what their files say by now: what ended, ended before whatever is done to it next."""
        changed = await self._read_files(lives)
        self._judge_all(live for live in lives if live in changed)

    def _read(self, live: Live) -> bool:
        """Read and judge; whether that was an end."""
        try:
            news = metadir.read_news(live.job.directory)
        except OSError as exc:
            log.debug("the files of %s can't be read now: %s", live.job, exc)
            live.blind = True
            return False
        self._note_files(live, news)
        return self._judge(live)

    async def _sweep(self) -> None:
        """Look at all files, then ask about those that are silent."""
        lives, used = list(self._swept.values()), time.process_time()
        changed = await self._read_files(lives)
        # of the others nothing new is known, and they wait for nothing
        self._judge_all(live for live in lives if self._is_here(live) and (live in changed or live.since))
        silent = self._silent()
        if silent:
            await self._ask(silent)
            self._judge_all(silent)
        self._interval = seconds_to_next(self._interval, time.process_time() - used, changed=bool(changed))
        self._next = _now() + self._interval if self._swept else None

    async def _read_files(self, lives: Sequence[Live]) -> set[Live]:
        """Take in what changed, and say which; a foreign file system may not hold the loop."""
        if not lives:
            return set()
        paths = {live.job.id: live.job.directory for live in lives}
        if self._room.scheduler.tells_ends:
            news = _read_many(paths)
        else:
            news = await asyncio.to_thread(_read_many, paths)
        for live in lives:
            live.blind = live.job.id not in news
        return {live for live in lives if not live.blind and self._note_files(live, news[live.job.id])}

    def _note_files(self, live: Live, news: FileNews) -> bool:
        live.blind = False
        if news == live.files:
            return False
        first = live.files is None
        live.files = news
        live.changed = _now()
        if news.state in _ENDED:
            live.since = live.changed
        elif not first:
            live.since = None
        return not first or news.state is not FileState.ABSENT

    # Asking

    def _silent(self) -> list[Live]:
        """Jobs to ask about now: none of their news is younger than the interval."""
        every = self._room.scheduler.poll_seconds
        now = _now()
        if now - self._asked < min(every, POLL_FLOOR_SECONDS):
            return []
        due = now - self._asked >= every
        return [
            live
            for live in self._swept.values()
            if live.asked == 0.0
            or _wants_asking(live)
            or (due and now - max(live.asked, live.changed) >= every)
        ]

    async def _ask(self, lives: Sequence[Live]) -> None:
        """Ask about all of them at once; what could not be asked is not known."""
        self._asked = _now()
        answers = await ask(self._room.scheduler, [live.job for live in lives])
        told = {live: answers.get(live.job, NOT_ASKED) for live in lives}
        # what was read before it was asked may be older than the end: the last word is with the files
        await self._read_files([live for live, answer in told.items() if answer.presence is Presence.GONE])
        for live, answer in told.items():
            self._note_answer(live, answer)
        here = [(live, answer) for live, answer in told.items() if self._is_here(live)]
        late = {live: reason for live, answer in here if (reason := self._overdue(live, answer)) is not None}
        if late:
            self._too_long(late)

    def _overdue(self, live: Live, answer: Answer) -> Reason | None:
        now = self._room.now()
        evidence = self._evidence(live)._replace(answer=answer)
        return overdue(evidence, now - (live.job.submitted or now), self._room.scheduler.pending_seconds)

    def _note_answer(self, live: Live, answer: Answer) -> None:
        live.asked = _now()
        if answer.presence is Presence.UNKNOWN:
            if answer.reason is not None and self._is_here(live):
                self._lifecycle.explain(live.job, answer.reason)
            return
        self._note_touch(live)
        live.inherited &= answer.presence is Presence.GONE
        if answer.presence is Presence.GONE:
            live.since = live.since if live.since is not None else live.asked
        elif live.files is None or live.files.state not in _ENDED:
            live.since = None
        live.answer = answer
        if answer.presence is Presence.PENDING and answer.reason is not None and self._is_here(live):
            self._lifecycle.explain(live.job, answer.reason)

    def _note_touch(self, live: Live) -> None:
        """The scheduler answers again, where it did not."""
        job = live.job
        if job.kept_reason.code == WaitReason.UNREACHABLE and self._is_here(live):
            self._lifecycle.explain(job, self._running(live) if self._ran(live) else self._pending(job))

    # Judging

    def _judge_all(self, lives: Iterable[Live]) -> None:
        for live in lives:
            if self._is_here(live):
                self._judge(live)

    def _judge(self, live: Live) -> bool:
        """Have the evidence judged and tell the lifecycle; whether that was an end."""
        judgement = None if live.blind or live.stuck else judge(self._evidence(live))
        if judgement is not None and judgement.event is JobEvent.STARTED:
            self._begin(live, judgement)
            return False
        if judgement is None:
            return False
        if live.job.status is JobStatus.SUBMITTED and self._ran(live):
            self._lifecycle.apply(live.job, JobEvent.STARTED, self._running(live))
        self._swept.pop(live.job.id, None)
        ended = metadir.claimed_at(live.job.directory) if live.began is not None else None
        self._concluder.conclude(live.job, judgement)
        if ended is not None and live.job.ended is not None:  # it may have ended long before it was noticed
            live.job.ended = min(live.job.ended, max(ended, live.began or ended))
        if judgement.event is JobEvent.RETURNED:
            self._again(live, judgement.reason)
        return True

    def _evidence(self, live: Live) -> Evidence:
        job, now = live.job, _now()
        return Evidence(
            status=job.status,
            files=live.files or metadir.ABSENT,
            answer=live.answer,
            waited=0.0 if live.since is None else now - live.since,
            grace=self._room.scheduler.grace_seconds,
            claims=job.claims(),
            timed_out=live.timed_out,
            stopped_by=who(live.stopped_by),
            resubmits=job.resubmits,
            max_resubmits=RESUBMITS,
            confirms=self._room.scheduler.confirms_kills,
        )

    def _begin(self, live: Live, judgement: Judgement) -> None:
        self._lifecycle.apply(live.job, judgement.event, self._running(live))
        live.job.started = live.began or live.job.started
        self._time(live, live.began)
        if self._room.scheduler.tells_ends:
            self._swept.pop(live.job.id, None)

    def _time(self, live: Live, began: float | None) -> None:
        """Stop it when it runs too long; it may have begun under an earlier manager (UTC seconds)."""
        timeout = live.job.call.options.timeout
        if timeout is not None:
            gone = 0.0 if began is None else max(0.0, self._room.now() - began)
            late = {live: Reason("TIMEOUT", {"timeout": f"{timeout:g}"})}
            live.timer = _loop().call_later(max(0.0, timeout - gone), self._too_long, late)

    def _pending(self, job: Job) -> Reason:
        return Reason("PENDING", {"scheduler": self._room.scheduler.name, "uid": job.uid})

    def _running(self, live: Live) -> Reason:
        return Reason("RUNNING", {"scheduler": self._room.scheduler.name, "uid": live.job.uid})

    @staticmethod
    def _ran(live: Live) -> bool:
        return live.files is not None and live.files.state is not FileState.ABSENT

    def _is_here(self, live: Live) -> bool:
        """Whether this start is still the one to watch."""
        here = self._room.live.get(live.job.id) is live and not live.deciding and not live.ending
        if not here and self._swept.get(live.job.id) is live:  # it may be that of a later start by now
            del self._swept[live.job.id]
        return here


def _wants_asking(live: Live) -> bool:
    """Only the scheduler can explain what its files said, or say that it is gone."""
    return live.job.status is JobStatus.KILLING or (
        live.files is not None and may_be_asked_to_stop(live.files)
    )


def _read_many(paths: Mapping[int, str]) -> dict[int, FileNews]:
    """The news of many jobs; those that can't be read now are left out."""
    news = {}
    for id_, path in paths.items():
        try:
            news[id_] = metadir.read_news(path)
        except OSError as exc:
            log.debug("the files in %s can't be read now: %s", path, exc)
    return news


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def _now() -> float:
    return _loop().time()
