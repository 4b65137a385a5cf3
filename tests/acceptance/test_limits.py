"""Jobs that share what there is little of: resources of a process, limits of a store."""

import asyncio
import itertools
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.acceptance.conftest import until
from xqute import JobFailed, JobStatus, OptionError, cmd, task
from xqute.cli.place import Place
from xqute.rules.remedies import remedy

ROOT = Path(__file__).parents[2]

#: A job that says when it is there, and stays until a file lets it go.
STAY = 'echo "+$N" >> trace; until [ -e go ] || [ -e "go.$N" ]; do sleep 0.01; done; echo "-$N" >> trace'
#: One that is there for a moment.
PASS = 'echo "+$N" >> trace; sleep 0.05; echo "-$N" >> trace'


class Scene:
    """Where jobs leave their traces."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def lines(self) -> list[str]:
        trace = self.path / "trace"
        return trace.read_text().splitlines() if trace.exists() else []

    @property
    def there(self) -> set[str]:
        began = {line[1:] for line in self.lines if line[0] == "+"}
        return began - {line[1:] for line in self.lines if line[0] == "-"}

    @property
    def most(self) -> int:
        """How many were there at once."""
        return max(itertools.accumulate(1 if line[0] == "+" else -1 for line in self.lines))

    def go(self, name: str = "") -> None:
        (self.path / (f"go.{name}" if name else "go")).touch()

    def options(self, name: object) -> dict:
        return {"cwd": self.path, "env": {"N": name}, "title": str(name)}


@pytest.fixture
def scene(tmp_path) -> Scene:
    path = tmp_path / "scene"
    path.mkdir()
    return Scene(path)


@pytest.fixture(autouse=True)
def _no_job_stays(scene):
    yield
    scene.go()


# Limits


async def test_no_more_commands_of_a_limit_run_at_once_than_it_says(make, scene):
    xqute = make(scheduler_forks=6)
    for number in range(8):
        await xqute.push(PASS, limit=("align", 2), **scene.options(number))

    async with asyncio.timeout(60):
        report = await xqute.run_until_complete()

    assert report.ok
    assert scene.most == 2


async def test_others_run_while_a_limit_holds_some(make, scene):
    async with make(scheduler_forks=3) as xqute:
        await xqute.push(STAY, limit=("align", 1), **scene.options("first"))
        held = await xqute.push(PASS, limit=("align", 1), **scene.options("held"))
        other = await xqute.push(PASS, **scene.options("other"))
        await other

        assert held.status is JobStatus.QUEUED
        assert str(held.reason) == "limit align 1/1"
        assert "set_limit('align'" in remedy(held.status, held.reason, held.id)
        use = (await xqute.stats()).limits["align"]
        assert (use.used, use.limit, use.available) == (1, 1, 0)

        scene.go()
        await held


async def test_each_limit_in_force_is_told_with_its_number(make, scene):
    async with make(scheduler_forks=9, limits={"align": 3, "none": 0}) as xqute:
        await xqute.push(STAY, limit=("align", 9), **scene.options("a"))
        await xqute.push(STAY, limit=("sort", 2), **scene.options("b"))
        await until(lambda: len(scene.there) == 2)
        last = await xqute.push(cmd("true").after(*xqute.jobs), limit=("index", 4))

        assert {name: use[:2] for name, use in (await xqute.stats()).limits.items()} == {
            "align": (1, 3),
            "index": (0, 4),
            "none": (0, 0),
            "sort": (1, 2),
        }
        scene.go()
        await last


async def test_a_job_that_would_not_start_with_a_free_fork_says_why_from_everywhere(make, metadir, scene):
    """Not that it waits for a fork: with one it would wait all the same."""
    async with make(scheduler_forks=2, resources={"cpus": 2}) as xqute:
        await xqute.push(STAY, limit=("align", 1), **scene.options("first"))
        await xqute.push(STAY, cpus=2, **scene.options("second"))
        await until(lambda: len(scene.there) == 2)
        plain = await xqute.push(PASS, **scene.options("plain"))
        limited = await xqute.push(PASS, limit=("align", 1), **scene.options("limited"))
        large = await xqute.push(PASS, cpus=1, **scene.options("large"))

        said = ["waits for a free fork, 2/2 are in use", "limit align 1/1", "needs cpus 1, free 0"]
        assert [str(job.reason) for job in (plain, limited, large)] == said
        place, seen = Place(str(metadir), None), [""] * 3
        async with asyncio.timeout(60), place.reading() as store:
            while [text.partition(":")[0] for text in seen] != said:  # the store is told a moment later
                await asyncio.sleep(0.01)
                seen = [str((await place.find(store, job.id))[1].reason) for job in (plain, limited, large)]
        scene.go()


async def test_a_retry_that_is_due_says_that_it_waits_for_a_fork(make, scene):
    async with make(scheduler_forks=1) as xqute:
        again = await xqute.push("exit 3", retries=1, retry_delay=0.1, **scene.options("again"))
        other = await xqute.push(STAY, **scene.options("other"))
        await until(lambda: again.reason.code == "FORKS")

        assert str(again.reason) == "waits for a free fork, 1/1 are in use"
        scene.go()
        await other

    assert again.attempt == 2


async def test_a_limit_holds_for_two_producers_of_one_store(make, scene):
    one, two = make(scheduler_forks=4), make(scheduler_forks=4)
    for number in range(12):
        xqute = (one, two)[number % 2]
        await xqute.push(PASS, limit=("align", 3), **scene.options(number))

    async with asyncio.timeout(60):
        reports = await asyncio.gather(one.run_until_complete(), two.run_until_complete())

    assert all(report.ok for report in reports)
    assert len(scene.lines) == 24
    assert scene.most <= 3


PRODUCER = """
    import asyncio, sys
    from xqute import Xqute

    async def main():
        xqute = Xqute(job_metadir=sys.argv[1], scheduler_forks=4, limits={{"align": 2}})
        for number in range(6):
            name = f"{{sys.argv[2]}}.{{number}}"
            await xqute.push({job!r}, limit=("align", 9), cwd={path!r}, env={{"N": name}})
        assert (await xqute.run_until_complete()).ok

    asyncio.run(main())
"""


@pytest.fixture
def producer(scene, metadir, tmp_path):
    """Start a process that pushes jobs under a limit of two, and runs them."""
    started = []

    def start(job: str, name: str, crash: str = "") -> subprocess.Popen:
        script = tmp_path / "producer.py"
        script.write_text(textwrap.dedent(PRODUCER.format(job=job, path=str(scene.path))))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XQUTE_CRASH_AT": crash}
        started.append(subprocess.Popen([sys.executable, script, metadir, name], env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_limit_holds_for_two_processes_of_one_store(scene, producer):
    both = [producer(PASS, name) for name in ("one", "two")]
    codes = [process.wait(timeout=60) for process in both]

    assert codes == [0, 0]
    assert len(scene.lines) == 24
    assert scene.most <= 2


async def test_a_limit_is_changed_while_jobs_run(make, scene):
    async with make(scheduler_forks=9, limits={"align": 1}) as xqute:
        for number in range(4):
            await xqute.push(STAY, limit=("align", 9), **scene.options(number))
        await until(lambda: len(scene.there) == 1)

        await xqute.set_limit("align", 3)
        await until(lambda: len(scene.there) == 3)
        use = (await xqute.stats()).limits["align"]
        assert (use.used, use.limit, use.available) == (3, 3, 0)

        await xqute.set_limit("align", 1)
        scene.go("0")
        await xqute.jobs[0]
        assert str(xqute.jobs[3].reason) in {"limit align 3/3", "limit align 2/1"}
        await xqute.set_limit("align", None)
        await until(lambda: len(scene.there) == 3)
        scene.go()

    assert [job.status for job in xqute.jobs] == [JobStatus.FINISHED] * 4


async def test_a_limit_of_none_at_all_is_a_pause(make, scene):
    other = make()
    async with make(limits={"align": 0}) as xqute:
        job = await xqute.push(PASS, limit=("align", 2), **scene.options("paused"))
        await until(lambda: str(job.reason) == "limit align 0/0")

        await other.set_limit("align", 1)  # as another process would
        async with asyncio.timeout(30):
            await job
    await other.run_until_complete()


@task(limit=1)
def alone(name: str) -> str:
    return name


@task
def cut(name: str) -> str:
    return name


async def test_two_numbers_for_one_limit_are_refused_and_both_are_named(make, scene):
    async with make(scheduler_forks=9) as xqute:
        await xqute.push(STAY, limit=("align", 1), **scene.options("first"))
        for push in (
            xqute.push(PASS, limit=("align", 3), **scene.options("other")),
            xqute.push_many([cmd("true").options(limit=("sort", 2)), cmd("true").options(limit=("sort", 5))]),
        ):
            with pytest.raises(OptionError, match="a limit has one number") as refused:
                await push
        await xqute.push(PASS, limit=("sort", 5), **scene.options("sorted"))  # what was refused says nothing
        held = await xqute.push(PASS, limit=("align", 1), **scene.options("held"))
        await until(lambda: str(held.reason) == "limit align 1/1")

        assert str(refused.value).startswith('limit=("sort", 5): other jobs of this Xqute say 2, ')
        assert 'await xq.set_limit("sort", 5)' in str(refused.value)
        assert (await xqute.stats()).limits["align"].limit == 1
        assert len(xqute.jobs) == 3
        scene.go()


async def test_a_number_that_is_set_goes_before_whatever_jobs_say(make, scene):
    async with make(scheduler_forks=9) as xqute:
        await xqute.push(STAY, limit=("align", 1), **scene.options("a"))
        await xqute.set_limit("align", 2)
        await xqute.push(STAY, limit=("align", 3), **scene.options("b"))
        held = await xqute.push(PASS, limit=("align", 1), **scene.options("c"))
        await until(lambda: str(held.reason) == "limit align 2/2")

        assert (await xqute.stats()).limits["align"].limit == 2
        scene.go()


async def test_a_number_that_a_script_says_anew_counts_for_what_is_left_of_its_run_too(make, scene):
    first = make()
    await first.push(STAY, limit=("align", 1), **scene.options("a"))
    await first.push(STAY, limit=("align", 1), **scene.options("b"))
    await first._driver.close()

    async with make(scheduler_forks=9, resume="all") as second:
        await second.push(STAY, limit=("align", 2), **scene.options("c"))
        await until(lambda: len(scene.there) == 2)
        [held] = [job for job in await second.find() if job.title not in scene.there]
        await until(lambda: str(held.reason) == "limit align 2/2")

        assert (await second.stats()).limits["align"].limit == 2
        scene.go()

    assert scene.most == 2


async def test_the_limit_of_a_task_has_its_name(make):
    async with make(scheduler_forks=4) as xqute:
        jobs = await xqute.push_many([alone("a"), alone("b"), cut("c")])

        assert [job.call.options.limit for job in jobs] == [("alone", 1), ("alone", 1), None]
        assert [await job for job in jobs] == ["a", "b", "c"]


async def test_a_limit_may_be_given_for_a_task_that_says_nothing(make):
    async with make(limits={"cut": 1}) as xqute:
        job = await xqute.push(cut("c"))

        assert job.call.options.limit == ("cut", 0)
        assert await job == "c"


async def test_a_limit_without_a_name_is_refused_where_there_is_no_task(make):
    xqute = make()

    with pytest.raises(OptionError, match='limit=2 of what is no task needs a name: limit=\\("align", 2\\)'):
        await xqute.push("true", limit=2)
    with pytest.raises(OptionError, match="limits='align' must be a mapping"):
        make(limits="align")
    with pytest.raises(OptionError, match="must not be negative"):
        await xqute.set_limit("align", -1)


# Resources


async def test_jobs_start_when_what_they_ask_for_is_free(make, scene):
    async with make(scheduler_forks=9, resources={"cpus": 4, "mem": "8G"}) as xqute:
        big = await xqute.push(STAY, cpus=3, mem="2G", **scene.options("big"))
        held = await xqute.push(PASS, cpus=2, **scene.options("held"))
        small = await xqute.push(PASS, cpus=1, mem="6G", **scene.options("small"))
        await small

        assert held.status is JobStatus.QUEUED
        assert str(held.reason) == "needs cpus 2, free 1"
        assert remedy(held.status, held.reason, held.id).startswith("wait, or ask for less")
        use = (await xqute.stats()).resources
        assert (use["cpus"].used, use["cpus"].available, use["cpus"].limit) == (3, 1, 4)
        assert use["mem"].used == 2 * 2**30

        scene.go()
        await held
        await big
        assert (await xqute.stats()).resources["cpus"].used == 0


async def test_memory_that_is_missing_reads_as_people_write_it(make, scene):
    async with make(scheduler_forks=9, resources={"mem": "20G"}) as xqute:
        await xqute.push(STAY, mem="16G", **scene.options("first"))
        held = await xqute.push(PASS, mem="16G", **scene.options("held"))
        await until(lambda: held.reason.code == "RESOURCES")

        assert str(held.reason) == "needs mem 16G, free 4G"
        scene.go()


async def test_what_is_not_declared_is_not_counted(make, scene):
    xqute = make(scheduler_forks=3)
    for number in range(3):
        await xqute.push(STAY, cpus=1000, resources={"licence": 7}, **scene.options(number))

    async with asyncio.timeout(60):
        running = asyncio.ensure_future(xqute.run_until_complete())
        await until(lambda: len(scene.there) == 3)
        scene.go()
        assert (await running).ok


async def test_resources_of_any_name_are_counted(make, scene):
    xqute = make(scheduler_forks=9, resources={"licence": 2})
    for number in range(6):
        await xqute.push(PASS, resources={"licence": 1}, **scene.options(number))

    async with asyncio.timeout(60):
        assert (await xqute.run_until_complete()).ok

    assert scene.most == 2


async def test_a_job_larger_than_what_is_there_fails_and_says_so(make, scene):
    xqute = make(resources={"mem": "16G"})
    large = await xqute.push(PASS, mem="64G", **scene.options("large"))
    small = await xqute.push(PASS, mem="16G", **scene.options("small"))

    async with asyncio.timeout(60):
        await xqute.run_until_complete()

    assert (large.status, small.status) == (JobStatus.FAILED, JobStatus.FINISHED)
    assert str(large.reason) == "TOO_LARGE: needs mem 64G, and there is 16G"
    assert "resources= of Xqute" in remedy(large.status, large.reason, large.id)
    with pytest.raises(JobFailed, match="TOO_LARGE"):
        await large


async def test_a_job_that_is_too_large_fails_while_all_forks_are_in_use(make, scene, place):
    async with make(scheduler=place.scheduler(), scheduler_forks=2, resources={"mem": "16G"}) as xqute:
        await xqute.push_many([STAY] * 30, **scene.options("others"))
        await until(lambda: sum(job.status.live for job in xqute.jobs) == 2)
        large = await xqute.push(PASS, mem="64G", priority=-1, **scene.options("large"))

        assert str(large.reason) == "TOO_LARGE: needs mem 64G, and there is 16G"
        await until(large.done)
        assert large.status is JobStatus.FAILED
        assert not any(job.status.final for job in xqute.jobs[:-1])
        scene.go()


async def test_a_job_that_is_too_large_says_so_before_it_is_awaited(make, metadir):
    xqute = make(resources={"mem": "16G"})
    large = await xqute.push(PASS, mem="64G")
    looking = Place.of(metadir, None)
    async with looking.reading() as store:
        _, seen = await looking.find(store, large.id)

    assert str(large.reason) == str(seen.reason) == "TOO_LARGE: needs mem 64G, and there is 16G"
    await xqute.run_until_complete()


async def test_what_is_left_of_a_run_and_too_large_now_fails_while_all_forks_are_in_use(make, scene, place):
    first = make(scheduler=place.scheduler(), scheduler_forks=1)
    await first.push(STAY, mem="1G", **scene.options("other"))
    await first.push(PASS, mem="64G", **scene.options("large"))
    await first._driver.close()

    there = {"scheduler": place.scheduler(), "scheduler_forks": 1, "resources": {"mem": "16G"}}
    async with make(resume=True, **there) as second:
        await second.push(STAY, mem="1G", **scene.options("other"))
        await until(lambda: scene.there == {"other"})
        large = await second.push(PASS, mem="64G", **scene.options("large"))
        await until(large.done)

        assert large.id == first.jobs[1].id
        assert large.reason.code == "TOO_LARGE"
        scene.go()


async def test_many_jobs_that_are_too_large_all_fail(make):
    xqute = make(scheduler_forks=2, resources={"cpus": 2})
    jobs = await xqute.push_many([["true"]] * 250, cpus=3)

    async with asyncio.timeout(60):
        report = await xqute.run_until_complete()

    assert report.counts == {JobStatus.FAILED: 250}
    assert {job.reason.code for job in jobs} == {"TOO_LARGE"}


async def test_a_big_job_is_not_passed_for_ever(make, scene):
    """Small jobs without end would keep it from starting; after max_wait what it needs is kept for it."""
    order = []
    async with make(scheduler_forks=4, resources={"cpus": 2}, max_wait=0.2) as xqute:
        await xqute.push(STAY, cpus=1, **scene.options("first"))
        await until(lambda: scene.there == {"first"})
        big = await xqute.push(PASS, cpus=2, **scene.options("big"))
        late = None
        for number in itertools.count():
            small = await xqute.push(PASS, cpus=1, **scene.options(number))
            order.append(small)
            await until(lambda job=small: job.done() or "message" in job.reason.detail)
            if not small.done():
                late = small
                break

        assert late.reason.code == "RESOURCES"
        assert f"is kept for job {big.id}, which goes first" in str(late.reason)
        assert len(order) > 1  # at first, small ones passed it
        scene.go("first")
        await asyncio.gather(big, late)

    began = [line[1:] for line in scene.lines if line[0] == "+"]
    assert began.index("big") < began.index(late.title)


async def test_memory_grows_with_the_attempt(make, scene):
    line = 'echo "$XQUTE_JOB_ATTEMPT" >> attempts; [ "$XQUTE_JOB_ATTEMPT" = 3 ]'
    async with make(scheduler_forks=2, resources={"mem": "16G"}) as xqute:
        job = await xqute.push(
            line, mem=lambda attempt: f"{2 * 2**attempt}G", retries=2, retry_delay=0, cwd=scene.path
        )
        await job

    assert [job.call.options.amounts(attempt)["mem"] / 2**30 for attempt in (1, 2, 3, 4)] == [4, 8, 16, 16]
    assert (scene.path / "attempts").read_text().split() == ["1", "2", "3"]


async def test_an_attempt_that_grows_too_large_fails_the_job(make, scene):
    xqute = make(resources={"mem": "8G"})
    job = await xqute.push("exit 3", mem=lambda attempt: f"{4 * 2**attempt}G", retries=3, retry_delay=0)

    async with asyncio.timeout(60):
        await xqute.run_until_complete()

    assert (job.status, job.attempt) == (JobStatus.FAILED, 2)
    assert str(job.reason) == "TOO_LARGE: needs mem 16G, and there is 8G"


async def test_a_retry_that_has_no_room_says_so(make, scene):
    async with make(scheduler_forks=2, resources={"mem": 4}) as xqute:
        grows = await xqute.push(
            "exit 3", mem=lambda attempt: 2 * attempt, retries=1, retry_delay=0.1, **scene.options("grows")
        )
        await xqute.push(STAY, mem=2, **scene.options("other"))
        await until(lambda: grows.reason.code == "RESOURCES")

        assert str(grows.reason) == "needs mem 4, free 2"
        scene.go()

    assert (grows.status, grows.attempt) == (JobStatus.FAILED, 2)


async def test_what_a_job_asks_for_when_it_is_pushed_again_counts(make):
    first = make(resources={"mem": "4G"})
    await first.push("exit 3", mem="1G")
    await first.run_until_complete()

    second = make(resources={"mem": "4G"}, resume=True)
    job = await second.push("exit 3", mem="8G")
    await second.run_until_complete()

    assert job.id == first.jobs[0].id
    assert str(job.reason) == "TOO_LARGE: needs mem 8G, and there is 4G"


async def test_xqute_why_tells_of_a_limit_from_any_process(make, scene, metadir):
    pytest.importorskip("rich_click")
    async with make(scheduler_forks=4, resources={"cpus": 4}) as xqute:
        await xqute.push(STAY, limit=("align", 1), **scene.options("first"))
        held = await xqute.push(PASS, limit=("align", 1), cpus=2, mem="2G", **scene.options("held"))
        await until(lambda: held.reason.code == "LIMIT")

        why, show = [
            await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-m", "xqute", command, str(held.id), "--metadir", metadir],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=True,
            )
            for command in ("why", "show")
        ]
        scene.go()

    assert "is QUEUED: limit align 1/1" in why.stdout
    assert "set_limit" in why.stdout
    assert "cpus 2, mem 2G" in show.stdout
    assert "at most 1 of align" in show.stdout


PUSHED = """
    import asyncio, sys
    from xqute import Xqute

    async def main():
        xqute = Xqute(job_metadir=sys.argv[1], scheduler_forks=4, resources={{"cpus": 2}})
        for number in range(4):
            await xqute.push({job!r}, cpus=2, cwd={path!r}, env={{"N": number}})

    asyncio.run(main())
"""


def test_a_run_that_is_resumed_by_hand_has_the_resources_it_had(scene, metadir, tmp_path):
    pytest.importorskip("rich_click")
    script = tmp_path / "pushed.py"
    script.write_text(textwrap.dedent(PUSHED.format(job=PASS, path=str(scene.path))))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-W", "ignore", script, metadir], env=environment, check=True)
    assert scene.lines == []

    command = [sys.executable, "-m", "xqute", "resume", "--metadir", metadir]
    subprocess.run(command, env=environment, check=True, capture_output=True)

    assert len(scene.lines) == 8
    assert scene.most == 1


async def test_the_report_says_how_much_was_in_use_at_most(make, scene):
    xqute = make(scheduler_forks=4, resources={"cpus": 4, "mem": "8G"})
    for number in range(4):
        await xqute.push(PASS, cpus=2, mem="1G", **scene.options(number))

    report = await xqute.run_until_complete()

    cpus, mem = report.resources["cpus"], report.resources["mem"]
    assert (cpus.used, cpus.available, cpus.limit, cpus.peak) == (0, 4, 4, 4)
    assert (mem.used, mem.limit, mem.peak) == (0, 8 * 2**30, 2 * 2**30)
    assert "in use at most: cpus 4 of 4, mem 2G of 8G" in str(report).splitlines()


async def test_the_report_of_a_process_without_resources_tells_nothing_of_them(make):
    xqute = make()
    await xqute.push(["true"], cpus=2)

    report = await xqute.run_until_complete()

    assert report.resources == {}
    assert "in use" not in str(report)


async def test_a_limit_held_by_a_killed_managers_job_says_so_until_its_run_is_resumed(make, scene, producer):
    process = producer(STAY, "one")
    await until(lambda: len(scene.there) == 2)
    process.kill()
    process.wait()
    xqute = make(scheduler_forks=4)
    await xqute.find()
    [run] = await xqute._store.runs()
    async with xqute:
        held = await xqute.push(PASS, limit=("align", 2), **scene.options("held"))
        await until(lambda: "gone" in str(held.reason))

        told = str(held.reason)
        scene.go()
        assert (await make(scheduler_forks=4, resume="all", run=run.id).run_until_complete()).ok
        await held

    assert re.fullmatch(
        rf"limit align 2/2: held by jobs \d+, \d+ of run {run.id}, whose manager is gone: "
        rf"`xqute resume {run.id}`",
        told,
    )


async def test_a_killed_manager_leaves_no_limit_taken_behind_it(make, scene, producer):
    """What it had claimed and not handed over is chosen anew; what ran counts until it is gone."""
    process = producer(STAY, "one")
    await until(lambda: len(scene.there) == 2)
    process.kill()
    process.wait()
    scene.go()
    xqute = make(scheduler_forks=4)
    run = (await xqute.find())[0]

    again = make(scheduler_forks=4, resume="all", run=(await xqute._store.runs())[0].id)
    report = await again.run_until_complete()

    assert run.id == 1
    assert report.ok
    assert (await xqute._store.claimed()) == {}


@pytest.mark.parametrize(
    "point", ["before jobs are claimed", "after jobs are claimed", "after a change is recorded"]
)
async def test_a_manager_that_dies_around_a_claim_leaves_its_limits_right(make, scene, producer, point):
    process = producer(PASS, "one", crash=point)
    await asyncio.to_thread(process.wait)
    assert process.returncode != 0
    xqute = make()
    [job, *_] = await xqute.find()
    [run] = await xqute._store.runs()

    # the commands that were not pushed yet will not be
    report = await make(scheduler_forks=4, resume="all", run=run.id).run_until_complete()

    assert report.ok
    assert job.id == 1
    assert scene.most <= 2
    assert dict(await xqute._store.claimed()) == {}


async def test_priority_decides_among_jobs_that_fit(make, scene):
    xqute = make(scheduler_forks=1, resources={"cpus": 1})
    for number in range(3):
        await xqute.push(PASS, cpus=1, priority=number, **scene.options(number))

    async with asyncio.timeout(60):
        await xqute.run_until_complete()

    assert [line for line in scene.lines if line[0] == "+"] == ["+2", "+1", "+0"]


async def test_jobs_that_share_something_are_not_passed_by_those_that_do_not(make, scene):
    """Plain jobs are claimed ahead of the forks; one that shares something is not left behind by that."""
    xqute = make(scheduler_forks=2, resources={"cpus": 2})
    await xqute.push_many([["true"]] * 40)
    shared = await xqute.push(["true"], cpus=1)
    later = await xqute.push_many([["true"]] * 40)

    async with asyncio.timeout(60):
        assert (await xqute.run_until_complete()).ok

    assert shared.submitted <= min(job.submitted for job in later)


async def test_a_call_inside_another_has_options_of_its_own(make):
    async with make(resources={"cpus": 2}) as xqute:
        job = await xqute.push(cut(cut("x").options(cpus=2)), resources={"other": 1})
        await job

        [inner] = [await xqute.get(id_) for id_ in job.needs]
        assert dict(inner.call.options.amounts(1)) == {"cpus": 2, "other": 1}
        assert dict(job.call.options.amounts(1)) == {"other": 1}


async def test_mistakes_are_told_where_they_are_made(make):
    xqute = make()
    mistakes = {
        "mem='lots' is no size": {"mem": "lots"},
        "cpus=-1 must be a number": {"cpus": -1},
        "resources: 'mem' is an option of its own": {"resources": {"mem": 1}},
        "resources='x' must be a mapping": {"resources": "x"},
        "mem= is a function that raised for attempt 1: ZeroDivisionError": {"mem": lambda attempt: 1 / 0},
        "mem of attempt 1='no' is no size": {"mem": lambda attempt: "no"},
        "limit=0 must be a whole number above 0": {"limit": 0},
    }
    for words, options in mistakes.items():
        with pytest.raises(OptionError, match=words):
            await xqute.push(["true"], **options)
    with pytest.raises(OptionError, match="resources\\['cpus'\\]='many' must be a number"):
        make(resources={"cpus": "many"})
