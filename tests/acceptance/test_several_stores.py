"""Several stores in one program: a number means a job of one of them only, and so does a directory."""

import asyncio

import pytest

from tests.acceptance.tasks import add, require_of_another_store, show
from xqute import JobFailed, OptionError, Xqute, cmd

pytestmark = pytest.mark.usefixtures("here")


# Jobs of another store


@pytest.fixture
async def both(tmp_path):
    """Two Xqutes that have nothing to do with each other."""
    return Xqute(job_metadir=tmp_path / "a"), Xqute(job_metadir=tmp_path / "b")


@pytest.mark.parametrize(
    "needing",
    [
        lambda job: cmd("echo", "got:", job),
        lambda job: ["echo", job],
        lambda job: add(job, 1),
        lambda job: show([{"deep": job}]),
        lambda job: cmd("true").after(job),
        lambda job: show(add(job, 1)),
    ],
    ids=["cmd", "list", "task", "deep", "after", "nested"],
)
@pytest.mark.parametrize("opened", [True, False], ids=["in use", "new"])
async def test_a_job_of_another_store_is_refused_by_name_and_nothing_is_stored(both, needing, opened):
    one, other = both
    job = await one.push("echo from one")
    if opened:
        await other.push("echo unrelated")

    with pytest.raises(OptionError) as info:
        await other.push(needing(job))

    told = str(info.value)
    assert told.startswith("job 1 (echo from one) is a job of another store")
    assert "await it" in told
    assert job.directory in told
    assert len(await other.find()) == len(other.jobs) == opened


async def test_a_job_that_was_looked_up_there_is_of_another_store_too(both):
    one, other = both
    await one.push("echo from one")
    await one.run_until_complete()

    for job in (await one.get(1), *await one.find()):
        with pytest.raises(OptionError, match="of another store"):
            await other.push(add(job, 1))


async def test_named_calls_with_a_job_of_another_store_are_neither_built_nor_told_of(both):
    one, other = both
    call = add(await one.push(add(1, 1)), 1).named("sum")

    with pytest.raises(OptionError, match="of another store"):
        await other.build(call)
    with pytest.raises(OptionError, match="of another store"):
        await other.status(call)
    assert await other.find() == []


async def test_the_result_of_a_job_of_another_store_can_be_given(both):
    one, other = both
    async with one, other:
        job = await one.push(add(1, 2))
        assert await (await other.push(add(await job, 1))) == 4


async def test_a_job_of_another_xqute_of_the_same_store_is_an_argument(make):
    one, other = make(), make()
    async with one, other:
        job = await one.push(add(1, 2))
        async with asyncio.timeout(30):
            assert await (await other.push(add(job, 1))) == 4


async def test_the_same_store_by_another_path_is_the_same_store(make, metadir, tmp_path):
    metadir.mkdir()
    (tmp_path / "link").symlink_to(metadir)
    one, other = make(), make(job_metadir=tmp_path / "link")
    async with one, other:
        job = await one.push(add(1, 2))
        async with asyncio.timeout(30):
            assert await (await other.push(add(job, 1))) == 4


async def test_what_a_job_requires_can_not_need_a_job_of_another_store(run_one, tmp_path):
    job = await run_one(require_of_another_store(str(tmp_path / "inner")))

    error = job.exception()
    assert isinstance(error, JobFailed)
    assert "is a job of another store" in str(error.__cause__)
    assert isinstance(error.__cause__, OptionError)


async def test_as_completed_waits_for_jobs_of_several_stores(both):
    one, other = both
    async with one, other:
        jobs = [await one.push("echo one"), await other.push("echo other")]
        async with asyncio.timeout(30):
            ended = [job async for job in other.as_completed(jobs)]
    assert sorted(job.result() for job in ended) == ["one", "other"]
