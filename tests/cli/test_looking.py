"""`xqute ls`, `show` and `why`."""

import json
import re
import subprocess
import sys
import time

import pytest

from tests.cli.conftest import THEN, dead, living
from xqute.engine import crowding
from xqute.rules.remedies import REMEDIES
from xqute.states import EndReason, JobStatus, Reason, WaitReason

JOB_KEYS = (
    "id run status reason title command task name needs used progress user tags priority attempt start "
    "rc uid created submitted started ended usage directory removed stdout stderr"
).split()


def lines(text):
    """The lines of a table, each as its cells."""
    return [re.split(r"\s{2,}", line) for line in text.splitlines() if line]


def test_ls_lists_the_runs_and_the_jobs_of_the_newest(some, xqute) -> None:
    some.run("run2", created=THEN + 60, script="/home/me/other.py")
    some.job(run="run2", command="echo newest")

    said = xqute("ls")

    assert (said.returncode, said.stderr) == (0, "")
    assert lines(said.stdout) == [
        ["run", "created", "state", "jobs", "script"],
        ["run2", "2026-03-01 12:01:00", "finished", "1 finished", "/home/me/other.py"],
        ["run1", "2026-03-01 12:00:00", "finished", "1 finished, 1 failed, 1 killed", "/home/me/work.py"],
        ["id", "status", "attempt", "time", "title", "reason"],
        ["4", "FINISHED", "1", "1.00 s", "echo newest", "EXIT 0"],
    ]


def test_ls_lists_the_newest_run_that_has_jobs_and_tells_of_no_other(some, call) -> None:
    some.run("begun", owner=dead(), created=THEN + 1)
    some.run("left", created=THEN + 2)

    said = call("ls")

    assert [line.split()[0] for line in said.out.splitlines() if line] == ["run", "run1", "id", "1", "2", "3"]
    assert call("ls", "--json").json["run"] == "run1"
    assert "left" in call("ls", "--run", "all").out
    assert "no such jobs" in call("ls", "--run", "left").out


def test_ls_tells_of_a_run_that_somebody_has_just_begun(place, call) -> None:
    place.run("begun", owner=living())

    assert "begun" in call("ls").out


def test_ls_lists_another_run_by_its_first_letters(some, call) -> None:
    some.run("xyz", created=THEN + 60)

    assert [job["id"] for job in call("ls", "--run", "run", "--json").json["jobs"]] == [1, 2, 3]
    assert call("ls", "--run", "run9").err == (
        "xqute: there is no run 'run9'; `xqute ls` lists those there are\n"
    )


def test_ls_shows_only_the_runs_of_the_jobs_that_were_asked_for(some, call) -> None:
    some.run("other", created=THEN + 60)
    some.job(run="other")

    of_all = call("ls", "--run", "all", "--status", "failed").out
    none = call("ls", "--run", "all", "--status", "running").out

    assert "run1" in of_all
    assert "other" not in of_all
    assert none == "no jobs match\n"
    assert call("ls", "--status", "failed").out == (
        "run other has no such jobs; --run all looks in all runs\n"
    )
    assert "run1" in call("ls").out


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--status", "failed"], [2]),
        (["--status", "failed,Killed"], [2, 3]),
        (["--status", "ended"], [1, 2, 3]),
        (["--status", "unfinished"], []),
        (["--tag", "greet"], [1]),
        (["--user", "ann"], [1]),
        (["--user", "bob"], []),
        (["--limit", "2"], [1, 2]),
        (["--run", "all"], [1, 2, 3]),
    ],
)
def test_ls_filters(some, call, options, ids) -> None:
    said = call("ls", "--json", *options).json

    assert [job["id"] for job in said["jobs"]] == ids
    assert said["more"] is ("--limit" in options)


def test_ls_says_that_there_are_more(some, call) -> None:
    assert "only the first 2 jobs: --limit shows more" in call("ls", "--limit", 2).out


def test_ls_shows_what_a_crashed_manager_left_and_who_is_running(some, call) -> None:
    some.run("crashed", owner=dead(), created=THEN + 1)
    some.job(JobStatus.QUEUED, run="crashed", reason=Reason("ACCEPTED"))
    owner = living()
    some.run("lively", owner=owner, created=THEN + 2)

    told = {row[0]: row[2] for row in lines(call("ls").out)[1:4]}
    document = call("ls", "--json").json

    assert told["crashed"] == "unfinished (its manager ended)"
    assert told["lively"] == f"running here ({owner.told})"
    assert [(run["id"], run["state"]) for run in document["runs"]] == [
        ("lively", "running"),
        ("crashed", "unfinished"),
        ("run1", "finished"),
    ]
    assert document["runs"][1]["counts"] == {"queued": 1}


def test_ls_as_json_has_all_of_a_job_and_utc_dates(some, call) -> None:
    said = call("ls", "--json").json
    sad = said["jobs"][1]

    assert list(said) == ["metadir", "runs", "run", "jobs", "more"]
    assert list(sad) == JOB_KEYS
    assert sad["reason"] == {"code": "EXIT", "sentence": "EXIT 3", "detail": {"rc": 3}}
    assert sad["command"] == ["sh", "-c", "exit 3"]
    assert (sad["created"], sad["ended"]) == ("2026-03-01T12:00:00.000Z", "2026-03-01T12:00:02.000Z")
    assert said["jobs"][0]["tags"] == ["greet"]


def test_ls_of_a_store_without_runs_says_so(place, call) -> None:
    place.do(lambda store: store.runs())

    assert call("ls").out.splitlines()[0] == "no runs yet: nothing was pushed"
    assert call("ls", "--json").json["jobs"] == []


def test_titles_can_not_harm_a_terminal(place, call) -> None:
    place.run()
    place.job(command="x", title="\x1b[31mred\x1b[0m\nnext \x07\u202ertl")

    said = call("ls").out + call("show", 1).out + call("why", 1).out

    assert "\x1b" not in said
    assert "\x07" not in said
    assert "\u202e" not in said
    assert said.count("red") >= 3
    assert "[31m" not in said


def test_show_tells_everything(some, xqute) -> None:
    said = xqute("show", 2).stdout
    facts = dict(re.findall(r"^(\w+) {2,}(.*)$", said, re.MULTILINE))

    assert facts["job"] == "2, of run run1"
    assert facts["command"] == "sh -c 'exit 3'"
    assert (facts["status"], facts["reason"], facts["attempt"]) == ("FAILED", "EXIT 3", "2 (start 2)")
    assert (facts["retries"], facts["error_strategy"]) == ("1", "retry")
    assert facts["directory"] == f"{some.root}/2"
    assert facts["ran"] == "1.00 s"
    assert said.count("title") == 1
    assert ["2026-03-01 12:00:02", "FAILED", "2", "2", "EXIT 3"] in lines(said)


def test_show_as_json_adds_options_and_history(some, call) -> None:
    said = call("show", 2, "--json").json

    assert list(said) == [*JOB_KEYS, "tree", "parent", "digest", "options", "history", "result", "error"]
    assert said["options"] == {"error_strategy": "retry", "retries": 1, "title": "sad"}
    assert [(line["status"], line["start"]) for line in said["history"]] == [("failed", 2)]


def test_a_command_that_takes_a_result_names_the_job_in_its_place(place, xqute) -> None:
    script = "import asyncio\nfrom xqute import Xqute, cmd\nasync def main():\n"
    script += f"    await Xqute(job_metadir={str(place.root)!r}).push(cmd('echo', 'a b', cmd('date')))\n"
    subprocess.run([sys.executable, "-c", f"{script}asyncio.run(main())"], check=True, capture_output=True)

    shown = xqute("show", 2).stdout
    command = [json.loads(xqute(*words, "--json").stdout) for words in (["show", 2], ["why", 2])]

    assert "command         echo 'a b' <job 1>\n" in shown
    assert [document["command"] for document in command] == [["echo", "a b", "<job 1>"]] * 2


def test_why_says_how_it_ended_and_what_to_do(some, xqute) -> None:
    assert xqute("why", 2).stdout.splitlines() == [
        "job 2 (sad) FAILED: EXIT 3",
        "→ `xqute logs 2 --stderr` shows what it said; mend it and run it again",
    ]
    assert xqute("why", 1).stdout.splitlines()[0] == (
        "job 1 (echo hello) FINISHED: it ended well, in attempt 1"
    )


def test_why_knows_what_shells_mean_by_127(place, call) -> None:
    place.run()
    detail = {"rc": 127, "message": "command not found: nix"}
    place.job(JobStatus.FAILED, ["nix"], reason=Reason("EXIT", detail))

    said = call("why", 1, "--json").json

    assert said["sentence"] == "job 1 (nix) FAILED: EXIT 127: command not found: nix"
    assert said["remedy"] == "the program was not found: check its name, and PATH (env=)"


def test_why_of_a_job_that_waits_for_its_manager_says_what_it_waits_for(place, call) -> None:
    place.run(owner=living())
    place.job(JobStatus.QUEUED, "echo", reason=Reason("FORKS", {"used": 4, "forks": 4}))

    said = call("why", 1).out.splitlines()

    assert said[0].startswith("job 1 (echo) is QUEUED: ")
    assert said[1].startswith("→ ")
    assert not call("why", 1, "--json").json["deserted"]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (b"RUNNING 4711\n", "; it may still be running"),
        (b"RUNNING 4711\nFINISHED 0\n", "; its files say it finished since"),
        (None, ""),
    ],
)
def test_why_of_a_job_whose_manager_died_says_how_to_go_on(place, call, state, told) -> None:
    owner = dead()
    place.run(owner=owner)
    place.job(JobStatus.RUNNING, "sleep 9", reason=Reason("RUNNING"), state=state)

    assert call("why", 1).out.splitlines() == [
        f"job 1 (sleep 9) is RUNNING, and its manager ({owner.told}) ended{told}",
        "→ start the same script again with resume=True, or run `xqute resume run1`",
    ]
    assert call("why", 1, "--json").json["deserted"] is True


def test_why_of_a_job_that_may_run_counts_the_forks_of_a_manager_that_lives(place, call) -> None:
    place.run(owner=living(), forks=1)
    place.job(JobStatus.RUNNING, reason=Reason("RUNNING", {"scheduler": "local", "uid": "1"}))
    waiting = place.job(JobStatus.QUEUED, reason=Reason("ACCEPTED"))

    said = call("why", waiting)

    assert "is QUEUED: waits for a free fork, 1/1 are in use" in said.out
    assert "scheduler_forks=" in said.out
    assert "waits for a free fork" in call("ls").out


def test_every_reason_has_a_remedy() -> None:
    assert set(REMEDIES) == {*WaitReason, *EndReason}


@pytest.mark.parametrize("code", [*WaitReason, *EndReason])
def test_every_remedy_can_be_told_without_any_detail(place, call, code) -> None:
    place.run(owner=living())
    ended = code in set(EndReason)
    place.job(JobStatus.FAILED if ended else JobStatus.RUNNING, "echo", reason=Reason(code))

    told = call("why", 1, "--json").json["remedy"]

    assert told
    assert "{" not in told


@pytest.mark.parametrize("command", ["show", "why", "logs"])
def test_a_job_that_is_not_there_is_one_sentence(some, xqute, command) -> None:
    said = xqute(command, 99)

    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == f"xqute: there is no job 99 in {some.root}; `xqute ls` lists those there are\n"


def test_json_is_one_document(some, xqute) -> None:
    for command in (["ls"], ["show", 2], ["why", 2], ["logs", 2], ["prune", "--dry-run"]):
        said = xqute(*command, "--json")

        assert said.returncode == 0
        assert isinstance(json.loads(said.stdout), dict)


# What others have


def test_a_job_that_waits_for_a_limit_is_told_who_holds_it_in_any_run(place, call) -> None:
    place.run(owner=living())
    place.run("other", owner=living(), created=THEN + 1)
    place.job(JobStatus.RUNNING, run="other", limit=("align", 2), reason=Reason("RUNNING"))
    place.job(JobStatus.RUNNING, limit=("align", 2), reason=Reason("RUNNING"))
    place.hold(1, 2)
    place.job(JobStatus.QUEUED, limit=("align", 2), reason=Reason("ACCEPTED"))

    told = "limit align 2/2: held by job 1 of run other; job 2"
    detail = call("why", 3, "--json").json["reason"]["detail"]

    assert f"is QUEUED: {told}\n" in call("why", 3).out
    assert told in call("show", 3).out
    assert told in call("ls", "--run", "run1").out
    assert detail["holders"] == [
        {"run": "other", "jobs": [1], "gone": False},
        {"run": "run1", "jobs": [2], "gone": False},
    ]


def has_the_limit_of_the_other(place, status) -> None:
    """Job 1, of a run whose manager is dead, has what job 2 waits for."""
    place.run("crashed", owner=dead())
    place.run(owner=living(), created=THEN + 1)
    place.job(status, run="crashed", limit=("align", 1), reason=Reason("ACCEPTED"))
    place.hold(1)
    place.job(JobStatus.QUEUED, limit=("align", 1), reason=Reason("ACCEPTED"))


def test_a_limit_that_a_dead_managers_job_holds_says_how_to_free_it(place, call) -> None:
    has_the_limit_of_the_other(place, JobStatus.RUNNING)

    assert (
        "limit align 1/1: held by job 1 of run crashed, whose manager is gone: `xqute resume crashed`"
        in call("why", 2).out
    )
    assert call("why", 2).out.splitlines()[-1] == (
        "→ `xqute resume crashed` sees what became of its jobs and frees their places; "
        "or raise the limit with `await xq.set_limit('align', …)`"
    )


def test_a_job_that_was_claimed_and_not_handed_over_yet_holds_its_limit_too(place, call) -> None:
    has_the_limit_of_the_other(place, JobStatus.QUEUED)

    assert "held by job 1 of run crashed, whose manager is gone" in call("why", 2).out


def test_a_job_that_waits_for_resources_is_told_who_has_them(place, call) -> None:
    place.run(owner=living(), forks=4, resources={"cpus": 4, "mem": 8 * 2**30})
    place.job(JobStatus.RUNNING, cpus=3, mem="2G", reason=Reason("RUNNING"))
    place.job(JobStatus.RUNNING, mem="1G", reason=Reason("RUNNING"))
    place.hold(1, 2)
    place.job(JobStatus.QUEUED, cpus=2, mem="4G", reason=Reason("ACCEPTED"))
    place.job(JobStatus.QUEUED, cpus=1, mem="1G", reason=Reason("ACCEPTED"))

    assert "is QUEUED: needs cpus 2, free 1: held by job 1\n" in call("why", 3).out
    assert "needs cpus 2, free 1: held by job 1" in call("ls").out
    assert "what it needs is there" in call("why", 4).out


def test_a_retry_that_is_not_due_yet_waits_for_its_time_only(place, call) -> None:
    place.run(owner=living(), forks=1)
    place.job(JobStatus.RUNNING, limit=("align", 1), reason=Reason("RUNNING"))
    place.hold(1)
    later = Reason("RETRY_DELAY", {"attempt": 2, "attempts": 3, "delay": 60, "after": "EXIT 1"})
    place.job(JobStatus.QUEUED, limit=("align", 1), reason=later, starts=1, after=time.time() + 3600)

    assert "attempt 2 of 3 in 60 s, after EXIT 1" in call("why", 2).out


def test_looking_at_who_holds_a_limit_changes_nothing(place, call) -> None:
    place.run("crashed", owner=dead())
    place.run(owner=living(), created=THEN + 1)
    place.job(JobStatus.RUNNING, run="crashed", limit=("align", 1), reason=Reason("RUNNING"))
    place.hold(1)
    place.job(JobStatus.QUEUED, limit=("align", 1), reason=Reason("ACCEPTED"))
    before = place.do(lambda store: store.get([1, 2])), place.do(lambda store: store.runs())

    for command in (["ls"], ["show", 2], ["why", 2]):
        call(*command)

    assert before == (place.do(lambda store: store.get([1, 2])), place.do(lambda store: store.runs()))


# What went


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (JobStatus.FINISHED, Reason("EXIT", {"rc": 0})),
        (JobStatus.FAILED, Reason("EXIT", {"rc": 3})),
        (JobStatus.FAILED, Reason("LOST")),
    ],
)
def test_nobody_is_sent_to_logs_that_were_removed(place, call, status, reason) -> None:
    place.run()
    place.job(status, reason=reason, removed=True)

    said = call("why", 1).out

    assert "was removed with its directory, as keep= of its run says" in said
    assert "xqute logs" not in said


def test_what_can_be_done_without_logs_is_still_said_where_they_were_removed(place, call) -> None:
    place.run()
    place.job(JobStatus.FAILED, reason=Reason("EXIT", {"rc": 126}), removed=True)

    assert "chmod" in call("why", 1).out


def test_a_job_whose_directory_was_removed_says_so(place, call) -> None:
    place.run()
    place.job(removed=True)
    (place.root / "1").rmdir()

    assert "/1 (removed, as keep= says)" in call("show", 1).out
    assert "was removed after it had ended, as keep= of its run says" in call("logs", 1).err
    assert call("ls", "--json").json["jobs"][0]["status"] == "finished"


def test_ls_says_that_there_are_very_many_directories(some, call, monkeypatch) -> None:
    few = call("ls").out
    monkeypatch.setattr(crowding, "MANY_DIRECTORIES", 2)

    said = call("ls").out

    assert "job directories" not in few
    assert said.splitlines()[-1].startswith(f"{some.root} holds 3 job directories, ")
    assert "`xqute prune`" in said
    assert "keep='failed'" in said


def test_ls_counts_directories_and_not_ids(some, call, monkeypatch) -> None:
    call("prune", "--yes", "--keep", "failed")
    monkeypatch.setattr(crowding, "MANY_DIRECTORIES", 1)

    assert "job directories" not in call("ls").out
