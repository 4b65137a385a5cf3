"""SIGTERM ends a call as an exception does, so that what it began is tidied up."""

import os
import signal
import subprocess
import sys

import pytest

#: A test that waits longer has found that something hangs.
PATIENCE = 30

#: Tells the test that it runs, and waits longer than any test.
PRELUDE = """
    import os, pathlib, signal, subprocess, sys, time

    HERE = pathlib.Path(os.environ["XQUTE_JOB_METADIR"])

    def say(name):
        (HERE / name).touch()
"""


@pytest.fixture
def killed(host):
    def killed(text: str, target="work"):
        """A call that said "ready", after SIGTERM."""
        host.module(PRELUDE + text)
        job = host.start(target)
        job.wait_for("ready")
        job.ask()
        return job.wait()

    return killed


def test_a_sleeping_function_ends_and_tidies_up(killed):
    job = killed("""
    def work():
        try:
            say("ready")
            time.sleep(1000)
        finally:
            say("tidied")
    """)

    assert job.rc == 143
    assert job.text("job.status").splitlines()[-1] == "FAILED 143 TERM"
    assert (job.directory / "tidied").exists()
    assert not job.has_result
    assert job.stderr == ""


def test_it_is_raised_as_job_killed_in_the_main_thread(killed):
    job = killed("""
    from xqute.errors import JobKilled

    def work():
        import threading
        other = threading.Thread(target=time.sleep, args=(1000,), daemon=True)
        other.start()
        try:
            say("ready")
            other.join()
        except JobKilled as exc:
            print(threading.current_thread() is threading.main_thread(), exc)
            raise
    """)

    assert job.rc == 143
    assert job.stdout == "True the job was asked to stop\n"


def test_a_busy_function_ends(killed):
    job = killed("""
    def work():
        say("ready")
        while True:
            pass
    """)

    assert job.rc == 143


def test_an_asynchronous_function_is_cancelled(killed):
    job = killed("""
    import asyncio

    async def work():
        try:
            say("ready")
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            say("tidied")
            raise
    """)

    assert job.rc == 143
    assert (job.directory / "tidied").exists()
    assert job.stderr == ""


def test_a_second_signal_breaks_no_tidying_up(host):
    host.module(
        PRELUDE
        + """
    def work():
        try:
            say("ready")
            time.sleep(1000)
        finally:
            say("tidying")
            while not (HERE / "again").exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)
            say("tidied")
    """
    )
    job = host.start("work")
    job.wait_for("ready")
    job.ask()
    job.wait_for("tidying")
    job.ask()
    (job.directory / "again").touch()

    assert job.wait().rc == 143
    assert (job.directory / "tidied").exists()


def test_an_error_while_tidying_up_is_an_error(killed):
    job = killed("""
    def work():
        try:
            say("ready")
            time.sleep(1000)
        finally:
            {}["broken"]
    """)

    assert job.rc == 1
    assert job.error["type"] == "KeyError"
    assert job.error["cause"]["type"] == "JobKilled"


def test_a_function_can_see_that_it_was_asked(killed):
    job = killed("""
    from xqute import current_job
    from xqute.errors import JobKilled

    def work():
        before = current_job().kill_requested
        try:
            say("ready")
            time.sleep(1000)
        except JobKilled:
            return before, current_job().kill_requested
    """)

    assert job.result == (False, True)


def test_an_import_that_takes_long_ends(killed):
    job = killed("""
    say("ready")
    time.sleep(1000)
    """)

    assert job.rc == 143


def test_a_fork_of_a_call_dies_of_the_signal_as_its_parent_expects(host):
    host.module("""
        import multiprocessing, time

        def work():
            process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
            process.start()
            process.terminate()
            process.join()
            return process.exitcode
    """)

    job = host.call("work")

    assert job.result == -signal.SIGTERM
    assert job.stderr == ""


def test_a_signal_during_a_fork_is_not_lost():
    program = f"""
import os, signal, sys, time
os.register_at_fork(before=lambda: os.kill(os.getpid(), signal.SIGTERM))
from xqute.errors import JobKilled
from xqute.inside.killing import KILLING
KILLING.listen()  # what was registered first runs last before a fork: between our hook and the fork
try:
    if not os.fork():
        os._exit(0)
    time.sleep({PATIENCE})
except JobKilled:
    print("killed", KILLING.asked)
"""

    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)

    assert (ended.stdout, ended.stderr) == ("killed True\n", "")


def test_a_command_that_a_killed_function_runs_ends_with_it(host, killed):
    job = killed("""
    from xqute import current_job

    def work():
        current_job().run_sync("echo $$; sleep 1000 & wait", on_stdout=lambda line: say("ready"))
    """)

    assert job.rc == 143
    host.wait_until_gone(int(job.stdout))


def test_a_command_that_ignores_the_signal_ends_all_the_same(host):
    host.module(
        PRELUDE
        + """
    from xqute import current_job

    async def work():
        job = current_job()
        await job.run("trap '' TERM; echo $$; sleep 1000", on_stdout=lambda line: say("ready"))
    """
    )
    job = host.start("work")
    job.wait_for("ready")
    # to the function alone: the command hears it from there
    pid = int(next(iter(children(job.process.pid))))
    os.kill(pid, signal.SIGTERM)

    assert job.wait().rc == 143
    host.wait_until_gone(int(job.stdout))


def children(pid: int) -> list[str]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()
