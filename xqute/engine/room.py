"""What the parts of an engine share, and nothing that decides."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import XquteError
from ..job import Job
from ..plan import Plan
from ..plugin import Plugins
from ..printable import printable
from ..rules.evidence import NOT_ASKED
from ..rules.graph import Graph
from ..rules.verdict import FailureBudget
from ..scheduler import Scheduler
from ..states import Answer, FileNews, JobStatus, Reason
from ..store import Row, Store
from .alarm import Alarm
from .clock import SteadyClock
from .sharing import Sharing


class Live:
    """A job that was claimed: what is known of its newest start beyond the job itself.

    Attributes:
        job: The job.
        cleared: Its directory is there, without files of earlier starts.
        prepared: Its script is written.
        handed: The scheduler has it.
        doubted: Handing it over went wrong, and the scheduler may have it all the same.
        told: Its scheduler said that it ended, before the engine knew its id.
        deciding: It ended well, and plugins are asked whether that counts.
        began: When its wrapper claimed it under an earlier manager; UTC seconds.
        inherited: Another manager handed it over, and nobody has seen yet whether it lives.
        blind: Its files could not be read this time; nothing is concluded until they can.
        heard: How far its events were told.
        ending: How many calls are ending its processes right now; what became of it is judged after them.
        renews: It was killed with an earlier session, not for its own sake: when it is gone, it begins anew.
        stuck: Something of it could not be ended; nothing is concluded before that is gone.
        stopped_by: Who asked to stop it; empty when nobody did.
        timed_out: The reason, when the engine asked it to stop because it ran, or waited, too long.
        timer: The clock of its timeout.
        files: The newest news of its files.
        answer: The newest answer of its scheduler that said something.
        changed: When its files last changed; asked: when its scheduler was last asked;
        since: when its files first ended, or its scheduler first said gone; loop time.
    """

    __slots__ = (
        "answer",
        "asked",
        "began",
        "blind",
        "changed",
        "cleared",
        "deciding",
        "doubted",
        "ending",
        "files",
        "handed",
        "heard",
        "inherited",
        "job",
        "prepared",
        "renews",
        "since",
        "stopped_by",
        "stuck",
        "timed_out",
        "timer",
        "told",
    )

    def __init__(self, job: Job, now: float) -> None:
        """Just claimed."""
        self.job = job
        self.cleared = False
        self.prepared = False
        self.handed = False
        self.doubted = False
        self.told = False
        self.inherited = False
        self.began: float | None = None
        self.deciding = False
        self.ending = 0
        self.heard = 0
        self.blind = False
        self.stopped_by = ""
        self.stuck = False
        self.renews = False
        self.timed_out: Reason | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.files: FileNews | None = None
        self.answer: Answer = NOT_ASKED
        self.changed = now
        self.asked = now
        self.since: float | None = None


def turn(job: Job) -> tuple[int, int, int, int]:
    """Whose turn it is among jobs that may run: less goes first."""
    return -job.call.options.priority, *job.order


def _knows_none(id: int) -> Job | None:
    return None


def _does_nothing() -> None:
    pass


async def _takes_none(plan: Plan, job: Job) -> list[Job]:
    raise XquteError(f"{job} asks for others, and nobody here accepts them")


#: The code of a kill that somebody asked for; all others end a session.
REQUEST: Final = "request"

#: The code of a stop that leaves running what runs.
DETACH: Final = "detach"

#: The code of a stop because another process owns the run by now.
TAKEN_OVER: Final = "taken over"

#: In which of these a job has not ended.
_UNFINISHED: Final = [status for status in JobStatus if not status.final]

#: Codes of stops from outside, for which a user chooses what becomes of the jobs.
_INTERRUPTS: Final = frozenset({"cancelled", "KeyboardInterrupt", "SIGTERM", "SIGHUP"})


def who(code: str) -> str:
    """Who asked, by the code of a stop: a word that reads well behind "by"."""
    return "cancellation" if code == "cancelled" else code  # asyncio's Ctrl-C is one, too


@dataclass(frozen=True, slots=True)
class StopReason:
    """Why a run was stopped before its jobs had ended.

    Attributes:
        code: `halt`, `max_failures`, `cancelled`, `error`, the name of a signal, or what a user said.
        detail: A sentence with the facts.
    """

    code: str
    detail: str = ""

    def __str__(self) -> str:
        """The sentence."""
        return printable(self.detail or self.code)


@dataclass(slots=True)
class Room:
    """One engine's surroundings.

    Attributes:
        scheduler, store, plugins: What it works with.
        consumer: The `Xqute`, as `on_shutdown` gets it.
        run: The run's id. owner: This engine, as claims name it.
        find: The job of a row: the object a user holds, or a new one.
        budget: How many failures the run bears.
        root: The metadir. keep: Which job directories stay when a job has ended: all, failed or none.
        wanted: Jobs that others are about to need, by id.
        attended: Somebody may ask for results of jobs that have ended.
        sharing: What its jobs share with each other and with those of other processes.
        inherited: Claimed jobs of an earlier manager, to be looked at when the engine starts.
        adopted: Set once they were.
        unpushed: Jobs of an earlier manager that nobody pushed again; they are watched, not counted.
        entered: Jobs of an earlier manager that were pushed again, maybe with other options.
        untold: Jobs of an earlier manager with hooks that were not told.
        known: The job of a number, where this manager knows it.
        push: Accepts what a job requires, or what cleans up after it: a plan, and the job that asks.
        graph: Which jobs need which.
        foreign: Statuses of jobs of other runs that jobs of this one need.
        idle: Those of them that nothing runs: of which run they are, and what to do.
        blocked: Waiting jobs that can't go on by themselves.
        rebooted: This host was booted since an earlier manager ran.
        unreleased: Jobs whose claims are to be given back, as soon as the store takes them.
        clock: UTC seconds.
        live: Claimed jobs by id.
        ready: Those that were not handed over yet, best first; they hold no fork.
        overtaken: A job was pushed that goes before those that are ready.
        too_large: Jobs that may run and never can, by their ids: they are refused, whatever is in use.
        counts: Jobs of the run by status.
        stop: Why the run stops, once it does; the first reason wins.
        abandoned: It stopped since the program ended, or its loop did, and nobody waited for it.
        trouble: Why nothing is submitted at the moment; None when it is.
        forgiven: Failures before the run was started again, which the budget does not count.
        again: What whoever began the run does to go on with it; empty: as with any run.
        held: Somebody may push more (inside `async with`).
        wake: Set whenever the run may be over or must stop.
        let_hooks_go: Called when the run stops: hooks wait for no job any more.
        resting: Who waits until nothing of the run can go on, although more may be pushed.
        claim_wanted: Set whenever there may be something to claim; alarm: sets it at a time.
    """

    scheduler: Scheduler
    store: Store
    plugins: Plugins
    consumer: Any
    run: str
    owner: str
    find: Callable[[Row], Job]
    budget: FailureBudget = field(default_factory=FailureBudget)
    root: str = ""
    keep: str = "all"
    wanted: Counter[int] = field(default_factory=Counter)
    attended: bool = True
    sharing: Sharing = field(default_factory=Sharing)
    known: Callable[[int], Job | None] = field(default=_knows_none)
    push: Callable[[Plan, Job], Awaitable[list[Job]]] = field(default=_takes_none)
    graph: Graph = field(default_factory=Graph)
    foreign: dict[int, int] = field(default_factory=dict)
    idle: Mapping[int, str] = field(default_factory=dict)
    blocked: set[int] = field(default_factory=set)
    inherited: list[Live] = field(default_factory=list)
    adopted: asyncio.Event = field(default_factory=asyncio.Event)
    unpushed: set[int] = field(default_factory=set)
    entered: set[int] = field(default_factory=set)
    untold: list[Job] = field(default_factory=list)
    rebooted: bool = False
    unreleased: list[int] = field(default_factory=list)
    clock: Callable[[], float] = field(default_factory=SteadyClock)
    live: dict[int, Live] = field(default_factory=dict)
    ready: list[Live] = field(default_factory=list)
    overtaken: bool = False
    too_large: set[int] = field(default_factory=set)
    counts: dict[JobStatus, int] = field(default_factory=lambda: dict.fromkeys(JobStatus, 0))
    stop: StopReason | None = None
    abandoned: bool = False
    trouble: Reason | None = None
    forgiven: int = 0
    again: str = ""
    held: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    let_hooks_go: Callable[[], None] = field(default=_does_nothing)
    resting: list[asyncio.Future[None]] = field(default_factory=list)
    claim_wanted: asyncio.Event = field(default_factory=asyncio.Event)
    alarm: Alarm = field(init=False)

    def __post_init__(self) -> None:
        """Claim again whenever a job that waits for a time may run."""
        self.alarm = Alarm(self.claim_wanted.set, self.now)

    def now(self) -> float:
        """UTC seconds, by the clock of the moment."""
        return self.clock()

    @property
    def goes_on(self) -> str:
        """What goes on with the run, were it to end now."""
        return self.again or f"Xqute(resume=True) or `xqute resume {self.run}`"

    @property
    def used(self) -> int:
        """Forks that are in use."""
        return len(self.live) - len(self.ready)

    @property
    def free(self) -> int:
        """Forks that are not in use."""
        return self.scheduler.forks - self.used

    @property
    def unfinished(self) -> int:
        """Jobs of the run that have not ended."""
        return sum(map(self.counts.__getitem__, _UNFINISHED))

    @property
    def going(self) -> int:
        """Those of them that go on by themselves."""
        return self.unfinished - len(self.blocked)

    @property
    def jobs(self) -> int:
        """All jobs of the run."""
        return sum(self.counts.values())

    @property
    def detaching(self) -> bool:
        """Whether the run stops and leaves running what runs."""
        if self.stop is None:
            return False
        if self.stop.code == TAKEN_OVER:
            return not self.scheduler.on_this_host  # its jobs are the new owner's, if that can see them
        return self.stop.code == DETACH or (self.scheduler.leaves_running and self.interrupted)

    @property
    def interrupted(self) -> bool:
        """Whether somebody outside stopped the run."""
        return self.stop is not None and self.stop.code in _INTERRUPTS

    def stops_for(self, error: Exception) -> bool:
        """Whether the run stops because of this error, which whoever waits is told by it."""
        return self.stop is not None and self.stop.code == "error" and str(error) in self.stop.detail

    def request_stop(self, reason: StopReason) -> None:
        """Stop the run; the first reason wins."""
        if self.stop is None:
            self.stop = reason
        self.let_hooks_go()
        self.wake.set()
        self.claim_wanted.set()

    def abandon(self) -> None:
        """The program ends, or the loop it runs in: nobody waits for the run any more."""
        self.abandoned = self.abandoned or self.stop is None
        self.request_stop(StopReason("cancelled"))

    def rests(self) -> None:
        """Nothing of the run can go on for now."""
        for waiting in self.resting:
            if not waiting.done():
                waiting.set_result(None)

    def note_queued(self, jobs: Sequence[Job]) -> None:
        """These may run by now: is there enough for them, do they go before what is ready already?"""
        self.too_large |= self.sharing.too_large(jobs) - self.unpushed
        if self.ready and not self.overtaken:
            first, last = min(map(turn, jobs)), max(turn(live.job) for live in self.ready)
            self.overtaken = first < last

    def give_back(self, lives: Iterable[Live]) -> None:
        """Their claims are to be released: they were not handed over."""
        for live in lives:
            live.job.start -= 1
            self.leave(live.job)
            self.unreleased.append(live.job.id)

    def leave(self, job: Job) -> None:
        """The job's start is over: its fork is free."""
        self.too_large.discard(job.id)
        live = self.live.pop(job.id, None)
        if live is not None:
            if live.timer is not None:
                live.timer.cancel()
            self.claim_wanted.set()
