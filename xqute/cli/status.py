"""`xqute status`: which results are there, and which have to be built again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import rich_click as click
from rich.text import Text

from xqute.calls import Call
from xqute.job import Job
from xqute.producer import Xqute
from xqute.rules.freshness import NOT_BUILT, BuildStatus

from .calls import CallSet, mention_other
from .forms import Out, clock, iso, print_json, print_table, show_warnings
from .options import where
from .place import Place

#: The colours of the words on a terminal.
STYLES: Final = {"success": "green", "outdated": "yellow", "failed": "bold red", "not_built": "dim"}

#: Columns of a terminal from which on a sentence has room beside all else.
WIDE: Final = 120


@click.command(
    help="""Say which results of named calls are up to date.

The calls are those of a Python module. Nothing is run. Jobs are looked for in ./.xqute below the current
directory, wherever the module is.

\b
Examples:
  xqute status calls.py               all calls of the module
  xqute status calls.py:publish       one of them
  xqute status calls.py --json | jq '.calls[] | select(.status != "success")'
"""
)
@click.argument("calls", metavar="MODULE[:NAME,…]")
@where
def command(calls: str, metadir: str, store: str | None, *, as_json: bool) -> None:
    """Tell how calls stand."""
    show_warnings()
    asyncio.run(_tell(Place.of(metadir, store), CallSet.of(calls), as_json=as_json))


async def _tell(place: Place, calls: CallSet, *, as_json: bool) -> None:
    found = dict.fromkeys(calls.chosen, BuildStatus(NOT_BUILT))
    latest: dict[str, Job] = {}
    if await place.exists():
        xqute = Xqute(job_metadir=place.root, store=place.url, calls=calls.calls.values())
        found = {name: await xqute.status(call) for name, call in calls.chosen.items()}
        latest = {name: await xqute.get(status.latest) for name, status in found.items() if status.latest}
    else:
        mention_other(place, calls.file)
    if as_json:
        told = [document(calls.chosen[name], found[name], latest.get(name)) for name in found]
        print_json({"metadir": place.root, "module": calls.file, "calls": told})
        return
    show(found, latest)


def show(found: Mapping[str, BuildStatus], latest: Mapping[str, Job]) -> None:
    """A table of how calls stand; on a narrow terminal the reasons have the room of the times."""
    out = Out()
    narrow = out.is_terminal and out.width < WIDE
    cells: list[Sequence[str | Text]] = []
    for name, status in found.items():
        job = latest.get(name)
        word = Text(f"{status}, running" if status.running else str(status), style=STYLES[status])
        built = () if narrow else (clock(job.ended) if job else "",)
        cells.append((name, word, str(job.id) if job else "", *built, status.why))
    print_table(out, ("name", "status", "job", *(() if narrow else ("built",)), "reason"), cells)


def document(call: Call, status: BuildStatus, job: Job | None) -> dict[str, Any]:
    """How a call stands, as JSON."""
    naming = call.naming
    return {
        "name": naming.name if naming else "",
        "title": naming.title if naming else "",
        "tags": list(naming.tags) if naming else [],
        "notes": naming.notes if naming else "",
        "protected": bool(naming and naming.protected),
        "call": repr(call),
        "status": str(status),
        "why": status.why,
        "running": status.running,
        "job": status.latest or None,
        "built": iso(job.ended) if job else None,
        "used": dict(job.used) if job else {},
    }
