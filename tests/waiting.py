"""Waiting for what only files and processes tell: it ends at once when that is so."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

#: Far more than it takes, and less than the minute which a job sleeps that a test wants to see ended.
SECONDS = 50.0

NEVER = "it never came true"


def wait_for(condition: Callable[[], Any], otherwise: str = NEVER, *, seconds: float = SECONDS) -> Any:
    """What the condition said when it came true; TimeoutError, which says `otherwise`, if it does not."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(otherwise)
        time.sleep(0.01)
    return found


async def until(condition: Callable[[], Any], otherwise: str = NEVER, *, seconds: float = SECONDS) -> Any:
    """The same, while the loop does other things."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(otherwise)
        await asyncio.sleep(0.01)
    return found
