"""How things are written: dates, durations and sizes, JSON, and tables for people and for pipes."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xqute.job import Job
from xqute.printable import printable
from xqute.states import JobStatus, Reason, Status
from xqute.store import Row
from xqute.work import Hole

from .said import progress_document, progress_of

#: Wide enough for any line that is not for a terminal.
PIPE_WIDTH: Final = 100_000

#: The colours of statuses on a terminal.
STYLES: Final = {
    JobStatus.RUNNING: "cyan",
    JobStatus.SUBMITTED: "cyan",
    JobStatus.KILLING: "magenta",
    JobStatus.FINISHED: "green",
    JobStatus.FAILED: "bold red",
    JobStatus.KILLED: "magenta",
    JobStatus.SKIPPED: "green",
}


class Out(Console):
    """Where a command prints: as wide as the terminal, or not cut at all."""

    def __init__(self) -> None:
        """For the stdout there is now."""
        terminal = sys.stdout.isatty()
        super().__init__(
            file=sys.stdout,
            force_terminal=None if terminal else False,
            width=None if terminal else PIPE_WIDTH,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def on_broken_pipe(self) -> None:
        """Whoever called the command decides."""
        raise BrokenPipeError

    def say(self, text: str, style: str = "") -> None:
        """One line, never wrapped."""
        self.print(Text(text, style=style), soft_wrap=True)


def iso(date: float | None) -> str | None:
    """A date as programs read it: UTC, ISO 8601."""
    if date is None:
        return None
    return datetime.fromtimestamp(date, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(date: float | None) -> str:
    """A date as people read it, in their own time zone."""
    return (
        "" if date is None else datetime.fromtimestamp(date, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    )


def took(seconds: float | None) -> str:
    """A duration as people read it."""
    if seconds is None:
        return ""
    if seconds < 60:  # noqa: PLR2004  a minute
        return f"{max(seconds, 0):.{2 if seconds < 10 else 1}f} s"  # noqa: PLR2004  as fine as it matters
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m{rest:02}s" if hours else f"{minutes}m{rest:02}s"


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004  the next unit
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def jobs(count: int) -> str:
    """A number of jobs."""
    return counting(count, "job")


def counting(count: int, what: str) -> str:
    """A number of things."""
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def show_warnings() -> None:
    """What the engine warns of is told as the rest is."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(logging.Formatter("xqute: %(message)s"))


def print_json(document: dict[str, Any]) -> None:
    """The one document of a command."""
    print(json.dumps(document, indent=2, default=str))


def print_table(
    out: Out, headers: Sequence[str], rows: Collection[Sequence[str | Text]], *, mostly_empty: str = ""
) -> None:
    """A table: with care for the width on a terminal, aligned columns without lines elsewhere.

    The column `mostly_empty` is left out where it is empty.
    """
    columns = {
        name: [_text(row[n]) for row in rows]
        for n, name in enumerate(headers)
        if name != mostly_empty or any(row[n] for row in rows)
    }
    widths = _widths(columns)
    if out.is_terminal:
        widths = _fit(columns, out.width)
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    for name, width in widths.items():
        wraps = name in _CUT | _WRAPPED
        table.add_column(name, no_wrap=not wraps, overflow="fold" if wraps else "ellipsis", width=width)
        if name in _CUT and out.is_terminal:
            columns[name] = [_cut(out, cell, width) for cell in columns[name]]
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    if out.is_terminal:
        out.print(table)
        return
    with out.capture() as captured:
        out.print(table, crop=False)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _cut(out: Out, cell: Text, width: int) -> Text:
    """A text on two lines at most."""
    first, *rest = cell.wrap(out, width, overflow="fold") or [cell]
    if len(rest) > 1:
        rest[0].truncate(width - 1)
        rest[0].append("…")
    return Text("\n").join([first, *rest[:1]])


def _text(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(printable(cell))


#: Blanks between two columns.
_GAP: Final = 2

#: Columns that give way where the terminal is too narrow: those go on on one line below and are cut then,
#: these on as many as it takes. Ids, numbers and times never do.
_CUT: Final = frozenset({"title", "script", "progress"})
_WRAPPED: Final = frozenset({"reason", "state", "jobs"})
_NARROWEST: Final = 8

#: Columns that may be missed there, when they say this in all rows.
_DULL: Final = {"start": "1", "attempt": "1"}

#: The month and the day in a short date.
_DAY: Final = 6

#: Columns that are missed most easily where nothing else does.
_MISSED: Final = ("attempt", "time")

#: Columns that have a shorter form, or several.
_SHORTER: Final[Sequence[tuple[str, Callable[[str], str]]]] = (
    ("script", os.path.basename),
    ("created", lambda date: date[5:16]),  # without the year and the seconds
    ("when", lambda date: date[5:]),
)


def _widths(columns: Mapping[str, Sequence[Text]]) -> dict[str, int]:
    return {name: max(len(name), *(cell.cell_len for cell in cells)) for name, cells in columns.items()}


def _fit(columns: dict[str, list[Text]], width: int) -> dict[str, int]:
    """Make the columns fit in this width, as far as they can; returns how wide each is."""
    for name, dull in _DULL.items():
        if _total(_widths(columns)) > width and all(cell.plain == dull for cell in columns.get(name, ())):
            columns.pop(name, None)
    for name, shorter in _SHORTER:
        if _total(_widths(columns)) > width and name in columns:
            columns[name] = [Text(shorter(cell.plain)) for cell in columns[name]]
    days = {cell.plain[:_DAY] for cell in columns.get("when", ())}
    if len(days) == 1 and _total(_widths(columns)) > width:
        columns["when"] = [cell[_DAY:] for cell in columns["when"]]
    for name in _MISSED:
        if _total(_least(columns)) > width:
            columns.pop(name, None)
    widths = _widths(columns)
    give = {name for name in widths if name in _CUT | _WRAPPED and widths[name] > _NARROWEST}
    while give and _total(widths) > width:
        # of what is cut something is lost, yet reasons are what people came for
        widest = max(give, key=lambda name: widths[name] * (1.75 if name in _CUT else 1))
        widths[widest] -= 1
        give -= {name for name in give if widths[name] <= _NARROWEST}
    return widths


def _least(columns: Mapping[str, Sequence[Text]]) -> dict[str, int]:
    """How wide each column must be."""
    gives = _CUT | _WRAPPED
    return {
        name: min(width, _NARROWEST) if name in gives else width for name, width in _widths(columns).items()
    }


def _total(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def status_cell(status: JobStatus) -> Text:
    """A status in its colour."""
    return Text(status.name, style=STYLES.get(status, ""))


def seconds_of(job: Job, now: float) -> float | None:
    """How long the newest start of a job ran, or runs."""
    wall = job.usage.get("wall")
    if wall is not None:
        return wall
    if job.started is None:
        return None
    end = job.ended if job.ended is not None else now
    return end - job.started if job.status.final or job.status.live else None


def reason_document(reason: Reason) -> dict[str, Any]:
    """A reason as JSON."""
    return {"code": reason.code, "sentence": str(reason), "detail": dict(reason.detail)}


def command_of(job: Job) -> str | list[str]:
    """What it runs, with the jobs in it whose results it takes there."""
    if isinstance(job.cmd, str):
        return job.cmd
    needs = job.given_needs
    return [f"<job {needs[word.need]}>" if isinstance(word, Hole) else word for word in job.cmd]


def job_document(row: Row, job: Job) -> dict[str, Any]:
    """A job as JSON; every command that tells of a job tells it so."""
    return {
        "id": job.id,
        "run": row.run,
        "status": job.status.name.lower(),
        "reason": reason_document(job.reason),
        "title": job.title,
        "command": command_of(job),
        "task": job.task,
        "name": job.name,
        "needs": list(job.needs),
        "used": dict(job.used),
        "progress": progress_document(progress_of(job)),
        "user": job.user,
        "tags": list(job.tags),
        "priority": row.priority,
        "attempt": job.attempt,
        "start": job.start,
        "rc": job.rc,
        "uid": job.uid,
        "created": iso(job.created),
        "submitted": iso(job.submitted),
        "started": iso(job.started),
        "ended": iso(job.ended),
        "usage": dict(job.usage),
        "directory": job.directory,
        "removed": job.removed,
        "stdout": str(job.stdout_file),
        "stderr": str(job.stderr_file),
    }


def history_document(line: Status) -> dict[str, Any]:
    """A line of a history as JSON."""
    return {
        "date": iso(line.date),
        "status": line.state.name.lower(),
        "start": line.start,
        "attempt": line.attempt,
        "reason": reason_document(line.reason),
        "stage": line.stage,
        "progress": None if line.progress is None else round(line.progress, 3),
        "error": line.error,
    }
