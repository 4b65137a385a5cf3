"""`keep=`: which job directories stay, and that nobody misses what went."""

import asyncio
import logging
from pathlib import Path

import pytest

from tests.acceptance.conftest import until
from tests.acceptance.record_calls import number_of, plus
from xqute import JobFailed, JobStatus, MetadirError, OptionError, cmd
from xqute import simplug as pm
from xqute.engine import crowding


def directories(metadir: Path) -> set[int]:
    return {int(path.name) for path in metadir.iterdir() if path.name.isdecimal()}


@pytest.fixture
def gone(metadir):
    """Wait until the directory of a job is removed."""

    async def wait(*jobs):
        await until(lambda: not directories(metadir) & {job.id for job in jobs})

    return wait


# What stays


@pytest.mark.parametrize(("keep", "stays"), [("all", {1, 2, 3}), ("failed", {2, 3}), ("none", set())])
async def test_what_stays_when_a_run_is_over_is_what_keep_says(make, metadir, keep, stays):
    xqute = make(keep=keep)
    good, bad = await xqute.push_many([["echo", "good"], "echo oh no >&2; exit 3"])
    endless = await xqute.push("exec sleep 600", grace=0)
    end = asyncio.create_task(_kill_when_it_runs(endless))

    report = await xqute.run_until_complete()
    await end

    assert directories(metadir) == stays
    assert [job.status for job in (good, bad, endless)] == [6, 7, 8]
    assert [failure.stderr for failure in report.failures] == [("oh no",)], "the report had it"
    assert (good.removed, bad.removed) == (keep != "all", keep == "none")


async def _kill_when_it_runs(job):
    await until(lambda: job.status is JobStatus.RUNNING)
    await job.kill()


async def test_directories_go_while_the_run_goes_on(make, gone):
    async with make(keep="failed", scheduler_forks=2) as xqute:
        long = await xqute.push("until [ -e go ]; do sleep 0.01; done", cwd=xqute.metadir)
        job = await xqute.push(["echo", "soon"])

        assert await job == "soon"
        await gone(job)

        assert long.status < JobStatus.FINISHED
        (xqute.metadir / "go").touch()


async def test_a_build_of_a_named_call_stays(make, metadir):
    xqute = make(keep="none")

    job = await xqute.build(number_of("x").named("x"))
    await xqute.run_until_complete()

    assert directories(metadir) == {job.id}
    assert await xqute.status(number_of("x").named("x")) == "success"


async def test_a_file_of_the_users_own_stays_and_is_the_result(make, metadir, tmp_path):
    xqute = make(keep="none")
    job = await xqute.push(["echo", "mine"], stdout=tmp_path / "out")

    await xqute.run_until_complete()

    assert directories(metadir) == set()
    assert job.result() == "mine"


# Nobody misses it


async def test_who_needs_a_result_has_it_also_when_it_comes_late(make, metadir):
    xqute = make(keep="none", scheduler_forks=4)
    sign = await xqute.push(["true"])
    late = f"while [ -d '{metadir}/{sign.id}' ]; do sleep 0.01; done; echo 4"
    root = await xqute.push(plus(plus(number_of("a"), number_of("bb")), cmd("sh", "-c", late)))
    result = root.as_task()

    async with asyncio.timeout(60):
        await xqute.run_until_complete()

    assert await result == 7
    assert sign.removed


async def test_what_a_failed_job_needs_stays_for_its_next_try(make, metadir):
    xqute = make(keep="none")
    root = await xqute.push(plus(number_of("a"), "x"))
    [need] = [await xqute.get(id_) for id_ in root.needs]

    with pytest.raises(JobFailed):
        await root
    await xqute.run_until_complete()

    assert directories(metadir) == {need.id}


async def test_results_wait_for_whoever_asks_inside_of_async_with(make, metadir, gone):
    async with make(keep="none", scheduler_forks=4) as xqute:
        jobs = await xqute.push_many([["echo", number] for number in range(6)])
        await until(lambda: all(job.done() for job in jobs))
        sign = await xqute.push(["true"])
        await sign
        await gone(sign)

        assert [await job for job in jobs] == [str(number) for number in range(6)]

    assert directories(metadir) == set()


async def test_a_plugin_that_asks_for_results_takes_them_from_nobody(make, gone):
    class Curious:
        name = "curious"

        @pm.impl
        async def on_job_succeeded(self, scheduler, job):
            assert job.result() == job.title

    async with make(keep="none", plugins=[Curious()], scheduler_forks=2) as xqute:
        first, second = [await xqute.push(["echo", name], title=name) for name in ("first", "second")]
        await until(first.done)
        assert await second == "second"
        await gone(second)

        assert await first == "first"


async def test_a_result_waits_for_whoever_awaits_jobs_one_by_one(make, metadir):
    xqute = make(keep="none", scheduler_forks=3)
    first, gone, last = await xqute.push_many([["echo", number] for number in range(3)])
    assert await first == "0"
    await until(lambda: gone.done() and last.done())

    await gone.delete()  # lets go of the run, where nothing is left to run

    assert await last == "2"


async def test_each_job_of_as_completed_has_its_result_in_the_loops_body(make, metadir):
    async with make(keep="none", scheduler_forks=4) as xqute:
        jobs = await xqute.push_many([["echo", number] for number in range(6)])
        results = set()
        async for job in xqute.as_completed(jobs):
            assert job.exception() is None  # it was asked how it ended
            await until(lambda: all(other.done() for other in jobs))
            results.add(job.result())

    assert results == {str(number) for number in range(6)}
    assert directories(metadir) == set()


async def test_hooks_have_the_result_of_their_job(make, gone):
    told = []

    class Slow:
        name = "slow"

        @pm.impl
        async def on_job_succeeded(self, scheduler, job):
            if job is not sign:
                await gone(sign)
            told.append(job.result())

    xqute = make(keep="none", plugins=[Slow()], scheduler_forks=3)
    sign, *_ = await xqute.push_many([["echo", number] for number in range(3)])
    await xqute.run_until_complete()

    assert sorted(told) == ["0", "1", "2"]


async def test_a_result_that_is_gone_says_so(make, gone):
    xqute = make(keep="failed")
    [job, call] = await xqute.push_many([["echo", 1], number_of("x")])
    await xqute.run_until_complete()

    for one in (job, call):
        with pytest.raises(MetadirError, match=r"was removed with its directory, as keep= of its run says"):
            one.result()
    with pytest.raises(OptionError, match=r"can't be given to another any more"):
        await xqute.push(cmd("echo", job))


async def test_a_job_that_only_comes_after_a_removed_one_runs(make):
    xqute = make(keep="failed")
    job = await xqute.push(["echo", 1])
    await xqute.run_until_complete()

    after = await xqute.push(cmd("echo", 2).after(job))

    assert await after == "2"


async def test_what_jobs_of_another_run_need_stays(make, metadir):
    one, two = make(keep="none"), make()
    job = await one.push(["echo", 1])
    other = await two.push(cmd("echo", await two.get(job.id)))

    await one.run_until_complete()

    assert directories(metadir) == {job.id}
    assert await other == "1"


# Once more


async def test_a_rerun_knows_that_they_finished_and_repeats_nothing(make, metadir, tmp_path):
    line = f"echo x >> '{tmp_path}/ran'"
    first = make(keep="none")
    await first.push_many([line, line])
    await first.run_until_complete()

    second = make(keep="none", resume=True)
    jobs = await second.push_many([line, line, line])
    report = await second.run_until_complete()

    assert ([job.cached for job in jobs], report.reused) == ([True, True, False], 2)
    assert (tmp_path / "ran").read_text() == "x\n" * 3
    assert directories(metadir) == set()


async def test_a_rerun_repeats_what_has_to_give_its_result_once_more(make, tmp_path):
    first = make(keep="failed")
    await first.push(plus(number_of("abc"), 1))
    await first.run_until_complete()

    second = make(keep="failed", resume=True)
    root = await second.push(plus(number_of("abc"), 2))

    assert await root == 5
    assert [job.cached for job in second._keeper.known.values()] == [False, False]


async def test_a_failed_job_that_is_tried_again_has_a_directory_again(make, metadir):
    xqute = make(keep="none")
    job = await xqute.push("exit 3")
    await xqute.run_until_complete()
    assert directories(metadir) == set()

    second = make(resume=True)
    again = await second.push("exit 3")
    await second.run_until_complete()

    assert (again.id, again.start, again.removed) == (job.id, 2, False)
    assert directories(metadir) == {job.id}


async def test_a_misspelt_keep_names_those_there_are(make):
    with pytest.raises(OptionError, match=r"unknown keep 'fail': did you mean 'failed'\?"):
        make(keep="fail")


# Very many


async def test_very_many_directories_are_said_once_with_what_to_do(make, metadir, monkeypatch, caplog):
    monkeypatch.setattr(crowding, "MANY_DIRECTORIES", 3)
    xqute = make(scheduler_forks=4)
    await xqute.push_many([["true"]] * 5)

    with caplog.at_level(logging.WARNING):
        report = await xqute.run_until_complete()
        await xqute.push(["true"])
        await xqute.run_until_complete()

    told = [line for line in caplog.messages if "job directories" in line]
    assert len(told) == 1
    assert f"{metadir} holds 5 job directories" in told[0]
    assert "`xqute prune`" in told[0]
    assert "keep='failed'" in told[0]
    assert report.directories == 5
    assert told[0] in str(report)


async def test_ids_that_have_no_directory_are_not_many(make, monkeypatch, caplog):
    monkeypatch.setattr(crowding, "MANY_DIRECTORIES", 3)
    xqute = make(scheduler_forks=4, keep="none")
    await xqute.push_many([["true"]] * 9)
    await xqute.run_until_complete()

    second = make(keep="none")
    await second.push(["true"])
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        report = await second.run_until_complete()

    assert report.directories == 0
    assert not [line for line in caplog.messages if "job directories" in line]
