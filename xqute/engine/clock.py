"""The time of a run."""

from __future__ import annotations

import time

_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SteadyClock:
    """UTC seconds that pass evenly: what somebody does to the host's clock meanwhile changes nothing."""

    def __init__(self) -> None:
        """As late as the host's clock says now."""
        self._offset = time.time() - time.clock_gettime(_ELAPSED)

    def __call__(self) -> float:
        """The time now."""
        return self._offset + time.clock_gettime(_ELAPSED)
