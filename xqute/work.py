"""What one job does: a command or a Python call, with its options. Flat, inert, and what stores keep.

A call as a user writes it may hold other calls (`task.Call`). Here they have become needs, which are
numbered in the ascending order of their jobs' ids: need 0 is the oldest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Number
from typing import Any, Final, NamedTuple

from .errors import OptionError
from .naming import Named
from .options import JobOptions, options_as_json, options_from_json, text
from .printable import printable
from .wrapper import quote

Command = Sequence[Any] | str

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


class Hole(NamedTuple):
    """A place in an argv that the result of a need takes, as text."""

    need: int


@dataclass(frozen=True, slots=True)
class Function:
    """A Python function and its arguments.

    Attributes:
        target: Where the function is: "module:qualname", {"file": path, "qualname": name} for one of a
            script, {"pickle": base64} for one that has no name elsewhere.
        args: Base64 of a pickle of (args, kwargs), in which needs are persistent ids: 0, 1, …
        place: The digest of the place it was pushed in; see `pickling.place`.
        shown: The call as people read it.
        task: The task's name; empty for a plain function.
        reuse: One process may serve many such calls.
        fork: It may begin in a copy of a process that has imported its module already.
        cleanup: The task has a cleanup function.
        undoes: The id of the job after which its cleanup function is to be called, instead of the task.
    """

    target: str | Mapping[str, str]
    args: str
    place: str
    shown: str
    task: str = ""
    reuse: bool = False
    fork: bool = True
    cleanup: bool = False
    undoes: int = 0

    def as_document(self) -> dict[str, Any]:
        """What differs from the defaults, in plain values."""
        document: dict[str, Any] = {
            "target": self.target,
            "args": self.args,
            "place": self.place,
            "shown": self.shown,
        }
        if self.task:
            document["task"] = self.task
        if self.reuse:
            document["reuse"] = True
        if not self.fork:
            document["fork"] = False
        if self.cleanup:
            document["cleanup"] = True
        if self.undoes:
            document["undoes"] = self.undoes
        return document


@dataclass(frozen=True, slots=True)
class Work:
    """What a job does, and how it is to run.

    Attributes:
        cmd: An argv as a tuple of texts and holes, or a shell line as a text; empty for a Python call.
        options: How it is to run.
        function: The Python call, where it is one.
        place: For an argv with holes, the digest of the place that fills them.
        named: What it is of a named call.
    """

    cmd: tuple[str | Hole, ...] | str
    options: JobOptions
    function: Function | None = None
    place: str = ""
    named: Named | None = None

    @property
    def inside(self) -> bool:
        """Whether a Python process begins it: a Python call, or a command that takes results."""
        return self.function is not None or self.has_holes

    @property
    def has_holes(self) -> bool:
        """Whether it is a command that takes results of others."""
        return not isinstance(self.cmd, str) and any(type(word) is Hole for word in self.cmd)

    @property
    def argv(self) -> tuple[str, ...]:
        """What is executed, where no Python begins it; a shell line runs as `bash -c LINE`."""
        if isinstance(self.cmd, str):
            return ("bash", "-c", self.cmd)
        return tuple(word for word in self.cmd if isinstance(word, str))

    @property
    def shown(self) -> str:
        """It as people read it, on one line."""
        return shorten(self.function.shown if self.function is not None else self.cmd)

    def as_json(self) -> str:
        """The form kept in stores."""
        return _encode(self.as_document())

    def as_document(self) -> dict[str, Any]:
        """The same in plain values."""
        document: dict[str, Any] = {}
        if self.function is not None:
            document["function"] = self.function.as_document()
        elif isinstance(self.cmd, str):
            document["line"] = self.cmd
        else:
            document["argv"] = [{"need": word.need} if isinstance(word, Hole) else word for word in self.cmd]
        if self.place:
            document["place"] = self.place
        if kept := options_as_json(self.options):
            document["options"] = kept
        if self.named is not None:
            document["named"] = self.named.as_document()
        return document

    @classmethod
    def from_json(cls, kept: str) -> Work:
        """The work a store kept."""
        return cls.from_document(json.loads(kept))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Work:
        """The work of plain values."""
        if "named" in document:
            bare = {key: value for key, value in document.items() if key != "named"}
            return replace(cls.from_document(bare), named=Named(**document["named"]))
        options = options_from_json(document.get("options", {}))
        if "function" in document:
            return cls((), options, Function(**document["function"]))
        line = document.get("line")
        if line is not None:
            return cls(line, options)
        argv = tuple(Hole(**word) if isinstance(word, dict) else word for word in document["argv"])
        return cls(argv, options, place=document.get("place", ""))


def make_work(command: Command, options: JobOptions) -> Work:
    """Check a command as a user gave it; texts that are holes stay holes.

    Raises:
        OptionError: It is empty, holds a NUL, or is neither a list nor a text.
    """
    if isinstance(command, str):
        if not command.strip():
            msg = "an empty command line was pushed: there is nothing to run"
            raise OptionError(msg)
        return Work(text("the command line", command), options)
    if isinstance(command, (bytes, bytearray)) or not hasattr(command, "__iter__"):
        msg = f"can't push {command!r}: give a list of arguments or a shell line as a str"
        raise OptionError(msg)
    argv = tuple(_argument(position, item) for position, item in enumerate(command))
    if not argv or not argv[0]:
        msg = f"can't push {command!r}: the first element must name a program"
        raise OptionError(msg)
    return Work(argv, options)


def _argument(position: int, item: Any) -> str | Hole:
    if type(item) is str and "\0" not in item:
        return item
    if type(item) is Hole:
        return item
    if isinstance(item, (str, bytes, os.PathLike, Number)):
        return text(f"argument {position}", item)
    msg = f"argument {position} is {item!r}: give texts, bytes, numbers or paths"
    raise OptionError(msg)


def shorten(command: tuple[str | Hole, ...] | str, width: int = 60) -> str:
    """A command as people read it, on one line."""
    if isinstance(command, str):
        line = command
    else:
        line = " ".join(quote(w[:width]) if isinstance(w, str) else "<need>" for w in command[:20])
    shown = printable(" ".join(line[: 4 * width].split()))
    return shown if len(shown) <= width else shown[: width - 1] + "…"
