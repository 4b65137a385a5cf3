"""Awaiting something to its end, whoever cancels meanwhile.

`asyncio.run` ends by cancelling every task of the loop at once, those of an engine that has jobs to wind
down among them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def finish(work: Coroutine[Any, Any, T], bound: float) -> T:
    """Await to the end even if cancelled meanwhile, then pass the cancellation on.

    Args:
        work: What must not be left half done.
        bound: Seconds it may take after the cancellation; then it is cancelled itself.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        await _end_soon(task, bound)
        raise
    return task.result()


async def _end_soon(task: asyncio.Task[Any], bound: float) -> None:
    timer = asyncio.get_running_loop().call_later(bound, task.cancel)
    try:
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                continue  # once is enough
    finally:
        timer.cancel()
    if not task.cancelled():
        task.exception()  # seen: the cancellation is the news now


async def survive(work: Callable[[], Coroutine[Any, Any, None]], ending: Callable[[], bool]) -> None:
    """Begin the work again when it is cancelled while nothing is ending."""
    while True:
        try:
            await work()
        except asyncio.CancelledError:
            if ending():
                raise
            uncancel()
        else:
            return


def raise_in_loop(exc: BaseException) -> None:
    """Have the event loop raise it, as from a callback of its own: whoever runs the loop gets it."""

    def leave() -> None:
        raise exc

    asyncio.get_running_loop().call_soon(leave)


def uncancel() -> None:
    """The current task takes note of its cancellation, and goes on."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
