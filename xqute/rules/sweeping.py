"""How long a sweep over status files waits for the next one."""

from __future__ import annotations

from ..settings import (
    SWEEP_BACKOFF,
    SWEEP_EASY_RATIO,
    SWEEP_MAX_SECONDS,
    SWEEP_MIN_SECONDS,
    SWEEP_RATIO,
)


def seconds_to_next(before: float, used: float, *, changed: bool) -> float:
    """Seconds: soon after news, later and later without, and never so soon that looking is a burden.

    Args:
        before: What it waited last time.
        used: Seconds of the processor that the sweep took.
        changed: Whether it found news.
    """
    grown = SWEEP_MIN_SECONDS if changed else before * SWEEP_BACKOFF
    wished = min(max(grown, SWEEP_EASY_RATIO * used), SWEEP_MAX_SECONDS)
    return max(wished, SWEEP_RATIO * used)
