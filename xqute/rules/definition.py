"""Whether two calls are the same: the one comparison, for all that is to be done only once.

What a call *does* counts: the command, or the function and its arguments; the environment, the
directory and the input it was given; and what it needs. How it is run (priority, retries, timeouts,
labels, where its output goes) does not: it may change between two runs of a script without the work
being another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from ..work import Hole, Work

_encode: Final = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


class Needs(NamedTuple):
    """What a call needs, for its definition.

    Attributes:
        each: What each is known by, in the order of their numbers: digests of calls, "job 7" for jobs.
        together: The same for equal sets of them; empty where one of them is known by nothing.
    """

    each: Sequence[str]
    together: str

    @classmethod
    def of(cls, each: Sequence[str]) -> Needs:
        """The needs that are known by these."""
        if len(each) == 1:
            return cls(each, each[0])
        return cls(each, _sha256(sorted(set(each))) if all(each) else "")


NO_NEEDS: Final = Needs((), "none")


def digest(work: Work, needs: Needs = NO_NEEDS, form: str = "") -> str:
    """The same text for equal definitions, and for no others; empty where there is none.

    Args:
        work: The command or the Python call.
        needs: What it needs.
        form: For a Python call, the canonical form of the function and its arguments.

    >>> from xqute.options import JobOptions
    >>> a, b = Work(("sort", "x"), JobOptions()), Work(("sort", "x"), JobOptions(priority=3))
    >>> digest(a) == digest(b)
    True
    """
    if (work.has_holes and not needs.each) or not needs.together or (work.function is not None and not form):
        return ""
    options = work.options
    given: dict[str, Any] = {"env": sorted(options.env), "cwd": options.cwd, "stdin": options.stdin}
    if work.function is not None:
        given["call"] = form
    elif isinstance(work.cmd, str):
        given["line"] = work.cmd
    else:
        given["argv"] = [[needs.each[word.need]] if type(word) is Hole else word for word in work.cmd]
    if needs.each:
        given["needs"] = needs.together
    return _sha256(given)


def plain_digest(work: Work, group: int) -> str:
    """That of a command that needs nobody, which is not worked out before somebody asks for it.

    Args:
        work: What it does.
        group: What it needs; not 0: then it would have a digest already, if there were one.
    """
    return "" if group or work.inside else digest(work)


def _sha256(value: Any) -> str:
    return hashlib.sha256(_encode(value).encode("ascii")).hexdigest()


class Matching:
    """Jobs of an earlier run, to be found again by what they do.

    The k-th equal push gets the k-th equal job, in the order in which they were pushed. What has no
    definition, an empty digest, is never found.
    """

    def __init__(self, jobs: Iterable[tuple[int, str]]) -> None:
        """Take the jobs' ids and digests, oldest first."""
        self._ids: dict[str, list[int]] = {}
        for id_, its_digest in jobs:
            self._ids.setdefault(its_digest, []).append(id_)
        for ids in self._ids.values():
            ids.reverse()

    def take(self, digest: str) -> int | None:
        """The oldest job of this definition that was not taken yet; None: there is none."""
        ids = self._ids.get(digest) if digest else None
        return ids.pop() if ids else None

    def put_back(self, digest: str, id: int) -> None:
        """It was not needed after all."""
        self._ids.setdefault(digest, []).append(id)

    @property
    def left(self) -> list[int]:
        """Jobs nobody asked for again, oldest first."""
        return sorted(id_ for ids in self._ids.values() for id_ in ids)
