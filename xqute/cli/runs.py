"""What is known of a run: who owns it, whether that lives, and how its jobs stand."""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from xqute.job import Job
from xqute.metadir import read_news
from xqute.owner import Owner, OwnerPresence
from xqute.printable import printable
from xqute.states import FileState, JobStatus
from xqute.store import Row, RunRow, Store

from .forms import iso


class Standing(StrEnum):
    """How a run stands."""

    #: its manager lives, on this host
    RUNNING = "running here"
    #: its manager is on another host, or in another container
    ELSEWHERE = "running elsewhere"
    #: all its jobs have ended
    FINISHED = "finished"
    #: jobs are left, and nobody runs them
    UNFINISHED = "unfinished"


class Run(NamedTuple):
    """A run and its jobs by status."""

    row: RunRow
    counts: Mapping[JobStatus, int]
    standing: Standing

    @classmethod
    async def of(cls, store: Store, row: RunRow) -> Run:
        """The run of a row, as it stands now."""
        found = await store.counts(row.id)
        counts = {JobStatus(status): count for status, count in sorted(found.items()) if count}
        return cls(row, counts, judge(row.presence(time.time()), counts))

    @property
    def unfinished(self) -> int:
        """How many of its jobs have not ended."""
        return sum(count for status, count in self.counts.items() if not status.final)

    @property
    def script(self) -> str:
        """What pushed it."""
        return printable(self.row.script) or "(interactive)"

    @property
    def state(self) -> str:
        """How it stands, with the facts."""
        if self.standing in {Standing.RUNNING, Standing.ELSEWHERE}:
            return f"{self.standing} ({manager(self.row)})"
        if self.standing is Standing.UNFINISHED:
            return f"{self.standing} (its manager ended)"
        return str(self.standing)

    @property
    def counted(self) -> str:
        """Its jobs, on one line."""
        told = ", ".join(f"{count} {status.name.lower()}" for status, count in self.counts.items())
        return told or "no jobs"

    def document(self) -> dict[str, Any]:
        """The run as JSON."""
        return {
            "id": self.row.id,
            "script": self.row.script,
            "created": iso(self.row.created),
            "state": self.standing.name.lower(),
            "owner": self.row.owner,
            "counts": {status.name.lower(): count for status, count in self.counts.items()},
        }


async def run_of(store: Store, job: Row) -> RunRow | None:
    """The run of a job; None when the store does not know it any more."""
    return next((run for run in await store.runs() if run.id == job.run), None)


def manager(row: RunRow) -> str:
    """Who owns a run, as a sentence names it."""
    owner = Owner.parse(row.owner)
    return "a process that left in order" if owner is None else owner.told


def judge(owner: OwnerPresence | None, counts: Mapping[JobStatus, int]) -> Standing:
    """How a run stands, from what is known of its manager and of its jobs."""
    if owner is OwnerPresence.ALIVE:
        return Standing.RUNNING
    if all(status.final for status in counts):
        return Standing.FINISHED
    return Standing.ELSEWHERE if owner is OwnerPresence.ELSEWHERE else Standing.UNFINISHED


def deserted(row: RunRow | None) -> bool:
    """Whether nobody runs the jobs of a run, for sure."""
    return row is None or not row.lives(time.time())


def meanwhile(job: Job) -> str:
    """What its files say of a job that was at the scheduler when its manager ended."""
    if not job.status.live:
        return ""
    try:
        news = read_news(job.directory)
    except OSError:
        return ""
    if news.state is FileState.RUNNING:
        return "; it may still be running"
    return "" if news.state is FileState.ABSENT else f"; its files say it {news.state.value} since"
