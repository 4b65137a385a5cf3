"""How fast jobs are accepted: each is in the store when its push returns."""

from __future__ import annotations

import logging
import time
from typing import Any

from shared import Row, Table, child, median, memory_is_there, say, scratch

ONE_BY_ONE = 5000
MANY = 100_000


def measure(*, quick: bool) -> Table:
    table = Table("Durable pushes, SQLite (`push`)")
    shrink = 50 if quick else 1
    for disk in (False, True):
        place = "on disk" if disk else "on /dev/shm" if memory_is_there() else "in the temporary folder"
        rates = [rate(disk=disk, shrink=shrink) for _ in range(1 if quick else 5)]
        single, many = (median(column) for column in zip(*rates, strict=True))
        say(f"{place}: push {single:.0f}/s, push_many {many:.0f}/s")
        table.rows += [
            Row(f"`push`, store {place}", single, "/s", bar=3000, aim=10_000, more=True),
            Row(f"`push_many`, store {place}", many, "/s", bar=20_000, aim=100_000, more=True),
        ]
    return table


def rate(*, disk: bool, shrink: int) -> tuple[float, float]:
    with scratch(disk=disk) as root:
        each, many = ONE_BY_ONE // shrink, MANY // shrink
        single = child("push:one_by_one", directory=str(root / "1"), jobs=each)
        together = child("push:together", directory=str(root / "2"), jobs=many)
    return each / single, many / together


async def one_by_one(directory: str, jobs: int) -> float:
    xq = await opened(directory)
    begun = time.perf_counter()
    for _ in range(jobs):
        await xq.push(["true"])
    return time.perf_counter() - begun


async def together(directory: str, jobs: int) -> float:
    xq = await opened(directory)
    begun = time.perf_counter()
    await xq.push_many([["true"]] * jobs)
    return time.perf_counter() - begun


async def opened(directory: str) -> Any:
    """A producer whose store is open, as after the first push."""
    from xqute import Xqute

    logging.getLogger("xqute").setLevel(logging.ERROR)  # it warns of jobs that nobody ran, rightly
    xq = Xqute(job_metadir=directory)
    await xq.push(["true"])
    return xq
