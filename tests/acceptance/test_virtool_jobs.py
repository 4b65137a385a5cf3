"""The stories of Virtool's jobs: users, resources, limits, a history of states, cancelled and put away."""

import asyncio
import itertools

import pytest

from tests.acceptance.conftest import until
from tests.acceptance.virtool_calls import add_host, rebuild_index
from xqute import JobFailed, JobKilled, JobStatus, Xqute, XquteError

pytestmark = pytest.mark.usefixtures("here")

SECONDS = 60
#: The settings of a small server.
SERVER = {"resources": {"cpus": 8, "mem": "16G"}, "scheduler_forks": 8}


@pytest.fixture
def server(metadir, place):
    def make_one(**options) -> Xqute:
        return Xqute(place.scheduler(), **{"job_metadir": metadir, "grace": 1, **SERVER, **options})

    return make_one


@pytest.fixture
def scene(here):
    return Scene(here)


class Scene:
    """What the jobs did, and what they are told to do."""

    def __init__(self, path) -> None:
        self.path = path

    def lines(self, name: str) -> list[str]:
        file = self.path / name
        return file.read_text().splitlines() if file.exists() else []

    def began(self, host: str, step: str) -> bool:
        return f"{host} {step}" in self.lines("steps")

    def waits(self, host: str, step: str):
        """Have a job wait in a step; returns the file, without which it goes on."""
        file = self.path / f"{host}.waits in {step}"
        file.touch()
        return file

    def fails(self, host: str, step: str):
        file = self.path / f"{host}.fails in {step}"
        file.touch()
        return file

    @property
    def most(self) -> int:
        """How many were there at once."""
        return max(itertools.accumulate(1 if line[0] == "+" else -1 for line in self.lines("there")))


async def ended(*jobs) -> None:
    async with asyncio.timeout(SECONDS):
        await asyncio.wait([job.as_task() for job in jobs])


# One job


async def test_a_job_is_one_record_with_its_user_its_arguments_and_what_it_takes(server):
    async with server() as xqute:
        job = await xqute.push(add_host("Peach", "peach.fa"), user="igboyes", tags=["host"])
        await ended(job)

    assert (job.task, job.user, job.tags, job.archived) == ("add_host", "igboyes", ("host",), False)
    assert dict(job.call.options.amounts(1)) == {"cpus": 1, "mem": 4 * 2**30}
    assert job.call.options.limit == ("add_host", 2)
    assert job.title == "add_host('Peach', 'peach.fa')"
    assert job.result() == "Peach of peach.fa"


async def test_the_history_has_state_stage_progress_error_and_date_of_each_step(server):
    async with server() as xqute:
        job = await xqute.push(add_host("Peach", "peach.fa"))
        await ended(job)

    history = [line for line in await job.history() if line.stage]
    assert [(line.state.name, line.stage, round(line.progress / 100, 3), line.error) for line in history] == [
        ("RUNNING", "mk_host_dir", 0.143, ""),
        ("RUNNING", "stats", 0.286, ""),
        ("RUNNING", "bowtie_build", 0.5, ""),
        ("RUNNING", "snap_build", 0.571, ""),
        ("RUNNING", "update_db", 0.714, ""),
        ("FINISHED", "update_db", 1.0, ""),
    ]
    assert [line.date for line in history] == sorted(line.date for line in history)
    assert history[-1].date >= job.created


async def test_a_job_that_is_waiting_tells_so_from_its_first_moment(server):
    xqute = server()
    job = await xqute.push(add_host("Peach", "peach.fa"))

    [first] = await job.history()

    assert (first.state, first.stage, first.progress, first.error) == (JobStatus.QUEUED, "", None, "")


async def test_an_error_names_its_stage_and_undoes_what_was_begun(server, scene):
    scene.fails("Peach", "bowtie_build")
    async with server() as xqute:
        job = await xqute.push(add_host("Peach", "peach.fa"), user="igboyes")
        await ended(job)

    last = (await job.history())[-1]
    assert (last.state, last.stage, round(last.progress)) == (JobStatus.FAILED, "bowtie_build", 50)
    assert last.error == "EXIT 1: ValueError: bowtie_build found no sequence in Peach"
    with pytest.raises(JobFailed) as raised:
        job.result()
    assert isinstance(raised.value.__cause__, ValueError)
    assert (scene.lines("removed"), scene.lines("db")) == (["Peach"], [])
    assert not (scene.path / "host Peach").exists()


# Lists


async def test_a_list_shows_the_minimal_document_also_while_a_job_runs(server, scene):
    gate = scene.waits("Peach", "snap_build")
    async with server() as xqute:
        job = await xqute.push(add_host("Peach", "peach.fa"), user="igboyes")
        await until(lambda: scene.began("Peach", "snap_build") and job.status is JobStatus.RUNNING)
        running = job.summary()
        gate.unlink()
        await ended(job)

    minimal = {
        "id": job.id,
        "task": "add_host",
        "name": "",
        "title": "add_host('Peach', 'peach.fa')",
        "user": "igboyes",
        "tags": [],
        "cpus": 1,
        "mem": 4 * 2**30,
        "time": None,
        "archived": False,
        "created": job.created,
    }
    at_snap_build = {"state": "running", "stage": "snap_build", "progress": pytest.approx(400 / 7)}
    at_the_end = {"state": "finished", "stage": "update_db", "progress": 100.0}
    assert running == {**minimal, **at_snap_build}
    assert job.summary() == {**minimal, **at_the_end}


async def test_jobs_are_found_by_task_user_tag_and_state_from_any_process(server, scene):
    scene.fails("all", "rebuild_index")
    async with server() as xqute:
        peach = await xqute.push(add_host("Peach", "peach.fa"), user="igboyes", tags=["fruit"])
        plum = await xqute.push(add_host("Plum", "plum.fa"), user="bob", tags=["fruit"])
        index = await xqute.push(rebuild_index(), user="bob")
        await ended(peach, plum, index)
    anew = server()

    async def found(**wanted):
        return [job.id for job in await anew.find(**wanted)]

    assert await found(task="add_host") == [peach.id, plum.id]
    assert await found(user="bob") == [plum.id, index.id]
    assert await found(tag="fruit", user="igboyes") == [peach.id]
    assert await found(status="failed") == [index.id]
    assert await found(status=["failed", "killed"], task="add_host") == []
    assert [job.summary()["state"] for job in await anew.find()] == ["finished", "finished", "failed"]


async def test_an_archived_job_leaves_the_list_and_a_live_one_can_not_be_archived(server, scene):
    gate = scene.waits("Peach", "stats")
    async with server() as xqute:
        job = await xqute.push(add_host("Peach", "peach.fa"), user="igboyes")
        await until(lambda: scene.began("Peach", "stats"))
        with pytest.raises(XquteError, match="has not ended"):
            await job.archive()
        gate.unlink()
        await ended(job)
        await job.archive()

        assert await xqute.find(user="igboyes") == []
        assert await xqute.find(user="igboyes", archived=True) == [job]
    assert job.summary()["archived"] is True
    assert job.result() == "Peach of peach.fa"


# Cancelled and deleted


async def test_a_running_job_that_is_cancelled_is_killed_and_undone(server, scene, alive):
    scene.waits("Peach", "bowtie_build")
    async with server() as xqute:
        job = await xqute.push(add_host("Peach", "peach.fa"))
        await until(lambda: scene.began("Peach", "bowtie_build"))
        assert await job.kill()

    last = (await job.history())[-1]
    assert (last.state, last.stage, last.reason.code) == (JobStatus.KILLED, "bowtie_build", "KILLED")
    with pytest.raises(JobKilled):
        job.result()
    assert (scene.lines("removed"), scene.lines("db")) == (["Peach"], [])
    assert not await job.kill()  # it had ended: nothing happens


async def test_a_waiting_job_that_is_cancelled_never_begins(server, scene):
    async with server(limits={"add_host": 0}) as xqute:
        job = await xqute.push(add_host("Peach", "peach.fa"))
        await until(lambda: job.reason.code == "LIMIT")

        assert await job.kill()

    assert job.status is JobStatus.KILLED
    assert scene.lines("steps") == []


async def test_a_live_job_is_deleted_only_by_force_and_then_nothing_of_it_is_left(server, scene):
    scene.waits("Peach", "stats")
    async with server() as xqute:
        job = await xqute.push(add_host("Peach", "peach.fa"))
        await until(lambda: scene.began("Peach", "stats"))
        with pytest.raises(XquteError, match="has not ended"):
            await job.delete()
        assert job.status.live

        async with asyncio.timeout(SECONDS):
            await job.delete(force=True)

        assert job.id not in [left.id for left in await xqute.find(archived=None)]
    assert scene.lines("removed") == ["Peach"]
    assert not (xqute.metadir / str(job.id)).exists()


async def test_a_deleted_job_is_cleaned_up_after_and_the_others_stay(server, scene):
    async with server() as xqute:
        peach, plum = await xqute.push_many([add_host(name, "a.fa") for name in ("Peach", "Plum")])
        await ended(peach, plum)

        await peach.delete()

        left = [job.id for job in await xqute.find()]
        assert peach.id not in left
        assert plum.id in left
        assert await plum == "Plum of a.fa"
    assert scene.lines("removed") == ["Peach"]


# Resources and limits


async def test_no_more_of_a_task_run_at_once_than_it_says_and_the_number_is_changed_live(server, scene):
    hosts = ["Peach", "Plum", "Pear", "Apple"]
    gates = [scene.waits(host, "stats") for host in hosts]
    async with server() as xqute:
        jobs = [await xqute.push(add_host(host, "a.fa")) for host in hosts]
        await until(lambda: len(scene.lines("there")) == 2)
        await until(lambda: str(jobs[3].reason) == "limit add_host 2/2")

        await xqute.set_limit("add_host", 3)
        await until(lambda: len(scene.lines("there")) == 3)
        use = (await xqute.stats()).limits["add_host"]
        for gate in gates:
            gate.unlink()
        await ended(*jobs)

    assert (use.used, use.limit, use.available) == (3, 3, 0)
    assert scene.most == 3
    assert sorted(scene.lines("db")) == sorted(hosts)


async def test_jobs_reserve_what_they_ask_for_and_give_it_back(server, scene):
    gate = scene.waits("all", "rebuild_index")
    async with server() as xqute:
        index = await xqute.push(rebuild_index())
        fits = await xqute.push(add_host("Peach", "a.fa"))
        await until(lambda: scene.began("all", "rebuild_index"))
        await ended(fits)
        large = await xqute.push(add_host("Plum", "a.fa").options(mem="8G"))
        await until(lambda: large.reason.code == "RESOURCES")
        told, use = str(large.reason), (await xqute.stats()).resources
        gate.unlink()
        await ended(index, large)
        after = (await xqute.stats()).resources

    assert told == "needs mem 8G, free 4G"
    assert (use["cpus"].used, use["cpus"].available, use["cpus"].limit) == (2, 6, 8)
    assert (use["mem"].used, use["mem"].available, use["mem"].limit) == (12 * 2**30, 4 * 2**30, 16 * 2**30)
    assert (after["cpus"].used, after["mem"].used) == (0, 0)
    assert large.status is JobStatus.FINISHED


async def test_a_job_larger_than_the_server_fails_and_does_not_wait_for_ever(server):
    async with server() as xqute:
        job = await xqute.push(rebuild_index().options(mem="64G"))
        await ended(job)

    assert (job.status, str(job.reason)) == (JobStatus.FAILED, "TOO_LARGE: needs mem 64G, and there is 16G")


# A server that is started again


async def test_what_waited_when_the_server_went_down_runs_when_it_is_up_again(server, scene):
    async with server(limits={"add_host": 0}) as first:
        job = await first.push(add_host("Peach", "peach.fa"), user="igboyes")
        await until(lambda: job.reason.code == "LIMIT")
        first.request_stop("maintenance")
    assert (job.status, scene.lines("steps")) == (JobStatus.QUEUED, [])

    second = server(resume="all", limits={"add_host": 2})
    async with asyncio.timeout(SECONDS):
        report = await second.run_until_complete()

    [found] = await second.find(user="igboyes")
    assert report.ok
    assert (found.id, found.result(), scene.lines("db")) == (job.id, "Peach of peach.fa", ["Peach"])


async def test_a_failed_job_is_tried_again_and_keeps_the_history_of_both(server, scene):
    trouble = scene.fails("Peach", "stats")
    async with server() as xqute:
        job = await xqute.push(add_host("Peach", "peach.fa"))
        await ended(job)
        trouble.unlink()

        await job.retry()
        async with asyncio.timeout(SECONDS):
            assert await job == "Peach of peach.fa"

    told = [(line.start, line.state.name, line.stage) for line in await job.history() if line.state.final]
    assert told == [(1, "FAILED", "stats"), (2, "FINISHED", "update_db")]
