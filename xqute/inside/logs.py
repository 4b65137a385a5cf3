"""What a call logs by the standard library's `logging`: `job.log`, a JSON document per line."""

from __future__ import annotations

import json
import logging
import os
import traceback
from typing import Any, ClassVar, Final

LOG: Final = "job.log"

#: A longer text is cut.
TEXT_MAX_CHARS: Final = 64 * 1024

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class JobLog(logging.Handler):
    """Appends each record to the log of the job. That it can't is no reason for a job to fail."""

    #: The one of this process.
    now: ClassVar[JobLog | None] = None

    def __init__(self) -> None:
        """There is no job yet."""
        super().__init__()
        self._path = ""
        self._fd = -1

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; and show it where Python would, if nobody else does."""
        try:
            if self._path:
                self._append(json.dumps(_document(record)).encode() + b"\n")
        except Exception:  # noqa: BLE001  a wrong argument of a record, a full disk, a link in its place
            self.handleError(record)
        last = logging.lastResort
        if last is not None and record.levelno >= last.level and logging.root.handlers == [self]:
            last.handle(record)

    def _append(self, line: bytes) -> None:
        if self._fd < 0:
            self._fd = os.open(self._path, _FLAGS, 0o600)
        os.write(self._fd, line)

    def begin(self, directory: str) -> None:
        """From now on this is the log of this job; the file is made with the first record."""
        self._path = f"{directory}/{LOG}"

    def end(self) -> None:
        """The job is over."""
        self._path = ""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _document(record: logging.LogRecord) -> dict[str, Any]:
    error = None
    if record.exc_info and record.exc_info[0] is not None:
        error = "".join(traceback.format_exception(*record.exc_info))[:TEXT_MAX_CHARS]
    return {
        "date": record.created,
        "level": record.levelname,
        "logger": record.name,
        "text": record.getMessage()[:TEXT_MAX_CHARS],
        "file": record.pathname,
        "line": record.lineno,
        "error": error,
    }


_basic_config: Final = logging.basicConfig


def _configure(**given: Any) -> None:
    """`logging.basicConfig`, which does nothing where the root logger has a handler already: ours is none."""
    ours = [handler for handler in logging.root.handlers if isinstance(handler, JobLog)]
    for handler in ours:
        logging.root.removeHandler(handler)
    try:
        _basic_config(**given)
    finally:
        for handler in ours:
            logging.root.addHandler(handler)


def listen(directory: str) -> JobLog:
    """Capture what is logged from now on; from INFO on, unless somebody chose a level already."""
    log = JobLog.now
    if log is None:
        root = logging.root
        if not root.handlers and root.level == logging.WARNING:
            root.setLevel(logging.INFO)
        log = JobLog.now = JobLog()
        logging.basicConfig = _configure
    log.begin(directory)
    stay()
    return log


def stay() -> None:
    """Be there again, where the module of the call has configured logging anew and taken it away."""
    if JobLog.now is not None and JobLog.now not in logging.root.handlers:
        logging.root.addHandler(JobLog.now)
