"""What the manager computes while a thousand jobs run and nothing happens."""

from __future__ import annotations

import asyncio
import resource
import time
from pathlib import Path
from typing import Any

from shared import Row, Table, child, own_cpu, say, scratch

JOBS = 1000
SECONDS = 10

#: One descriptor for each running job: the first limit is the usual one of a login, and too
#: small for that, so some are watched without one; under the second each has its own.
LIMITS = (1024, 2048)


def measure(*, quick: bool) -> Table:
    table = Table("CPU of the manager while jobs sleep (`idle`)")
    jobs, seconds = (50, 2) if quick else (JOBS, SECONDS)
    for limit in LIMITS:
        with scratch() as root:
            found = child("idle:sleepers", directory=str(root / "x"), jobs=jobs, seconds=seconds, limit=limit)
        say(f"ulimit -n {limit}: {found}")
        what = f"`ulimit -n {limit}`: {found['running']} of {jobs} running"
        table.rows.append(Row(what, found["share"], "% of a core", bar=2, aim=0.5))
        left = found["left"]
        note = f"killed within {found['stopping']:.1f} s"
        table.rows.append(Row(f"`ulimit -n {limit}`: processes left", left, bar=0, note=note))
    return table


async def sleepers(directory: str, jobs: int, seconds: float, limit: int) -> dict[str, Any]:
    from xqute import Xqute

    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    xq = Xqute(job_metadir=directory, scheduler_forks=jobs)
    await xq.push_many([["sleep", "90"]] * jobs)
    async with asyncio.TaskGroup() as group:
        group.create_task(xq.run_until_complete())
        running = await settled(xq, jobs)
        before, begun = own_cpu(), time.perf_counter()
        await asyncio.sleep(seconds)
        after, wall = own_cpu(), time.perf_counter() - begun
        stopping = time.perf_counter()
        xq.request_stop("measured")
    stopping = time.perf_counter() - stopping
    used = sum(after) - sum(before)
    left = len(survivors(directory))
    return {"running": running, "share": 100 * used / wall, "stopping": stopping, "left": left}


async def settled(xq: Any, jobs: int) -> int:
    """Wait until all run, or no more do; returns how many."""
    from xqute import JobStatus

    running, since = -1, time.monotonic()
    while running < jobs and time.monotonic() < since + 5:
        await asyncio.sleep(0.2)
        now = (await xq.stats()).counts.get(JobStatus.RUNNING, 0)
        if now != running:
            running, since = now, time.monotonic()
    await asyncio.sleep(2)  # sweeps are frequent after news
    return running


def survivors(directory: str) -> list[int]:
    """Processes that belong to a job in this metadir."""
    mark = f"XQUTE_JOB_METADIR={directory}/".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue  # ended meanwhile, or somebody else's
    return found
