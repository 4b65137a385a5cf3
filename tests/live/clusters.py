"""What tests at real clusters have in common."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from tests import waiting
from xqute import JobStatus, Xqute

HERE = Path(__file__).parent
SECONDS = 120

#: What a job does that hears no TERM.
DEAF = "trap '' TERM; sleep 60; sleep 60"


def run(*argv):
    """What a command says, which must succeed."""
    done = subprocess.run(list(map(str, argv)), check=True, capture_output=True, text=True, timeout=SECONDS)
    return done.stdout


async def until(condition):
    await waiting.until(condition, seconds=SECONDS)


def trying_twice(scheduler, tmp_path, *, grace):
    """A manager that tries a failed job once more."""
    scheduler.poll_seconds, scheduler.grace_seconds = 1.0, grace
    return Xqute(scheduler, job_metadir=tmp_path / "run", job_error_strategy="retry", job_num_retries=1)


def held(here):
    """What a job does that ends when it is let go, by the file `go`."""
    return f"until [ -e '{here}/go' ]; do sleep 0.1; done"


def ran(here):
    """What each start of a job has said."""
    file = here / "ran"
    return file.read_text().split() if file.exists() else []


async def stop_all(xq, here):
    """Stop a run when all its jobs run; the seconds it takes until they are confirmed to be gone."""
    running = asyncio.create_task(xq.run_until_complete())
    await until(lambda: len(ran(here)) == len(xq.jobs))
    began = time.monotonic()
    xq.request_stop("test")
    async with asyncio.timeout(SECONDS):
        await running
    return time.monotonic() - began


async def waits_too_long(xq, several, said):
    """Each of several jobs says so, once; what stands for NUMBER in that, that of the first."""
    jobs = await xq.push_many([["true"]] * several, retries=0)
    async with asyncio.timeout(SECONDS):
        await xq.run_until_complete()

    number = re.split("[._]", jobs[0].uid)[0]
    assert {str(job.reason) for job in jobs} == {
        f"PENDING_TIMEOUT after 2 s: {said.replace('NUMBER', number)}"
    }
    assert {(job.status, job.start) for job in jobs} == {(JobStatus.FAILED, 1)}
    return number


async def is_killed_as(xq, number):
    """Kill a job that runs, and that has the number of another by then; returns its own."""
    job = await xq.push("sleep 60")
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: job.status is JobStatus.RUNNING)
        ours, job.uid = job.uid, number
        await job.kill()
        await asyncio.wait([job.as_task()])

    assert job.status is JobStatus.KILLED
    return ours


@contextlib.contextmanager
def without(cluster, stop, start, *more):
    """A cluster that misses something for a while: verbs of its script."""
    run(HERE / cluster, stop, *more)
    try:
        yield
    finally:
        run(HERE / cluster, start, *more)


@contextlib.contextmanager
def standing_still(pid):
    """A process that does nothing for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
