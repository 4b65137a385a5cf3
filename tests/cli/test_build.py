"""A set of calls is a Python module: `xqute build calls.py:publish`, `xqute status calls.py`."""

import json
import signal
import sys
import time

import pytest

from tests.cli.conftest import dead
from xqute.cli.calls import CallSet
from xqute.errors import XquteError
from xqute.store import Record, RunRow

CALLS = """
import os, time
from pathlib import Path
from xqute import task

HERE = Path({here!r})

@task
def crawl(site):
    while (HERE / "wait").exists():
        (HERE / "began").touch()
        time.sleep(0.01)
    return [site]

@task
def publish(pages, to):
    if (HERE / "fail").exists():
        raise ValueError("the printer is on fire")
    return f"{{pages}} to {{to}}"

crawled = crawl("example.org").named("crawl", title="All pages", tags=["net"], notes="Takes long.")
sent = [publish(crawled, to).named(f"to {{to}}") for to in ("web", "print")]
unnamed = crawl("elsewhere")
web = sent[0]
"""


@pytest.fixture
def calls(tmp_path):
    """A module of calls, in a folder of its own."""
    folder = tmp_path / "calls here"
    folder.mkdir()
    file = folder / "calls.py"
    file.write_text(CALLS.format(here=str(folder)))
    return file


def rows(said) -> list[list[str]]:
    return [line.split() for line in said.stdout.splitlines()]


def test_status_tells_of_each_call_and_makes_nothing(xqute, calls, place):
    said = xqute("status", calls)

    assert said.returncode == 0
    told = [line.rsplit(maxsplit=1) for line in said.stdout.splitlines()[1:]]
    assert [(name.strip(), word) for name, word in told] == [
        ("crawl", "not_built"),
        ("to web", "not_built"),
        ("to print", "not_built"),
    ]
    assert list(place.root.iterdir()) == []


def test_build_builds_what_is_missing_and_then_nothing(xqute, calls):
    first = xqute("build", f"{calls}:web")
    again = xqute("build", f"{calls}:to web")

    assert (first.returncode, first.stdout) == (0, "to web: job 2, FINISHED: EXIT 0\n")
    assert (again.returncode, again.stdout) == (0, "to web is up to date: job 2\n")
    assert [row[-4:-2] for row in rows(xqute("status", calls))[1:3]] == [["success", "1"], ["success", "2"]]
    assert len(json.loads(xqute("ls", "--json").stdout)["runs"]) == 1, (
        "where nothing was built, no run was begun"
    )


def test_a_module_is_built_whole_and_its_failures_are_told(xqute, calls):
    (calls.parent / "fail").touch()

    said = xqute("build", calls, "--json")

    assert said.returncode == 1
    told = json.loads(said.stdout)["calls"]
    assert [(call["name"], call["status"], call["used"]) for call in told] == [
        ("crawl", "finished", {}),
        ("to web", "failed", {"crawl": 1}),
        ("to print", "failed", {"crawl": 1}),
    ]
    assert "the printer is on fire" in told[1]["reason"]["sentence"]


def test_a_root_cause_is_told_once_and_what_it_keeps_from_being_built(xqute, calls):
    calls.write_text(calls.read_text().replace("    return [site]", "    raise OSError('no net')"))

    said = xqute("build", f"{calls}:to web,to print")
    told = xqute("status", calls).stdout

    assert said.returncode == 1
    cause, *others = said.stdout.splitlines()
    assert cause.startswith("crawl: job 1, FAILED: EXIT 1: OSError: no net")
    assert others == [f"to {to} was not built: it needs crawl, job 1" for to in ("web", "print")]
    assert "running" not in told
    assert "job 2 can't start: job 1 (All pages) failed: EXIT 1: OSError: no net" in told


def test_a_second_shell_waits_for_what_the_first_builds_and_why_names_it(xqute, begin, calls):
    (calls.parent / "wait").touch()
    first = begin("build", f"{calls}:crawl")
    deadline = time.monotonic() + 30
    while not (calls.parent / "began").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second = begin("build", f"{calls}:web")
    while "WAITING" not in (why := xqute("why", "2").stdout):
        assert time.monotonic() < deadline
    assert f"of process {first.pid} on " in why
    assert "crawl" in xqute("status", calls).stdout.splitlines()[1]
    assert "not_built, running" in xqute("status", calls).stdout
    (calls.parent / "wait").unlink()

    assert first.wait(30) == second.wait(30) == 0
    listed = json.loads(xqute("ls", "--run", "all", "--json").stdout)["jobs"]
    assert [(job["id"], job["status"]) for job in listed] == [(1, "finished"), (2, "finished")]


def test_force_dependents_and_pin_are_understood(xqute, calls):
    xqute("build", calls)
    forced = xqute("build", f"{calls}:crawl", "--force", "--dependents")
    pinned = xqute("build", f"{calls}:web", "--pin", "crawl=1")

    told = json.loads(xqute("status", calls, "--json").stdout)["calls"]

    assert "job 4, FINISHED" in forced.stdout
    assert "to web: job 7" in pinned.stdout
    assert [(call["name"], call["status"], call["used"]) for call in told] == [
        ("crawl", "success", {}),
        ("to web", "outdated", {"crawl": 1}),
        ("to print", "success", {"crawl": 4}),
    ]
    assert told[1]["why"] == "it used job 1 of crawl, and the newest is job 4"
    assert (told[0]["title"], told[0]["tags"], told[0]["notes"]) == ("All pages", ["net"], "Takes long.")
    listed = json.loads(xqute("ls", "--run", "all", "--name", "crawl", "--json").stdout)["jobs"]
    assert [(job["id"], job["name"]) for job in listed] == [(1, "crawl"), (4, "crawl")]


def test_a_build_is_shown_with_what_it_used_and_a_protected_one_is_never_pruned(xqute, calls):
    calls.write_text(calls.read_text().replace('"Takes long."', '"Takes long.", protected=True'))
    xqute("build", f"{calls}:web")

    shown = [line.split(maxsplit=2) for line in xqute("show", "2").stdout.splitlines()]
    xqute("prune", "--yes", "--builds")

    assert ["used", "builds", "1 of crawl"] in shown
    assert [line.split()[:2] for line in xqute("ls").stdout.splitlines()][-1] == ["1", "FINISHED"]
    assert "build of        crawl\nnotes           Takes long.\n" in xqute("show", "1").stdout


def test_current_builds_are_pruned_only_when_that_is_asked_for(xqute, calls):
    xqute("build", f"{calls}:web")
    xqute("build", f"{calls}:crawl", "--force")
    (calls.parent / "fail").touch()
    xqute("build", f"{calls}:web", "--force")
    before = [job["id"] for job in json.loads(xqute("ls", "--run", "all", "--json").stdout)["jobs"]]
    assert before == [1, 2, 3, 4]

    told = xqute("prune", "--dry-run").stdout
    xqute("prune", "--yes")
    kept = [job["id"] for job in json.loads(xqute("ls", "--run", "all", "--json").stdout)["jobs"]]
    asked = xqute("prune", "--dry-run", "--builds").stdout
    xqute("prune", "--yes", "--builds")

    assert told.endswith("; 2 current builds (see --builds) are left\n")
    assert kept == [2, 3]
    assert asked.startswith("would remove 2 jobs of 2 runs, among them 2 current builds, ")
    assert xqute("ls").stdout == "no runs yet: nothing was pushed\n"


def test_without_deps_it_says_what_is_missing(xqute, calls):
    said = xqute("build", f"{calls}:web", "--deps", "none")

    assert said.returncode == 1
    assert "no result of crawl" in said.stderr


@pytest.mark.parametrize("empty", [False, True], ids=["", "after a run without jobs"])
def test_a_build_whose_process_was_killed_goes_on_where_it_was(xqute, begin, calls, place, empty):
    (calls.parent / "wait").touch()
    process = begin("build", f"{calls}:web")
    deadline = time.monotonic() + 30
    while not (calls.parent / "began").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (calls.parent / "wait").unlink()
    if empty:  # its process died before it had pushed anything
        row = RunRow("empty", str(calls), "owned", str(dead()), time.time(), "{}")
        place.do(lambda store: store.own(row, ""))

    said = xqute("build", f"{calls}:web")

    assert said.stdout == "to web: job 2, FINISHED: EXIT 0\n"
    assert len(json.loads(xqute("ls", "--run", "all", "--json").stdout)["jobs"]) == 2


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nowhere.py", "there is no file nowhere.py"),
        ("calls.py:webb", "did you mean"),
        ("broken.py", "ZeroDivisionError"),
        ("empty.py", "names no call"),
        ("twice.py", "two calls named 'a'.* a name stands for one"),
        ("no-module.py", "is no name of a module"),
        ("sub/json.py", "another module is called json"),
        ("no.such.module", "can't be imported"),
    ],
)
def test_what_is_no_set_of_calls_is_said_in_a_sentence(calls, monkeypatch, target, told):
    monkeypatch.chdir(calls.parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "calls", raising=False)
    (calls.parent / "sub").mkdir()
    twice = "from xqute import cmd; one, two = cmd('true').named('a'), cmd('false').named('a')"
    texts = {"broken": "1 / 0", "empty": "x = 1", "no-module": "", "sub/json": "", "twice": twice}
    for name, text in texts.items():
        (calls.parent / f"{name}.py").write_text(f"{text}\n")

    with pytest.raises(XquteError, match=told):
        CallSet.of(target)

    sys.modules.pop("calls", None)
    sys.modules.pop("empty", None)
    sys.modules.pop("twice", None)


def test_a_module_that_is_broken_is_said_where(xqute, calls):
    calls.write_text("x = 1\n1 / 0\n")

    said = xqute("status", calls)

    assert said.returncode == 1
    assert said.stderr.startswith(f"xqute: {calls} can't be imported: ZeroDivisionError")
    assert said.stderr.endswith(f"{calls}:2\n")


@pytest.mark.parametrize("pin", ["crawl", "crawl=x", "=1"])
def test_a_pin_that_is_none_is_wrong_usage(xqute, calls, pin):
    assert xqute("build", calls, "--pin", pin).returncode == 2


def test_a_module_is_found_by_its_name_too(xqute, calls):
    said = xqute("status", "calls:crawl", cwd=calls.parent)

    assert rows(said)[1:] == [["crawl", "not_built"]]


def test_what_was_archived_is_listed_only_when_it_is_asked_for(xqute, calls, place):
    xqute("build", f"{calls}:web")

    async def put_away(store):
        [row] = await store.get([1])
        kept = (row.id, row.start, row.status, row.attempt, row.uid, row.document, row.after)
        await store.record([Record(*kept, held=False, archived=True)])

    place.do(put_away)

    assert [job["id"] for job in json.loads(xqute("ls", "--json").stdout)["jobs"]] == [2]
    assert [job["id"] for job in json.loads(xqute("ls", "--archived", "--json").stdout)["jobs"]] == [1, 2]
