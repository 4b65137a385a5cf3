"""Does one call after the other in this process, which stays what it was between them.

A call that was killed, that raised, or that left a thread or a process behind is the last one: the next
gets a fresh process.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
from contextlib import suppress
from typing import Final, NoReturn

from .cloned import wait_for_threads
from .forking import call
from .ground import Ground
from .line import DONE, LEAVES, LEFT, RECORD, Face, Manager, directory_of
from .loading import read_payload
from .wrapping import Wrapping, listen

#: As `forking` has it.
_NO_SCRIPT: Final = 127


def serve(manager: Manager, script: str) -> NoReturn:
    """Do calls until the manager closes its side."""
    try:
        reusing = Reusing(manager, Face())
    except Exception as exc:  # noqa: BLE001  whatever it is, calls can begin without this process
        manager.refuse(f"{type(exc).__name__}: {exc}")
    else:
        reusing.serve()
    sys.exit(0)


class Reusing:
    """This process, as each call finds it."""

    def __init__(self, manager: Manager, face: Face) -> None:
        """Keep how it is now."""
        self._manager = manager
        self._face = face
        listen()
        self._ground = Ground()

    def serve(self) -> None:
        """Until there are no more calls, or the next needs a fresh process."""
        flags = 0
        while not flags:
            script = os.fsdecode(self._manager.hear())
            if not script:
                return
            begun = _used()
            code = self._do(script)
            flags = self._restore(code)
            self._manager.tell(RECORD.pack(DONE, 0, code << 8, flags, _used() - begun))

    def _do(self, script: str) -> int:
        try:
            payload = read_payload(script)
        except Exception:  # noqa: BLE001  a script that was put away, a directory that is gone
            return _NO_SCRIPT
        self._face.show(payload["wrap"]["env"]["XQUTE_JOB"], script)
        if not self._manager.lives():
            return 0
        wrapping = Wrapping(directory_of(script), payload["wrap"], lambda _: None)
        return wrapping.run(lambda: call(script, payload, wrapping, _wait))

    def _restore(self, code: int) -> int:
        """Become as before the call, and nobody's process; how far that is not possible."""
        self._ground.restore()
        flags = (LEFT | LEAVES) if _has_children() else 0
        if code or threading.active_count() > 1:
            flags |= LEAVES
        self._face.show("", "")
        return flags


def _wait() -> None:
    if threading.active_count() > 1:
        wait_for_threads()


def _used() -> float:
    """Seconds of CPU, of this process and the children it waited for."""
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def _has_children() -> bool:
    """Whether a process of the call is still there; those that ended are waited for."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
        return True
    return False
