"""`xqute kill`: by the manager when it lives, else without it."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import living
from xqute.states import JobStatus, Reason
from xqute.store import Record

SCRIPT = """
import asyncio, sys
from xqute import Xqute

async def main():
    xq = Xqute(job_metadir=sys.argv[1], scheduler_forks=2, grace=1)
    await xq.push_many(["echo begun; exec sleep 600"] * 3)
    print("pushed", flush=True)
    await xq.run_until_complete()

asyncio.run(main())
"""


@pytest.fixture
def manager(tmp_path, environment):
    """A script of a user, with two jobs that run and one that waits; ended after the test."""
    script = tmp_path / "work.py"
    script.write_text(SCRIPT)
    metadir = tmp_path / "jobs"
    command = [sys.executable, str(script), str(metadir)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"pushed\n"
        process.metadir = metadir
        yield process
        process.kill()


def states(xqute, metadir):
    said = xqute("ls", "--json", metadir=metadir)
    return [job["status"] for job in json.loads(said.stdout)["jobs"]]


def wait_until(condition) -> None:
    async def look():
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110  only files and processes tell
                await asyncio.sleep(0.01)

    asyncio.run(look())


def running(metadir) -> list[int]:
    """The jobs' own processes, by what their status files say."""
    found = []
    for path in metadir.glob("*/job.status"):
        words = path.read_text().split()
        if words[:1] == ["RUNNING"] and lives(int(words[1])):
            found.append(int(words[1]))
    return found


def lives(pid) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX"  # an orphan whose new parent never looks is dead all the same


def begun(metadir) -> bool:
    outputs = [path.read_text() for path in metadir.glob("*/job.stdout")]
    return outputs == ["begun\n"] * 2


def test_a_living_manager_is_asked_and_does_it(place, xqute) -> None:
    place.run(owner=living())
    place.job(JobStatus.RUNNING, "sleep 9", reason=Reason("RUNNING"))

    async def manage(store):
        command = asyncio.create_task(asyncio.to_thread(xqute, "kill", 1, "--grace", "3s"))
        asked = []
        while not asked and not command.done():
            asked = await store.asked("run1")
            await asyncio.sleep(0.01)
        row = (await store.get([1]))[0]
        document = {**json.loads(row.document), "reason": ["KILLED", {"by": "request"}]}
        killed = Record(1, row.start, int(JobStatus.KILLED), 1, "", json.dumps(document), 0.0, held=False)
        assert not await store.record([killed])
        return asked, await command

    asked, said = place.do(manage)

    assert [(item.job, item.what, json.loads(item.detail)) for item in asked] == [(1, "kill", {"grace": 3.0})]
    assert (said.returncode, said.stdout) == (0, "job 1 (sleep 9): KILLED by request\n")


def test_a_job_of_a_running_script_is_killed_and_the_others_go_on(manager, xqute) -> None:
    wait_until(lambda: begun(manager.metadir))

    said = xqute("kill", 1, metadir=manager.metadir)

    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("job 1 (echo begun; exec sleep 600): KILLED by ")
    wait_until(lambda: states(xqute, manager.metadir) == ["killed", "running", "running"])
    assert xqute("kill", "--all", metadir=manager.metadir).returncode == 0
    assert manager.wait(timeout=60) == 0
    assert states(xqute, manager.metadir) == ["killed"] * 3


def test_what_is_no_id_is_said_so_with_what_to_do(some, call) -> None:
    said = call("kill", "run1")

    assert (said.status, said.out) == (2, "")
    assert (
        "'run1' is no id of a job: that is a number, see `xqute ls`; a run is killed with --run" in said.err
    )


def test_jobs_whose_manager_was_killed_are_killed_without_it(manager, xqute) -> None:
    wait_until(lambda: begun(manager.metadir))
    manager.send_signal(signal.SIGKILL)
    manager.wait()
    orphans = running(manager.metadir)
    assert len(orphans) == 2

    one = xqute("kill", 1, metadir=manager.metadir)
    after_one = states(xqute, manager.metadir), len(running(manager.metadir))
    rest = xqute("kill", "--all", "--json", metadir=manager.metadir)

    assert one.returncode == 0
    assert all(line.startswith("xqute: ") for line in one.stderr.splitlines())
    assert after_one == (["killed", "running", "queued"], 1)
    assert rest.returncode == 0
    assert [job["status"] for job in json.loads(rest.stdout)["jobs"]] == ["killed", "killed"]
    assert running(manager.metadir) == []


def test_what_had_ended_is_said_and_no_error(some, call) -> None:
    said = call("kill", 1, 2)

    assert said.status == 0
    assert said.out == "job 1 (echo hello) had ended: FINISHED\njob 2 (sad) had ended: FAILED\n"


def test_when_nothing_is_left_there_is_nothing_to_kill(some, call) -> None:
    assert call("kill", "--all").out == "nothing to kill: no job is left that has not ended\n"
    assert call("kill", "--run", "run1", "--json").json == {"jobs": []}


def test_when_one_of_several_is_not_there_none_is_killed(place, call) -> None:
    place.run(owner=living())
    place.job(JobStatus.RUNNING, reason=Reason("RUNNING"))

    said = call("kill", 1, 5)

    assert said.status == 1
    assert said.err == f"xqute: there is no job 5 in {place.root}; nothing was killed\n"
    assert place.do(lambda store: store.asked("run1")) == []
