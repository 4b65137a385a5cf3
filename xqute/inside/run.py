"""One call, from its script to its return code."""

from __future__ import annotations

import io
import os
import sys
import types
from collections.abc import Mapping
from typing import Any, Final

from ..errors import JobKilled, Skip, XquteError
from . import calling, holes, logs
from .calling import Calling, Leave
from .failing import describe, write_error
from .killing import KILLING, RC
from .loading import Needs, Place, load, read_payload
from .results import write_result

#: It returned, skipped itself, or asked for calls that it needs first.
DONE: Final = 0
#: It raised.
RAISED: Final = 1


def run(script: str, payload: Mapping[str, Any] | None = None) -> int:
    """Do what a job's script says, and write how it ended.

    One call after the other may be done in one process. What a call printed is flushed, and where it
    goes is up to the caller, as is the environment.

    Args:
        script: Its path.
        payload: What its last line says, where that was read already.

    Returns:
        The return code for the job's wrapper.
    """
    directory = os.environ.get("XQUTE_JOB_METADIR") or os.path.dirname(os.path.abspath(script))
    _buffer_lines()
    log = logs.listen(directory)
    try:
        return _end(directory, script, payload)
    finally:
        calling.now = None
        log.end()
        # Loaded by those who report something, and by nobody else.
        if (reporting := sys.modules.get("xqute.inside.reporting")) is not None:
            reporting.close()
        _flush()


def _buffer_lines() -> None:
    """What a call prints is to be seen when it prints it, also when it is killed afterwards."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.line_buffering:
            stream.reconfigure(line_buffering=True)


def _end(directory: str, script: str, payload: Mapping[str, Any] | None) -> int:
    try:
        KILLING.listen()
        return _do(directory, read_payload(script) if payload is None else payload)
    except BaseException as exc:  # noqa: BLE001  the last word about it is ours
        KILLING.spare()
        return _told(directory, exc)


def _told(directory: str, exc: BaseException) -> int:
    """Write how a call ended that did not return."""
    if isinstance(exc, Skip):
        return _tell(directory, "skip", [str(exc)])
    if names := _asked(exc):
        return _tell(directory, "require", names)
    if KILLING.asked and _is_kill(exc):
        return RC
    failed = _failed(directory, exc)
    code = exc.code if isinstance(exc, SystemExit) else None
    return code if isinstance(code, int) and 0 < code <= 255 else failed  # noqa: PLR2004


def _do(directory: str, payload: Mapping[str, Any]) -> int:
    """Call the function and write its result; or become the command."""
    work = payload["work"]
    function = work.get("function")
    place = Place.read(payload["metadir"], function["place"] if function else work["place"])
    place.enter()
    needs = Needs(payload["metadir"], payload["needs"], place)
    if function is None:
        return holes.execute(holes.fill(work["argv"], needs))
    call = calling.now = Calling(directory, payload, place, needs, KILLING)
    value = _call(call, function)
    KILLING.spare()
    write_result(directory, value)
    return DONE


def _call(call: Calling, function: dict[str, Any]) -> Any:
    loaded = call.loaded = load(function, call.place, call.needs)
    logs.stay()
    try:
        value = loaded.function(*loaded.args, **loaded.kwargs)
        if isinstance(value, types.CoroutineType):
            from .awaiting import await_call

            value = await_call(value, call.killing)
        return value
    except SystemExit as exc:
        # A main program of others ends so, also when all is well.
        if exc.code not in {None, 0}:
            raise
        return None


def _asked(exc: BaseException) -> list[str]:
    """What a call that left asked for; tasks of a group leave together."""
    if isinstance(exc, Leave):
        return [exc.name]
    if isinstance(exc, BaseExceptionGroup):
        return [name for part in exc.exceptions for name in _asked(part)]
    return []


def _is_kill(exc: BaseException) -> bool:
    if isinstance(exc, JobKilled):
        return True
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(exc, asyncio.CancelledError)


def _tell(directory: str, word: str, texts: list[str]) -> int:
    from ..events import Event
    from .reporting import reporter

    for text in texts:
        reporter(directory).tell(Event(word, text))
    return DONE


def _failed(directory: str, exc: BaseException) -> int:
    error = describe(exc)
    # Ours are sentences; where in our own code they were raised helps nobody.
    ours = isinstance(exc, XquteError) and not error["frames"]
    _say(f"xqute: {exc}\n" if ours else error["text"])
    try:
        write_error(directory, error)
    except OSError as failed:
        _say(f"xqute: job.error could not be written: {failed}\n")
    return RAISED


def _say(text: str) -> None:
    _flush()
    try:
        sys.stderr.write(text)
    except (OSError, ValueError, AttributeError):
        return


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # closed by the call, or a full disk
            continue
