"""Whether a scheduler answers: said once when it stops, and once when it does again."""

from __future__ import annotations

import logging
import time

from ..states import Reason

log = logging.getLogger("xqute.batch")


class Touch:
    """Touch with a scheduler.

    Attributes:
        reason: What its jobs say while there is none.
    """

    def __init__(self, name: str) -> None:
        """There is."""
        self._name = name
        self._since = 0.0
        self.reason: Reason | None = None

    def lost(self, told: str) -> None:
        """It did not answer, or not so that it can be read."""
        if self.reason is None:
            self._since = time.time()
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._since))
            self.reason = Reason("UNREACHABLE", {"since": since, "message": told})
            log.warning(
                "scheduler %r does not answer: %s; its jobs are followed by their files", self._name, told
            )

    def back(self) -> None:
        """It answered."""
        if self.reason is not None:
            self.reason = None
            log.warning("scheduler %r answers again, after %.0f s", self._name, time.time() - self._since)
