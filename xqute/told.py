"""What a job told of itself: its progress and its log, read from its files. Nothing there is trusted."""

from __future__ import annotations

import json
import logging
from typing import Any, Final, NamedTuple

from . import metadir
from .errors import OptionError
from .events import LEVELS, Event, Progress, Story, read_events
from .options import unknown
from .printable import printable

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


def read_logs(directory: str, level: str, after: float) -> list[LogLine]:
    """What a job logged, oldest first; lines it reported follow, for they have no date.

    Raises:
        OptionError: There is no such level.
    """
    if level.lower() not in LEVELS:
        raise OptionError(unknown("level", level, [name.upper() for name in LEVELS]))
    least = getattr(logging, level.upper())
    lines = [*_records(f"{directory}/{metadir.LOG}"), *_reported(f"{directory}/{metadir.EVENTS}")]
    return [line for line in lines if _number(line.level) >= least and (not after or line.date > after)]


def _records(path: str) -> list[LogLine]:
    found = []
    for line in metadir.read_lines(path, LOG_MAX_BYTES):
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


def _reported(path: str) -> list[LogLine]:
    try:
        events, _ = read_events(path, 0, LOG_MAX_BYTES)
    except OSError:
        return []
    return [_line(event) for event in events if event.word == "log"]


def _line(event: Event) -> LogLine:
    return LogLine(0.0, (event.level or "info").upper(), event.text)


def _number(level: str) -> int:
    return logging.getLevelNamesMapping().get(level, logging.INFO)
