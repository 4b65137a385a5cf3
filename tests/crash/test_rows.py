"""Managers that are killed, stalled or booted away, and metadirs that others left: with real processes."""

import ast
import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import xqute
from tests.waiting import wait_for
from xqute import JobStatus
from xqute.owner import Owner

PACKAGE = Path(xqute.__file__).parent
FIRST_SCHEMA = Path(__file__).parents[1] / "data" / "store_of_schema_1.sql"

FOUR = """
xqute = make(resume=True)
jobs = await xqute.push_many([hold(name, f"echo {name}; exit 0") for name in "abcd"], retries=2)
(HERE / "pushed").touch()
report = await xqute.run_until_complete()
tell(ok=report.ok, results=[await job for job in jobs], rcs=[job.rc for job in jobs])
tell(starts=[job.start for job in jobs], cached=[job.cached for job in jobs])
"""


# A manager that is killed


def test_jobs_of_a_killed_manager_go_on_and_the_next_one_collects_their_results(sessions):
    sessions.killed(FOUR, *"abcd")
    (sessions.here / "pushed").unlink()

    second = sessions.start(FOUR)
    wait_for((sessions.here / "pushed").exists)
    sessions.go(*"abcd")
    said = sessions.end(second)

    assert said.code == 0, said.err
    assert said.facts["results"] == list("abcd")
    assert said.facts["rcs"] == [0] * 4
    assert said.facts["starts"] == [1] * 4
    assert sessions.ran == dict.fromkeys("abcd", 1)


def test_what_ended_while_no_manager_lived_is_collected_and_not_run_again(sessions, alive):
    sessions.killed(FOUR, *"abcd")
    sessions.go(*"abcd")
    wait_for(lambda: not alive())

    told = sessions.facts(FOUR)
    again = sessions.facts(FOUR)

    assert (told["results"], told["rcs"], told["starts"]) == (list("abcd"), [0] * 4, [1] * 4)
    assert again == {**told, "cached": [True] * 4}
    assert sessions.ran == dict.fromkeys("abcd", 1)


TOLD = """
class Tells:
    @simplug.impl
    async def on_job_succeeded(self, scheduler, job):
        with (HERE / "told").open("a") as file:
            file.write(f"{job.id} {job.rc} {job.result()}\\n")

xqute = make(resume=True, plugins=[Tells()])
await xqute.push(job("a", "echo done"))
await xqute.run_until_complete()
"""


@pytest.mark.parametrize(
    "point", ["before a change is recorded", "before a hook is fired", "after a hook was fired"]
)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_an_end_that_was_read_and_not_told_is_told_by_the_next_session(sessions, point, count):
    sessions.run(TOLD, crash=f"{point}:{count}")
    sessions.facts(TOLD)

    assert set((sessions.here / "told").read_text().splitlines()) == {"1 0 done"}
    assert [(job.status, job.start) for job in sessions.jobs()] == [(JobStatus.FINISHED, 1)]
    assert sessions.ran == {"a": 1}


def test_a_manager_that_stood_still_during_submission_fails_no_good_job(sessions):
    text = """
xqute = make()
jobs = await xqute.push_many([job(f"job{number}", "echo fine") for number in range(40)], retries=1)
report = await xqute.run_until_complete()
tell(ok=report.ok, starts=sorted({job.start for job in jobs}), rcs=sorted({job.rc for job in jobs}))
"""
    manager = sessions.start(text)
    sessions.wait_up(manager, "job4")
    manager.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    wait_for(lambda: time.monotonic() > stopped + 4)
    manager.send_signal(signal.SIGCONT)
    said = sessions.end(manager)

    assert said.code == 0, said.err
    assert said.facts == {"ok": True, "starts": [1], "rcs": [0]}
    assert sessions.ran == {f"job{number}": 1 for number in range(40)}


# A host that was booted


def change_run(metadir: Path, change: Callable[[Owner], Owner]) -> None:
    """Have the run's owner, now and before, be another."""
    with sqlite3.connect(metadir / "xqute.db") as db:
        [(id_, owner, document)] = db.execute("SELECT id, owner, document FROM run").fetchall()
        known = json.loads(document)
        known["last"] = str(change(Owner.parse(known["last"])))
        owner = str(change(Owner.parse(owner)))
        db.execute("UPDATE run SET owner = ?, document = ? WHERE id = ?", [owner, json.dumps(known), id_])
    db.close()


ONE = """
xqute = make(resume=True)
a = await xqute.push(hold("a", "echo done"))
await xqute.run_until_complete()
tell(status=a.status.name, start=a.start, story=[str(line.reason) for line in await a.history()])
"""


@pytest.fixture
def orphan(sessions, alive):
    """A job that runs, known to the store, whose manager was killed; returns its wrapper's number."""
    manager = sessions.start(ONE)
    sessions.wait_up(manager, "a")
    wait_for(lambda: sessions.jobs()[0].status is JobStatus.RUNNING)
    manager.kill()
    manager.communicate()
    return int(sessions.jobs()[0].uid)


def end_all(pid: int, alive) -> None:
    os.killpg(pid, signal.SIGKILL)
    wait_for(lambda: not alive())


def test_jobs_that_ran_when_the_host_was_booted_are_lost_and_run_again(sessions, orphan, alive):
    end_all(orphan, alive)
    change_run(sessions.meta, lambda owner: owner._replace(boot="another-boot"))
    sessions.go("a")

    told = sessions.facts(ONE)

    assert (told["status"], told["start"]) == ("FINISHED", 2)
    assert [line for line in told["story"] if "LOST" in line and "rebooted" in line]
    assert sessions.ran == {"a": 2}


def test_a_job_lost_by_a_reboot_that_is_not_pushed_again_says_so(sessions, orphan, alive):
    end_all(orphan, alive)
    change_run(sessions.meta, lambda owner: owner._replace(boot="another-boot"))

    sessions.facts("xqute = make(resume=True); await (await xqute.push(job('other')))")

    wait_for(lambda: sessions.jobs()[0].status is JobStatus.FAILED)
    assert "rebooted" in str(sessions.jobs()[0].reason)
    assert sessions.ran == {"a": 1, "other": 1}


@pytest.mark.parametrize("ended", [True, False], ids=["it had ended", "it ran"])
def test_a_job_that_had_ended_before_the_host_was_booted_is_not_lost(sessions, orphan, alive, ended):
    if ended:
        sessions.go("a")
        wait_for(lambda: not alive())
    else:
        end_all(orphan, alive)
        sessions.go("a")
    change_run(sessions.meta, lambda owner: owner._replace(boot="another-boot"))

    told = sessions.facts(ONE)

    assert (told["status"], told["start"]) == ("FINISHED", 1 if ended else 2)


# A number that is a stranger's by now


@pytest.mark.parametrize("interrupted", [False, True], ids=["in peace", "by Ctrl-C"])
def test_a_stale_number_that_is_a_strangers_by_now_is_not_signalled_and_its_job_starts_again(
    sessions, orphan, alive, interrupted, monkeypatch
):
    end_all(orphan, alive)
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as stranger:
        try:
            give_number(sessions.meta, orphan, stranger.pid)
            second = sessions.start(ONE)
            wait_for(lambda: sessions.ran == {"a": 2})
            if interrupted:
                second.send_signal(signal.SIGINT)
            else:
                sessions.go("a")
            said = sessions.end(second)

            assert stranger.poll() is None, "a stranger was signalled"
            assert said.code == (-signal.SIGINT if interrupted else 0), said.err
            [job] = sessions.jobs()
            assert job.status is (JobStatus.KILLED if interrupted else JobStatus.FINISHED)
            assert job.start == 2
        finally:
            stranger.kill()


def give_number(metadir: Path, old: int, new: int) -> None:
    """Everything that is kept of the job names a process that is not its own."""
    with sqlite3.connect(metadir / "xqute.db") as db:
        db.execute("UPDATE job SET uid = ? WHERE uid = ?", [str(new), str(old)])
    db.close()
    for name in ("job.status", "job.lock"):
        file = metadir / "1" / name
        file.write_text(file.read_text().replace(str(old), str(new)))


# Nothing is unpickled

#: Modules that make objects, and so run code, from bytes that somebody wrote.
REVIVING = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "copyreg"}


def imports(source: str) -> set[str]:
    """The modules that a source imports, by any form of import."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in {"import_module", "__import__"}:
                found.add(str(node.args[0].value).partition(".")[0])
    return found


#: Where calls are pickled, and where they are read again: in the job that was given them, and, as results
#: and exceptions, by whoever awaits the job.
CALLS = {"pickling.py", "inside"}


def test_only_what_carries_calls_makes_objects_of_bytes() -> None:
    paths = {file: file.relative_to(PACKAGE).parts[0] for file in PACKAGE.rglob("*.py")}
    found = {file: imports(file.read_text()) & REVIVING for file, part in paths.items() if part not in CALLS}

    assert {file: what for file, what in found.items() if what} == {}


@pytest.mark.parametrize("line", ["import pickle", "from pickle import loads", "import_module('pickle')"])
def test_a_module_that_would_is_caught(line) -> None:
    assert imports(line) & REVIVING


class Hostile:
    """What happens to whoever unpickles it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_pickles_that_somebody_left_in_a_metadir_are_not_opened(sessions, orphan, xqute_command):
    bomb = pickle.dumps(Hostile(sessions.here / "exploded"))
    for name in ("job.result", "job.result.txt", "job.error", "job.events", "job.stderr", "result.pickle"):
        (sessions.meta / "1" / name).write_bytes(bomb)
    sessions.go("a")

    told = sessions.facts(
        "sys.addaudithook(lambda event, args: event.startswith('pickle.') and os._exit(9))\n"
        + ONE
        + "tell(result=await a, error=repr(a.exception()))"
    )
    for words in (["ls"], ["show", "1"], ["logs", "1"], ["why", "1"]):
        xqute_command(*words)

    assert told["result"] == "done"
    assert not (sessions.here / "exploded").exists()


@pytest.fixture
def xqute_command(sessions):
    """The command line, on the metadir of the sessions."""

    def run(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "xqute", *words],
            cwd=sessions.here,
            env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), "XQUTE_METADIR": str(sessions.meta)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    return run


# A metadir that another version left


def write_old(sessions) -> None:
    """A metadir as the first schema's xqute left it: two good jobs, a failed, a claimed and a queued one."""
    sessions.meta.mkdir(mode=0o700)
    with sqlite3.connect(sessions.meta / "xqute.db") as db:
        db.executescript(FIRST_SCHEMA.read_text())
    db.close()
    for id_, output in ((1, "one\n"), (2, ""), (3, "")):
        (sessions.meta / str(id_)).mkdir(mode=0o700)
        (sessions.meta / str(id_) / "job.stdout").write_text(output)


OLD = """
xqute = make(resume=True, run="521e9cab", tags=["old"])
env = {"A": "ä'"}
ended = [["echo", "one"], "echo two >&2; exit 3", ["sh", "-c", "exit 0"]]
jobs = await xqute.push_many(ended, env=env, user="ann")
jobs += await xqute.push_many([["echo", "later"], ["echo", "queued"], ["echo", "new"]])
report = await xqute.run_until_complete()
tell(ids=[job.id for job in jobs], cached=[job.cached for job in jobs], starts=[job.start for job in jobs])
tell(statuses=[job.status.name for job in jobs], results=[job.result() for job in jobs if job.rc == 0])
"""


def test_a_metadir_of_an_older_version_is_migrated_and_gone_on_with(sessions):
    write_old(sessions)

    told = sessions.facts(OLD)

    assert told["ids"] == [1, 2, 3, 4, 5, 6]
    assert told["cached"] == [True, False, True, False, False, False]
    assert told["starts"] == [1, 2, 1, 1, 1, 1]
    assert told["statuses"] == ["FINISHED", "FAILED", *["FINISHED"] * 4]
    assert told["results"] == ["one", "", "later", "queued", "new"]


def test_a_metadir_of_a_newer_version_is_refused_in_a_sentence_and_left_as_it_is(sessions):
    sessions.facts("xqute = make(); await (await xqute.push(job('a')))")
    store = sessions.meta / "xqute.db"
    with sqlite3.connect(store) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = store.read_bytes()

    said = sessions.run("xqute = make(resume=True); await xqute.push(job('a'))")

    assert said.code == 1
    assert "SchemaMismatch: " in said.err
    assert "was written by a newer xqute (schema 99" in said.err
    assert store.read_bytes() == before
