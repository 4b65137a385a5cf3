"""The exit statuses of all commands."""

from __future__ import annotations

from typing import Final

from xqute.errors import OptionError

FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130


def status_of(error: Exception) -> int:
    """The exit status of a command that ended with an error; an option that nobody knows is wrong usage."""
    return MISUSED if isinstance(error, OptionError) else FAILED
