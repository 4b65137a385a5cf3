"""Jobs that an earlier session left running are this session's: timed, killed and awaited like its own."""

import os
import signal
import statistics
import time

import pytest

from tests.crash.keeping import KILLED
from tests.waiting import wait_for
from xqute import JobStatus


def wrapper(sessions) -> int:
    """The process that runs the first job."""
    return int((sessions.meta / "1" / "job.status").read_text().split()[1])


@pytest.mark.parametrize("known", ["at once", "when its start was recorded"])
def test_the_timeout_of_an_adopted_job_counts_from_its_real_start(sessions, known):
    text = """
xqute = make(resume=True)
began = time.time()
a = await xqute.push(hold("a"), timeout=2.5)
await xqute.run_until_complete()
tell(reason=a.reason.code, after=time.time() - began, ran=a.ended - a.started, start=a.start)
"""
    first = sessions.start(text)
    sessions.wait_up(first, "a")
    if known != "at once":
        wait_for(lambda: sessions.jobs()[0].status is JobStatus.RUNNING)
    first.kill()
    first.communicate()
    began = (sessions.here / "up.a").stat().st_mtime
    wait_for(lambda: time.time() > began + 1.5)

    told = sessions.facts(text)

    assert (told["reason"], told["start"]) == ("TIMEOUT", 1)
    assert told["after"] < 2.5, "it counted anew"
    assert told["ran"] >= 2.4
    assert sessions.ran == {"a": 1}


def test_a_timeout_that_passed_while_nobody_watched_ends_the_job_at_once(sessions, alive):
    text = """
xqute = make(resume=True)
a = await xqute.push(hold("a"), timeout=1)
await xqute.run_until_complete()
tell(reason=a.reason.code, start=a.start)
"""
    sessions.killed(text, "a")
    began = (sessions.here / "up.a").stat().st_mtime
    wait_for(lambda: time.time() > began + 1.2)

    assert sessions.facts(text) == {"reason": "TIMEOUT", "start": 1}
    assert alive() == {}


def test_the_end_of_an_adopted_job_is_noticed_as_soon_as_that_of_an_own_child(sessions):
    text = """
xqute = make(resume=True, scheduler_forks=10)
end = 'date +%s.%N >"$HERE/end.{}"'
jobs = await xqute.push_many([hold(name, end.format(name)) for name in NAMES])
late = {}
async def see(job, name):
    await job
    late[name] = time.time() - float((HERE / f"end.{name}").read_text())
async with xqute:
    seeing = [asyncio.create_task(see(job, name)) for job, name in zip(jobs, NAMES)]
    await until(lambda: all((HERE / f"up.{name}").exists() for name in NAMES))
    await until(lambda: all(job.status is JobStatus.RUNNING for job in jobs))
    for name in NAMES:
        (HERE / f"go.{name}").touch()
        await asyncio.wait([seeing[NAMES.index(name)]])
tell(late=late, starts=[job.start for job in jobs])
"""
    adopted, own = "abcde", "vwxyz"
    sessions.killed(text.replace("NAMES", repr(adopted)), *adopted)

    told = sessions.facts(text.replace("NAMES", repr(adopted + own)))

    late = {kind: statistics.median(told["late"][name] for name in kind) for kind in (adopted, own)}
    assert told["starts"] == [1] * 10
    assert late[adopted] < late[own] + 0.1


ESCAPED = """
escape = "setsid sh -c 'touch $HERE/up.child; sleep 300' & sleep 300 & wait"
xqute = make(resume=True)
a = await xqute.push(job("a", escape))
"""


def test_an_adopted_job_is_killed_with_all_it_started(sessions, alive):
    sessions.killed(ESCAPED + "await a", "a", "child")
    assert len(alive()) >= 3

    told = sessions.facts(
        ESCAPED
        + """
async with xqute:
    await until(lambda: a.status is JobStatus.RUNNING)
    killed = await a.kill()
tell(killed=killed, status=a.status.name, start=a.start)"""
    )

    assert told == {"killed": True, "status": "KILLED", "start": 1}
    assert alive() == {}
    assert sessions.ran == {"a": 1}


def test_ctrl_c_ends_adopted_jobs_with_all_they_started(sessions, alive):
    sessions.killed(ESCAPED + "await a", "a", "child")
    second = sessions.start(
        ESCAPED + "async with xqute:\n    await until(lambda: a.status is JobStatus.RUNNING)\n"
        "    (HERE / 'up.again').touch()\n    await a"
    )
    sessions.wait_up(second, "again")

    second.send_signal(signal.SIGINT)

    assert sessions.end(second).code == -signal.SIGINT
    assert alive() == {}
    assert [job.status for job in sessions.jobs()] == [JobStatus.KILLED]


LONELY = """
xqute = make(resume=True)
line = 'echo $$ >"$HERE/payload.$XQUTE_JOB_START"; ls "$HERE" | grep -q payload.2 || sleep 300'
a = await xqute.push(job("a", line), retries=1)
"""


def test_an_adopted_job_whose_wrapper_was_killed_is_lost_and_its_command_ended_before_the_next_start(
    sessions, alive
):
    sessions.killed(LONELY + "await a", "a")
    second = sessions.start(
        LONELY
        + """
async with xqute:
    await until(lambda: a.status is JobStatus.RUNNING)
    (HERE / "up.adopted").touch()
    await a
tell(start=a.start, status=a.status.name, story=[str(line.reason) for line in await a.history()])
"""
    )
    sessions.wait_up(second, "adopted")

    os.kill(wrapper(sessions), signal.SIGKILL)
    told = sessions.end(second)

    assert told.code == 0, told.err
    assert (told.facts["start"], told.facts["status"]) == (2, "FINISHED")
    assert "after LOST" in " ".join(told.facts["story"])
    assert alive() == {}
    assert sessions.ran == {"a": 2}


def test_a_wrapper_that_was_killed_while_nobody_watched_is_lost_and_its_command_ended(sessions, alive):
    sessions.killed(LONELY + "await a", "a")
    os.kill(wrapper(sessions), signal.SIGKILL)

    told = sessions.facts(
        LONELY
        + """
await xqute.run_until_complete()
tell(start=a.start, status=a.status.name, story=[str(line.reason) for line in await a.history()])"""
    )

    assert (told["start"], told["status"]) == (2, "FINISHED")
    assert any("LOST" in line for line in told["story"])
    assert alive() == {}
    assert sessions.ran == {"a": 2}


DETACHED = """
xqute = make(resume=True, on_interrupt="detach")
jobs = await xqute.push_many([hold(name, f"echo {name}") for name in "ab"])
await xqute.run_until_complete()
tell(results=[await job for job in jobs], starts=[job.start for job in jobs])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_can_leave_the_jobs_running_for_a_later_session(sessions, alive, number):
    first = sessions.start(DETACHED)
    sessions.wait_up(first, "a", "b")

    first.send_signal(number)
    said = sessions.end(first, 20)
    left = alive()
    second = sessions.start(DETACHED)
    sessions.go("a", "b")
    told = sessions.end(second)

    assert said.code == -number
    assert "left running: job(s) 1, 2; Xqute(resume=True) or " in said.err
    assert len(left) >= 2
    assert told.code == 0, told.err
    assert told.facts == {"results": ["a", "b"], "starts": [1, 1]}
    assert sessions.ran == {"a": 1, "b": 1}
    assert alive() == {}


def test_what_ended_after_a_detach_is_collected(sessions, alive):
    first = sessions.start(DETACHED)
    sessions.wait_up(first, "a", "b")
    first.send_signal(signal.SIGTERM)
    sessions.end(first, 20)
    sessions.go("a", "b")
    wait_for(lambda: not alive())

    assert sessions.facts(DETACHED) == {"results": ["a", "b"], "starts": [1, 1]}
    assert sessions.ran == {"a": 1, "b": 1}


def test_a_kill_that_a_crash_interrupted_is_carried_on(sessions, alive):
    text = """
xqute = make(resume=True, grace=0.5)
a = await xqute.push(job("a", "trap '' TERM; while :; do sleep 0.1; done"))
async with xqute:
    await until(lambda: (HERE / "up.a").exists())
    {}
tell(start=a.start, status=a.status.name)
"""
    said = sessions.start(text.replace("{}", "asyncio.create_task(a.kill(grace=60)); await a"))
    sessions.wait_up(said, "a")
    wait_for(lambda: sessions.jobs()[0].status is JobStatus.KILLING)
    said.kill()
    said.communicate()

    told = sessions.run(text.replace("{}", "await asyncio.wait([a.as_task()])"))

    assert told.facts == {"start": 1, "status": "KILLED"}, told.err
    assert alive() == {}
    assert sessions.ran == {"a": 1}


MANY = """
xqute = make(resume=True, scheduler_forks=2, on_interrupt="detach")
names = [f"job{number}" for number in range(20)]
jobs = await xqute.push_many([hold("a"), hold("b"), *(job(name) for name in names)])
report = await xqute.run_until_complete()
tell(ok=report.ok, starts=sorted({job.start for job in jobs}))
"""


@pytest.mark.parametrize("point", ["before claims are given back", "before a run is given back"])
def test_a_manager_that_dies_while_it_winds_down_loses_nothing(sessions, point):
    first = sessions.start(MANY, crash=point)
    sessions.wait_up(first, "a", "b")
    first.send_signal(signal.SIGTERM)
    died = sessions.end(first)
    sessions.go("a", "b")

    told = sessions.facts(MANY)

    assert died.code == KILLED, "the point was not reached"
    assert told == {"ok": True, "starts": [1]}
    assert set(sessions.ran.values()) == {1}
    assert len(sessions.ran) == 22


def test_more_adopted_jobs_than_forks_are_all_awaited_and_none_is_started_beside_them(sessions):
    text = """
xqute = make(resume=True, scheduler_forks={})
jobs = await xqute.push_many([hold(name) for name in "abcd"])
last = await xqute.push(job("last", 'ls "$HERE" | grep -c ^ended >"$HERE/before"'))
(HERE / "pushed").touch()
report = await xqute.run_until_complete()
tell(ok=report.ok, before=int((HERE / "before").read_text()), starts=[job.start for job in xqute.jobs])
"""
    holding = text.replace("hold(name)", "hold(name, f'touch \"$HERE/ended.{{name}}\"')")
    sessions.killed(holding.format(4), *"abcd")
    (sessions.here / "pushed").unlink()

    second = sessions.start(holding.format(1))
    wait_for((sessions.here / "pushed").exists)
    sessions.go(*"abcd")
    said = sessions.end(second)

    assert said.code == 0, said.err
    assert said.facts == {"ok": True, "before": 4, "starts": [1] * 5}
    assert sessions.ran == dict.fromkeys(["a", "b", "c", "d", "last"], 1)


def test_an_adopted_job_that_ends_between_looking_and_asking_has_ended_well(sessions):
    """Its files said that it runs; when its scheduler is asked, it is gone: its files say more by now."""
    text = """
from xqute.schedulers.local import LocalScheduler

class EndsWhenAsked(LocalScheduler):
    async def poll_jobs(self, jobs):
        (HERE / "go.a").touch()
        while any(Path(f"/proc/{job.uid}").exists() for job in jobs):
            time.sleep(0.01)  # nothing else may happen meanwhile
        return await super().poll_jobs(jobs)

xqute = make(scheduler=EndsWhenAsked, resume=True)
a = await xqute.push(hold("a"))
await xqute.run_until_complete()
tell(status=a.status.name, reason=str(a.reason), start=a.start)
"""
    first = sessions.start(text.replace("EndsWhenAsked, ", "'local', "))
    sessions.wait_up(first, "a")
    wait_for(lambda: sessions.jobs()[0].status is JobStatus.RUNNING)
    sessions.end_by_force(first)

    told = sessions.facts(text)

    assert told == {"status": "FINISHED", "reason": "EXIT 0", "start": 1}
    assert sessions.ran == {"a": 1}


def test_a_job_that_can_not_be_looked_for_yet_is_taken_over_when_it_can(sessions):
    text = """
import errno
from xqute.schedulers.local import LocalScheduler

class Blind(LocalScheduler):
    troubles = 2
    async def adopt_jobs(self, jobs, *, rebooted):
        if self.troubles:
            self.troubles -= 1
            raise OSError(errno.EMFILE, "Too many open files", "/proc")
        (HERE / "go.a").touch()
        await super().adopt_jobs(jobs, rebooted=rebooted)

xqute = make(scheduler=Blind, resume=True)
a = await xqute.push(hold("a"))
await xqute.run_until_complete()
tell(status=a.status.name, start=a.start)
"""
    sessions.killed(text, "a")

    said = sessions.run(text)

    assert said.facts == {"status": "FINISHED", "start": 1}
    assert said.err.count("Too many open files") == 1, said.err
    assert sessions.ran == {"a": 1}


def test_a_job_whose_files_can_not_be_read_yet_is_taken_over_when_they_can(sessions):
    """Its manager died before it wrote down what it had handed over: only the files say it."""
    text = """
import errno
from xqute import metadir
read_small, troubles = metadir.read_small, iter([1, 2])

def stale(path, *cap):
    if RESUMED and next(troubles, 0):
        raise OSError(errno.ESTALE, "Stale file handle", path)
    return read_small(path, *cap)

xqute = make(resume=True)
a = await xqute.push(hold("a"))
async with xqute:
    metadir.read_small = stale
    await until(lambda: (HERE / "up.a").exists() and a.status is JobStatus.RUNNING)
    (HERE / "go.a").touch()
tell(status=a.status.name, start=a.start)
"""
    first = sessions.run(text.replace("RESUMED", "False"), crash="after a job is handed over:1")
    assert first.code == KILLED, first.err
    wait_for((sessions.here / "up.a").exists)

    said = sessions.run(text.replace("RESUMED", "True"))

    assert said.facts == {"status": "FINISHED", "start": 1}, said.err
    assert said.err.count("Stale file handle") == 1, said.err
    assert sessions.ran == {"a": 1}
