"""Hands a Python call to the process that runs it: the command that starts that, and the script's last line.

Everything the process needs is in the job's directory and beside it, so it is the same on every
scheduler, and the job asks nobody.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .errors import XquteError
from .wrapper import Script

if TYPE_CHECKING:
    from .job import Job

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


class Sources(NamedTuple):
    """Where a job finds the results of what it needs: the id and `outcome.source_of` of each.

    Attributes:
        given: Of what it was pushed with, in the order its work numbers them.
        required: Of what it asked for while it ran and that ended well, by digest.
    """

    given: Sequence[tuple[int, str]] = ()
    required: Mapping[str, Sequence[tuple[int, str]]] = MappingProxyType({})


def hand(script: Script, job: Job, path: str, sources: Sources) -> Script:
    """The script that starts the right Python, and tells it what to call.

    Args:
        script: As it would be for a command.
        job: Whose it is.
        path: Where the script will be.
        sources: Where the results of what it needs are.

    Raises:
        XquteError: What is known of the Python it was pushed with is gone.
    """
    root = os.path.dirname(job.directory)
    place = read_place(root, job.call.function.place if job.call.function else job.call.place)
    payload = {
        "work": job.call.as_document(),
        "needs": sources.given,
        "required": dict(sources.required),
        "metadir": root,
        "wrap": {
            "cwd": script.cwd,
            "env": dict(script.exports),
            "stdin": script.stdin,
            "stdout": script.stdout,
            "stderr": script.stderr,
        },
    }
    argv = (place["python"], f"{place['root']}/xqute/inside/start.py", path)
    return replace(script, argv=argv, payload=_encode(payload))


@lru_cache(maxsize=64)
def read_place(root: str, digest: str) -> Mapping[str, Any]:
    """With which Python a call was pushed, as the metadir keeps it.

    Raises:
        XquteError: It is gone, or can't be read.
    """
    path = f"{root}/.places/{digest}.json"
    try:
        with open(path, encoding="utf-8") as file:
            place: Mapping[str, Any] = json.load(file)
    except (OSError, ValueError) as exc:
        msg = f"{path} says with which Python calls were pushed, and can't be read ({exc}): push them again"
        raise XquteError(msg) from exc
    return place
