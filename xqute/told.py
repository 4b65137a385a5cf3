"""What a job told of itself: its progress and its log, read from its files. Nothing there is trusted."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from . import metadir
from .errors import OptionError
from .events import LEVELS, Event, Progress, Story, read_events
from .options import unknown
from .printable import printable
from .states import JobStatus, Status

#: What is read of a log at most: the end of a longer one.
LOG_MAX_BYTES: Final = 64 * 1024 * 1024


class LogLine(NamedTuple):
    """A log record of a Python call, or a line that a job reported.

    Attributes:
        date: UTC seconds; of a reported line nobody knows it: 0.
        level: DEBUG, INFO, WARNING, ERROR or CRITICAL.
        logger: Its logger's name; empty for a reported line.
        text: The message.
        file, line: Where it was logged.
        error: The traceback of the exception it was logged with; empty when there was none.
    """

    date: float
    level: str
    text: str
    logger: str = ""
    file: str = ""
    line: int = 0
    error: str = ""


def read_progress(directory: str) -> Progress:
    """How far a job says it is."""
    story, offset, path = Story(), 0, f"{directory}/{metadir.EVENTS}"
    while True:
        try:
            events, after = read_events(path, offset)
        except OSError:
            return story.progress
        story.tell(events)
        if after == offset:
            return story.progress
        offset = after


class Stage(NamedTuple):
    """A part of a start, by what the job said of it.

    Attributes:
        name: Empty for what it said before the first stage.
        percent: How far the whole was at its end.
        date: When it began; UTC seconds, 0: nobody said.
    """

    name: str
    percent: float
    date: float


def read_stages(directory: str) -> list[Stage]:
    """The stages of a start, in their order; nothing where it said nothing."""
    try:
        events, _ = read_events(f"{directory}/{metadir.EVENTS}", 0, LOG_MAX_BYTES)
    except OSError:
        return []
    story, stages = Story(), []
    name, date, said = "", 0.0, False
    for event in events:
        if event.word == "stage" and event.text != name:
            if said:
                stages.append(Stage(name, story.progress.percent, date))
            name, date = printable(event.text), event.date
        said |= story.add(event)
    return [*stages, Stage(name, story.progress.percent, date)] if said else []


def with_stages(lines: Sequence[Status], directory: str, newest: int) -> list[Status]:
    """The history of a job with the stages it went through, and how far it was.

    A stage is an entry; what differs only in progress is one entry, with the newest progress.

    Args:
        lines: What the job was, oldest first.
        directory: The job's.
        newest: Its newest start, whose files are there.
    """
    told: list[Status] = []
    known: dict[int, list[Stage]] = {}
    for number, line in enumerate(lines):
        if line.start and line.start not in known and _has_begun(lines, number):
            of_start = directory if line.start == newest else f"{directory}/{metadir.RETRY}/{line.start}"
            known[line.start] = stages = read_stages(of_start)
            until = lines[number + 1].date if number + 1 < len(lines) else None
            told += _running(
                _at_first(line, stages, lines[number - 1].date if number else 0.0), stages, until
            )
        elif known.get(line.start) and line.state >= JobStatus.RUNNING:
            last = known[line.start][-1]
            percent = 100.0 if line.state is JobStatus.FINISHED else last.percent
            told.append(line._replace(stage=last.name, progress=percent))
        else:
            told.append(line)
    return told


def _has_begun(lines: Sequence[Status], number: int) -> bool:
    """Whether this is the line after which the job spoke: RUNNING, or the last before its start ended."""
    line = lines[number]
    after = lines[number + 1] if number + 1 < len(lines) else None
    missed = line.state is JobStatus.SUBMITTED and after is not None and after.state is not JobStatus.RUNNING
    return line.state is JobStatus.RUNNING or missed


def _at_first(line: Status, stages: Sequence[Stage], since: float) -> Status:
    """The line of a start that runs: it ran before it said so, and that may be known before it is seen."""
    said = min((stage.date for stage in stages if stage.date), default=line.date)
    return (
        line if line.state is not JobStatus.RUNNING else line._replace(date=max(since, min(line.date, said)))
    )


def _running(line: Status, stages: Sequence[Stage], until: float | None) -> list[Status]:
    """The entries of a start that runs: one before its first stage, one for each stage."""
    told, date = [line], line.date
    for number, stage in enumerate(stages):
        date = max(date, min(stage.date or date, until or stage.date))
        entry = line._replace(state=JobStatus.RUNNING, stage=stage.name, progress=stage.percent, date=date)
        if number == 0 and not stage.name and line.state is JobStatus.RUNNING:
            told = [entry._replace(date=line.date)]
        else:
            told.append(entry)
    return told


def read_logs(directory: str, level: str, after: float) -> list[LogLine]:
    """What a job logged, oldest first; lines it reported follow, for they have no date.

    Raises:
        OptionError: There is no such level.
    """
    if level.lower() not in LEVELS:
        raise OptionError(unknown("level", level, [name.upper() for name in LEVELS]))
    least = getattr(logging, level.upper())
    records = recorded(metadir.read_lines(f"{directory}/{metadir.LOG}", LOG_MAX_BYTES))
    lines = [*records, *reported(_events(f"{directory}/{metadir.EVENTS}"))]
    return [line for line in lines if _number(line.level) >= least and (not after or line.date > after)]


def recorded(lines: Iterable[bytes]) -> list[LogLine]:
    """The records among the lines of the log of a Python call."""
    found = []
    for line in lines:
        try:
            found.append(_record(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # half a line, or somebody else's
    return found


def _record(kept: dict[str, Any]) -> LogLine:
    return LogLine(
        float(kept["date"]),
        printable(str(kept["level"])),
        str(kept["text"]),
        str(kept.get("logger") or ""),
        str(kept.get("file") or ""),
        int(kept.get("line") or 0),
        str(kept.get("error") or ""),
    )


def reported(events: Iterable[Event]) -> list[LogLine]:
    """What a job said for its log, which has no dates."""
    return [
        LogLine(0.0, (event.level or "info").upper(), event.text) for event in events if event.word == "log"
    ]


def _events(path: str) -> list[Event]:
    try:
        return read_events(path, 0, LOG_MAX_BYTES)[0]
    except OSError:
        return []


def _number(level: str) -> int:
    return logging.getLevelNamesMapping().get(level, logging.INFO)
