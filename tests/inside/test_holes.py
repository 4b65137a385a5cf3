"""Commands that take the results of others as arguments."""

import pathlib
import signal
import sys

import pytest

SHOW = (sys.executable, "-c", "import sys; print(ascii(sys.argv[1:]))")


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("a 'b' $c\n", "a 'b' $c\n"),
        (3, "3"),
        (2.5, "2.5"),
        (True, "True"),
        (pathlib.PurePath("/a/b"), "/a/b"),
        (b"\xff", "\udcff"),
    ],
    ids=repr,
)
def test_a_result_becomes_an_argument(host, value, word):
    job = host.command(*SHOW, "before", host.Need(0), needs=[host.result(3, value)])

    assert job.rc == 0
    assert job.stdout == f"{['before', word]!a}\n"


def test_the_output_of_a_command_becomes_an_argument(host):
    job = host.command(*SHOW, host.Need(1), host.Need(0), needs=[host.result(3, "a"), host.output(4, b"b\n")])

    assert job.stdout == "['b', 'a']\n"


@pytest.mark.parametrize(
    ("value", "what"), [([1], "a list"), (None, "None"), ({"a": 1}, "a dict"), (3j, "a complex")], ids=repr
)
def test_what_is_no_argument_is_refused_with_its_job(host, value, what):
    job = host.command("echo", host.Need(0), needs=[host.result(3, value)])

    assert job.rc == 1
    assert job.stderr.startswith(
        f"xqute: argument 1 of the command takes the result of job 3, which is {what}: "
    )
    assert job.stdout == ""


def test_a_nul_is_no_argument(host):
    job = host.command("echo", host.Need(0), needs=[host.result(3, "a\0b")])

    assert job.stderr == "xqute: argument 1 of the command, the result of job 3, holds a NUL\n"


def test_the_command_takes_the_place_of_the_process(host):
    host.result(3, "x")

    job = host.command("sh", "-c", "exit 5", host.Need(0), needs=[[3, "result"]])

    assert job.rc == 5
    assert job.text("job.status").splitlines()[-1] == "FAILED 5"


def test_the_program_may_be_a_result(host):
    assert host.command(host.Need(0), "text", needs=[host.result(3, "echo")]).stdout == "text\n"


@pytest.mark.parametrize(("name", "rc"), [("no-such-program", 127), ("/etc/passwd", 126)])
def test_a_program_that_can_not_run_is_told_as_a_shell_does(host, name, rc):
    job = host.command(name, host.Need(0), needs=[host.result(3, "x")])

    assert job.rc == rc
    assert job.stderr.startswith(f"xqute: {name}: ")
    assert job.stderr.count("\n") == 1


def test_signals_are_as_a_command_expects_them(host):
    job = host.command("grep", "SigIgn", host.Need(0), needs=[host.result(4, "/proc/self/status")])

    ignored = int(job.stdout.split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGTERM - 1) | 1 << (signal.SIGXFSZ - 1))
