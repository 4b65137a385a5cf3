"""Jobs in the order in which they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import CoroutineType
from typing import Any

from .errors import DependencyFailed, OptionError
from .job import Job
from .shown import shown_value


async def in_order_of_end(jobs: Iterable[Job], wait: Callable[[Job], Awaitable[None]]) -> AsyncIterator[Job]:
    """Each job as soon as it has ended, however it did; or it is known that it never will.

    What a job came to is kept until the next one is asked for.

    Raises:
        OptionError: They are no jobs.
    """
    several = _several(jobs)
    ended: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()
    tasks = {asyncio.ensure_future(wait(job)): job for job in several}
    for task, job in tasks.items():
        job.awaited += 1
        task.add_done_callback(ended.put_nowait)
    waiting = dict(tasks)
    try:
        for _ in range(len(tasks)):
            task = await ended.get()
            if not isinstance(task.exception(), DependencyFailed):  # it won't end, and that is news too
                task.result()
            yield tasks[task]
            job = waiting.pop(task)
            job.awaited -= 1
            job.taken = True
    finally:
        for task, job in waiting.items():
            job.awaited -= 1
            task.cancel()


def _several(jobs: Any) -> list[Job]:
    """Jobs, or `OptionError`."""
    takes = "as_completed() takes several jobs, not"
    if not isinstance(jobs, Iterable):
        raise OptionError(f"{takes} {shown_value(jobs)}: give a list of them")
    several = list(jobs)
    for job in several:
        if isinstance(job, CoroutineType):
            job.close()
            raise OptionError(f"{takes} a coroutine: await what pushes it, [await xq.push(…)]")
        if not isinstance(job, Job):
            raise OptionError(f"{takes} {shown_value(job)}: push it first")
    return several
