"""Several processes that build the same: each call is built once, and nobody waits for the dead."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.conftest import until
from tests.acceptance.jobcontrol_calls import CALLS, A, B, C, D, hand_on, make
from xqute import DependencyFailed, JobStatus, Xqute, elsewhere

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("here")

PROGRAM = """
import asyncio, sys
from tests.acceptance.jobcontrol_calls import C
from xqute import Xqute

async def main():
    job = await Xqute(job_metadir=sys.argv[1], scheduler_forks=4).build(C)
    print(job.id, job.result())

if __name__ == "__main__":
    asyncio.run(main())
"""


@contextmanager
def programs(here: Path, metadir: Path, count: int):
    """So many processes that build C."""
    script = here / "builds.py"
    script.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    begun = [
        subprocess.Popen(
            [sys.executable, script, metadir],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        yield begun
    finally:
        for process in begun:
            process.kill()
            process.communicate()


@pytest.fixture
def another(metadir):
    """Make an Xqute that is not the only one."""

    def make_one(**options) -> Xqute:
        return Xqute(job_metadir=metadir, calls=CALLS, scheduler_forks=4, **options)

    return make_one


def ran(here: Path) -> list[str]:
    path = here / "ran"
    return path.read_text().split() if path.exists() else []


async def both_build(first: Xqute, second: Xqute, here: Path, call=C) -> list[asyncio.Future]:
    """Two that want the same, while the first builds what it needs."""
    (here / "B.waits").touch()
    one = asyncio.ensure_future(first.build(call))
    await until(lambda: ran(here) == ["A", "B"])
    two = asyncio.ensure_future(second.build(call))
    return [one, two]


async def test_processes_that_build_the_same_at_once_build_it_once(here, metadir):
    with programs(here, metadir, 4) as begun:
        said = [await asyncio.to_thread(process.communicate, timeout=60) for process in begun]

    assert [process.returncode for process in begun] == [0] * 4, said
    assert ran(here) == ["A", "B", "C"]
    assert len({out for out, _ in said}) == 1


async def test_the_second_waits_for_what_the_first_builds_and_says_so(another, here, caplog):
    first, second = another(), another()
    caplog.set_level(logging.WARNING, "xqute")
    building = await both_build(first, second, here)
    await until(lambda: "waiting for it" in caplog.text)

    assert f"C is being built as job 4 by process {os.getpid()}" in caplog.text
    assert (await second.status(C)).running
    assert len(await second.find()) == 4, "nothing is accepted a second time"
    (here / "B.waits").unlink()
    one, two = await asyncio.gather(*building)

    assert one.id == two.id == 4
    assert two.result() == one.result()
    assert ran(here) == ["A", "B", "C"]


async def test_who_needs_a_build_of_another_process_names_it_as_its_reason(another, here):
    first, second = another(), another()
    building = await both_build(first, second, here, B)
    top = asyncio.ensure_future(second.build(D))
    await until(lambda: [job.name for job in second.jobs] == ["D"])
    [job] = await second.find(name="C")

    assert (job.status, str(job.reason)) == (JobStatus.WAITING, "needs 2, 3: job 2 is of another run")
    (here / "B.waits").unlink()
    await asyncio.gather(*building, top)
    assert job.used == {"B": 2}
    assert ran(here) == ["A", "B", "C", "D"]


async def builds_of_b(first, second, here, call):
    """B runs in the first, the second waits for it there, and with `call`; the builds, and the job of B."""
    building = await both_build(first, second, here, B)
    top = asyncio.ensure_future(second.build(call))
    await until(lambda: call is B or second.jobs)
    [job] = await first.find(name="B")
    return [*building, top], job


@pytest.mark.parametrize("call", [B, C], ids=["the goal", "what it needs"])
async def test_when_the_build_of_the_first_does_not_end_well_the_second_goes_on_by_itself(
    another, here, call
):
    first, second = another(), another()
    building, job = await builds_of_b(first, second, here, call)

    os.killpg(int(job.uid), signal.SIGKILL)
    (here / "B.waits").unlink()
    async with asyncio.timeout(30):
        one, two, goal = await asyncio.gather(*building)

    assert one.status is JobStatus.FAILED
    assert two.status is goal.status is JobStatus.FINISHED
    assert ran(here) == ["A", "B", "B"] + ["C"] * (call is C)
    left = [job for job in await second.find() if not job.done()]
    assert left == [], "nothing waits for what was lost"
    assert await second.status(call) == "success"
    await second.run_until_complete()


@pytest.mark.parametrize("call", [B, C], ids=["the goal", "what it needs"])
async def test_what_somebody_killed_in_another_process_is_not_built_by_those_that_wait_for_it(
    another, here, call
):
    first, second = another(), another()
    building, job = await builds_of_b(first, second, here, call)

    await job.kill()
    async with asyncio.timeout(30):
        one, two, goal = await asyncio.gather(*building, return_exceptions=True)

    assert one.status is two.status is JobStatus.KILLED
    if call is B:
        assert goal.status is JobStatus.KILLED
    else:
        assert isinstance(goal, DependencyFailed)
        assert (goal.cause.id, goal.cause.name) == (job.id, "B")
        assert "job 2 (B): KILLED by request" in str(goal)
    assert ran(here) == ["A", "B"]
    (here / "B.waits").unlink()
    assert (await second.build(call)).status is JobStatus.FINISHED, "who asks anew gets it"


async def test_what_outlived_its_process_is_not_run_twice_at_once(another, here, metadir):
    (here / "B.waits").touch()
    with programs(here, metadir, 1) as [first]:
        await until(lambda: ran(here) == ["A", "B"])
        first.send_signal(signal.SIGKILL)
        await asyncio.to_thread(first.wait)
    second = another()
    building = asyncio.ensure_future(second.build(C))
    await until(lambda: second.jobs)
    [old] = await second.find(name="B")

    assert ran(here) == ["A", "B"], "it still runs"
    (here / "B.waits").unlink()
    async with asyncio.timeout(30):
        job = await building

    [_, new] = await second.find(name="B")
    assert new.started >= old.status_file.stat().st_mtime
    assert job.used == {"B": new.id}
    assert ran(here) == ["A", "B", "B", "C"]


@pytest.mark.parametrize("again", [True, False], ids=["it does", "it does not"])
async def test_what_the_owner_of_a_run_may_be_about_to_push_again_is_waited_for(
    another, here, metadir, caplog, monkeypatch, again
):
    (here / "B.waits").touch()
    with programs(here, metadir, 1) as [dead]:
        await until(lambda: ran(here) == ["A", "B"])
        dead.send_signal(signal.SIGKILL)
        await asyncio.to_thread(dead.wait)
        script = str(dead.args[1])
    monkeypatch.setattr(sys, "argv", [script])
    first, second = another(resume=True), another()
    async with first:  # it has taken the run over, and has not pushed anything yet
        monkeypatch.setattr(elsewhere, "PARKED_SECONDS", 600.0)
        building = [asyncio.ensure_future(second.build(C))]
        await until(lambda: "C is being built as job 4" in caplog.text)
        if again:
            building.append(asyncio.ensure_future(first.build(C)))
        else:
            monkeypatch.setattr(elsewhere, "PARKED_SECONDS", 0.0)
        (here / "B.waits").unlink()
        async with asyncio.timeout(30):
            jobs = await asyncio.gather(*building)

    assert ran(here) == ["A", "B", "C"]
    assert {job.id for job in jobs} == ({4} if again else {jobs[0].id})
    assert (jobs[0].id == 4) is again


async def test_what_a_process_left_that_is_gone_is_built_by_the_next(another, here, metadir):
    (here / "B.waits").touch()
    with programs(here, metadir, 1) as [first]:
        await until(lambda: ran(here) == ["A", "B"])
        first.send_signal(signal.SIGKILL)
        await asyncio.to_thread(first.wait)
    xqute = another()
    status = await xqute.status(C)

    assert status == "not_built"
    assert not status.running
    assert f"process {first.pid}" in status.why
    assert "has ended" in status.why
    (here / "B.waits").unlink()
    async with asyncio.timeout(30):
        assert (await xqute.build(C)).status is JobStatus.FINISHED


async def test_what_is_forced_or_made_of_something_else_is_built_although_another_builds_it(another, here):
    first, second = another(), another()
    old = await first.build(A)
    new = await first.build(A, force=True)
    (here / "B.waits").touch()
    building = [asyncio.ensure_future(first.build(B))]
    await until(lambda: ran(here)[2:] == ["B"])
    building += [
        asyncio.ensure_future(second.build(B, force=True)),
        asyncio.ensure_future(second.build(D, pin={"A": old.id})),
    ]
    await until(lambda: ran(here)[2:].count("B") == 3)
    (here / "B.waits").unlink()
    jobs = await asyncio.gather(*building)

    assert len({job.id for job in jobs}) == 3
    used = sorted(job.used["A"] for job in await second.find(name="B"))
    assert used == [old.id, new.id, new.id]


async def test_a_build_begins_anew_when_another_was_accepted_since_it_looked(another, here, monkeypatch):
    first, second = another(), another()
    accept = type(second._store).accept
    calls = []

    async def overtaken(self, run, *given):
        if self is second._store and not calls:
            calls.append(run)
            await first.build(B)
        return await accept(self, run, *given)

    monkeypatch.setattr(type(second._store), "accept", overtaken)

    job = await second.build(B)

    assert calls
    assert job.cached
    assert ran(here) == ["A", "B"]


async def test_steps_without_a_name_are_not_run_twice_either(another, here):
    call = make("top", hand_on(make("step", B))).named("top")
    (here / "B.waits").touch()
    first, second = another(), another()
    building = [asyncio.ensure_future(first.build(call))]
    await until(lambda: ran(here) == ["A", "B"])
    building.append(asyncio.ensure_future(second.build(call)))
    (here / "B.waits").unlink()
    one, two = await asyncio.gather(*building)

    assert one.id == two.id
    assert ran(here) == ["A", "B", "step", "top"]
