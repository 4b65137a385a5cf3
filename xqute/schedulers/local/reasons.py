"""How the exit of a wrapper reads when it left no status."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Final

from ...states import EndReason, Reason, WaitReason
from .exits import TAKEN

#: What our wrapper means by an exit without a status.
_EXITS: Final[Mapping[int, str]] = {
    0: "another copy of this start has it",
    76: "its directory is gone, or a later start has it",
    126: "its script can't be executed",
    127: "its script, or what that needs, is not there",
}

#: Our wrapper did not run anything: it could not create its files, or no process for the command.
_NEVER_BEGAN: Final = 75


#: How a start ended whose host was booted again.
REBOOTED: Final = Reason(EndReason.LOST, {"message": "this host was rebooted while it ran"})


def reason_of(status: int) -> Reason:
    """How a start ended, by its status as wait(2) has it; for one whose files do not say."""
    if status == TAKEN:
        told = (
            "its wrapper ended, and another part of this program took its exit status: "
            "is SIGCHLD ignored, or every child waited for?"
        )
        return Reason(EndReason.LOST, {"message": told})
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        told = (
            f"the wrapper of the job was killed by signal {number} ({_name(number)}); "
            "what it had started was ended"
        )
        return Reason(EndReason.SIGNAL, {"signal": number, "message": told})
    rc = os.WEXITSTATUS(status)
    if rc == _NEVER_BEGAN:
        told = "its wrapper could not create its files, or no process for the command"
        return Reason(WaitReason.DISK_FULL, {"error": told})
    means = _EXITS.get(rc, "it ended before it could write one")
    told = f"its wrapper exited with {rc} and left no status: {means}"
    return Reason(EndReason.LOST, {"message": told})


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
