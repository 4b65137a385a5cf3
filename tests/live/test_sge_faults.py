"""What goes wrong at a real Grid Engine: limits, hands of others, and a master that is away."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from tests.acceptance import tasks
from tests.live.clusters import (
    DEAF,
    SECONDS,
    held,
    ran,
    run,
    standing_still,
    stop_all,
    trying_twice,
    until,
    without,
)
from xqute import JobStatus, Xqute
from xqute.schedulers.sge import SgeScheduler
from xqute.testing import toyprocs

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("sge_clients")]


@pytest.fixture
def make(tmp_path):
    def make(**options):
        return trying_twice(SgeScheduler(scheduler_rate=None, **options), tmp_path, grace=2.0)

    return make


def sleeper(here, then="sleep 60"):
    """A command that says that it runs, each time it does."""
    return f"echo $$ >>'{here}/ran'; {then}"


@contextlib.contextmanager
def configured(**settings):
    """The configuration of the cell, changed for a while."""
    before = run("qconf", "-sconf").partition("\n")[2]
    lines = [line for line in before.splitlines() if line.partition(" ")[0] not in settings]
    path = Path(os.environ["SGE_ROOT"]).parent / "changed" / "global"
    path.parent.mkdir(exist_ok=True)
    try:
        path.write_text("\n".join([*lines, *(f"{name} {value}" for name, value in settings.items()), ""]))
        run("qconf", "-Mconf", path)
        yield
    finally:
        path.write_text(before)
        run("qconf", "-Mconf", path)


def master():
    """The pid of the master."""
    return int((Path(os.environ["SGE_ROOT"]).parent / "spool/qmaster/qmaster.pid").read_text())


def state_of(job):
    """What its list says of a job."""
    states = [row.split()[4] for row in run("qstat").splitlines() if row.split()[0] == job.uid]
    return states[0] if states else ""


def shepherd_of(wrapper):
    """The process that watches a job for it."""
    shepherd = int(Path(f"/proc/{wrapper}/stat").read_text().rpartition(")")[2].split()[1])
    assert Path(f"/proc/{shepherd}/comm").read_text() == "sge_shepherd\n"
    return shepherd


async def test_a_job_that_runs_too_long_for_its_queue_is_a_timeout_and_was_asked_before(make, tmp_path):
    xq = make(sge_l=["h_rt=2"])
    asked = tmp_path / "asked"
    polite = await xq.push(
        sleeper(tmp_path, f"trap \"echo >'{asked}'; exit 5\" TERM; sleep 60 & wait"), retries=0
    )
    deaf = await xq.push(sleeper(tmp_path, DEAF), retries=0)
    async with asyncio.timeout(SECONDS):
        await xq.run_until_complete()

    assert asked.exists()
    assert {(job.status, job.reason.code) for job in (polite, deaf)} == {(JobStatus.FAILED, "TIMEOUT")}
    assert {job.reason.detail["timeout"] for job in (polite, deaf)} == {"2"}


async def test_a_soft_limit_of_time_is_a_timeout_and_asks(make, tmp_path):
    xq = make(sge_l="s_rt=2")
    asked = tmp_path / "asked"
    line = f"trap \"echo >'{asked}'; exit 143\" TERM; sleep 60 & wait"
    job = await xq.push(sleeper(tmp_path, line), retries=0)
    async with asyncio.timeout(SECONDS):
        await xq.run_until_complete()

    assert asked.exists()
    assert (job.status, job.reason.code, job.reason.detail["timeout"]) == (JobStatus.FAILED, "TIMEOUT", "2")


async def test_a_job_that_is_suspended_goes_on_as_if_nothing_had_been(make, tmp_path):
    """It is told by USR1, of which a command would die that does not know it."""
    xq = make()
    job = await xq.push(sleeper(tmp_path, held(tmp_path)))
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: ran(tmp_path) and job.uid)
        run("qmod", "-sj", job.uid)
        pid = ran(tmp_path)[0]
        await until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        run("qmod", "-usj", job.uid)
        (tmp_path / "go").touch()

    assert (job.status, job.start, len(ran(tmp_path))) == (JobStatus.FINISHED, 1, 1)


async def test_a_kill_that_reaches_nobody_is_not_said_to_be_over(make, tmp_path):
    """A host whose daemon is gone is told nothing: the job was asked to stop, and runs on."""
    xq = make()
    job = await xq.push(sleeper(tmp_path, held(tmp_path)))
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: ran(tmp_path) and job.status is JobStatus.RUNNING)
        with without("sge", "execd-kill", "execd-start"):
            killing = asyncio.create_task(job.kill(grace=1))
            await until(lambda: state_of(job).startswith("d"))
            await asyncio.wait([killing], timeout=3)
            lived = [job.status, killing.done(), bool(toyprocs.since(int(ran(tmp_path)[0])))]
            (tmp_path / "go").touch()
            assert not await killing  # it had ended before

    assert lived == [JobStatus.KILLING, False, True]
    assert job.status is JobStatus.FINISHED


async def test_a_job_that_takes_more_memory_than_it_may_is_out_of_memory(make, tmp_path):
    """It counts that of all its processes: each of these has less than the limit."""
    xq = make(sge_l="h_vmem=120M")
    eat = "for i in 1 2; do { head -c 80000000 /dev/zero; sleep 60; } | tail >/dev/null & done; wait"
    job = await xq.push(sleeper(tmp_path, eat), retries=0)
    async with asyncio.timeout(SECONDS):
        await xq.run_until_complete()

    assert (job.status, job.reason.code) == (JobStatus.FAILED, "OOM")
    assert "of h_vmem=120M" in str(job.reason)


async def test_a_job_whose_watcher_died_is_lost_in_its_words(make, tmp_path):
    """Nobody ends its processes then: that a new start may find them alive is said in the guide."""
    xq = make()
    job = await xq.push(sleeper(tmp_path), retries=0)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: ran(tmp_path) and job.status is JobStatus.RUNNING)
        wrapper = int(job.status_file.read_text().split()[1])
        os.kill(shepherd_of(wrapper), signal.SIGKILL)
        await asyncio.wait([job.as_task()])
    left = [int(pid) for pid in ran(tmp_path) if toyprocs.since(int(pid))]
    toyprocs.send([wrapper, *left], signal.SIGKILL)

    assert (job.status, job.reason.code) == (JobStatus.FAILED, "LOST")
    assert "failed 19" in str(job.reason)


@pytest.mark.parametrize("several", [1, 3])
@pytest.mark.parametrize("then", ["sleep 60", DEAF], ids=["polite", "deaf"])
async def test_a_job_that_was_deleted_by_hand_says_so_and_is_not_tried_again(make, tmp_path, several, then):
    xq = make()
    jobs = await xq.push_many([sleeper(tmp_path, then)] * several)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: len(ran(tmp_path)) == several and jobs[0].uid)
        run("qdel", jobs[0].uid)
        await asyncio.wait([jobs[0].as_task()])
        others = [job.status for job in jobs[1:]]
        for job in jobs[1:]:
            await job.kill()

    assert jobs[0].status is JobStatus.FAILED
    assert str(jobs[0].reason).startswith("KILLED by qdel")
    assert (jobs[0].attempt, set(others) <= {JobStatus.RUNNING}) == (1, True)


async def test_a_job_in_error_waits_with_its_reason_and_can_be_killed(make, tmp_path):
    xq = make(sge_wd="/nowhere/at/all")
    job = await xq.push(sleeper(tmp_path))
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: "Eqw (error" in str(job.reason))
        said = str(job.reason)
        assert await job.kill()

    assert job.status is JobStatus.KILLED
    assert f"qstat -j {job.uid}" in said
    assert ran(tmp_path) == []


async def test_a_wrapper_that_is_killed_on_its_host_is_an_end(make, tmp_path):
    xq = make()
    job = await xq.push(sleeper(tmp_path))
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: ran(tmp_path) and job.status is JobStatus.RUNNING)
        wrapper = int(job.status_file.read_text().split()[1])
        os.kill(wrapper, signal.SIGKILL)
        await asyncio.wait([job.as_task()])

    assert job.status is JobStatus.FAILED
    assert "a signal on its host" in str(job.reason)
    await until(lambda: not any(toyprocs.since(int(pid)) for pid in ran(tmp_path)))


@pytest.mark.parametrize("rc", [99, 100])
async def test_return_codes_that_mean_something_to_it_mean_nothing_to_a_job(make, tmp_path, rc):
    xq = make()
    job = await xq.push(sleeper(tmp_path, f"exit {rc}"), retries=0)
    async with asyncio.timeout(SECONDS):
        await xq.run_until_complete()

    assert (job.status, job.rc, len(ran(tmp_path))) == (JobStatus.FAILED, rc, 1)
    await until(lambda: f" {job.uid} " not in run("qstat"))


async def test_arrays_are_no_larger_than_it_takes(make, tmp_path):
    with configured(max_aj_tasks=5):
        xq = make()
        await xq.push_many([sleeper(tmp_path, "true")] * 12)
        async with asyncio.timeout(SECONDS):
            report = await xq.run_until_complete()

    assert report.ok
    assert len(ran(tmp_path)) == 12
    assert xq.scheduler.commands["qsub"] == 3


async def test_more_jobs_than_a_user_may_have_wait_for_the_others(make, tmp_path):
    with configured(max_u_jobs=2):
        xq = make(scheduler_array_limit=1)
        jobs = await xq.push_many([sleeper(tmp_path, "sleep 0.2")] * 5)
        async with asyncio.timeout(SECONDS):
            report = await xq.run_until_complete()

    assert report.ok
    assert {(job.start, job.attempt) for job in jobs} == {(1, 1)}
    assert len(ran(tmp_path)) == 5


async def test_what_it_refuses_is_said_in_its_words(make):
    xq = make(sge_q="nowhere")
    jobs = await xq.push_many([["true"]] * 3)
    async with asyncio.timeout(SECONDS):
        await xq.run_until_complete()

    assert {job.reason.code for job in jobs} == {"SUBMIT_REFUSED"}
    assert 'requests unknown queue "nowhere"' in str(jobs[0].reason)


async def test_a_line_of_a_command_is_no_directive(make, tmp_path):
    xq = make()
    job = await xq.push(["printf", "%s", "a\n#$ -l nosuch=1\n#$ -N evil"])
    async with asyncio.timeout(SECONDS), xq:
        assert await job == "a\n#$ -l nosuch=1\n#$ -N evil"


async def test_jobs_outlive_a_master_that_is_down_and_say_so(make, tmp_path):
    xq = make(scheduler_command_timeout=3)
    jobs = await xq.push_many([sleeper(tmp_path, held(tmp_path))] * 3)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: len(ran(tmp_path)) == 3)
        with without("sge", "qmaster-stop", "qmaster-start"):
            await until(lambda: all("scheduler unreachable since" in str(job.reason) for job in jobs))
        await until(lambda: {job.reason.code for job in jobs} == {"RUNNING"})
        (tmp_path / "go").touch()

    assert [job.status for job in jobs] == [JobStatus.FINISHED] * 3
    assert {(job.start, job.attempt) for job in jobs} == {(1, 1)}


async def test_jobs_that_end_while_it_is_down_are_finished_all_the_same(make, tmp_path):
    xq = make(scheduler_command_timeout=3)
    job = await xq.push(sleeper(tmp_path, f"{held(tmp_path)}; echo told"))
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: ran(tmp_path))
        with without("sge", "qmaster-stop", "qmaster-start"):
            (tmp_path / "go").touch()
            assert await job == "told"


async def test_a_submission_that_nobody_answers_runs_once(make, tmp_path):
    xq = make(scheduler_command_timeout=2)
    await xq.scheduler.limits()
    jobs = await xq.push_many([sleeper(tmp_path, "true")] * 5)
    with standing_still(master()):
        running = asyncio.create_task(xq.run_until_complete())
        await until(lambda: "unreachable" in str(xq.jobs[0].reason))
    async with asyncio.timeout(SECONDS):
        report = await running

    assert report.ok
    assert len(ran(tmp_path)) == 5
    assert {(job.start, job.attempt) for job in jobs} == {(1, 1)}


async def test_a_host_whose_daemon_is_gone_costs_no_job(make, tmp_path):
    xq = make()
    job = await xq.push(sleeper(tmp_path, held(tmp_path)))
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: ran(tmp_path))
        with without("sge", "execd-kill", "execd-start"):
            (tmp_path / "go").touch()
            await asyncio.wait([job.as_task()])

    assert (job.status, job.start, len(ran(tmp_path))) == (JobStatus.FINISHED, 1, 1)


async def test_everything_is_deleted_by_one_command_and_confirmed(make, tmp_path):
    xq = make()
    jobs = await xq.push_many([sleeper(tmp_path, DEAF)] * 20)

    took = await stop_all(xq, tmp_path)

    assert {job.status for job in jobs} == {JobStatus.KILLED}
    assert xq.scheduler.commands["qdel"] == 1
    assert took < 30
    assert not [job for job in jobs if f" {job.uid.partition('.')[0]} " in run("qstat")]


async def test_python_calls_and_what_they_ask_for_while_they_run(tmp_path, here):
    """Its jobs have the environment of its daemons: what they need of this one is given."""
    given = {name: os.environ[name] for name in ("HERE", "PYTHONPATH") if name in os.environ}
    xq = Xqute("sge", scheduler_rate=None, job_metadir=tmp_path / "run", env=given)
    async with asyncio.timeout(SECONDS), xq:
        assert await (await xq.push(tasks.top())) == [30, 50]
