"""What it costs to lose nothing: the same jobs with the store in a file, and with one that forgets."""

from __future__ import annotations

import shutil
import time
from typing import Any

from shared import Row, Table, child, median, say, scratch

FORKS = 8
JOBS = 3000


def measure(*, quick: bool) -> Table:
    table = Table("What durability costs: jobs per second of `true` (`durable`)")
    jobs, rounds = (300, 1) if quick else (JOBS, 5)
    rates: dict[str, list[float]] = {"sqlite": [], "memory": []}
    with scratch() as root:
        for turn in range(rounds):
            seconds = dict.fromkeys(rates, 0.0)
            for store in ["sqlite", "memory", "memory", "sqlite"]:
                directory = root / store
                seconds[store] += child("durable:run", directory=str(directory), jobs=jobs, store=store)
                shutil.rmtree(directory)
            for store, taken in seconds.items():
                rates[store].append(2 * jobs / taken)
            told = ", ".join(f"{store} {values[-1]:.0f}/s" for store, values in rates.items())
            say(f"round {turn + 1} of {rounds}: {told}")
    ratio = median([kept / forgot for kept, forgot in zip(rates["sqlite"], rates["memory"], strict=True)])
    note = f"{median(rates['sqlite']):.0f}/s, {median(rates['memory']):.0f}/s"
    table.rows.append(Row(f"forks {FORKS}, SQLite against `memory://`", ratio, "x", more=True, note=note))
    return table


async def run(directory: str, jobs: int, store: str) -> float:
    """Push one by one and run to the end; the seconds of both."""
    from xqute import Xqute

    address = {"store": "memory://"} if store == "memory" else {}
    xq = Xqute(job_metadir=directory, scheduler_forks=FORKS, **address)
    begun = time.perf_counter()
    for _ in range(jobs):
        await xq.push(["true"])
    report: Any = await xq.run_until_complete()
    seconds = time.perf_counter() - begun
    if not report.ok:
        message = f"not all jobs finished: {report}"
        raise RuntimeError(message)
    return seconds
