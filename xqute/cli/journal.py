"""The log of a job: the records of a Python call, and the lines that a job reported, as they come."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from typing import Any, Final, TextIO

from xqute.events import read_events
from xqute.metadir import EVENTS, LOG
from xqute.told import LogLine, recorded, reported

from .forms import clock, iso
from .tailing import open_output, tame

#: Read at a time; a longer line is left out.
BLOCK_BYTES: Final = 1 << 20

#: As wide as a date.
_NO_DATE: Final = " " * 19


class Journal:
    """The log of one start of a job, on its way to one of our outputs.

    Args:
        out: Where it is printed.
        level: What is less than this is left out.
        tail: At first, only so many lines.
    """

    def __init__(self, out: TextIO, *, level: str, tail: int | None) -> None:
        """Nothing is open yet."""
        self._out = out
        self._level = level
        self._tail = tail
        self._reader: Reader | None = None
        self.found = False  # there was a line

    def open(self, directory: str) -> None:
        """Begin with the files of a start, unless that was done."""
        if self._reader is None:
            self._reader = Reader(directory, self._level)

    def drain(self) -> None:
        """Print what there is."""
        if self._reader is None:
            return
        lines = [*self._reader.read()]
        self.found |= bool(lines)
        if self._tail is not None:
            lines, self._tail = lines[len(lines) - min(self._tail, len(lines)) :], None
        self._out.writelines(f"{shown(line)}\n" for line in lines)
        self._out.flush()

    def close(self) -> None:
        """Print the rest; what comes next is of another start."""
        self.drain()
        self._reader = None


class Reader:
    """Reads the log of one start as it grows; records first, for reported lines have no date."""

    def __init__(self, directory: str, level: str) -> None:
        """Nothing was read yet."""
        self._paths = (f"{directory}/{LOG}", f"{directory}/{EVENTS}")
        self._offsets = [0, 0]
        self._least = _number(level.upper())

    def read(self) -> Iterator[LogLine]:
        """What came since."""
        for number, read in enumerate((_read_records, _read_reported)):
            for line in self._all_of(number, read):
                if _number(line.level) >= self._least:
                    yield line

    def _all_of(
        self, number: int, read: Callable[[str, int], tuple[list[LogLine], int]]
    ) -> Iterator[LogLine]:
        while True:
            before = self._offsets[number]
            try:
                lines, self._offsets[number] = read(self._paths[number], before)
            except OSError:
                return
            if self._offsets[number] == before:
                return
            yield from lines


def _number(level: str) -> int:
    return logging.getLevelNamesMapping().get(level, logging.INFO)


def _read_reported(path: str, offset: int) -> tuple[list[LogLine], int]:
    events, after = read_events(path, offset)
    return reported(events), after


def _read_records(path: str, offset: int) -> tuple[list[LogLine], int]:
    """The records in the complete lines of a file, as far as they are any."""
    file = None if os.path.islink(path) else open_output(path)
    if file is None:
        return [], offset
    with file:
        block = os.pread(file.fileno(), BLOCK_BYTES, offset)
    end = block.rfind(b"\n") + 1
    if not end and len(block) == BLOCK_BYTES:
        return [], offset + BLOCK_BYTES
    return recorded(block[:end].splitlines()), offset + end


def shown(line: LogLine) -> str:
    """A line of a log for people; what follows its first line is indented."""
    date = clock(line.date) if line.date else _NO_DATE
    logger = f"{line.logger}: " if line.logger and line.logger != "root" else ""
    text = tame(f"{logger}{line.text}\n{line.error}".rstrip("\n"))
    return f"{date} {tame(line.level):<8} {text}".replace("\n", "\n    ")


def document(line: LogLine) -> dict[str, Any]:
    """A line of a log as JSON."""
    return {**line._asdict(), "date": iso(line.date) if line.date else None}
