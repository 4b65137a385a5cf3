"""An asynchronous call, awaited to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from .killing import Killing


def await_call(call: Coroutine[Any, Any, Any], killing: Killing) -> Any:
    """What the call returns; SIGTERM cancels it.

    Raises:
        CancelledError: It was.
    """
    return asyncio.run(_whole(call, killing))


async def _whole(call: Coroutine[Any, Any, Any], killing: Killing) -> Any:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    if task is not None:
        # The handler of a signal may run in the middle of the loop's own code.
        killing.cancel = lambda: loop.call_soon_threadsafe(task.cancel)
    try:
        return await call
    finally:
        killing.cancel = None
        killing.spare()
