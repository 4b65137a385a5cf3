"""`xqute resume`: what is left of a run is run, and what ended well is not run again."""

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.cli.conftest import THEN, dead, living
from tests.cli.test_kill import running, wait_until
from xqute.states import JobStatus, Reason

SCRIPT = """
import asyncio, sys
from xqute import Xqute

async def main():
    xq = Xqute(job_metadir=sys.argv[1])
    await xq.push(["sh", "-c", "echo once >> ../once"], cwd=sys.argv[1])
    await xq.push("test -e go || { echo begun; exec sleep 600; }", cwd=sys.argv[1])
    await xq.push(["sh", "-c", "test -e mended"], cwd=sys.argv[1])
    await xq.run_until_complete()

asyncio.run(main())
"""


@pytest.fixture
def crashed(tmp_path, environment, xqute):
    """The metadir of a script that was killed during its second job of three."""
    script = tmp_path / "work.py"
    script.write_text(SCRIPT)
    metadir = tmp_path / "jobs"
    with subprocess.Popen([sys.executable, str(script), str(metadir)], env=environment) as process:
        output = metadir / "2" / "job.stdout"
        wait_until(lambda: output.exists() and output.read_text() == "begun\n")
        process.send_signal(signal.SIGKILL)
    assert xqute("kill", 2, metadir=metadir).returncode == 0
    (metadir / "go").touch()
    return metadir


def test_what_is_left_is_run_and_what_was_done_is_not_repeated(crashed, xqute) -> None:
    (crashed / "mended").touch()

    said = xqute("resume", metadir=crashed)

    assert said.returncode == 0
    assert "3 finished" in said.stdout
    assert (crashed / ".." / "once").read_text() == "once\n"
    assert "finished" in xqute("ls", metadir=crashed).stdout.splitlines()[1]


def test_a_failure_is_status_1_and_can_be_resumed_by_the_id(crashed, xqute) -> None:
    first = xqute("resume", "--json", metadir=crashed)
    document = json.loads(first.stdout)
    again = xqute("resume", metadir=crashed)
    (crashed / "mended").touch()
    last = xqute("resume", document["run"], "--json", metadir=crashed)

    assert first.returncode == 1
    assert document["counts"] == {"finished": 2, "failed": 1}
    assert [failure["id"] for failure in document["failures"]] == [3]
    assert again.returncode == 1
    assert again.stderr.startswith("xqute: no run is unfinished; `xqute resume ID` runs again what failed ")
    assert last.returncode == 0
    assert json.loads(last.stdout)["ok"] is True


def test_a_run_that_somebody_runs_is_not_taken(place, call) -> None:
    owner = living()
    place.run(owner=owner)
    place.job(JobStatus.QUEUED, reason=Reason("ACCEPTED"))

    assert call("resume", "run1").err == (
        f"xqute: run run1 is run by {owner.told}: wait for it, or kill it first\n"
    )

    answer = call("resume")
    assert answer.status == 1
    assert answer.err == (
        f"xqute: run run1 is running here ({owner.told}), and no other is unfinished: "
        "wait for it, or kill it first\n"
    )


def test_a_run_that_nobody_runs_is_taken_beside_one_that_somebody_runs(place, call) -> None:
    place.run("left", owner=dead(), created=1)
    place.job(JobStatus.QUEUED, run="left", reason=Reason("ACCEPTED"))
    place.run(owner=living(), created=2)
    place.job(JobStatus.QUEUED, reason=Reason("ACCEPTED"))

    assert call("resume", "--json").json["run"] == "left"


def test_the_newest_unfinished_run_is_the_one(place, call, monkeypatch) -> None:
    place.run("old", owner=dead(), created=1)
    place.job(JobStatus.QUEUED, run="old", reason=Reason("ACCEPTED"))
    place.run("new", owner=dead(), created=2)
    place.job(JobStatus.QUEUED, run="new", reason=Reason("ACCEPTED"))
    place.run("done", created=3)
    place.job(run="done")

    assert call("resume", "--json").json["run"] == "new"
    assert call("resume", "--json").json["run"] == "old"


def test_a_run_without_jobs_hides_none_that_was_interrupted(place, xqute) -> None:
    place.run("interrupted")
    place.job(JobStatus.KILLED, "true", run="interrupted", reason=Reason("KILLED", {"by": "SIGINT"}))
    place.run("empty", owner=dead(), created=THEN + 1)

    said = xqute("resume")

    assert (said.returncode, said.stdout.splitlines()[-1][:28]) == (0, "run interrupted: 1 finished ")


@pytest.mark.parametrize(("how", "left"), [("kill", 0), ("detach", 1)])
def test_ctrl_c_kills_what_runs_or_leaves_it(crashed, begin, xqute, how, left) -> None:
    (crashed / "go").unlink()
    process = begin("resume", "--metadir", crashed, "--on-interrupt", how)
    output = crashed / "2" / "job.stdout"
    wait_until((crashed / "2" / "job.retry" / "1" / "job.stdout").exists)
    wait_until(lambda: output.exists() and output.read_text() == "begun\n")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert b"Traceback" not in err
    assert len(running(crashed)) == left
    assert (job_status(xqute, crashed, 2) != "killed") == bool(left)
    xqute("kill", "--all", metadir=crashed)
    assert job_status(xqute, crashed, 2) == "killed"
    assert running(crashed) == []


def job_status(xqute, metadir, id_):
    return json.loads(xqute("show", id_, "--json", metadir=metadir).stdout)["status"]


GIVEN = """
import asyncio, sys
from xqute import Xqute

async def main():
    xq = Xqute(
        job_metadir=sys.argv[1],
        scheduler_forks=3,
        scheduler_prescript="export SAID=yes",
        scheduler_jobprefix="mine",
        resources={"cpus": 2},
        max_wait="2m",
        max_failures="50%",
        keep="failed",
    )
    meet = '[ "$SAID" = yes ] && touch "$N"; until [ -e 1 -a -e 2 -a -e 3 -a -e go ]; do sleep 0.01; done'
    for number in (1, 2, 3):
        await xq.push(meet, env={"N": number}, cwd=sys.argv[2], timeout=30)
    await xq.run_until_complete()

asyncio.run(main())
"""


def test_a_run_goes_on_as_its_script_said_also_after_a_kill(tmp_path, environment, xqute) -> None:
    script, metadir = tmp_path / "given.py", tmp_path / "jobs"
    script.write_text(GIVEN)
    scene = tmp_path / "scene"
    scene.mkdir()
    argv = [sys.executable, str(script), str(metadir), str(scene)]
    with subprocess.Popen(argv, env=environment) as process:
        wait_until(lambda: len(list(scene.iterdir())) == 3)
        process.send_signal(signal.SIGKILL)
    before = kept_of(metadir)
    assert xqute("kill", "--all", metadir=metadir).returncode == 0
    after = kept_of(metadir)
    for left in scene.iterdir():
        left.unlink()
    (scene / "go").touch()

    said = xqute("resume", metadir=metadir)  # three at once, each after the prescript

    assert after == before
    assert (before["forks"], before["resources"]) == (3, {"cpus": 2})
    assert before["how"] == {
        "scheduler_prescript": "export SAID=yes",
        "scheduler_jobprefix": "mine",
        "max_failures": "50%",
        "max_wait": 120.0,
        "keep": "failed",
    }
    assert said.returncode == 0, said
    assert "3 finished" in said.stdout


def kept_of(metadir):
    """What is kept of the only run, but for who had it last."""
    with closing(sqlite3.connect(metadir / "xqute.db")) as db:
        [(document,)] = db.execute("SELECT document FROM run").fetchall()
    return {name: value for name, value in json.loads(document).items() if name != "last"}


TREE = """
import asyncio, sys
from xqute import Xqute, cmd

async def main():
    xq = Xqute(job_metadir=sys.argv[1])
    await xq.push(cmd("echo", "made").after(cmd("sh", "-c", "test -e mended")), cwd=sys.argv[1])
    await xq.run_until_complete()

asyncio.run(main())
"""


def test_a_tree_whose_job_failed_goes_on_when_that_was_mended(tmp_path, environment, xqute) -> None:
    script, metadir = tmp_path / "tree.py", tmp_path / "jobs"
    script.write_text(TREE)
    subprocess.run([sys.executable, str(script), str(metadir)], env=environment, check=True)

    again = xqute("resume", metadir=metadir)
    document = json.loads(xqute("resume", "--json", metadir=metadir).stdout)
    (metadir / "mended").touch()
    last = xqute("resume", metadir=metadir)

    assert again.returncode == 1
    assert "1 waiting, 1 failed in " in again.stdout
    assert "1 job waits for job 1, which did not end well: see `xqute why 1`\n" in again.stdout
    assert document["blocked"] == {"1": 1}
    assert last.returncode == 0
    assert (metadir / "2" / "job.stdout").read_text() == "made\n"
