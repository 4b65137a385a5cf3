"""Trouble with the commands of a batch scheduler is no trouble of its jobs: real processes, a toy cluster."""

import asyncio
import time

import pytest

from xqute import JobStatus, Xqute
from xqute.schedulers.slurm import SlurmScheduler
from xqute.testing import ToyCluster
from xqute.testing.toyslurm import Slurm

SECONDS = 60

#: What stands in the place of a command does this with `$real`, the command it stands for.
SHIMS = {
    "every third fails": (
        'n=$(cat "$0.n" 2>/dev/null || echo 0); echo $((n + 1)) >"$0.n"; '
        'if [ $((n % 3)) = 1 ]; then echo "something went wrong" >&2; exit 1; fi; exec "$real" "$@"'
    ),
    "every third says garbage": (
        'n=$(cat "$0.n" 2>/dev/null || echo 0); echo $((n + 1)) >"$0.n"; '
        "if [ $((n % 3)) = 1 ]; then printf '<html>\\377\\303 Busy </html>\\n'; exit 0; fi; "
        'exec "$real" "$@"'
    ),
    "misses lines once": (
        'if mkdir "$0.once" 2>/dev/null; then "$real" "$@" | head -n 1; else exec "$real" "$@"; fi'
    ),
}


@pytest.fixture
def cluster(tmp_path):
    with ToyCluster(tmp_path / "cluster", face=Slurm, slots=8, grace=0.5, keep=60, escaped=True) as cluster:
        yield cluster


@pytest.fixture
def make(cluster, tmp_path):
    def make(forks=100, **options):
        scheduler = SlurmScheduler(scheduler_rate=None, **{**cluster.options, **options})
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


@pytest.mark.parametrize("kind", ["every third fails", "every third says garbage"])
@pytest.mark.parametrize("arrays", [True, False], ids=["arrays", "one by one"])
async def test_commands_that_fail_now_and_then_cost_no_job(make, shims, tmp_path, kind, arrays):
    options = shims(SHIMS[kind], "sbatch", "squeue", "scontrol")
    xq = make(forks=8, **options, **({} if arrays else {"scheduler_array_limit": 1}))
    jobs = await xq.push_many([counting(tmp_path, "sleep 0.1")] * 12)

    async with asyncio.timeout(SECONDS):
        report = await xq.run_until_complete()

    assert report.ok
    assert well(jobs)
    assert runs(tmp_path) == len(jobs)


@pytest.mark.parametrize("fault", ["deny", "lose", "fail"])
async def test_a_submission_that_goes_wrong_is_made_good_and_runs_once(make, cluster, tmp_path, fault):
    xq = make()
    jobs = await xq.push_many([counting(tmp_path)] * 3)
    cluster.fault(fault, verbs=["submit"], times=1)

    async with asyncio.timeout(SECONDS):
        await xq.run_until_complete()

    assert well(jobs)
    assert runs(tmp_path) == len(jobs)
    # what was taken and denied is found; what was lost, or never taken, is submitted once more
    assert len(cluster.calls("sbatch")) in ({1} if fault == "deny" else {2, 3, 4})


async def test_a_submission_that_is_always_lost_is_lost_in_the_end(make, cluster):
    xq = make()
    job = await xq.push(["true"])
    cluster.fault("lose", verbs=["submit"])

    async with asyncio.timeout(SECONDS):
        await xq.run_until_complete()

    assert (job.status, job.reason.code, job.start) == (JobStatus.FAILED, "LOST", 1)


async def test_a_command_that_hangs_is_ended_and_nothing_is_concluded(make, cluster, tmp_path):
    xq = make(scheduler_command_timeout=0.5)
    jobs = await xq.push_many([holding(tmp_path)] * 3)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: runs(tmp_path) == 3)
        xq.scheduler.command_seconds, mend = 0.3, cluster.fault("hang", verbs=["queue"])
        await until(lambda: {job.reason.code for job in jobs} == {"UNREACHABLE"})
        statuses = {job.status for job in jobs}
        mend()
        xq.scheduler.command_seconds = SECONDS
        await until(lambda: {job.reason.code for job in jobs} == {"RUNNING"})
        (tmp_path / "go").touch()

    assert statuses == {JobStatus.RUNNING}
    assert well(jobs)


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
        waits = late.reason.code
        mend()

    assert waits == "SCHEDULER_DOWN"
    assert well([*jobs, late])
    said = [line for line in caplog.messages if "does not answer" in line]
    assert len(said) == 1
    assert "scheduler unreachable since" in " ".join([str(line.reason) for line in await jobs[0].history()])


async def test_a_job_that_one_answer_misses_is_still_there(make, cluster, shims, tmp_path):
    xq = make(**shims(SHIMS["misses lines once"], "squeue"))
    job = await xq.push(holding(tmp_path))
    async with asyncio.timeout(SECONDS), xq:
        await until((tmp_path / "squeue.once").exists)
        asked = len(cluster.calls("squeue"))
        await until(lambda: len(cluster.calls("squeue")) > asked + 3)
        status = job.status
        (tmp_path / "go").touch()

    assert status is JobStatus.RUNNING
    assert well([job])


async def test_a_job_that_is_held_says_so(make, cluster, tmp_path):
    xq = make(slurm_hold=True)
    job = await xq.push(counting(tmp_path))
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: "JobHeldUser" in str(job.reason))
        said = str(job.reason)
        cluster.release(job.uid)

    assert said == f"handed to slurm as {job.uid}: PENDING (JobHeldUser)"
    assert well([job])


@pytest.mark.parametrize("several", [1, 3])
async def test_what_somebody_cancels_is_not_tried_again(make, cluster, tmp_path, several):
    xq = make()
    jobs = await xq.push_many([holding(tmp_path)] * several, retries=3)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: runs(tmp_path) == several)
        await until(lambda: jobs[0].status is JobStatus.RUNNING)
        process = await asyncio.create_subprocess_exec(cluster.bin / "scancel", jobs[0].uid)
        assert await process.wait() == 0
        await asyncio.wait([jobs[0].as_task()])
        (tmp_path / "go").touch()

    assert (jobs[0].status, jobs[0].reason.code, jobs[0].start) == (JobStatus.FAILED, "KILLED", 1)
    assert all(job.status is JobStatus.FINISHED for job in jobs[1:])
    assert runs(tmp_path) == several


async def test_a_node_that_fails_costs_no_attempt_and_is_avoided(make, cluster, tmp_path):
    xq = make()
    job = await xq.push(holding(tmp_path))
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: runs(tmp_path) == 1)
        cluster.fail_node(job.uid)
        await until(lambda: runs(tmp_path) == 2)
        (tmp_path / "go").touch()

    assert (job.status, job.start, job.attempt) == (JobStatus.FINISHED, 2, 1)
    assert "--exclude=n1" in xq.scheduler.own_directives(job)


async def test_a_limit_of_submitted_jobs_is_waited_out(make, cluster, tmp_path):
    cluster.set(most=4)
    xq = make(forks=6, scheduler_array_limit=2)
    jobs = await xq.push_many([counting(tmp_path, "sleep 0.3")] * 12)
    said = set()
    async with asyncio.timeout(SECONDS), xq:
        while not all(job.done() for job in jobs):
            said |= {job.reason.code for job in jobs}
            await asyncio.sleep(0.01)

    assert "SCHEDULER_FULL" in said
    assert well(jobs)
    assert runs(tmp_path) == len(jobs)


async def test_an_array_is_as_large_as_the_cluster_takes_it(make, cluster, tmp_path):
    cluster.set(array=6)
    xq = make()
    jobs = await xq.push_many([counting(tmp_path)] * 12)

    async with asyncio.timeout(SECONDS):
        report = await xq.run_until_complete()

    arrays = [word for call in cluster.calls("sbatch") for word in call if word.startswith("--array")]
    assert arrays == ["--array=1-5", "--array=1-5", "--array=1-2"]
    assert report.commands["sbatch"] == 3
    assert well(jobs)


async def test_the_queue_is_filled_up_by_many_at_a_time(make, tmp_path):
    xq = make(forks=12)
    jobs = await xq.push_many([counting(tmp_path, f"sleep 0.{n % 7 + 1}") for n in range(60)])

    async with asyncio.timeout(SECONDS):
        report = await xq.run_until_complete()

    assert well(jobs)
    assert report.commands["sbatch"] <= 60 / (12 / 4)
    assert (await xq.stats()).commands == report.commands


async def test_a_job_waits_for_others_to_be_submitted_with_for_a_bounded_time(make, tmp_path):
    xq = make(forks=8)
    xq.scheduler.refill_seconds = 1.0
    long = await xq.push_many([holding(tmp_path)] * 7)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: runs(tmp_path) == 7)
        began = time.monotonic()
        late = await xq.push(counting(tmp_path))
        await late
        waited = time.monotonic() - began
        (tmp_path / "go").touch()

    assert waited >= 0.9
    assert well([*long, late])


async def test_silent_jobs_are_asked_about_by_one_command_per_interval(make, cluster, tmp_path):
    xq = make()
    xq.scheduler.poll_seconds = 1.0
    jobs = await xq.push_many([holding(tmp_path)] * 8)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: runs(tmp_path) == 8)
        began, before = time.monotonic(), len(cluster.calls("squeue"))
        await until(lambda: len(cluster.calls("squeue")) >= before + 3)
        took = time.monotonic() - began
        (tmp_path / "go").touch()

    assert took >= 1.9
    assert well(jobs)


async def test_a_run_that_stops_finds_and_ends_what_it_does_not_know_to_have_submitted(
    make, cluster, tmp_path
):
    xq = make()
    jobs = await xq.push_many([holding(tmp_path)] * 3)
    cluster.fault("deny", verbs=["submit"], times=1)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: jobs[0].reason.code == "SCHEDULER_DOWN")
        xq.request_stop("test")

    assert {job.status for job in jobs} == {JobStatus.KILLED}
    assert not [job for job in cluster.jobs().values() if job.live]


async def test_a_kill_of_a_job_that_may_have_been_submitted_is_a_kill(make, cluster, tmp_path):
    xq = make()
    job = await xq.push(holding(tmp_path))
    cluster.fault("deny", verbs=["submit"], times=1)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: job.reason.code == "SCHEDULER_DOWN")
        assert await job.kill()

    assert job.status is JobStatus.KILLED
    assert not [job for job in cluster.jobs().values() if job.live]
