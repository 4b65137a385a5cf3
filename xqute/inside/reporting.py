"""Appends events to `job.events`; what is said too often is said less often."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from typing import Final

from ..events import Event, format_event

EVENTS: Final = "job.events"

#: Between two lines about the progress of one bar; nobody looks more often.
PAUSE_SECONDS: Final = 0.1

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Reporter:
    """Writes the events of one process of a job.

    Args:
        path: The file, which is made when it is needed. It stays open: what a start that was given up
            still says never reaches the file of the next one.
    """

    def __init__(self, path: str) -> None:
        """Nothing is written yet."""
        self._path = path
        self._fd = -1
        self._lock = threading.Lock()
        self._written: dict[tuple[str, ...], tuple[float, Event]] = {}
        self._pending: dict[tuple[str, ...], Event] = {}
        self._flusher: threading.Thread | None = None
        self._closed = threading.Event()
        self._finalized = False
        atexit.register(self.flush)

    def begin_again(self) -> None:
        """In a fork: what waits is told by the parent, and there is no thread."""
        self._lock = threading.Lock()
        self._pending = {}
        self._flusher = None
        self._finalized = False

    def tell(self, event: Event) -> None:
        """Write an event, after what waits.

        Raises:
            OSError: It can't be written.
        """
        with self._lock:
            self._write_pending()
            self._written.clear()  # in another stage the same progress is another
            self._write(event)

    def progress(self, event: Event) -> None:
        """Write a progress soon; one that nobody could have seen in between is left out."""
        with self._lock:
            told = self._written.get(event.group)
            if event.group not in self._pending:
                if told is not None and told[1] == event:
                    return
                now = time.monotonic()
                if told is None or now - told[0] >= PAUSE_SECONDS:
                    self._try(event, now)
                    return
            self._pending[event.group] = event
            if self._flusher is None:
                self._see_to_the_last()

    def _see_to_the_last(self) -> None:
        """What waits is written soon, or when the process ends before."""
        self._flusher = threading.Thread(target=self._flush_soon, name="xqute-events", daemon=True)
        self._flusher.start()
        # A process of `multiprocessing` ends without the functions of atexit.
        util = sys.modules.get("multiprocessing.util")
        if util is not None and not self._finalized:
            self._finalized = True
            util.Finalize(self, self.flush, exitpriority=0)

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            self._write_pending()

    def close(self) -> None:
        """Write what waits, and nothing more."""
        self._closed.set()
        if (flusher := self._flusher) is not None:
            flusher.join()
        self.flush()
        atexit.unregister(self.flush)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _flush_soon(self) -> None:
        self._closed.wait(PAUSE_SECONDS)
        with self._lock:
            self._flusher = None
            self._write_pending()

    def _write_pending(self) -> None:
        if not self._pending:
            return
        now = time.monotonic()
        pending, self._pending = self._pending, {}
        for event in pending.values():
            self._try(event, now)

    def _try(self, event: Event, now: float) -> None:
        self._written[event.group] = (now, event)
        try:
            self._write(event)
        except OSError:  # a full disk: no job fails because nobody sees how far it is
            return

    def _write(self, event: Event) -> None:
        line = format_event(event)
        if self._fd < 0:
            self._fd = os.open(self._path, _FLAGS, 0o600)
        if os.write(self._fd, line) < len(line):
            # Half a line: the next one is to begin on its own.
            os.write(self._fd, b"\n")


_reporters: Final[dict[str, Reporter]] = {}


def _begin_again() -> None:
    for each in _reporters.values():
        each.begin_again()


os.register_at_fork(after_in_child=_begin_again)


def reporter(directory: str) -> Reporter:
    """The one that writes for the job in this directory."""
    path = f"{directory}/{EVENTS}"
    if path not in _reporters:
        _reporters[path] = Reporter(path)
    return _reporters[path]


def close() -> None:
    """Close all of them; the next call of this process has another directory."""
    while _reporters:
        _reporters.popitem()[1].close()
