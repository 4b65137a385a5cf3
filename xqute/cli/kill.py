"""`xqute kill`: stop jobs, whoever runs them, also when nobody does."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import rich_click as click

from xqute.engine.room import DETACH
from xqute.engine.ways import given
from xqute.errors import JobNotFound, XquteError
from xqute.job import Job
from xqute.printable import listed
from xqute.producer import Xqute
from xqute.schedulers.names import find_scheduler, known_schedulers
from xqute.settings import KILL_BOUND_SECONDS
from xqute.states import JobStatus
from xqute.store import Query, Request, Row, RunRow, Store, every_row

from .forms import Out, job_document, print_json, show_warnings
from .options import SEVERAL, JobId, duration, where
from .place import Place, pick_run
from .runs import deserted, manager

#: Between two looks whether the manager did what it was asked.
LOOK_SECONDS: Final = 0.1


@click.command(
    help="""Stop jobs: a polite signal to all their processes, and after the grace a firm one.

The manager of a run does it when it lives; when it has ended, this command does it itself. Returns when
nothing of the jobs runs any more, with status 1 when something may still run.

\b
Examples:
  xqute kill 7 8
  xqute kill 7 --grace 30s
  xqute kill --run 3f2a
  xqute kill --all
"""
)
@click.argument("ids", metavar="[ID]...", type=JobId("; a run is killed with --run"), nargs=-1)
@where
@click.option("--run", metavar="ID", help="All jobs of a run that have not ended.")
@click.option("--all", "every", is_flag=True, help="All jobs of all runs that have not ended.")
@click.option(
    "--grace", metavar="DURATION", type=duration, help="Between the two signals; by default the job's own."
)
def command(
    ids: tuple[int, ...],
    metadir: str,
    store: str | None,
    *,
    as_json: bool,
    run: str | None,
    every: bool,
    grace: float | None,
) -> int:
    """Kill jobs."""
    if sum((bool(ids), run is not None, every)) != 1:
        raise click.UsageError("say which jobs: their ids, or --run, or --all")
    show_warnings()
    return asyncio.run(_kill(Place.of(metadir, store), ids, run, grace, as_json=as_json))


async def _kill(
    place: Place, ids: Sequence[int], run: str | None, grace: float | None, *, as_json: bool
) -> int:
    async with place.reading() as store:
        runs = {row.id: row for row in await store.runs()}
        rows = await _wanted(place, store, ids, pick_run([*runs.values()], run).id if run else None)
        before = {row.id: JobStatus(row.status) for row in rows}
        for id_, wanted in _by_run(rows):
            if wanted and deserted(runs.get(id_)):
                await _kill_here(place, runs[id_], wanted, grace)
            elif wanted:
                await _ask(place, store, runs[id_], wanted, grace)
    async with place.reading() as store:
        told = [(row, place.job(row)) for row in await store.get([*before])]
    if as_json:
        print_json({"jobs": [job_document(row, job) for row, job in told]})
    else:
        who = manager(runs[rows[0].run]) if rows and rows[0].run in runs else "its manager"
        silent = f"its manager ({who}) did not answer; the request is kept until it does"
        _tell(Out(), [job for _, job in told], before, silent)
    return 0 if all(job.status.final for _, job in told) else 1


async def _wanted(place: Place, store: Store, ids: Sequence[int], run: str | None) -> list[Row]:
    """The jobs that were named; those of a run, or all, when none were."""
    if not ids:
        return [row async for row in every_row(store, Query(run, SEVERAL["unfinished"]))]
    rows = await store.get(list(dict.fromkeys(ids)))
    missing = set(ids) - {row.id for row in rows}
    if missing:
        raise JobNotFound(f"there is no job {min(missing)} in {place.shown}; nothing was killed")
    return rows


def _by_run(rows: Iterable[Row]) -> list[tuple[str, list[int]]]:
    """The runs of jobs, each with those that have not ended."""
    runs: dict[str, list[int]] = {}
    for row in rows:
        runs.setdefault(row.run, []).extend([] if JobStatus(row.status).final else [row.id])
    return list(runs.items())


async def _ask(place: Place, store: Store, run: RunRow, ids: Sequence[int], grace: float | None) -> None:
    """Ask the manager of a run, and wait until it was done."""
    detail = json.dumps({} if grace is None else {"grace": grace})
    async with place.writing() as writer:
        await writer.ask(run.id, [Request(id_, "kill", detail) for id_ in ids])
    bound = time.monotonic() + KILL_BOUND_SECONDS + await _longest_grace(place, store, ids, grace)
    left = list(ids)
    while left and time.monotonic() < bound:
        # opened anew for each look: a store that nobody writes to is read without looking for news
        async with place.reading() as now:
            left = [row.id for row in await now.get(ids) if not JobStatus(row.status).final]
            alone = deserted(next((row for row in await now.runs() if row.id == run.id), None))
        if left and alone:
            await _kill_here(place, run, left, grace)
            return
        await asyncio.sleep(LOOK_SECONDS if left else 0)


async def _longest_grace(place: Place, store: Store, ids: Sequence[int], grace: float | None) -> float:
    if grace is not None:
        return grace
    # a build that waited may have been withdrawn meanwhile: it is gone
    return max((place.job(row).call.options.grace for row in await store.get(ids)), default=0.0)


async def _kill_here(place: Place, run: RunRow, ids: Sequence[int], grace: float | None) -> None:
    """Take a run over whose manager has ended, kill the jobs, and leave the rest as it is."""
    scheduler = json.loads(run.document).get("scheduler", "local")
    how: dict[str, Any] = {"run": run.id, "resume": True, "on_interrupt": "detach"}
    if scheduler in known_schedulers():
        how |= {"scheduler": scheduler, **given(run.document, find_scheduler(scheduler))}
    else:
        await _refuse_claimed(place, run, scheduler, ids)
    async with Xqute(job_metadir=place.root, store=place.url, **how) as xqute:
        jobs = [await xqute.get(id_) for id_ in ids]
        await asyncio.gather(*(job.kill(grace) for job in jobs))
        xqute.request_stop(DETACH)


async def _refuse_claimed(place: Place, run: RunRow, scheduler: str, ids: Sequence[int]) -> None:
    """What a scheduler was given that only a script knows can't be killed from here."""
    async with place.reading() as store:
        if claimed := [row.id for row in await store.get(ids) if row.owner]:
            raise XquteError(
                f"job(s) {listed(claimed)} run at the scheduler {scheduler!r}, which only the script of run "
                f"{run.id} knows: start {run.script or 'that'} again with resume=True, and kill them then"
            )


def _tell(out: Out, jobs: Sequence[Job], before: dict[int, JobStatus], silent: str) -> None:
    if not jobs:
        out.say("nothing to kill: no job is left that has not ended")
    for job in jobs:
        if before[job.id].final:
            out.say(f"{job} had ended: {job.status.name}")
        elif job.status.final:
            end = str(job.reason) if job.status is JobStatus.KILLED else f"{job.status.name}: {job.reason}"
            out.say(f"{job}: {end}")
        elif job.status is JobStatus.KILLING:
            out.say(f"{job} may still be running: {job.reason}", "bold red")
        else:
            out.say(f"{job} is still {job.status.name}: {silent}", "bold red")
