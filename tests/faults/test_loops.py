"""Event loops, threads and forks: several at a time, one after the other, and misused."""

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
import time

import pytest

from tests.faults.programs import descriptors
from tests.waiting import until, wait_for
from xqute import JobStatus, Xqute
from xqute.errors import NoEventLoop


def in_thread(work, seconds: float = 30):
    """What it returned or raised in a thread of its own."""
    outcome = []

    def run():
        try:
            outcome.append(work())
        except BaseException as exc:  # noqa: BLE001  judged by the test
            outcome.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, "it hangs"
    return outcome[0]


# Several at a time


async def test_two_in_one_loop_do_their_work_side_by_side(tmp_path, here, alive):
    """Each waits for what the other does."""
    one, two = (Xqute(job_metadir=tmp_path / name) for name in ("one", "two"))
    first = await one.push("touch $HERE/1; while ! [ -e $HERE/2 ]; do sleep 0.02; done; echo first")
    second = await two.push("touch $HERE/2; while ! [ -e $HERE/1 ]; do sleep 0.02; done; echo second")
    async with asyncio.timeout(20):
        await asyncio.gather(one.run_until_complete(), two.run_until_complete())

    assert [await first, await second] == ["first", "second"]


async def test_two_in_one_loop_may_share_a_metadir_and_each_runs_its_own(tmp_path, alive):
    one, two = Xqute(job_metadir=tmp_path), Xqute(job_metadir=tmp_path)
    mine = await one.push_many([["echo", f"one {n}"] for n in range(10)])
    yours = await two.push_many([["echo", f"two {n}"] for n in range(10)])
    reports = await asyncio.gather(one.run_until_complete(), two.run_until_complete())

    assert [report.counts for report in reports] == [{JobStatus.FINISHED: 10}] * 2
    assert [await job for job in mine + yours] == [f"{who} {n}" for who in ("one", "two") for n in range(10)]


async def test_stopping_one_leaves_the_other_alone(tmp_path, here, alive):
    one, two = (Xqute(job_metadir=tmp_path / name, grace=0.2) for name in ("one", "two"))
    stopped = await one.push("touch $HERE/1; sleep 300")
    other = await two.push("touch $HERE/2; while ! [ -e $HERE/go ]; do sleep 0.02; done")
    tasks = [asyncio.create_task(xqute.run_until_complete()) for xqute in (one, two)]
    await until(lambda: len(list(here.iterdir())) == 2)
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    assert tasks[0].cancelled()
    assert stopped.status is JobStatus.KILLED
    assert other.status is JobStatus.RUNNING
    (here / "go").touch()

    assert (await tasks[1]).ok
    assert other.status is JobStatus.FINISHED


def test_one_in_each_of_four_threads_at_once(tmp_path, alive):
    before = descriptors()

    def run(name):
        async def main():
            async with Xqute(job_metadir=tmp_path / name, scheduler_forks=2) as xqute:
                jobs = await xqute.push_many([["echo", f"{name} {n}"] for n in range(10)])
                return [await job for job in jobs]

        return asyncio.run(main())

    outcomes = {}
    threads = [
        threading.Thread(target=lambda name=name: outcomes.update({name: run(name)})) for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert outcomes == {name: [f"{name} {n}" for n in range(10)] for name in "abcd"}
    assert descriptors() <= before
    assert not [thread for thread in threads if thread.is_alive()]


async def test_one_in_this_loop_and_one_in_a_thread_at_once(tmp_path, alive):
    def run():
        async def main():
            xqute = Xqute(job_metadir=tmp_path / "thread", scheduler_forks=2)
            await xqute.push_many([["true"]] * 10)
            return await xqute.run_until_complete()

        return asyncio.run(main())

    xqute = Xqute(job_metadir=tmp_path / "loop", scheduler_forks=2)
    await xqute.push_many([["true"]] * 10)
    reports = await asyncio.gather(xqute.run_until_complete(), asyncio.to_thread(run))

    assert [report.counts for report in reports] == [{JobStatus.FINISHED: 10}] * 2


def test_a_run_in_a_thread_that_is_cancelled_leaves_nothing(tmp_path, here, alive):
    def run():
        async def main():
            xqute = Xqute(job_metadir=tmp_path / "meta", grace=0.2)
            await xqute.push("setsid sleep 300 & touch $HERE/up; sleep 300")
            task = asyncio.create_task(xqute.run_until_complete())
            await until((here / "up").exists)
            task.cancel()
            await task

        asyncio.run(main())

    assert isinstance(in_thread(run), asyncio.CancelledError)
    assert alive() == {}


# A loop that goes on between the cells of a notebook


def test_a_loop_that_is_run_cell_by_cell_keeps_its_jobs(tmp_path, here, alive):
    """Between the cells nothing of the loop runs, and its tasks live on."""
    before = descriptors()
    loop = asyncio.new_event_loop()
    cell = loop.run_until_complete

    async def make():
        return Xqute(job_metadir=tmp_path / "meta", scheduler_forks=2, grace=0.3)

    try:
        xqute = cell(make())
        job = cell(xqute.push("touch $HERE/up; while ! [ -e $HERE/go ]; do sleep 0.02; done; echo out"))

        async def begin():
            return asyncio.ensure_future(xqute.run_until_complete())

        running = cell(begin())
        cell(until((here / "up").exists))
        (here / "go").touch()
        # the job ends while nobody looks
        wait_for(lambda: "FINISHED" in job.status_file.read_text())
        assert job.status is not JobStatus.FINISHED
        assert cell(running).ok
        another = cell(xqute.push(["echo", "again"]))
        assert cell(_result(another)) == "again"

        async def block():
            async with xqute:
                return await xqute.push(["echo", "block"])

        assert cell(_result(cell(block()))) == "block"
        cell(xqute.run_until_complete())
    finally:
        cell(loop.shutdown_default_executor())
        loop.close()

    assert alive() == {}
    gc.collect()
    assert descriptors() <= before


async def _result(job):
    return await job


def test_two_in_one_loop_in_a_thread_and_one_cell_by_cell_at_once_each_behaves(tmp_path, here, alive):
    """One of the two is stopped meanwhile, and the cells go on beside them."""

    async def two():
        stopped, other = (Xqute(job_metadir=tmp_path / name, grace=0.3) for name in ("stopped", "other"))
        await stopped.push("touch $HERE/stopped; sleep 300")
        job = await other.push("touch $HERE/other; until [ -e $HERE/go ]; do sleep 0.02; done; echo other")
        tasks = [asyncio.create_task(xqute.run_until_complete()) for xqute in (stopped, other)]
        await until(lambda: {"stopped", "other", "cell"} <= set(os.listdir(here)))
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        (here / "go").touch()
        return tasks[0].cancelled(), (await tasks[1]).ok, await job

    async def begin():
        xqute = Xqute(job_metadir=tmp_path / "cells", grace=0.3)
        job = await xqute.push("touch $HERE/cell; until [ -e $HERE/go ]; do sleep 0.02; done; echo cell")
        return xqute, job, asyncio.ensure_future(xqute.run_until_complete())

    loop = asyncio.new_event_loop()
    cell = loop.run_until_complete
    try:
        _, job, running = cell(begin())
        cell(until((here / "cell").exists))
        assert in_thread(lambda: asyncio.run(two())) == (True, True, "other")
        assert cell(running).ok
        assert cell(_result(job)) == "cell"
    finally:
        cell(loop.shutdown_default_executor())
        loop.close()

    assert alive() == {}


def test_a_cell_that_is_interrupted_leaves_the_run_going_until_it_is_stopped(tmp_path, here, alive):
    """Ctrl-C in a notebook raises KeyboardInterrupt in the cell; the next cells work."""
    loop = asyncio.new_event_loop()
    cell = loop.run_until_complete

    async def make():
        return Xqute(job_metadir=tmp_path / "meta", grace=0.3)

    def interrupt():
        raise KeyboardInterrupt

    try:
        xqute = cell(make())
        job = cell(xqute.push("touch $HERE/up; while ! [ -e $HERE/go ]; do sleep 0.02; done; echo out"))
        loop.call_later(0.3, interrupt)
        with pytest.raises(KeyboardInterrupt):
            cell(_result(job))
        cell(until((here / "up").exists))
        (here / "go").touch()
        assert cell(_result(job)) == "out"
        cell(xqute.run_until_complete())
    finally:
        cell(loop.shutdown_default_executor())
        loop.close()

    assert alive() == {}


CELLS = """
loop = asyncio.new_event_loop()
async def begin():
    xqute = Xqute(job_metadir=META, grace=0.3)
    await xqute.push("touch $HERE/up; sleep 300")
    task = asyncio.ensure_future(xqute.run_until_complete())
    await until(lambda: there("up"))
    return task
running = loop.run_until_complete(begin())
print("ready", flush=True)
time.sleep(20)
print("not ended", flush=True)
"""


def test_sigterm_between_two_cells_ends_the_program_as_without_jobs(here, alive, start):
    """Nothing of the loop runs then, so nobody can wind down; but it must not be swallowed."""
    program = start(CELLS)
    assert program.process.stdout.readline() == b"ready\n"
    program.process.send_signal(signal.SIGTERM)
    code, said = program.ended(15)

    assert code == -signal.SIGTERM
    assert "not ended" not in said
    assert any("job.wrapped" in line for line in alive().values())


def test_one_xqute_after_the_other_each_in_a_loop_of_its_own(tmp_path, alive):
    before = descriptors()
    for number in range(3):

        async def main(number=number):
            xqute = Xqute(job_metadir=tmp_path / "meta")
            job = await xqute.push(["echo", str(number)])
            await xqute.run_until_complete()
            return await job

        assert asyncio.run(main()) == str(number)
    assert descriptors() <= before


# Misuse: one clear error


def test_making_one_without_a_loop_is_one_clear_error(tmp_path):
    with pytest.raises(NoEventLoop, match=r"asyncio\.run\(main\(\)\)"):
        Xqute(job_metadir=tmp_path)


CALLS = {
    "push": lambda xqute, job: xqute.push(["true"]),
    "push_many": lambda xqute, job: xqute.push_many([["true"]]),
    "run_until_complete": lambda xqute, job: xqute.run_until_complete(),
    "async with": lambda xqute, job: xqute.__aenter__(),
    "get": lambda xqute, job: xqute.get(1),
    "find": lambda xqute, job: xqute.find(),
    "await job": lambda xqute, job: _result(job),
    "kill": lambda xqute, job: job.kill(),
    "retry": lambda xqute, job: job.retry(),
    "as_completed": lambda xqute, job: xqute.as_completed([job]).__anext__(),
}


@pytest.mark.parametrize("where", ["an idle", "a busy"])
@pytest.mark.parametrize(
    "call",
    [pytest.param(call, id=name) for name, call in CALLS.items()],
)
async def test_a_call_from_another_threads_loop_is_one_clear_error_and_harms_no_job(
    tmp_path, here, alive, call, where
):
    xqute = Xqute(job_metadir=tmp_path / "meta", grace=0.2)
    job = await xqute.push("touch $HERE/up; while ! [ -e $HERE/go ]; do sleep 0.02; done; echo fine")
    running = None
    if where == "a busy":
        running = asyncio.create_task(xqute.run_until_complete())
        await until((here / "up").exists)

    async def from_there():
        async with asyncio.timeout(5):
            return await call(xqute, job)

    error = await asyncio.to_thread(in_thread, lambda: asyncio.run(from_there()))
    (here / "go").touch()
    async with asyncio.timeout(20):
        await (running or xqute.run_until_complete())

    assert isinstance(error, NoEventLoop)
    assert "another event loop" in str(error)
    assert await job == "fine"


async def test_a_stop_that_is_requested_from_another_thread_stops_or_is_one_clear_error(
    tmp_path, here, alive
):
    xqute = Xqute(job_metadir=tmp_path / "meta", grace=0.2)
    job = await xqute.push("touch $HERE/up; while ! [ -e $HERE/go ]; do sleep 0.02; done")
    running = asyncio.create_task(xqute.run_until_complete())
    await until((here / "up").exists)
    outcome = []

    def ask():
        time.sleep(0.3)  # until the loop sleeps: who is not woken by the thread sleeps on
        try:
            xqute.request_stop("from there")
        except NoEventLoop as exc:
            outcome.append(exc)
            (here / "go").touch()

    thread = threading.Thread(target=ask)
    thread.start()
    done, _ = await asyncio.wait([running], timeout=5)
    thread.join()
    (here / "go").touch()
    await running

    assert done
    assert job.status is (JobStatus.FINISHED if outcome else JobStatus.KILLED)


async def test_a_push_that_is_handed_over_to_the_right_loop_works(tmp_path, alive):
    """As the error says."""
    loop = asyncio.get_running_loop()
    async with Xqute(job_metadir=tmp_path / "meta") as xqute:
        push = lambda: asyncio.run_coroutine_threadsafe(xqute.push(["echo", "handed"]), loop).result(10)  # noqa: E731
        job = await asyncio.to_thread(push)
        assert await job == "handed"


async def test_a_nested_asyncio_run_is_refused_by_python_and_harms_no_job(tmp_path, alive):
    xqute = Xqute(job_metadir=tmp_path / "meta")
    job = await xqute.push(["echo", "fine"])
    running = asyncio.create_task(xqute.run_until_complete())
    coroutine = xqute.push(["true"])
    with pytest.raises(RuntimeError, match="running event loop"):
        asyncio.run(coroutine)
    coroutine.close()

    assert (await running).ok
    assert await job == "fine"


async def test_an_asyncio_run_in_a_thread_inside_of_a_hook_of_the_loop_works(tmp_path, alive):
    """As programs do that call asynchronous code from synchronous code."""

    async def inner():
        xqute = Xqute(job_metadir=tmp_path / "inner")
        job = await xqute.push(["echo", "inner"])
        await xqute.run_until_complete()
        return await job

    async with Xqute(job_metadir=tmp_path / "outer") as xqute:
        job = await xqute.push("sleep 0.2; echo outer")
        assert in_thread(lambda: asyncio.run(inner())) == "inner"  # the outer loop stands still meanwhile
        assert await job == "outer"


# Forks of the host program


@pytest.mark.parametrize("how", ["fork", "multiprocessing"])
@pytest.mark.parametrize("moment", ["before", "while", "in the middle"])
def test_a_fork_of_the_host_program_disturbs_no_job(here, alive, start, how, moment):
    code, said = start(FORKS, how, moment).ended(60)

    assert (code, said) == (0, "True 40 out\n")
    assert len(list(here.glob("ran.*"))) == 40
    assert sorted({path.read_text() for path in here.glob("ran.*")}) == ["x\n"]
    assert alive() == {}


FORKS = """
import multiprocessing
import os
how, moment = sys.argv[1:]
here = os.environ["HERE"]

def work():
    time.sleep(0.3)

def fork():
    if how == "fork":
        pid = os.fork()
        if not pid:
            work()
            os._exit(0)
        children.append(lambda: os.waitpid(pid, 0))
    else:
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        children.append(process.join)

children = []

async def main():
    xqute = Xqute(job_metadir=META, scheduler_forks=4)
    if moment == "before":
        fork()
    jobs = await xqute.push_many(['echo x >> "$HERE/ran.$XQUTE_JOB_ID"; echo out'] * 40)
    if moment == "while":
        fork()
    running = asyncio.create_task(xqute.run_until_complete())
    if moment == "in the middle":
        for n in (3, 10, 20):
            while len(os.listdir(here)) < n:
                await asyncio.sleep(0.001)
            fork()
    report = await running
    for wait in children:
        wait()
    print(report.ok, len(jobs), await jobs[-1])
asyncio.run(main())
"""


def test_a_forked_child_that_runs_its_parents_exit_handlers_ends_no_job_of_its_parent(here, alive, start):
    """As children of some libraries do before they leave."""
    source = """
import atexit, gc
async def main():
    xqute = Xqute(job_metadir=META, grace=0.3)
    job = await xqute.push('touch $HERE/up; while ! [ -e $HERE/go ]; do sleep 0.02; done; echo "out"')
    running = asyncio.create_task(xqute.run_until_complete())
    await until(lambda: there("up"))
    child = os.fork()
    if not child:
        atexit._run_exitfuncs()
        xqute = job = running = None
        gc.collect()
        os._exit(9)
    return job, running, child
async def parent():
    job, running, child = await main()
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    print("child", os.waitstatus_to_exitcode(status), job.status.name, flush=True)
    open(os.environ["HERE"] + "/go", "w").close()
    print((await running).ok, await job)
asyncio.run(parent())
"""
    code, said = start(source).ended()

    assert code == 0, said
    told = said.splitlines()
    assert told[0] in ("child 9 SUBMITTED", "child 9 RUNNING")
    assert told[1:] == ["True out"]
    assert alive() == {}


def test_a_pool_of_processes_beside_the_jobs_keeps_its_own_children(tmp_path, alive):
    async def main():
        xqute = Xqute(job_metadir=tmp_path / "meta", scheduler_forks=2)
        await xqute.push_many([["true"]] * 20)
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            running = asyncio.create_task(xqute.run_until_complete())
            answer = await asyncio.to_thread(pool.apply, abs, (-7,))
            report = await running
            pool.close()
            pool.join()
        return answer, report.counts

    assert asyncio.run(main()) == (7, {JobStatus.FINISHED: 20})
