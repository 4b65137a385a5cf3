"""What commands that remove something share: what they may touch, whether somebody agrees, how far it is."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import TypeVar

import rich_click as click
from rich.console import Console
from rich.progress import track

from xqute.errors import XquteError
from xqute.job import Job
from xqute.states import JobStatus
from xqute.store import Query, Row, Store, every_row

from .place import Place, pick_run
from .runs import deserted

T = TypeVar("T")


async def ended_jobs(
    place: Place, store: Store, ended: Sequence[JobStatus], run: str | None
) -> AsyncIterator[tuple[Row, Job, bool]]:
    """The jobs in these statuses, of a run or of all, and whether a living manager owns their run."""
    rows = await store.runs()
    chosen = pick_run(rows, run).id if run else None
    owned = {row.id for row in rows if not deserted(row)}
    if ended:
        async for row in every_row(store, Query(chosen, ended)):
            yield row, place.job(row), row.run in owned


def left_out(count: int, what: str) -> str:
    """So many jobs or builds that match are left; nothing, where there are none."""
    return f"; {what} {'is' if count == 1 else 'are'} left" if count else ""


def agreed(what: str) -> bool:
    """Whether somebody at the terminal agrees that this is removed.

    Raises:
        XquteError: Nobody can be asked, or nobody answers.
    """
    if not sys.stdin.isatty():
        why = "stdin is no terminal, so nobody can be asked"
        raise XquteError(f"nothing was removed ({what}): {why}; say --yes")
    try:
        return click.confirm(f"remove {what}?", err=True)
    except click.Abort as end:
        if not isinstance(end.__context__, EOFError):
            raise
    print(file=sys.stderr)  # the cursor is behind the question
    raise XquteError("nothing was removed: there was no answer")


def counted(items: Sequence[T], what: str) -> Iterable[T]:
    """The items; on a terminal a bar on stderr says how far they are, and goes when they are done."""
    if not sys.stderr.isatty():
        return items
    return _with_bar(items, what)


def _with_bar(items: Sequence[T], what: str) -> Iterator[T]:
    yield from track(items, what, console=Console(stderr=True), transient=True, update_period=0.2)
