"""Trouble of the infrastructure: said once, waited out with back-off, and never a job's fault."""

from __future__ import annotations

import asyncio
import errno
import logging

from ..errors import BackendUnavailable, StoreUnavailable
from ..rules.verdict import backoff
from ..settings import TROUBLE_MAX_SECONDS, TROUBLE_MIN_SECONDS
from ..states import Reason

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
    if isinstance(error, BackendUnavailable):
        return Reason("SCHEDULER_DOWN", {"error": str(error)})
    if isinstance(error, StoreUnavailable):
        return Reason("DISK_FULL", {"error": str(error)})
    if isinstance(error, OSError) and error.errno in _PASSING:
        return Reason("DISK_FULL", {"error": f"{error.strerror} ({error.filename})"})
    return None


class Pause:
    """Counts trouble in a row and waits longer each time."""

    def __init__(self) -> None:
        """No trouble yet."""
        self._failed = 0

    async def after(self, reason: Reason) -> None:
        """Wait because of this; one line when trouble begins."""
        self._failed += 1
        if self._failed == 1:
            log.warning("%s; submissions pause, and go on by themselves", reason)
        await asyncio.sleep(backoff(TROUBLE_MIN_SECONDS, self._failed, TROUBLE_MAX_SECONDS))

    def over(self) -> None:
        """It worked again."""
        if self._failed:
            log.warning("submissions go on, after %s tries", self._failed)
        self._failed = 0
