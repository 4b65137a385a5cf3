"""Every scheduler that comes with xqute, one as a stranger writes it, and the fakes keep the promises."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import ClassVar

import pytest

from xqute import Scheduler, SubmitError
from xqute.schedulers.local import LocalScheduler
from xqute.testing import Bench, FakeScheduler, Play, SchedulerConformance, TellingFakeScheduler

THIS_HOST = {
    "outage": "this host is never out of reach",
    "kill_pending": "its jobs start at once: there is no queue",
    "count_commands": "it starts processes, it runs no commands",
    "batch_submit": "it starts processes, it runs no commands",
}


class StartsNothing:
    """A launch that finds no shell for some jobs."""

    def refuse(self, scheduler, job):
        launch, refused = scheduler.launch, job.directory
        missing = ("/nonexistent/sh",)
        scheduler.launch = lambda job: missing if job.directory == refused else launch(job)
        return "No such file or directory"


class TestLocal(StartsNothing, SchedulerConformance):
    supports = ("refusal", "reattach", "kill_escaped")
    lacks = THIS_HOST

    @pytest.fixture(params=[True, False], ids=["pidfd", "in turn"])
    def scheduler(self, request):
        scheduler = LocalScheduler()
        scheduler._pidfds = request.param and scheduler._pidfds
        return scheduler


class ThreeMethods(Scheduler):
    """What a stranger writes."""

    name = "three"
    poll_seconds = grace_seconds = 0.2

    def __init__(self, **options):
        super().__init__(**options)
        self.processes = {}

    async def submit_job(self, job):
        try:
            process = await asyncio.create_subprocess_exec(*self.launch(job), start_new_session=True)
        except OSError as error:
            raise SubmitError(f"{job}: {error}", scheduler=self.name) from error
        self.processes[str(process.pid)] = process
        return process.pid

    async def kill_job(self, job):
        process = self.processes.get(job.uid)
        if process is None or process.returncode is not None:
            return
        try:
            os.killpg(process.pid, signal.SIGTERM)
            ended = asyncio.ensure_future(process.wait())
            await asyncio.wait([ended], timeout=job.call.options.grace)
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        await ended

    async def job_is_running(self, job):
        process = self.processes.get(job.uid)
        return process is not None and process.returncode is None


class TestThreeMethods(StartsNothing, SchedulerConformance):
    supports = ("refusal",)
    lacks: ClassVar = {
        **THIS_HOST,
        "reattach": "it knows its processes by their objects",
        "kill_escaped": "it signals a group",
    }

    @pytest.fixture
    def scheduler(self):
        return ThreeMethods()


class Stage(Bench):
    """A bench whose jobs are acted."""

    def release(self, job):
        self.scheduler.end(job)

    def runs(self, job):
        return [acted for acted, _ in self.scheduler.began].count(job.id)


def acted(job) -> Play:
    """The play that the title of a job of the bench names."""
    verb, *words = job.title.split()
    if verb == "exit":
        return Play(runs=0.0, rc=int(words[0]))
    if verb == "wait":
        return Play(runs=inf)
    again = job.start > 1
    return Play(runs=0.0, rc=0 if again else 3, stdout="new\n" if again else "old\n")


class TestFake(SchedulerConformance):
    supports = ("refusal", "outage", "kill_pending", "count_commands", "batch_submit")
    lacks: ClassVar = {
        "commands": "it acts plays, it runs no commands",
        "kill_escaped": "it acts plays, it runs no commands",
        "reattach": "its jobs live in the object",
    }

    @pytest.fixture(params=[FakeScheduler, TellingFakeScheduler])
    def scheduler(self, request):
        return request.param(acted)

    def make_bench(self, scheduler, root):
        return Stage(scheduler, root, self.seconds)

    def refuse(self, scheduler, job):
        refused, plan = job.directory, scheduler.plan
        no = Play(refuses="the fake says no")
        scheduler.plan = lambda job: no if job.directory == refused else plan(job)
        return "the fake says no"

    def disconnect(self, scheduler):
        scheduler.unreachable_for(3600)

        def reconnect():
            scheduler.unreachable_until = 0.0

        return reconnect

    def hold(self, scheduler):
        plan = scheduler.plan
        scheduler.plan = lambda job: replace(plan(job), waits=inf)

        def let_go():
            scheduler.plan = plan
            scheduler.begin_all()

        return let_go

    def commands(self, scheduler):
        return len(scheduler.calls)


PAGE = Path(__file__).parents[2] / "docs" / "extend" / "write-a-scheduler.md"
STEP = re.compile(r"```(python|text)\n(.*?)```", re.DOTALL)


def steps() -> list[tuple[str, str]]:
    """The page as its reader follows it: everything written so far, and what pytest says is wrong then.

    The last step is green: `test_toy.py` runs it.
    """
    written, found = "", []
    leading, _, _ = PAGE.read_text("utf-8").partition("## In use")
    for language, text in STEP.findall(leading):
        if language == "python":
            written += text
        else:
            found.append((written, text.strip()))
    return found


@pytest.mark.parametrize("number", range(len(steps())))
def test_the_suite_leads_from_the_empty_subclass_as_the_page_says(tmp_path, number) -> None:
    written, said = steps()[number]
    (tmp_path / "test_my.py").write_text(written)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "test_my.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    assert said in done.stdout, done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


BROKEN = """
import asyncio, os, signal, time
import pytest
from tests.conformance.test_schedulers import StartsNothing, ThreeMethods
from xqute import Answer, Presence, SubmitError
from xqute.testing import SchedulerConformance


class Trial(StartsNothing, SchedulerConformance):
    __test__ = True
    supports = ("refusal",)
    seconds = 2

    @pytest.fixture
    def scheduler(self):
        return self.broken()


class each_job_gets_its_own_uid(ThreeMethods):
    async def submit_job(self, job):
        await super().submit_job(job)
        return 1


class a_job_is_running_from_its_submission_until_its_wrapper_ended(ThreeMethods):
    async def job_is_running(self, job):
        return False


class asking_about_an_ended_or_unknown_job_is_no_error(ThreeMethods):
    async def job_is_running(self, job):
        return self.processes[job.uid].returncode is None


class plurals_agree_with_singulars(ThreeMethods):
    async def poll_jobs(self, jobs):
        return {job: Answer(Presence.GONE) for job in jobs}


class a_refusal_is_a_submit_error_with_its_own_words(ThreeMethods):
    async def submit_job(self, job):
        try:
            return await super().submit_job(job)
        except SubmitError:
            raise SubmitError("no") from None


class a_refused_job_is_no_trouble_of_the_others(ThreeMethods):
    async def submit_jobs(self, jobs):
        return [await self.submit_job(job) for job in jobs]


class a_second_copy_of_a_start_does_nothing(ThreeMethods):
    async def submit_job(self, job):
        job.status_file.unlink(missing_ok=True)
        return await super().submit_job(job)


class a_kill_ends_the_whole_tree_of_processes_within_the_grace(ThreeMethods):
    async def kill_job(self, job):
        self.processes[job.uid].terminate()


class a_kill_asks_before_it_forces(ThreeMethods):
    async def kill_job(self, job):
        os.killpg(int(job.uid), signal.SIGKILL)


class killing_twice_or_too_late_is_harmless(ThreeMethods):
    async def kill_job(self, job):
        os.killpg(self.processes[job.uid].pid, signal.SIGTERM)


class killing_a_job_that_has_just_ended_is_harmless(ThreeMethods):
    async def kill_job(self, job):
        if await self.job_is_running(job):
            os.killpg(int(job.uid), signal.SIGTERM)


class the_event_loop_is_never_held(ThreeMethods):
    async def poll_jobs(self, jobs):
        time.sleep(0.2)
        return await super().poll_jobs(jobs)


for promise in ThreeMethods.__subclasses__():
    globals()["Test_" + promise.__name__] = type("Test_" + promise.__name__, (Trial,), {"broken": promise})
del Trial, promise
"""


def test_each_broken_promise_is_caught(tmp_path) -> None:
    module = tmp_path / "test_broken.py"
    module.write_text(BROKEN)
    promises = re.findall(r"^class (\w+)\(ThreeMethods\)", BROKEN, re.MULTILINE)
    tests = [f"{module}::Test_{promise}::test_{promise}" for promise in promises]
    options = ["-q", "-p", "no:cacheprovider", "-o", "addopts=", f"--rootdir={tmp_path}"]
    environ = {**os.environ, "PYTHONPATH": str(PAGE.parents[2])}
    command = [sys.executable, "-m", "pytest", *options, *tests]
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False
    )

    failed = re.findall(r"^FAILED .*::test_(\w+)", done.stdout, re.MULTILINE)
    assert sorted(failed) == sorted(promises), done.stdout + done.stderr
