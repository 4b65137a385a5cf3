"""`xqute resume`: run what is left of a run whose manager has ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import rich_click as click

from xqute.engine.ways import given
from xqute.errors import XquteError
from xqute.printable import LISTED, listed, printable
from xqute.producer import Xqute
from xqute.report import Report
from xqute.schedulers.names import find_scheduler, known_schedulers
from xqute.states import JobStatus
from xqute.store import RunRow, Store

from .forms import Out, iso, print_json, show_warnings
from .options import on_interrupt, where
from .place import Place, pick_run
from .runs import Run, Standing, deserted, manager


@click.command(
    help="""Run what is left of a run: jobs that failed, were killed or lost, or never began.

Without an id, the newest run that is not finished and that nobody runs. It goes on as it was begun: forks,
resources, the scheduler and its options are kept with it. What is still running of it is adopted; what
ended well is not run again. The status is 0 when all jobs ended well, else 1.

\b
Examples:
  xqute resume
  xqute resume 3f2a --forks 4
  xqute resume --on-interrupt detach     Ctrl-C leaves jobs running; resume again to go on
"""
)
@click.argument("run", required=False)
@where
@click.option("--forks", type=click.IntRange(min=1), help="Jobs at a time; by default as many as before.")
@click.option("--scheduler", help="Where the jobs run; by default where the run was begun.")
@on_interrupt
def command(run: str | None, metadir: str, store: str | None, *, as_json: bool, **how: Any) -> int:
    """Resume a run."""
    show_warnings()
    return asyncio.run(_resume(Place.of(metadir, store), run, as_json=as_json, **how))


async def _resume(
    place: Place,
    wanted: str | None,
    *,
    as_json: bool,
    forks: int | None,
    scheduler: str | None,
    on_interrupt: str,
) -> int:
    async with place.reading() as store:
        run = await _choose(store, await store.runs(), wanted)
    scheduler = scheduler or _known(json.loads(run.document).get("scheduler", "local"), run)
    before = given(run.document, find_scheduler(scheduler))
    if not as_json:
        Out().say(f"going on with run {run.id} of {printable(run.script) or 'an interactive program'}")
    how = {**before, **({"scheduler_forks": forks} if forks else {}), "on_interrupt": on_interrupt}
    xqute = Xqute(
        scheduler,
        job_metadir=place.root,
        store=place.url,
        resume="all",
        run=run.id,
        progress=not as_json,
        **how,
    )
    report = await xqute.run_until_complete()
    if as_json:
        print_json(_document(run, report))
    else:
        Out().say(f"run {run.id}: {str(report).splitlines()[0]}")
        for id_, count in list(report.blocked.items())[:LISTED]:
            what = "1 job waits" if count == 1 else f"{count} jobs wait"
            Out().say(f"{what} for job {id_}, which did not end well: see `xqute why {id_}`")
    return 0 if report.ok else 1


def _known(scheduler: str, run: RunRow) -> str:
    """The scheduler of a run, where it can be made without its script."""
    if scheduler not in known_schedulers():
        raise XquteError(
            f"run {run.id} was begun with the scheduler {scheduler!r}, which only its script knows: start "
            f"{run.script or 'that'} again with resume=True, or name another with --scheduler"
        )
    return scheduler


async def _choose(store: Store, runs: Sequence[RunRow], wanted: str | None) -> RunRow:
    """The run that is meant.

    Raises:
        XquteError: There is none, or somebody runs it.
    """
    if wanted is not None:
        run = pick_run(list(runs), wanted)
        if not deserted(run):
            raise XquteError(f"run {run.id} is run by {manager(run)}: wait for it, or kill it first")
        return run
    left = [await Run.of(store, row) for row in runs if deserted(row)]
    found = [item for item in left if item.counts]  # the others died before they had a job
    for item in found:
        if item.standing is Standing.UNFINISHED:
            return item.row
    if found and JobStatus.KILLED in found[0].counts:  # interrupted, with nothing waiting
        return found[0].row
    if running := [await Run.of(store, row) for row in runs if not deserted(row)]:
        told = listed([f"run {item.row.id} is {item.state}" for item in running])
        raise XquteError(f"{told}, and no other is unfinished: wait for it, or kill it first")
    raise XquteError(
        "no run is unfinished; `xqute resume ID` runs again what failed in a finished one (see `xqute ls`)"
    )


def _document(run: RunRow, report: Report) -> dict[str, Any]:
    return {
        "run": run.id,
        "script": run.script,
        "created": iso(run.created),
        "ok": report.ok,
        "seconds": round(report.seconds, 3),
        "counts": {status.name.lower(): count for status, count in report.counts.items()},
        "failures": [{**failure._asdict(), "stderr": list(failure.stderr)} for failure in report.failures],
        "blocked": {str(id_): count for id_, count in report.blocked.items()},
        "stopped": None if report.stop_reason is None else str(report.stop_reason),
    }
