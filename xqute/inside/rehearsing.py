"""Goes through what every copy does, before there are copies.

Python learns while it runs: what it looked up stands in its code from then on. A copy that learns pays
for that, and for each page of memory it changes doing so; a copy of a process that knows does not.
"""

from __future__ import annotations

import binascii
import json
import logging
import os
import pickle
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from .ground import Ground
from .loading import MARK
from .packing import move_code

#: How often; the interpreter begins to adapt a function with its eighth call.
TIMES: Final = 16

#: Where files cost little.
_MEMORY: Final = "/dev/shm"  # noqa: S108  a folder is made there that must be new


def nothing() -> None:
    """What is called."""


def rehearse(payload: Mapping[str, Any], do: Callable[[str], int]) -> None:
    """Do a call of nothing some times; that it can't be done is no harm.

    Args:
        payload: Of a real call.
        do: Does the call of a script.
    """
    ground = Ground()
    folder = _MEMORY if os.access(_MEMORY, os.W_OK) else os.environ.get("TMPDIR", "/tmp")  # noqa: S108
    directory = f"{folder}/xqute-rehearsal-{os.getpid()}"
    with suppress(Exception):
        os.mkdir(directory, 0o700)
        try:
            move_code(lambda: _once(directory, payload, do))
            for _ in range(TIMES):
                _once(directory, payload, do)
        finally:
            _empty(directory)
            os.rmdir(directory)
    ground.restore()
    ground.close()


def _once(directory: str, payload: Mapping[str, Any], do: Callable[[str], int]) -> None:
    _be_copied()
    do(_write(directory, payload))
    _empty(directory)


def _be_copied() -> None:
    """What the standard library does in a copy, as its first steps; there is no other thread here."""
    threading._after_fork()  # type: ignore[attr-defined]  # noqa: SLF001
    logging._after_at_fork_child_reinit_locks()  # type: ignore[attr-defined]  # noqa: SLF001


def _write(directory: str, payload: Mapping[str, Any]) -> str:
    """The script of a call of nothing."""
    args = binascii.b2a_base64(pickle.dumps(((), {}), 5), newline=False).decode()
    target = {"target": f"{__name__}:{nothing.__name__}", "args": args, "cleanup": False}
    wrap = {"env": {**payload["wrap"]["env"], "XQUTE_JOB_METADIR": directory}, "cwd": directory}
    changed = {
        "work": {"function": {**payload["work"]["function"], **target}},
        "needs": [],
        "required": {},
        "wrap": wrap,
    }
    script = f"{directory}/script"
    with open(script, "wb") as file:
        file.write(b"#!/bin/sh\n" + MARK + json.dumps({**payload, **changed}).encode() + b"\n")
    return script


def _empty(directory: str) -> None:
    for name in os.listdir(directory):
        os.unlink(f"{directory}/{name}")
