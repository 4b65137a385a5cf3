"""Two Xqutes of one process that want the same run: as two cells of a notebook, or two parts of a program."""

import asyncio

import pytest

from tests.engine.acting import act, now, plugin, until
from xqute import JobStatus
from xqute.errors import RunOwned
from xqute.testing.fake import FakeScheduler, Play


async def test_a_cell_of_a_notebook_that_is_run_again_goes_on_with_its_run(make, fake):
    fake.plan = act(Play(stdout="n"))
    results = []
    for _ in range(2):
        xq = make(resume=True)
        job = await xq.push(["fake"])
        results.append((await job, job.cached))

    assert results == [("n", False), ("n", True)]


async def test_an_xqute_that_only_pushed_lets_go_of_its_run(make):
    first = make(resume=True)
    pushed = await first.push(["fake"])

    async with make(resume=True) as second:
        again = await second.push(["fake"])
        with pytest.raises(RunOwned, match="another Xqute, while this one was away"):
            await first.push(["fake", "more"])

    assert again.id == pushed.id
    assert again.status is JobStatus.FINISHED


async def test_an_xqute_that_is_gone_holds_no_run(make):
    pushed = await make(resume=True).push(["fake"])
    id_ = pushed.id
    del pushed

    again = await make(resume=True).push(["fake"])
    await again

    assert again.id == id_


async def test_an_xqute_at_work_keeps_its_run_and_the_error_says_so(make, fake):
    fake.plan = act(Play(runs=100))
    first = make(resume=True)
    job = await first.push(["fake"])
    running = asyncio.create_task(first.run_until_complete())
    await until(lambda: job.status is JobStatus.RUNNING)

    with pytest.raises(RunOwned, match="another Xqute of this process, which works on it: wait"):
        await make(resume=True).push(["fake"])

    await running
    assert job.status is JobStatus.FINISHED


async def test_resume_wait_waits_for_an_xqute_at_work(make, fake):
    fake.plan = act(Play(runs=100))
    first = make(resume=True)
    job = await first.push(["fake"])
    running = asyncio.create_task(first.run_until_complete())
    await until(lambda: job.status is JobStatus.RUNNING)

    again = await make(FakeScheduler(), resume="wait").push(["fake"])

    assert running.done()
    assert again.cached


async def test_resume_wait_inside_the_block_of_the_owner_is_refused_at_once(make):
    begun = now()
    async with make(resume=True) as first:
        await first.push(["fake"])
        with pytest.raises(RunOwned, match="this is inside its block or hook"):
            await make(FakeScheduler(), resume="wait").push(["fake"])

    assert now() - begun < 10


async def test_resume_wait_inside_a_hook_of_the_owner_is_refused_at_once(make):
    refused = []

    async def succeeded(scheduler, job):
        with pytest.raises(RunOwned, match="this is inside its block or hook") as raised:
            await make(FakeScheduler(), resume="wait").push(["fake"])
        refused.append(raised.value)

    first = make(resume=True, plugins=[plugin(on_job_succeeded=succeeded)])
    await first.push(["fake"])

    await first.run_until_complete()

    assert len(refused) == 1
