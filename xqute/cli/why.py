"""`xqute why`: one sentence about a job, and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import rich_click as click

from xqute.job import Job
from xqute.outcome import ended_as
from xqute.printable import LISTED
from xqute.rules.remedies import remedy
from xqute.states import JobStatus, WaitReason
from xqute.store import Row, RunRow, Store

from .forms import Out, job_document, print_json, reason_document
from .options import one_job, where
from .place import Place, missing_of, statuses_of
from .runs import deserted, manager, meanwhile, run_of
from .said import progress_of, progress_text


@click.command(
    help="""Say why a job waits or how it ended, and what to do about it.

Of a job that waits for others it names those. Also when the manager of its run has ended, and nobody runs
it any more.

\b
Examples:
  xqute why 7
  xqute why 7 --json | jq -r .remedy
"""
)
@one_job
@where
def command(job: int, metadir: str, store: str | None, *, as_json: bool) -> None:
    """Say why."""
    asyncio.run(_why(Place.of(metadir, store), job, as_json=as_json))


async def _why(place: Place, id: int, *, as_json: bool) -> None:
    async with place.reading() as store:
        row, job = await place.find(store, id)
        run = await run_of(store, row)
        blamed = await _blamed(place, store, job)
        others = {other: await _elsewhere(store, row, its) for its, other in blamed}
        waits = await _waits_for_nobody(store, row, blamed) or await _closed(store, job)
    left = not job.status.final and deserted(run)
    blocked = job.reason.code == WaitReason.BLOCKED
    sentence = f"{job} is {_left(job, run)}" if left and not blocked else f"{job} {_stands(job)}"
    todo = _go_on(job, row.run) if left else remedy(job.status, job.reason, job.id, removed=job.removed)
    todo = f"{todo}; {waits}" if waits else todo
    if as_json:
        document = job_document(row, job)
        waits_for = [_short(other) for other in others]
        print_json(
            {**document, "sentence": sentence, "remedy": todo, "deserted": left, "waits_for": waits_for}
        )
        return
    out = Out()
    out.say(sentence)
    for other, where_ in others.items():
        out.say(f"  {other} {_stands(other)}{where_}")
    out.say(f"→ {todo}")


def _go_on(job: Job, run: str) -> str:
    """What to do about a job that nobody runs."""
    again = f"start the same script again with resume=True, or run `xqute resume {run}`"
    if job.reason.code != WaitReason.BLOCKED:
        return again
    return (
        f"`xqute why {job.reason.detail.get('cause', 'ID')}` says what is wrong there; mend it, then {again}"
    )


async def _blamed(place: Place, store: Store, job: Job) -> list[tuple[Row, Job]]:
    """The jobs it waits for, or which keep it from ever starting; those that a reason names."""
    if job.status is not JobStatus.WAITING:
        return []
    if job.reason.code == WaitReason.BLOCKED:
        cause = job.reason.detail.get("cause")
        return await place.look(store, await store.get([cause])) if isinstance(cause, int) else []
    known = await statuses_of(store, [job])
    missing = missing_of(job, known)
    return await place.look(store, await store.get(missing[:LISTED]))


async def _waits_for_nobody(store: Store, row: Row, blamed: Sequence[tuple[Row, Job]]) -> str:
    """What to do about a job of another run that nobody runs, and that is needed; empty: none is."""
    for its, other in blamed:
        if its.run != row.run and not other.done() and deserted(await run_of(store, its)):
            return f"nobody runs job {other.id}: `xqute resume {its.run}` does"
    return ""


async def _closed(store: Store, job: Job) -> str:
    """What to do about a limit of 0, under which no job starts; empty: there is none."""
    limit = job.call.options.limit
    if job.status is not JobStatus.QUEUED or job.reason.code == WaitReason.LIMIT or limit is None:
        return ""  # or the reason says it
    if (await store.limits()).get(limit[0]) != 0:
        return ""
    return (
        f"its limit {limit[0]!r} is 0 in the store, so it will not start: raise it with limits= of Xqute,"
        f" or `await xq.set_limit({limit[0]!r}, …)`"
    )


async def _elsewhere(store: Store, row: Row, other: Row) -> str:
    """Who runs a job that another one needs, where that is another run."""
    if other.run == row.run:
        return ""
    run = await run_of(store, other)
    who = "" if run is None else f", of {manager(run)}"
    left = ", which has ended" if deserted(run) and not JobStatus(other.status).final else ""
    return f"; it is of run {other.run}{who}{left}"


def _stands(job: Job) -> str:
    if job.status is JobStatus.FINISHED:
        return f"FINISHED: it ended well, in attempt {job.attempt}"
    if not job.status.final:
        progress = progress_text(progress_of(job))
        return f"is {job.status.name}{f' ({progress})' if progress else ''}: {job.reason}"
    return ended_as(job)


def _short(job: Job) -> dict[str, Any]:
    """A job as another's reason tells of it."""
    status = job.status.name.lower()
    return {"id": job.id, "title": job.title, "status": status, "reason": reason_document(job.reason)}


def _left(job: Job, run: RunRow | None) -> str:
    """How a job stands that nobody runs."""
    who = "its manager" if run is None else f"its manager ({manager(run)})"
    return f"{job.status.name}, and {who} ended{meanwhile(job)}"
