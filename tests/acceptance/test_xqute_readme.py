"""What the first xqute promised on one page, kept also for Python calls and their trees."""

import asyncio
import functools
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance import tasks
from tests.acceptance.conftest import run_as_user, until
from tests.acceptance.tasks import add, show, step
from xqute import DependencyFailed, Job, JobStatus, Scheduler, Xqute, cmd, simplug

pytestmark = pytest.mark.usefixtures("here")


# The toy example, and the same with Python calls

TOY = """
import asyncio
from xqute import Xqute

async def main():
    xqute = Xqute()
    await xqute.push(['echo', 1])
    await xqute.push(['echo', 2])
    await xqute.run_until_complete()

if __name__ == '__main__':
    asyncio.run(main())
"""

TOY_OF_CALLS = """
import asyncio
from xqute import Xqute, cmd, task

@task
def double(number):
    return 2 * number

async def main():
    xqute = Xqute()
    job = await xqute.push(double(double(cmd('echo', 1))))
    await xqute.push(double)
    await xqute.run_until_complete()
    print(await job)

if __name__ == '__main__':
    asyncio.run(main())
"""


def run_program(folder: Path, source: str) -> subprocess.CompletedProcess:
    (folder / "toy.py").write_text(source)
    return run_as_user("toy.py", cwd=folder)


def test_the_toy_example_runs_as_it_stands_and_says_nothing(tmp_path):
    ended = run_program(tmp_path, TOY)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    outputs = [(tmp_path / f".xqute/{id_}/job.stdout").read_text() for id_ in (1, 2)]
    assert outputs == ["1\n", "2\n"]


def test_the_toy_example_works_with_functions_of_its_own_script(tmp_path):
    source = TOY_OF_CALLS.replace("    await xqute.push(double)\n", "")

    ended = run_program(tmp_path, source)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "1111\n", "")


def test_a_function_that_needs_arguments_is_refused_where_it_is_pushed(tmp_path):
    ended = run_program(tmp_path, TOY_OF_CALLS)

    assert ended.returncode == 1
    assert "TypeError: double(): missing a required argument: 'number'" in ended.stderr
    assert len(list((tmp_path / ".xqute").glob("[0-9]*"))) == 0


# Job retrying, and halting when one failed


async def test_a_call_is_retried_as_often_as_the_constructor_says(make, here):
    xqute = make(job_error_strategy="retry", job_num_retries=2, retry_delay="10ms")
    job = await xqute.push(tasks.gated("never"))

    await xqute.run_until_complete()

    assert (job.status, job.attempt, job.start) == (JobStatus.FAILED, 3, 3)
    assert sorted(path.name for path in job.metadir.glob("job.retry/*")) == ["1", "2"]


async def test_a_failed_call_halts_the_run_and_what_runs_is_killed_with_its_finally(make, here):
    xqute = make(job_error_strategy="halt", scheduler_forks=2)
    sleeper = await xqute.push(tasks.sleep_sync("s"), grace=20)
    bad = await xqute.push("until [ -e $HERE/s.up ]; do sleep 0.01; done; exit 3")
    later = await xqute.push(add(1, 2))

    async with asyncio.timeout(60):
        report = await xqute.run_until_complete()

    assert xqute.stop_reason.code == "halt"
    assert f"halted because {bad} failed" in str(report.stop_reason)
    assert sleeper.status is JobStatus.KILLED
    assert (here / "s.finally").exists()
    assert later.start == 0


# The plugin system

HOOKS = ("init", "queued", "submitted", "succeeded", "failed", "killing", "killed")


@pytest.fixture
def diary():
    """A plugin that notes which hook was called for which job."""
    told: list[tuple[str, int]] = []

    def hook(name: str):
        async def note(self, scheduler, job):
            told.append((name, job.id))

        note.__name__ = f"on_job_{name}"
        return simplug.impl(note)

    plugin = type("Diary", (), {f"on_job_{name}": hook(name) for name in HOOKS})()
    return plugin, told


async def test_the_hooks_of_a_tree_come_in_the_order_of_what_happens(make, diary):
    plugin, told = diary
    xqute = make(plugins=[plugin])

    await xqute.push(step("parent", step("child")))
    await xqute.run_until_complete()

    happened = [(name, id_) for name, id_ in told if name != "init"]
    assert [entry for entry in told if entry[0] == "init"] == [("init", 1), ("init", 2)]
    assert happened == [
        ("queued", 1),
        ("submitted", 1),
        ("succeeded", 1),
        ("queued", 2),
        ("submitted", 2),
        ("succeeded", 2),
    ]


async def test_a_blocked_job_is_never_queued_nor_failed_for_its_plugins(make, diary):
    plugin, told = diary
    xqute = make(plugins=[plugin])

    blocked = await xqute.push(step("parent", tasks.fail()))
    await xqute.run_until_complete()

    assert [name for name, id_ in told if id_ == blocked.id] == ["init"]
    assert [name for name, id_ in told if id_ == 1] == ["init", "queued", "submitted", "failed"]


async def test_a_plugin_may_reject_what_a_call_returned(make):
    class Judge:
        @simplug.impl
        async def on_job_finishing(self, scheduler, job):
            return job.title != "bad"

    xqute = make(plugins=[Judge()])
    good, bad = await xqute.push(add(1, 2), title="good"), await xqute.push(add(1, 2), title="bad")
    parent = await xqute.push(add(bad, 1))
    await xqute.run_until_complete()

    assert [good.status, bad.status, parent.status] == [
        JobStatus.FINISHED,
        JobStatus.FAILED,
        JobStatus.WAITING,
    ]
    assert bad.reason.code == "REJECTED"


async def test_a_plugin_may_forbid_a_kill(make, here):
    class Guardian:
        @simplug.impl
        async def on_job_killing(self, scheduler, job):
            return False

    xqute = make(plugins=[Guardian()])
    job = await xqute.push(tasks.held("gate"))
    async with xqute:
        await until((here / "order").exists)
        assert await job.kill() is False
        (here / "gate.open").touch()
        assert await job == "gate"


# The scheduler adaptor: three methods are enough for all of it


class MyScheduler(Scheduler):
    """As its document asks for: submit, kill, and ask."""

    name = "my"
    poll_seconds = grace_seconds = 0.1

    def __init__(self, **options):
        super().__init__(**options)
        self.processes = {}

    async def submit_job(self, job):
        script = await job.wrapped_script(self)
        process = await asyncio.create_subprocess_exec(str(script), start_new_session=True)
        self.processes[process.pid] = process
        return process.pid

    async def kill_job(self, job):
        with suppress(ProcessLookupError):
            os.killpg(int(job.uid), signal.SIGTERM)

    async def job_is_running(self, job):
        return self.processes[int(job.uid)].returncode is None


@pytest.fixture
async def my(metadir):
    """An Xqute with a scheduler of three methods."""
    return Xqute(MyScheduler, job_metadir=metadir, scheduler_forks=2)


async def test_a_scheduler_of_three_methods_runs_trees_of_calls(my):
    job = await my.push(show(add(1, cmd("echo", 2).after(add(0))), [add(3, 4)]))

    async with my:
        with pytest.raises(DependencyFailed, match="TypeError: unsupported operand"):
            await job  # what a command gives is text
    assert (await my.stats()).counts == {JobStatus.FINISHED: 3, JobStatus.FAILED: 1, JobStatus.WAITING: 1}


async def test_a_scheduler_of_three_methods_hands_over_results(my):
    job = await my.push(show(add(1, 2), [cmd("echo", add(3, 4))]))

    async with my:
        assert await job == ((3, ["7"]), {})


async def test_a_scheduler_of_three_methods_runs_jobs_that_require_others(my):
    async with my:
        job = await my.push(tasks.top())

        assert await job == [30, 50]


async def test_a_scheduler_of_three_methods_kills_a_call_with_its_finally(my, here):
    job = await my.push(tasks.sleep_async("s"))

    async with my:
        await until((here / "s.up").exists)
        assert await job.kill(grace=20)

    assert job.status is JobStatus.KILLED
    assert (here / "s.finally").exists()


async def test_a_job_class_that_adds_to_the_script_runs_calls_too(metadir):
    class MyJob(Job):
        async def wrap_cmd(self, scheduler):
            return (await super().wrap_cmd(scheduler)).replace("\n", "\nexport ADDED=yes\n", 1)

    class Adding(MyScheduler):
        name = "adding"
        job_class = MyJob

    xqute = Xqute(Adding, job_metadir=metadir)
    job = await xqute.push(functools.partial(os.getenv, "ADDED"))

    async with xqute:
        assert await job == "yes"
