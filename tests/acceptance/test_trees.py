"""Trees of calls: their order, what they share, what a failure in one means, and how it heals."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import until
from tests.acceptance.tasks import Shot, add, fail, gated, held, same, show, skip, step
from xqute import (
    CycleError,
    DependencyFailed,
    Job,
    JobFailed,
    JobKilled,
    JobStatus,
    OptionError,
    cmd,
    simplug,
)

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def order(here):
    """The steps that began so far."""

    def read() -> list[str]:
        path = here / "order"
        return path.read_text().split() if path.exists() else []

    return read


def states(*jobs: Job) -> list[str]:
    return [job.status.name for job in jobs]


# Order


def two_trees():
    """One of four calls, and one of two, as the oldest of these systems orders them."""
    shadow = step("shadow")
    first, second = step("f1").after(shadow), step("f2").after(shadow)
    return step("R1").after(first, second), step("R2").after(step("g1"))


async def test_one_fork_finishes_a_tree_depth_first_before_it_begins_a_younger_one(make, order):
    xqute = make(scheduler_forks=1)
    for tree in two_trees():
        await xqute.push(tree)

    report = await xqute.run_until_complete()

    assert report.ok
    assert order() == ["shadow", "f1", "f2", "R1", "g1", "R2"]


async def test_trees_pushed_at_once_keep_the_same_order(make, order):
    xqute = make(scheduler_forks=1)

    await xqute.push_many(two_trees())
    await xqute.run_until_complete()

    assert order() == ["shadow", "f1", "f2", "R1", "g1", "R2"]


async def test_a_priority_goes_before_the_age_of_a_tree(make, order):
    old, young = two_trees()
    xqute = make(scheduler_forks=1)
    await xqute.push(old)
    await xqute.push(young, priority=1)

    await xqute.run_until_complete()

    assert order() == ["g1", "R2", "shadow", "f1", "f2", "R1"]


async def test_a_spare_fork_begins_the_younger_tree(make, order, here):
    xqute = make(scheduler_forks=2)
    old = await xqute.push(step("R1").after(held("shadow")))
    young = await xqute.push(step("R2").after(step("g1")))

    async with xqute:
        await young
        began = order()
        (here / "shadow.open").touch()

    assert sorted(began[:2]) == ["g1", "shadow"]
    assert began[2:] == ["R2"]
    assert states(old, young) == ["FINISHED", "FINISHED"]


@pytest.mark.parametrize("forks", [1, 2, 4])
async def test_no_call_begins_before_all_it_needs_has_ended(make, forks):
    xqute = make(scheduler_forks=forks)
    for width in (1, 3, 5):
        below = [step(f"a{n}") for n in range(width)]
        middle = [step(f"b{n}").after(*below) for n in range(width)]
        await xqute.push(step("top", *middle))

    report = await xqute.run_until_complete()

    jobs = {job.id: job for job in await xqute.find()}
    needs = [(job, jobs[id_]) for job in jobs.values() for id_ in job.needs]
    assert report.ok
    assert len(jobs) == 21
    assert len(needs) == 44
    assert all(need.ended <= job.submitted for job, need in needs)


# Sharing


async def test_a_call_that_is_used_twice_in_a_tree_runs_once(make, here):
    one = add(1, 2)
    xqute = make()

    job = await xqute.push(add(one, add(one, 10)))

    async with xqute:
        assert await job == 16
    assert (here / "add").read_text().splitlines() == ["(1, 2)", "(3, 10)", "(3, 13)"]
    assert len(await xqute.find()) == 3


async def test_a_call_shared_by_the_trees_of_one_push_runs_once(make, order):
    shared = step("shared")
    xqute = make()

    jobs = await xqute.push_many([step("a", shared), step("b", shared), shared])
    await xqute.run_until_complete()

    assert order().count("shared") == 1
    assert jobs[0].needs == jobs[1].needs == (jobs[2].id,)


async def test_equal_calls_that_are_not_the_same_run_each(make, order):
    xqute = make()

    await xqute.push(step("parent", step("child"), step("child")))
    await xqute.run_until_complete()

    assert order() == ["child", "child", "parent"]


async def test_a_job_as_an_argument_is_replaced_by_its_result(make):
    xqute = make()
    one = await xqute.push(add(1, 2))
    text = await xqute.push("echo from a command")

    both = await xqute.push(show(one, [text], again=one))

    async with xqute:
        assert await both == ((3, ["from a command"]), {"again": 3})
    assert both.needs == (one.id, text.id)


async def test_a_job_that_ended_long_ago_is_an_argument_too(make):
    xqute = make()
    one = await xqute.push(add(1, 2))
    await xqute.run_until_complete()

    more = await xqute.push(add(one, 1))

    assert await more == 4


async def test_a_job_of_an_earlier_run_is_an_argument_and_a_failed_one_blocks(make):
    before = make()
    one, bad = await before.push(add(1, 2)), await before.push(fail("in the run before"))
    await before.run_until_complete()

    xqute = make()
    more = await xqute.push(add(await xqute.get(one.id), 1))
    never = await xqute.push(add(await xqute.get(bad.id), 1))
    report = await xqute.run_until_complete()

    assert await more == 4
    assert never.reason.code == "BLOCKED"
    assert report.blocked == {bad.id: 1}


async def test_calls_are_found_anywhere_in_the_arguments_and_replaced(make):
    n = [add(number) for number in range(8)]
    deep = [[[n[0]]], (n[1], {"k": n[2], "set": [{"x": (n[3],)}]}), Shot("s", n[4], [n[5]])]
    xqute = make(scheduler_forks=4)

    job = await xqute.push(show(deep, last=Shot("t", {"a": {"b": n[6]}}, [n[7], n[0]])))

    async with xqute:
        args, kwargs = await job
    assert args == ([[[0]], (1, {"k": 2, "set": [{"x": (3,)}]}), Shot("s", 4, [5])],)
    assert kwargs == {"last": Shot("t", {"a": {"b": 6}}, [7, 0])}
    assert len(job.needs) == 8


async def test_a_shared_result_is_one_object_in_the_arguments(make):
    shared = show("x")
    xqute = make()

    job = await xqute.push(same(shared, [shared]))

    async with xqute:
        assert await job is True


async def test_a_command_gets_the_results_of_calls_and_commands_as_text(make):
    xqute = make()

    job = await xqute.push(cmd("echo", add(1, 2), cmd("printf", "%s\n\n", "a b"), "plain", add(2, 3)))

    async with xqute:
        assert await job == "3 a b plain 5"
    assert len(job.needs) == 3


async def test_awkward_text_of_a_command_arrives_as_one_argument(make):
    awkward = 'it\'s "quoted" $HOME `id` \\ * é\n second line \udcff'
    xqute = make()

    job = await xqute.push(cmd("printf", "[%s]", cmd("printf", "%s\n\n", awkward)))

    async with xqute:
        assert await job == f"[{awkward}]"


async def test_what_a_skipped_call_gives_is_none(make):
    xqute = make()

    job = await xqute.push(show(skip("no news"), 1))

    async with xqute:
        assert await job == ((None, 1), {})


async def test_after_orders_without_handing_over_a_result(make, order):
    xqute = make(scheduler_forks=4)
    first = await xqute.push(step("first"))

    await xqute.push(step("third").after(step("second").after(first)))
    await xqute.run_until_complete()

    assert order() == ["first", "second", "third"]


async def test_options_of_a_call_win_over_those_of_its_push(make):
    xqute = make()
    child = cmd("sh", "-c", "echo $A $B").options(env={"B": "2"}, tags=["deep"])

    job = await xqute.push(cmd("echo", child), env={"A": "1", "B": "1"}, tags=["all"], title="the root")

    async with xqute:
        assert await job == "1 2"
    below = await xqute.get(job.needs[0])
    assert (job.tags, below.tags) == (("all",), ("deep",))
    assert (job.title, below.title) == ("the root", "sh -c 'echo $A $B'")


async def test_map_pushes_a_call_for_each_item_in_one_go(make):
    xqute = make(scheduler_forks=2)

    jobs = await xqute.map(add, range(5), [10] * 5)

    async with xqute:
        assert [await job for job in jobs] == [10, 11, 12, 13, 14]
    assert [job.id for job in jobs] == [1, 2, 3, 4, 5]


async def test_find_shows_the_roots_of_trees_alone(make):
    xqute = make()
    roots = [await xqute.push(tree) for tree in two_trees()]

    assert await xqute.find(top=True) == roots
    assert len(await xqute.find()) == 6
    assert len(await xqute.find(task="step")) == 6


async def test_two_layers_that_need_each_other_whole_are_no_hundred_million_edges(make):
    below = [cmd("true", number) for number in range(10_000)]
    above = [cmd("true", "above", number).after(*below) for number in range(3)]
    gate = cmd("true", "gate").after(*below)
    many = [cmd("true", "more", number).after(gate, *below[:2]) for number in range(10_000)]
    xqute = make()

    async with asyncio.timeout(120):
        jobs = await xqute.push_many([*above, cmd("true", "end").after(*many)])

    last = await xqute.get(jobs[-1].id)
    assert len(jobs[0].needs) == len(last.needs) == 10_000
    assert len(await xqute.find(limit=100_000)) == 20_005


# Accepted whole or not at all


def cycle():
    """Calls can't be made in a circle without force; a list that is changed later is enough."""
    inside: list = []
    one = step("one", inside)
    inside.append(add(1, show(one)))
    return one


async def test_a_cycle_is_refused_by_name_and_nothing_is_stored(make, order):
    xqute = make()

    with pytest.raises(CycleError, match=r"step -> show -> add -> step|step -> add -> show -> step"):
        await xqute.push_many([step("good"), cycle()])

    await xqute.run_until_complete()
    assert await xqute.find() == []
    assert order() == []


async def test_a_bad_option_deep_in_a_tree_refuses_the_whole_tree(make):
    xqute = make()

    with pytest.raises(OptionError, match="NUL"):
        await xqute.push(step("root", cmd("echo", "a\0b")))

    assert await xqute.find() == []


async def test_a_failed_job_as_an_argument_blocks_from_the_beginning(make):
    xqute = make()
    bad = await xqute.push(fail("long ago"))
    await xqute.run_until_complete()

    job = await xqute.push(add(1, bad))

    with pytest.raises(DependencyFailed, match="long ago"):
        await job
    assert job.status is JobStatus.WAITING


# Failure


async def test_a_failing_call_leaves_its_parent_waiting_and_its_siblings_run(make, order):
    xqute = make()
    good, bad = step("good"), gated("bad")
    parent = await xqute.push(step("parent", bad, good))
    other = await xqute.push(step("other"))

    report = await xqute.run_until_complete()

    [failed] = await xqute.find(status="FAILED")
    assert states(parent, other, failed) == ["WAITING", "FINISHED", "FAILED"]
    assert parent.reason.code == "BLOCKED"
    assert str(parent.reason) == f"blocked: {failed.id} failed"
    assert order() == ["bad", "good", "other"]
    assert not report.ok
    assert report.blocked == {failed.id: 1}
    assert f"1 waiting job(s) can't start: job {failed.id} ended badly" in str(report)


async def test_a_retry_of_the_failed_call_lets_its_parents_follow(make, here, order):
    xqute = make()
    parent = await xqute.push(step("top", step("parent", gated("bad"), step("good"))))
    await xqute.run_until_complete()
    [failed] = await xqute.find(status="FAILED")

    (here / "bad.open").touch()
    await failed.retry()
    waits = str(parent.reason)
    report = await xqute.run_until_complete()

    assert waits.startswith("needs ")
    assert report.ok
    assert await parent == "top"
    assert order() == ["bad", "good", "bad", "parent", "top"]


async def test_a_retry_while_the_engine_runs_lets_those_that_await_go_on(make, here):
    xqute = make()
    async with xqute:
        parent = await xqute.push(step("parent", gated("bad")))
        with pytest.raises(DependencyFailed):
            await parent
        (here / "bad.open").touch()
        await (await xqute.get(parent.needs[0])).retry()

        assert await parent == "parent"


async def test_a_retry_that_fails_again_blocks_again(make):
    xqute = make()
    parent = await xqute.push(step("parent", gated("bad")))
    await xqute.run_until_complete()

    await (await xqute.get(parent.needs[0])).retry()
    report = await xqute.run_until_complete()

    assert parent.reason.code == "BLOCKED"
    assert report.blocked == {parent.needs[0]: 1}


async def test_automatic_retries_heal_a_tree_by_themselves(make, here):
    xqute = make(job_error_strategy="retry", job_num_retries=3, retry_delay="10ms")
    count = here / "count"
    flaky = cmd("sh", "-c", f"echo x >> '{count}'; [ $(wc -l < '{count}') -ge 3 ]")

    job = await xqute.push(step("parent").after(flaky))

    async with xqute:
        assert await job == "parent"
    assert (await xqute.get(job.needs[0])).attempt == 3


async def test_awaiting_a_blocked_job_names_the_root_cause_through_all_levels(make):
    xqute = make()
    job = await xqute.push(step("a", step("b", step("c", fail("the root of it")))))

    with pytest.raises(DependencyFailed, match=r"fail\('the root of it'\)") as caught:
        await job

    [failed] = await xqute.find(status="FAILED")
    assert caught.value.cause is failed
    assert caught.value.job is job
    assert "the root of it" in str(caught.value)
    assert isinstance(caught.value, JobFailed)


async def test_a_job_blocked_by_several_names_them_all(make):
    xqute = make()
    job = await xqute.push(step("parent", fail("one"), step("between", fail("two"))))

    await xqute.run_until_complete()

    failed = await xqute.find(status="FAILED")
    assert len(failed) == 2
    assert str(job.reason) == f"blocked: {failed[0].id}, {failed[1].id} failed"


async def test_a_killed_need_blocks_as_a_failed_one_does(make, order):
    xqute = make()
    job = await xqute.push(step("parent", held("child")))
    child = await xqute.get(job.needs[0])

    async with xqute:
        await until(lambda: "child" in order())
        assert await child.kill()
        with pytest.raises(DependencyFailed) as caught:
            await job

    assert caught.value.cause is child
    assert job.status is JobStatus.WAITING
    with pytest.raises(JobKilled):
        await child


async def test_a_blocked_job_can_be_killed(make):
    xqute = make()
    job = await xqute.push(step("parent", fail()))
    await xqute.run_until_complete()

    assert await job.kill()

    assert job.status is JobStatus.KILLED
    with pytest.raises(JobKilled):
        await job


async def test_a_killed_parent_that_is_retried_waits_again_and_runs(make, here):
    xqute = make(scheduler_forks=2)
    parent = await xqute.push(step("parent", held("child")))
    async with xqute:
        await until((here / "order").exists)
        assert await parent.kill()
        await parent.retry()
        again = parent.status
        (here / "child.open").touch()

        async with asyncio.timeout(30):
            assert await parent == "parent"

    assert again is JobStatus.WAITING


async def test_a_killed_parent_that_is_retried_while_its_need_has_failed_is_blocked_again(make, here):
    xqute = make()
    parent = await xqute.push(step("parent", gated("bad")))
    await xqute.run_until_complete()
    await parent.kill()

    await parent.retry()
    async with asyncio.timeout(30):
        with pytest.raises(DependencyFailed, match="the gate of bad is shut"):
            await parent
    (here / "bad.open").touch()
    await (await xqute.get(parent.needs[0])).retry()

    assert await parent == "parent"


async def test_a_block_that_is_left_with_blocked_jobs_ends_and_raises_nothing(make):
    async with asyncio.timeout(60):
        async with make() as xqute:
            blocked = await xqute.push(step("parent", fail()))
            good = await xqute.push(step("good"))

    assert states(blocked, good) == ["WAITING", "FINISHED"]
    assert blocked.reason.code == "BLOCKED"
    assert xqute.stop_reason is None


async def test_a_job_that_another_session_runs_is_waited_for(make, here):
    other, xqute = make(), make()
    async with other:
        theirs = await other.push(held("theirs"))
        await until((here / "order").exists)
        mine = await xqute.push(step("mine", await xqute.get(theirs.id)))
        running = asyncio.create_task(xqute.run_until_complete())
        good = await xqute.push(step("good"))
        await good
        before = mine.status
        (here / "theirs.open").touch()
        async with asyncio.timeout(60):
            report = await running

    assert before is JobStatus.WAITING
    assert report.ok
    assert await mine == "mine"


async def test_a_hook_may_push_a_tree_that_needs_the_job_it_is_told_of(make):
    pushed = []

    class Follower:
        @simplug.impl
        async def on_job_succeeded(self, scheduler, job):
            if not pushed:
                pushed.append(await xqute.push(show(job, add(job, 1))))

    xqute = make(plugins=[Follower()])
    await xqute.push(add(1, 2))

    report = await xqute.run_until_complete()

    assert report.counts == {JobStatus.FINISHED: 3}
    assert await pushed[0] == ((3, 4), {})


async def test_a_budget_of_failures_stops_a_run_with_trees(make):
    xqute = make(max_failures=2)
    trees = [await xqute.push(step("parent", fail(str(number)))) for number in range(6)]

    async with asyncio.timeout(60):
        report = await xqute.run_until_complete()

    assert xqute.stop_reason.code == "max_failures"
    assert report.counts[JobStatus.FAILED] in (2, 3)
    assert all(not tree.done() for tree in trees)


async def test_a_priority_is_that_of_the_whole_tree(make, order):
    xqute = make(scheduler_forks=1)
    low = await xqute.push(step("low", step("below")), priority=-1)
    high = await xqute.push(step("high", step("above")), priority=1)
    async with xqute:
        await asyncio.gather(low, high)

    assert order() == ["above", "high", "below", "low"]


async def test_a_halt_ends_everything_and_nothing_waits_for_ever(make, order):
    xqute = make(scheduler_forks=2, job_error_strategy="halt")
    runs = await xqute.push(held("runs"))
    parent = await xqute.push(step("parent", gated("bad")))
    later = await xqute.push(step("later"))

    report = await xqute.run_until_complete()

    assert xqute.stop_reason.code == "halt"
    assert "bad" in str(report.stop_reason)
    assert runs.status is JobStatus.KILLED
    assert parent.status in (JobStatus.WAITING, JobStatus.KILLED)
    assert later.status in (JobStatus.QUEUED, JobStatus.KILLED)
    assert "parent" not in order()
    assert "later" not in order()


async def test_as_completed_gives_blocked_jobs_too(make):
    xqute = make()
    async with xqute:
        jobs = [await xqute.push(step("blocked", fail())), await xqute.push(step("good"))]

        seen = {job async for job in xqute.as_completed(jobs)}

    assert seen == set(jobs)
    assert states(*jobs) == ["WAITING", "FINISHED"]


async def test_a_tree_with_one_bottleneck_in_the_middle_runs_whole(make):
    xqute = make(scheduler_forks=4)
    below = [cmd("true", number) for number in range(150)]
    gate = cmd("echo", "gate").after(*below)
    above = [cmd("true", "above", number).after(gate) for number in range(150)]

    await xqute.push(cmd("echo", "end").after(*above))
    report = await xqute.run_until_complete()

    assert report.counts == {JobStatus.FINISHED: 302}


# Interrupted, and run once more


def tree_of_three():
    """A step that ends, one that is held, and one that needs both."""
    return step("root", step("ended"), held("waits"))


async def test_a_tree_that_was_stopped_goes_on_and_repeats_nothing(make, order, here):
    first = make()
    async with asyncio.timeout(30):
        job = await first.push(tree_of_three())
        running = asyncio.create_task(first.run_until_complete())
        await until(lambda: "waits" in order())
        first.request_stop("enough for today")
        await running
    assert order() == ["ended", "waits"]
    (here / "waits.open").touch()

    second = make(resume=True)
    again = await second.push(tree_of_three())
    report = await second.run_until_complete()

    assert report.ok
    assert order() == ["ended", "waits", "waits", "root"]
    assert again.id == job.id
    assert await again == "root"


async def test_a_finished_tree_is_reused_whole_and_its_results_are_there(make, order):
    first = make()
    await first.push(show(add(1, 2), step("leaf")))
    await first.run_until_complete()

    second = make(resume=True)
    job = await second.push(show(add(1, 2), step("leaf")))
    report = await second.run_until_complete()

    assert job.cached
    assert await job == ((3, "leaf"), {})
    assert report.reused == 1
    assert order() == ["leaf"]
    assert job.start == 1


async def test_another_argument_deep_in_a_tree_runs_that_and_what_needs_it_only(make, here):
    def tree(number):
        return add(add(1, 1), add(number, 1))

    first = make()
    await first.push(tree(2))
    await first.run_until_complete()

    second = make(resume=True)
    job = await second.push(tree(5))

    async with second:
        assert await job == 8
    ran = (here / "add").read_text().splitlines()
    assert ran == ["(1, 1)", "(2, 1)", "(2, 3)", "(5, 1)", "(2, 6)"]


async def test_a_blocked_tree_heals_when_its_script_is_run_again(make, here, order):
    first = make()
    await first.push(step("parent", step("good"), gated("bad")))
    await first.run_until_complete()
    (here / "bad.open").touch()

    second = make(resume=True)
    job = await second.push(step("parent", step("good"), gated("bad")))
    report = await second.run_until_complete()

    assert report.ok
    assert await job == "parent"
    assert order() == ["good", "bad", "bad", "parent"]


MANAGER = """
import asyncio, os, sys
from tests.acceptance.tasks import held, step
from xqute import Xqute

async def main():
    xqute = Xqute(job_metadir=sys.argv[1], resume=True, scheduler_forks=2)
    ended = step("ended")
    root = await xqute.push(step("root", ended, held("waits", ended)))
    print((await xqute.run_until_complete()).reused, await root, flush=True)

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture
def manager(tmp_path, metadir, alive):
    """Start the script of a tree, as a program of its own."""
    script = tmp_path / "script.py"
    script.write_text(MANAGER)
    programs = []

    def start() -> subprocess.Popen:
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        program = subprocess.Popen(
            [sys.executable, script, metadir], env=environ, stdout=subprocess.PIPE, text=True
        )
        programs.append(program)
        return program

    yield start
    for program in programs:
        program.kill()
        program.communicate()


async def test_a_tree_whose_manager_was_killed_goes_on_with_the_same_script(manager, order, here):
    program = manager()
    await until(lambda: {"ended", "waits"} <= set(order()))
    program.kill()
    program.wait()

    again = manager()
    (here / "waits.open").touch()
    said, _ = await asyncio.to_thread(again.communicate, timeout=60)

    assert said.split() == ["1", "root"]
    assert sorted(order()) == ["ended", "root", "waits"]


async def test_the_history_tells_how_a_job_waited_ran_and_ended(make, here):
    xqute = make()
    parent = await xqute.push(step("parent", gated("bad")))
    await xqute.run_until_complete()
    (here / "bad.open").touch()
    failed = await xqute.get(parent.needs[0])
    await failed.retry()
    await xqute.run_until_complete()

    told = [(line.state.name, line.reason.code) for line in await parent.history()]
    assert told[0] == ("WAITING", "NEEDS")
    assert ("WAITING", "BLOCKED") in told
    assert told[-3:] == [("SUBMITTED", told[-3][1]), ("RUNNING", told[-2][1]), ("FINISHED", "EXIT")]
    dates = [line.date for line in await parent.history()]
    assert dates == sorted(dates)
    errors = [line.error for line in await failed.history() if line.error]
    assert errors == ["EXIT 1: RuntimeError: the gate of bad is shut"]
