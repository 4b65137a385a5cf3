"""Whether two calls are the same: the one comparison, for a script that goes on where it was.

What a call *does* counts: the command, and the environment, the directory and the input it was given.
How it is run (priority, retries, timeouts, labels, where its output goes) does not: it may change
between two runs of a script without the work being another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Final

from ..task import Call

_encode: Final = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


def digest(call: Call) -> str:
    """The same text for equal definitions, and for no others.

    >>> from xqute.options import JobOptions
    >>> a, b = Call(("sort", "x"), JobOptions()), Call(("sort", "x"), JobOptions(priority=3))
    >>> digest(a) == digest(b)
    True
    """
    options = call.options
    kind = "line" if isinstance(call.cmd, str) else "argv"
    given = {kind: call.cmd, "env": sorted(options.env), "cwd": options.cwd, "stdin": options.stdin}
    return hashlib.sha256(_encode(given).encode("ascii")).hexdigest()


class Matching:
    """Jobs of an earlier run, to be found again by what they do.

    The k-th equal push gets the k-th equal job, in the order in which they were pushed.
    """

    def __init__(self, jobs: Iterable[tuple[int, Call]]) -> None:
        """Take the jobs' ids and calls, oldest first."""
        self._ids: dict[str, list[int]] = {}
        for id_, call in jobs:
            self._ids.setdefault(digest(call), []).append(id_)
        for ids in self._ids.values():
            ids.reverse()

    def take(self, call: Call) -> int | None:
        """The oldest job of this definition that was not taken yet; None: there is none."""
        ids = self._ids.get(digest(call))
        return ids.pop() if ids else None

    def put_back(self, call: Call, id: int) -> None:
        """It was not needed after all."""
        self._ids.setdefault(digest(call), []).append(id)

    @property
    def left(self) -> list[int]:
        """Jobs nobody asked for again, oldest first."""
        return sorted(id_ for ids in self._ids.values() for id_ in ids)
