"""`xqute logs`: what a job wrote, as it was or as it comes."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, BinaryIO, Final, TextIO

import rich_click as click

from xqute.errors import XquteError
from xqute.events import LEVELS
from xqute.job import Job
from xqute.metadir import RETRY, STDERR, STDOUT, read_news
from xqute.states import FileState

from .forms import counting, print_json
from .journal import Journal, Reader
from .journal import document as document_of
from .options import one_job, where
from .place import Place
from .runs import deserted, run_of
from .tailing import BLOCK_BYTES, Lines, open_output, seek_tail

#: Between two looks at a job that is followed.
FOLLOW_SECONDS: Final = 0.2

ALL: Final = ("stdout", "stderr", "log")


@click.command(
    help="""Print what a job wrote: its stdout to stdout, its stderr and then its log to stderr.

Its log are the records of `logging` in a Python call, and the lines that a job reported; what both say of the
same time need not be in order.

Escape sequences and control characters are taken out; --raw leaves every byte as it is when the output
goes to a file or a program.

\b
Examples:
  xqute logs 7                       both
  xqute logs 7 --stderr --tail 20    how it ended
  xqute logs 7 --log --level error   what it logged, as far as it is bad
  xqute logs 7 --follow              as it comes, until the job has ended
  xqute logs 7 --start 1             what its first start wrote, before a retry
  xqute logs 7 --stdout --raw > out.bin
"""
)
@one_job
@where
@click.option("--stdout", "only", flag_value="stdout", default=None, help="Only its stdout.")
@click.option("--stderr", "only", flag_value="stderr", help="Only its stderr, on stdout.")
@click.option("--log", "only", flag_value="log", help="Only its log, on stdout.")
@click.option(
    "--level",
    metavar="LEVEL",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="info",
    show_default=True,
    help="Of its log, only what is as bad: debug, info, warning, error, critical.",
)
@click.option("--start", type=click.IntRange(min=1), help="What an earlier start wrote.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the job has ended.")
@click.option("--tail", metavar="N", type=click.IntRange(min=0), help="Only the last N lines of each.")
@click.option("--raw", is_flag=True, help="Bytes as they are, where it is not shown on a terminal.")
def command(job: int, metadir: str, store: str | None, *, as_json: bool, follow: bool, **how: Any) -> None:
    """Print output."""
    if as_json and follow:
        raise click.UsageError("--json is one document, and --follow has no end: choose one")
    place = Place.of(metadir, store)
    asyncio.run(_document(place, job, **how) if as_json else _logs(place, job, follow=follow, **how))


def path_of(job: Job, stream: str, start: int | None) -> str:
    """Where a start of a job has its output; of its log, the directory.

    Raises:
        XquteError: There was no such start, or its output was not kept.
    """
    if start is None or start == job.start:
        files = {"stdout": job.stdout_file, "stderr": job.stderr_file}
        return str(files.get(stream, job.directory))
    if start > job.start:
        raise XquteError(f"{job} has no start {start}: {_starts(job.start)}")
    directory = f"{job.directory}/{RETRY}/{start}"
    if stream == "log":
        return directory
    if getattr(job.call.options, stream):
        raise XquteError(f"{job} writes its {stream} to a file of its own, which each start empties")
    return f"{directory}/{STDOUT if stream == 'stdout' else STDERR}"


class Stream:
    """One output of a job on its way to one of ours."""

    def __init__(self, out: TextIO, *, raw: bool, tail: int | None) -> None:
        """Nothing is open yet."""
        self._out = out
        self._raw = raw and not out.isatty()
        self._tail = tail
        self._file: BinaryIO | None = None
        self.found = False  # there was a file
        self._lines = Lines()

    def open(self, path: str) -> None:
        """Begin with a file, unless one is open or there is none."""
        if self._file is None:
            self._file = open_output(path)
            self.found |= self._file is not None
            if self._file is not None and self._tail is not None:
                seek_tail(self._file, self._tail)
        # what comes later is news, and all of it is wanted
        self._tail = None

    def drain(self) -> None:
        """Hand over what there is."""
        while self._file is not None and (block := self._file.read(BLOCK_BYTES)):
            self._hand_over(block)
        self._out.flush()

    def close(self) -> None:
        """Hand over the rest, and let go of the file."""
        self.drain()
        if not self._raw:
            self._out.write(self._lines.feed(b"", last=True))
            self._out.flush()
        if self._file is not None:
            self._file.close()
        self._file = None

    def _hand_over(self, block: bytes) -> None:
        if self._raw:
            self._out.buffer.write(block)
        else:
            self._out.write(self._lines.feed(block))


def _streams(*, only: str | None, tail: int | None, raw: bool, level: str) -> dict[str, Stream | Journal]:
    """What is printed, by its name."""
    outs = {only: sys.stdout} if only else dict.fromkeys(ALL, sys.stderr) | {"stdout": sys.stdout}
    return {
        name: Journal(out, level=level, tail=tail) if name == "log" else Stream(out, raw=raw, tail=tail)
        for name, out in outs.items()
    }


async def _logs(place: Place, id: int, *, follow: bool, start: int | None, **how: Any) -> None:
    streams = _streams(**how)
    job, ended = await _look(place, id, start)
    while True:
        for name, stream in streams.items():
            stream.open(path_of(job, name, start))
            stream.drain()
        if ended or not follow:
            break
        await asyncio.sleep(FOLLOW_SECONDS)
        before = job.start
        job, ended = await _look(place, id, start)
        if start is None and job.start != before:
            for stream in streams.values():
                stream.close()
    for stream in streams.values():
        stream.close()
    if not any(stream.found for stream in streams.values()):
        print(f"xqute: {_nothing(job, how['only'], start, how['level'])}", file=sys.stderr)


def _nothing(job: Job, only: str | None, start: int | None, level: str) -> str:
    """Why there is no output, and where there is some."""
    if job.removed:
        return f"the directory of {job} was removed after it had ended, as keep= of its run says"
    if job.start and not os.path.isdir(job.directory):
        return f"the directory of {job} is gone: {job.directory}"
    if only == "log" and (lines := _lines(job, start)):
        told = f"{job} has nothing in its log that is as bad as {level}"
        return f"{told}; --level debug shows {counting(lines, 'line')}"
    others = [name for name in ALL if name != only and _holds(job, name, start)]
    if others:
        which, where = "is" if len(others) == 1 else "are", f" --start {start}" if start else ""
        told = f"{job} has no {only}; its {' and '.join(others)} {which} not empty"
        return f"{told}: `xqute logs {job.id}{where}`"
    return f"{job} has written nothing; it is {job.status.name}: {job.reason}"


def _lines(job: Job, start: int | None) -> int:
    """How many lines its log has in all."""
    return sum(1 for _ in Reader(path_of(job, "log", start), "debug").read())


def _holds(job: Job, stream: str, start: int | None) -> bool:
    """Whether there is something of this output."""
    if stream == "log":
        return _lines(job, start) > 0
    try:
        return os.path.getsize(path_of(job, stream, start)) > 0
    except (OSError, XquteError):  # it is not there, or was not kept
        return False


async def _look(place: Place, id: int, start: int | None) -> tuple[Job, bool]:
    """The job, and whether nothing will be written any more: it ended, or nobody is there to run it."""
    # opened anew for each look: a store that nobody writes to is read without looking for news
    async with place.reading() as store:
        row, job = await place.find(store, id)
        if job.status.final or (start is not None and start < job.start):
            return job, True
        run = await run_of(store, row)
    if not deserted(run):
        return job, False
    return job, not job.status.live or read_news(job.directory).state is not FileState.RUNNING


async def _document(
    place: Place,
    id: int,
    *,
    only: str | None,
    start: int | None,
    tail: int | None,
    raw: bool,
    level: str,
) -> None:
    async with place.reading() as store:
        _, job = await place.find(store, id)
    document: dict[str, Any] = {"id": job.id, "start": start or job.start}
    for name in (only,) if only else ALL:
        path = path_of(job, name, start)
        if name == "log":
            lines = [document_of(line) for line in Reader(path, level).read()]
            document[name] = lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]
        else:
            document[name] = {"file": path, "text": _text(path, tail)}
    print_json(document)


def _text(path: str, tail: int | None) -> str | None:
    """The content of an output file; None when there is none."""
    file = open_output(path)
    if file is None:
        return None
    with file:
        if tail is not None:
            seek_tail(file, tail)
        return file.read().decode("utf-8", "replace")


def _starts(count: int) -> str:
    """How often a job was started, in words."""
    words = {0: "it has not been started yet", 1: "it was started once"}
    return words.get(count, f"it was started {count} times")
