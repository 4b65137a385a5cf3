"""A job finds out while it runs what must run first, to any depth: DepQueue's story, without its faults."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance import tasks
from tests.acceptance.conftest import run_as_user, until
from tests.acceptance.tasks import leaf, middle, step, top
from xqute import DependencyFailed, JobFailed, JobStatus, simplug

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/depqueue.py"

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def lines(here):
    """The lines of a trace."""

    def read(name: str) -> list[str]:
        path = here / name
        return path.read_text().splitlines() if path.exists() else []

    return read


# The example


@pytest.fixture
def depqueue(tmp_path):
    """Run the example in a folder of its own, as a user would."""

    def run(*arguments) -> subprocess.CompletedProcess:
        return run_as_user(EXAMPLE, *arguments, cwd=tmp_path)

    return run


def test_the_worker_runs_what_check_lists_first_and_then_the_job_itself(depqueue, tmp_path):
    ended = depqueue("--images", "4", "--forks", "2")

    assert ended.returncode == 0, ended.stderr
    said = ended.stdout.splitlines()
    assert said[:2] == [
        "job 1 (train wndchrm/images) starts",
        "job 1 (train wndchrm/images) needs the jobs 2, 3, 4, 5 first",
    ]
    assert {f"job {2 + n} (one 00{n}.img) is done" for n in range(4)} < set(said[2:-4])
    assert said[-4:-2] == [
        "job 1 (train wndchrm/images) starts again",
        "job 1 (train wndchrm/images) is done",
    ]
    assert said[-2].startswith("5 finished in ")
    assert said[-1] == "trained with 4 images"
    assert len((tmp_path / "wndchrm/images/classifier").read_text().splitlines()) == 4


def test_only_what_is_missing_is_required_the_next_time(depqueue):
    depqueue("--images", "2")

    ended = depqueue("--images", "3")

    assert "job 4 (train wndchrm/images) needs the jobs 5 first" in ended.stdout
    assert "job 5 (one 002.img) is done" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "trained with 3 images"


def test_nothing_is_required_when_nothing_is_missing(depqueue):
    depqueue("--images", "2")

    ended = depqueue("./wndchrm/program", "train", "wndchrm/images")

    assert "needs the jobs" not in ended.stdout
    assert ended.stdout.splitlines()[-1] == "trained with 2 images"


# The worker, as the document of DepQueue has it

CHECK = """#!/bin/sh
case $1 in
check) for image in "$2"/*.img; do [ -s "$image.sig" ] || echo "$image"; done ;;
one) echo "$2" >> "$HERE/ones"; [ ! -e "$2.poison" ] || exit 9; echo "signed $2" > "$2.sig" ;;
empty) : ;;
train) echo train >> "$HERE/trains"; cat "$2"/*.sig ;;
esac
"""


async def wndchrm(*argv):
    """A command of the program, after what its `check` says is missing; `one` may do nothing at all."""
    from xqute import current_job

    job = current_job()
    program, verb, *paths = argv
    if verb == "train":
        todo = await job.run([program, "check", *paths])
        await job.require(wndchrm_task(program, "one", path) for path in todo.splitlines())
    return await job.run(argv)


def wndchrm_task(*argv):
    from xqute import Call

    return Call(wndchrm, argv)


@pytest.fixture
def program(tmp_path):
    """The program, and a folder of three images."""
    path = tmp_path / "a program"
    path.write_text(CHECK)
    path.chmod(0o755)
    images = tmp_path / "my images"
    images.mkdir()
    for name in "abc":
        (images / f"{name}.img").touch()
    return path, images


async def test_a_poisoned_dependency_blocks_its_parent_and_a_retry_heals_it(make, program, lines):
    path, images = program
    (images / "b.img.poison").touch()
    xqute = make(scheduler_forks=2)
    parent = await xqute.push(wndchrm_task(str(path), "train", str(images)))
    other = await xqute.push(step("other"))

    report = await xqute.run_until_complete()
    [poisoned] = await xqute.find(status="FAILED")
    blocked = str(parent.reason)
    with pytest.raises(DependencyFailed, match=r"b\.img") as caught:
        await parent
    (images / "b.img.poison").unlink()
    await poisoned.retry()
    healed = await xqute.run_until_complete()

    assert (other.status, parent.start) == (JobStatus.FINISHED, 2)
    assert report.blocked == {poisoned.id: 1}
    assert blocked == f"blocked: {poisoned.id} failed"
    assert caught.value.cause is poisoned
    assert healed.ok
    assert (await parent).count("signed") == 3
    assert sorted(Path(line).name for line in lines("ones")) == ["a.img", "b.img", "b.img", "c.img"]
    assert lines("trains") == ["train"]


async def test_a_dependency_that_made_nothing_does_not_make_the_job_ask_for_ever(make, program, here):
    path, images = program
    path.write_text(CHECK.replace('echo "signed $2" > "$2.sig"', ":"))
    xqute = make()
    parent = await xqute.push(wndchrm_task(str(path), "train", str(images)))

    await xqute.run_until_complete()

    assert parent.status is JobStatus.FAILED  # as cat finds no signature
    assert parent.start == 2
    assert len((here / "ones").read_text().splitlines()) == 3


# Requiring, by itself


async def test_with_one_fork_a_job_gives_its_place_to_what_it_requires_three_levels_deep(make, lines):
    xqute = make(scheduler_forks=1)

    job = await xqute.push(top())

    async with xqute:
        assert await job == [30, 50]
    assert lines("top") == ["1 1 1", "1 2 1"]
    assert [line.split()[2:] for line in lines("middle")] == [["1", "1"], ["2", "1"]] * 2
    assert (job.id, job.attempt, job.start) == (1, 1, 2)


async def test_what_two_jobs_of_a_tree_require_alike_runs_once(make, lines):
    xqute = make(scheduler_forks=1)

    await xqute.push(top())
    await xqute.run_until_complete()

    assert sorted(lines("leaf")) == ["1", "2", "3"]
    assert len(await xqute.find()) == 6


@pytest.mark.parametrize("forks", [2, 4])
async def test_many_forks_make_no_duplicates_either(make, lines, forks):
    xqute = make(scheduler_forks=forks)

    jobs = await xqute.push_many([top(), top()])
    await xqute.run_until_complete()

    assert [await job for job in jobs] == [[30, 50]] * 2
    assert sorted(lines("leaf")) == sorted("123" * 2)


async def test_what_one_job_requires_again_runs_once(make, lines):
    xqute = make()

    assert await (await xqute.push(tasks.overlapping())) == [10, 20, 20, 100, 10, 10]

    # three requires, so three starts more; of two equal calls in one, the second is a job of its own
    assert [line.split()[1] for line in lines("top")] == ["1", "2", "3", "4"]
    assert sorted(lines("leaf")) == ["1", "1", "10", "2"]


async def test_what_is_required_goes_before_younger_trees(make, lines):
    xqute = make(scheduler_forks=1)
    await xqute.push(tasks.need_gated("a"))
    await xqute.push(step("younger"))

    await xqute.run_until_complete()

    assert lines("order") == ["need a", "a", "younger"]


async def test_a_required_job_that_fails_blocks_and_its_retry_heals(make, here, lines):
    xqute = make()
    job = await xqute.push(step("root", tasks.need_gated("gate")))
    report = await xqute.run_until_complete()
    [failed] = await xqute.find(status="FAILED")
    needing = await xqute.get(job.needs[0])
    states = [needing.status, needing.reason.code, job.reason.code]

    (here / "gate.open").touch()
    await failed.retry()
    healed = await xqute.run_until_complete()

    assert states == [JobStatus.WAITING, "BLOCKED", "BLOCKED"]
    assert report.blocked == {failed.id: 2}
    assert healed.ok
    assert await needing == ["gate"]
    assert lines("order") == ["need gate", "gate", "gate", "need gate", "root"]


async def test_jobs_that_require_each_other_are_refused(make):
    xqute = make()
    job = await xqute.push(tasks.ping())

    async with asyncio.timeout(60):
        await xqute.run_until_complete()

    [failed] = await xqute.find(status="FAILED")
    assert failed.reason.code == "REQUIRE_REFUSED"
    assert "waits for it" in str(failed.reason)
    assert job.status is JobStatus.WAITING
    with pytest.raises(DependencyFailed, match="waits for it"):
        await job


async def test_a_job_that_requires_another_number_for_a_limit_is_refused(make):
    xqute = make()
    await xqute.push("true", limit=("align", 1))
    job = await xqute.push(tasks.need_under_limit(2))
    well = await xqute.push(tasks.need_under_limit(1))

    await xqute.run_until_complete()

    assert str(job.reason).startswith('REQUIRE_REFUSED: limit=("align", 2): other jobs of this Xqute say 1')
    assert well.status is JobStatus.FINISHED


async def test_a_job_that_requires_itself_is_refused(make):
    xqute = make()
    job = await xqute.push(tasks.need_myself())

    await xqute.run_until_complete()

    assert job.status is JobStatus.FAILED
    assert job.reason.code == "REQUIRE_REFUSED"
    assert len(await xqute.find()) == 1


async def test_a_job_that_always_wants_something_more_ends_after_a_hundred_rounds(make, lines):
    xqute = make(scheduler_forks=2)
    job = await xqute.push(tasks.never_content())

    await xqute.run_until_complete()

    assert job.status is JobStatus.FAILED
    assert str(job.reason) == (
        "REQUIRE_REFUSED: it asked for others 100 times, and now for true 101:"
        " let each start require the same calls, without the time, random numbers or job.start in them"
    )
    assert len(lines("rounds")) == 101
    assert job.attempt == 1


async def test_a_call_that_cant_be_kept_is_refused_where_it_is_required(make):
    xqute = make()
    job = await xqute.push(tasks.need_a_lock())

    await xqute.run_until_complete()

    with pytest.raises(JobFailed, match="can't be pickled"):
        await job


async def test_a_call_that_would_not_be_known_again_is_refused_where_it_is_required(make):
    xqute = make()
    job = await xqute.push(require_what_has_no_form)

    await xqute.run_until_complete()

    with pytest.raises(JobFailed, match="would not be known again"):
        await job


class Formless:
    """Nothing says when two of them are the same."""


def require_what_has_no_form():
    from xqute import current_job

    return current_job().require([tasks.show(Formless())])


async def test_what_ended_well_in_the_tree_already_is_not_run_again_when_required(make, lines):
    xqute = make()
    job = await xqute.push(middle(1))
    more = await xqute.push(step("x").after(leaf(1), middle(1)))

    await xqute.run_until_complete()

    assert await job == 30
    assert more.status is JobStatus.FINISHED
    assert sorted(lines("leaf")) == ["1", "1", "2", "2"]  # a tree knows its own


async def test_a_job_that_was_killed_while_it_waits_for_what_it_required_is_killed(make, here, lines):
    xqute = make()
    job = await xqute.push(need_held)

    async with xqute:
        await until((here / "order").exists)
        await until(lambda: job.status is JobStatus.WAITING)
        assert await job.kill()
        (here / "held.open").touch()

    assert job.status is JobStatus.KILLED
    assert lines("order") == ["held"]
    counts = (await xqute.stats()).counts
    assert counts == {JobStatus.KILLED: 1, JobStatus.FINISHED: 1}


def need_held():
    from xqute import current_job

    return current_job().require([tasks.held("held")])


async def test_a_killed_dependency_blocks_and_its_retry_heals(make, here):
    xqute = make()
    job = await xqute.push(need_held)
    async with xqute:
        await until((here / "order").exists)
        [needed] = [await xqute.get(id_) for id_ in job.needs]
        assert await needed.kill()
        with pytest.raises(DependencyFailed):
            await job
        (here / "held.open").touch()
        await needed.retry()

        async with asyncio.timeout(30):
            assert await job == ["held"]


async def test_a_killed_job_that_is_retried_asks_anew_and_gets_what_ran_meanwhile(make, here, lines):
    xqute = make()
    job = await xqute.push(need_held)
    async with xqute:
        await until((here / "order").exists)
        assert await job.kill()
        await job.retry()
        (here / "held.open").touch()

        async with asyncio.timeout(30):
            assert await job == ["held"]

    assert lines("order") == ["held"]


async def test_a_retried_job_asks_again_and_gets_what_is_there(make, here, lines):
    xqute = make(job_error_strategy="retry", job_num_retries=1, retry_delay="10ms")
    job = await xqute.push(require_and_stumble)

    await xqute.run_until_complete()

    assert await job == [10]
    assert (job.attempt, job.start) == (2, 3)
    assert lines("leaf") == ["1"]


def require_and_stumble():
    from xqute import current_job

    job = current_job()
    got = job.require([leaf(1)])
    if job.attempt == 1:
        raise RuntimeError("stumbles once")
    return got


async def test_what_is_required_may_be_a_tree_and_a_command(make):
    xqute = make()

    job = await xqute.push(require_a_tree)

    async with xqute:
        assert await job == ["a b", 31]


async def require_a_tree():
    from xqute import cmd, current_job

    shared = leaf(1)
    return await current_job().require(
        [cmd("echo", "a", "b"), tasks.add(shared, tasks.add(shared, leaf(1), 1))]
    )


async def test_requiring_is_heard_as_an_event(make):
    heard = []

    class Ear:
        @simplug.impl
        async def on_job_event(self, scheduler, job, event):
            heard.append((job.id, event.split()[0], job.status))

    xqute = make(plugins=[Ear()])
    await xqute.push(middle(1))
    await xqute.run_until_complete()

    assert [(id_, event) for id_, event, _ in heard] == [(1, "require"), (1, "required")]


async def test_what_is_required_inherits_the_options_of_the_job_but_not_what_is_its_own(make, tmp_path):
    xqute = make()
    job = await xqute.push(
        require_a_look,
        env={"SECRET": "s"},
        cwd=tmp_path,
        tags=["deep"],
        title="the asker",
        stdout=tmp_path / "out",
    )

    async with xqute:
        assert await job == [f"s {tmp_path}"]
    below = await xqute.get(job.needs[0])
    assert (below.tags, below.title) == (("deep",), "sh -c 'echo $SECRET $PWD'")


def require_a_look():
    from xqute import cmd, current_job

    return current_job().require([cmd("sh", "-c", "echo $SECRET $PWD")])


# Interrupted


MANAGER = """
import asyncio, os
from tests.acceptance.test_depqueue import need_held
from xqute import Xqute

async def main():
    xqute = Xqute(job_metadir=os.environ["META"], resume=True)
    job = await xqute.push(need_held)
    print(await job, job.start, job.id, flush=True)

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_a_manager_killed_while_the_required_runs_leaves_nothing_to_be_done_twice(
    tmp_path, here, lines, alive
):
    (tmp_path / "manage.py").write_text(MANAGER)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "META": str(tmp_path / "meta")}
    command = [sys.executable, tmp_path / "manage.py"]

    first = await asyncio.to_thread(subprocess.Popen, command, env=environ)
    await until((here / "order").exists)
    first.kill()
    first.wait()
    (here / "held.open").touch()
    second = await asyncio.to_thread(
        subprocess.run, command, env=environ, capture_output=True, text=True, timeout=60, check=False
    )

    assert second.stdout == "['held'] 2 1\n", second.stderr
    assert lines("order") == ["held"]


async def test_a_session_that_is_stopped_while_the_required_run_goes_on_where_it_was(make, here, lines):
    first = make()
    job = await first.push(need_held)
    running = asyncio.create_task(first.run_until_complete())
    await until((here / "order").exists)
    first.request_stop("enough for today")
    await running
    (here / "held.open").touch()

    second = make(resume=True)
    again = await second.push(need_held)
    report = await second.run_until_complete()

    assert again.id == job.id
    assert report.counts[JobStatus.FINISHED] == 2
    assert await again == ["held"]
    assert lines("order") == ["held", "held"]


async def test_a_tree_with_requirements_is_reused_whole(make, lines):
    first = make()
    await first.push(top())
    await first.run_until_complete()

    second = make(resume=True)
    job = await second.push(top())
    await second.run_until_complete()

    assert job.cached
    assert await job == [30, 50]
    assert len(lines("top")) == 2


async def test_the_history_shows_each_start_and_each_wait(make):
    xqute = make()
    job = await xqute.push(middle(1))
    await xqute.run_until_complete()

    told = [(line.state.name, line.start) for line in await job.history()]
    assert [state for state, _ in told].count("RUNNING") == 2
    assert ("WAITING", 1) in told
    assert told[-1] == ("FINISHED", 2)


# From a shell


async def test_a_shell_job_requires_by_the_report_command_and_starts_again(make, here, lines):
    xqute = make(scheduler_forks=1)
    report = f"{sys.executable} -m xqute report"
    line = f"""echo "start $XQUTE_JOB_START" >> '{here}/order'
if [ ! -e '{here}/made' ]; then {report} require sh -c 'echo made > "$HERE/made"'; exit 0; fi
cat '{here}/made'"""

    job = await xqute.push(line, env={"PYTHONPATH": str(ROOT)})
    async with asyncio.timeout(60):
        await xqute.run_until_complete()

    assert await job == "made"
    assert lines("order") == ["start 1", "start 2"]
    assert (job.attempt, job.start) == (1, 2)
    assert len(job.needs) == 1
