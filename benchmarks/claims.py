"""How many claims a second several processes make at one SQLite file."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from typing import Any

from shared import Row, Table, answer, child, ending, median, say, scratch, start_child

WORKERS = 8
JOBS = 16_000


def measure(*, quick: bool) -> Table:
    table = Table(f"Claims of {WORKERS} processes at one SQLite file (`claims`)")
    jobs = 400 if quick else JOBS
    for count, bars in ((1, {"bar": 3000, "aim": 10_000}), (8, {})):
        rates = []
        for turn in range(1 if quick else 5):
            with scratch() as root:
                rates.append(race(str(root / "claims.db"), jobs, count))
            say(f"{count} at a time, round {turn + 1}: {rates[-1]:.0f} jobs/s")
        what = "one job at a time" if count == 1 else f"{count} jobs at a time"
        table.rows.append(Row(what, median(rates), "jobs/s", more=True, **bars))
    return table


def race(path: str, jobs: int, count: int) -> float:
    """Jobs per second from the first process's beginning to the last one's end."""
    child("claims:prepare", path=path, jobs=jobs)
    names = [f"worker {index}" for index in range(WORKERS)]
    workers = [start_child("claims:claim", path=path, owner=name, count=count) for name in names]
    with ExitStack() as stack:
        stack.enter_context(ending(*workers))
        for worker in workers:
            worker.stdout.readline()  # it has opened the store
        start = time.monotonic() + 0.2
        for worker in workers:
            worker.stdin.write(f"{start}\n")
            worker.stdin.flush()
        found = [answer(worker, "claims:claim") for worker in workers]
    claimed = [job for worker in found for job in worker["claimed"]]
    if sorted(claimed) != sorted(set(claimed)) or len(claimed) != jobs:
        message = f"{len(claimed)} claims, of {len(set(claimed))} different jobs, for {jobs} jobs"
        raise SystemExit(message)
    begun = min(worker["begun"] for worker in found)
    return jobs / (max(worker["ended"] for worker in found) - begun)


async def prepare(path: str, jobs: int) -> int:
    from xqute.states import JobStatus
    from xqute.store import Draft, RunRow
    from xqute.stores.sqlite import SqliteStore

    store = SqliteStore(path)
    await store.open()
    await store.own(RunRow("bench", "", "open", "", time.time(), "{}"), "")
    call = json.dumps({"argv": ["true"]})
    first = await store.accept("bench", [Draft(JobStatus.QUEUED, 0, call, "{}")] * jobs)
    await store.close()
    return first


async def claim(path: str, owner: str, count: int) -> dict[str, Any]:
    from xqute.stores.sqlite import SqliteStore

    store = SqliteStore(path)
    await store.open()
    print("ready", flush=True)
    start = float(sys.stdin.readline())
    while (begun := time.monotonic()) < start:
        pass
    ended = begun
    claimed: list[int] = []
    while rows := await store.claim(owner, "bench", count, time.time()):
        claimed += [row.id for row in rows]
        ended = time.monotonic()
    await store.close()
    return {"claimed": claimed, "begun": begun, "ended": ended}
