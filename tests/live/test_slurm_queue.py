"""What happens at a real Slurm to jobs that wait in its queue, and to their numbers."""

import asyncio

import pytest

from tests.live.clusters import SECONDS, is_killed_as, run, trying_twice, until, waits_too_long
from xqute import JobStatus
from xqute.schedulers.slurm import SlurmScheduler

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("slurm_clients")]


@pytest.fixture
def make(tmp_path):
    def make(**options):
        return trying_twice(SlurmScheduler(scheduler_rate=None, **options), tmp_path, grace=2.0)

    return make


def states(*numbers):
    listed = run(
        "squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(numbers)}", "--format=%T"
    )
    return set(listed.split())


@pytest.mark.parametrize("several", [1, 3])
async def test_jobs_that_wait_too_long_are_taken_back(make, several):
    xq = make(slurm_hold=True, scheduler_pending_timeout="2s")

    number = await waits_too_long(xq, several, "PENDING (JobHeldUser)")

    assert xq.scheduler.commands["scancel"] == 1
    assert states(number) == {"CANCELLED"}


@pytest.mark.parametrize("array", ["", "--array=1-3"])
async def test_a_number_that_is_a_strangers_is_not_cancelled(make, monkeypatch, array):
    monkeypatch.setattr("xqute.schedulers.sightings.KNOWN_SECONDS", 0.0)  # it was not seen lately
    words = ["--parsable", "--hold", "--output=/dev/null", *array.split(), "--wrap=true"]
    stranger = run("sbatch", *words).strip()
    xq = make()

    ours = await is_killed_as(xq, stranger)
    found = states(stranger)
    run("scancel", ours, stranger)

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
