"""What may take so long at most, and what is said when it takes longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, Final

from ..scheduler import Scheduler

_HANDED_OVER: Final = "it returns when the job is handed over, and does not wait for its end"

#: The methods of a scheduler that its suite waits for, and what to know of those that wait too long.
_METHODS: Final = {
    "open": "what goes on while it is open is a task of its own",
    "submit_job": _HANDED_OVER,
    "submit_jobs": _HANDED_OVER,
    "kill_job": "it returns when the job was asked to end",
    "kill_jobs": "it returns when the jobs were asked to end",
    "job_is_running": "it answers at once",
    "poll_jobs": "it answers at once",
}


@asynccontextmanager
async def within(seconds: float, otherwise: Callable[[], str]) -> AsyncIterator[None]:
    """What is entered is cancelled when it takes longer.

    Raises:
        AssertionError: It did; in these words.
    """
    __tracebackhide__ = True
    try:
        async with asyncio.timeout(seconds) as bound:
            yield
    except TimeoutError:
        if not bound.expired():
            raise
        raise AssertionError(f"{otherwise()}, within {seconds} s") from None


def bound(scheduler: Scheduler, seconds: float) -> None:
    """Have each call of a scheduler fail that takes longer, and say which it was."""
    for name, known in _METHODS.items():
        if name.endswith("_jobs") and getattr(type(scheduler), name) is getattr(Scheduler, name):
            continue  # made of the singular, which says what was late
        otherwise = f"{name} of scheduler {scheduler.name!r} did not return ({known})"
        setattr(scheduler, name, _bounded(getattr(scheduler, name), otherwise, seconds))


def _bounded(
    method: Callable[..., Awaitable[Any]], otherwise: str, seconds: float
) -> Callable[..., Awaitable[Any]]:
    @wraps(method)
    async def bounded(*args: Any) -> Any:
        __tracebackhide__ = True
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with within(seconds, lambda: otherwise):
            answer = await method(*args)
        if loop.time() - begun > seconds:
            raise AssertionError(f"{otherwise}, within {seconds} s: it held the event loop")
        return answer

    return bounded
