"""Commands arrive and report exactly as they were given."""

import hashlib
import os
import resource
import sys
from functools import partial
from pathlib import Path

import pytest

from xqute import JobFailed, JobStatus, OptionError, ResultTooLarge
from xqute.rules.remedies import remedy

SHOW = [
    sys.executable,
    "-c",
    "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))",
]

AWKWARD = [
    "it's", 'say "hi"', "$HOME", "$(id)", "`id`", "\\\\", "a\nb\n", "\t", " ", "", "*", "?", "[a-z]", "~",
    "-n", "--", "-e", "!", "!!", "$$", "$!", "$unset", "a;b", "a&&b", "a|b", "#no", "<x>", "(x)", "{a,b}",
    "é", "😀", "\u202e", "\r\n", "\udcff", "%s", "x" * 100_000, "'" * 1000, "=", "a=b", "\x01\x1b[31m",
]  # fmt: skip


async def test_every_awkward_argument_arrives_exactly(run_one):
    job = await run_one([*SHOW, *AWKWARD])

    arrived = job.stdout_file.read_bytes().split(b"\0")
    assert arrived == [os.fsencode(argument) for argument in AWKWARD]


async def test_numbers_bytes_and_paths_are_taken_as_arguments(run_one, tmp_path):
    job = await run_one(["printf", "%s ", 1, 2.5, b"\xff", tmp_path])

    assert job.stdout_file.read_bytes() == b"1 2.5 \xff " + os.fsencode(tmp_path) + b" "


async def test_an_argument_with_nul_is_refused_before_anything_is_stored(make):
    xqute = make()

    with pytest.raises(OptionError, match="NUL"):
        await xqute.push(["echo", "a\0b"])

    assert await xqute.find() == []


@pytest.mark.parametrize("command", [[], "", "  ", [""], b"ls", 7, [object()]])
async def test_what_is_no_command_is_refused_with_a_sentence(make, command):
    xqute = make()

    with pytest.raises(OptionError):
        await xqute.push(command)


@pytest.mark.parametrize(
    ("line", "output"),
    [
        ("echo a && echo b", "a\nb"),
        ("echo a; echo b", "a\nb"),
        ("echo a\necho b", "a\nb"),
        ("echo hi | tr a-z A-Z", "HI"),
        ("echo kept # a comment", "kept"),
        ("cat <<END\nhere $((1+1))\nEND", "here 2"),
        ('echo "it\'s"', "it's"),
        ("[[ a == a ]] && echo bash", "bash"),
    ],
)
async def test_a_shell_line_is_a_whole_script_whose_whole_output_is_captured(run_one, line, output):
    job = await run_one(line)

    assert await job == output


async def test_env_and_cwd_arrive_exactly(run_one, tmp_path):
    where = tmp_path / "a 'blank' $HOME"
    where.mkdir()

    job = await run_one('printf "%s|" "$PWD" "$GREETING"', cwd=where, env={"GREETING": "it's\n$x é"})

    assert job.stdout_file.read_text() == f"{where}|it's\n$x é|"


async def test_without_cwd_a_job_runs_where_the_program_was(run_one):
    job = await run_one(["pwd"])

    assert await job == os.getcwd()


async def test_env_of_a_push_is_added_to_that_of_the_run(run_one):
    job = await run_one("echo $A $B", options={"env": {"A": "1", "B": "1"}}, env={"B": "2"})

    assert await job == "1 2"


async def test_a_missing_cwd_fails_the_job_and_runs_nothing(run_one, tmp_path):
    job = await run_one(["touch", tmp_path / "ran"], cwd=tmp_path / "nowhere")

    assert job.rc == 126
    assert "working directory" in str(job.reason)
    assert not (tmp_path / "ran").exists()


async def test_stdin_is_empty_unless_a_file_is_given(run_one, tmp_path):
    (tmp_path / "in").write_bytes(b"from a file\n\x00\xff")

    empty = await run_one(["cat"])
    given = await run_one(["cat"], stdin=tmp_path / "in")

    assert empty.stdout_file.read_bytes() == b""
    assert given.stdout_file.read_bytes() == b"from a file\n\x00\xff"


async def test_stdout_and_stderr_of_ones_own_are_written_and_read(run_one, tmp_path):
    out, err = tmp_path / "my out", tmp_path / "my err"

    job = await run_one("echo out; echo err >&2; exit 4", stdout=out, stderr=err)

    assert (out.read_text(), err.read_text()) == ("out\n", "err\n")
    assert "err" in str(job.exception())


async def test_output_arrives_byte_for_byte(run_one):
    data = bytes(range(256)) * 64

    job = await run_one([sys.executable, "-c", f"import sys; sys.stdout.buffer.write({data!r})"])

    assert job.stdout_file.read_bytes() == data


async def test_a_large_output_leaves_the_managers_memory_flat(run_one):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    job = await run_one("head -c 300000000 /dev/zero; echo end")

    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert job.stdout_file.stat().st_size == 300_000_004
    assert grown < 50_000  # KiB
    with pytest.raises(ResultTooLarge, match=r"job\.stdout"):
        await job


async def test_a_result_is_the_output_without_trailing_newlines(run_one):
    assert await (await run_one("printf ' a\\n\\nb\\n\\n\\n'")) == " a\n\nb"
    assert await (await run_one("printf '\\377'")) == "\udcff"


@pytest.mark.parametrize("rc", [0, 1, 2, 42, 99, 100, 125, 128, 254, 255])
async def test_the_rc_arrives_exactly(run_one, rc):
    job = await run_one(f"exit {rc}")

    assert job.rc == rc
    assert job.rc_file.read_text() == f"{rc}\n"
    assert job.status is (JobStatus.FINISHED if rc == 0 else JobStatus.FAILED)


async def test_a_command_that_does_not_exist_fails_with_127_and_says_so(run_one):
    job = await run_one(["no-such-program", "x"])

    assert job.status is JobStatus.FAILED
    assert job.rc == 127
    with pytest.raises(JobFailed, match="command not found: no-such-program"):
        await job


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_program(text):
    program = Path("program")
    program.write_text(text, newline="")
    program.chmod(0o755)


async def script(run_one, text, *, line=False):
    """Run a program with this text, by its path."""
    write_program(text)
    job = await run_one("./program" if line else ["./program"])
    assert job.status is JobStatus.FAILED
    return job


@pytest.mark.parametrize(
    ("first", "line"), [("#!/bin/sh", False), ("#!/bin/sh", True), ("#!/usr/bin/env python3", False)]
)
async def test_a_script_with_the_line_ends_of_windows_is_said_to_have_them(run_one, workdir, first, line):
    job = await script(run_one, f"{first}\r\nexit 0\r\n", line=line)

    assert str(job.reason) == (
        f"EXIT {job.rc}: ./program has the line ends of Windows, and so names no program in its first line: "
        "`sed -i 's/\\r$//' ./program` mends it"
    )
    assert "PATH" not in remedy(job.status, job.reason, job.id)


@pytest.mark.parametrize(
    ("first", "missing", "line"),
    [
        ("#!/no/interpreter -x", "/no/interpreter", False),
        ("#!/no/interpreter -x", "/no/interpreter", True),
        ("#! /usr/bin/env -S no-interpreter", "no-interpreter", False),
    ],
)
async def test_a_script_whose_interpreter_is_missing_says_which(run_one, workdir, first, missing, line):
    job = await script(run_one, f"{first}\n", line=line)

    assert str(job.reason) == (
        f"EXIT {job.rc}: ./program is there, but its first line names {missing}, which is not: mend that line"
    )


async def test_a_script_that_did_not_find_something_is_not_said_to_be_missing(run_one, workdir):
    job = await script(run_one, "#!/bin/sh\nno-such-program\n")

    assert "EXIT 127: ./program is there, and something that it needs is not: " in str(job.reason)
    assert "no-such-program" in str(job.reason)


@pytest.mark.parametrize("command", [["echo", "x" * 200_000], "echo " + "x" * 200_000])
async def test_a_command_that_is_too_long_says_what_to_do(run_one, command):
    job = await run_one(command)

    assert str(job.reason).startswith("EXIT 126: its arguments and environment (env=) are longer than")
    assert "stdin=" in str(job.reason)
    assert "chmod" not in remedy(job.status, job.reason, job.id)


async def test_a_call_whose_environment_is_too_long_says_so(run_one):
    job = await run_one(partial(int, "1"), env={"LONG": "x" * 200_000})

    assert str(job.reason).startswith("EXIT 126: its arguments and environment (env=) are longer than")


async def test_a_program_name_with_a_leading_dash_is_a_name(run_one):
    job = await run_one(["-nope"])

    assert job.rc == 127


async def test_a_signal_that_ends_the_command_is_its_reason(run_one):
    job = await run_one("kill -SEGV $$")

    assert job.reason.code == "SIGNAL"
    assert job.reason.detail["signal"] == 11


async def test_a_timeout_fails_the_job_with_its_reason(run_one, marked):
    job = await run_one("trap '' TERM; sleep 60 & sleep 60", timeout="200ms", grace=0.2)

    assert job.status is JobStatus.FAILED
    assert str(job.reason) == "TIMEOUT after 0.2 s"
    assert marked(job) == set()


async def test_prescript_and_postscript_surround_the_command_in_its_shell(run_one):
    job = await run_one(
        "echo $GREETING",
        options={
            "scheduler_prescript": "GREETING=hello\nexport GREETING\necho from the prescript",
            "scheduler_postscript": "echo after with $XQUTE_RC",
        },
    )

    assert await job == "hello"
    assert job.stderr_file.read_text() == "from the prescript\nafter with 0\n"


async def test_a_postscript_runs_after_a_failure_and_does_not_change_the_rc(run_one):
    job = await run_one("exit 3", options={"scheduler_postscript": "echo after $XQUTE_RC; exit 9"})

    assert job.rc == 3
    assert "after 3" in job.stderr_file.read_text()


async def test_the_job_finds_itself_in_its_environment(run_one):
    job = await run_one('echo "$XQUTE_JOB_ID $XQUTE_JOB_START $XQUTE_JOB_ATTEMPT $XQUTE_JOB_METADIR"')

    assert await job == f"1 1 1 {job.metadir}"


async def test_wall_cpu_and_memory_of_a_job_are_recorded(run_one):
    job = await run_one([sys.executable, "-c", "x = bytearray(900_000_000); print(len(x))"])

    assert job.usage["peak"] > 900_000_000
    assert 0 < job.usage["cpu"] <= job.usage["wall"] * (os.cpu_count() or 1) + 0.1


async def test_job_directories_are_private(run_one):
    job = await run_one(["true"])

    assert job.metadir.stat().st_mode & 0o777 == 0o700
    assert (job.metadir / "job.wrapped.local").stat().st_mode & 0o777 == 0o700


async def test_a_job_costs_at_most_eight_files_and_directories(run_one):
    job = await run_one(["true"])

    names = {entry.name for entry in job.metadir.iterdir()}
    assert names == {"job.wrapped.local", "job.status", "job.rc", "job.stdout", "job.stderr"}
    assert len(names) + len(["the directory", "job.lock"]) <= 8


async def test_secrets_are_not_on_a_command_line(make):
    xqute = make()
    async with xqute:
        job = await xqute.push(
            "read x < /proc/$PPID/cmdline; echo; tr '\\0' ' ' < /proc/$PPID/cmdline", env={"TOKEN": "s3cret"}
        )
        output = await job

    assert "s3cret" not in output


async def test_a_digest_of_an_input_given_as_stdin_is_right(run_one, tmp_path):
    data = os.urandom(100_000)
    (tmp_path / "data").write_bytes(data)

    job = await run_one("sha256sum", stdin=tmp_path / "data")

    assert (await job).split()[0] == hashlib.sha256(data).hexdigest()
