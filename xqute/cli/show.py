"""`xqute show`: everything about one job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from enum import Enum

import rich_click as click
from rich.text import Text

from xqute.job import Job
from xqute.options import options_as_json
from xqute.printable import printable
from xqute.states import Status
from xqute.store import Row
from xqute.wrapper import quote

from .forms import (
    Out,
    clock,
    history_document,
    job_document,
    print_json,
    print_table,
    seconds_of,
    size,
    status_cell,
    took,
)
from .options import one_job, where
from .place import Place


@click.command(
    help="""Tell everything about one job.

Its command, status and reason, times, options, directory, and everything that happened to it.

\b
Examples:
  xqute show 7
  xqute show 7 --json | jq -r .directory
"""
)
@one_job
@where
def command(job: int, metadir: str, store: str | None, *, as_json: bool) -> None:
    """Show a job."""
    asyncio.run(_show(Place.of(metadir, store), job, as_json=as_json))


async def _show(place: Place, id: int, *, as_json: bool) -> None:
    async with place.reading() as store:
        row, job = await place.find(store, id)
    history = await job.history()
    options = options_as_json(job.call.options)
    if as_json:
        told = [history_document(line) for line in history]
        print_json({**job_document(row, job), "options": options, "history": told})
        return
    out = Out()
    for name, value in _facts(row, job, options):
        out.print(Text.assemble((f"{name:<16}", "dim"), value), soft_wrap=True)
    out.say("")
    _show_history(out, history)


def _facts(row: Row, job: Job, options: dict[str, object]) -> Iterator[tuple[str, str | Text]]:
    cmd = job.cmd if isinstance(job.cmd, str) else " ".join(map(quote, job.cmd))
    yield "job", f"{job.id}, of run {row.run}"
    if job.call.options.title:
        yield "title", job.title
    yield "command", printable(cmd)
    yield "status", status_cell(job.status)
    yield "reason", str(job.reason)
    yield "attempt", f"{job.attempt} (start {job.start})"
    yield from _times(job)
    if job.usage:
        yield "used", _usage(job)
    if job.uid:
        yield "uid", printable(job.uid)
    for name, value in options.items():
        if name != "title":
            yield name, printable(_option(value))
    yield "directory", printable(job.directory)
    yield "stdout", printable(str(job.stdout_file))
    yield "stderr", printable(str(job.stderr_file))


def _times(job: Job) -> Iterator[tuple[str, str]]:
    for name in ("created", "submitted", "started", "ended"):
        date = getattr(job, name)
        if date is not None:
            yield name, clock(date)
    seconds = seconds_of(job, time.time())
    if seconds is not None:
        yield "ran", took(seconds)


def _usage(job: Job) -> str:
    words = {"wall": took, "cpu": took, "peak": size}
    return ", ".join(f"{name} {words.get(name, str)(value)}" for name, value in job.usage.items())


def _option(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join("=".join(item) if isinstance(item, (list, tuple)) else str(item) for item in value)
    return str(value.value if isinstance(value, Enum) else value)


def _show_history(out: Out, history: Sequence[Status]) -> None:
    cells = (
        (clock(line.date), status_cell(line.state), str(line.start), str(line.attempt), str(line.reason))
        for line in history
    )
    print_table(out, ("when", "status", "start", "attempt", "reason"), cells)
