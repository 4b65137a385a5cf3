"""Who has what a job waits for: a place under a limit, or resources of a process.

It is only looked up, nothing is claimed.
Limits are the store's, so their holders may be jobs of any run; resources belong to one run's process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ..job import Job
from ..options import JobOptions
from ..printable import listed
from ..rules.limits import PLAIN, Kind, Spare, choose, needs_of, too_large
from ..states import JobStatus, Reason, WaitReason
from ..store import Query, Row, RunRow, Store, every_row
from ..work import Work
from .sharing import kind_of

#: So many of the jobs that may run are looked at for those that are claimed already.
_CLAIMED_AMONG: Final = 100

#: What a claimed job is, once that was told to the store.
_LIVE = [status for status in JobStatus if status.live]


class Claim(NamedTuple):
    """A job that takes something.

    Attributes:
        job: Its id.
        kind: What it takes.
    """

    job: int
    kind: Kind


class Holders:
    """One look at who takes what; nothing is read twice.

    Args:
        store: Where jobs are remembered; it is only read.
        now: UTC seconds.
    """

    def __init__(self, store: Store, now: float) -> None:
        """Nothing is read yet."""
        self._store = store
        self._now = now
        self._runs: list[RunRow] | None = None
        self._claims: dict[str, list[Claim]] = {}
        self._limits: Mapping[str, int] | None = None
        self._running: Mapping[str, int] = {}

    async def why(self, job: Job, run: RunRow) -> Reason | None:
        """Why a job of a run that may run can't start; None: neither a limit nor resources hold it."""
        kind = kind_of(job.call.options, job.next_attempt)
        if kind == PLAIN:
            return None
        if self._limits is None:
            self._limits, self._running = await self._store.limits(), await self._store.claimed()
        total: dict[str, float] = json.loads(run.document).get("resources", {})
        if (never := too_large(kind, total)) is not None:
            return never
        free = await self._free(run.id, total) if kind.resources and total else {}
        queue = iter([(0, 0, 0, job.id)])
        held = choose({kind: queue}, self._running, self._limits, Spare(1, 0, total, free)).held
        reason = held.get(kind)
        if reason is None:
            return None
        if reason.code == WaitReason.LIMIT:
            return await self.of_limit(kind.key, reason, run.id)
        lacking = [name for name, need in needs_of(kind.resources).items() if need > free.get(name, need)]
        takers = await self._jobs(run.id, lambda other: any(map(needs_of(other.resources).get, lacking)))
        return self._told(reason, {run.id: takers}, run.id)

    async def of_limit(self, key: str, reason: Reason, mine: str) -> Reason:
        """The same reason, with the jobs of all runs that have the places; `mine` is the asker's run."""
        found = {run.id: await self._jobs(run.id, lambda kind: kind.key == key) for run in await self.runs()}
        return self._told(reason, found, mine)

    async def runs(self) -> list[RunRow]:
        """All runs, newest first."""
        if self._runs is None:
            self._runs = await self._store.runs()
        return self._runs

    async def _free(self, run: str, total: Mapping[str, float]) -> dict[str, float]:
        free = dict(total)
        for claim in await self._of_run(run):
            for name, need in needs_of(claim.kind.resources).items():
                if name in free:
                    free[name] -= need
        return free

    async def _jobs(self, run: str, takes: Callable[[Kind], bool]) -> list[int]:
        return [claim.job for claim in await self._of_run(run) if takes(claim.kind)]

    async def _of_run(self, run: str) -> list[Claim]:
        """What the claimed jobs of a run take."""
        if run not in self._claims:
            rows = [row async for row in every_row(self._store, Query(run, _LIVE))]
            # What was claimed and not handed over, or that was not told; the oldest are claimed first.
            queued = await self._store.page(Query(run, [JobStatus.QUEUED], limit=_CLAIMED_AMONG))
            rows += [row for row in queued if row.owner]
            self._claims[run] = [_claim(row) for row in sorted(rows)]
        return self._claims[run]

    def _told(self, reason: Reason, found: Mapping[str, Sequence[int]], mine: str) -> Reason:
        """The reason with who holds it: facts for programs, and a sentence."""
        runs = {run.id: run for run in self._runs or ()}
        holders: list[dict[str, Any]] = []
        told: list[str] = []
        for run, jobs in found.items():
            if not jobs:
                continue
            gone = run in runs and not runs[run].lives(self._now)
            holders.append({"run": run, "jobs": list(jobs), "gone": gone})
            told.append(_sentence(jobs, "" if run == mine else run, f"xqute resume {run}" if gone else ""))
        if not told:
            return reason  # claimed a moment ago: the store does not say yet by whom
        message = f"held by {'; '.join(told)}"
        return Reason(reason.code, {**reason.detail, "holders": holders, "message": message})


def _claim(row: Row) -> Claim:
    options: JobOptions = Work.from_json(row.call).options
    return Claim(row.id, kind_of(options, row.attempt))


def _sentence(jobs: Sequence[int], run: str, resume: str) -> str:
    """Who holds it, of one run.

    >>> _sentence([12], "ab12", "xqute resume ab12")
    'job 12 of run ab12, whose manager is gone: `xqute resume ab12`'
    """
    named = f"job{'' if len(jobs) == 1 else 's'} {listed(jobs)}"
    of_run = f"{named} of run {run}" if run else named
    return f"{of_run}, whose manager is gone: `{resume}`" if resume else of_run
