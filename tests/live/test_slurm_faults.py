"""What goes wrong at a real Slurm: nodes, limits, hands of others, and a controller that is away."""

import asyncio
import os
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.live.clusters import (
    DEAF,
    HERE,
    SECONDS,
    held,
    ran,
    run,
    standing_still,
    stop_all,
    trying_twice,
    until,
    without,
)
from xqute import JobStatus
from xqute.schedulers.slurm import SlurmScheduler

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("slurm_clients")]


@pytest.fixture
def make(tmp_path):
    def make(**options):
        return trying_twice(SlurmScheduler(scheduler_rate=None, **options), tmp_path, grace=4.0)

    return make


def resume(node):
    """Have a node back; one that was only marked as down may be back by itself."""
    subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False)


def sleeper(here, then="sleep 60"):
    """A command that says where it runs, each time it does."""
    return f"echo $SLURMD_NODENAME >>'{here}/ran'; {then}"


async def test_a_node_that_fails_costs_no_attempt_and_is_avoided(make, tmp_path):
    xq = make()
    job = await xq.push(sleeper(tmp_path, f"[ $(wc -l <'{tmp_path}/ran') -gt 1 ] || sleep 60"))
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: ran(tmp_path))
        [node] = ran(tmp_path)
        run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        try:
            await asyncio.wait([job.as_task()])
        finally:
            resume(node)

    assert (job.status, job.start, job.attempt) == (JobStatus.FINISHED, 2, 1)
    first, second = ran(tmp_path)
    assert first != second
    assert "NODE_FAIL" in " ".join(str(line.reason) for line in await job.history())


async def test_a_job_that_runs_too_long_for_slurm_is_a_timeout(make, tmp_path):
    xq = make(slurm_time=1)
    job = await xq.push(sleeper(tmp_path, "sleep 200"), retries=0)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: ran(tmp_path) and job.uid)
        run("scontrol", "update", f"jobid={job.uid}", "EndTime=now+2")
        await asyncio.wait([job.as_task()])

    assert (job.status, job.reason.code, job.reason.detail["timeout"]) == (JobStatus.FAILED, "TIMEOUT", "60")


@pytest.mark.parametrize("several", [1, 3])
async def test_a_job_that_was_cancelled_by_hand_says_so_and_is_not_tried_again(make, tmp_path, several):
    xq = make()
    jobs = await xq.push_many([sleeper(tmp_path)] * several)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: len(ran(tmp_path)) == several and jobs[0].uid)
        run("scancel", jobs[0].uid)
        await asyncio.wait([jobs[0].as_task()])
        others = [job.status for job in jobs[1:]]
        for job in jobs[1:]:
            await job.kill()

    job = jobs[0]
    assert (job.status, job.reason.code, job.start) == (JobStatus.FAILED, "KILLED", 1)
    assert "scancel" in str(job.reason)
    assert others == [JobStatus.RUNNING] * (several - 1)


async def test_jobs_that_were_cancelled_in_the_queue_never_run(make, tmp_path):
    xq = make(slurm_begin="now+600")
    jobs = await xq.push_many([sleeper(tmp_path)] * 3)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: "BeginTime" in str(jobs[0].reason))
        run("scancel", jobs[0].uid.partition("_")[0])
        await asyncio.wait([job.as_task() for job in jobs])

    assert {(job.status, job.reason.code) for job in jobs} == {(JobStatus.FAILED, "KILLED")}
    assert not ran(tmp_path)


async def test_a_wrapper_that_was_killed_is_noticed(make, tmp_path):
    xq = make()
    job = await xq.push(f"echo $PPID >'{tmp_path}/ppid'; sleep 60", retries=0)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: (tmp_path / "ppid").exists() and (tmp_path / "ppid").read_text().strip())
        os.kill(int((tmp_path / "ppid").read_text()), signal.SIGKILL)
        await asyncio.wait([job.as_task()])

    assert job.status is JobStatus.FAILED
    assert str(job.reason).startswith("LOST: Slurm says FAILED (JobLaunchFailure), and its files don't say")


async def test_a_job_that_takes_too_much_memory_ends_with_a_reason(make, tmp_path):
    xq = make(slurm_mem="100M")
    eat = "x = bytearray(400 << 20)\nimport time\ntime.sleep(60)"
    job = await xq.push(["/usr/bin/python3", "-c", eat], retries=0)
    async with asyncio.timeout(SECONDS), xq:
        await asyncio.wait([job.as_task()])

    assert job.status is JobStatus.FAILED
    assert job.reason.code in {"OOM", "SIGNAL", "LOST"}


async def test_a_controller_that_stands_still_during_a_submission_costs_no_double_run(
    make, tmp_path, slurm_clients
):
    xq = make()
    jobs = await xq.push_many([sleeper(tmp_path, "true")] * 5)
    with standing_still(int((slurm_clients / "slurmctld.pid").read_text())):
        running = asyncio.create_task(xq.run_until_complete())
        await until(lambda: xq.scheduler.commands["sbatch"] + xq.scheduler.commands["scontrol"])
        await asyncio.sleep(12)  # longer than its commands wait
    async with asyncio.timeout(SECONDS):
        report = await running

    assert report.ok
    assert len(ran(tmp_path)) == len(jobs)
    assert {(job.start, job.attempt) for job in jobs} == {(1, 1)}


async def test_a_submission_that_timed_out_and_was_taken_is_found_again(make, tmp_path, slurm_clients):
    xq = make()
    await xq.scheduler.limits()
    await xq.push_many([sleeper(tmp_path, "true")] * 5)
    with standing_still(int((slurm_clients / "slurmctld.pid").read_text())):
        running = asyncio.create_task(xq.run_until_complete())
        await until(lambda: "unreachable" in str(xq.jobs[0].reason))
    async with asyncio.timeout(SECONDS):
        report = await running

    assert report.ok
    assert len(ran(tmp_path)) == 5
    assert xq.scheduler.commands["sbatch"] == 1


async def test_jobs_outlive_a_controller_that_is_down_and_say_so(make, tmp_path):
    xq = make(scheduler_command_timeout=3)
    jobs = await xq.push_many([sleeper(tmp_path, held(tmp_path))] * 3)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: len(ran(tmp_path)) == 3)
        with without("slurm", "ctld-stop", "ctld-start"):
            await until(lambda: {job.reason.code for job in jobs} == {"UNREACHABLE"})
            said = str(jobs[0].reason)
        await until(lambda: {job.reason.code for job in jobs} == {"RUNNING"})
        (tmp_path / "go").touch()

    assert "scheduler unreachable since" in said
    assert [job.status for job in jobs] == [JobStatus.FINISHED] * 3


async def test_everything_is_cancelled_by_one_command_and_confirmed(make, tmp_path):
    xq = make()
    jobs = await xq.push_many([sleeper(tmp_path, DEAF)] * 20)

    took = await stop_all(xq, tmp_path)

    assert {job.status for job in jobs} == {JobStatus.KILLED}
    assert xq.scheduler.commands["scancel"] == 1
    assert took < 30
    there = run("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
    numbers = {job.uid for job in jobs}
    assert not [line for line in there if line.split()[0] in numbers]


async def test_what_a_cluster_refuses_is_said_in_its_words(make):
    xq = make(slurm_partition="nowhere")
    jobs = await xq.push_many([["true"]] * 3)
    async with asyncio.timeout(SECONDS):
        await xq.run_until_complete()

    assert Counter(job.reason.code for job in jobs) == {"SUBMIT_REFUSED": 3}
    assert "invalid partition specified: nowhere" in str(jobs[0].reason)
    assert {job.start for job in jobs} == {1}


async def test_a_start_that_outlives_its_node_can_not_write_what_counts(make, tmp_path):
    """Slurm gives a node up whose daemon died; what runs there goes on, beside the next start."""
    xq = make()
    until_told = f"until [ -e '{tmp_path}/go'.$XQUTE_JOB_START ]; do sleep 0.1; done"
    job = await xq.push(sleeper(tmp_path, f"{until_told}; echo start $XQUTE_JOB_START"))
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: ran(tmp_path))
        [node] = ran(tmp_path)
        run(HERE / "slurm", "node-kill", node)
        try:
            await until(lambda: len(ran(tmp_path)) == 2)
            (tmp_path / "go.1").touch()
            await until((tmp_path / "run/1/job.retry/1/job.stdout").read_text)
            status = job.status
            (tmp_path / "go.2").touch()
            result = await job
        finally:
            run(HERE / "slurm", "node-start", node)
            resume(node)

    assert not status.final
    assert (result, job.start, job.attempt, job.rc) == ("start 2", 2, 1, 0)
    assert ran(tmp_path)[1] != node


def elsewhere(conf, here):
    """A configuration with a controller whose name nobody knows."""
    text = re.sub("(?m)^SlurmctldHost=.*", "SlurmctldHost=nohost.invalid", Path(conf).read_text())
    (here / "elsewhere.conf").write_text(text)
    return str(here / "elsewhere.conf")


@pytest.mark.parametrize("lost", ["source", "host"])
async def test_a_cluster_that_can_not_be_found_has_refused_nothing(
    make, tmp_path, slurm_clients, monkeypatch, lost
):
    found = os.environ["SLURM_CONF"]
    if lost == "source":  # it looks for the controller by DNS then
        monkeypatch.delenv("SLURM_CONF")
    else:
        monkeypatch.setenv("SLURM_CONF", elsewhere(found, tmp_path))
    xq = make(scheduler_command_timeout=20)
    job = await xq.push(sleeper(tmp_path, "true"), retries=0)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: job.reason.code == "SCHEDULER_DOWN" or job.status.final)
        monkeypatch.setenv("SLURM_CONF", found)
        await job

    assert (job.status, len(ran(tmp_path))) == (JobStatus.FINISHED, 1)
