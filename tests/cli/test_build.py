"""A set of calls is a Python module: `xqute build calls.py:publish`, `xqute status calls.py`."""

import json
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.conftest import dead
from tests.crash.keeping import ROOT
from xqute.cli import build
from xqute.cli.calls import CallSet
from xqute.cli.outcomes import fitted
from xqute.errors import XquteError
from xqute.owner import Owner
from xqute.states import JobStatus
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


def wait_for(what) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


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


def test_a_root_cause_is_told_once_and_what_it_keeps_from_being_built(xqute, calls, place):
    calls.write_text(calls.read_text().replace("    return [site]", "    raise OSError('no net')"))

    said = xqute("build", f"{calls}:to web,to print")
    told = xqute("status", calls).stdout

    assert said.returncode == 1
    cause, directory, todo, *others = said.stdout.splitlines()
    assert cause.startswith("crawl: job 1, FAILED: EXIT 1: OSError: no net")
    assert directory == f"  {place.root}/1"
    assert todo == "  → `xqute logs 1 --stderr` shows what it said; mend it and run it again"
    assert "no net" not in said.stderr
    assert others == [f"to {to} was not built: it needs crawl, job 1" for to in ("web", "print")]
    assert "running" not in told
    assert "job 2 can't start: job 1 (All pages) failed: EXIT 1: OSError: no net" in told


@pytest.mark.parametrize("width", [20, 60, 100])
def test_on_a_narrow_terminal_lines_end_between_words_and_commands_stay_whole(width):
    command = "`xqute build 'calls here/calls.py:kept' --force`"
    line = f"kept is protected and left as it is, outdated: it used job 6 of crawl; {command} builds it again"
    advice = "  → mend it and run it again, as often as it takes; or leave it"

    told = [part for text in (line, advice) for part in fitted(text, width)]

    assert " ".join(map(str.strip, told)) == f"{line} {advice.strip()}"
    assert all(len(part) <= width for part in told if command not in part)
    assert any(command in part for part in told)
    assert fitted("  /a directory/with spaces/and a long name/.xqute/17", 20) == [
        "  /a directory/with spaces/and a long name/.xqute/17"
    ]


def test_resume_does_not_run_what_another_set_of_calls_has_built_since(xqute, calls):
    (calls.parent / "fail").touch()
    text = calls.read_text() + "\ntop = publish(web, 'all').named('top')\n"
    calls.write_text(text)
    other = calls.with_name("others.py")
    other.write_text(text)
    xqute("build", f"{calls}:top")
    (calls.parent / "fail").unlink()
    xqute("build", f"{other}:top")

    resumed = xqute("resume")
    listed = json.loads(xqute("ls", "--run", "all", "--json").stdout)["jobs"]

    assert resumed.returncode == 0, resumed
    assert "not taken up again, since there are younger builds: job 2 (to web), job 3 (top)" in resumed.stderr
    assert [(job["id"], job["name"], job["status"]) for job in listed if job["name"] != "crawl"] == [
        (2, "to web", "failed"),
        (5, "to web", "finished"),
        (6, "top", "finished"),
    ]
    assert xqute("resume").stderr.startswith("xqute: no run is unfinished")


def test_each_of_several_failures_is_told_also_of_what_has_no_name(xqute, calls):
    with calls.open("a") as file:
        file.write("both = publish(publish(1, 'x'), publish(2, 'y')).named('both')\n")
    (calls.parent / "fail").touch()

    said = xqute("build", f"{calls}:both")

    failed = [line.partition(":")[0] for line in said.stdout.splitlines() if "FAILED" in line]
    assert failed == ["publish(1, 'x')", "publish(2, 'y')"]
    assert said.stdout.splitlines()[-1].startswith("both was not built: it needs publish(")


def test_an_outdated_protected_call_stops_no_other_and_is_told_with_what_to_do(xqute, calls):
    with calls.open("a") as file:
        file.write("kept = crawl('net').named('kept result', protected=True)\n")
    xqute("build", calls)
    calls.write_text(calls.read_text().replace("crawl('net')", "crawl('org')").replace("example", "other"))

    said = xqute("build", calls)
    forced = xqute("build", f"{calls}:kept", "--force")

    assert said.returncode == 1
    built = [line.partition(":")[0] for line in said.stdout.splitlines()]
    assert built == ["crawl", "to web", "to print"]
    told = said.stderr.splitlines()[-1]
    assert told.startswith("xqute: kept result was not built: it is protected, and outdated (its definition")
    assert f"`xqute build '{calls}:kept result' --force`" in told
    assert forced.returncode == 0


@pytest.mark.parametrize("deps", ["missing", "none"])
def test_what_is_left_outdated_is_not_called_up_to_date(xqute, calls, deps):
    with calls.open("a") as file:
        file.write("top = publish(web, 'all').named('top')\n")
    xqute("build", f"{calls}:top")
    xqute("build", f"{calls}:crawl", "--force")

    left = xqute("build", f"{calls}:top", "--deps", deps)
    built = xqute("build", f"{calls}:top", "--deps", deps, "--force")
    told = json.loads(xqute("build", f"{calls}:top", "--deps", deps, "--json").stdout)["calls"]

    assert left.stdout == "top is left as it is, job 3, and is outdated: to web is outdated itself\n"
    assert built.stdout == "top: job 5, FINISHED: EXIT 0; it is outdated: to web is outdated itself\n"
    assert [call["outdated"] for call in told] == ["to web is outdated itself"]
    assert left.returncode == built.returncode == 0
    assert xqute("build", f"{calls}:top").stdout == "top: job 7, FINISHED: EXIT 0\n"


def test_what_a_program_gives_to_xqute_is_given_by_options(xqute, calls, place):
    options = ["--resource", "cpus=4", "--resource", "mem=2G", "--limit", "publish=1", "-o", "cpus=2"]
    said = xqute("build", f"{calls}:web", *options, "-o", "timeout=1h", "--option", "keep=failed")

    async def read(store):
        [run] = await store.runs()
        return json.loads(run.document), dict(await store.limits())

    document, limits = place.do(read)
    assert said.returncode == 0, said
    assert document["resources"] == {"cpus": 4, "mem": 2 * 1024**3}
    assert document["how"]["keep"] == "failed"
    assert limits == {"publish": 1}
    assert json.loads(xqute("show", "2", "--json").stdout)["options"]["timeout"] == 3600


def test_a_limit_stays_for_later_builds_until_it_is_lifted(xqute, calls, place):
    async def read(store):
        return dict(await store.limits())

    stood = []
    for options in (["--limit", "publish=1"], [], ["--limit", "publish=none"]):
        assert xqute("build", f"{calls}:crawl", *options).returncode == 0
        stood.append(place.do(read))

    assert stood == [{"publish": 1}, {"publish": 1}, {}]


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (["-o", "shceduler_prescript=x"], 2, "did you mean 'scheduler_prescript'?"),
        (["-o", "plugin=3"], 2, "unknown option 'plugin': known are cpus, cwd, "),
        (["-o", "scheduler_forks=3"], 2, "scheduler_forks is not given here, but as --forks"),
        (["-o", "timeout"], 2, "'timeout': give a name and a value, as in timeout=2h"),
        (["--resource", "=8"], 2, "'=8': give a name and a value, as in cpus=8"),
        (["--resource", "mem=much"], 2, "resources['mem']='much'"),
        (["--limit", "crawl=few"], 2, "limits['crawl']='few' must be a whole number"),
        (["--scheduler", "slrum"], 2, "did you mean 'slurm'?"),
    ],
)
def test_a_misspelt_option_is_said_in_a_sentence(xqute, calls, options, status, told):
    said = xqute("build", calls, *options)

    assert said.returncode == status
    assert told in said.stderr
    assert len(said.stderr.splitlines()) == 1


def test_only_options_that_can_be_given_are_listed_as_known(xqute, calls):
    said = xqute("build", calls, "-o", "nothing=1")

    known = said.stderr.strip().partition("known are ")[2].split(", ")
    assert "timeout" in known
    assert not {*known} & build.ELSEWHERE.keys()


def test_builds_are_below_the_current_directory_and_those_beside_the_module_are_mentioned(
    xqute, calls, tmp_path
):
    xqute("build", f"{calls}:crawl", cwd=calls.parent, metadir=None)
    other = f"{calls.parent.name}/.xqute"

    status = xqute("status", calls, cwd=tmp_path, metadir=None)
    there = xqute("status", f"{calls}:crawl", "--metadir", other, cwd=tmp_path, metadir=None)
    xqute("build", f"{calls}:crawl", cwd=tmp_path, metadir=None)
    listed = xqute("ls", "--json", cwd=tmp_path, metadir=None)
    again = xqute("status", calls, cwd=tmp_path, metadir=None)

    assert f"there is nothing in ./.xqute yet, but in {other}" in status.stderr
    assert f"--metadir {other} means that" in status.stderr
    assert rows(there)[1][:2] == ["crawl", "success"]
    assert [job["name"] for job in json.loads(listed.stdout)["jobs"]] == ["crawl"]
    assert again.stderr == ""


ANOTHER = "from xqute.owner import Owner; print(Owner.here(), flush=True); input()"


@pytest.fixture
def another():
    """An owner that is another process, and lives as long as this test."""
    pipe = subprocess.PIPE
    argv = [sys.executable, "-c", ANOTHER]
    with subprocess.Popen(argv, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        yield Owner.parse(process.stdout.readline().strip())
        process.communicate("\n")


def test_what_another_shell_took_up_a_moment_before_is_left_to_that(call, calls, place, another, monkeypatch):
    place.run("left", another, script=str(calls))
    place.job(JobStatus.QUEUED, run="left")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["xqute"])
    monkeypatch.delitem(sys.modules, "calls", raising=False)
    look, looks = build._unfinished, []

    async def unfinished(where, script):
        looks.append(script)
        return await look(where, script) if len(looks) > 1 else {"run": "left", "resume": True}

    monkeypatch.setattr(build, "_unfinished", unfinished)

    said = call("build", f"{calls}:crawl")

    sys.modules.pop("calls", None)
    assert looks == [str(calls)] * 2
    assert (said.status, said.out) == (0, "crawl: job 2, FINISHED: EXIT 0\n"), said.err


def test_after_ctrl_c_the_same_command_is_what_goes_on(begin, xqute, calls):
    (calls.parent / "wait").touch()
    process = begin("build", f"{calls}:web", text=True)
    wait_for((calls.parent / "began").exists)

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert "2 of 2 jobs have not ended well; the same `xqute build` goes on with it" in err
    assert "resume" not in err
    (calls.parent / "wait").unlink()
    assert xqute("build", f"{calls}:web").stdout == "to web: job 2, FINISHED: EXIT 0\n"


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


def test_when_a_shell_dies_that_was_waited_for_each_of_several_calls_goes_on_and_is_built_once(
    xqute, begin, calls
):
    with calls.open("a") as file:
        file.write("tops = [publish(web, to).named(f'top {to}') for to in ('one', 'two')]\n")
    (calls.parent / "wait").touch()
    first = begin("build", f"{calls}:crawl")
    wait_for((calls.parent / "began").exists)
    second = begin("build", f"{calls}:tops,to print", "--force", text=True)
    wait_for(lambda: "WAITING" in xqute("why", "5").stdout)

    first.kill()
    first.wait()
    (calls.parent / "wait").unlink()
    out, err = second.communicate(timeout=60)

    assert second.returncode == 0, err
    assert [line.partition(":")[0] for line in out.splitlines()] == ["top one", "top two", "to print"]
    listed = json.loads(xqute("ls", "--run", "all", "--status", "finished", "--json").stdout)["jobs"]
    assert sorted(job["name"] for job in listed) == ["crawl", "to print", "to web", "top one", "top two"]
    assert {call["status"] for call in json.loads(xqute("status", calls, "--json").stdout)["calls"]} == {
        "success"
    }


def test_after_kill_all_no_shell_begins_anew_what_was_killed(xqute, begin, calls):
    (calls.parent / "wait").touch()
    first = begin("build", f"{calls}:crawl")
    wait_for((calls.parent / "began").exists)
    second = begin("build", f"{calls}:web", text=True)
    wait_for(lambda: "WAITING" in xqute("why", "2").stdout)

    said = xqute("kill", "--all")
    out, err = second.communicate(timeout=60)
    first.wait(60)

    assert said.returncode == 0, said
    assert (first.returncode, second.returncode) == (1, 1), err
    assert out.splitlines()[0] == "crawl: job 1, KILLED by request"
    assert out.splitlines()[2] == f"  → `xqute build '{calls}:crawl'` builds it again"
    listed = json.loads(xqute("ls", "--run", "all", "--json").stdout)["jobs"]
    assert {job["status"] for job in listed if job["name"]} == {"killed"}
    assert len(listed) == 2


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


@pytest.mark.parametrize("dependents", [[], ["--dependents"]], ids=["", "dependents"])
def test_calls_that_are_forced_together_use_each_other_and_are_built_once(xqute, calls, dependents):
    with calls.open("a") as file:
        file.write("top = publish(web, 'all').named('top')\n")
    xqute("build", calls)

    forced = xqute("build", calls, "--force", *dependents)
    status = json.loads(xqute("status", calls, "--json").stdout)["calls"]
    some = xqute("build", f"{calls}:top,crawl", "--force", *dependents)

    names = ["crawl", "to web", "to print", "top"]
    told = [f"{name}: job {id_}, FINISHED: EXIT 0" for id_, name in enumerate(names, 5)]
    assert (forced.returncode, forced.stdout.splitlines()) == (0, told)
    assert {call["status"] for call in status} == {"success"}
    assert [call["used"] for call in status] == [{}, {"crawl": 5}, {"crawl": 5}, {"to web": 6}]
    assert some.stdout.splitlines()[:2] == [
        "top: job 11, FINISHED: EXIT 0",
        "crawl: job 9, FINISHED: EXIT 0",
    ], "what lies between is built anew, too, and once"


def test_dependents_that_were_rebuilt_are_named_and_what_stays_outdated(xqute, calls):
    with calls.open("a") as file:
        file.write("kept = publish(crawled, 'archive').named('kept', protected=True)\n")
        file.write("above = publish(kept, 'above').named('above')\n")
        file.write("aside = crawl('aside').named('aside')\n")
    xqute("build", calls)

    said = xqute("build", f"{calls}:crawl", "--force", "--dependents")
    told = json.loads(xqute("build", f"{calls}:crawl", "--dependents", "--json").stdout)["calls"]

    why = "it used job 1 of crawl, and the newest is job 7"
    again = f"`xqute build '{calls}:kept' --force` builds it again"
    assert said.returncode == 0
    assert said.stdout.splitlines() == [
        "crawl: job 7, FINISHED: EXIT 0",
        "to web: job 8, FINISHED: EXIT 0",
        "to print: job 9, FINISHED: EXIT 0",
        f"kept is protected and left as it is, outdated: {why}; {again}",
        "above is left as it is, job 5, and is outdated: kept is outdated itself",
    ]
    assert [(call["name"], call["job"]) for call in told] == [
        ("crawl", 7),
        ("to web", 8),
        ("to print", 9),
        ("kept", None),
        ("above", 5),
    ]


def test_a_dependent_that_fails_is_told_and_is_not_well(xqute, calls):
    xqute("build", calls)
    (calls.parent / "fail").touch()

    said = xqute("build", f"{calls}:crawl", "--force", "--dependents")

    assert said.returncode == 1
    assert said.stdout.startswith("crawl: job 4, FINISHED: EXIT 0\nto web: job 5, FAILED: EXIT 1: ValueError")


def test_a_pin_that_nothing_would_use_is_refused_with_what_is_between(xqute, calls):
    with calls.open("a") as file:
        file.write("top = publish(web, 'all').named('top')\n")
    xqute("build", f"{calls}:top")
    xqute("build", f"{calls}:top,crawl", "--force")

    said = xqute("build", f"{calls}:top", "--pin", "crawl=1", "--deps", "none", "--force")
    both = xqute("build", f"{calls}:top", "--pin", "crawl=1", "--pin", "to web=5")

    told = "xqute: --pin crawl=1: nothing would use it: to web is"
    first = f"`xqute build '{calls}:to web' --pin crawl=1` first, or give --deps outdated"
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == f"{told} left as it is, job 5, which used job 4 of crawl; {first}\n"
    assert both.stderr.startswith(f"{told} pinned to job 5, which used job 4 of crawl; pin a build of to web")
    assert len(json.loads(xqute("ls", "--run", "all", "--json").stdout)["jobs"]) == 6, "nothing was begun"


def test_what_is_pinned_is_used_by_all_calls_of_a_module_and_not_built(xqute, calls):
    xqute("build", calls)
    xqute("build", f"{calls}:crawl", "--force")

    said = xqute("build", calls, "--pin", "crawl=1")

    assert [line.partition(",")[0] for line in said.stdout.splitlines()] == [
        "to web is left as it is",
        "to print is left as it is",
    ], said.stdout
    assert said.returncode == 0


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
        ("no.such.module", "can't be imported: ModuleNotFoundError: No module named 'no'$"),
        (".", r"^\. is a directory: name a file of it, such as \./calls\.py$"),
        ("sub", "^sub is a directory: name a file of it, such as sub/json.py$"),
        (
            "sub/json",
            "^'sub/json' is neither a Python file nor the name of a module: did you mean sub/json.py",
        ),
        ("", "^'' is neither a Python file nor the name of a module"),
        ("calls.py:unnamed", "unnamed has no call with a name: give it one"),
        (
            "wrong.py",
            r"^wrong\.py can't be imported: SyntaxError: '\(' was never closed, at .+/wrong.py:2: x = \($",
        ),
    ],
)
def test_what_is_no_set_of_calls_is_said_in_a_sentence(calls, monkeypatch, target, told):
    monkeypatch.chdir(calls.parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "calls", raising=False)
    (calls.parent / "sub").mkdir()
    twice = "from xqute import cmd; one, two = cmd('true').named('a'), cmd('false').named('a')"
    texts = {
        "broken": "1 / 0",
        "empty": "x = 1",
        "no-module": "",
        "sub/json": "",
        "twice": twice,
        "wrong": "y = 1\nx = (",
    }
    for name, text in texts.items():
        (calls.parent / f"{name}.py").write_text(f"{text}\n")

    with pytest.raises(XquteError, match=told):
        CallSet.of(target)

    sys.modules.pop("calls", None)
    sys.modules.pop("empty", None)
    sys.modules.pop("twice", None)


@pytest.mark.parametrize(
    ("variable", "names"),
    [
        ("sent", ["to web", "to print"]),
        ("web,crawled", ["to web", "crawl"]),
        ("BY_NAME", ["crawl", "to print"]),
        ("PAIR,sent", ["crawl", "to web", "to print"]),
    ],
)
def test_a_variable_may_hold_several_calls(calls, monkeypatch, variable, names):
    with calls.open("a") as file:
        file.write("BY_NAME = {'c': [crawled], 'p': sent[1]}\nPAIR = crawled, unnamed, web\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "calls", raising=False)

    found = CallSet.of(f"{calls}:{variable}")

    sys.modules.pop("calls", None)
    assert list(found.chosen) == names
    assert list(found.calls) == ["crawl", "to web", "to print"]


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
