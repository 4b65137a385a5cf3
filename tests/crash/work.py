"""The program that is killed: jobs that count their own executions, hooks that count theirs.

Started as a program of its own: python work.py DIRECTORY [SECONDS]. It carries on where it was.
"""

import asyncio
import os
import sys
from pathlib import Path

from xqute import Call, JobStatus, Xqute, cmd, current_job, task
from xqute import simplug as pm
from xqute.work import Work

#: One line per execution, told by the job itself; a second one at the same time is told too.
JOB = """
exec 9>"$1/lock.$2"; flock -n 9 || echo "$2" >>"$1/overlaps"
echo "$2 $XQUTE_JOB_START $XQUTE_JOB_ATTEMPT" >>"$1/executions"
sleep "$3" 9>&-
if [ "$4" = flaky ] && [ "$(grep -c "^$2 " "$1/executions")" = 1 ]; then exit 3; fi
[ "$4" != fails ] || exit 4
echo "$2 done"
"""

#: What a tree of them is called, in the order in which they need each other.
TREE = ("below", "between", "above")

#: A call that asks for others, each of them once, and how often they are executed.
ASKING = {"asks": 2, "part1": 1, "part2": 1, "deep": 1}

#: Named calls that are built, in the order in which they need each other.
BUILT = ("base", "top")

GOOD = {"a": 0.0, "b": 0.05, "c": 0.3, "d": 0.0, "e": 0.1}


class Told:
    """A plugin that writes down what it is told, one line each."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "hooks"

    def tell(self, hook, job) -> None:
        with self.file.open("a") as file:
            file.write(f"{hook} {name_of(job.call)} {job.start}\n")


def name_of(work: Work) -> str:
    """What a job is called here."""
    return work.options.title if work.function else work.cmd[5]


def plugin(directory: Path):
    told = Told(directory)

    class Plugin:
        name = "told"

        @pm.impl
        async def on_job_queued(self, scheduler, job):
            told.tell("queued", job)

        @pm.impl
        async def on_job_submitted(self, scheduler, job):
            told.tell("submitted", job)

        @pm.impl
        async def on_job_succeeded(self, scheduler, job):
            told.tell("succeeded", job)

        @pm.impl
        async def on_job_failed(self, scheduler, job):
            told.tell("failed", job)

        @pm.impl
        async def on_job_killed(self, scheduler, job):
            told.tell("killed", job)

    return Plugin()


def command(directory: Path, name: str, seconds: float, kind: str = "good") -> list:
    return ["sh", "-c", JOB, "job", directory, name, seconds, kind]


def ran(directory: Path, name: str) -> None:
    """Leave the trace that the jobs' script leaves."""
    with (directory / "executions").open("a") as file:
        file.write(f"{name} {os.environ['XQUTE_JOB_START']} {os.environ['XQUTE_JOB_ATTEMPT']}\n")
    print(name, "done", flush=True)


@task
def deep(directory: Path) -> str:
    ran(directory, "deep")
    return "deep"


@task
def part(directory: Path, number: int) -> int:
    if number == 2:
        current_job().require([deep(directory).options(title="deep")])
    ran(directory, f"part{number}")
    return number


@task
def asks(directory: Path, before: str) -> list:
    ran(directory, "asks")
    assert before == "above done"
    return current_job().require(part(directory, n).options(title=f"part{n}") for n in (1, 2))


def tree(directory: Path) -> Call:
    """Commands that need each other, and a call that needs the last of them and then asks for more."""
    below = cmd(*command(directory, "below", 0.05))
    between = cmd(*command(directory, "between", 0.0)).after(below)
    above = cmd(*command(directory, "above", 0.0)).after(below, between)
    return asks(directory, above).options(title="asks")


def built(directory: Path) -> Call:
    """A named call that needs another."""
    base = cmd(*command(directory, "base", 0.05)).named("base")
    return cmd(*command(directory, "top", 0.0)).after(base).named("top")


async def end_when_it_runs(job) -> None:
    while job.status < JobStatus.RUNNING:  # noqa: ASYNC110  as a user would write it
        await asyncio.sleep(0.01)
    if job.status is JobStatus.RUNNING:
        await job.kill()


async def main(directory: Path, seconds: float) -> None:
    xqute = Xqute(
        job_metadir=directory / "meta",
        scheduler_forks=3,
        resume=True,
        retry_delay=0.02,
        grace=0.3,
        plugins=[plugin(directory)],
    )
    good = [command(directory, name, wait) for name, wait in GOOD.items()]
    await xqute.push_many([*good, command(directory, "hold", seconds)])
    flaky = command(directory, "flaky", 0.05, "flaky")
    await xqute.push_many([flaky, command(directory, "fails", 0.0, "fails")], retries=2)
    await xqute.push(tree(directory))
    endless = await xqute.push(command(directory, "endless", 600), priority=5)
    async with xqute:
        await end_when_it_runs(endless)
        await xqute.build(built(directory))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
    os.write(1, b"done\n")
