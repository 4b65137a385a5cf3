"""Faults of processes, with jobs that count their own executions: none is lost, doubled or left."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.faults.programs import DAEMON
from tests.waiting import until
from xqute import Job, JobFailed, JobKilled, JobStatus, simplug
from xqute.schedulers.local import LocalScheduler

PYTHON = sys.executable


#: A job that counts its starts, and whatever it starts holds a lock that no other start may find taken.
COUNTED = (
    'exec 9>>"$HERE/lock.$XQUTE_JOB_ID"; flock -n 9 || echo overlap >> "$HERE/overlaps"; '
    'echo $XQUTE_JOB_START >> "$HERE/runs.$XQUTE_JOB_ID"; '
)


def runs(here: Path, job: Job) -> list[int]:
    """The starts that executed the job's command, in order."""
    file = here / f"runs.{job.id}"
    return [int(start) for start in file.read_text().split()] if file.exists() else []


async def end(*jobs: Job) -> None:
    """Wait for the jobs, whatever becomes of them."""
    async with asyncio.timeout(30):
        await asyncio.wait([job.as_task() for job in jobs])
    for job in jobs:
        job.as_task().exception()


def hold_invariants(here: Path, alive, *jobs: Job) -> None:
    """No two starts lived at a time, each job ended with a reason, no start ran twice, nothing is left."""
    assert not (here / "overlaps").exists()
    assert alive() == {}
    for job in jobs:
        assert job.status.final
        assert job.reason.code
        assert runs(here, job) == sorted(set(runs(here, job)))
        assert not job.lock_file.exists()


# A wrapper that is killed by force


ESCAPED_CHILD = (
    'setsid sh -c \'trap "" TERM; touch "$HERE/up"; while :; do sleep 0.1; done\' & '
    'until [ -e "$HERE/up" ]; do sleep 0.01; done; '
)


@pytest.mark.parametrize("whom", ["wrapper", "group"])
async def test_a_killed_wrapper_is_noticed_and_what_it_started_is_ended_before_the_next_start(
    make, here, alive, whom
):
    async with make(scheduler_forks=2) as xqute:
        line = f"{COUNTED} [ $XQUTE_JOB_START = 2 ] && exit 0; echo first; {ESCAPED_CHILD} sleep 300"
        job = await xqute.push(line, retries=1, retry_delay=0)
        beside = await xqute.push(f"{COUNTED} echo fine")
        await until(lambda: (here / "up").exists() and job.status is JobStatus.RUNNING)
        killed = time.monotonic()
        (os.kill if whom == "wrapper" else os.killpg)(int(job.uid), signal.SIGKILL)
        await end(job, beside)
        took = time.monotonic() - killed

    hold_invariants(here, alive, job, beside)
    assert (job.status, job.attempt, runs(here, job)) == (JobStatus.FINISHED, 2, [1, 2])
    assert (beside.status, runs(here, beside)) == (JobStatus.FINISHED, [1])
    assert took < 10
    first = next(line for line in await job.history() if line.reason.code == "RETRY_DELAY")
    assert "SIGNAL 9" in first.error
    assert "wrapper" in first.error
    assert job.stdout_file.read_bytes() == b""
    assert (job.metadir / "job.retry" / "1" / "job.stdout").read_text() == "first\n"


# A job that runs too long


async def test_a_job_that_ran_too_long_is_a_timeout_and_keeps_what_its_trap_wrote(make, here, alive):
    xqute = make(grace=5)
    line = f"{COUNTED} trap 'echo tidied up; exit 3' TERM; echo before; sleep 300 9>&- & wait"
    job = await xqute.push(line, timeout=0.5)
    async with asyncio.timeout(20):
        await xqute.run_until_complete()

    hold_invariants(here, alive, job)
    assert (job.status, job.reason.code, job.rc) == (JobStatus.FAILED, "TIMEOUT", 3)
    assert job.stdout_file.read_text() == "before\ntidied up\n"
    assert runs(here, job) == [1]


async def test_a_timeout_of_a_job_that_ignores_it_is_enforced_before_the_next_attempt(make, here, alive):
    xqute = make()
    deaf = f"trap '' TERM; {ESCAPED_CHILD} while :; do sleep 0.1; done"
    line = f"{COUNTED} [ $XQUTE_JOB_START = 2 ] && exit 0; {deaf}"
    job = await xqute.push(line, timeout=1, retries=1, retry_delay=0)
    async with asyncio.timeout(30):
        await xqute.run_until_complete()

    hold_invariants(here, alive, job)
    assert (job.status, runs(here, job)) == (JobStatus.FINISHED, [1, 2])


# A job that ignores TERM, grandchildren and daemons


async def test_a_job_that_ignores_term_is_killed_after_its_grace_and_that_is_verified(make, here, alive):
    async with make(grace=0.5) as xqute:
        job = await xqute.push(f"{COUNTED} trap '' TERM; touch $HERE/up; while :; do sleep 0.1; done")
        await until((here / "up").exists)
        asked = time.monotonic()
        assert await job.kill()
        took = time.monotonic() - asked
        left = alive()

    assert left == {}
    assert 0.5 <= took < 5
    hold_invariants(here, alive, job)
    assert (job.status, runs(here, job)) == (JobStatus.KILLED, [1])
    with pytest.raises(JobKilled):
        await job


async def test_a_daemon_that_forked_twice_out_of_its_session_is_ended_with_its_job(make, here, alive):
    (here / "daemon.py").write_text(DAEMON)
    async with make() as xqute:
        job = await xqute.push(f"{COUNTED} {PYTHON} $HERE/daemon.py $HERE/up; sleep 300")
        await until((here / "up").exists)
        assert len(alive()) >= 3
        assert await job.kill()

    hold_invariants(here, alive, job)
    assert job.status is JobStatus.KILLED


# Torn writes


class Torn(Job):
    """An author's job whose script writes its end in two halves, some time apart."""

    async def wrap_cmd(self, scheduler):
        d = f"'{self.metadir}'"
        return (
            f"#!/bin/sh\nd={d}\nprintf 'RUNN' > $d/job.status; sleep 0.3; printf 'ING\\n' >> $d/job.status\n"
            f'echo x >> "$HERE/runs.{self.id}"; sleep 0.1; printf FINI >> $d/job.status\n'
            "until [ -e $HERE/go ]; do sleep 0.02; done\n"
            "printf 1 > $d/job.rc; sleep 0.2; printf '7\\n' >> $d/job.rc; printf 'SHED\\n' >> $d/job.status\n"
        )


async def test_half_a_line_is_no_news_until_the_rest_of_it_is_there(make, here, alive):
    class TornLocal(LocalScheduler):
        name = "local"
        job_class = Torn

    async with make(scheduler=TornLocal()) as xqute:
        job = await xqute.push(["true"])
        await until(lambda: job.metadir.joinpath("job.status").exists())
        await until(lambda: job.metadir.joinpath("job.status").read_text().endswith("FINI"))
        assert job.status in (JobStatus.SUBMITTED, JobStatus.RUNNING)
        (here / "go").touch()
        await end(job)

    assert (job.status, job.rc) == (JobStatus.FAILED, 17)
    assert str(job.reason) == "EXIT 17"
    assert (here / "runs.1").read_text() == "x\n"
    assert alive() == {}


# A flood of output


def resident() -> int:
    """KiB of memory this process has now."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


async def test_an_endless_flood_of_output_is_ended_by_its_limit_and_its_signal_is_the_reason(
    make, here, alive
):
    xqute = make(scheduler_prescript="ulimit -f 2000")
    job = await xqute.push(f"{COUNTED} exec yes", timeout=20)
    before = resident()
    async with asyncio.timeout(20):
        report = await xqute.run_until_complete()

    hold_invariants(here, alive, job)
    assert (job.status, job.reason.code, job.reason.detail["name"]) == (JobStatus.FAILED, "SIGNAL", "SIGXFSZ")
    assert 900_000 < job.stdout_file.stat().st_size <= 2000 * 1024
    assert resident() - before < 10_000
    assert len(str(report)) < 2000


async def test_the_loop_goes_round_while_a_job_floods_its_output_and_is_killed(make, here, alive):
    """The job writes as fast as it can, over and over into the same megabyte."""
    flood = (
        "import os\nblock = b'x' * 2**20\nopen(os.environ['HERE'] + '/up', 'w').close()\n"
        "while True:\n os.ftruncate(1, 0); os.lseek(1, 0, 0); os.write(1, block)"
    )
    before, slowest = resident(), 0.0
    async with make() as xqute:
        job = await xqute.push([PYTHON, "-c", flood])
        await until((here / "up").exists)
        end_ = time.monotonic() + 0.5
        while (began := time.monotonic()) < end_:
            await asyncio.sleep(0)
            slowest = max(slowest, time.monotonic() - began)
        await job.kill()

    assert job.status is JobStatus.KILLED
    assert slowest < 0.3
    assert resident() - before < 10_000
    assert alive() == {}


@pytest.mark.parametrize("how", ["0 bytes", "a file of holes"])
async def test_a_job_that_printed_nothing_or_terabytes_of_holes_is_told_by_its_rc(make, here, alive, how):
    xqute = make()
    line = "truncate -s 1T /dev/stdout" if how != "0 bytes" else ":"
    good, bad = await xqute.push_many([f"{COUNTED} {line}", f"{COUNTED} {line}; exit 3"])
    before = resident()
    async with asyncio.timeout(20):
        report = await xqute.run_until_complete()

    hold_invariants(here, alive, good, bad)
    assert (good.status, bad.status, bad.rc) == (JobStatus.FINISHED, JobStatus.FAILED, 3)
    assert len(str(report)) < 2000
    assert resident() - before < 40_000
    if how == "0 bytes":
        assert await good == ""
        with pytest.raises(JobFailed):
            await bad


# Tasks that wait


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


async def test_cancelling_who_awaits_a_job_touches_no_job_and_leaks_nothing(make, here, alive):
    async with make() as warm:
        await (await warm.push(["true"]))
    before, children_before = descriptors(), children()
    async with make(scheduler_forks=3) as xqute:
        line = f"{COUNTED} until [ -e $HERE/go ]; do sleep 0.02; done"
        jobs = await xqute.push_many([line] * 3)
        awaiting = [asyncio.create_task(_awaits(job)) for job in jobs]
        await until(lambda: all(runs(here, job) for job in jobs))
        for task in awaiting:
            task.cancel()
        await asyncio.wait(awaiting)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(jobs[0], 0.05)
        assert all(task.cancelled() for task in awaiting)
        assert not any(job.status.final for job in jobs)
        (here / "go").touch()

    hold_invariants(here, alive, *jobs)
    assert {(job.status, job.start) for job in jobs} == {(JobStatus.FINISHED, 1)}
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert descriptors() <= before
    assert children() == children_before


async def _awaits(job: Job) -> str:
    return await job


# Plugins


async def test_a_hook_that_blocks_raises_or_ends_its_task_costs_no_job_a_start(make, here, alive, caplog):
    class Bad:
        name = "bad plugin"

        @simplug.impl
        async def on_job_submitted(self, scheduler, job):
            time.sleep(0.3)  # noqa: ASYNC251  the fault itself

        @simplug.impl
        async def on_job_started(self, scheduler, job):
            raise ValueError("a bug of the plugin")

        @simplug.impl
        async def on_job_succeeded(self, scheduler, job):
            raise asyncio.CancelledError

    xqute = make(plugins=[Bad()], scheduler_forks=4)
    jobs = await xqute.push_many([f"{COUNTED} sleep 0.1"] * 4)
    async with asyncio.timeout(30):
        await xqute.run_until_complete()

    hold_invariants(here, alive, *jobs)
    assert {job.status for job in jobs} == {JobStatus.FINISHED}
    assert [runs(here, job) for job in jobs] == [[1]] * 4
    assert "bad plugin" in caplog.text
