"""What a process is between two calls: its streams, environment, directory and signals as at first."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Final

from .handlers import handler_of, set_handler

#: What a call, or the wrapping of one, may have changed.
_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU, signal.SIGINT, signal.SIGALRM)


class Ground:
    """How this process is now, to be so again."""

    def __init__(self) -> None:
        """Keep it."""
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._environ = dict(os.environb)
        self._directory = os.getcwd()
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._handlers = [(number, handler_of(number)) for number in _SIGNALS]

    def restore(self) -> None:
        """Become so again."""
        for place in range(3):
            os.dup2(self._null, place)
        for number, handler in self._handlers:
            set_handler(number, handler)
        os.umask(self._umask)
        now = dict(os.environb)
        for key in now.keys() - self._environ.keys():
            del os.environb[key]
        for key, value in self._environ.items():
            if now.get(key) != value:
                os.environb[key] = value
        with suppress(OSError):
            os.chdir(self._directory)

    def close(self) -> None:
        """It is not needed any more."""
        os.close(self._null)
