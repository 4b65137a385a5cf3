"""Trouble of the infrastructure: said once, waited out with back-off, and never a job's fault."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable

from .. import metadir
from ..errors import BackendFull, BackendUnavailable, StoreUnavailable
from ..rules.verdict import backoff
from ..settings import TROUBLE_MAX_SECONDS, TROUBLE_MIN_SECONDS
from ..states import Reason, WaitReason
from ..wrapper import RETURNED
from .room import Live

log = logging.getLogger("xqute.engine")

#: Errors of the file system that pass: full, read-only, out of descriptors or memory, a server away.
_PASSING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EIO,
        errno.ESTALE,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.EACCES,
    }
)


def as_trouble(error: Exception) -> Reason | None:
    """Why a job waits because of this error; None: waiting would not help."""
    if isinstance(error, BackendFull):
        return Reason("SCHEDULER_FULL", {"error": str(error)})
    if isinstance(error, BackendUnavailable):
        return Reason("SCHEDULER_DOWN", {"error": str(error)})
    if isinstance(error, StoreUnavailable):
        return Reason("DISK_FULL", {"error": str(error)})
    if isinstance(error, OSError) and error.errno in _PASSING:
        return Reason("DISK_FULL", {"error": f"{error.strerror} ({error.filename})"})
    return None


def take_back(directory: str) -> None:
    """Remove the claim of a start that its wrapper gave back, so that it can be handed over again.

    Raises:
        OSError: It can't be removed now.
    """
    path = f"{directory}/{metadir.STATUS}"
    try:
        if metadir.read_small(path) == RETURNED.encode():
            os.unlink(path)
    except FileNotFoundError:
        return


class Pause:
    """What is wrong, from the first trouble until hand-overs are seen to begin again.

    Trouble may be told by whoever hands over, and by a start that came back because it could not begin.
    It is over when all that the first untroubled pass handed over was seen to begin: that a scheduler
    took a job does not say that its wrapper found room.

    Attributes:
        reason: What has not been waited out yet; None when submissions may go on.
    """

    def __init__(self, began: Callable[[Live], bool]) -> None:
        """No trouble yet; `began` says whether a start that was handed over has begun."""
        self.reason: Reason | None = None
        self._began = began
        self._tries = 0  # since the trouble began; 0: there is none
        self._failed = 0  # of them in a row, without any start that began
        self._handed = False
        self._untroubled = False
        self._probes: list[Live] = []
        self._known_full = False  # said before
        self._quiet = False  # this trouble is not said

    @property
    def probing(self) -> bool:
        """Whether it is to be seen if what was handed over begins."""
        return bool(self._probes)

    def begin(self, reason: Reason) -> None:
        """There is trouble; one line when it is new. What else comes until it was waited out is the same."""
        if self.reason is not None:
            return
        self._handed = self._untroubled = False
        self.look()
        self.reason = reason
        self._tries += 1
        self._failed += 1
        if self._tries == 1:
            full = reason.code == WaitReason.SCHEDULER_FULL  # it comes and goes as jobs do: said once
            self._quiet, self._known_full = full and self._known_full, full or self._known_full
            level = logging.DEBUG if self._quiet else logging.WARNING
            log.log(level, "%s; submissions pause, and go on by themselves", reason)

    async def wait(self) -> None:
        """Wait longer each time in a row."""
        await asyncio.sleep(backoff(TROUBLE_MIN_SECONDS, self._failed, TROUBLE_MAX_SECONDS))
        self.reason = None

    def handed(self, live: Live) -> None:
        """A scheduler took this."""
        if self._tries and not self._untroubled:
            self._handed = True
            self._probes.append(live)

    def returned(self, live: Live) -> None:
        """A start came back: it proves nothing."""
        if live in self._probes:
            self._probes.remove(live)
            self._handed = self._untroubled = False

    def passed(self) -> None:
        """All that could be handed over was, without trouble."""
        self._untroubled = self._handed
        self.look()

    def look(self) -> None:
        """See what has begun, and whether the trouble is over; one line when it is."""
        left = [live for live in self._probes if not self._began(live)]
        if len(left) < len(self._probes):
            self._failed = 0
        self._probes = left
        if self._untroubled and not left:
            level = logging.DEBUG if self._quiet else logging.WARNING
            log.log(level, "submissions go on, after %s tries", self._tries)
            self._tries = self._failed = 0
            self._handed = self._untroubled = False
