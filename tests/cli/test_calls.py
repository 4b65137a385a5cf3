"""What the commands tell of Python calls and trees: needs, progress, results, errors, logs."""

import json

import pytest

from tests.cli.conftest import THEN, dead, living
from tests.cli.test_looking import lines
from xqute.states import JobStatus, Reason

ERROR = {
    "type": "ValueError",
    "module": "builtins",
    "message": "no frame 3\nnor 4 \x1b[31m",
    "frames": [
        {
            "file": "/home/me/work.py",
            "line": 7,
            "function": "render",
            "context": [[6, "    try:"], [7, "\tlook(n)"], [8, ""]],
            "locals": {"n": "3", "scene": "'\x1b[2Jlong" + "x" * 300},
        }
    ],
    "cause": {
        "type": "KeyError",
        "message": "3",
        "frames": [],
        "how": "cause",
        "pickle": "c2VjcmV0",
        "cause": None,
    },
    "how": "",
    "pickle": "c2VjcmV0",
    "text": "Traceback …",
}

LOG = [
    {
        "date": THEN,
        "level": "INFO",
        "logger": "root",
        "text": "begun",
        "file": "a.py",
        "line": 1,
        "error": None,
    },
    {
        "date": THEN + 1,
        "level": "ERROR",
        "logger": "app.io",
        "text": "two\nlines \x1b[31m",
        "file": "a.py",
        "line": 2,
        "error": "Traceback:\n  KeyError",
    },
]


def as_lines(documents):
    return b"".join(json.dumps(each).encode() + b"\n" for each in documents)


@pytest.fixture
def tree(place):
    """A run under way: light ended well, one frame runs, one failed, and a movie needs both."""
    place.run(owner=living())
    place.job(command="light('a')", task="light", result=b"Box(n=3)")
    running = {"scheduler": "local", "uid": "7"}
    place.job(JobStatus.RUNNING, "render('a', 1, light)", task="render", needs=[1],
              reason=Reason("RUNNING", running),
              events=b"stage@1/2 frames\nprogress 1 4 frame 1\n")  # fmt: skip
    place.job(JobStatus.FAILED, "render('a', 2, light)", task="render", needs=[1],
              reason=Reason("EXIT", {"rc": 1}), error=json.dumps(ERROR).encode())  # fmt: skip
    place.job(JobStatus.WAITING, "movie([render, render])", task="movie", needs=[2, 3],
              reason=Reason("BLOCKED", {"needs": 3, "cause": 3}))  # fmt: skip
    place.job(JobStatus.WAITING, "echo later", needs=[1, 2], reason=Reason("NEEDS"))
    return place


def test_ls_shows_how_far_running_jobs_are_and_what_others_wait_for(tree, call) -> None:
    told = call("ls").out

    assert lines(told)[2:] == [
        ["id", "status", "attempt", "time", "progress", "title", "reason"],
        ["1", "FINISHED", "1", "1.00 s", "light('a')", "EXIT 0"],
        ["2", "RUNNING", "1", *lines(told)[4][3:4], "31% frames: frame 1", "render('a', 1, light)",
         "running at local as 7"],
        ["3", "FAILED", "1", "1.00 s", "render('a', 2, light)", "EXIT 1"],
        ["4", "WAITING", "1", "movie([render, render])", "blocked: 3 failed"],
        ["5", "WAITING", "1", "echo later", "needs 2"],
    ]  # fmt: skip


def test_ls_lists_the_calls_of_a_task(tree, call) -> None:
    assert [job["id"] for job in call("ls", "--task", "render", "--json").json["jobs"]] == [2, 3]


def test_what_is_only_needed_by_others_can_be_left_out_and_says_for_whom_it_is(place, call) -> None:
    place.run()
    place.job(command="movie()", task="movie")
    place.job(command="render(1)", task="render", parent=1)

    assert [job["id"] for job in call("ls", "--top", "--json").json["jobs"]] == [1]
    assert "for             job 1\n" in call("show", 2).out
    assert [call("show", id_, "--json").json["parent"] for id_ in (1, 2)] == [None, 1]


def test_as_json_a_job_has_its_needs_and_its_progress(tree, call) -> None:
    jobs = {job["id"]: job for job in call("ls", "--json").json["jobs"]}

    assert [jobs[id_]["needs"] for id_ in jobs] == [[], [1], [1], [2, 3], [1, 2]]
    assert jobs[1]["progress"] is None
    assert jobs[2]["progress"] == {
        "percent": 31.25,
        "current": 1.25,
        "total": 4.0,
        "stage": "frames",
        "message": "frame 1",
        "children": {},
    }


def test_show_of_a_call_tells_what_it_needs_and_what_it_returned(tree, call) -> None:
    first, second = call("show", 1).out, call("show", 4).out

    assert "call            light('a')\ntask            light\n" in first
    assert "result          Box(n=3)\n" in first
    assert "needs           2 RUNNING, 3 FAILED\n" in second
    assert call("show", 1, "--json").json["result"] == "Box(n=3)"


def test_show_tells_nested_bars_each_on_a_line(place, call) -> None:
    place.run(owner=living())
    place.job(JobStatus.RUNNING, reason=Reason("RUNNING"),
              events=b"progress@a 1 4 of a\nprogress@b/c 1 2 \x1b[2J evil\n")  # fmt: skip

    told = call("show", 1).out

    assert "progress        33%\n  a: 25% of a (1 of 4)\n  b: 50%" in told
    assert "\x1b" not in told


def test_show_tells_how_a_call_failed_with_its_code_and_variables(tree, call) -> None:
    told = call("show", 3).out

    assert "ValueError: no frame 3\n  nor 4 \n  /home/me/work.py:7 in render\n" in told
    assert "        6 |     try:\n  >     7 |         look(n)\n        8 |\n      n = 3\n" in told
    assert "caused by KeyError: 3\n" in told
    assert "x" * 150 in told
    assert "x" * 250 not in told
    assert "\x1b" not in told


def test_what_is_pickled_is_in_no_document(tree, call) -> None:
    said = call("show", 3, "--json")

    assert "c2VjcmV0" not in said.out
    assert said.json["error"]["frames"] == ERROR["frames"]
    assert said.json["error"]["cause"]["type"] == "KeyError"


@pytest.mark.parametrize(
    "content", [b"no json", b"[]", b'{"type": 3}', b'{"type": "E", "frames": 3, "cause": 4, "message": null}']
)
def test_an_error_that_is_damaged_harms_nothing(place, call, content) -> None:
    place.run()
    place.job(JobStatus.FAILED, "f()", task="f", reason=Reason("EXIT", {"rc": 1}), error=content)

    assert call("show", 1).status == 0
    assert call("show", 1, "--json").status == 0


def test_why_of_a_job_that_waits_tells_of_each_it_waits_for(tree, call) -> None:
    assert call("why", 5).out.splitlines() == [
        "job 5 (echo later) is WAITING: needs 2",
        "  job 2 (render('a', 1, light)) is RUNNING (31% frames: frame 1): running at local as 7",
        "→ wait for the jobs it needs; `xqute why` tells about each of them",
    ]
    assert [other["id"] for other in call("why", 5, "--json").json["waits_for"]] == [2]


def test_why_of_a_blocked_job_names_the_one_to_blame_and_what_to_do(tree, call) -> None:
    assert call("why", 4).out.splitlines() == [
        "job 4 (movie([render, render])) is WAITING: blocked: 3 failed",
        "  job 3 (render('a', 2, light)) FAILED: EXIT 1",
        (
            "→ `xqute why 3` says what is wrong there; mend it and run that job again: `await job.retry()` "
            "while its program runs, else `xqute resume`; this one follows"
        ),
    ]


def test_why_of_a_blocked_job_that_nobody_runs_says_how_to_go_on(place, call) -> None:
    place.run(owner=dead())
    place.job(JobStatus.FAILED, reason=Reason("EXIT", {"rc": 1}))
    # its manager had no time to say that it is blocked
    place.job(JobStatus.WAITING, needs=[1], reason=Reason("NEEDS"))

    assert call("why", 2).out.splitlines() == [
        "job 2 (true) is WAITING: blocked: 1 failed",
        "  job 1 (true) FAILED: EXIT 1",
        (
            "→ `xqute why 1` says what is wrong there; mend it, then start the same script again with "
            "resume=True, or run `xqute resume run1`"
        ),
    ]


def test_why_of_a_job_that_had_nothing_to_do_says_it_once(place, call) -> None:
    place.run()
    place.job(JobStatus.SKIPPED, reason=Reason("SKIPPED", {"message": "nothing new"}))

    assert call("why", 1).out.splitlines()[0] == "job 1 (true) SKIPPED: nothing new"


@pytest.fixture
def logged(place):
    place.run()
    place.job(command="f()", task="f", out=b"out\n", err=b"err\n", log=as_lines(LOG) + b'half {"da',
              events=b"progress 1 2\nlog debug fine\nlog warning from a shell\nwhatever\n")  # fmt: skip
    return place


def test_the_log_follows_stderr(logged, call) -> None:
    said = call("logs", 1)

    assert said.out == "out\n"
    assert said.err.splitlines() == [
        "err",
        f"{date(0)} INFO     begun",
        f"{date(1)} ERROR    app.io: two",
        "    lines ",
        "    Traceback:",
        "      KeyError",
        f"{' ' * 19} WARNING  from a shell",
        f"{' ' * 19} INFO     whatever",
    ]


def date(seconds):
    from xqute.cli.forms import clock

    return clock(THEN + seconds)


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ([], ["begun", "app.io: two", "from a shell", "whatever"]),
        (["--level", "Debug"], ["begun", "app.io: two", "fine", "from a shell", "whatever"]),
        (["--level", "warning"], ["app.io: two", "from a shell"]),
        (["--level", "error"], ["app.io: two"]),
        (["--tail", "1"], ["whatever"]),
        (["--tail", "0"], []),
    ],
)
def test_the_log_alone_goes_to_stdout_by_its_levels(logged, call, options, texts) -> None:
    said = call("logs", 1, "--log", *options).out

    assert [line[29:] for line in said.splitlines() if line[20:21].strip()] == texts


def test_as_json_the_log_is_a_list(logged, call) -> None:
    said = call("logs", 1, "--log", "--json").json

    assert list(said) == ["id", "start", "log"]
    assert said["log"][0] == {**LOG[0], "date": "2026-03-01T12:00:00.000Z", "error": ""}
    assert [line["date"] for line in said["log"][2:]] == [None, None]


def test_the_log_of_an_earlier_start_is_found(logged, call) -> None:
    logged.job(command="f()", task="f", starts=2, log=as_lines(LOG[:1]))
    before = logged.root / "2" / "job.retry" / "1"
    before.mkdir(parents=True)
    (before / "job.log").write_bytes(as_lines(LOG[1:]))

    assert "begun" in call("logs", 2, "--log").out
    assert "two" in call("logs", 2, "--log", "--start", 1).out


def test_a_link_in_the_place_of_a_log_is_not_followed(logged, call) -> None:
    path = logged.root / "1" / "job.log"
    path.rename(logged.root / "elsewhere")
    path.symlink_to(logged.root / "elsewhere")

    assert "begun" not in call("logs", 1, "--log").out


def test_a_log_is_followed_as_it_comes(place, begin) -> None:
    place.run(owner=living())
    place.job(JobStatus.RUNNING, "f()", task="f", reason=Reason("RUNNING"), log=as_lines(LOG[:1]))
    process = begin("logs", 1, "--log", "--follow")
    assert process.stdout.readline().endswith(b"begun\n")

    with open(place.root / "1" / "job.log", "ab") as file:
        file.write(as_lines(LOG[1:]))

    assert process.stdout.readline().endswith(b"app.io: two\n")
