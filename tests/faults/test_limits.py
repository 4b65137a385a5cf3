"""Limits of the host and its clock: too few descriptors or processes delay jobs, and cost no attempt."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.descriptors import no_descriptor_free
from tests.faults.programs import WARM
from tests.waiting import until
from xqute import JobStatus
from xqute.errors import MetadirError

HERE = Path(__file__).parents[2]


# A program of its own, under limits; it prints what became of its jobs

PROGRAM = """
import json, logging, os, resource, sys, time
limits, jobs, forks, line, uid, wait = json.loads(sys.argv[1])
logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
if uid:
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
async def main():
    xqute = Xqute(scheduler_forks=forks, job_error_strategy="retry")
    pushed = await xqute.push_many([line] * jobs)
    for name, value in limits.items():
        hard = resource.getrlimit(getattr(resource, name))[1]
        resource.setrlimit(getattr(resource, name), (value, hard))
    print("ready", flush=True)
    async with asyncio.timeout(40):
        report = await xqute.run_until_complete()
    print(json.dumps({
        "counts": {status.name: count for status, count in report.counts.items()},
        "starts": sorted({job.start for job in pushed}),
        "attempts": sorted({job.attempt for job in pushed}),
        "cpu": time.process_time(),
        "fds": len(os.listdir("/proc/self/fd")),
    }))
asyncio.run(main())
"""


@pytest.fixture
def run_limited(anybodys):
    """Start the program under limits; returns it after it said that it is ready."""
    started = []

    def run(limits, *, jobs, forks, line, uid=0) -> subprocess.Popen:
        place = anybodys / f"program {len(started)}"
        place.mkdir()
        if uid:
            os.chown(place, uid, uid)
        program = subprocess.Popen(
            [sys.executable, "-c", WARM + PROGRAM, json.dumps([limits, jobs, forks, line, uid, 0])],
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(HERE), "HOME": str(place)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(program)
        said = program.stdout.readline()
        assert said == "ready\n", program.stderr.read()
        return program

    yield run

    for program in started:
        with program:
            program.kill()


def told_by(program: subprocess.Popen) -> tuple[dict, str]:
    """What became of its jobs, and its log."""
    out, err = program.communicate(timeout=50)
    assert program.returncode == 0, err
    return json.loads(out), err


def test_a_hundred_jobs_at_a_time_run_with_64_descriptors(run_limited, tmp_path):
    program = run_limited(
        {"RLIMIT_NOFILE": 64}, jobs=100, forks=100, line=f"echo $XQUTE_JOB_ID >> '{tmp_path}/ran'; sleep 0.5"
    )
    told, log = told_by(program)

    assert told["counts"] == {"FINISHED": 100}
    assert (told["starts"], told["attempts"]) == ([1], [1])
    assert sorted(map(int, (tmp_path / "ran").read_text().split())) == list(range(1, 101))
    assert log.count("Traceback") == 0


def test_a_hundred_jobs_run_with_hardly_any_descriptor(run_limited, tmp_path):
    program = run_limited(
        {"RLIMIT_NOFILE": 20}, jobs=100, forks=100, line=f"echo $XQUTE_JOB_ID >> '{tmp_path}/ran'"
    )
    told, log = told_by(program)

    assert told["counts"] == {"FINISHED": 100}
    assert (told["starts"], told["attempts"]) == ([1], [1])
    assert sorted(map(int, (tmp_path / "ran").read_text().split())) == list(range(1, 101))
    assert log.count("Traceback") == 0


async def test_jobs_that_find_no_descriptor_free_are_started_when_there_are_some(make, tmp_path, caplog):
    async with asyncio.timeout(30), make(scheduler_forks=4, job_error_strategy="retry") as xqute:
        await (await xqute.push(["true"]))
        jobs = await xqute.push_many([f"echo $XQUTE_JOB_ID >> {tmp_path}/ran"] * 8)
        with no_descriptor_free():
            await until(lambda: "submissions pause" in caplog.text)

    for job in jobs:
        told = [str(line.reason) for line in await job.history()]
        assert (job.status, job.start, job.attempt) == (JobStatus.FINISHED, 1, 1), told
    assert len((tmp_path / "ran").read_text().split()) == 8
    assert caplog.text.count("submissions pause") == 1


@pytest.mark.parametrize("work", [["echo", "told"], pow], ids=["command", "call"])
async def test_a_result_that_can_not_be_read_now_is_said_and_not_made_up(make, work):
    async with asyncio.timeout(30), make() as xqute:
        job = await xqute.push(partial(work, 2, 5) if work is pow else work)
        told = await job
        with no_descriptor_free(), pytest.raises(MetadirError, match=r"job 1 .* now: Too many open files"):
            job.result()

        assert job.result() == told == (32 if work is pow else "told")


async def test_an_end_that_can_not_be_read_for_want_of_descriptors_is_read_later(make, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "xqute")
    async with asyncio.timeout(30), make(job_error_strategy="retry") as xqute:
        job = await xqute.push(f"echo ran >> {tmp_path}/ran; until [ -e {tmp_path}/go ]; do sleep 0.02; done")
        await until(lambda: job.status is JobStatus.RUNNING)
        with no_descriptor_free():
            (tmp_path / "go").symlink_to("/")  # takes no descriptor
            await until(lambda: "can't be read now" in caplog.text)
            assert job.status is JobStatus.RUNNING

    told = [str(line.reason) for line in await job.history()]
    assert (job.status, job.start, job.attempt) == (JobStatus.FINISHED, 1, 1), told
    assert (tmp_path / "ran").read_text() == "ran\n"


@pytest.mark.live
def test_jobs_that_the_kernel_does_not_let_start_are_started_later_and_lose_no_attempt(run_limited, anybodys):
    uid = 54321  # nobody else's, so that only its own processes count
    if os.geteuid():
        pytest.skip("the limit of processes does not bind without a user of its own")
    ran = anybodys / "ran"
    ran.touch()
    ran.chmod(0o666)
    program = run_limited(
        # a wrapper and its payload are two or three
        {"RLIMIT_NPROC": 8}, jobs=20, forks=20, uid=uid, line=f"echo $XQUTE_JOB_ID >> '{ran}'"
    )  # fmt: skip
    told, log = told_by(program)

    assert sum(told["counts"].values()) == 20
    # told once each time that it begins, and not at each try
    assert log.count("submissions go on") == log.count("submissions pause") >= 1
    assert "Resource temporarily unavailable" in log
    assert log.count("Traceback") == 0
    assert told["counts"] == {"FINISHED": 20}
    assert (told["starts"], told["attempts"]) == ([1], [1])
    assert sorted(map(int, ran.read_text().split())) == list(range(1, 21))


async def test_a_start_that_fails_for_want_of_processes_is_tried_again_and_used_no_attempt(
    make, tmp_path, monkeypatch, caplog
):
    spawn, failures = os.posix_spawn, []

    def fails_at_first(*args, **options):
        if len(failures) < 2:
            failures.append(None)
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return spawn(*args, **options)

    monkeypatch.setattr(os, "posix_spawn", fails_at_first)
    xqute = make(scheduler_forks=4, job_error_strategy="retry")
    jobs = await xqute.push_many([f"echo $XQUTE_JOB_ID >> {tmp_path}/ran"] * 4)
    async with asyncio.timeout(30):
        await xqute.run_until_complete()

    assert {(job.status, job.start, job.attempt) for job in jobs} == {(JobStatus.FINISHED, 1, 1)}
    assert sorted((tmp_path / "ran").read_text().split()) == ["1", "2", "3", "4"]
    assert caplog.text.count("submissions pause") == 1
    assert caplog.text.count("submissions go on") == 1


# Memory


@pytest.fixture
def small_memory():
    """A control group that has room for 48 MiB; its path."""
    for root, limit in (
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),  # version 1
        ("/sys/fs/cgroup", "memory.max"),
    ):
        group = Path(root, f"xqute-test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / limit).exists():
            break
        group.rmdir()
    else:
        pytest.skip("no control group for memory can be made here")
    (group / limit).write_text(str(48 << 20))
    yield group
    group.rmdir()


async def test_a_command_that_the_kernel_ends_for_want_of_memory_failed_by_signal_9_and_the_run_goes_on(
    make, small_memory
):
    greedy = [sys.executable, "-c", "x = bytearray(300 << 20); print('had room')"]
    # what the prescript writes moves the shell that becomes the command, and not the wrapper
    xqute = make(scheduler_forks=1, scheduler_prescript=f"echo 0 > {small_memory}/cgroup.procs")
    jobs = [await xqute.push(greedy, retries=1, retry_delay=0), await xqute.push(["echo", "modest"])]
    async with asyncio.timeout(30):
        await xqute.run_until_complete()

    assert (jobs[0].status, jobs[0].attempt, jobs[0].rc) == (JobStatus.FAILED, 2, 137)
    assert (jobs[0].reason.code, jobs[0].reason.detail["signal"]) == ("SIGNAL", 9)
    assert jobs[0].status_file.read_text().endswith("FAILED 137\n")
    assert await jobs[1] == "modest"


# The clock


@pytest.fixture
def jump(monkeypatch):
    """Set the clock of this program forward or back."""
    real, by = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + by[0])

    def jump_by(seconds: float) -> None:
        by[0] += seconds

    return jump_by


JUMPS = pytest.mark.parametrize("seconds", [3600, -3600])


@JUMPS
async def test_a_clock_that_jumps_ends_no_timeout_early_or_late(make, jump, seconds):
    async with asyncio.timeout(20), make(scheduler_forks=2) as xqute:
        patient = await xqute.push(["sleep", "0.6"], timeout=30)
        late = await xqute.push(["sleep", "60"], timeout=0.5, grace=1)
        await until(lambda: (patient.status, late.status) == (JobStatus.RUNNING, JobStatus.RUNNING))
        begun = time.monotonic()
        jump(seconds)
        await asyncio.wait([late.as_task(), patient.as_task()])
        took = time.monotonic() - begun

    assert patient.status is JobStatus.FINISHED
    assert late.reason.code == "TIMEOUT"
    assert took < 5


@JUMPS
async def test_a_clock_that_jumps_changes_no_delay_of_a_retry(make, jump, tmp_path, seconds):
    async with asyncio.timeout(20), make() as xqute:
        job = await xqute.push("[ $XQUTE_JOB_ATTEMPT = 2 ]", retries=1, retry_delay=1)
        await until(lambda: job.reason.code == "RETRY_DELAY")
        begun = time.monotonic()
        jump(seconds)
        await job
        took = time.monotonic() - begun

    assert 0.6 < took < 4
    assert job.attempt == 2


@JUMPS
async def test_a_clock_that_jumps_leaves_the_times_of_a_job_in_order(make, jump, seconds):
    async with asyncio.timeout(20), make() as xqute:
        job = await xqute.push(["sleep", "0.3"])
        await until(lambda: job.status is JobStatus.RUNNING)
        jump(seconds)
        await job

    dates = [line.date for line in await job.history()]
    assert dates == sorted(dates)
    assert job.created <= job.submitted <= job.started <= job.ended
    assert job.ended - job.created < 10
    assert job.usage["wall"] < 10


@JUMPS
async def test_a_clock_that_jumps_does_not_hold_a_kill_up(make, jump, seconds):
    async with asyncio.timeout(20), make() as xqute:
        job = await xqute.push("trap '' TERM; while :; do sleep 0.1; done", grace=0.3)
        await until(lambda: job.status is JobStatus.RUNNING)
        begun = time.monotonic()
        killing = asyncio.create_task(job.kill())
        jump(seconds)
        assert await killing
        took = time.monotonic() - begun

    assert 0.2 < took < 5


async def test_files_from_the_future_and_the_past_are_read_like_any_other(make):
    xqute = make(scheduler_forks=2)
    for date in ("2001-01-01", "2099-12-31"):
        await xqute.push(
            f"touch -d {date} $XQUTE_JOB_METADIR $XQUTE_JOB_METADIR/*; "
            f"(trap '' TERM; sleep 0.1; touch -d {date} $XQUTE_JOB_METADIR/job.status) & wait"
        )
    async with asyncio.timeout(20):
        report = await xqute.run_until_complete()

    assert report.counts == {JobStatus.FINISHED: 2}


# A stopped manager


STOPPED = """
import asyncio
from xqute import Xqute
async def main():
    xqute = Xqute(scheduler_forks=4)
    jobs = await xqute.push_many(["sleep 0.3; exit $((XQUTE_JOB_ID % 2))"] * 4, timeout=30)
    async def tell():
        while not all([job.status.name == "RUNNING" for job in jobs]):
            await asyncio.sleep(0.01)
        print("ready", flush=True)
    _, report = await asyncio.gather(tell(), xqute.run_until_complete())
    print([job.status.name for job in jobs])
asyncio.run(main())
"""


def test_a_manager_that_stood_still_while_its_jobs_ended_learns_all_of_them(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE)},
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGSTOP)
        ended = time.monotonic() + 10
        status = [tmp_path / ".xqute" / str(number) / "job.status" for number in (1, 2, 3, 4)]
        while not all(path.read_text().count("\n") == 2 for path in status):
            assert time.monotonic() < ended
            time.sleep(0.02)
        program.send_signal(signal.SIGCONT)
        output, _ = program.communicate(timeout=30)

    assert output == "['FAILED', 'FINISHED', 'FAILED', 'FINISHED']\n"
