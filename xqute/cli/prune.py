"""`xqute prune`: remove jobs that have ended, with their files."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import rich_click as click
from click.core import ParameterSource
from rich_click import RichContext

from xqute.errors import XquteError
from xqute.job import Job
from xqute.producer import Xqute
from xqute.states import JobStatus

from .forms import counting, jobs, print_json, show_warnings, size
from .logpruning import ages, prune_logs
from .options import SEVERAL, duration, statuses, where
from .place import Place
from .pruneplan import Plan, Wanted, held, make_plan
from .removing import agreed, counted
from .runs import deserted

#: Jobs whose records and files go together; a crash leaves at most so many directories without a record.
BATCH: Final = 100


@click.command(
    help="""Remove jobs that have ended, with their files and what is remembered of them.

What has not ended is never touched, nor is any job of a run whose manager lives, nor one whose result is
needed by a job that stays and has not ended well. Of named calls, the newest results stay without --builds.
Cleanup functions of Python calls are called, as whenever jobs are deleted. Runs without jobs go, too.
Says first what it would free, and asks.

With --logs the jobs stay, and old lines of their logs go: what is worse stays longer.

\b
Examples:
  xqute prune --dry-run
  xqute prune --older 7d --keep failed
  xqute prune --run 3f2a --status finished --yes
  xqute prune --logs --log-age info=7d,warning=60d
"""
)
@where
@click.option("--older", metavar="DURATION", type=duration, help="Only what ended longer ago, e.g. 7d.")
@click.option(
    "--status", metavar="STATUS,…", type=statuses, default=(), help="Only these, e.g. finished,killed."
)
@click.option("--keep", metavar="STATUS,…", type=statuses, default=(), help="Leave these, e.g. failed.")
@click.option("--run", metavar="ID", help="Only jobs of this run.")
@click.option("--builds", is_flag=True, help="Also the newest results of named calls.")
@click.option(
    "--no-cleanup",
    "cleanup",
    is_flag=True,
    default=True,
    flag_value=False,
    help="Do not call cleanup functions of Python calls.",
)
@click.option("--logs", is_flag=True, help="Remove old lines of logs, and no jobs.")
@click.option(
    "--log-age",
    metavar="LEVEL=DURATION,…",
    multiple=True,
    help="With --logs: how long lines stay; else debug=15d,info=30d,warning=90d,error=180d,critical=180d.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.pass_context
def command(context: RichContext, /, metadir: str, store: str | None, *, as_json: bool, **how: Any) -> int:
    """Prune jobs."""
    if store and context.get_parameter_source("metadir") is ParameterSource.DEFAULT:
        raise click.UsageError("--store needs --metadir here: what is removed lies there")
    place = Place.of(metadir, store)
    logs, given = how.pop("logs"), how.pop("log_age")
    if not logs:
        if given:
            raise click.UsageError("--log-age says which lines of logs go: give --logs, too")
        return _prune(place, as_json=as_json, **how)
    if how.pop("older") is not None:
        raise click.UsageError("--older is about jobs: with --logs, --log-age says how long lines stay")
    if how.pop("builds") or not how.pop("cleanup"):
        raise click.UsageError("--builds and --no-cleanup are about jobs, and --logs removes none")
    return prune_logs(place, ages(given), as_json=as_json, **how)


def _prune(
    place: Place,
    *,
    as_json: bool,
    older: float | None,
    status: Sequence[JobStatus],
    keep: Sequence[JobStatus],
    run: str | None,
    builds: bool,
    cleanup: bool,
    dry_run: bool,
    yes: bool,
) -> int:
    ended = [item for item in status or SEVERAL["ended"] if item.final and item not in keep]
    before = math.inf if older is None else time.time() - older
    plan = asyncio.run(make_plan(place, Wanted(ended, run, before, builds, cleanup)))
    # Asked while no event loop runs: that would only take note of the first Ctrl-C.
    wanted = plan.any and not dry_run and (yes or agreed(plan.sentence))
    removal = asyncio.run(_remove(place, plan)) if wanted else Removal()
    if as_json:
        print_json(_document(place, plan, removal, dry_run=dry_run))
    else:
        _tell(plan, removal, dry_run=dry_run)
    for error in removal.errors:
        print(f"xqute: {error}", file=sys.stderr)
    return 1 if removal.errors else 0


@dataclass
class Removal:
    """What was removed: how many jobs, bytes and runs, and what could not be."""

    jobs: int = 0
    bytes: int = 0
    runs: int = 0
    errors: list[str] = field(default_factory=list)

    def remove(self, directory: str) -> None:
        """Remove the directory of a job, if it has one."""
        self.jobs += 1
        count = held(directory)
        try:
            if os.path.lexists(directory):
                shutil.rmtree(directory)
            self.bytes += count
        except OSError as error:
            what = os.fsdecode(error.filename) if error.filename else directory
            self.errors.append(f"{what} can't be removed: {error.strerror or error}")


async def _remove(place: Place, plan: Plan) -> Removal:
    """Clean up after jobs, forget them, and remove their directories; and runs that have no jobs then."""
    removal = Removal()
    mine = await _clean_up(place, plan.cleanups, removal) if plan.cleanups else ""
    ids = sorted({*plan.ids} - {*plan.cleanups})
    async with place.writing() as store:
        for first in counted(range(0, len(ids), BATCH), "removing"):
            # The record goes first: a job that somebody runs again by now has a record that stays.
            for id_ in sorted(await store.delete(ids[first : first + BATCH])):
                removal.remove(f"{place.root}/{id_}")
        for row in await store.runs():
            if row.id in {*plan.runs, *plan.empty, mine} and deserted(row) and await store.forget(row):
                removal.runs += row.id != mine
    return removal


async def _clean_up(place: Place, ids: Sequence[int], removal: Removal) -> str:
    """Delete jobs as a program does: their cleanup functions are called first, by jobs that go then too.

    Returns the run of those; it has none in the end, unless one of them failed.
    """
    show_warnings()
    xqute = Xqute(job_metadir=place.root, store=place.url, scheduler_forks=os.cpu_count())
    async with xqute:
        for first in counted(range(0, len(ids), BATCH), "cleaning up"):
            batch = [await xqute.get(id_) for id_ in ids[first : first + BATCH]]
            await asyncio.gather(*(_delete(xqute, job, removal) for job in batch))
    return xqute.run


async def _delete(xqute: Xqute, job: Job, removal: Removal) -> None:
    count = held(job.directory)
    try:
        await job.delete()
        await (await xqute.get(job.cleaned)).delete()
    except XquteError as error:
        removal.errors.append(
            f"{job} is left, because its cleanup function failed: {error}; "
            f"`xqute why {job.cleaned}` tells more, and --no-cleanup removes it all the same"
        )
    else:
        removal.jobs += 1
        removal.bytes += count


def _document(place: Place, plan: Plan, removal: Removal, *, dry_run: bool) -> dict[str, Any]:
    return {
        "metadir": place.root,
        "jobs": plan.ids,
        "runs": plan.empty,
        "bytes": plan.bytes,
        "cleanups": plan.cleanups,
        "current": plan.current,
        "old": plan.old,
        "unfinished": plan.unfinished,
        "again": plan.again,
        "owned": plan.owned,
        "needed": plan.needed,
        "protected": plan.protected,
        "dry_run": dry_run,
        "removed": removal.jobs,
        "removed_runs": removal.runs,
        "freed": removal.bytes,
        "errors": removal.errors,
    }


def _tell(plan: Plan, removal: Removal, *, dry_run: bool) -> None:
    if not plan.any:
        print(f"nothing to remove{plan.left}")
    elif dry_run:
        print(f"would remove {plan.sentence}")
    elif removal.jobs:
        print(f"removed {jobs(removal.jobs)}, {size(removal.bytes)}")
    elif removal.runs:
        print(f"removed {counting(removal.runs, 'run')} without jobs")
    else:
        print("nothing was removed")
