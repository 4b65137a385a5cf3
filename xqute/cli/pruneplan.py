"""What `xqute prune` would remove: found before anything is, and said in a sentence."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from xqute.job import Job
from xqute.states import JobStatus
from xqute.store import Query, Store, every_row

from .forms import counting, jobs, size
from .place import Place, pick_run
from .removing import counted, ended_jobs, left_out
from .runs import deserted


class Wanted(NamedTuple):
    """What is asked for.

    Attributes:
        ended: Jobs in these statuses.
        run: Only of this run, where one is named.
        before: Only what had ended by then; UTC seconds.
        builds: Also current builds, the results that count for named calls.
        clean: Call cleanup functions first.
    """

    ended: Sequence[JobStatus]
    run: str | None
    before: float
    builds: bool
    clean: bool


@dataclass
class Plan:
    """What is to be removed.

    Attributes:
        ids: The jobs.
        bytes: What their directories hold.
        runs: The runs they are of.
        empty: Runs without jobs, which nobody owns.
        cleanups: Those of the jobs whose cleanup functions are called first.
        current: The current builds that match.
        builds: Whether those go, too.
        old: Those of the jobs that are builds which ended well, and count no more.
        unfinished: Those of the runs that have jobs which have not ended.
        again: Those of the jobs that ended well in these: with `resume`, their scripts run them again.
        owned: Jobs that match and are left, because their run has a living manager.
        needed: Jobs that match and are left, because others that stay need their results.
        protected: Builds of protected calls that match, and are left.
    """

    ids: list[int] = field(default_factory=list)
    bytes: int = 0
    runs: set[str] = field(default_factory=set)
    empty: list[str] = field(default_factory=list)
    cleanups: list[int] = field(default_factory=list)
    current: list[int] = field(default_factory=list)
    builds: bool = False
    old: list[int] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    owned: int = 0
    needed: int = 0
    protected: int = 0

    @property
    def any(self) -> bool:
        """Whether there is something to remove."""
        return bool(self.ids or self.empty)

    @property
    def sentence(self) -> str:
        """What would be removed."""
        count = len(self.cleanups)
        cleaned = f"; {counting(count, 'cleanup function')} called first" if count else ""
        return f"{', '.join(self._parts())}{cleaned}{self._repeated}{self.left}"

    def _parts(self) -> Iterator[str]:
        if self.ids:
            yield f"{jobs(len(self.ids))} of {counting(len(self.runs), 'run')}"
            found = {"old build": len(self.old), "current build": len(self.current) if self.builds else 0}
            if told := [counting(count, what) for what, count in found.items() if count]:
                yield f"among them {' and '.join(told)}"
            yield size(self.bytes)
        if self.empty:
            yield f"{counting(len(self.empty), 'run')} without jobs"

    @property
    def _repeated(self) -> str:
        """That work is lost which its run still counts on."""
        where = counting(len(self.unfinished), "unfinished run")
        told = f"; {len(self.again)} of them ended well in {where}, and may run again with resume"
        return told if self.again else ""

    @property
    def left(self) -> str:
        """What is left, and why."""
        current = 0 if self.builds else len(self.current)
        return (
            left_out(self.owned, f"{jobs(self.owned)} of runs that are running")
            + left_out(self.needed, f"{jobs(self.needed)} that others need")
            + left_out(self.protected, counting(self.protected, "protected build"))
            + left_out(current, f"{counting(current, 'current build')} (see --builds)")
        )


class _Found(NamedTuple):
    """What matters of a job that may go."""

    run: str
    name: str
    well: bool
    cleanup: bool


async def make_plan(place: Place, wanted: Wanted) -> Plan:
    """What may go, and what it holds."""
    plan = Plan(builds=wanted.builds)
    async with place.reading() as store:
        found = await _find(place, store, wanted, plan)
        plan.empty = await _empty(store, wanted)
        current = found.keys() & await _current(place, store, {job.name for job in found.values()})
        may_go = {id_: job for id_, job in found.items() if wanted.builds or id_ not in current}
        needed = await _needed(place, store, may_go) if may_go else set()
        plan.runs = {job.run for id_, job in may_go.items() if id_ not in needed}
        plan.unfinished = [run for run in sorted(plan.runs) if await _is_unfinished(store, run)]
    plan.current = sorted(current - needed)
    plan.needed = len(needed)
    plan.ids = [id_ for id_ in may_go if id_ not in needed]
    well = [id_ for id_ in plan.ids if found[id_].well]
    plan.old = [id_ for id_ in well if found[id_].name and id_ not in current]
    plan.again = [id_ for id_ in well if found[id_].run in plan.unfinished]
    plan.cleanups = [id_ for id_ in plan.ids if wanted.clean and found[id_].cleanup]
    plan.bytes = sum(held(f"{place.root}/{id_}") for id_ in counted(plan.ids, "measuring"))
    return plan


async def _find(place: Place, store: Store, wanted: Wanted, plan: Plan) -> Mapping[int, _Found]:
    """The jobs that match and that no living process owns; the others are counted."""
    found: dict[int, _Found] = {}
    async for row, job, owned in ended_jobs(place, store, wanted.ended, wanted.run):
        if (job.ended or job.created) > wanted.before:
            continue
        if job.call.named is not None and job.call.named.protected:
            plan.protected += 1
        elif owned:
            plan.owned += 1
        else:
            found[row.id] = _Found(row.run, job.name, job.status.well, _is_left_behind(job))
    return found


def _is_left_behind(job: Job) -> bool:
    """Whether there may be something of a job that only its cleanup function knows, and was not told."""
    return job.call.function is not None and job.call.function.cleanup and not job.cleaned


async def _is_unfinished(store: Store, run: str) -> bool:
    """Whether jobs are left to run in a run that nobody runs."""
    return any(count and not JobStatus(status).final for status, count in (await store.counts(run)).items())


async def _empty(store: Store, wanted: Wanted) -> list[str]:
    """Runs without jobs that nobody owns: all were removed, or their process died before it had any."""
    rows = await store.runs()
    return [
        row.id
        for row in ([pick_run(rows, wanted.run)] if wanted.run else rows)
        if row.created <= wanted.before and deserted(row) and not await store.page(Query(row.id, limit=1))
    ]


async def _current(place: Place, store: Store, names: Collection[str]) -> set[int]:
    """The jobs whose results count for named calls: of each the newest that finished and is still there."""
    found = set()
    for name in filter(None, names):
        query = Query(statuses=[JobStatus.FINISHED], name=name, newest=True)
        async for row in every_row(store, query):
            if _is_there(place.job(row)):
                found.add(row.id)
                break
    return found


def _is_there(job: Job) -> bool:
    """Whether nobody removed its directory by hand."""
    return os.path.isdir(job.directory)


async def _needed(place: Place, store: Store, found: Collection[int]) -> set[int]:
    """Those of the jobs whose results others need that stay and have not ended well."""
    needed: set[int] = set()
    groups: set[int] = set()
    async for row in every_row(store, Query(statuses=[status for status in JobStatus if not status.well])):
        if row.id not in found:
            needed.update(place.job(row).needs)
            groups.add(row.group)
    for members in (await store.needs(sorted(groups))).values():
        needed.update(members)
    return needed.intersection(found)


def held(directory: str) -> int:
    """The bytes that a directory holds on the disk; links are not followed."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in (*names, ""):
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                continue
    return total
