"""`xqute build`: bring results up to date."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import rich_click as click

from xqute.errors import DependencyFailed
from xqute.job import Job
from xqute.producer import Xqute

from .calls import CallSet
from .forms import Out, print_json, reason_document, show_warnings
from .options import where
from .place import Place
from .runs import Run, Standing, deserted


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
result that is up to date is not built again. A build that was interrupted goes on where it was. The status
is 0 when all results are there, else 1.

\b
Examples:
  xqute build calls.py:publish
  xqute build calls.py --forks 4                     all calls of the module
  xqute build calls.py:crawl --force --dependents    anew, and what uses it
  xqute build calls.py:publish --pin crawl=17        with an older result of crawl
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
@click.option("--forks", type=click.IntRange(min=1), help="Jobs at a time.")
@click.option("--scheduler", default="local", show_default=True, help="Where the jobs run.")
def command(calls: str, metadir: str, store: str | None, *, as_json: bool, **how: Any) -> int:
    """Build calls."""
    show_warnings()
    return asyncio.run(_build(Place.of(metadir, store), CallSet.of(calls), as_json=as_json, **how))


async def _build(
    place: Place,
    calls: CallSet,
    *,
    as_json: bool,
    deps: str,
    dependents: bool,
    pin: Sequence[str],
    force: bool,
    forks: int | None,
    scheduler: str,
) -> int:
    how: dict[str, Any] = {"deps": None if deps == "none" else deps, "dependents": dependents}
    sys.argv[0] = calls.file  # a run belongs to the module
    xqute = Xqute(
        scheduler,
        job_metadir=place.root,
        store=place.url,
        scheduler_forks=forks,
        calls=calls.calls.values(),
        progress=not as_json,
        **await _unfinished(place, calls.file),
    )
    builds = (xqute.build(call, pin=pins(pin), force=force, **how) for call in calls.chosen.values())
    outcomes = await asyncio.gather(*builds, return_exceptions=True)
    await xqute.run_until_complete()
    told = dict(zip(calls.chosen, outcomes, strict=True))
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, DependencyFailed):
            raise outcome
    if as_json:
        print_json({"metadir": place.root, "calls": [_document(name, told[name]) for name in told]})
    else:
        for cause in _causes(told):
            Out().say(_sentence(cause.name or f"job {cause.id}", cause))
        for name, outcome in told.items():
            Out().say(_sentence(name, outcome))
    return 0 if all(isinstance(each, Job) and each.status.well for each in outcomes) else 1


async def _unfinished(place: Place, script: str) -> dict[str, Any]:
    """The run of this module that nobody runs and that has not ended, to go on with it."""
    if not await place.exists():
        return {}
    async with place.reading() as store:
        for row in await store.runs(script):
            run = await Run.of(store, row)
            if deserted(row) and run.standing is Standing.UNFINISHED:
                return {"run": row.id, "resume": True}
            if run.counts or not deserted(row):  # one that died before it had a job hides none
                break
    return {}


def _causes(told: Mapping[str, Job | BaseException]) -> list[Job]:
    """The jobs that kept others from being built, each once, but for those that are told of anyway."""
    found = (each.cause for each in told.values() if isinstance(each, DependencyFailed))
    causes = {cause.id: cause for cause in found if isinstance(cause, Job)}
    for outcome in told.values():
        if isinstance(outcome, Job):
            causes.pop(outcome.id, None)
    return list(causes.values())


def _sentence(name: str, outcome: Job | BaseException) -> str:
    if isinstance(outcome, DependencyFailed) and isinstance(cause := outcome.cause, Job):
        return f"{name} was not built: it needs {cause.name or cause.title}, job {cause.id}"
    if not isinstance(outcome, Job):
        return f"{name} was not built: {outcome}"
    if outcome.cached:
        return f"{name} is up to date: job {outcome.id}"
    return f"{name}: job {outcome.id}, {outcome.status.name}: {outcome.reason}"


def _document(name: str, outcome: Job | BaseException) -> dict[str, Any]:
    if not isinstance(outcome, Job):
        return {"name": name, "job": None, "error": str(outcome)}
    return {
        "name": name,
        "job": outcome.id,
        "cached": outcome.cached,
        "status": outcome.status.name.lower(),
        "reason": reason_document(outcome.reason),
        "used": dict(outcome.used),
        "directory": outcome.directory,
    }
