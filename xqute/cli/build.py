"""`xqute build`: bring results up to date."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import rich_click as click

from xqute.errors import DependencyFailed, RunOwned, XquteError
from xqute.job import Job
from xqute.producer import ARGUMENTS, DEFAULTABLE, Xqute
from xqute.rules.freshness import OUTDATED
from xqute.schedulers.names import make_scheduler
from xqute.wanted import PinIgnored, Protected, Wanted

from .calls import CallSet, mention_other
from .forms import print_json, show_warnings
from .options import assignments, on_interrupt, where
from .outcomes import REFUSALS, Outcome, pin_ignored, tell
from .place import Place
from .runs import Run, Standing, deserted

#: Arguments of `Xqute` that `--option` does not take, and where they come from.
ELSEWHERE: Final[Mapping[str, str]] = {
    "scheduler": "as --scheduler",
    "scheduler_forks": "as --forks",
    "job_metadir": "as --metadir",
    "store": "as --store",
    "resources": "as --resource",
    "limits": "as --limit",
    "on_interrupt": "as --on-interrupt",
    "calls": "in the module",
    "plugins": "in a program",
    "progress": "in a program",
    "resume": "by itself: what was interrupted goes on",
    "run": "by itself: what was interrupted goes on",
}

_LIMIT: Final = (
    "Jobs of a task at a time, here and in all later builds, until another number is said, or none."
)


def pins(value: Any) -> dict[str, int]:
    """What `--pin name=id` says."""
    found = {}
    for word in value:
        name, _, id_ = word.rpartition("=")
        if not name or not id_.isdecimal():
            raise click.BadParameter(f"{word!r}: give the name of a call and a job's id, as in crawl=17")
        found[name] = int(id_)
    return found


@click.command(
    help="""Bring results of named calls up to date.

The calls are those of a Python module. What they need is built first, where it is missing or outdated; a
result that is up to date is not built again. A build that was interrupted goes on where it was. Jobs are
in ./.xqute below the current directory, wherever the module is. The status is 0 when all results are
there, else 1.

\b
Examples:
  xqute build calls.py:publish
  xqute build calls.py --forks 4                     all calls of the module
  xqute build calls.py:crawl --force --dependents    anew, and what uses it
  xqute build calls.py:publish --pin crawl=17        of an older crawl
  xqute build calls.py --resource cpus=8 --resource mem=16G --limit crawl=2
  xqute build calls.py --scheduler slurm -o timeout=2h -o slurm_partition=long
"""
)
@click.argument("calls", metavar="MODULE[:NAME,…]")
@where
@click.option(
    "--deps",
    type=click.Choice(["outdated", "missing", "none"]),
    default="outdated",
    show_default=True,
    help="Which results it needs may be built first.",
)
@click.option("--dependents", is_flag=True, help="Also build what becomes outdated by it.")
@click.option("--pin", multiple=True, metavar="NAME=ID", help="Use an older result.")
@click.option("--force", is_flag=True, help="Build it although it is up to date, or protected.")
@click.option("--forks", "scheduler_forks", type=click.IntRange(min=1), help="Jobs at a time.")
@click.option("--scheduler", default="local", show_default=True, help="Where the jobs run.")
@click.option("--resource", "resources", multiple=True, metavar="NAME=AMOUNT", help="What there is for jobs.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=N", help=_LIMIT)
@on_interrupt
@click.option(
    "-o",
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other option of Xqute(), of its jobs or of the scheduler.",
)
def command(calls: str, metadir: str, store: str | None, *, as_json: bool, **how: Any) -> int:
    """Build calls."""
    show_warnings()
    made = _made(how.pop("options"), how["scheduler"])
    made["resources"] = assignments(how.pop("resources"), "cpus=8") or None
    limits = assignments(how.pop("limits"), "align=2")
    made["limits"] = {name: None if most == "none" else most for name, most in limits.items()} or None
    made |= {name: how.pop(name) for name in ("scheduler", "scheduler_forks", "on_interrupt")}
    return asyncio.run(_build(Place.of(metadir, store), calls, made, as_json=as_json, **how))


def _made(options: Sequence[str], scheduler: str) -> dict[str, Any]:
    """The arguments of `Xqute` that have no option of their own."""
    made = assignments(options, "timeout=2h")
    for name in made:
        if name in ELSEWHERE:
            raise click.BadParameter(f"{name} is not given here, but {ELSEWHERE[name]}")
    others = (ARGUMENTS | DEFAULTABLE) - ELSEWHERE.keys()
    # refused here, what is misspelt is told by the names that can be given here
    make_scheduler(scheduler, {name: made[name] for name in made if name not in others}, others)
    return made


async def _build(
    place: Place,
    target: str,
    made: Mapping[str, Any],
    *,
    as_json: bool,
    deps: str,
    dependents: bool,
    pin: Sequence[str],
    force: bool,
) -> int:
    calls = CallSet.of(target)
    made = {**made, "progress": False if as_json else "counts"}
    pinned = pins(pin)
    # what is pinned is there already: of several calls it is only used
    asked = {name: call for name, call in calls.chosen.items() if name not in pinned} or calls.chosen
    others = calls.calls.values() if dependents else ()
    wanted = Wanted([*asked.values()], None if deps == "none" else deps, [*others], pinned, force)
    sys.argv[0] = calls.file  # a run belongs to the module
    module = target.partition(":")[0]
    try:
        xqute, ends = await _begin(place, calls, made, wanted)
    except PinIgnored as error:
        raise XquteError(pin_ignored(error, module)) from error
    report = await xqute.run_until_complete()
    failed = [await xqute.get(failure.id) for failure in report.failures]
    names = [name for name in dict.fromkeys((*asked, *calls.calls)) if name in ends]
    outcomes = [await _outcome(xqute, calls, name, ends[name], asked=name in asked) for name in names]
    if as_json:
        print_json({"metadir": place.root, "calls": [each.document() for each in outcomes]})
    else:
        causes = (each.cause for each in ends.values() if isinstance(each, DependencyFailed))
        failed += [cause for cause in causes if isinstance(cause, Job)]
        tell(outcomes, {job.id: job for job in failed}, module)
    return 0 if all(each.well or each.kept for each in outcomes) else 1


async def _begin(
    place: Place, calls: CallSet, made: Mapping[str, Any], wanted: Wanted
) -> tuple[Xqute, Mapping[str, Job | BaseException]]:
    """Build the calls; returns what each came to, and by whom they were built."""
    while True:
        unfinished = await _unfinished(place, calls.file)
        known = calls.calls.values()
        xqute = Xqute(job_metadir=place.root, store=place.url, calls=known, **made, **unfinished)
        try:
            ends = await xqute._build_together(wanted)  # noqa: SLF001  a user builds one call at a time
        except RunOwned:
            continue  # somebody took the unfinished run up a moment ago: what is built there is waited for
        if not any(isinstance(end, RunOwned) for end in ends.values()):
            return xqute, ends


async def _outcome(
    xqute: Xqute, calls: CallSet, name: str, end: Job | BaseException, *, asked: bool
) -> Outcome:
    """What the build of a call came to; raises what is no outcome of one call."""
    if not isinstance(end, (Job, DependencyFailed, *REFUSALS)):
        raise end
    there = isinstance(end, Protected) or (isinstance(end, Job) and end.status.well and bool(end.digest))
    status = await xqute.status(calls.calls[name]) if there else None
    outdated = status.why if status == OUTDATED and status is not None else ""
    return Outcome(name, end, outdated, asked=asked)


async def _unfinished(place: Place, script: str) -> dict[str, Any]:
    """The run of this module that nobody runs and that has not ended, to go on with it."""
    if not await place.exists():
        mention_other(place, script)
        return {}
    async with place.reading() as store:
        for row in await store.runs(script):
            run = await Run.of(store, row)
            if deserted(row) and run.standing is Standing.UNFINISHED:
                return {"run": row.id, "resume": True}
            if run.counts or not deserted(row):  # one that died before it had a job hides none
                break
    return {}
