"""What happens at a real Slurm to jobs that wait in its queue, and to their numbers."""

import asyncio
import subprocess

import pytest

from xqute import JobStatus, Xqute
from xqute.schedulers.slurm import SlurmScheduler

pytestmark = pytest.mark.live

SECONDS = 120


@pytest.fixture(autouse=True)
def conf(slurm_conf, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", slurm_conf)


@pytest.fixture
def make(tmp_path):
    def make(**options):
        scheduler = SlurmScheduler(scheduler_rate=None, **options)
        scheduler.poll_seconds, scheduler.grace_seconds = 1.0, 2.0
        return Xqute(scheduler, job_metadir=tmp_path / "run")

    return make


def run(*argv):
    return subprocess.run(list(map(str, argv)), check=True, capture_output=True, text=True).stdout.strip()


def states(*numbers):
    listed = run(
        "squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(numbers)}", "--format=%T"
    )
    return set(listed.split())


async def until(condition, otherwise="it never came true"):
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  files of other processes have no events
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("several", [1, 3])
async def test_jobs_that_wait_too_long_are_taken_back(make, several):
    xq = make(slurm_hold=True, scheduler_pending_timeout="2s")
    jobs = await xq.push_many([["true"]] * several)

    async with asyncio.timeout(SECONDS):
        await xq.run_until_complete()

    assert {str(job.reason) for job in jobs} == {"PENDING_TIMEOUT after 2 s: PENDING (JobHeldUser)"}
    assert {(job.status, job.start) for job in jobs} == {(JobStatus.FAILED, 1)}
    assert xq.scheduler.commands["scancel"] == 1
    assert states(jobs[0].uid.partition("_")[0]) == {"CANCELLED"}


@pytest.mark.parametrize("array", ["", "--array=1-3"])
async def test_a_number_that_is_a_strangers_is_not_cancelled(make, tmp_path, monkeypatch, array):
    monkeypatch.setattr("xqute.schedulers.sightings.KNOWN_SECONDS", 0.0)  # it was not seen lately
    stranger = run("sbatch", "--parsable", "--hold", "--output=/dev/null", *array.split(), "--wrap=true")
    xq = make()
    job = await xq.push(f"touch '{tmp_path}/began'; sleep 60")
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: job.status is JobStatus.RUNNING)
        ours, job.uid = job.uid, stranger
        await job.kill()
        await asyncio.wait([job.as_task()])
    found = states(stranger)
    run("scancel", ours, stranger)

    assert job.status is JobStatus.KILLED
    assert found == {"PENDING"}
    assert xq.scheduler.commands["scancel"] == 0


async def test_an_element_that_was_cancelled_by_hand_while_it_waited_is_not_tried_again(make):
    xq = make(slurm_begin="now+600")
    jobs = await xq.push_many([["true"]] * 3, retries=3)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: "BeginTime" in str(jobs[1].reason))
        run("scancel", jobs[1].uid)
        await asyncio.wait([jobs[1].as_task()])
        others = {job.status for job in (jobs[0], jobs[2])}
        for job in (jobs[2], jobs[0]):
            run("scancel", job.uid)
        await asyncio.wait([job.as_task() for job in jobs])

    assert others == {JobStatus.SUBMITTED}
    assert {(job.status, job.reason.code, job.start) for job in jobs} == {(JobStatus.FAILED, "KILLED", 1)}
    assert str(jobs[1].reason) == "KILLED by somebody: taken out of the queue while it waited"
    assert xq.scheduler.commands["sbatch"] == 1
