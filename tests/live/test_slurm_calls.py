"""Python calls, trees and what they ask for run at a real Slurm as they do here."""

import asyncio

import pytest

from tests.live.work import fails, square, total
from xqute import JobFailed, JobStatus, Xqute, cmd

pytestmark = pytest.mark.live


@pytest.fixture
def xq(slurm_clients, tmp_path):
    def make(**options):
        xq = Xqute("slurm", job_metadir=tmp_path / "run", scheduler_rate=None, **options)
        xq.scheduler.poll_seconds, xq.scheduler.grace_seconds = 1.0, 4.0
        return xq

    return make


async def test_a_tree_of_calls_is_computed_and_may_ask_for_more(xq):
    async with asyncio.timeout(120), xq() as run:
        tree = await run.push(total([square(n) for n in range(20)]))
        result = await tree

    assert result == sum(n * n for n in range(20)) + 221
    assert (tree.start, tree.attempt) == (2, 1)


async def test_results_and_failures_arrive(xq):
    async with asyncio.timeout(120), xq() as run:
        echo = await run.push(cmd("sh", "-c", "echo $SLURM_JOB_ID; cat", "sh"), stdin=__file__)
        bad = await run.push(fails())
        printed = await echo
        with pytest.raises(JobFailed) as failed:
            await bad

    assert printed.splitlines()[0].isdecimal()
    assert "Python calls" in printed
    assert isinstance(failed.value.__cause__, ValueError)


async def test_options_reach_slurm_and_names_are_kept(xq, tmp_path):
    run = xq(slurm_cpus_per_task=3, slurm_comment='it\'s "so" #1', scheduler_jobprefix="mine.")
    told = "echo $SLURM_CPUS_PER_TASK $SLURM_JOB_NAME; scontrol -o show job $SLURM_JOB_ID"
    async with asyncio.timeout(120), run:
        jobs = [await run.push(told), *await run.push_many([told] * 2)]
        answers = [await job for job in jobs]

    assert [job.status for job in jobs] == [JobStatus.FINISHED] * 3
    for answer in answers:
        assert answer.startswith("3 mine.xq-")
        assert 'Comment=it\'s "so" #1 ' in answer
        assert "Requeue=0" in answer
        assert "StdOut=/dev/null" in answer
