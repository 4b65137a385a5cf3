"""What an earlier tool of this kind got wrong, one test for the right behaviour of each."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.acceptance.conftest import until
from xqute import Halted, JobStatus, Xqute, simplug
from xqute.engine import watcher


@pytest.mark.parametrize("number", ["TERM", "INT", "HUP", "USR2", "XCPU"])
@pytest.mark.parametrize("whom", ["wrapper", "group"])
async def test_a_signal_to_the_wrapper_or_its_group_is_never_a_success(make, number, whom):
    async with make() as xqute:
        job = await xqute.push(["sleep", "0.5" if whom == "wrapper" else "60"])
        await until(lambda: job.status is JobStatus.RUNNING)

        send = os.kill if whom == "wrapper" else os.killpg
        send(int(job.uid), getattr(signal, f"SIG{number}"))
        await asyncio.wait([job.as_task()])
        job.as_task().exception()

    # a signal that is the payload's business ends nothing when only the wrapper gets it
    spared = whom == "wrapper" and number in ("INT", "USR2")
    assert job.status is (JobStatus.FINISHED if spared else JobStatus.FAILED)
    if not spared:
        assert f"SIG{number}" in str(job.reason) or job.reason.code == "SIGNAL"


async def test_an_unset_variable_in_an_argument_is_a_text(run_one):
    job = await run_one(["echo", "$unset $! $$ $PPID"])

    assert await job == "$unset $! $$ $PPID"


async def test_a_metadir_with_a_blank_works(make, metadir):
    xqute = make()
    job = await xqute.push(["echo", "here"])
    await xqute.run_until_complete()

    assert " " in str(metadir)
    assert await job == "here"


async def test_a_hook_that_raises_when_a_job_was_submitted_breaks_no_forks(make, tmp_path, caplog):
    class Bad:
        name = "bad plugin"

        @simplug.impl
        async def on_job_submitted(self, scheduler, job):
            raise ValueError("a bug of the plugin")

    xqute = make(plugins=[Bad()], scheduler_forks=1, job_error_strategy="retry", job_num_retries=2)
    busy = tmp_path / "busy"
    line = (
        f"mkdir {busy} || echo overlap >> {tmp_path}/overlaps; echo start >> {tmp_path}/starts; rmdir {busy}"
    )
    await xqute.push_many([line] * 4)
    report = await xqute.run_until_complete()

    assert report.ok
    assert (tmp_path / "starts").read_text().count("start") == 4
    assert not (tmp_path / "overlaps").exists()
    assert "bad plugin" in caplog.text


async def test_a_failing_prescript_fails_the_job_with_its_text_and_runs_nothing(run_one, tmp_path):
    job = await run_one(
        ["touch", tmp_path / "ran"], options={"scheduler_prescript": "cd /nonexistent\nexport A=1"}
    )

    assert job.status is JobStatus.FAILED
    assert "the prescript failed" in str(job.reason)
    assert "/nonexistent" in str(job.exception())
    assert not (tmp_path / "ran").exists()


async def test_a_relative_metadir_is_absolute_at_once_whatever_the_prescript_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    xqute = Xqute(scheduler_prescript="cd /")
    monkeypatch.chdir("/tmp")

    job = await xqute.push(["echo", "fine"], cwd="/usr")
    await xqute.run_until_complete()

    assert xqute.metadir == tmp_path / ".xqute"
    assert await job == "fine"
    assert (tmp_path / ".xqute" / ".gitignore").read_text() == "*\n"


async def test_a_killed_job_is_killed_and_not_finished(make):
    async with make() as xqute:
        job = await xqute.push(["sleep", "60"])
        await until(lambda: job.status is JobStatus.RUNNING)
        assert await job.kill()

    assert job.status is JobStatus.KILLED
    assert job.status_file.read_text().endswith("FAILED 143 TERM\n")


async def test_jobs_killed_by_halt_are_killed_and_not_finished(make):
    xqute = make(job_error_strategy="halt", scheduler_forks=2)
    slow = await xqute.push(["sleep", "60"])
    await xqute.push("sleep 0.2; exit 1")

    await xqute.run_until_complete()

    assert slow.status is JobStatus.KILLED


async def test_a_second_run_runs_what_was_pushed_after_the_first(make):
    xqute = make()
    await xqute.push(["true"])
    await xqute.run_until_complete()

    later = await xqute.push(["echo", "later"])
    report = await xqute.run_until_complete()

    assert report.counts == {JobStatus.FINISHED: 2}
    assert await later == "later"


async def test_a_command_killed_by_force_is_a_failure_with_137(run_one):
    job = await run_one("kill -KILL $$")

    assert job.rc == 137
    assert job.reason.detail["signal"] == 9


async def test_a_wrapper_killed_by_force_is_noticed_at_once_and_its_command_ended(make, marked):
    async with make() as xqute:
        job = await xqute.push("sleep 60 & sleep 61")
        await until(lambda: job.status is JobStatus.RUNNING)

        killed = time.monotonic()
        os.kill(int(job.uid), signal.SIGKILL)
        await asyncio.wait([job.as_task()])
        noticed = time.monotonic() - killed
        job.as_task().exception()

    assert job.status is JobStatus.FAILED
    assert job.reason.code == "SIGNAL"
    assert "wrapper" in str(job.reason)
    assert noticed < 5
    assert marked(job) == set()


async def test_a_prescript_that_prints_much_hangs_nothing(run_one):
    job = await run_one(["echo", "x" * 120_000], options={"scheduler_prescript": "head -c 600000 /dev/zero"})

    assert await job == "x" * 120_000


async def test_a_job_pushed_from_a_hook_runs(make):
    class Chain:
        @simplug.impl
        async def on_job_succeeded(self, scheduler, job):
            if job.id < 4:
                await xqute.push(["echo", job.id + 1])

    xqute = make(plugins=[Chain()])
    await xqute.push(["echo", 1])

    report = await xqute.run_until_complete()

    assert report.counts == {JobStatus.FINISHED: 4}


@pytest.mark.parametrize(
    "content", [b"", b"FINI", b"garbage\n", b"42\n", b"\xff\xfe\x00\n", b"FINISHED\nRUNN"]
)
async def test_a_strange_status_file_ends_in_a_typed_reason(make, content):
    async with make() as xqute:
        job = await xqute.push(["sleep", "60"])
        await until(lambda: job.status is JobStatus.RUNNING)
        job.status_file.write_bytes(content)
        os.killpg(int(job.uid), signal.SIGKILL)
        await asyncio.wait([job.as_task()])
        job.as_task().exception()

    assert job.status is JobStatus.FAILED
    assert job.reason.code in ("SIGNAL", "CORRUPT")


async def test_halt_kills_what_runs_starts_nothing_and_says_why(make, tmp_path, marked):
    xqute = make(job_error_strategy="halt", scheduler_forks=2)
    slow = await xqute.push(["sleep", "60"])
    bad = await xqute.push("exit 5")
    never = await xqute.push(["touch", tmp_path / "ran"])

    report = await xqute.run_until_complete()

    assert [slow.status, bad.status, never.status] == [JobStatus.KILLED, JobStatus.FAILED, JobStatus.QUEUED]
    assert str(bad) in str(xqute.stop_reason)
    assert report.stop_reason is xqute.stop_reason
    assert marked(slow) == set()
    assert not (tmp_path / "ran").exists()
    with pytest.raises(Halted):
        await never


async def test_a_cancelled_run_raises_and_leaves_nothing_running(make, marked):
    xqute = make(scheduler_forks=2)
    jobs = await xqute.push_many([["sleep", "60"], "setsid sleep 61 & sleep 62"])

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(xqute.run_until_complete(), 0.5)

    assert {job.status for job in jobs} == {JobStatus.KILLED}
    assert [marked(job) for job in jobs] == [set(), set()]
    assert xqute.stop_reason.code == "cancelled"


@pytest.mark.parametrize(
    "hook", ["on_job_started", "on_job_succeeded", "on_init", "on_complete", "on_shutdown", "on_job_queued"]
)
async def test_a_hook_that_raises_harms_neither_run_nor_jobs(make, hook, caplog):
    async def raises(*args):
        raise ValueError("a bug of the plugin")

    arguments = {"on_init": "scheduler", "on_complete": "scheduler", "on_shutdown": "scheduler, consumer"}
    scope = {}
    exec(f"async def {hook}({arguments.get(hook, 'scheduler, job')}): raise ValueError('a bug')", scope)
    xqute = make(plugins=[type("buggy", (), {hook: simplug.impl(scope[hook])})])
    await xqute.push_many([["true"]] * 3)

    report = await xqute.run_until_complete()

    assert report.counts == {JobStatus.FINISHED: 3}
    assert "buggy" in caplog.text


@pytest.fixture
def run_program(tmp_path):
    """Run a program of its own; it is given when it printed "ready"."""
    programs = []

    def run(source: str) -> subprocess.Popen:
        program = subprocess.Popen(
            [sys.executable, "-c", source],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(HERE)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        programs.append(program)
        assert program.stdout.readline() == "ready\n"
        return program

    yield run

    for program in programs:
        with program:
            program.kill()


HERE = Path(__file__).parents[2]


AFTERWARDS = """
import asyncio, signal, sys, time
from xqute import Xqute
before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
async def main():
    xqute = Xqute()
    await xqute.push(["true"])
    await xqute.run_until_complete()
asyncio.run(main())
assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_after_the_run_are_the_programs_own(run_program, number):
    process = run_program(AFTERWARDS)

    process.send_signal(number)
    process.communicate(timeout=20)

    assert process.returncode == -number


TWO = """
import asyncio, sys
from xqute import Xqute
async def main():
    one, two = Xqute(job_metadir="one"), Xqute(job_metadir="two")
    for xqute in (one, two):
        await xqute.push(["sleep", "60"])
    async def tell():
        while not all([job.status.name == "RUNNING" for xqute in (one, two) for job in xqute.jobs]):
            await asyncio.sleep(0.01)
        print("ready", flush=True)
    telling = asyncio.create_task(tell())
    try:
        await asyncio.gather(one.run_until_complete(), two.run_until_complete())
    finally:
        print([job.status.name for xqute in (one, two) for job in xqute.jobs], flush=True)
asyncio.run(main())
"""


def test_two_managers_in_one_loop_both_stop_at_ctrl_c(run_program):
    process = run_program(TWO)

    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)

    assert output == "['KILLED', 'KILLED']\n"
    assert process.returncode == -signal.SIGINT


def test_two_managers_in_one_loop_both_stop_at_sigterm(run_program, tmp_path):
    process = run_program(TWO)

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)

    assert process.returncode == -signal.SIGTERM
    for metadir in ("one", "two"):
        assert (tmp_path / metadir / "1" / "job.status").read_text().endswith("FAILED 143 TERM\n")


def test_a_manager_works_in_a_thread_that_is_not_the_main_one(tmp_path):
    results = []

    async def main():
        xqute = Xqute(job_metadir=tmp_path)
        job = await xqute.push(["echo", "from a thread"])
        await xqute.run_until_complete()
        results.append(await job)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join(30)

    assert results == ["from a thread"]


async def test_importing_and_running_configures_no_logging(make):
    before = list(logging.getLogger().handlers)

    xqute = make()
    await xqute.push(["true"])
    await xqute.run_until_complete()

    assert logging.getLogger().handlers == before
    assert not logging.getLogger("xqute").handlers
    assert watcher.log.level == logging.NOTSET
