"""What older job managers left running, took for a success, or littered when a job or the program ended."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.acceptance.conftest import until
from xqute import JobStatus, Xqute

ROOT = Path(__file__).parents[2]
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


# A timeout


@pytest.mark.parametrize("trap", ["trap '' TERM; ", ""], ids=["ignores TERM", "polite"])
async def test_a_timeout_ends_a_command_that_ignores_it_and_its_child_in_another_session(
    make, here, alive, trap
):
    xqute = make(grace=0.3)
    child = 'setsid sh -c \'trap "" TERM; touch "$HERE/up"; while :; do sleep 0.1; done\' &'
    job = await xqute.push(f"{child} {trap}while :; do sleep 0.1; done", timeout=1)
    began = time.monotonic()
    async with asyncio.timeout(20):
        await xqute.run_until_complete()

    assert (here / "up").exists()
    assert time.monotonic() - began < 8
    assert (job.status, job.reason.code) == (JobStatus.FAILED, "TIMEOUT")
    assert alive() == {}


# A status file that is strange while the job runs on


@pytest.mark.parametrize(
    "content", ["", "FINI", "garbage\\n", "42\\n", "\\377\\376\\n", "RUNNING 1\\nFINISHED"]
)
async def test_a_strange_status_file_is_no_end_while_the_job_runs(make, here, alive, content):
    async with make(scheduler_forks=2) as xqute:
        job = await xqute.push(
            f"printf '{content}' > $XQUTE_JOB_METADIR/job.status; touch $HERE/up; "
            "until [ -e $HERE/go ]; do sleep 0.02; done; echo x >> $HERE/ran; exit 7"
        )
        await until((here / "up").exists)
        for _ in range(3):  # time enough to look at the file
            beside = await xqute.push(["sleep", "0.1"])
            await beside
        assert not job.status.final
        (here / "go").touch()
        await asyncio.wait([job.as_task()])
        job.as_task().exception()

    assert job.status is JobStatus.FAILED
    assert job.reason.code in ("EXIT", "CORRUPT", "LOST")
    assert beside.status is JobStatus.FINISHED
    assert (here / "ran").read_text() == "x\n"
    assert alive() == {}


# Signals to the program


def program(source: str, *args) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", source, *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def recorded(metadir: Path) -> list[JobStatus]:
    async def read() -> list[JobStatus]:
        xqute = Xqute(job_metadir=metadir)
        try:
            return [job.status for job in await xqute.find(limit=1000)]
        finally:
            await xqute._driver.close()

    return asyncio.run(read())


NINE = """
import asyncio, sys
from xqute import Xqute
line = '''setsid sh -c 'touch "$HERE/s.$0"; sleep 300' $XQUTE_JOB_ID & sleep 300 &
touch "$HERE/c.$XQUTE_JOB_ID"; wait'''
async def main():
    xqute = Xqute(job_metadir=sys.argv[1], scheduler_forks=3, grace=0.5)
    await xqute.push_many([line] * 3)
    await xqute.run_until_complete()
asyncio.run(main())
"""


@SIGNALS
def test_none_of_nine_processes_survives_a_signal_to_the_program(tmp_path, here, alive, number):
    """Three jobs, each with a child and a child in a session of its own."""
    process = program(NINE, tmp_path / "meta")
    wait_for(lambda: len(list(here.iterdir())) == 6)
    assert len(alive()) > 9
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)

    assert alive() == {}
    assert process.returncode == -number, errors
    assert recorded(tmp_path / "meta") == [JobStatus.KILLED] * 3
    assert not list((tmp_path / "meta").rglob("job.lock"))


EIGHT = """
import asyncio, sys
from xqute import Xqute
async def main():
    xqute = Xqute(job_metadir=sys.argv[1], scheduler_forks=8, grace=0.5)
    await xqute.push_many(['touch "$HERE/began.$XQUTE_JOB_ID"; sleep 300; touch "$HERE/done"'] * 8)
    print("pushed", flush=True)
    await xqute.run_until_complete()
asyncio.run(main())
"""


@SIGNALS
@pytest.mark.parametrize("begun", [0, 1, 4])
def test_a_signal_while_jobs_are_in_submission_lets_none_run_on(tmp_path, here, alive, number, begun):
    """The signal comes when so many of eight jobs have begun."""
    process = program(EIGHT, tmp_path / "meta")
    assert process.stdout.readline() == "pushed\n"
    wait_for(lambda: len(list(here.glob("began.*"))) >= begun)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)

    assert alive() == {}
    assert process.returncode == -number, errors
    statuses = recorded(tmp_path / "meta")
    assert len(statuses) == 8
    assert set(statuses) <= {JobStatus.KILLED, JobStatus.QUEUED}
    # what began is never recorded as one that did not
    assert statuses.count(JobStatus.KILLED) >= len(list(here.glob("began.*")))
    assert not (here / "done").exists()


# What a job leaves


async def test_a_background_child_of_an_ended_job_is_ended_after_its_grace(make, here, alive):
    async with make(grace=0.3) as xqute:
        job = await xqute.push(
            "(touch $HERE/up; exec sleep 300) & until [ -e $HERE/up ]; do sleep 0.01; done"
        )
        await job
        await until(lambda: alive() == {})

    assert job.status is JobStatus.FINISHED
    assert (here / "up").exists()


async def test_killed_jobs_leave_nothing_outside_of_the_metadir(
    make, metadir, tmp_path, here, alive, monkeypatch
):
    work, temporary = tmp_path / "work", tmp_path / "tmp"
    work.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("TMPDIR", str(temporary))
    before = {*os.listdir("/tmp"), *os.listdir("/dev/shm")}
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  what raises is the last line
        async with make(scheduler_forks=4, grace=0.3) as xqute:
            await xqute.push_many(["touch $HERE/up.$XQUTE_JOB_ID; sleep 300"] * 3)
            await xqute.push('trap "" TERM; sleep 300', timeout=0.1)
            await until(lambda: len(list(here.iterdir())) == 3)
            _ = 1 / 0
    fresh = {*os.listdir("/tmp"), *os.listdir("/dev/shm")} - before

    assert list(work.iterdir()) == []
    assert list(temporary.iterdir()) == []
    assert [name for name in fresh if "xqute" in name or str(os.getpid()) in name] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meta dir", "tmp", "traces", "work"]
    assert not list(metadir.rglob("job.lock"))
    assert alive() == {}
