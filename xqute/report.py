"""What `run_until_complete()` returns."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import finalize

from .amounts import shown
from .job import Job
from .states import JobStatus


class Failure(NamedTuple):
    """A job that failed.

    Attributes:
        id, title: Which job.
        reason: The sentence.
        attempt: How many attempts it had.
        stderr: The last lines it wrote on stderr.
        directory: Where its files are.
    """

    id: int
    title: str
    reason: str
    attempt: int
    stderr: Sequence[str]
    directory: str

    @classmethod
    def of(cls, job: Job) -> Failure:
        """What a report tells of a job that FAILED."""
        tail = tuple(job.stderr_tail())
        return cls(job.id, job.title, str(job.reason), job.attempt, tail, job.directory)


log = logging.getLogger("xqute")

#: Failures that are mentioned when nobody asked for them.
_MENTIONED = 3

#: Jobs that a report blames for others that can't start; more are in `Report.blocked`.
_BLAMED = 10


def mention_failures(jobs: Iterable[Job]) -> None:
    """Say once that jobs failed, where nobody asked how they ended: nobody would ever know."""
    failed = [job for job in jobs if job.status is JobStatus.FAILED and not job.seen]
    if failed:
        _note_seen(failed)
        told = "; ".join(f"{job}: {job.reason}" for job in failed[:_MENTIONED])
        more = f"; and {len(failed) - _MENTIONED} more" if len(failed) > _MENTIONED else ""
        log.warning("%s job(s) failed: %s%s; `xqute why` tells more", len(failed), told, more)


def _note_seen(jobs: Iterable[Job]) -> None:
    for job in jobs:
        job.seen = True


def crowded(root: str, count: int) -> str:
    """The sentence, with what to do."""
    return (
        f"{root} holds {count} job directories, and file systems become slow with so many: `xqute prune` "
        "removes those of jobs that have ended, and with Xqute(keep='failed') they do not stay at all"
    )


class Use(NamedTuple):
    """How much of something that jobs share is in use.

    Attributes:
        used: By claimed jobs.
        limit: How much there is; None: nobody said.
        peak: The most that was in use at once in this session; None where other processes share it.
    """

    used: float
    limit: float | None
    peak: float | None = None

    @property
    def available(self) -> float | None:
        """What is left."""
        return None if self.limit is None else max(0, self.limit - self.used)


#: What tells whoever looks at it that jobs failed.
_TELLING = frozenset({"counts", "failures"})


class _Watched:
    """A report whose reader was told of the jobs that failed."""

    __slots__ = ("__weakref__", "_failed")

    if not TYPE_CHECKING:  # or a checker would believe that there is whatever is asked for

        def __getattribute__(self, name: str) -> Any:
            """Who looks at what tells of failures has asked for them."""
            if name in _TELLING:
                _note_seen(getattr(self, "_failed", ()))  # a copy has none
            return super().__getattribute__(name)

    def watch(self, failed: Sequence[Job], *, alone: bool) -> None:
        """Note which jobs it tells of; `alone`: nothing else will, so a report that goes unread does."""
        object.__setattr__(self, "_failed", failed)
        if alone and failed:
            finalize(self, mention_failures, failed)


@dataclass(frozen=True, slots=True, repr=False)
class Report(_Watched):
    """How a run stands when its engine ended.

    Failed jobs that nobody asked about are named in one warning when it is dropped and nobody looked at
    its `counts`, `failures` or `ok`, nor printed it.

    Attributes:
        counts: Jobs of the run by status; statuses without jobs are left out.
        failures: The failed jobs, oldest first, at most 1 000.
        seconds: From the first start of the engine to now.
        stop_reason: Why it was stopped; None when nothing could go on by itself.
        commands: How often each command of a batch scheduler was run.
        reused: Jobs that had ended well in an earlier session of the run, and were pushed again.
        blocked: Waiting jobs that can't go on: for each job to blame, how many.
        left_alone: Jobs of an earlier session that were not pushed again and have not ended well.
        resources: Those of this process, by name: in use now, at most, and how much there is; mem in bytes.
        directories: How many job directories there are, where they are very many (10⁵); else 0.
        metadir: Where those are.
    """

    counts: Mapping[JobStatus, int]
    failures: Sequence[Failure]
    seconds: float
    stop_reason: object = None
    commands: Mapping[str, int] = field(default_factory=dict)
    reused: int = 0
    left_alone: int = 0
    blocked: Mapping[int, int] = field(default_factory=dict)
    resources: Mapping[str, Use] = field(default_factory=dict)
    directories: int = 0
    metadir: str = ""

    @property
    def ok(self) -> bool:
        """Whether every job ended well."""
        return all(status.well for status in self.counts)

    def __repr__(self) -> str:
        """All of it, for debuggers; asyncio asks for it too, so that this alone is no look at it."""
        shown = (f"{each.name}={object.__getattribute__(self, each.name)!r}" for each in fields(self))
        return f"Report({', '.join(shown)})"

    def __str__(self) -> str:
        """One line for people, and one per failure."""
        counted = ", ".join(f"{count} {status.name.lower()}" for status, count in sorted(self.counts.items()))
        lines = [f"{counted or 'no jobs'} in {self.seconds:.1f} s"]
        if self.reused:
            lines.append(f"{self.reused} of them had ended in an earlier session and were reused")
        if self.left_alone:
            lines.append(f"{self.left_alone} jobs of an earlier session were not pushed again and left alone")
        if peaks := [_peak(name, use) for name, use in self.resources.items() if use.peak]:
            lines.append(f"in use at most: {', '.join(peaks)}")
        if self.stop_reason is not None:
            lines.append(f"{self.stop_reason}")
        if self.directories:
            lines.append(crowded(self.metadir, self.directories))
        lines += [
            f"{count} waiting job(s) can't start: job {id_} ended badly; `retry()` of it lets them follow"
            for id_, count in list(self.blocked.items())[:_BLAMED]
        ]
        lines += [f"job {failure.id} ({failure.title}): {failure.reason}" for failure in self.failures]
        return "\n".join(lines)


def _peak(name: str, use: Use) -> str:
    """The most of a resource that was in use, of how much."""
    there = "" if use.limit is None else f" of {shown(name, use.limit)}"
    return f"{name} {shown(name, use.peak or 0)}{there}"


class Stats(NamedTuple):
    """How a run stands at one moment.

    Attributes:
        counts: Jobs of the run by status; statuses without jobs are left out.
        used: Forks in use. forks: How many there are.
        running: An engine runs.
        commands: How often each command of a batch scheduler was run.
        reused: Jobs that had ended well in an earlier session, and were pushed again.
        resources: Those of this process, by name; mem in bytes.
        limits: How many jobs of the whole store take of each limit in force, by the names of tasks: of those
            that have a number there, that jobs of this run were given, or that jobs take which run.
            Empty when the store is closed or can't be read now.
    """

    counts: Mapping[JobStatus, int]
    used: int
    forks: int
    running: bool
    commands: Mapping[str, int]
    reused: int = 0
    resources: Mapping[str, Use] = {}
    limits: Mapping[str, Use] = {}
