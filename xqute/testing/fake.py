"""A scheduler without processes: its jobs are plays, acted on the clock of the event loop.

It is verified: `tests/unit/testing/test_fake.py` holds its files against those of the real wrapper.
"""

# ruff: noqa: D102  an override carries no docstring: the contract it fulfils does
from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar, Final, NamedTuple

from ..errors import BackendUnavailable, OptionError, SubmitError
from ..job import Job
from ..metadir import RC, STATUS, STDERR, STDOUT
from ..scheduler import Outcome, Scheduler
from ..states import Answer, Presence, Reason

#: 128 + SIGTERM, as a shell tells it.
_TERMINATED: Final = 143


@dataclass(frozen=True, slots=True)
class Play:
    """What becomes of one start; seconds are those of the event loop.

    Attributes:
        takes: Seconds the hand-over takes.
        refuses: The scheduler refuses the job, with these words.
        waits: Seconds in the queue. queue_reason: Why, as the scheduler says.
        begins: Its wrapper claims and says RUNNING; False: it is gone instead, without a trace.
        runs: Seconds from there to the end; `inf`: until it is killed.
        rc: How it ends.
        signal: Somebody else stopped it with this signal: `TERM`, `HUP`, `XCPU`.
        vanishes: It ends without a word, as after SIGKILL.
        late: Seconds its last words are later than the scheduler's word that it is gone.
        reason: How it ended, as the scheduler says when it is gone.
        word: What an author's script says at the end, in place of our wrapper's line.
        tells_rc: It writes `job.rc`.
        deaf: Seconds for which it ignores polite signals. undead: Firm ones too.
        stdout, stderr: What it prints.
    """

    takes: float = 0.0
    refuses: str = ""
    waits: float = 0.0
    queue_reason: Reason | None = None
    begins: bool = True
    runs: float = 1.0
    rc: int = 0
    signal: str = ""
    vanishes: bool = False
    late: float = 0.0
    reason: Reason | None = None
    word: str = ""
    tells_rc: bool = True
    deaf: float = 0.0
    undead: bool = False
    stdout: str = ""
    stderr: str = ""


#: What to act for a job; asked at each hand-over, so it may look at `job.start` and `job.attempt`.
Plan = Callable[[Job], Play]


def commanded(job: Job) -> Play:
    """The play that a job's own command names: `["fake", "ok", "2.5"]`.

    `ok [SECONDS]`, `fail [SECONDS [RC]]`, `flaky [SECONDS [TIMES]]` fails so many attempts first,
    `vanish [SECONDS]`, `never`, `hang`, `refuse`.
    """
    _, verb, *words = [*job.call.argv, "ok"] if len(job.call.argv) == 1 else job.call.argv
    runs = float(words[0]) if words else 1.0
    number = int(words[1]) if len(words) > 1 else 1
    plays = {
        "ok": Play(runs=runs),
        "fail": Play(runs=runs, rc=number),
        "flaky": Play(runs=runs, rc=int(job.attempt <= number)),
        "vanish": Play(runs=runs, vanishes=True),
        "never": Play(begins=False),
        "hang": Play(runs=inf),
        "refuse": Play(refuses="refused as the command wishes"),
    }
    if verb not in plays:
        raise OptionError(f"{verb!r} is no play: known are {', '.join(plays)}")
    return plays[verb]


class Asked(NamedTuple):
    """One thing the engine asked of the scheduler: `submit`, `kill` or `poll`; when, for which jobs."""

    verb: str
    at: float
    jobs: tuple[int, ...]


class FakeScheduler(Scheduler):
    """Acts plays; it is followed by files and polls, and its kills return at once: a batch system.

    Attributes:
        plan: What to act for each job.
        calls: Everything the engine asked, in order.
        began: Every (job, start) whose wrapper began, in order.
        doubled: Those that began while another start of the same job was alive; must stay empty.
        peak: Most jobs that it had at the same time.
        blind: It answers UNKNOWN about every job.
        unreachable_until: Before this time of the loop nothing can be asked of it.
    """

    name = "fake"
    options: ClassVar[Mapping[str, str] | None] = {}

    def __init__(self, plan: Plan = commanded, **options: Any) -> None:
        """Act this plan."""
        super().__init__(**options)
        self.plan = plan
        self.calls: list[Asked] = []
        self.began: list[tuple[int, int]] = []
        self.doubled: list[tuple[int, int]] = []
        self.peak = 0
        self.blind = False
        self.unreachable_until = 0.0
        self._actors: dict[str, Actor] = {}
        self._alive: dict[str, Actor] = {}

    # For tests

    def unreachable_for(self, seconds: float) -> None:
        """Nothing can be asked of it for so long from now."""
        self.unreachable_until = _now() + seconds

    def end(self, job: Job) -> None:
        """Let what it acts for a job end now, as its play says, if it runs."""
        actor = self._alive.get(job.uid)
        if actor is not None and actor.running:
            actor.end()

    def begin_all(self) -> None:
        """Let what waits in the queue begin now."""
        for actor in list(self._alive.values()):
            if not actor.running:
                actor.begin()

    def asked(self, verb: str) -> list[Asked]:
        """What the engine asked by this verb."""
        return [call for call in self.calls if call.verb == verb]

    @property
    def alive(self) -> list[int]:
        """The jobs it has now, queued or running."""
        return [actor.job.id for actor in self._alive.values()]

    # The contract

    async def open(self, stack: AsyncExitStack) -> None:
        """Nothing to get ready; its jobs outlive the engine, as a batch system's do."""

    async def submit_jobs(self, jobs: Sequence[Job]) -> Sequence[Outcome]:
        self._note("submit", jobs)
        return await super().submit_jobs(jobs)

    async def submit_job(self, job: Job) -> str:
        play = self.plan(job)
        if play.takes:
            await asyncio.sleep(play.takes)
        self._reach()
        if play.refuses:
            raise SubmitError(play.refuses, scheduler=self.name)
        actor = Actor(self, job, play, uid=f"fake-{len(self._actors) + 1}")
        self._actors[actor.uid] = self._alive[actor.uid] = actor
        self.peak = max(self.peak, len(self._alive))
        actor.enter()
        return actor.uid

    async def kill_jobs(self, jobs: Sequence[Job]) -> None:
        self._note("kill", jobs)
        await super().kill_jobs(jobs)

    async def kill_job(self, job: Job) -> None:
        self._reach()
        actor = self._alive.get(job.uid)
        if actor is not None:
            actor.stop(_grace(job))

    async def poll_jobs(self, jobs: Sequence[Job]) -> Mapping[Job, Answer]:
        self._note("poll", jobs)
        return await super().poll_jobs(jobs)

    async def _poll_job(self, job: Job) -> Answer:
        if self.blind or _now() < self.unreachable_until:
            return Answer(Presence.UNKNOWN)
        actor = self._actors.get(job.uid)
        return Answer(Presence.GONE) if actor is None else actor.answer

    async def job_is_running(self, job: Job) -> bool:
        self._reach()
        return job.uid in self._alive

    # From the actors

    def begins(self, actor: Actor) -> None:
        """A wrapper has the claim."""
        others = (other for other in self._alive.values() if other is not actor)
        key = (actor.job.id, actor.start)
        if any(other.running and other.job.id == actor.job.id for other in others):
            self.doubled.append(key)
        self.began.append(key)

    def leaves(self, actor: Actor) -> None:
        """A job is gone."""
        self._alive.pop(actor.uid, None)
        if self.tells_ends:
            self.notify([actor.job])

    def _note(self, verb: str, jobs: Sequence[Job]) -> None:
        self.calls.append(Asked(verb, _now(), tuple(job.id for job in jobs)))

    def _reach(self) -> None:
        if _now() < self.unreachable_until:
            raise BackendUnavailable("the fake can't be reached now", scheduler=self.name)


class TellingFakeScheduler(FakeScheduler):
    """Tells ends at once, and its kills return when the job is gone: as processes of this host."""

    tells_ends: ClassVar[bool] = True

    async def kill_job(self, job: Job) -> None:
        await super().kill_job(job)
        actor = self._alive.get(job.uid)
        if actor is not None:
            await actor.gone()


class Actor:
    """One start of a job at the fake: does to the job's files what a process would do."""

    def __init__(self, scheduler: FakeScheduler, job: Job, play: Play, uid: str) -> None:
        """Act this play for the job's start as it is now."""
        self.job = job
        self.uid = uid
        self.start = job.start
        self.running = False
        self._scheduler = scheduler
        self._play = play
        self._directory = job.directory
        self._claim: tuple[int, int] | None = None
        self._left = False
        self._timers: list[asyncio.TimerHandle] = []
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def answer(self) -> Answer:
        """What the scheduler says about it."""
        if self._left:
            return Answer(Presence.GONE, self._play.reason)
        if self.running:
            return Answer(Presence.RUNNING)
        return Answer(Presence.PENDING, self._play.queue_reason)

    async def gone(self) -> None:
        """Return when it is gone."""
        if not self._left:
            self._waiters.append(asyncio.get_running_loop().create_future())
            await self._waiters[-1]

    # The life of a job

    def enter(self) -> None:
        """Wait in the queue."""
        self._after(self._play.waits, self.begin)

    def begin(self) -> None:
        """Leave the queue."""
        if not self._play.begins or not self._claims():
            self._leave()
            return
        self.running = True
        self._scheduler.begins(self)
        self._print(STDOUT, self._play.stdout)
        self._print(STDERR, self._play.stderr)
        self._after(self._play.runs, self.end)

    def end(self) -> None:
        """End as the play says."""
        self._close(self._play.rc, self._play.signal)

    def stop(self, grace: float) -> None:
        """Be asked to stop: politely, and after the grace firmly."""
        if not self.running:
            self._leave()
        elif self._play.deaf <= grace or self._play.undead:
            self._after(self._play.deaf, self._obey)
        else:
            self._after(grace, self._leave)

    def _obey(self) -> None:
        self._close(_TERMINATED, "TERM")

    def _close(self, rc: int, signal: str) -> None:
        """Say the last words, now or late, and be gone."""
        if not self._play.vanishes and self._play.late:
            asyncio.get_running_loop().call_later(self._play.late, self._say_end, rc, signal)
        elif not self._play.vanishes:
            self._say_end(rc, signal)
        self._leave()

    def _leave(self) -> None:
        for timer in self._timers:
            timer.cancel()
        if not self._left:
            self._left, self.running = True, False
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._scheduler.leaves(self)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        """Act then; also a wait of no time lets the caller go on first."""
        if seconds != inf:
            self._timers.append(asyncio.get_running_loop().call_later(seconds, act))

    # Its files, as the wrapper writes them

    def _claims(self) -> bool:
        """Create the status file; False: another copy of this start has, or there is no place."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            fd = os.open(f"{self._directory}/{STATUS}", flags, 0o666)
        except OSError:
            return False
        with os.fdopen(fd, "w") as status:
            status.write(f"RUNNING {os.getpid()}\n")
            self._claim = _identity(os.fstat(fd))
        return True

    def _say_end(self, rc: int, signal: str) -> None:
        """Write nothing when the file of a later start lies there."""
        path = f"{self._directory}/{STATUS}"
        try:
            fenced = _identity(os.stat(path)) != self._claim
        except OSError:
            fenced = True
        if fenced:
            return
        if self._play.tells_rc:
            self._print(RC, f"{rc}\n")
        with open(path, "a", encoding="ascii") as status:
            status.write(f"{self._play.word or last_line(rc, signal)}\n")

    def _print(self, name: str, text: str) -> None:
        with open(f"{self._directory}/{name}", "w", encoding="utf-8") as file:
            file.write(text)


def last_line(rc: int, signal: str = "") -> str:
    """What our wrapper says at the end."""
    if rc == 0 and not signal:
        return "FINISHED 0"
    return f"FAILED {rc} {signal}".rstrip()


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _grace(job: Job) -> float:
    return job.call.options.grace if job.kill_grace is None else job.kill_grace


def _now() -> float:
    return asyncio.get_running_loop().time()
