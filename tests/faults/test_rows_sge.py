"""Trouble with the commands of Grid Engine is no trouble of its jobs: real processes, a toy cluster."""

import asyncio
import subprocess

import pytest

from xqute import JobStatus, Xqute
from xqute.schedulers.sge import SgeScheduler
from xqute.testing import ToyCluster
from xqute.testing.toysge import Sge

SECONDS = 60

EMPTY = "<?xml version='1.0'?><job_info><queue_info></queue_info><job_info></job_info></job_info>"
COUNTED = 'n=$(cat "$0.n" 2>/dev/null || echo 0); echo $((n + 1)) >"$0.n"; if [ $((n % 3)) = 1 ]; then '

#: What stands in the place of a command does this with `$real`, the command it stands for.
SHIMS = {
    "every third fails": f'{COUNTED}echo "something went wrong" >&2; exit 1; fi; exec "$real" "$@"',
    "every third says garbage": (
        f'{COUNTED}printf \'<html>\\377\\303 Busy </html>\\n\'; exit 0; fi; exec "$real" "$@"'
    ),
    "every third is cut off": f'{COUNTED}"$real" "$@" | head -c 200; exit 0; fi; exec "$real" "$@"',
    "misses all once": f'mkdir "$0.once" 2>/dev/null && echo "{EMPTY}" && exit 0; exec "$real" "$@"',
    "misses all": f'echo "{EMPTY}"',
}


@pytest.fixture
def cluster(tmp_path):
    with ToyCluster(tmp_path / "cluster", face=Sge, slots=8, grace=0.5, keep=60) as cluster:
        yield cluster


@pytest.fixture
def make(cluster, tmp_path):
    def make(forks=100, **options):
        scheduler = SgeScheduler(scheduler_rate=None, **{**cluster.options, **options})
        scheduler.poll_seconds = scheduler.grace_seconds = 0.4
        return Xqute(scheduler, job_metadir=tmp_path / "run", scheduler_forks=forks, store="memory://")

    return make


@pytest.fixture
def shims(cluster, tmp_path):
    """Options that put something in the place of commands."""

    def shims(text, *programs):
        options = {}
        for program in programs:
            shim = tmp_path / program
            shim.write_text(f"#!/bin/sh\nreal='{cluster.bin}/{program}'\n{text}\n")
            shim.chmod(0o700)
            options[program] = str(shim)
        return options

    return shims


async def until(condition, otherwise="it never came true"):
    try:
        async with asyncio.timeout(SECONDS):
            while not condition():  # noqa: ASYNC110  files and answers of other processes have no events
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(otherwise) from None


def counting(tmp_path, then="true"):
    return f"echo ran >>'{tmp_path}/ran'; {then}"


def holding(tmp_path):
    """A command that counts its executions, and ends when it is let go."""
    return counting(tmp_path, f"until [ -e '{tmp_path}/go' ]; do sleep 0.02; done")


def runs(tmp_path):
    ran = tmp_path / "ran"
    return len(ran.read_text().split()) if ran.exists() else 0


def well(jobs):
    return {(job.status.name, job.start, job.attempt) for job in jobs} == {("FINISHED", 1, 1)}


@pytest.mark.parametrize("kind", ["every third fails", "every third says garbage", "every third is cut off"])
@pytest.mark.parametrize("arrays", [True, False], ids=["arrays", "one by one"])
async def test_commands_that_fail_now_and_then_cost_no_job(make, shims, tmp_path, kind, arrays):
    options = shims(SHIMS[kind], "qsub", "qstat", "qconf", "qacct")
    xq = make(forks=8, **options, **({} if arrays else {"scheduler_array_limit": 1}))
    jobs = await xq.push_many([counting(tmp_path, "sleep 0.1")] * 12)

    async with asyncio.timeout(SECONDS):
        report = await xq.run_until_complete()

    assert report.ok
    assert well(jobs)
    assert runs(tmp_path) == len(jobs)


@pytest.mark.parametrize("several", [1, 3])
@pytest.mark.parametrize("fault", ["deny", "lose", "fail"])
async def test_a_submission_that_goes_wrong_is_made_good_and_runs_once(
    make, cluster, tmp_path, fault, several
):
    xq = make()
    jobs = await xq.push_many([holding(tmp_path)] * several)
    cluster.fault(fault, verbs=["submit"], times=1)

    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: {job.status for job in jobs} == {JobStatus.RUNNING})
        (tmp_path / "go").touch()

    assert well(jobs)
    assert runs(tmp_path) == len(jobs)
    # what was taken and denied is found by its name; what was lost, or never taken, is submitted once more
    assert (len(cluster.calls("qsub")) == 1) is (fault == "deny")


@pytest.mark.parametrize("kind", ["misses all once", "every third is cut off"])
async def test_a_job_that_an_answer_misses_is_still_there(make, cluster, shims, tmp_path, kind):
    xq = make(**shims(SHIMS[kind], "qstat"))
    job = await xq.push(holding(tmp_path))
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: job.status is JobStatus.RUNNING)
        asked = len(cluster.calls("qstat"))
        await until(lambda: len(cluster.calls("qstat")) > asked + 4)
        status = job.status
        (tmp_path / "go").touch()

    assert status is JobStatus.RUNNING
    assert well([job])


async def test_a_job_that_is_never_listed_is_lost_in_the_end(make, shims, tmp_path):
    xq = make(**shims(SHIMS["misses all"], "qstat"))
    job = await xq.push(holding(tmp_path), retries=0)
    async with asyncio.timeout(SECONDS):
        await xq.run_until_complete()

    assert (job.status, job.reason.code) == (JobStatus.FAILED, "LOST")


async def test_jobs_end_while_the_scheduler_is_away(make, cluster, tmp_path, caplog):
    xq = make()
    jobs = await xq.push_many([holding(tmp_path)] * 3)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: runs(tmp_path) == 3)
        mend = cluster.fault("fail")
        late = await xq.push(counting(tmp_path))
        await until(lambda: {job.reason.code for job in jobs} == {"UNREACHABLE"})
        (tmp_path / "go").touch()
        await asyncio.wait([job.as_task() for job in jobs])
        mend()

    assert well([*jobs, late])
    assert len([line for line in caplog.messages if "does not answer" in line]) == 1


@pytest.mark.parametrize("several", [1, 3])
@pytest.mark.parametrize("deaf", [False, True], ids=["polite", "deaf"])
async def test_what_somebody_deletes_is_not_tried_again(make, cluster, tmp_path, several, deaf):
    xq = make()
    then = f"trap '' TERM; until [ -e '{tmp_path}/go' ]; do sleep 0.02; done"
    line = counting(tmp_path, then) if deaf else holding(tmp_path)
    jobs = await xq.push_many([line] * several, retries=3)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: runs(tmp_path) == several and jobs[0].status is JobStatus.RUNNING)
        await asyncio.to_thread(subprocess.run, [cluster.bin / "qdel", jobs[0].uid], check=True)
        await asyncio.wait([jobs[0].as_task()])
        (tmp_path / "go").touch()

    assert (jobs[0].status, jobs[0].reason.code, jobs[0].start) == (JobStatus.FAILED, "KILLED", 1)
    assert all(job.status is JobStatus.FINISHED for job in jobs[1:])
    assert runs(tmp_path) == several


async def test_a_hard_limit_of_the_queue_is_a_timeout(make, tmp_path):
    xq = make(sge_l="h_rt=1")
    job = await xq.push(counting(tmp_path, "sleep 60"), retries=0)
    async with asyncio.timeout(SECONDS):
        await xq.run_until_complete()

    assert (job.status, job.reason.code, job.reason.detail["timeout"]) == (JobStatus.FAILED, "TIMEOUT", "1")


async def test_a_limit_of_jobs_is_waited_out(make, cluster, tmp_path):
    cluster.set(most=2)
    xq = make(forks=6, scheduler_array_limit=1)
    jobs = await xq.push_many([counting(tmp_path, "sleep 0.2")] * 6)
    said = set()
    async with asyncio.timeout(SECONDS), xq:
        while not all(job.done() for job in jobs):
            said |= {job.reason.code for job in jobs}
            await asyncio.sleep(0.01)

    assert "SCHEDULER_FULL" in said
    assert well(jobs)
    assert runs(tmp_path) == len(jobs)


async def test_a_held_job_says_so_and_runs_when_it_is_released(make, cluster, tmp_path):
    xq = make(sge_h=True)
    job = await xq.push(counting(tmp_path))
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: "held" in str(job.reason))
        said = str(job.reason)
        cluster.release(job.uid)

    assert said == f"handed to sge as {job.uid}: hqw (held)"
    assert well([job])


async def test_a_script_that_lets_a_special_return_code_through_is_put_in_error(make, tmp_path, monkeypatch):
    """It shows that the toy has this trap, and that it is the wrapper which avoids it."""
    monkeypatch.setattr(SgeScheduler, "exit_with", '"$1"')
    xq = make()
    job = await xq.push(counting(tmp_path, "exit 100"), retries=0)
    async with asyncio.timeout(SECONDS), xq:
        await asyncio.wait([job.as_task()])
        listed = await asyncio.to_thread(
            subprocess.run, [xq.scheduler.config.qstat, "-xml"], check=True, capture_output=True, text=True
        )

    assert "<state>Eqw</state>" in listed.stdout


async def test_many_jobs_cost_few_submissions(make, tmp_path):
    xq = make(forks=100)
    jobs = await xq.push_many([["true"]] * 300)
    async with asyncio.timeout(SECONDS):
        report = await xq.run_until_complete()

    assert well(jobs)
    assert report.commands["qsub"] <= 300 / 25
