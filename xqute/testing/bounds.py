"""What may take so long at most, and what is said when it takes longer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from types import TracebackType
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


class Within:
    """Cancels what it is entered for when that takes longer; says so in an AssertionError of these words."""

    def __init__(self, seconds: float, otherwise: Callable[[], str]) -> None:
        self._seconds = seconds
        self._otherwise = otherwise

    async def __aenter__(self) -> None:
        self._timeout = asyncio.timeout(self._seconds)
        await self._timeout.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        __tracebackhide__ = True  # pytest shows who entered it
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise AssertionError(f"{self._otherwise()}, within {self._seconds} s") from None


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
        async with Within(seconds, lambda: otherwise):
            answer = await method(*args)
        if loop.time() - begun > seconds:
            raise AssertionError(f"{otherwise}, within {seconds} s: it held the event loop")
        return answer

    return bounded
