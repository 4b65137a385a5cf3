"""How a call failed: `job.error`, for people and for the process that awaits the job."""

from __future__ import annotations

import binascii
import io
import json
import linecache
import os
import pickle
import sys
import traceback
from types import FrameType, TracebackType
from typing import Any, Final

from ..errors import XquteError
from .files import open_regular, write_whole
from .reprs import shown
from .results import MAIN, Unpickler

ERROR: Final = "job.error"

#: The whole document; what is too much of it is left out, frames in the middle first.
ERROR_MAX_BYTES: Final = 1 << 20

MESSAGE_MAX_CHARS: Final = 16 * 1024
TEXT_MAX_CHARS: Final = 128 * 1024
PICKLE_MAX_BYTES: Final = 256 * 1024
LOCAL_MAX_CHARS: Final = 1000
LOCALS_MAX: Final = 50
#: Lines before and after the one that raised.
AROUND: Final = 2
#: Frames kept at each end of a traceback.
FRAMES: Final = 25
#: Causes of causes.
CHAIN: Final = 10

_STDLIB: Final = os.path.dirname(os.__file__)
#: This package, and what there is between it and a module or an asynchronous function.
_BETWEEN: Final = (
    os.path.dirname(os.path.abspath(__file__)) + os.sep,
    "<frozen importlib",
    f"{_STDLIB}/importlib/__init__.py",
    f"{_STDLIB}/asyncio/",
)


def describe(exc: BaseException) -> dict[str, Any]:
    """An exception in plain values, with its causes."""
    exc.with_traceback(_theirs(exc.__traceback__))
    if isinstance(exc, XquteError):
        _end_with_theirs(exc.__traceback__)
    return _describe(exc, "", CHAIN)


def _describe(exc: BaseException, how: str, depth: int) -> dict[str, Any]:
    cause, why = exc.__cause__, "cause"
    if cause is None and not exc.__suppress_context__:
        cause, why = exc.__context__, "context"
    kind = type(exc)
    return {
        "type": kind.__qualname__,
        "module": "__main__" if kind.__module__ == MAIN else kind.__module__,
        "message": shorten(_message(exc), MESSAGE_MAX_CHARS),
        "frames": _frames(exc.__traceback__),
        "cause": _describe(cause, why, depth - 1) if cause is not None and depth else None,
        "how": how,
        "pickle": _pickled(exc),
        "text": shorten(_text(exc), TEXT_MAX_CHARS) if not how else "",
    }


def _message(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception as failed:  # noqa: BLE001  the user's own code
        return f"(its text can't be had: {type(failed).__name__})"


def _text(exc: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(exc))
    except Exception as failed:  # noqa: BLE001  the user's own code
        return f"{type(exc).__qualname__}: {_message(exc)}\n(no traceback: {type(failed).__name__})\n"


def shorten(text: str, room: int) -> str:
    """A text without its middle, where it is too long."""
    if len(text) <= room:
        return text
    half = room // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters …]\n{text[-half:]}"


def _theirs(tb: TracebackType | None) -> TracebackType | None:
    """A traceback from where it leaves this package for the first time; None when it never does."""
    while tb is not None and _is_ours(tb.tb_frame):
        tb = tb.tb_next
    return tb


def _end_with_theirs(tb: TracebackType | None) -> None:
    """Leave out where in this package an error of ours was raised: who asked for it is what matters."""
    last = tb
    while tb is not None:
        if not _is_ours(tb.tb_frame):
            last = tb
        tb = tb.tb_next
    if last is not None:
        last.tb_next = None


def _is_ours(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return file.startswith(_BETWEEN)


def _frames(tb: TracebackType | None) -> list[dict[str, Any]]:
    steps = []
    while tb is not None:
        steps.append((tb.tb_frame, tb.tb_lineno))
        tb = tb.tb_next
    kept = steps if len(steps) <= 2 * FRAMES else [*steps[:FRAMES], *steps[-FRAMES:]]
    return [_frame(frame, line or 0) for frame, line in kept]


def _frame(frame: FrameType, line: int) -> dict[str, Any]:
    code = frame.f_code
    return {
        "file": code.co_filename,
        "line": line,
        "function": code.co_qualname,
        "context": _context(frame, line),
        "locals": _locals(frame),
    }


def _context(frame: FrameType, line: int) -> list[tuple[int, str]]:
    file = frame.f_code.co_filename
    first = max(1, line - AROUND)
    lines = [(n, linecache.getline(file, n, frame.f_globals)) for n in range(first, line + AROUND + 1)]
    return [(n, text.rstrip("\n")[:500]) for n, text in lines if text]


def _locals(frame: FrameType) -> dict[str, str]:
    try:
        names = list(frame.f_locals.items())[:LOCALS_MAX]
    except Exception:  # noqa: BLE001  a class body may run in any mapping
        return {}
    # At its top level, what a module defines and imports says nothing about a failure.
    if frame.f_locals is frame.f_globals:
        return {}
    return {str(name): shown(value, LOCAL_MAX_CHARS) for name, value in names}


def _pickled(exc: BaseException) -> str | None:
    """The exception itself, where it survives being pickled; many do not."""
    try:
        data = pickle.dumps(exc, 5)
        again = Unpickler(io.BytesIO(data), _main).load() if len(data) <= PICKLE_MAX_BYTES else None
    except Exception:  # noqa: BLE001  the user's own code
        return None
    return binascii.b2a_base64(data, newline=False).decode() if type(again) is type(exc) else None


def _main() -> Any:
    return sys.modules.get(MAIN) or sys.modules["__main__"]


def write_error(directory: str, error: dict[str, Any]) -> None:
    """Write how a call failed.

    Raises:
        OSError: It can't be written.
    """
    write_whole(f"{directory}/{ERROR}", _encoded(error))


def _encoded(error: dict[str, Any]) -> bytes:
    data = json.dumps(error).encode()
    room = 2 * FRAMES
    while len(data) > ERROR_MAX_BYTES and room:
        room //= 2
        _thin(error, room)
        data = json.dumps(error).encode()
    return data


def _thin(error: dict[str, Any] | None, room: int) -> None:
    """Leave out what is large: locals and pickles of the causes and of the outer frames."""
    while error is not None:
        frames = error["frames"]
        error["frames"] = [*frames[: room // 2], *frames[len(frames) - (room + 1) // 2 :]][: len(frames)]
        for frame in error["frames"]:
            frame["locals"] = {name: text[: 8 * room] for name, text in frame["locals"].items()}
        error["pickle"] = None if room < FRAMES else error["pickle"]
        error = error["cause"]


def read_error(path: str) -> dict[str, Any] | None:
    """How a call failed, as it was written; None when nothing readable is there.

    Raises:
        OSError: It could not be read this time.
    """
    file = open_regular(path)
    if file is None:
        return None
    with file:
        content = file.read(ERROR_MAX_BYTES + 1)
    try:
        error = json.loads(content)
    except ValueError:
        return None
    return error if isinstance(error, dict) and isinstance(error.get("type"), str) else None
