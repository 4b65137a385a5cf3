"""Whether a job costs the same among a hundred thousand as among a thousand.

The scheduler starts nothing: it writes the status file that a wrapper would have left, and says at
once that the job has ended. What remains is xqute: the push, the claim, the directory, the script,
the lock, the news, every change in the store.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from shared import Row, Table, child, median, say, scratch

SIZES = (1000, 10_000, 100_000)
ROUNDS = 3
FORKS = 64
MB = 1e6


def measure(*, quick: bool) -> Table:
    table = Table("Memory, and cost of a job's whole life, by number of jobs (`scale`)")
    sizes = (100, 1000) if quick else SIZES
    runs: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for turn in range(1 if quick else ROUNDS):
        for size in sizes[:: -1 if turn % 2 else 1]:  # forth and back
            runs[size].append(live(size))
            say(f"round {turn + 1}, {size} jobs: {life(runs[size][-1]):.0f} µs each")
    for size, found in runs.items():
        table.rows += rows(size, {key: median([run[key] for run in found]) for key in found[0]})
    pairs = zip(runs[sizes[0]], runs[sizes[-1]], strict=True)
    ratio = median([life(large) / life(small) for small, large in pairs])
    what = f"cost among {sizes[-1]} jobs, against {sizes[0]}"
    table.rows.append(Row(what, ratio, "x", bar=1.2))
    return table


def life(run: dict[str, float]) -> float:
    """Microseconds from a job's push to its durable end."""
    return run["push"] + run["run"]


def rows(size: int, figures: dict[str, float]) -> list[Row]:
    bars = {"bar": 300, "aim": 100} if size == SIZES[-1] else {}
    grown = f"{(figures['queued'] - figures['empty']) / MB:.0f} MB more than without jobs"
    peak = f"at most {figures['peak'] / MB:.0f} MB until all had ended"
    split = f"push {figures['push']:.0f} µs, run {figures['run']:.0f} µs"
    return [
        Row(f"{size} jobs: a whole life", life(figures), "µs", note=split),
        Row(f"{size} jobs queued: RSS", figures["queued"] / MB, "MB", **bars, note=f"{grown}; {peak}"),
    ]


def live(jobs: int) -> dict[str, float]:
    with scratch() as root:
        found: dict[str, float] = child("scale:lives", directory=str(root / "x"), jobs=jobs)
        return found


async def lives(directory: str, jobs: int) -> dict[str, float]:
    """Bytes, and microseconds per job; the caller holds the list of jobs, as users do."""
    from xqute import JobStatus, Xqute

    xq = Xqute(instant(), job_metadir=directory, scheduler_forks=FORKS)
    empty = resident("VmRSS")
    begun = time.perf_counter()
    pushed = await xq.push_many([["true"]] * jobs)
    accepted = time.perf_counter()
    queued = resident("VmRSS")
    report = await xq.run_until_complete()
    ended = time.perf_counter()
    if report.counts != {JobStatus.FINISHED: len(pushed)}:
        message = f"not all jobs finished: {report}"
        raise SystemExit(message)
    times = {"push": (accepted - begun) * 1e6 / jobs, "run": (ended - accepted) * 1e6 / jobs}
    return {**times, "empty": empty, "queued": queued, "peak": resident("VmHWM")}


def instant() -> type[Any]:
    """The scheduler whose jobs have ended when they are submitted."""
    from xqute import Scheduler

    class Instant(Scheduler):
        name = "instant"
        tells_ends = True
        grace_seconds = 0.0

        async def submit_jobs(self, jobs):
            for job in jobs:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                fd = os.open(f"{job.directory}/job.status", flags, 0o600)
                os.write(fd, b"RUNNING 1\nFINISHED 0\n")
                os.close(fd)
            asyncio.get_running_loop().call_soon(self.notify, jobs)
            return [job.id for job in jobs]

        async def submit_job(self, job):
            return (await self.submit_jobs([job]))[0]

        async def kill_job(self, job):
            """Nothing runs."""

        async def job_is_running(self, job):
            return False

    return Instant


def resident(key: str) -> float:
    """Bytes of memory of this process: VmRSS now, VmHWM at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0.0
