"""When jobs were last seen in the queue under their own names, and what follows from that.

A cluster gives numbers again, sooner or later: to a stranger. And what it lists proves something about what
it does not list: jobs that ended stay in the list for a while.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final
from weakref import WeakKeyDictionary

from ..job import Job
from ..settings import ACCOUNT_LATE_SECONDS, KNOWN_SECONDS
from ..states import Answer, JobStatus, Presence, Reason
from .adapter import Listed
from .batching import number_of

#: How an element ended that was in the queue, is not any more, and is not among those that ended.
TAKEN_OUT: Final = Answer(
    Presence.GONE, Reason("KILLED", {"by": "somebody", "message": "taken out of the queue while it waited"})
)


class Sightings:
    """The last time at which each job was known to be in the queue, waiting or running."""

    def __init__(self) -> None:
        """None was seen."""
        self._seen: WeakKeyDictionary[Job, float] = WeakKeyDictionary()
        self._missed: WeakKeyDictionary[Job, tuple[str, float]] = WeakKeyDictionary()
        self._asked: WeakKeyDictionary[Job, str] = WeakKeyDictionary()

    def note(self, job: Job, when: float) -> None:
        """It was there, at this time of the monotonic clock or later."""
        self._seen[job] = when

    def within(self, job: Job, span: float) -> bool:
        """Whether it was there not longer ago."""
        seen = self._seen.get(job)
        return seen is not None and time.monotonic() - seen < span

    def unknown(self, jobs: Iterable[Job]) -> list[Job]:
        """Those whose numbers may be others' by now: nobody saw them lately."""
        return [job for job in jobs if not self.within(job, KNOWN_SECONDS)]

    def ask_to_end(self, jobs: Iterable[Job]) -> None:
        """They are ended by us."""
        for job in jobs:
            self._asked[job] = job.uid

    def without_record(self, job: Job) -> Answer:
        """What it means that a job is gone and the accounting has no record of it: it may only be late."""
        if job.status is not JobStatus.SUBMITTED or self._asked.get(job) == job.uid:
            return Answer(Presence.GONE)
        return Answer(Presence.UNKNOWN) if self.is_late(job, ACCOUNT_LATE_SECONDS) else TAKEN_OUT

    def is_late(self, job: Job, most: float) -> bool:
        """Whether the record of a job was first missed not longer ago than it may be late."""
        uid, since = self._missed.get(job, ("", 0.0))
        if uid != job.uid:
            since = time.monotonic()
            self._missed[job] = job.uid, since
        return time.monotonic() - since < most

    def taken_out(self, job: Job, listed: Iterable[Listed], array: str, keep: float) -> bool:
        """Whether an element that is not listed was taken out of its array before it began.

        Had it ended otherwise, it would still be in the list, or its scheduler has lost all of the array.

        Args:
            job: Whose it is.
            listed: What its scheduler has, whole.
            array: The number of the array; empty: it is in none.
            keep: Seconds for which what ended is listed.
        """
        began = job.status is JobStatus.RUNNING  # its files say it, or did
        if not array or began or not self.within(job, keep):
            return False
        return any(number_of(one.uid) == array and is_of(one, job) for one in listed)


def is_of(listed: Listed, job: Job) -> bool:
    """Whether what is listed is this job, and not another that got its number."""
    return not listed.name or f"xq-{store_of(job)}-" in listed.name


def strangers(jobs: Iterable[Job], listed: Iterable[Listed]) -> set[Job]:
    """Those whose numbers are others' now; one of an array is of all of it."""
    by_number = {number_of(one.uid): one for one in listed}
    numbers = ((job, by_number.get(number_of(job.uid))) for job in jobs)
    return {job for job, one in numbers if one is not None and not is_of(one, job)}


def store_of(job: Job) -> str:
    """Part of the names of all jobs of a store."""
    return job.mark.rpartition("-")[0]
