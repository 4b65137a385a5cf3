"""Trouble with the commands of Grid Engine is no trouble of its jobs: real processes, a toy cluster."""

import asyncio
import subprocess

import pytest

from tests.batches import SGE
from tests.faults.batch.jobs import SECONDS, counting, holding, well
from xqute import JobStatus
from xqute.schedulers.sge import SgeScheduler

EMPTY = "<?xml version='1.0'?><job_info><queue_info></queue_info><job_info></job_info></job_info>"


@pytest.fixture
def batch():
    return SGE


async def test_a_job_that_is_never_listed_is_lost_in_the_end(make, shims, tmp_path):
    xq = make(**shims(f'echo "{EMPTY}"', "qstat"))
    job = await xq.push(holding(tmp_path), retries=0)
    async with asyncio.timeout(SECONDS):
        await xq.run_until_complete()

    assert (job.status, job.reason.code) == (JobStatus.FAILED, "LOST")


async def test_a_hard_limit_of_the_queue_is_a_timeout(make, tmp_path):
    xq = make(sge_l="h_rt=1")
    job = await xq.push(counting(tmp_path, "sleep 60"), retries=0)
    async with asyncio.timeout(SECONDS):
        await xq.run_until_complete()

    assert (job.status, job.reason.code, job.reason.detail["timeout"]) == (JobStatus.FAILED, "TIMEOUT", "1")


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
