"""`xqute show`: everything about one job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

import rich_click as click
from rich.text import Text

from xqute.amounts import OWN, told
from xqute.job import Job
from xqute.options import options_as_json
from xqute.printable import LISTED, printable
from xqute.states import JobStatus, Status
from xqute.store import Row
from xqute.work import Hole
from xqute.wrapper import quote

from .forms import (
    Out,
    clock,
    command_of,
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
from .place import Place, statuses_of
from .said import (
    RESULT_WIDTH,
    error_lines,
    error_of,
    progress_lines,
    progress_of,
    progress_text,
    result_text,
)
from .tailing import tame

#: Options that have lines of their own.
_TOLD = frozenset({"title", "resources", "limit", *OWN})


@click.command(
    help="""Tell everything about one job.

Its command or call, what it needs, status and reason, progress, times, options, directory, and everything
that happened to it; what a Python call returned, or how it failed.

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
        known = await statuses_of(store, [job])
    history = await job.history()
    options = options_as_json(job.call.options)
    if as_json:
        print_json(_document(row, job, options, history))
        return
    out = Out()
    for name, value in _facts(row, job, options, known):
        out.print(Text.assemble((f"{name:<16}", "dim"), value), soft_wrap=True)
    out.say("")
    _show_history(out, history)
    if (error := error_of(job)) is not None and job.status is JobStatus.FAILED:
        out.say("")
        for line in error_lines(error):
            out.say(line)


def _document(
    row: Row, job: Job, options: Mapping[str, object], history: Sequence[Status]
) -> dict[str, object]:
    return {
        **job_document(row, job),
        "tree": row.tree,
        "parent": row.parent or None,
        "digest": row.digest,
        "options": options,
        "history": [history_document(line) for line in history],
        "result": result_text(job) if job.status is JobStatus.FINISHED else None,
        "error": error_of(job),
    }


def _facts(
    row: Row, job: Job, options: Mapping[str, object], known: Mapping[int, JobStatus]
) -> Iterator[tuple[str, str | Text]]:
    yield "job", f"{job.id}, of run {row.run}"
    if job.call.options.title:
        yield "title", job.title
    yield ("call" if job.call.function else "command"), _command(job)
    if job.task:
        yield "task", printable(job.task)
    if job.name:
        yield "build of", printable(job.name)
        if job.notes:
            yield "notes", printable(" ".join(job.notes.split()))
        if job.used:
            yield "used builds", printable(", ".join(f"{id_} of {name}" for name, id_ in job.used.items()))
    yield from _tree(row, job, known)
    yield "status", status_cell(job.status)
    yield "reason", str(job.reason)
    yield from _said(job)
    yield "attempt", f"{job.attempt} (start {job.start})"
    yield from _times(job)
    if job.usage:
        yield "used", _usage(job)
    if job.uid:
        yield "uid", printable(job.uid)
    yield from _shared(job)
    for name, value in options.items():
        if name not in _TOLD:
            yield name, printable(_option(value))
    yield "directory", printable(job.directory) + (" (removed, as keep= says)" if job.removed else "")
    yield "stdout", printable(str(job.stdout_file))
    yield "stderr", printable(str(job.stderr_file))


def _shared(job: Job) -> Iterator[tuple[str, str]]:
    """What it takes of what jobs share."""
    options = job.call.options
    if amounts := options.amounts(job.next_attempt):
        yield "takes", told(amounts)
    if options.limit is not None:
        key, most = options.limit
        yield "limit", f"at most {most} of {key}" if most else key


def _command(job: Job) -> str:
    command = command_of(job)
    if not isinstance(command, str):
        # what stands for a job is no word of the command, and is not quoted
        words = zip(command, job.cmd, strict=True)
        command = " ".join(word if isinstance(given, Hole) else quote(word) for word, given in words)
    return printable(command)


def _tree(row: Row, job: Job, known: Mapping[int, JobStatus]) -> Iterator[tuple[str, str]]:
    """What it needs, and who needs it."""
    if job.needs:
        more = f", and {len(job.needs) - LISTED} more" if len(job.needs) > LISTED else ""
        gone = "removed"
        named = (f"{id_} {known[id_].name if id_ in known else gone}" for id_ in job.needs[:LISTED])
        yield "needs", f"{', '.join(named)}{more}"
    if row.parent:
        yield "for", f"job {row.parent}"


def _said(job: Job) -> Iterator[tuple[str, str]]:
    """What it said of itself."""
    progress = None if job.status is JobStatus.FINISHED else progress_of(job)
    if progress is not None:
        yield "progress", "\n".join([progress_text(progress), *progress_lines(progress)])
    if job.status is JobStatus.FINISHED and (text := result_text(job)):
        first, *rest = tame(text).splitlines()
        more = f" … and {len(rest)} more lines" if rest else ""
        shown = first if len(first) <= RESULT_WIDTH else f"{first[:RESULT_WIDTH]}…"
        yield "result", f"{shown}{more}"


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
    headers = ["when", "status", "start", "attempt", "stage", "reason"]
    cells: list[list[str | Text]] = [
        [
            clock(line.date),
            status_cell(line.state),
            str(line.start),
            str(line.attempt),
            line.stage if line.progress is None else f"{line.progress:.0f}% {line.stage}".rstrip(),
            str(line.reason),
        ]
        for line in history
    ]
    print_table(out, headers, cells, mostly_empty="stage")
