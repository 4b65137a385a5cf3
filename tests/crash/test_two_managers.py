"""Several managers on one metadir: each works, none robs another, and none of their jobs runs twice."""

import os
import re
import signal
import sqlite3
import time

import pytest

from tests.waiting import wait_for
from xqute import JobStatus
from xqute.owner import Owner

SIX = """
xqute = make({})
(HERE / f"ready.{{os.getpid()}}").touch()
await until((HERE / "both").exists)
jobs = await xqute.push_many([job(f"job{{number}}", "echo fine") for number in range(6)])
report = await xqute.run_until_complete()
tell(run=xqute.run, ok=report.ok, results=[await job for job in jobs], cached=sum(job.cached for job in jobs))
"""

HELD = """
xqute = make(resume={!r})
held = await xqute.push(hold("a", "echo held"))
await xqute.push(job("b"))
await xqute.run_until_complete()
tell(result=await held, cached=held.cached, start=held.start)
"""


@pytest.fixture
def together(sessions):
    """Start the same text several times, and let all push at the same moment."""

    def run(text, count=2):
        started = [sessions.start(text) for _ in range(count)]
        wait_for(lambda: len(list(sessions.here.glob("ready.*"))) == count)
        (sessions.here / "both").touch()
        return [sessions.end(process) for process in started]

    return run


def test_two_managers_started_together_work_each_on_its_own_run(sessions, together):
    said = together(SIX.format(""))

    assert [one.code for one in said] == [0, 0], [one.err for one in said]
    assert all(one.facts["ok"] and one.facts["results"] == ["fine"] * 6 for one in said)
    assert len({one.facts["run"] for one in said}) == 2
    assert sessions.ran == {f"job{number}": 2 for number in range(6)}
    jobs = sessions.jobs()
    assert [(job.status, job.start) for job in jobs] == [(JobStatus.FINISHED, 1)] * 12


def test_of_two_heirs_at_the_same_moment_one_gets_the_run(sessions, together):
    sessions.facts(
        "xqute = make(); await xqute.push_many([job(f'job{number}', 'echo fine') for number in range(6)])"
    )

    said = together(SIX.format("resume=True"), 3)

    codes = sorted(one.code for one in said)
    assert codes[0] == 0
    for one in said:  # one that came after the first had ended reuses all of it
        assert one.code == 0 or "RunOwned: run" in one.err, one.err
        assert one.code or one.facts["ok"]
    assert sessions.ran == {f"job{number}": 1 for number in range(6)}


def test_heirs_that_wait_get_the_run_one_after_the_other(sessions, together):
    sessions.facts(
        "xqute = make(); await xqute.push_many([job(f'job{number}', 'echo fine') for number in range(6)])"
    )

    said = together(SIX.format("resume='wait'"), 2)

    assert [one.code for one in said] == [0, 0], [one.err for one in said]
    assert sorted(one.facts["cached"] for one in said) == [0, 6]
    assert sessions.ran == {f"job{number}": 1 for number in range(6)}


def test_a_stopped_owner_is_not_robbed(sessions):
    owner = sessions.start(HELD.format(True))
    sessions.wait_up(owner, "a", "b")
    owner.send_signal(signal.SIGSTOP)

    said = sessions.run(HELD.format(True))
    owner.send_signal(signal.SIGCONT)
    sessions.go("a")
    told = sessions.end(owner)

    assert said.code == 1
    assert re.search(rf"RunOwned: run \w+ is owned by process {owner.pid} on ", said.err)
    assert "resume='wait'" in said.err
    assert told.code == 0, told.err
    assert told.facts == {"result": "held", "cached": False, "start": 1}
    assert sessions.ran == {"a": 1, "b": 1}


def test_who_waits_for_a_stopped_owner_goes_on_when_that_has_ended_well(sessions):
    owner = sessions.start(HELD.format(True))
    sessions.wait_up(owner, "a", "b")
    owner.send_signal(signal.SIGSTOP)
    heir = sessions.start(HELD.format("wait"))
    told = heir.stderr.readline()

    assert f"is owned by process {owner.pid} on" in told
    assert "waiting until that ends" in told
    assert heir.poll() is None
    owner.send_signal(signal.SIGCONT)
    sessions.go("a")

    assert sessions.end(owner).facts == {"result": "held", "cached": False, "start": 1}
    assert sessions.end(heir).facts == {"result": "held", "cached": True, "start": 1}
    assert sessions.ran == {"a": 1, "b": 1}


def test_who_waits_for_an_owner_that_dies_adopts_its_jobs(sessions):
    owner = sessions.start(HELD.format(True))
    sessions.wait_up(owner, "a", "b")
    wait_for(lambda: sessions.jobs()[0].status is JobStatus.RUNNING)
    owner.send_signal(signal.SIGSTOP)
    heir = sessions.start(HELD.format("wait"))
    assert "waiting until that ends" in heir.stderr.readline()

    owner.kill()
    owner.wait()
    wait_for(lambda: "taken over" in str(sessions.jobs()[0].reason) or heir.poll() is not None)
    sessions.go("a")

    assert sessions.end(heir).facts == {"result": "held", "cached": False, "start": 1}
    assert sessions.ran == {"a": 1, "b": 1}


def test_a_dead_owner_is_followed_at_once(sessions):
    sessions.killed(HELD.format(True), "a")
    sessions.go("a")

    began = time.monotonic()
    told = sessions.facts(HELD.format(True))

    assert time.monotonic() - began < 5, "nobody waits for a lease of 60 s"
    assert told == {"result": "held", "cached": False, "start": 1}
    assert sessions.ran == {"a": 1, "b": 1}


def test_an_owner_that_is_a_zombie_is_dead(sessions):
    owner = sessions.start(HELD.format(True))
    sessions.wait_up(owner, "a", "b")
    owner.kill()
    os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)  # its exit status is left, and nothing else
    sessions.go("a")

    assert sessions.facts(HELD.format(True))["start"] == 1
    assert sessions.ran == {"a": 1, "b": 1}


def test_the_unfinished_jobs_of_another_managers_run_are_left_alone(sessions):
    owner = sessions.start(HELD.format(True))
    sessions.wait_up(owner, "a", "b")

    told = sessions.facts("xqute = make(); await (await xqute.push(job('own'))); tell(run=xqute.run)")
    killed = sessions.run("xqute = make(); await (await xqute.get(1)).kill()")
    sessions.go("a")

    assert told["run"]
    assert killed.code == 1
    assert "only the process that runs it can change it" in killed.err
    assert sessions.end(owner).code == 0
    assert sessions.ran == {"a": 1, "b": 1, "own": 1}


# Where nobody can look


def move(sessions, *, lease: float) -> None:
    """Have the owner of the run and of its claims be on another host."""
    with sqlite3.connect(sessions.meta / "xqute.db") as db:
        [(text,)] = db.execute("SELECT owner FROM run").fetchall()
        owner = str(Owner.parse(text)._replace(host="elsewhere"))
        db.execute("UPDATE run SET owner = ?, lease = ?", [owner, lease])
        db.execute("UPDATE job SET owner = ? WHERE owner = ?", [owner, text])
    db.close()


def test_an_owner_on_another_host_is_believed_to_live_until_its_lease_ends(sessions):
    sessions.killed(HELD.format(True), "a")
    sessions.go("a")
    move(sessions, lease=time.time() + 60)
    said = sessions.run(HELD.format(True))

    move(sessions, lease=time.time() - 1)
    told = sessions.facts(HELD.format(True))

    assert said.code == 1
    assert re.search(r"RunOwned: run \w+ is owned by process \d+ on elsewhere \(.*its lease ends ", said.err)
    assert told["start"] == 1
    assert sessions.ran == {"a": 1, "b": 1}


def test_a_manager_whose_run_was_taken_over_stops_and_says_so(sessions, alive):
    text = "xqute = make(); await xqute.push(hold('a')); await xqute.run_until_complete(); "
    manager = sessions.start(text + "tell(stop=str(xqute.stop_reason))")
    sessions.wait_up(manager, "a")
    move(sessions, lease=time.time() + 60)
    sessions.go("a")

    said = sessions.end(manager, 40)

    assert re.fullmatch(r"another process took (the run|run \w+) over", said.facts["stop"]), said
    assert alive() == {}


def test_what_runs_at_a_scripts_own_scheduler_is_not_killed_by_way_of_another(sessions):
    sessions.killed(
        """
from xqute.schedulers.local import LocalScheduler

class Mine(LocalScheduler):
    name = "mine"

xqute = make(scheduler=Mine)
await xqute.push(hold("a"))
await xqute.run_until_complete()
""",
        "a",
    )

    said = sessions.refused("kill", "--all")

    assert "job(s) 1 run at the scheduler 'mine', which only the script of run" in said
    assert "again with resume=True, and kill them then" in said
    assert not any(job.status.final for job in sessions.jobs())
    sessions.go("a")
