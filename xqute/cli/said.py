"""What a job said of itself, for people and as JSON: its progress, its result, how its call failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from xqute.events import Progress
from xqute.inside.failing import read_error
from xqute.job import Job
from xqute.metadir import ERROR, RESULT_TEXT, read_small
from xqute.printable import printable

_SILENT: Final = Progress()

#: Of a result and of the value of a variable, where they are told with much else.
RESULT_WIDTH: Final = 2000
LOCAL_WIDTH: Final = 200

#: What of `job.error` is for programs of its own kind only.
_NOT_TOLD: Final = ("pickle",)


def progress_of(job: Job) -> Progress | None:
    """How far it says it is, or was in its last start; None when it said nothing."""
    if not (job.status.live or job.status.final) or not job.start:
        return None
    progress = job.progress
    return None if progress == _SILENT else progress


def progress_text(progress: Progress | None) -> str:
    """It on one line: percent, stage and message."""
    if progress is None:
        return ""
    words = ": ".join(word for word in (progress.stage, progress.message) if word)
    return printable(f"{progress.percent:.0f}% {words}".rstrip())


def progress_lines(progress: Progress, depth: int = 1) -> Iterator[str]:
    """The bars below it, each on a line."""
    for name, child in progress.children.items():
        counted = f"{child.current:.12g} of {child.total:.12g}"
        yield printable(f"{'  ' * depth}{name}: {progress_text(child)} ({counted})")
        yield from progress_lines(child, depth + 1)


def progress_document(progress: Progress | None) -> dict[str, Any] | None:
    """It as JSON."""
    if progress is None:
        return None
    return {
        "percent": round(progress.percent, 3),
        "current": progress.current,
        "total": progress.total,
        "stage": progress.stage,
        "message": progress.message,
        "children": {name: progress_document(child) for name, child in progress.children.items()},
    }


def result_text(job: Job) -> str | None:
    """What a Python call returned, as its process wrote it down for people; nothing is unpickled."""
    content = _small(f"{job.directory}/{RESULT_TEXT}")
    return None if content is None else content.decode("utf-8", "replace")


def _small(path: str) -> bytes | None:
    try:
        content = read_small(path)
    except OSError:
        return None
    return content if isinstance(content, bytes) else None


def error_of(job: Job) -> dict[str, Any] | None:
    """How its call failed, in plain values, with its causes; None when nothing says so."""
    if not job.call.inside:
        return None
    try:
        error = read_error(f"{job.directory}/{ERROR}")
    except OSError:
        return None
    return None if error is None else _told(error)


def _told(error: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in error.items() if name not in _NOT_TOLD}
    if isinstance(told.get("cause"), dict):
        told["cause"] = _told(told["cause"])
    return told


#: What stands between an error and the one before it.
_CHAINED: Final = {"cause": "caused by", "context": "raised while this was handled"}


def error_lines(error: Mapping[str, Any]) -> Iterator[str]:
    """The error with the code around each frame and its variables, then what caused it."""
    head = _text(error.get("type"))
    message = str(error.get("message") or "").splitlines()
    yield f"{head}: {_text(message[0])}" if message else head
    for line in message[1:]:
        yield f"  {_text(line)}"
    for frame in _dicts(error.get("frames")):
        yield from _frame_lines(frame)
    cause = error.get("cause")
    if isinstance(cause, dict):
        yield ""
        first, *rest = error_lines(cause)
        yield f"{_CHAINED.get(str(cause.get('how')), 'after')} {first}"
        yield from rest


def _frame_lines(frame: Mapping[str, Any]) -> Iterator[str]:
    yield f"  {_text(frame.get('file'))}:{_text(frame.get('line'))} in {_text(frame.get('function'))}"
    for number, text in _pairs(frame.get("context")):
        mark = ">" if number == frame.get("line") else " "
        yield f"  {mark} {_text(number):>5} | {_text(text)}".rstrip()
    variables = frame.get("locals")
    for name, value in variables.items() if isinstance(variables, dict) else ():
        shown = _text(value)
        yield f"      {_text(name)} = {shown[:LOCAL_WIDTH]}{'…' if len(shown) > LOCAL_WIDTH else ''}"


def _text(value: object) -> str:
    return printable(str(value))


def _dicts(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _pairs(value: object) -> list[Sequence[Any]]:
    pairs = value if isinstance(value, list) else []
    return [pair for pair in pairs if isinstance(pair, list) and len(pair) == 2]  # noqa: PLR2004  line and text
