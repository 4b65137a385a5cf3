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

from xqute.errors import XquteError
from xqute.states import JobStatus
from xqute.store import Query, Store

from .forms import jobs, print_json, size
from .options import SEVERAL, duration, statuses, where
from .place import Place, every_page, pick_run
from .runs import deserted

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

\b
Examples:
  xqute prune --dry-run
  xqute prune --older 7d --keep failed
  xqute prune --run 3f2a --status finished --yes
"""
)
@where
@click.option("--older", metavar="DURATION", type=duration, help="Only what ended longer ago, e.g. 7d.")
@click.option(
    "--status", metavar="STATUS,…", type=statuses, default=(), help="Only these, e.g. finished,killed."
)
@click.option("--keep", metavar="STATUS,…", type=statuses, default=(), help="Leave these, e.g. failed.")
@click.option("--run", metavar="ID", help="Only jobs of this run.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.pass_context
def command(context: RichContext, /, metadir: str, store: str | None, *, as_json: bool, **how: Any) -> int:
    """Prune jobs."""
    if store and context.get_parameter_source("metadir") is ParameterSource.DEFAULT:
        raise click.UsageError("--store needs --metadir here: what is removed lies there")
    return _prune(Place.of(metadir, store), as_json=as_json, **how)


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
    wanted = bool(plan.ids) and not dry_run and (yes or _agreed(plan))
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
    rows = await store.runs()
    chosen = pick_run(rows, run).id if run else None
    owned = {row.id for row in rows if not deserted(row)}
    before = None if older is None else time.time() - older
    if not ended:
        return plan
    found: dict[int, str] = {}
    async for row in every_page(store, Query(chosen, ended)):
        job = place.job(row)
        if before is not None and (job.ended or job.created) > before:
            continue
        if job.call.named is not None and job.call.named.protected:
            continue
        if row.run in owned:
            plan.owned += 1
            continue
        found[row.id] = row.run
    needed = await _needed(place, store, found) if found else set()
    plan.needed = len(needed)
    plan.ids = [id_ for id_ in found if id_ not in needed]
    plan.runs = {found[id_] for id_ in plan.ids}
    plan.bytes = sum(held(f"{place.root}/{id_}") for id_ in plan.ids)
    return plan


async def _needed(place: Place, store: Store, found: Collection[int]) -> set[int]:
    """Those of the jobs whose results others need that stay and have not ended well."""
    needed: set[int] = set()
    groups: set[int] = set()
    async for row in every_page(store, Query(statuses=[status for status in JobStatus if not status.well])):
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


def _agreed(plan: Plan) -> bool:
    """Whether somebody at the terminal agrees.

    Raises:
        XquteError: Nobody can be asked.
    """
    if not sys.stdin.isatty():
        raise XquteError(f"nothing was removed ({plan.sentence}): nobody can be asked here; --yes says it")
    return click.confirm(f"remove {plan.sentence}?", err=True)


async def _remove(place: Place, ids: Sequence[int]) -> Removal:
    """Forget jobs and remove their directories."""
    removal = Removal()
    async with place.writing() as store:
        for first in range(0, len(ids), BATCH):
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
