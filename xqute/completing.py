"""Jobs in the order in which they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from .errors import DependencyFailed
from .job import Job


async def in_order_of_end(jobs: Iterable[Job], wait: Callable[[Job], Awaitable[None]]) -> AsyncIterator[Job]:
    """Each job as soon as it has ended, however it did; or it is known that it never will.

    What a job came to is kept until the next one is asked for.
    """
    ended: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()
    tasks = {asyncio.ensure_future(wait(job)): job for job in jobs}
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
