"""Runs a workflow of science as a tree of calls, and prints what it cost beyond the work itself.

The workflow is a WfFormat file (https://wfcommons.org): traces of real workflows are at
https://github.com/wfcommons/WfInstances, and `pip install wfcommons` makes others of any size. Or it is
made here in the shape of Montage. Every task really runs: as a command, or with --python as a Python call
that gets what its parents returned. By default it does nothing; with --scale it takes its recorded time.

    python benchmarks/workflows.py tests/data/montage_58.json
    python benchmarks/workflows.py tests/data/montage_58.json --python --scale 0.001 --forks 8
    python benchmarks/workflows.py --montage 10000 --python

It ends with 1 when a task began before its parents had ended, or did not get what they returned.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import interrupt
from shared import memory_root, number, percentile, say, scratch, warn
from wfformat import Workflow, montage, read

FORKS = 8

#: What the clock of the file system, which `job.started` may come from, is late by.
TICK_SECONDS = 0.01

SLEEPING = 'date "+%s%N $1"; sleep "$2"; date "+%s%N $1"'


@dataclass(frozen=True, slots=True)
class Times:
    """One task, by its own clock and by what its job says; UTC seconds."""

    begun: float
    ended: float
    started: float
    over: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a workflow ran.

    Attributes:
        making: Seconds until the calls were there; pushing: until they were accepted; running: from then.
        since: When they could run; UTC seconds.
        times: Of each task; wrong: sentences about what should not have happened.
    """

    making: float
    pushing: float
    running: float
    since: float
    times: Sequence[Times]
    wrong: Sequence[str]


def main() -> int:
    given = arguments()
    try:
        workflow = read(given.file) if given.file else montage(given.montage)
    except (OSError, ValueError) as error:
        warn(str(error))
        return 2
    workflow = workflow.scaled(given.scale)
    signal.signal(signal.SIGTERM, interrupt)
    with nullcontext(given.keep) if given.keep else scratch() as root:
        say(f"{workflow.name}: {len(workflow.tasks)} tasks, metadir below {root}")
        try:
            outcome = asyncio.run(
                run(workflow, root / "xqute", given.forks, python=given.python, burn=given.burn)
            )
        except KeyboardInterrupt:
            warn("interrupted; nothing of it runs any more")
            return 130
    show(rows(workflow, outcome, given.forks))
    for sentence in outcome.wrong[:10]:
        warn(sentence)
    if not outcome.wrong:
        told = ", with what they returned" if given.python else ""
        print(f"every task began after its parents had ended{told}")
    return 1 if outcome.wrong else 0


def arguments() -> argparse.Namespace:
    about, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=more, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="WfFormat, version 1.2 to 1.6")
    parser.add_argument("--montage", type=int, metavar="N", help="instead of a file: Montage, of N tasks")
    parser.add_argument("--forks", type=int, default=FORKS, help=f"tasks at a time ({FORKS})")
    parser.add_argument("--scale", type=float, default=0.0, help="of the recorded times (0: do nothing)")
    parser.add_argument("--python", action="store_true", help="Python calls instead of commands")
    parser.add_argument("--burn", action="store_true", help="compute instead of sleeping; with --python")
    where = f"directory for the metadir, which is kept; else one below {memory_root()} that is not"
    parser.add_argument("--keep", type=Path, metavar="DIR", help=where)
    given = parser.parse_args()
    if (given.file is None) == (given.montage is None):
        parser.error("one of FILE and --montage N")
    if given.burn and not given.python:
        parser.error("--burn needs --python: commands sleep")
    return given


# Running it


async def run(workflow: Workflow, metadir: Path, forks: int, *, python: bool, burn: bool = False) -> Outcome:
    """Push it as a tree, run it to its end, and look at how it went.

    Raises:
        SystemExit: A task failed.
    """
    from xqute import Xqute

    begun = time.perf_counter()
    calls = python_calls(workflow, burn=burn) if python else commands(workflow)
    made = time.perf_counter()
    xq = Xqute(job_metadir=metadir, scheduler_forks=forks)
    await xq.push_many([calls[end] for end in workflow.ends])
    pushed, since = time.perf_counter(), time.time()
    report = await xq.run_until_complete()
    ended = time.perf_counter()
    counts = {status.name: count for status, count in report.counts.items() if count}
    if counts != {"FINISHED": len(workflow.tasks)}:
        raise SystemExit(f"not all of {len(workflow.tasks)} tasks finished: {report}")
    jobs = await xq.find(run=xq.run, limit=len(workflow.tasks))
    told = [(told_by_python if python else told_by_command)(job.result()) for job in jobs]
    times: list[Any] = [None] * len(workflow.tasks)
    for job, (task, _, first, last) in zip(jobs, told, strict=True):
        times[task] = Times(first, last, job.started, job.ended)
    wrong = [*early(workflow, times), *(misinformed(workflow, told) if python else ())]
    return Outcome(made - begun, pushed - made, ended - pushed, since, times, wrong)


def python_calls(workflow: Workflow, *, burn: bool) -> list[Any]:
    """A call for each task, with those of its parents as arguments."""
    from tasks import step

    calls: list[Any] = []
    for place, task in enumerate(workflow.tasks):
        calls.append(step(place, task.seconds, burn, *(calls[parent] for parent in task.parents)))
    return calls


def commands(workflow: Workflow) -> list[Any]:
    """A command for each task, after those of its parents."""
    from xqute import cmd

    calls: list[Any] = []
    for place, task in enumerate(workflow.tasks):
        sleeping = ["sh", "-c", SLEEPING, "sh", str(place), f"{task.seconds:.6f}"]
        call = cmd(*(sleeping if task.seconds else ["date", f"+%s%N {place}"]))
        calls.append(call.after(*(calls[parent] for parent in task.parents)) if task.parents else call)
    return calls


def told_by_python(result: tuple[int, int, int, int]) -> tuple[int, int, float, float]:
    """Number, level, and the times of one task."""
    place, level, begun, ended = result
    return place, level, begun / 1e9, ended / 1e9


def told_by_command(output: str) -> tuple[int, int, float, float]:
    """The same; a command knows nothing of its level."""
    lines = output.splitlines()
    begun, place = lines[0].split()
    ended, _ = lines[-1].split()
    return int(place), 0, int(begun) / 1e9, int(ended) / 1e9


# Looking at it


def early(workflow: Workflow, times: Sequence[Times]) -> list[str]:
    """A sentence for each task that began before a parent had ended, by either clock."""
    found = []
    for task, mine in zip(workflow.tasks, times, strict=True):
        for parent in task.parents:
            other = times[parent]
            before = max(other.ended - mine.begun, other.over - mine.started - TICK_SECONDS)
            if before > 0:
                name = workflow.tasks[parent].id
                found.append(f"{task.id} began {before * 1000:.1f} ms before {name} had ended")
    return found


def misinformed(workflow: Workflow, told: Sequence[tuple[int, int, float, float]]) -> list[str]:
    """A sentence for each task that was told something else than its parents returned."""
    levels = workflow.levels()
    return [
        f"{workflow.tasks[place].id} returned {level}, not {levels[place]}"
        for place, level, _, _ in told
        if level != levels[place]
    ]


def waits(workflow: Workflow, outcome: Outcome, forks: int) -> list[float]:
    """Seconds from when each task could have begun to when it did, by the clocks of the tasks.

    It could when its last parent had ended and one of the forks had nothing to do: tasks take the
    forks in the order in which these got free.
    """
    times = outcome.times
    free = deque([outcome.since] * forks)
    ends = deque(sorted(mine.ended for mine in times))
    found = []
    for place in sorted(range(len(times)), key=lambda place: times[place].begun):
        begun = times[place].begun
        while ends and ends[0] <= begun:
            free.append(ends.popleft())
        ready = max((times[parent].ended for parent in workflow.tasks[place].parents), default=outcome.since)
        found.append(max(0.0, begun - max(ready, free.popleft())))
    return found


def rows(workflow: Workflow, outcome: Outcome, forks: int) -> list[tuple[str, str]]:
    """What is printed."""
    size, critical, wall = len(workflow.tasks), workflow.critical(), outcome.running
    work = sum(task.seconds for task in workflow.tasks)
    least = max(critical, work / forks)
    waited = [seconds * 1000 for seconds in waits(workflow, outcome, forks)]
    return [
        ("tasks", str(size)),
        ("edges", str(workflow.edges)),
        ("levels", str(max(workflow.levels()))),
        ("made and pushed in", f"{number(outcome.making)} s, {number(outcome.pushing)} s"),
        ("ran for", f"{number(wall)} s"),
        ("beyond the critical path", f"{number(wall - critical)} s of {number(critical)} s"),
        (f"beyond what {forks} forks need", f"{number(wall - least)} s of {number(least)} s"),
        ("ready to start, p50", f"{number(percentile(waited, 0.5))} ms"),
        ("ready to start, p95", f"{number(percentile(waited, 0.95))} ms"),
        ("jobs per second", number(size / wall)),
    ]


def show(lines: Sequence[tuple[str, str]]) -> None:
    width = max(len(what) for what, _ in lines)
    for what, figure in lines:
        print(f"  {what.ljust(width)}  {figure}")


if __name__ == "__main__":
    sys.exit(main())
