"""`xqute report`: what shell jobs say, in the job's file and in a run."""

import asyncio
import os
import shlex
import subprocess
import sys

import pytest

from xqute import JobStatus, Xqute
from xqute.cli import report
from xqute.events import Event, read_events
from xqute.plan import Plan

COMMAND = [sys.executable, "-m", "xqute", "report"]


@pytest.fixture
def say(tmp_path, monkeypatch, capsys):
    """Report something as a job whose directory is the test's; returns status, stdout and stderr."""
    monkeypatch.setenv("XQUTE_JOB_EVENTS", str(tmp_path / "job.events"))

    def say(*arguments):
        status = report.main(["report", *arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return say


def told(folder):
    """What was said, but for the time at which a stage began."""
    return [event._replace(date=0.0) for event in read_events(str(folder / "job.events"), 0)[0]]


@pytest.mark.parametrize(
    ("arguments", "event"),
    [
        (["progress", "3", "10", "frame 3"], Event("progress", "frame 3", 3, 10)),
        (["progress", "3", "10"], Event("progress", "", 3, 10)),
        (["progress", "30"], Event("progress", "", 30, 100)),
        (["progress", "30", "reading", "it"], Event("progress", "reading it", 30, 100)),
        (["progress", "-1", "2.5"], Event("progress", "", -1, 2.5)),
        (["progress", "30", "nan"], Event("progress", "nan", 30, 100)),
        (["progress", "1", "4", "--group", "a/b c"], Event("progress", "", 1, 4, ("a", "b c"))),
        (["stage", "align", "reads"], Event("stage", "align reads")),
        (["stage", "align", "--of", "2/5"], Event("stage", "align", 2, 5)),
        (["skip", "nothing", "new"], Event("skip", "nothing new")),
        (["skip"], Event("skip", "")),
        (["log", "Warning", "no\nindex"], Event("log", "no index", level="warning")),
    ],
)
def test_each_word_is_one_event(say, tmp_path, arguments, event) -> None:
    assert say(*arguments) == (0, "", "")
    assert told(tmp_path) == [event]


def test_what_is_required_is_a_plan_beside_the_events(say, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert say("require", "make", "-j", "4", "--help") == (0, "", "")
    assert say("require", "make", "other") == (0, "", "")
    assert say("require", "make", "other") == (0, "", "")

    names = [event.text for event in told(tmp_path)]
    plans = [Plan.from_json((tmp_path / f"job.call.{name}").read_text()) for name in names]
    works = [plan.nodes[0].work for plan in plans]
    assert [work.cmd for work in works[:2]] == [("make", "-j", "4", "--help"), ("make", "other")]
    assert [work.options.cwd for work in works] == [str(tmp_path)] * 3
    assert plans[0].nodes[0].digest
    assert names[1] == names[2]
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["progres", "3"],
        ["progress"],
        ["progress", "half"],
        ["progress", "nan"],
        ["stage", "a", "--of", "6/5"],
        ["stage", "a", "--of", "two"],
        ["log", "loud", "text"],
        ["log", "info"],
        ["require"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_2_and_says_nothing(say, tmp_path, arguments) -> None:
    status, out, err = say(*arguments)

    assert (status, out) == (2, "")
    assert err.startswith("xqute: ")
    assert err.endswith("; see xqute report --help\n")
    assert err.count("\n") == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("word", [["progress", "1"], ["skip"], ["require", "true"]])
def test_outside_of_a_job_it_says_so(say, monkeypatch, word) -> None:
    monkeypatch.delenv("XQUTE_JOB_EVENTS")

    assert say(*word) == (
        1,
        "",
        "xqute: `xqute report` is for use inside a job, and no job of xqute started this process\n",
    )


@pytest.mark.parametrize(
    ("word", "status"),
    [
        (["progress", "1"], 0),
        (["stage", "a"], 0),
        (["log", "info", "a"], 0),
        (["skip"], 1),
        (["require", "a"], 1),
    ],
)
def test_what_nobody_can_see_fails_no_job_but_what_changes_its_end_does(
    say, monkeypatch, tmp_path, word, status
) -> None:
    monkeypatch.setenv("XQUTE_JOB_EVENTS", str(tmp_path / "gone" / "job.events"))

    said = say(*word)

    assert said[:2] == (status, "")
    assert said[2].startswith("xqute: ")
    assert "No such file or directory" in said[2]


def test_it_never_writes_through_a_link(say, tmp_path) -> None:
    (tmp_path / "mine").write_text("mine\n")
    (tmp_path / "job.events").symlink_to(tmp_path / "mine")

    assert say("skip")[0] == 1
    assert (tmp_path / "mine").read_text() == "mine\n"


def test_it_loads_no_library_of_the_command_line(tmp_path) -> None:
    probe = (
        "import sys; sys.argv[1:] = ['report', 'progress', '1']; from xqute.__main__ import main; main(); "
        "print(*sys.modules)"
    )
    variables = {**os.environ, "XQUTE_JOB_EVENTS": str(tmp_path / "job.events")}
    said = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, env=variables
    )
    loaded = {*said.stdout.split()}

    assert "xqute.cli.report" in loaded
    assert not loaded & {"rich", "click", "rich_click", "asyncio", "sqlite3", "xqute.plan", "xqute.cli.app"}


def test_help_teaches_and_works_outside_of_a_job(xqute) -> None:
    said = xqute("report", "--help")

    assert (said.returncode, said.stderr) == (0, "")
    for word in ("progress", "stage", "skip", "log", "require"):
        assert f"xqute report {word}" in said.stdout
    assert xqute("report", "require", "--help").returncode == 0


def run(tmp_path, script):
    """A run of one shell job; how it ended, and the run's jobs."""
    line = f'report() {{ {shlex.join(COMMAND)} "$@"; }}\nset -e\n{script}'

    async def main():
        xqute = Xqute(job_metadir=tmp_path / "jobs", scheduler_forks=1)
        job = await xqute.push(line, cwd=tmp_path)
        await xqute.run_until_complete()
        return job, await xqute.find(run=xqute.run)

    return asyncio.run(main())


def test_a_shell_job_says_how_far_it_is_and_logs(tmp_path) -> None:
    job, _ = run(
        tmp_path, 'report stage two --of 2/2; report progress 1 2 "half of it"; report log error ouch'
    )

    assert job.status is JobStatus.FINISHED
    assert (job.progress.stage, job.progress.message, job.progress.percent) == ("two", "half of it", 62.5)
    assert [(line.level, line.text) for line in asyncio.run(job.logs())] == [("ERROR", "ouch")]


def test_a_shell_job_that_skips_is_skipped(tmp_path) -> None:
    job, _ = run(tmp_path, "report skip nothing new; exit 0")

    assert (job.status, str(job.reason)) == (JobStatus.SKIPPED, "SKIPPED: nothing new")


def test_a_shell_job_begins_again_when_what_it_requires_is_there(tmp_path) -> None:
    job, jobs = run(
        tmp_path,
        "for f in a b c; do test -e $f || { report require touch $f; missing=1; }; done\n"
        'test -z "$missing" || exit 0\nls a b c',
    )

    assert (job.status, job.attempt, job.start) == (JobStatus.FINISHED, 1, 2)
    assert job.result() == "a\nb\nc"
    assert [other.cmd for other in jobs if other is not job] == [["touch", name] for name in "abc"]
    assert len(job.needs) == 3
