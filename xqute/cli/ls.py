"""`xqute ls`: the runs there are, and the jobs of one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import rich_click as click

from xqute.engine.crowding import Crowd
from xqute.job import Job
from xqute.report import crowded
from xqute.states import JobStatus
from xqute.store import Query, Row

from .forms import Out, clock, job_document, jobs, print_json, print_table, seconds_of, status_cell, took
from .options import statuses, where
from .place import Place, pick_run
from .runs import Run, Standing, deserted, meanwhile
from .said import progress_of, progress_text

if TYPE_CHECKING:
    from rich.text import Text

#: Runs that are shown when nothing else is asked for; those that are not finished always are.
RUNS_SHOWN = 10


@click.command(
    help="""List runs, and the jobs of one.

The jobs of the newest run are listed, oldest first. Runs whose manager crashed are shown as unfinished.
Where only some jobs are asked for, only the runs of those are shown.

\b
Examples:
  xqute ls                          the newest run
  xqute ls --status failed,killed   what went wrong in it
  xqute ls --run all --tag align    the jobs of all runs with a tag
  xqute ls --top                    only what was pushed, without what that needs
  xqute ls --json | jq '.jobs[].id'
"""
)
@where
@click.option("--run", metavar="ID|all", help="Another run than the newest, or all.")
@click.option(
    "--status",
    metavar="STATUS,…",
    type=statuses,
    default=(),
    help="Only these, e.g. failed,running; also: live, ended, unfinished.",
)
@click.option("--tag", help="Only jobs with this tag.")
@click.option("--user", help="Only jobs of this user.")
@click.option("--task", help="Only calls of this task.")
@click.option("--name", help="Only builds of this named call.")
@click.option("--archived", is_flag=True, help="Also jobs that were archived.")
@click.option("--top", is_flag=True, help="Only what was pushed, and not what that needs.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=50, show_default=True, help="At most so many jobs."
)
def command(metadir: str, store: str | None, *, as_json: bool, **wanted: object) -> None:
    """List runs and jobs."""
    asyncio.run(_list(Place.of(metadir, store), as_json=as_json, **wanted))  # type: ignore[arg-type]


async def _list(
    place: Place,
    *,
    as_json: bool,
    run: str | None,
    status: Sequence[JobStatus],
    tag: str | None,
    user: str | None,
    task: str | None,
    name: str | None,
    archived: bool,
    top: bool,
    limit: int,
) -> None:
    async with place.reading() as store:
        rows = await store.runs()
        runs = [await Run.of(store, row) for row in rows]
        chosen = None if run == "all" or not rows else _choose(runs, run)
        statuses = [int(item) for item in status]
        query = Query(chosen, statuses, user, tag, limit=limit + 1, task=task, top=top, name=name)
        query = query._replace(archived=None if archived else False)
        found = await store.page(query) if rows else []
        listed = await place.look(store, found[:limit])
        crowd = Crowd()
        many = await crowd.found(store, place.root)
    more = len(found) > limit
    if as_json:
        print_json(
            {
                "metadir": place.root,
                "runs": [item.document() for item in runs],
                "run": chosen or "all",
                "jobs": [job_document(*item) for item in listed],
                "more": more,
            }
        )
        return
    if not runs:
        Out().say("no runs yet: nothing was pushed")
        return
    filtered = bool(status or tag or user or task or name or top)
    theirs = {row.run for row, _ in listed}
    shown = [item for item in runs if not filtered or item.row.id in theirs]
    _show_runs(Out(), shown, every=filtered or run == "all")
    left = {item.row.id for item in runs if deserted(item.row)}
    _show_jobs(Out(), listed, chosen, left, more=more)
    if many:
        Out().say(crowded(place.root, crowd.count))


def _choose(runs: Sequence[Run], wanted: str | None) -> str:
    """The run whose jobs are listed; when none is named, the newest that has any."""
    rows = [run.row for run in runs]
    return pick_run(rows if wanted else [run.row for run in runs if run.counts] or rows, wanted).id


def _show_runs(out: Out, runs: Sequence[Run], *, every: bool) -> None:
    known = [run for run in runs if every or run.counts or run.standing is not Standing.FINISHED]
    shown = [
        run
        for number, run in enumerate(known)
        if every or number < RUNS_SHOWN or run.standing is not Standing.FINISHED
    ]
    cells = [(run.row.id, clock(run.row.created), run.state, run.counted, run.script) for run in shown]
    if shown:
        print_table(out, ("run", "created", "state", "jobs", "script"), cells)
    if len(shown) < len(known):
        out.say(f"and {len(known) - len(shown)} older, finished: --run all", "dim")
    if known:
        out.say("")


def _show_jobs(
    out: Out, listed: Sequence[tuple[Row, Job]], run: str | None, left: set[str], *, more: bool
) -> None:
    if not listed:
        out.say(
            "no jobs match" if run is None else f"run {run} has no such jobs; --run all looks in all runs"
        )
        return
    now = time.time()
    cells = [_cells(row, job, now, every=run is None, left=row.run in left) for row, job in listed]
    which = ["run"] if run is None else []
    headers = ["id", *which, "status", "attempt", "time", "progress", "title", "reason"]
    print_table(out, headers, cells, mostly_empty="progress")
    if more:
        out.say(f"only the first {jobs(len(listed))}: --limit shows more, --status fewer", "dim")


def _cells(row: Row, job: Job, now: float, *, every: bool, left: bool) -> list[str | Text]:
    unwatched = left and job.status.live  # how long it ran, nobody knows
    return [
        str(job.id),
        *([row.run] if every else []),
        status_cell(job.status),
        str(job.attempt),
        took(None if unwatched else seconds_of(job, now)),
        progress_text(progress_of(job)) if job.status.live else "",
        job.title,
        f"{job.reason}{meanwhile(job)}" if unwatched else str(job.reason),
    ]
