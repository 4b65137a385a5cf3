"""The program that is killed: jobs that count their own executions, hooks that count theirs.

Started as a program of its own: python work.py DIRECTORY [SECONDS]. It carries on where it was.
"""

import asyncio
import os
import sys
from pathlib import Path

from xqute import JobStatus, Xqute
from xqute import simplug as pm

#: One line per execution, told by the job itself; a second one at the same time is told too.
JOB = """
exec 9>"$1/lock.$2"; flock -n 9 || echo "$2" >>"$1/overlaps"
echo "$2 $XQUTE_JOB_START $XQUTE_JOB_ATTEMPT" >>"$1/executions"
sleep "$3" 9>&-
if [ "$4" = flaky ] && [ "$(grep -c "^$2 " "$1/executions")" = 1 ]; then exit 3; fi
[ "$4" != fails ] || exit 4
echo "$2 done"
"""

GOOD = {"a": 0.0, "b": 0.05, "c": 0.3, "d": 0.0, "e": 0.1}


class Told:
    """A plugin that writes down what it is told, one line each."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "hooks"

    def tell(self, hook, job) -> None:
        with self.file.open("a") as file:
            file.write(f"{hook} {job.call.cmd[5]} {job.start}\n")


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
    endless = await xqute.push(command(directory, "endless", 600), priority=5)
    async with xqute:
        await end_when_it_runs(endless)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
    os.write(1, b"done\n")
