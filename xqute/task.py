"""What to run: a command, with the options it was given. Inert, and the same in every process."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from .errors import OptionError
from .options import JobOptions, options_as_json, options_from_json, text
from .printable import printable
from .wrapper import quote

Command = Sequence[Any] | str

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Call:
    """A command and how to run it.

    Attributes:
        cmd: An argv as a tuple of texts, or a shell line as a text.
        options: How it is to run.
    """

    cmd: tuple[str, ...] | str
    options: JobOptions

    @property
    def argv(self) -> tuple[str, ...]:
        """What is executed; a shell line runs as `bash -c LINE`."""
        return ("bash", "-c", self.cmd) if isinstance(self.cmd, str) else self.cmd

    def as_json(self) -> str:
        """The form kept in stores."""
        kept = options_as_json(self.options)
        key = "line" if isinstance(self.cmd, str) else "argv"
        return _encode({key: self.cmd, "options": kept} if kept else {key: self.cmd})

    @classmethod
    def from_json(cls, kept: str) -> Call:
        """The call a store kept."""
        document = json.loads(kept)
        options = options_from_json(document.get("options", {}))
        line = document.get("line")
        return cls(line if line is not None else tuple(document["argv"]), options)


def make_call(command: Command, options: JobOptions) -> Call:
    """Check a command as a user gave it.

    Raises:
        OptionError: It is empty, holds a NUL, or is neither a list nor a text.
    """
    if isinstance(command, str):
        if not command.strip():
            msg = "an empty command line was pushed: there is nothing to run"
            raise OptionError(msg)
        return Call(text("the command line", command), options)
    if isinstance(command, (bytes, bytearray)) or not hasattr(command, "__iter__"):
        msg = f"can't push {command!r}: give a list of arguments or a shell line as a str"
        raise OptionError(msg)
    argv = tuple(_argument(position, item) for position, item in enumerate(command))
    if not argv or not argv[0]:
        msg = f"can't push {command!r}: the first element must name a program"
        raise OptionError(msg)
    return Call(argv, options)


def _argument(position: int, item: Any) -> str:
    if type(item) is str and "\0" not in item:
        return item
    if isinstance(item, (str, bytes, os.PathLike, int, float)):
        return text(f"argument {position}", item)
    msg = f"argument {position} is {item!r}: give texts, bytes, numbers or paths"
    raise OptionError(msg)


def shorten(command: tuple[str, ...] | str, width: int = 60) -> str:
    """A command as people read it, on one line."""
    line = command if isinstance(command, str) else " ".join(quote(word[:width]) for word in command[:20])
    shown = printable(" ".join(line[: 4 * width].split()))
    return shown if len(shown) <= width else shown[: width - 1] + "…"
