"""The words of a job's life, and the one table that moves it.

`TRANSITIONS` is the state machine: (status, event) → (next status, hook). An event that it does not list
for a status is late news: it is logged and changes nothing. `docs/states.md` is printed from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from typing import Any, Final, NamedTuple

from .printable import printable


class JobStatus(IntEnum):
    """Where a job stands. The numbers are stable: they are in files and stores."""

    #: made, not accepted yet
    INIT = 0
    #: needs others first
    WAITING = 1
    #: may run
    QUEUED = 2
    #: handed to the scheduler
    SUBMITTED = 3
    #: its wrapper started
    RUNNING = 4
    #: asked to stop
    KILLING = 5
    #: ended with rc 0
    FINISHED = 6
    #: ended otherwise, no attempt left
    FAILED = 7
    #: stopped on request
    KILLED = 8
    #: said it had nothing to do
    SKIPPED = 9

    def __str__(self) -> str:
        """Its name: what is printed is read by people."""
        return self.name

    def __format__(self, spec: str) -> str:
        """Its name, in tables as well."""
        return format(self.name, spec)

    @property
    def final(self) -> bool:
        """Whether a job in this status has ended."""
        return self >= JobStatus.FINISHED

    @property
    def well(self) -> bool:
        """Whether a job in this status has ended well: who needs it may go on."""
        return self in (JobStatus.FINISHED, JobStatus.SKIPPED)

    @property
    def live(self) -> bool:
        """Whether a start of the job may exist at the scheduler."""
        return JobStatus.SUBMITTED <= self <= JobStatus.KILLING


class JobErrorStrategy(str, Enum):  # noqa: UP042  the public API promises a plain str mix-in
    """What a failed job means for itself and for the others."""

    #: it is FAILED, the others go on
    IGNORE = "ignore"
    #: it is tried again, `retries` times
    RETRY = "retry"
    #: nothing new starts, what runs is killed
    HALT = "halt"


class JobEvent(StrEnum):
    """What can happen to a job."""

    #: the store has it, and it may run
    ACCEPTED = "accepted"
    #: the store has it, and it needs others first
    ACCEPTED_WAITING = "accepted waiting"
    #: what it needs is there
    NEEDS_MET = "needs met"
    #: a scheduler has it
    SUBMITTED = "submitted"
    #: a scheduler will never take it
    REFUSED = "refused"
    #: its start is over and did not count, or never began: it may be handed over again
    RETURNED = "returned"
    #: its wrapper said RUNNING
    STARTED = "started"
    #: its start ended with rc 0
    SUCCEEDED = "succeeded"
    #: it said it had nothing to do
    SKIPPED = "skipped"
    #: its start ended otherwise, and another attempt is left
    ATTEMPT_FAILED = "attempt failed"
    #: its start ended otherwise, and no attempt is left
    FAILED = "failed"
    #: its start ended because it asked for others first
    REQUIRED = "required"
    #: somebody asked to stop it
    KILL_ASKED = "kill asked"
    #: it was asked to stop, and nothing of it runs any more
    KILLED = "killed"
    #: somebody asked to run it once more
    RETRY_ASKED = "retry asked"
    #: the same, and what it needs is not there
    RETRY_ASKED_WAITING = "retry asked waiting"


class WaitReason(StrEnum):
    """Why a job that has not ended is where it is."""

    #: accepted; no engine has looked at it yet
    ACCEPTED = "ACCEPTED"
    #: all forks are in use
    FORKS = "FORKS"
    #: the run was stopped before it could start
    STOPPED = "STOPPED"
    #: it is of an earlier session of its run, and was not pushed again
    PARKED = "PARKED"
    #: jobs it needs have not ended
    NEEDS = "NEEDS"
    #: a job it needs failed, or was killed
    BLOCKED = "BLOCKED"
    #: what it needs is there, and it is not its turn yet
    READY = "READY"
    #: as many of its task run as may
    LIMIT = "LIMIT"
    #: not enough cpus, memory, …
    RESOURCES = "RESOURCES"
    #: it failed and waits for its next attempt
    RETRY_DELAY = "RETRY_DELAY"
    #: the scheduler can't be reached
    SCHEDULER_DOWN = "SCHEDULER_DOWN"
    #: the scheduler takes no more jobs now
    SCHEDULER_FULL = "SCHEDULER_FULL"
    #: the scheduler has it, and can't be asked about it
    UNREACHABLE = "UNREACHABLE"
    #: the disk of the metadir can't take it
    DISK_FULL = "DISK_FULL"
    #: in the scheduler's queue
    PENDING = "PENDING"
    #: it runs
    RUNNING = "RUNNING"
    #: asked to stop, not gone yet
    KILLING = "KILLING"


class EndReason(StrEnum):
    """Why a job ended, or why one of its starts did."""

    #: it exited with this rc
    EXIT = "EXIT"
    #: a signal ended it
    SIGNAL = "SIGNAL"
    #: the kernel or the scheduler killed it for its memory
    OOM = "OOM"
    #: it ran longer than it may
    TIMEOUT = "TIMEOUT"
    #: it waited in the scheduler's queue for longer than it may, and was taken back
    PENDING_TIMEOUT = "PENDING_TIMEOUT"
    #: its host went down
    NODE_FAIL = "NODE_FAIL"
    #: the scheduler took its place for another
    PREEMPTED = "PREEMPTED"
    #: it is gone, and nothing says how it ended
    LOST = "LOST"
    #: the scheduler would not take it
    SUBMIT_REFUSED = "SUBMIT_REFUSED"
    #: it could not be wrapped: its own definition raised
    WRAP_FAILED = "WRAP_FAILED"
    #: stopped on request
    KILLED = "KILLED"
    #: a plugin rejected its success
    REJECTED = "REJECTED"
    #: it needs more cpus, memory, … than there is at all
    TOO_LARGE = "TOO_LARGE"
    #: what it required while it ran can't be run
    REQUIRE_REFUSED = "REQUIRE_REFUSED"
    #: it had nothing to do
    SKIPPED = "SKIPPED"
    #: its status file says an end that can't be read
    CORRUPT = "CORRUPT"


#: How each reason reads; the names in braces are keys of `Reason.detail`, missing ones read as "?".
SENTENCES: Mapping[str, str] = {
    "ACCEPTED": "accepted; its run has not started",
    "FORKS": "waits for a free fork, {used}/{forks} are in use",
    "STOPPED": "not started: {by}",
    "PARKED": "left by an earlier session; it runs when its script pushes it again",
    "NEEDS": "needs {needs}",
    "BLOCKED": "blocked: {needs} {ended}",
    "READY": "what it needs is there, and others go first",
    "LIMIT": "limit {task} {used}/{limit}",
    "RESOURCES": "needs {needs}, free {free}",
    "RETRY_DELAY": "attempt {attempt} of {attempts} in {delay} s, after {after}",
    "SCHEDULER_DOWN": "scheduler unreachable: {error}",
    "SCHEDULER_FULL": "the scheduler takes no more jobs now: {error}",
    "UNREACHABLE": "scheduler unreachable since {since}",
    "DISK_FULL": "the metadir can't be written: {error}",
    "PENDING": "handed to {scheduler} as {uid}",
    "RUNNING": "running at {scheduler} as {uid}",
    "KILLING": "asked to stop by {by}",
    "EXIT": "EXIT {rc}",
    "SIGNAL": "SIGNAL {signal}",
    "OOM": "OOM",
    "TIMEOUT": "TIMEOUT after {timeout} s",
    "PENDING_TIMEOUT": "PENDING_TIMEOUT after {timeout} s",
    "NODE_FAIL": "NODE_FAIL {node}",
    "PREEMPTED": "PREEMPTED",
    "LOST": "LOST",
    "SUBMIT_REFUSED": "SUBMIT_REFUSED",
    "WRAP_FAILED": "WRAP_FAILED",
    "KILLED": "KILLED by {by}",
    "REJECTED": "REJECTED",
    "TOO_LARGE": "TOO_LARGE: needs {needs}, and there is {total}",
    "REQUIRE_REFUSED": "REQUIRE_REFUSED",
    "SKIPPED": "SKIPPED",
    "CORRUPT": "CORRUPT",
}


#: What earlier versions did not tell, and meant.
_UNTOLD: Final[Mapping[str, str]] = {"ended": "failed"}


class _Detail(dict[str, Any]):
    """Lets a sentence be told when a fact of it is missing."""

    def __missing__(self, key: str) -> str:
        return _UNTOLD.get(key, "?")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a job waits or how it ended: a code for programs, a sentence for people.

    Attributes:
        code: A member of `WaitReason` or `EndReason`.
        detail: The facts, plain values only. `message` is what somebody or something said about it.
    """

    code: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """The sentence."""
        text = SENTENCES.get(self.code, self.code).format_map(_Detail(self.detail))
        message = self.detail.get("message")
        return printable(f"{text}: {message}" if message else text)

    def as_json(self) -> list[Any]:
        """The form kept in stores."""
        return [self.code, dict(self.detail)]


class Status(NamedTuple):
    """One line of a job's history, as `await job.history()` returns them.

    Attributes:
        state: The status it entered, or stayed in.
        stage: What it said it was doing; empty when it said nothing.
        progress: Percent, 0 to 100; None when it said nothing.
        error: The sentence of the reason, when a start ended badly; else empty.
        date: UTC seconds since the epoch.
        reason: Why it was there.
        start: Which hand-over to a scheduler this belongs to; 0 before the first.
        attempt: Which attempt this belongs to, from 1.
    """

    state: JobStatus
    stage: str
    progress: float | None
    error: str
    date: float
    reason: Reason
    start: int
    attempt: int

    @classmethod
    def of(cls, line: Sequence[Any]) -> Status:
        """The line as a job keeps it: date, status, start, attempt, code and detail of the reason."""
        date, state, start, attempt, code, detail = line
        reason = Reason(code, detail)
        bad = state == JobStatus.FAILED or code == "RETRY_DELAY"
        error = str(reason) if bad else ""
        return cls(JobStatus(state), "", None, error, date, reason, start, attempt)


class Transition(NamedTuple):
    """Where an event leads, and which hook tells the plugins."""

    to: JobStatus
    hook: str


def _table() -> dict[tuple[JobStatus, JobEvent], Transition]:
    s, e = JobStatus, JobEvent
    table = {
        (s.INIT, e.ACCEPTED): Transition(s.QUEUED, "on_job_queued"),
        (s.INIT, e.ACCEPTED_WAITING): Transition(s.WAITING, "on_job_event"),
        (s.WAITING, e.NEEDS_MET): Transition(s.QUEUED, "on_job_queued"),
        (s.WAITING, e.KILL_ASKED): Transition(s.KILLING, "on_job_event"),
        (s.QUEUED, e.SUBMITTED): Transition(s.SUBMITTED, "on_job_submitted"),
        (s.QUEUED, e.REFUSED): Transition(s.FAILED, "on_job_failed"),
        (s.QUEUED, e.RETURNED): Transition(s.QUEUED, "on_job_event"),
        (s.QUEUED, e.KILL_ASKED): Transition(s.KILLING, "on_job_event"),
        (s.SUBMITTED, e.STARTED): Transition(s.RUNNING, "on_job_started"),
        (s.KILLING, e.SUCCEEDED): Transition(s.FINISHED, "on_job_succeeded"),
        (s.KILLING, e.SKIPPED): Transition(s.SKIPPED, "on_job_event"),
        (s.KILLING, e.KILLED): Transition(s.KILLED, "on_job_killed"),
    }
    for live in (s.SUBMITTED, s.RUNNING):
        table |= {
            (live, e.SUCCEEDED): Transition(s.FINISHED, "on_job_succeeded"),
            (live, e.SKIPPED): Transition(s.SKIPPED, "on_job_event"),
            (live, e.ATTEMPT_FAILED): Transition(s.QUEUED, "on_job_failed"),
            (live, e.FAILED): Transition(s.FAILED, "on_job_failed"),
            (live, e.RETURNED): Transition(s.QUEUED, "on_job_event"),
            (live, e.REQUIRED): Transition(s.WAITING, "on_job_event"),
            (live, e.KILL_ASKED): Transition(s.KILLING, "on_job_event"),
        }
    for ended in (s.FAILED, s.KILLED):
        table[ended, e.RETRY_ASKED] = Transition(s.QUEUED, "on_job_queued")
        table[ended, e.RETRY_ASKED_WAITING] = Transition(s.WAITING, "on_job_event")
    return table


#: The one table: (status, event) → (next status, hook).
TRANSITIONS: Mapping[tuple[JobStatus, JobEvent], Transition] = _table()


class FileState(Enum):
    """What the status file of a job says."""

    #: there is no file, or it is still empty
    ABSENT = "absent"
    #: the wrapper started
    RUNNING = "running"
    #: it ended, and says well
    FINISHED = "finished"
    #: it ended, and says not well
    FAILED = "failed"
    #: it ended, and says it had nothing to do
    SKIPPED = "skipped"
    #: there is something there that no wrapper writes
    UNREADABLE = "unreadable"


class FileNews(NamedTuple):
    """What the files of a job's start say, read at one moment.

    Attributes:
        state: What the last complete line of `job.status` says.
        rc: The return code, when a line of our wrapper or `job.rc` has one.
        signal: The signal our wrapper was asked to stop with; empty when none.
        ours: The line has the form that only our wrapper writes.
        pid: The wrapper's process id, where it told one.
        what: For UNREADABLE: what was found instead.
    """

    state: FileState
    rc: int | None = None
    signal: str = ""
    ours: bool = False
    pid: int | None = None
    what: str = ""


class Presence(Enum):
    """What a scheduler answers when it is asked about a job."""

    #: it waits in the queue
    PENDING = "pending"
    #: it runs
    RUNNING = "running"
    #: the scheduler does not have it any more
    GONE = "gone"
    #: it could not be asked, or the answer can't be read
    UNKNOWN = "unknown"


class Answer(NamedTuple):
    """A scheduler's answer about one job.

    Attributes:
        presence: Whether it is there.
        reason: For GONE, how it ended, where the scheduler knows; for PENDING, why it waits.
        owed: For GONE, that its scheduler is about to know how it ended.
        said: For GONE without a reason, all that its scheduler says of the end, as a sentence begins.
    """

    presence: Presence
    reason: Reason | None = None
    owed: bool = False
    said: str = ""
