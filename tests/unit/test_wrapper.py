"""The script that every job runs in, filled and run under each shell there is."""

import contextlib
import functools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.waiting import wait_for
from xqute.testing import toyprocs
from xqute.wrapper import PRESCRIPT_FAILED, RETURNED, Script, fill, quote

#: argv of each shell the wrapper must run under.
SHELLS = {
    "sh": ["/bin/sh"],
    "dash": ["dash"],
    "bash": ["bash"],
    "bash-posix": ["bash", "--posix"],
    "busybox": ["busybox", "sh"],
    "ksh": ["ksh"],
    "mksh": ["mksh"],
    "yash": ["yash"],
    "zsh": ["zsh", "--emulate", "sh"],
}
HERE = {name: argv for name, argv in SHELLS.items() if shutil.which(argv[0])}

#: Prints its arguments as they arrived.
ECHO = (
    sys.executable,
    "-c",
    "import sys,os,json; print(json.dumps([os.fsencode(a).hex() for a in sys.argv[1:]]))",
)


@pytest.fixture(params=HERE, ids=str)
def shell(request) -> list[str]:
    return HERE[request.param]


@pytest.fixture(
    params=[
        # bash asks for a process for 15 seconds before it gives up
        pytest.param(name, marks=pytest.mark.soak if "bash" in name else ())
        for name in HERE
    ]
)
def quick_shell(request) -> list[str]:
    return HERE[request.param]


@pytest.fixture
def job(tmp_path) -> Path:
    """The directory of a job, with characters in it that a shell would mind."""
    path = tmp_path / 'it\'s a $HOME; `dir` "7"'
    path.mkdir()
    return path


def write(job: Path, argv, **more) -> Path:
    """A job's script."""
    given_ = {"cwd": str(job), "exports": {"XQUTE_JOB": "mark"}, **more}
    path = job / "job.wrapped.test"
    path.write_bytes(os.fsencode(fill(Script(directory=str(job), argv=argv, **given_))))
    return path


def run(shell, job: Path, argv, **more) -> int:
    script = write(job, argv, **more)
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "start_new_session": True}
    return subprocess.run([*shell, script], check=False, timeout=60, **quiet).returncode


def last_line(job: Path) -> str:
    return (job / "job.status").read_text().splitlines()[-1]


def arrived(job: Path) -> list[str]:
    return [os.fsdecode(bytes.fromhex(arg)) for arg in json.loads((job / "job.stdout").read_text())]


# argv

AWKWARD = {
    "empty": "",
    "blank": " ",
    "single quote": "it's",
    "double quotes": 'say "hi"',
    "all quotes": "'\"`'\"`",
    "variable": "$HOME ${HOME} $$ $! $(id) `id`",
    "backslashes": "\\ \\\\ \\n a\\",
    "newlines": "a\nb\n\nc\n",
    "carriage return": "a\r\nb",
    "tab": "\ta\t",
    "glob": "* ? [a-z] ~ {a,b}",
    "operators": "a && b; c | d > e < f & (g) !",
    "comment": "a # b",
    "directives": "a\n#$ -l nosuch=1\n#SBATCH -n 7\n\n#\n##",
    "leading dash": "-n",
    "double dash": "--",
    "equals": "A=B",
    "percent": "%s %d %n @DIR@ @ARGV@",
    "at": "@STDIN@",
    "emoji": "🦊 日本 naïve",
    "control": "\x01\x07\x1b[31m\x7f",
    "not utf-8": "caf\udce9 \udcff",
    "100 kB": "x" * 100_000,
    "100 kB of quotes": "'" * 100_000,
}


@pytest.mark.parametrize("argument", AWKWARD.values(), ids=AWKWARD)
def test_an_argument_arrives_exactly(shell, job, argument):
    rc = run(shell, job, [*ECHO, argument, "end"])

    assert rc == 0
    assert arrived(job) == [argument, "end"]


def test_many_arguments_arrive_exactly(shell, job):
    argv = [*AWKWARD.values(), *map(str, range(2000))]

    run(shell, job, [*ECHO, *argv])

    assert arrived(job) == argv


words = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"])
    | st.sampled_from("'\"\\$`\n !*?~-=@{}()<>|&;#\udc80\udcff"),
    max_size=30,
)


@given(st.lists(words, min_size=1, max_size=8))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_argv_comes_back_as_it_was_given(shell, job, argv):
    for name in ("job.status", "job.rc"):
        (job / name).unlink(missing_ok=True)

    run(shell, job, [*ECHO, *argv])

    assert arrived(job) == argv


@given(words)
def test_a_quoted_word_is_one_word(word):
    quoted = os.fsencode(quote(word))
    printed = subprocess.run([b"/bin/sh", b"-c", b"printf %s " + quoted], check=True, capture_output=True)

    assert os.fsdecode(printed.stdout) == word


def test_a_program_with_a_leading_dash_is_a_program(shell, job):
    program = job / "-run"
    program.write_text("#!/bin/sh\necho ran >&2\n")
    program.chmod(0o700)

    rc = run(shell, job, ["-run"], exports={"PATH": f"{job}:{os.environ['PATH']}"})

    assert (rc, (job / "job.stderr").read_text()) == (0, "ran\n")


# how it ends


@pytest.mark.parametrize("rc", [0, 1, 2, 99, 100, 126, 127, 128, 137, 255])
def test_the_rc_arrives_exactly_everywhere(shell, job, rc):
    returned = run(shell, job, ["sh", "-c", f"exit {rc}"])

    assert returned == rc
    assert last_line(job) == (f"FAILED {rc}" if rc else "FINISHED 0")
    assert (job / "job.rc").read_text() == f"{rc}\n"


def test_the_status_file_has_two_lines(shell, job):
    run(shell, job, ["true"])

    first, last = (job / "job.status").read_text().splitlines()
    assert first.split()[0] == "RUNNING"
    assert int(first.split()[1]) > 0
    assert last == "FINISHED 0"


def test_a_command_that_does_not_exist_is_127(shell, job):
    assert run(shell, job, ["no-such-command"]) == 127
    assert last_line(job) == "FAILED 127"


def test_a_command_that_is_no_program_is_126(shell, job):
    (job / "plain").write_text("")

    assert run(shell, job, [str(job / "plain")]) == 126


def test_a_missing_working_directory_is_126_and_the_command_does_not_run(shell, job):
    assert run(shell, job, ["touch", str(job / "ran")], cwd=str(job / "nowhere")) == 126
    assert not (job / "ran").exists()
    assert (job / "job.stderr").read_text()


def test_a_payload_killed_hard_is_told(shell, job):
    run(shell, job, ["sh", "-c", "kill -KILL $$"])

    assert last_line(job) == "FAILED 137"


@pytest.mark.parametrize("name", ["INT", "QUIT", "HUP", "TERM", "USR1", "PIPE", "SEGV"])
def test_a_payload_that_died_of_a_signal_is_told_as_a_shell_does(shell, job, name):
    number = getattr(signal, f"SIG{name}")

    run(shell, job, ["sh", "-c", f"kill -{name} $$"])

    assert last_line(job) == f"FAILED {128 + number}"


# signals to the group


def started(shell, job: Path, script: Path) -> subprocess.Popen[bytes]:
    """A wrapper in a session of its own, whose payload runs."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "start_new_session": True}
    process = subprocess.Popen([*shell, script], **quiet)
    end = time.monotonic() + 20
    while not (job / "ready").exists():
        assert time.monotonic() < end, "the payload did not start"
        time.sleep(0.005)
    return process


READY = "touch ready; exec sleep 60"


@pytest.mark.parametrize("name", ["TERM", "HUP", "XCPU"])
def test_a_request_to_stop_makes_the_end_failed_and_names_the_signal(shell, job, name):
    process = started(shell, job, write(job, ["sh", "-c", READY]))

    os.killpg(process.pid, getattr(signal, f"SIG{name}"))
    rc = process.wait(20)

    assert rc == 128 + getattr(signal, f"SIG{name}")
    assert last_line(job) == f"FAILED {rc} {name}"
    assert (job / "job.rc").read_text() == f"{rc}\n"


@pytest.mark.parametrize("name", ["INT", "QUIT", "USR1", "USR2"])
def test_a_signal_that_is_the_payloads_business_is_told_by_its_rc(shell, job, name):
    process = started(shell, job, write(job, ["sh", "-c", READY]))

    os.killpg(process.pid, getattr(signal, f"SIG{name}"))
    rc = process.wait(20)

    assert rc == 128 + getattr(signal, f"SIG{name}")
    assert last_line(job) == f"FAILED {rc}"


@pytest.mark.parametrize("name", ["TERM", "HUP", "XCPU", "INT", "QUIT", "USR1", "USR2"])
def test_a_payload_that_ends_well_after_a_signal_never_makes_a_success_of_term(shell, job, name):
    """Rows of jobs that were killed and called FINISHED: TERM, HUP and XCPU never end well."""
    code = f"trap 'exit 0' {name}; touch ready; while :; do sleep 0.05; done"
    process = started(shell, job, write(job, ["sh", "-c", code]))

    os.killpg(process.pid, getattr(signal, f"SIG{name}"))
    process.wait(20)

    asked = name in {"TERM", "HUP", "XCPU"}
    assert last_line(job) == (f"FAILED 0 {name}" if asked else "FINISHED 0")
    assert (job / "job.rc").read_text() == "0\n"


@pytest.mark.parametrize("name", ["TERM", "HUP", "XCPU"])
def test_a_signal_to_the_wrapper_alone_is_remembered_until_the_payload_ends(shell, job, name):
    code = "touch ready; until [ -e go ]; do sleep 0.02; done"
    process = started(shell, job, write(job, ["sh", "-c", code]))

    os.kill(process.pid, getattr(signal, f"SIG{name}"))
    (job / "go").touch()
    process.wait(20)

    assert last_line(job).startswith("FAILED ")
    assert last_line(job).endswith(f" {name}")


def test_a_wrapper_killed_hard_says_nothing(shell, job):
    process = started(shell, job, write(job, ["sh", "-c", READY]))

    os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)

    assert last_line(job).startswith("RUNNING ")
    assert not (job / "job.rc").exists()


@pytest.mark.parametrize("name", ["ALRM", "PIPE", "SEGV"])
def test_a_wrapper_that_ends_by_a_signal_of_no_meaning_says_nothing(shell, job, name):
    """In bash its EXIT trap runs then, with a rc of 0 and the payload still there."""
    process = started(shell, job, write(job, ["sh", "-c", READY]))

    os.kill(process.pid, getattr(signal, f"SIG{name}"))
    rc = process.wait(20)
    os.killpg(process.pid, signal.SIGKILL)

    assert rc == -getattr(signal, f"SIG{name}")
    assert last_line(job).startswith("RUNNING ")
    assert not (job / "job.rc").exists()


# a start that is given back


def given_back(job: Path) -> bool:
    """Whether the claim says that nothing ran, in a word that is no line."""
    return (job / "job.status").read_text() == RETURNED


#: Not even one process more; nobody else's user, so that nothing else counts.
NO_PROCESS = {"user": 54321, "group": 54321, "extra_groups": []} if not os.geteuid() else {}


@pytest.mark.parametrize("postscript", ["", "echo post"], ids=["", "with postscript"])
def test_a_start_that_gets_no_process_is_given_back(quick_shell, job, anybodys, postscript):
    job = anybodys / job.name
    job.mkdir()
    script = write(job, ["sh", "-c", "echo ran"], postscript=postscript)
    for path in (job, script):
        path.chmod(0o777)
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_NPROC, (1, 1))

    ended = subprocess.run([*quick_shell, script], check=False, timeout=60, preexec_fn=limit, **NO_PROCESS)

    assert ended.returncode == 75
    assert given_back(job)
    assert (job / "job.stdout").read_text() == (job / "job.stderr").read_text() == ""


@pytest.mark.parametrize("name", ["job.stdout", "job.stderr"])
def test_a_start_that_can_not_make_its_output_files_is_given_back(shell, job, name):
    (job / name).mkdir()

    assert run(shell, job, ["touch", str(job / "ran")], postscript=f"touch {quote(str(job / 'post'))}") == 75

    assert given_back(job)
    assert not (job / "ran").exists()
    assert not (job / "post").exists()
    assert not (job / "job.rc").exists()


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_output_files_of_the_users_own_that_can_not_be_written_fail_the_job(shell, job, name):
    rc = run(shell, job, ["touch", str(job / "ran")], **{name: str(job / "no where" / "file")})

    assert rc not in (0, 75)
    assert last_line(job).startswith("FAILED ")
    assert not (job / "ran").exists()
    if name == "stdout":
        assert "no where" in (job / "job.stderr").read_text()


NO_SHELL_TEXT = pytest.mark.parametrize("text", ["if", "fi", "(", ")", "}", "echo 'a", 'echo "a', "echo `a"])


@NO_SHELL_TEXT
def test_a_prescript_that_is_no_shell_text_fails_the_job_and_is_not_given_back(shell, job, text):
    rc = run(shell, job, ["touch", str(job / "ran")], prescript=text)

    assert rc not in (0, 75)
    assert last_line(job) == f"FAILED {rc}"
    assert f"{PRESCRIPT_FAILED} {rc}" in (job / "job.stderr").read_text()
    assert not (job / "ran").exists()


@NO_SHELL_TEXT
def test_a_postscript_that_is_no_shell_text_says_so_and_changes_no_end(shell, job, text):
    rc = run(shell, job, ["echo", "ran"], postscript=text)

    assert (rc, last_line(job)) == (0, "FINISHED 0")
    assert (job / "job.stdout").read_text() == "ran\n"
    assert (job / "job.stderr").read_text()


@pytest.mark.parametrize("rc", [2, 75, 254])
def test_a_payload_that_ends_with_a_number_of_ours_is_not_given_back(shell, job, rc):
    assert run(shell, job, ["sh", "-c", f"exit {rc}"]) == rc

    assert last_line(job) == f"FAILED {rc}"


# the claim and the fence


def test_a_second_copy_of_a_start_leaves_without_running(shell, job):
    script = write(job, ["sh", "-c", "echo ran >>runs; sleep 0.2"])
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}

    copies = [subprocess.Popen([*shell, script], **quiet) for _ in range(8)]
    codes = [copy.wait(30) for copy in copies]

    assert codes == [0] * 8
    assert (job / "runs").read_text() == "ran\n"
    assert (job / "job.status").read_text().count("\n") == 2


def test_a_copy_that_comes_after_the_end_leaves_without_running(shell, job):
    script = write(job, ["sh", "-c", "echo ran >>runs; exit 3"])
    subprocess.run([*shell, script], check=False, timeout=30)

    again = subprocess.run([*shell, script], check=False, timeout=30)

    assert again.returncode == 0
    assert (job / "runs").read_text() == "ran\n"
    assert last_line(job) == "FAILED 3"


def test_a_wrapper_without_its_directory_says_so_by_its_rc(shell, job, tmp_path):
    script = write(job, ["true"])
    script = script.rename(tmp_path / "script")
    shutil.rmtree(job)

    assert subprocess.run([*shell, script], check=False, timeout=30).returncode == 75
    assert not job.exists()


def test_the_file_of_a_later_start_is_never_touched(shell, job):
    code = "touch ready; until [ -e go ]; do sleep 0.02; done"
    process = started(shell, job, write(job, ["sh", "-c", code]))

    (job / "job.status").rename(job / "old")
    (job / "job.status").write_text("RUNNING 1\n")
    (job / "job.rc").write_text("later\n")
    (job / "go").touch()
    rc = process.wait(20)

    assert rc == 76
    assert (job / "job.status").read_text() == "RUNNING 1\n"
    assert (job / "job.rc").read_text() == "later\n"


def test_a_status_file_that_was_taken_away_is_not_made_again(shell, job):
    code = "touch ready; until [ -e go ]; do sleep 0.02; done"
    process = started(shell, job, write(job, ["sh", "-c", code]))

    (job / "job.status").unlink()
    (job / "go").touch()
    process.wait(20)

    assert not (job / "job.status").exists()


# what the payload has


def test_stdout_and_stderr_arrive_byte_for_byte(shell, job):
    data = bytes(range(256)) * 4000
    (job / "data").write_bytes(data)

    run(shell, job, ["sh", "-c", "cat data; cat data >&2"])

    assert (job / "job.stdout").read_bytes() == data
    assert (job / "job.stderr").read_bytes() == data


def test_a_shell_line_is_captured_whole(shell, job):
    line = "echo a && echo b; echo c\necho d # comment\ncat <<E\nhere\nE"

    run(shell, job, ["bash", "-c", line])

    assert (job / "job.stdout").read_text() == "a\nb\nc\nd\nhere\n"


def test_the_environment_is_exactly_what_was_given(shell, job):
    exports = {"XQUTE_JOB": "t-1", "A": "it's $HOME\n", "EMPTY": "", "PATH": os.environ["PATH"]}
    code = "import os, json; print(json.dumps(dict(os.environ)))"

    run(shell, job, [sys.executable, "-c", code], exports=exports)

    environment = json.loads((job / "job.stdout").read_text())
    assert {name: environment[name] for name in exports} == exports
    assert "d" not in environment
    assert "sig" not in environment


def test_only_the_three_standard_descriptors_are_open(shell, job):
    run(shell, job, [sys.executable, "-c", "import os; print(*sorted(os.listdir('/proc/self/fd')))"])

    # the fourth is the listing itself
    assert (job / "job.stdout").read_text().split() == ["0", "1", "2", "3"]


def test_no_signal_is_ignored_or_blocked(shell, job):
    code = "grep -E 'Sig(Blk|Ign)' /proc/self/status"

    run(shell, job, ["sh", "-c", code])

    masks = [int(line.split()[1], 16) for line in (job / "job.stdout").read_text().splitlines()]
    assert masks[0] == 0
    for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "XCPU", "PIPE"):
        # Python, which runs this test, ignores PIPE and XFSZ; a scheduler gives defaults
        if name != "PIPE":
            assert not masks[1] >> (getattr(signal, f"SIG{name}") - 1) & 1


def test_stdin_is_what_was_given(shell, job):
    (job / "in put").write_bytes(b"given\0\xff")

    run(shell, job, ["cat"], stdin=str(job / "in put"))

    assert (job / "job.stdout").read_bytes() == b"given\0\xff"


def test_stdin_is_empty_otherwise(shell, job):
    assert run(shell, job, ["cat"]) == 0
    assert (job / "job.stdout").read_bytes() == b""


def test_a_stdin_that_does_not_exist_fails_the_job(shell, job):
    assert run(shell, job, ["touch", "ran"], stdin=str(job / "nowhere")) != 0
    assert not (job / "ran").exists()
    assert last_line(job).startswith("FAILED ")


def test_output_goes_to_the_users_own_files(shell, job):
    own = {"stdout": str(job / "my out"), "stderr": str(job / "my err")}

    run(shell, job, ["sh", "-c", "echo out; echo err >&2"], **own)

    assert (job / "my out").read_text() == "out\n"
    assert (job / "my err").read_text() == "err\n"


def test_an_earlier_output_is_replaced(shell, job):
    (job / "job.stdout").write_text("something much longer from before")

    run(shell, job, ["echo", "new"])

    assert (job / "job.stdout").read_text() == "new\n"


def test_the_payload_runs_where_it_was_told(shell, job):
    (job / "else where").mkdir()

    run(shell, job, ["pwd"], cwd=str(job / "else where"))

    assert (job / "job.stdout").read_text().strip() == str(job / "else where")


# prescript and postscript


def test_a_prescript_runs_in_the_payloads_shell(shell, job):
    pre = "export FROM_PRE='a b'\nulimit -n 77"

    run(shell, job, ["sh", "-c", 'echo "$FROM_PRE"; ulimit -n'], prescript=pre)

    assert (job / "job.stdout").read_text() == "a b\n77\n"


def test_what_a_prescript_prints_is_no_result(shell, job):
    run(shell, job, ["echo", "result"], prescript="echo noise; echo more >&2")

    assert (job / "job.stdout").read_text() == "result\n"
    assert (job / "job.stderr").read_text() == "noise\nmore\n"


@pytest.mark.parametrize(
    ("pre", "rc"),
    [
        ("cd /nonexistent", None),
        ("exit 7", 7),
        ("false\necho on", 1),
        ("no-such-command", 127),
        ("sh -c 'exit 9'", 9),
    ],
)
def test_a_failing_prescript_fails_the_job_and_says_so(shell, job, pre, rc):
    returned = run(shell, job, ["touch", str(job / "ran")], prescript=pre)

    assert not (job / "ran").exists()
    assert returned != 0
    assert rc is None or returned == rc
    assert last_line(job) == f"FAILED {returned}"
    assert f"{PRESCRIPT_FAILED} {returned}" in (job / "job.stderr").read_text()


def test_a_prescript_does_not_change_how_the_payload_runs(shell, job):
    run(shell, job, ["sh", "-c", "false; echo on; exit 5"], prescript="true")

    assert (job / "job.stdout").read_text() == "on\n"
    assert last_line(job) == "FAILED 5"


def test_a_prescript_of_a_megabyte_of_output_does_no_harm(shell, job):
    pre = "head -c 1000000 /dev/zero"

    assert run(shell, job, ["true"], prescript=pre) == 0
    assert (job / "job.stderr").stat().st_size == 1_000_000


@pytest.mark.parametrize("rc", [0, 3])
def test_a_postscript_always_runs_and_knows_the_rc(shell, job, rc):
    post = 'echo "rc $XQUTE_RC" >post; exit 9'
    post = f"cd {quote(str(job))}; {post}"

    returned = run(shell, job, ["sh", "-c", f"exit {rc}"], postscript=post)

    assert (job / "post").read_text() == f"rc {rc}\n"
    assert returned == rc
    assert last_line(job) == (f"FAILED {rc}" if rc else "FINISHED 0")


def test_a_postscript_runs_after_a_failing_prescript(shell, job):
    post = f"touch {quote(str(job / 'post'))}"

    run(shell, job, ["true"], prescript="exit 4", postscript=post)

    assert (job / "post").exists()
    assert last_line(job) == "FAILED 4"


def test_a_postscript_runs_after_a_request_to_stop(shell, job):
    post = f"touch {quote(str(job / 'post'))}"
    process = started(shell, job, write(job, ["sh", "-c", READY], postscript=post))

    os.killpg(process.pid, signal.SIGTERM)
    process.wait(20)

    assert (job / "post").exists()
    assert last_line(job).endswith("TERM")


def test_what_a_postscript_prints_is_appended_to_stderr(shell, job):
    run(shell, job, ["echo", "result"], postscript="echo post; echo more >&2")

    assert (job / "job.stdout").read_text() == "result\n"
    assert (job / "job.stderr").read_text() == "post\nmore\n"


@pytest.mark.parametrize("kind", ["a pipe", "a link"])
def test_a_postscript_opens_nothing_that_the_payload_put_in_the_place_of_stderr(shell, job, kind):
    (job / "precious").touch()
    plant = {"a pipe": "mkfifo job.stderr", "a link": "ln -s precious job.stderr"}[kind]

    rc = run(shell, job, ["sh", "-c", f"rm job.stderr; {plant}; exit 3"], postscript="echo post")

    assert rc == 3
    assert (job / "precious").read_text() == ""


def test_a_postscript_has_a_stderr_where_the_payload_has_one_of_the_users_own(shell, job):
    run(shell, job, ["sh", "-c", "echo mine >&2"], stderr=str(job / "my err"), postscript="echo post")

    assert (job / "my err").read_text() == "mine\n"
    assert (job / "job.stderr").read_text() == "post\n"


def test_a_postscript_has_the_three_standard_descriptors_only(shell, job):
    code = "import os; print(*sorted(os.listdir('/proc/self/fd')))"

    run(shell, job, ["true"], postscript=f'{quote(sys.executable)} -c "{code}"')

    # the fourth is the listing itself
    assert (job / "job.stderr").read_text().split() == ["0", "1", "2", "3"]


# a scheduler that asks by other signals, and reads meanings into return codes

ASKED = {"asked_by": ("USR2",), "ignored": ("USR1",)}


def group(process) -> list[bytes]:
    """What the processes run that belong to a wrapper, and live."""
    running = []
    for pid in toyprocs.of_group(process.pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            running.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    return running


@pytest.mark.parametrize(
    ("payload", "end"),
    [
        pytest.param("trap 'exit 5' TERM; touch ready; sleep 60 & wait", "FAILED 5 TERM", id="heard"),
        pytest.param("touch ready; exec sleep 60", "FAILED 143 TERM", id="unheard"),
    ],
)
def test_the_signal_a_scheduler_asks_by_arrives_as_term(shell, job, payload, end):
    process = started(shell, job, write(job, ["sh", "-c", payload], **ASKED))

    wait_for(lambda: {b"sleep\0009999\0", b"sleep\00060\0"} <= {*group(process)})

    os.killpg(process.pid, signal.SIGUSR1)
    os.killpg(process.pid, signal.SIGUSR2)
    process.wait(20)

    assert last_line(job) == end
    wait_for(lambda: not group(process))


def test_what_left_the_group_is_asked_too_and_ends_with_the_payload(shell, job):
    deaf = "trap '' TERM; echo $$ >deaf; sleep 60; :"
    line = f'setsid sh -c "{deaf}" & setsid sh -c "echo $$ >polite; sleep 60; :" & touch ready; exec sleep 60'
    process = started(shell, job, write(job, ["sh", "-c", line.replace("$$", r"\$\$")], **ASKED))
    wait_for(lambda: b"sleep\0009999\0" in group(process))
    wait_for(lambda: all((job / name).exists() and (job / name).read_text() for name in ("deaf", "polite")))
    pids = [int((job / name).read_text()) for name in ("deaf", "polite")]

    os.killpg(process.pid, signal.SIGUSR2)
    process.wait(20)

    wait_for(lambda: not any(toyprocs.since(pid) for pid in pids))
    assert last_line(job) == "FAILED 143 TERM"


def test_who_hears_for_the_payload_leaves_with_it(shell, job):
    process = started(shell, job, write(job, ["sh", "-c", "touch ready; exit 3"], **ASKED))

    assert process.wait(20) == 3
    wait_for(lambda: not group(process))


@pytest.mark.parametrize(("rc", "told"), [(0, 0), (3, 3), (99, 1), (100, 1), (255, 255)])
def test_return_codes_with_a_meaning_to_the_scheduler_are_kept_from_it(shell, job, rc, told):
    word = "$(($1 == 99 || $1 == 100 ? 1 : $1))"

    assert run(shell, job, ["sh", "-c", f"exit {rc}"], exit_with=word) == told

    assert (job / "job.rc").read_text() == f"{rc}\n"


# the text


def test_directives_stand_at_the_top():
    text = fill(Script("/d", ["true"], "/", {"A": "1"}, directives=["#SBATCH -n 1", "#SBATCH -t 2"]))

    assert text.splitlines()[:3] == ["#!/bin/sh", "#SBATCH -n 1", "#SBATCH -t 2"]


def test_no_line_of_a_users_text_looks_like_a_directive():
    evil = "echo\n#$ -l nosuch=1\n#"
    text = fill(Script("/d", ["echo", evil], "/", {"A": evil}, prescript=evil, postscript=evil, stdin=evil))

    lines = [line for line in text.splitlines() if line.startswith("#")]
    assert lines == ["#!/bin/sh", "# xqute start 1 of "]


def test_comments_for_readers_are_not_copied():
    assert "##" not in fill(Script("/d", ["true"], "/", {"A": "1"}))


def test_what_is_filled_in_is_not_filled_again():
    text = fill(Script("/d", ["echo", "@DIR@", "@POSTSCRIPT@"], "/", {"A": "@ARGV@"}))

    assert "@DIR@ @POSTSCRIPT@" in text.replace("'", "")
