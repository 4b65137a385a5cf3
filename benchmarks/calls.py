"""Python calls that do nothing, beside bare forks of a process that has imported the same module."""

from __future__ import annotations

import os
import time
from importlib import import_module

from shared import Row, Table, child, median, say, scratch

FORKS = (2, 8)
ROUNDS = 5
AFRESH = 40

#: Ways to run a call, by the name of its task in tasks.py.
CLEAN, AGAIN, ALONE = "nothing", "nothing_again", "nothing_afresh"

#: So many of each way that the start of their first process is a small part.
CALLS = {CLEAN: 1000, AGAIN: 3000, "bare": 2000}

#: What a process imports that is there to fork.
RUNNER = ("tasks", "xqute.inside.serve", "xqute.inside.run")


def measure(*, quick: bool) -> Table:
    table = Table("Python calls that do nothing: calls per second (`calls`)")
    for forks in (8,) if quick else FORKS:
        table.rows += compared(forks, quick=quick)
    calls, forks = (8, 2) if quick else (AFRESH, 2)
    rates = [calls / xqute(ALONE, calls, forks) for _ in range(1 if quick else 3)]
    table.rows.append(Row(f"forks {forks}, an interpreter of its own each", median(rates), "calls/s"))
    return table


def compared(forks: int, *, quick: bool) -> list[Row]:
    """Rounds of A B C C B A; the ratio is made in its round, and the median of them told."""
    shrink, rounds = (50, 1) if quick else (1, ROUNDS)
    ways = {
        CLEAN: lambda calls: xqute(CLEAN, calls, forks),
        AGAIN: lambda calls: xqute(AGAIN, calls, forks),
        "bare": lambda calls: child("calls:bare", calls=calls, forks=forks),
    }
    calls = {name: count // shrink for name, count in CALLS.items()}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        taken = dict.fromkeys(ways, 0.0)
        for name in [*ways, *reversed(ways)]:
            taken[name] += ways[name](calls[name])
        for name in ways:
            rates[name].append(2 * calls[name] / taken[name])
        told = ", ".join(f"{name} {values[-1]:.0f}/s" for name, values in rates.items())
        say(f"forks {forks}, round {turn + 1} of {rounds}: {told}")
    ratio = median([ours / bare for ours, bare in zip(rates[CLEAN], rates["bare"], strict=True)])
    note = f"{median(rates[CLEAN]):.0f}/s, {median(rates['bare']):.0f}/s"
    limits = {"bar": 1000, "aim": 3000, "more": True}
    return [
        Row(f"forks {forks}, a clean process each", median(rates[CLEAN]), "calls/s"),
        Row(f"forks {forks}, against bare `os.fork`", ratio, "x", 0.5, 0.75, more=True, note=note),
        Row(f"forks {forks}, `@task(reuse=True)`", median(rates[AGAIN]), "calls/s", **limits),
    ]


def xqute(name: str, calls: int, forks: int) -> float:
    """Seconds from `run_until_complete` to its end: the runner's own start is in it."""
    with scratch() as root:
        seconds: float = child("calls:run", directory=str(root / "x"), name=name, calls=calls, forks=forks)
    return seconds


async def run(directory: str, name: str, calls: int, forks: int) -> float:
    """Run calls that were pushed before the clock starts, and look whether each returned its own."""
    from xqute import Xqute

    function = getattr(import_module("tasks"), name)
    xq = Xqute(job_metadir=directory, scheduler_forks=forks)
    jobs = await xq.push_many([function(number) for number in range(calls)])
    begun = time.perf_counter()
    report = await xq.run_until_complete()
    seconds = time.perf_counter() - begun
    if any(not job.done() or job.result() != number for number, job in enumerate(jobs)):
        raise SystemExit(f"not every call returned what it should: {report}")
    return seconds


def bare(calls: int, forks: int) -> float:
    """Seconds of a process that only forks, calls and waits, with as many at a time."""
    module, *_ = (import_module(name) for name in RUNNER)
    function = module.nothing.fn
    begun = time.perf_counter()
    for number in range(calls):
        if number >= forks:
            os.waitpid(-1, 0)
        if os.fork() == 0:
            function(number)
            os._exit(0)
    for _ in range(min(calls, forks)):
        os.waitpid(-1, 0)
    return time.perf_counter() - begun
