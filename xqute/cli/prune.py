"""`xqute prune`: remove jobs that have ended, with their files."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import rich_click as click
from click.core import ParameterSource
from rich_click import RichContext

from xqute.states import JobStatus
from xqute.store import Query, Store, every_row

from .forms import jobs, print_json, size
from .logpruning import ages, prune_logs
from .options import SEVERAL, duration, statuses, where
from .place import Place
from .removing import agreed, counted, ended_jobs

#: Jobs whose records and files go together; a crash leaves at most so many directories without a record.
BATCH: Final = 100


@dataclass
class Plan:
    """What is to be removed.

    Attributes:
        ids: The jobs.
        bytes: What their directories hold.
        runs: Of how many runs they are.
        owned: Jobs that match and are left, because their run has a living manager.
        needed: Jobs that match and are left, because others that stay need their results.
    """

    ids: list[int] = field(default_factory=list)
    bytes: int = 0
    runs: set[str] = field(default_factory=set)
    owned: int = 0
    needed: int = 0

    @property
    def sentence(self) -> str:
        """What would be removed."""
        runs = f"{len(self.runs)} run{'' if len(self.runs) == 1 else 's'}"
        return f"{jobs(len(self.ids))} of {runs}, {size(self.bytes)}{self.left}"

    @property
    def left(self) -> str:
        """What is left, and why."""
        owned = f"; {jobs(self.owned)} of runs that are running are left" if self.owned else ""
        needed = f"; {jobs(self.needed)} that others need are left" if self.needed else ""
        return f"{owned}{needed}"


@click.command(
    help="""Remove jobs that have ended, with their files and what is remembered of them.

What has not ended is never touched, nor is any job of a run whose manager lives, nor one whose result is
needed by a job that stays and has not ended well. Says first what it would free, and asks.

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
    return prune_logs(place, ages(given), as_json=as_json, **how)


def _prune(
    place: Place,
    *,
    as_json: bool,
    older: float | None,
    status: Sequence[JobStatus],
    keep: Sequence[JobStatus],
    run: str | None,
    dry_run: bool,
    yes: bool,
) -> int:
    ended = [item for item in status or SEVERAL["ended"] if item.final and item not in keep]
    plan = asyncio.run(_look(place, ended, run, older))
    # Asked while no event loop runs: that would only take note of the first Ctrl-C.
    wanted = bool(plan.ids) and not dry_run and (yes or agreed(plan.sentence))
    removal = asyncio.run(_remove(place, plan.ids)) if wanted else Removal()
    if as_json:
        print_json(
            {
                "metadir": place.root,
                "jobs": plan.ids,
                "bytes": plan.bytes,
                "owned": plan.owned,
                "needed": plan.needed,
                "dry_run": dry_run,
                "removed": removal.jobs,
                "freed": removal.bytes,
                "errors": removal.errors,
            }
        )
    else:
        _tell(plan, removal, dry_run=dry_run)
    for error in removal.errors:
        print(f"xqute: {error}", file=sys.stderr)
    return 1 if removal.errors else 0


async def _look(place: Place, ended: Sequence[JobStatus], run: str | None, older: float | None) -> Plan:
    async with place.reading() as store:
        return await _plan(place, store, ended, run, older)


async def _plan(
    place: Place, store: Store, ended: Sequence[JobStatus], run: str | None, older: float | None
) -> Plan:
    """The jobs that may go, and what they hold."""
    plan = Plan()
    before = None if older is None else time.time() - older
    found: dict[int, str] = {}
    async for row, job, owned in ended_jobs(place, store, ended, run):
        if before is not None and (job.ended or job.created) > before:
            continue
        if job.call.named is not None and job.call.named.protected:
            continue
        if owned:
            plan.owned += 1
        else:
            found[row.id] = row.run
    needed = await _needed(place, store, found) if found else set()
    plan.needed = len(needed)
    plan.ids = [id_ for id_ in found if id_ not in needed]
    plan.runs = {found[id_] for id_ in plan.ids}
    plan.bytes = sum(held(f"{place.root}/{id_}") for id_ in counted(plan.ids, "measuring"))
    return plan


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


@dataclass
class Removal:
    """What was removed: how many jobs, how many bytes, and what could not be."""

    jobs: int = 0
    bytes: int = 0
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


async def _remove(place: Place, ids: Sequence[int]) -> Removal:
    """Forget jobs and remove their directories."""
    removal = Removal()
    async with place.writing() as store:
        for first in counted(range(0, len(ids), BATCH), "removing"):
            # The record goes first: a job that somebody runs again by now has a record that stays.
            for id_ in sorted(await store.delete(ids[first : first + BATCH])):
                removal.remove(f"{place.root}/{id_}")
    return removal


def _tell(plan: Plan, removal: Removal, *, dry_run: bool) -> None:
    if not plan.ids:
        print(f"nothing to remove: {plan.sentence}" if plan.left else "nothing to remove")
    elif dry_run:
        print(f"would remove {plan.sentence}")
    elif removal.jobs:
        print(f"removed {jobs(removal.jobs)}, {size(removal.bytes)}")
    else:
        print("nothing was removed")
