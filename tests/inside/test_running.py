"""The commands that a call runs."""

import base64
import pickle

import pytest

from xqute.errors import OptionError, XquteError
from xqute.inside.running import CommandFailed, Lines, arguments

#: The same function twice: `run` in an asynchronous one, `run_sync` in the other.
BOTH = pytest.mark.parametrize("how", ["run", "run_sync"])


@pytest.fixture
def within(host):
    def within(how: str, body: str):
        """A call whose body runs commands with `run(…)`, to its end."""
        lines = [f"    {line}" for line in body.strip().splitlines()]
        head = "async def work():" if how == "run" else "def work():"
        text = "\n".join(["from xqute import current_job", head, "    job = current_job()", *lines])
        call = "await job.run(" if how == "run" else "job.run_sync("
        host.module(text.replace("RUN(", call))
        return host.call("work")

    return within


@BOTH
def test_the_output_of_a_command_is_returned_without_its_last_newlines(within, how):
    job = within(how, "return RUN(['printf', '%s', ' a\\n\\nb\\n\\n'])")

    assert job.result == " a\n\nb"


@BOTH
def test_a_text_is_a_shell_line(within, how):
    assert within(how, "return RUN('echo $((1 + 2)) | tr 3 4')").result == "4"


@BOTH
def test_arguments_are_numbers_paths_and_bytes_too(within, how):
    body = "import pathlib\nreturn RUN(['echo', 1, 2.5, pathlib.Path('/a'), b'b'])"

    assert within(how, body).result == "1 2.5 /a b"


@BOTH
def test_output_goes_to_that_of_the_job_in_order(within, how):
    job = within(how, "print('before')\nRUN('echo out; echo err >&2')\nprint('after')")

    assert job.stdout == "before\nout\nafter\n"
    assert job.stderr == "err\n"


@BOTH
def test_each_of_200_000_lines_is_seen_before_it_returns(within, how):
    job = within(
        how,
        """
out, err = [], []
text = RUN('seq 200000; seq 200000 >&2', on_stdout=out.append, on_stderr=err.append)
expected = [str(n) for n in range(1, 200001)]
return out == expected, err == expected, text.split("\\n") == expected
""",
    )

    assert job.result == (True, True, True)
    assert job.stdout.count("\n") == 200_000


def test_asynchronous_functions_see_each_line_in_turn(within):
    job = within(
        "run",
        """
import asyncio
seen = []
async def see(line):
    await asyncio.sleep(0)
    seen.append(line)
await job.run("seq 20000", on_stdout=see)
return seen == [str(n) for n in range(1, 20001)]
""",
    )

    assert job.result is True


def test_an_asynchronous_function_is_refused_where_nothing_awaits_it(within):
    job = within("run_sync", "async def see(line): pass\njob.run_sync('echo', on_stdout=see)")

    assert job.rc == 1
    assert job.error["type"] == "OptionError"


@BOTH
def test_a_line_may_be_of_any_length_and_need_not_end(within, how):
    job = within(
        how,
        """
seen = []
text = RUN("head -c 30000000 /dev/zero | tr '\\\\0' x", on_stdout=seen.append)
return len(text), [len(line) for line in seen]
""",
    )

    assert job.result == (30_000_000, [30_000_000])


@BOTH
def test_what_is_no_utf_8_arrives(within, how):
    job = within(
        how,
        r"""
seen = []
return RUN(["printf", r"\377\n"], on_stdout=seen.append), seen
""",
    )

    assert job.result == ("\udcff", ["\udcff"])


@BOTH
def test_a_command_that_fails_raises(within, how):
    body = "RUN('for n in 1 2 3 4 5 6; do echo line $n >&2; done; exit 3')"

    job = within(how, body)

    assert job.rc == 1
    assert job.error["type"] == "CommandFailed"
    first, *lines = job.error["message"].splitlines()
    assert first.endswith("exit 3 ended with status 3:")
    assert lines == [f"line {n}" for n in range(2, 7)]
    assert [frame["function"] for frame in job.error["frames"]] == ["work"]
    failure = pickle.loads(base64.b64decode(job.error["pickle"]))
    assert (failure.returncode, failure.cmd[0]) == (3, "bash")
    assert isinstance(failure, XquteError)


@BOTH
def test_a_command_may_fail_where_that_does_not_matter(within, how):
    assert within(how, "return RUN('echo a; kill $$', check=False)").result == "a"


@BOTH
def test_a_command_that_is_not_there_is_told(within, how):
    job = within(how, "RUN(['no-such-command'])")

    assert job.error["type"] == "FileNotFoundError"
    assert "no-such-command" in job.error["message"]


@BOTH
def test_a_function_that_raises_ends_the_command_and_what_it_started(host, within, how):
    job = within(
        how,
        """
groups = []
def see(line):
    groups.append(int(line))
    raise RuntimeError("stop")
try:
    RUN("echo $$; sleep 1000 & (trap '' TERM; sleep 1000) & wait", on_stdout=see)
except RuntimeError as exc:
    return groups, str(exc)
""",
    )

    groups, told = job.result
    assert told == "stop"
    host.wait_until_gone(groups[0])


@BOTH
def test_what_a_command_started_may_end_in_its_own_way(within, how):
    # The shell dies of the signal at once; what it started has something to do first.
    job = within(
        how,
        """
def see(line):
    raise RuntimeError("stop")
CHILD = "trap 'sleep 0.1; touch tidied; exit' TERM; echo ready; while :; do sleep 0.01; done"
try:
    RUN(f'cd "$XQUTE_JOB_METADIR"; ({CHILD}) & wait', on_stdout=see)
except RuntimeError:
    return (job.metadir / "tidied").exists()
""",
    )

    assert job.result is True


def test_a_run_that_is_cancelled_ends_its_command(host, within):
    job = within(
        "run",
        """
import asyncio
groups = []
try:
    async with asyncio.timeout(None) as clock:
        def see(line):
            groups.append(int(line))
            clock.reschedule(asyncio.get_running_loop().time())
        await job.run("echo $$; sleep 1000", on_stdout=see)
except TimeoutError:
    return groups
""",
    )

    host.wait_until_gone(job.result[0])


def test_commands_run_side_by_side(within):
    job = within(
        "run",
        """
import asyncio, os, tempfile
path = os.path.join(tempfile.mkdtemp(dir=job.metadir), "pipe")
os.mkfifo(path)
return await asyncio.gather(job.run(["cat", path]), job.run(f"echo through > '{path}'"))
""",
    )

    assert job.result == ["through", ""]


def test_a_command_has_the_mark_and_the_session_of_the_job(within, host):
    job = within(
        "run_sync", "import os\nreturn job.run_sync('echo $XQUTE_JOB; ps -o sid= -p $$'), os.getsid(0)"
    )

    text, session = job.result
    mark, sid = text.split("\n")
    assert mark == f"mark-{host.root}"
    assert int(sid) == session


class TestLines:
    @pytest.mark.parametrize("size", [1, 2, 3, 100])
    def test_lines_are_cut_the_same_however_they_arrive(self, size):
        data = b"a\nb\r\nc\rd\r\r\n\n\re"
        lines = Lines()

        found = [line for i in range(0, len(data), size) for line in lines.feed(data[i : i + size])]

        assert [*found, *lines.rest()] == ["a", "b", "c", "d", "", "", "", "e"]

    def test_what_ends_with_a_newline_has_no_rest(self):
        lines = Lines()

        assert (lines.feed(b"a\n"), lines.rest()) == (["a"], [])


class TestArguments:
    @pytest.mark.parametrize("wrong", [b"bytes", 3, None, [], ["a", None], ["a", ["b"]]], ids=repr)
    def test_what_is_no_command_is_refused(self, wrong):
        with pytest.raises(OptionError):
            arguments(wrong)


def test_a_command_ended_by_a_signal_says_which():
    assert str(CommandFailed(-9, ["sleep", "5"])) == "sleep 5 was ended by SIGKILL"
