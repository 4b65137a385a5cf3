"""How Python calls end that are killed, and what undoes what they did."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.acceptance import tasks
from tests.acceptance.conftest import until
from tests.acceptance.tasks import add, show, step
from xqute import (
    JobFailed,
    JobKilled,
    JobNotFound,
    JobStatus,
    XquteError,
    current_job,
    simplug,
    task,
)

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("here")


# Killing


@pytest.mark.parametrize("sleeper", [tasks.sleep_sync, tasks.sleep_async], ids=["sync", "async"])
async def test_a_killed_call_runs_its_finally_and_is_never_finished(make, here, marked, sleeper):
    xqute = make()
    job = await xqute.push(sleeper("s"))

    async with xqute:
        await until((here / "s.up").exists)
        assert await job.kill(grace=20)

    assert (here / "s.finally").exists()
    assert job.status is JobStatus.KILLED
    assert marked(job) == set()
    with pytest.raises(JobKilled):
        await job


@pytest.mark.parametrize("function", [tasks.deaf, tasks.stubborn], ids=["in C code", "catching all"])
async def test_a_call_that_does_not_listen_is_ended_after_the_grace(make, here, marked, alive, function):
    xqute = make()
    job = await xqute.push(function("d"))

    async with xqute:
        await until((here / "d.up").exists)
        assert await job.kill(grace=0.3)

    assert job.status is JobStatus.KILLED
    assert not (here / "d.finally").exists()
    assert marked(job) == set()


async def test_a_killed_call_takes_the_processes_with_it_that_it_started(make, here, alive):
    xqute = make()
    job = await xqute.push(tasks.parent_of_sleepers("p"))

    async with xqute:
        await until(lambda: any("sleep 300" in line for line in alive().values()))
        assert await job.kill(grace=10)
        await until(lambda: not any("sleep 300" in line for line in alive().values()))

    assert job.status is JobStatus.KILLED


async def test_a_killed_shell_job_takes_its_children_with_it(make, here, marked):
    xqute = make()
    job = await xqute.push(f"setsid sleep 300 & sleep 300 & touch '{here}/up'; wait; sleep 300")

    async with xqute:
        await until((here / "up").exists)
        assert await job.kill(grace=0.5)

    assert job.status is JobStatus.KILLED
    assert marked(job) == set()


async def test_calls_that_wait_or_are_queued_are_killed_without_ever_running(make, here):
    xqute = make(scheduler_forks=1)
    runs = await xqute.push(tasks.held("runs"))
    queued = await xqute.push(step("queued"))
    waiting = await xqute.push(step("waiting", runs))

    async with xqute:
        await until((here / "order").exists)
        states = [queued.status, waiting.status]
        assert await queued.kill()
        assert await waiting.kill()
        (here / "runs.open").touch()
        assert await runs == "runs"

    assert states == [JobStatus.QUEUED, JobStatus.WAITING]
    assert [queued.status, waiting.status] == [JobStatus.KILLED] * 2
    assert (here / "order").read_text() == "runs\n"


async def test_a_finished_call_cant_be_killed(make):
    xqute = make()
    job = await xqute.push(add(1, 2))
    async with xqute:
        await job

        assert await job.kill() is False

    assert job.status is JobStatus.FINISHED


async def test_a_call_that_ran_too_long_runs_its_finally_and_has_failed(run_one, here):
    job = await run_one(tasks.sleep_sync("s"), timeout="5s", grace=20)

    assert job.status is JobStatus.FAILED
    assert job.reason.code == "TIMEOUT"
    assert (here / "s.finally").exists()


async def test_a_call_can_see_that_it_is_to_stop(make, here):
    def polite():
        tasks.mark("up")
        try:
            threading.Event().wait(300)
        finally:
            tasks.mark("asked", str(current_job().kill_requested))

    xqute = make()
    job = await xqute.push(polite)
    async with xqute:
        await until((here / "up").exists)
        await job.kill(grace=20)

    assert (here / "asked").read_text() == "True\n"


INTERRUPTED = """
import asyncio, os
from tests.acceptance.tasks import show, sleep_async, sleep_sync
from xqute import Xqute

async def main():
    xqute = Xqute(job_metadir=os.environ["META"], scheduler_forks=2, grace=20)
    await xqute.push(show(sleep_sync("s"), sleep_async("a")))
    await xqute.run_until_complete()

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_program_that_is_interrupted_lets_its_calls_run_their_finally(tmp_path, here, alive, number):
    (tmp_path / "program.py").write_text(INTERRUPTED)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "META": str(tmp_path / "meta")}
    program = await asyncio.create_subprocess_exec(
        sys.executable, tmp_path / "program.py", env=environ, stderr=subprocess.PIPE
    )
    await until(lambda: (here / "s.up").exists() and (here / "a.up").exists())

    program.send_signal(number)
    async with asyncio.timeout(60):
        _, said = await program.communicate()

    assert program.returncode != 0
    assert (here / "s.finally").exists()
    assert (here / "a.finally").exists()
    assert alive() == {}
    assert "was interrupted: 3 of 3 jobs have not ended well" in said.decode()


# Cleaning up


@pytest.fixture
def undone(here):
    """The names whose cleanup has run."""

    def read() -> list[str]:
        path = here / "undone"
        return path.read_text().split() if path.exists() else []

    return read


async def test_a_call_that_failed_for_good_is_cleaned_up_after_once(make, undone):
    xqute = make(job_error_strategy="retry", job_num_retries=2, retry_delay="10ms")
    job = await xqute.push(tasks.undone("a", "fail"))

    await xqute.run_until_complete()

    assert job.attempt == 3
    assert undone() == ["a"]
    assert await xqute.find(top=True) == [job]


async def test_a_call_that_fails_again_after_a_retry_is_cleaned_up_after_again(make, undone):
    xqute = make()
    job = await xqute.push(tasks.undone("a", "fail"))
    await xqute.run_until_complete()

    await job.retry()
    await xqute.run_until_complete()

    assert job.start == 2
    assert undone() == ["a", "a"]


async def test_a_call_killed_before_it_started_is_cleaned_up_after(make, undone, here):
    xqute = make(scheduler_forks=1)
    blocker = await xqute.push(tasks.held("blocker"))
    job = await xqute.push(tasks.undone("b", "sleep"))

    async with xqute:
        await until((here / "order").exists)
        assert await job.kill()
        (here / "blocker.open").touch()
        await blocker

    assert undone() == ["b"]
    assert not (here / "b.up").exists()


async def test_a_call_killed_while_it_runs_is_cleaned_up_after_its_own_finally(make, undone, here):
    xqute = make()
    job = await xqute.push(tasks.undone("c", "sleep"))

    async with xqute:
        await until((here / "c.up").exists)
        assert await job.kill(grace=20)

    assert (here / "c.finally").exists()
    assert undone() == ["c"]


async def test_a_call_that_ended_well_is_not_cleaned_up_after(make, undone):
    @task
    def fine():
        return 1

    @fine.cleanup
    def undo(job):
        tasks.mark("undone", "fine")

    xqute = make()
    await xqute.push(fine())
    report = await xqute.run_until_complete()

    assert report.counts == {JobStatus.FINISHED: 1}
    assert undone() == []


async def test_a_cleanup_that_fails_is_a_failed_job_of_its_own(make):
    xqute = make()
    job = await xqute.push(tasks.badly_undone())

    report = await xqute.run_until_complete()

    assert "it went wrong" in str(job.reason)
    assert [failure.reason for failure in report.failures] == [
        "EXIT 1: RuntimeError: it went wrong",
        "EXIT 1: RuntimeError: and so did its cleanup",
    ]
    assert report.failures[1].title.startswith("cleanup of 1")


# Deleting


async def test_a_deleted_call_is_cleaned_up_after_and_gone(make, undone, metadir):
    xqute = make()
    job, other = await xqute.push(tasks.undone("d", "well")), await xqute.push(add(1, 2))
    await xqute.run_until_complete()
    before = undone()

    await job.delete()

    assert before == []
    assert undone() == ["d"]
    assert not (metadir / "1").exists()
    with pytest.raises(JobNotFound):
        await xqute.get(job.id)
    assert await other == 3


async def test_a_call_that_was_cleaned_up_after_is_deleted_without_another_cleanup(make, undone):
    xqute = make()
    job = await xqute.push(tasks.undone("e", "fail"))
    await xqute.run_until_complete()

    await job.delete()

    assert undone() == ["e"]
    assert job not in await xqute.find()


async def test_a_call_that_runs_is_deleted_by_force_only(make, undone, here):
    xqute = make()
    job = await xqute.push(tasks.undone("f", "sleep"), grace=20)
    async with xqute:
        await until((here / "f.up").exists)
        with pytest.raises(XquteError, match="has not ended"):
            await job.delete()

        await job.delete(force=True)

    assert (here / "f.finally").exists()
    assert undone() == ["f"]
    assert job not in await xqute.find()


async def test_a_call_that_others_wait_for_is_not_deleted(make, here):
    xqute = make()
    job = await xqute.push(add(1, 2))
    parent = await xqute.push(show(job, tasks.held("other")))
    async with xqute:
        await job
        with pytest.raises(XquteError, match="waits for it"):
            await job.delete()
        (here / "other.open").touch()
        assert await parent == ((3, "other"), {})

        await job.delete()

    assert job not in await xqute.find()
    assert await parent == ((3, "other"), {})


async def test_a_call_whose_cleanup_fails_is_kept(make, metadir):
    xqute = make()
    job = await xqute.push(tasks.badly_undone())
    await xqute.run_until_complete()

    with pytest.raises(JobFailed, match="and so did its cleanup"):
        await job.delete()

    assert job in await xqute.find()
    assert (metadir / "1").is_dir()


async def test_what_was_deleted_runs_again_when_its_script_does(make, here):
    first = make()
    job = await first.push(add(1, 2))
    await first.run_until_complete()
    await job.delete()
    await first.run_until_complete()

    second = make(resume=True)
    again = await second.push(add(1, 2))

    assert await again == 3
    assert not again.cached
    assert (here / "add").read_text().splitlines() == ["(1, 2)"] * 2


async def test_a_job_that_is_killed_while_what_it_asked_for_is_refused_was_killed(make):
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Slow:
        @simplug.impl
        async def on_job_started(self, scheduler, job):
            begun.set()
            await go_on.wait()  # what it asked for is looked at after this

    xqute = make(plugins=[Slow()])
    job = await xqute.push('echo "require what-nobody-wrote" >>"$XQUTE_JOB_EVENTS"')
    async with xqute:
        await begun.wait()
        await until((job.metadir / "job.rc").exists)
        kill = asyncio.create_task(job.kill())
        await until(lambda: job.status is JobStatus.KILLING)
        go_on.set()

        assert await kill

    assert job.status is JobStatus.KILLED
