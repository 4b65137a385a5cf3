"""What it costs that jobs wait for each other: trees in the shape of Montage, and calls that need many.

With a scheduler that starts nothing (see scale.py) only xqute is measured: the tree that is accepted, who
may run next, and the whole life of each job. With real calls that do nothing, what counts is how long one
that could begin did not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import workflows
from scale import FORKS as INSTANT_FORKS
from scale import instant
from shared import Row, Table, child, median, percentile, say, scratch
from wfformat import montage

PUSHED = 100_000
FAN = 10_000
INTO = 100
SIZES = (1000, 10_000, 100_000)
CALLED = (1000, 10_000)
FORKS = (2, 8)
ROUNDS = 3


def measure(*, quick: bool) -> Table:
    table = Table("Trees of calls in the shape of Montage (`graphs`)")
    rounds, shrink = (1, 100) if quick else (ROUNDS, 1)
    table.rows += pushes(shrink, rounds)
    table.rows += lives([size // shrink for size in SIZES[1 if quick else 0 :]], rounds)
    for forks in FORKS[: 1 if quick else 2]:
        table.rows += called([size // shrink for size in CALLED[1 if quick else 0 :]], forks, rounds)
    return table


# Accepting


def pushes(shrink: int, rounds: int) -> list[Row]:
    """Seconds until a tree is in the store; its calls were made before."""
    tree, fan = PUSHED // shrink, FAN // shrink
    ways = {
        f"push of a tree of {tree} commands": ("push_tree", {"size": tree, "python": False}, 10, 5),
        f"push of a tree of {tree} Python calls": ("push_tree", {"size": tree, "python": True}, 20, 10),
        f"push of one command that needs {fan}": ("push_fan", {"size": fan, "into": 1}, 2, 1),
        f"push of {INTO} commands that need {fan} each": ("push_fan", {"size": fan, "into": INTO}, 4, 2),
    }
    rows = []
    for what, (function, arguments, bar, aim) in ways.items():
        runs = [fresh(f"graphs:{function}", **arguments) for _ in range(rounds)]
        making, pushing = (median(column) for column in zip(*runs, strict=True))
        say(f"{what}: {pushing:.2f} s")
        rows.append(Row(what, pushing, "s", bar, aim, note=f"made in {making:.2f} s"))
    return rows


def fresh(function: str, **arguments: Any) -> Any:
    with scratch() as root:
        return child(function, directory=str(root / "x"), **arguments)


async def push_tree(directory: str, size: int, *, python: bool) -> tuple[float, float]:
    """Seconds of making the calls, and of pushing them."""
    workflow = montage(size)
    begun = time.perf_counter()
    calls = workflows.python_calls(workflow, burn=False) if python else workflows.commands(workflow)
    return await pushed(directory, calls[-1:], begun)


async def push_fan(directory: str, size: int, into: int) -> tuple[float, float]:
    """The same of calls that each need all of so many."""
    from xqute import cmd

    begun = time.perf_counter()
    many = [cmd("echo", number) for number in range(size)]
    return await pushed(directory, [cmd("true").after(*many) for _ in range(into)], begun)


async def pushed(directory: str, calls: list[Any], begun: float) -> tuple[float, float]:
    from xqute import Xqute

    logging.getLogger("xqute").setLevel(logging.ERROR)  # it warns of jobs that nobody ran, rightly
    made = time.perf_counter()
    await Xqute(job_metadir=directory).push_many(calls)
    return made - begun, time.perf_counter() - made


# Whole lives


def lives(sizes: list[int], rounds: int) -> list[Row]:
    """Microseconds per job of a tree whose jobs end at once, by its size."""
    runs: dict[int, list[list[float]]] = {size: [] for size in sizes}
    for turn in range(rounds):
        for size in sizes[:: -1 if turn % 2 else 1]:  # forth and back
            runs[size].append(fresh("graphs:live", size=size))
            say(f"round {turn + 1}, {size} jobs: {sum(runs[size][-1]):.0f} µs each")
    rows = []
    for size, found in runs.items():
        push, run = (median(column) for column in zip(*found, strict=True))
        note = f"push {push:.0f} µs, run {run:.0f} µs"
        whole = median([sum(one) for one in found])
        rows.append(Row(f"{size} jobs that end at once: a whole life", whole, "µs", note=note))
    pairs = zip(runs[sizes[0]], runs[sizes[-1]], strict=True)
    ratio = median([sum(large) / sum(small) for small, large in pairs])
    what = f"cost among {sizes[-1]} jobs, against {sizes[0]}"
    return [*rows, Row(what, ratio, "x", bar=1.2)]


async def live(directory: str, size: int) -> tuple[float, float]:
    from xqute import JobStatus, Xqute

    calls = workflows.commands(montage(size))
    xq = Xqute(instant(), job_metadir=directory, scheduler_forks=INSTANT_FORKS)
    begun = time.perf_counter()
    await xq.push(calls[-1])
    accepted = time.perf_counter()
    report = await xq.run_until_complete()
    ended = time.perf_counter()
    if report.counts != {JobStatus.FINISHED: size}:
        raise SystemExit(f"not all jobs finished: {report}")
    return (accepted - begun) * 1e6 / size, (ended - accepted) * 1e6 / size


# Real calls


def called(sizes: list[int], forks: int, rounds: int) -> list[Row]:
    """Milliseconds that calls waited which could have begun, and what each cost.

    More at a time than there are cores wait for the processor, which is nobody's fault: no bars.
    """
    runs: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for turn in range(rounds):
        for size in sizes[:: -1 if turn % 2 else 1]:  # forth and back
            runs[size].append(fresh("graphs:call", size=size, forks=forks))
            say(f"forks {forks}, round {turn + 1}, {size} calls: {runs[size][-1]['each']:.2f} ms each")
    rows = []
    for size, found in runs.items():
        half, most, each = (median([run[key] for run in found]) for key in ("p50", "p95", "each"))
        bars = {"bar": 20} if forks == FORKS[0] else {}
        what = f"forks {forks}, {size} calls"
        rows += [
            Row(f"{what}: ready to start, p95", most, "ms", **bars, note=f"p50 {half:.1f} ms"),
            Row(f"{what}: each", each, "ms", note=f"{1000 / each:.0f} calls/s"),
        ]
    return rows


def call(directory: str, size: int, forks: int) -> dict[str, float]:
    workflow = montage(size).scaled(0)
    outcome = asyncio.run(workflows.run(workflow, Path(directory), forks, python=True))
    if outcome.wrong:
        raise SystemExit(outcome.wrong[0])
    waited = [seconds * 1000 for seconds in workflows.waits(workflow, outcome, forks)]
    return {
        "p50": percentile(waited, 0.5),
        "p95": percentile(waited, 0.95),
        "each": outcome.running * 1000 / size,
    }
