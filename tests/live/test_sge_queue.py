"""What happens at a real Grid Engine to jobs that wait in its queue, and to their numbers."""

import asyncio

import pytest

from tests.live.clusters import SECONDS, is_killed_as, run, trying_twice, waits_too_long
from tests.waiting import until
from xqute import JobStatus
from xqute.schedulers.sge import SgeScheduler

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("sge_clients")]


@pytest.fixture
def make(tmp_path):
    def make(**options):
        return trying_twice(SgeScheduler(scheduler_rate=None, **options), tmp_path, grace=2.0)

    return make


def listed(number):
    """The states of what has this number."""
    lines = [line.split() for line in run("qstat").splitlines()]
    return [words[4] for words in lines if words[:1] == [number]]


@pytest.mark.parametrize(
    ("options", "several", "said"),
    [
        ({"sge_h": True}, 3, "hqw (held)"),
        ({"sge_wd": "/nowhere/at/all"}, 1, "Eqw (error: `qstat -j NUMBER` says why)"),
    ],
    ids=["held", "in error"],
)
async def test_jobs_that_wait_too_long_are_taken_back(make, options, several, said):
    xq = make(scheduler_pending_timeout="2s", **options)

    number = await waits_too_long(xq, several, said)

    assert xq.scheduler.commands["qdel"] == 1
    assert listed(number) == []


@pytest.mark.parametrize("several", [1, 3])
async def test_a_job_that_was_deleted_by_hand_while_it_waited_is_not_tried_again(make, several):
    xq = make(sge_h=True)
    jobs = await xq.push_many([["true"]] * several, retries=3)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: all("held" in str(job.reason) for job in jobs))
        run("qdel", jobs[0].uid)
        await asyncio.wait([jobs[0].as_task()])
        others = {job.status for job in jobs[1:]}
        await asyncio.gather(*(job.kill() for job in jobs[1:]))

    assert others <= {JobStatus.SUBMITTED}
    assert (jobs[0].status, jobs[0].start) == (JobStatus.FAILED, 1)
    assert str(jobs[0].reason) == "KILLED by somebody: taken out of the queue while it waited"
    assert xq.scheduler.commands["qsub"] == 1


async def test_a_number_that_is_a_strangers_is_not_deleted(make, monkeypatch):
    monkeypatch.setattr("xqute.schedulers.sightings.KNOWN_SECONDS", 0.0)  # it was not seen lately
    stranger = run("qsub", "-terse", "-h", "-o", "/dev/null", "-e", "/dev/null", "-b", "y", "true").strip()
    xq = make()

    ours = await is_killed_as(xq, stranger)
    found = listed(stranger)
    run("qdel", ours, stranger)

    assert found == ["hqw"]
    assert xq.scheduler.commands["qdel"] == 0
