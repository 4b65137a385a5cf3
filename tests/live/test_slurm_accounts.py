"""How jobs ended that a real Slurm's queue does not list any more, by its accounting."""

import asyncio
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.live.clusters import HERE, SECONDS, run, trying_twice, until
from tests.waiting import wait_for
from xqute import JobStatus, Presence
from xqute.schedulers.slurm import SlurmScheduler

pytestmark = pytest.mark.live

#: A squeue that lists no job that has ended, as where Slurm forgets them at once.
FORGETFUL = """#!/bin/sh
for word; do shift; [ "$word" = --states=all ] || set -- "$@" "$word"; done
exec squeue "$@"
"""

#: It keeps accounts, and forgets soon.
KNOBS = {"XQUTE_SLURM_DBD": "1", "XQUTE_SLURM_NODES": "2", "XQUTE_SLURM_EXTRA": "MinJobAge=2"}


@pytest.fixture(scope="module")
def accounts():
    """The configuration of a Slurm that keeps accounts, for this file only."""
    if os.geteuid() != 0 or (shutil.which("slurmdbd") is None and not os.environ.get("CI")):
        pytest.skip("needs root, slurmdbd and MariaDB; XQUTE_SLURM_DBD=1 tests/live/slurm up installs them")
    home = Path(os.environ.get("XQUTE_LIVE", "/tmp/xqute-live"), "accounts")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**KNOBS, "XQUTE_LIVE": str(home)}.items():
            environment.setenv(name, value)
        home.mkdir(parents=True, exist_ok=True)
        try:
            up = subprocess.run(
                [HERE / "slurm", "up"], check=True, stdout=subprocess.PIPE, text=True, timeout=600
            )
            environment.setenv("SLURM_CONF", up.stdout.strip().partition("SLURM_CONF=")[2])
            run("sbatch", "--output=/dev/null", "--wrap=true")
            # the first accounts of all take a while
            told = ["--noheader", "--allocations", "--format=State"]
            wait_for(lambda: "COMPLETED" in run("sacct", *told), seconds=SECONDS)
            yield os.environ["SLURM_CONF"]
        finally:
            run(HERE / "slurm", "down")


@pytest.fixture
def make(accounts, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", accounts)
    shim = tmp_path / "squeue"
    shim.write_text(FORGETFUL)
    shim.chmod(0o700)

    def make(**options):
        scheduler = SlurmScheduler(scheduler_rate=None, squeue=str(shim), **options)
        # on a busy host accounts are many seconds late
        return trying_twice(scheduler, tmp_path, grace=30.0)

    return make


def ends(jobs):
    return {job.call.options.title: (job.status.name, str(job.reason)) for job in jobs}


async def test_ends_that_only_the_accounting_knows_have_their_reasons(make, tmp_path):
    """They are waited for together: Slurm looks at its limits every half a minute."""
    xq = make(slurm_time=1)
    sleeps = f"echo $PPID >'{tmp_path}'/$XQUTE_JOB_ID; exec sleep 90"
    jobs = [
        await xq.push(command, title=title, retries=0)
        for title, command in (
            ("long", sleeps),
            ("cancelled", sleeps),
            ("forced", sleeps),
            ("failed", "exit 3"),
        )
    ]
    async with asyncio.timeout(SECONDS), xq:
        long, cancelled, forced, _ = jobs
        await until(lambda: all(job.status is JobStatus.RUNNING for job in jobs[:3]))
        run("scontrol", "update", f"jobid={long.uid}", "EndTime=now+2")
        run("scancel", cancelled.uid)
        wrapper = tmp_path / str(forced.id)
        await until(lambda: wrapper.exists() and wrapper.read_text().strip())
        os.kill(int(wrapper.read_text()), signal.SIGKILL)
        await asyncio.wait([job.as_task() for job in jobs])

    ended = ends(jobs)
    assert ended.pop("forced") in {
        ("FAILED", f"LOST: Slurm says FAILED ({said}), and its files don't say how it ended")
        for said in ("JobLaunchFailure", "exit code 0:9")  # the queue's words, or those of the accounting
    }
    assert ended == {
        "long": ("FAILED", "TIMEOUT after 60 s: its time limit at Slurm"),
        "cancelled": ("FAILED", "KILLED by scancel by 0"),
        "failed": ("FAILED", "EXIT 3"),
    }
    assert xq.scheduler.commands["sacct"] > 0

    # what Slurm itself has forgotten by now
    later = SlurmScheduler(scheduler_rate=None)
    await until(lambda: not run("squeue", "--noheader", "--states=all").strip())
    answers = await later.poll_jobs(jobs)
    assert {answer.presence for answer in answers.values()} == {Presence.GONE}
    codes = [answer.reason and answer.reason.code for answer in answers.values()]
    assert codes == ["TIMEOUT", "KILLED", None, None]
    assert later.commands == {"squeue": 2, "sacct": 1, "scontrol": 1}


async def test_jobs_that_were_cancelled_while_they_waited_are_not_tried_again(make):
    """What did not begin of an array is one line in the accounting."""
    xq = make(slurm_exclusive=True)
    jobs = await xq.push_many(["sleep 90"] * 5, retries=3)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: [job.status for job in jobs].count(JobStatus.RUNNING) == 2)
        await until(lambda: "Resources" in " ".join(str(job.reason) for job in jobs))
        run("scancel", jobs[0].uid.partition("_")[0])
        await asyncio.wait([job.as_task() for job in jobs])

    assert {(job.status.name, job.reason.code, job.start) for job in jobs} == {("FAILED", "KILLED", 1)}
    assert xq.scheduler.commands["sbatch"] == 1
