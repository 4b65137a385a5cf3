"""What the suites say to the author of something that breaks a promise: never a bare error, never nothing."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT
from xqute import testing

#: As an author writes it, who has read no more than the guide; the first `{}` is what is wrong, the second
#: the seconds that anything may take.
MODULE = """
import asyncio, contextlib, os, signal, subprocess
import pytest
from xqute import Scheduler, SubmitError
from xqute.testing import SchedulerConformance


class Plain(Scheduler):
    name = "plain"

    def __init__(self):
        super().__init__()
        self.running = {{}}

    async def submit_job(self, job):
        process = await asyncio.create_subprocess_exec(*self.launch(job), start_new_session=True)
        self.running[str(process.pid)] = process
        return process.pid

    async def kill_job(self, job):
        if await Plain.job_is_running(self, job):
            with contextlib.suppress(ProcessLookupError):  # it has ended, and the loop is about to notice
                os.killpg(int(job.uid), signal.SIGKILL)

    async def job_is_running(self, job):
        return job.uid in self.running and self.running[job.uid].returncode is None


class Broken(Plain):
{}


class TestBroken(SchedulerConformance):
    supports = {{"refusal"}}
    seconds = {}

    @pytest.fixture
    def scheduler(self):
        return Broken()

    def refuse(self, scheduler, job):
        scheduler.refused = job
        return "no such account"
"""

INI = "[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"

SAME_UID = """
    async def submit_job(self, job):
        await super().submit_job(job)
        return 7
"""


def run(where: Path, broken: str, test: str, *way: str, seconds: int = 1) -> str:
    """What pytest prints about one test of a broken scheduler, with every warning an error."""
    (where / "test_broken.py").write_text(MODULE.format(broken, seconds))
    way = way or ("-m", "pytest")
    (where / "pytest.ini").write_text(INI)
    options = ["-q", "-p", "no:cacheprovider"]
    command = [sys.executable, *way, *options, f"test_broken.py::TestBroken::test_{test}"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=where, env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    return done.stdout


#: Two ways to pytest: its own, and one where the package was there before it.
LATE = "import sys, xqute.testing, pytest; sys.exit(pytest.main(sys.argv[1:]))"


@pytest.mark.parametrize("way", [(), ("-c", LATE)], ids=["pytest", "xqute.testing before pytest"])
def test_a_verdict_tells_the_values(tmp_path, way) -> None:
    said = run(tmp_path, SAME_UID, UIDS, *way)

    assert re.search(r"AssertionError: assert 1 == 5\b", said), said


def test_every_module_that_asserts_is_told_with_its_values() -> None:
    folder = Path(testing.__file__).parent
    asserting = {
        path.stem
        for path in folder.glob("*.py")
        if any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    }

    assert asserting == set(testing._SUITES)


def test_the_suites_need_no_pytest_to_be_named() -> None:
    lines = "import sys, xqute.testing; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", lines], check=True)


WAITS_FOR_THE_END = """
    async def submit_job(self, job):
        uid = await super().submit_job(job)
        await self.running[str(uid)].wait()
        return uid
"""

HOLDS_THE_THREAD = """
    async def submit_job(self, job):
        process = subprocess.Popen(self.launch(job), start_new_session=True)
        process.wait()
        return process.pid
"""

RUNNING_FOR_EVER = """
    async def job_is_running(self, job):
        return True
"""

REFUSES_ALL = """
    async def submit_job(self, job):
        if hasattr(self, "refused"):
            raise SubmitError("no such account")
        return await super().submit_job(job)
"""

RUNNING = "a_job_is_running_from_its_submission_until_its_wrapper_ended"
UIDS = "each_job_gets_its_own_uid"
REFUSED = "a_refused_job_is_no_trouble_of_the_others"
SUBMIT = "submit_job of scheduler 'plain' did not return (it returns when the job is handed over"


@pytest.mark.parametrize(
    ("broken", "test", "seconds", "sentence"),
    [
        (WAITS_FOR_THE_END, RUNNING, 1, f"{SUBMIT}, and does not wait for its end), within 1 s"),
        (HOLDS_THE_THREAD, RUNNING, 1, "within 1 s: it held the event loop"),
        (RUNNING_FOR_EVER, UIDS, 3, "is gone; it calls job 1 (exit 0) RUNNING, job 2"),
        (REFUSES_ALL, REFUSED, 30, "was refused, too: no such account"),
    ],
    ids=["waits for the end", "holds the thread", "running for ever", "refuses all"],
)
def test_a_verdict_is_a_sentence_in_bounded_time(tmp_path, broken, test, seconds, sentence) -> None:
    said = run(tmp_path, broken, test, seconds=seconds)

    assert re.search(f"^E +AssertionError: .*{re.escape(sentence)}", said, re.MULTILINE), said
    assert not re.search(r"^E +(Timeout|Cancelled)Error", said, re.MULTILINE), said


def test_a_submission_that_waits_for_ever_ends_the_engines_tests_too(tmp_path) -> None:
    said = run(tmp_path, WAITS_FOR_THE_END, "the_engine_gets_results_failures_and_kills")

    assert "1 failed" in said
