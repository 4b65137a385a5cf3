"""`xqute logs`: what a job wrote, in part, in full, and as it comes."""

import pytest

from tests.cli.conftest import THEN, dead, living
from xqute.cli.tailing import BLOCK_BYTES, LINE_MAX, Lines, open_output, seek_tail, tame
from xqute.states import JobStatus, Reason
from xqute.store import Record


@pytest.fixture
def wrote(place):
    """A finished job that wrote to both."""
    place.run()
    place.job(out=b"out 1\nout 2\nout 3\n", err=b"err 1\nerr 2\n")
    return place


def test_stdout_goes_to_stdout_and_stderr_to_stderr(wrote, xqute) -> None:
    said = xqute("logs", 1)

    assert said.stdout == "out 1\nout 2\nout 3\n"
    assert said.stderr == "err 1\nerr 2\n"


def test_one_of_them_goes_to_stdout(wrote, call) -> None:
    assert call("logs", 1, "--stderr").out == "err 1\nerr 2\n"
    assert call("logs", 1, "--stdout").out == "out 1\nout 2\nout 3\n"


def test_a_tail_is_the_last_lines_of_each(wrote, call) -> None:
    said = call("logs", 1, "--tail", 1)

    assert (said.out, said.err) == ("out 3\n", "err 2\n")
    assert call("logs", 1, "--tail", 0).out == ""
    assert call("logs", 1, "--tail", 99, "--stdout").out == "out 1\nout 2\nout 3\n"


def test_as_json_the_text_stands_beside_the_file(wrote, call) -> None:
    said = call("logs", 1, "--json", "--tail", 1).json

    assert said == {
        "id": 1,
        "start": 1,
        "stdout": {"file": f"{wrote.root}/1/job.stdout", "text": "out 3\n"},
        "stderr": {"file": f"{wrote.root}/1/job.stderr", "text": "err 2\n"},
        "log": [],
    }


def test_an_earlier_start_has_its_own_files(place, call) -> None:
    place.run()
    place.job(out=b"second\n", starts=2)
    before = place.root / "1" / "job.retry" / "1"
    before.mkdir(parents=True)
    (before / "job.stdout").write_bytes(b"first\n")

    assert call("logs", 1, "--start", 1).out == "first\n"
    assert call("logs", 1, "--start", 2).out == call("logs", 1).out == "second\n"
    assert call("logs", 1, "--start", 3).err == (
        "xqute: job 1 (true) has no start 3: it was started 2 times\n"
    )


def test_output_in_a_file_of_the_users_own_is_found(place, call, tmp_path) -> None:
    (tmp_path / "own.txt").write_text("mine\n")
    place.run()
    place.job(starts=2, stdout=tmp_path / "own.txt")

    assert call("logs", 1, "--stdout").out == "mine\n"
    assert call("logs", 1, "--start", 1).err == (
        "xqute: job 1 (true) writes its stdout to a file of its own, which each start empties\n"
    )


def test_a_job_that_wrote_nothing_is_no_error(place, call) -> None:
    place.run(owner=living())
    place.job(JobStatus.QUEUED, reason=Reason("ACCEPTED"))

    said = call("logs", 1)

    assert (said.status, said.out) == (0, "")
    assert said.err.startswith("xqute: job 1 (true) has written nothing; it is QUEUED: ")
    assert call("logs", 1, "--json").json["stdout"]["text"] is None


LINES = b"""{"date": 1, "level": "DEBUG", "logger": "x", "text": "one"}
{"date": 2, "level": "INFO", "logger": "x", "text": "two"}
"""


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"out": b"hello\n"}, "has no log; its stdout is not empty: `xqute logs 1`"),
        ({"out": b"a\n", "err": b"b\n"}, "has no log; its stdout and stderr are not empty: `xqute logs 1`"),
        ({"out": b"", "err": b""}, "has written nothing; it is FINISHED: EXIT 0"),
        (
            {"out": b"hello\n", "log": LINES},
            "has nothing in its log that is as bad as warning; --level debug shows 2 lines",
        ),
    ],
)
def test_who_asks_for_a_log_that_is_not_there_is_told_what_there_is(place, call, files, told) -> None:
    place.run()
    place.job(**files)

    said = call("logs", 1, "--log", "--level", "warning")

    assert (said.status, said.out) == (0, "")
    assert said.err == f"xqute: job 1 (true) {told}\n"


def test_who_asks_for_one_output_that_is_not_there_is_told_of_the_others(place, call) -> None:
    place.run()
    place.job(starts=2, err=b"oh no\n", log=LINES)
    (place.root / "1" / "job.retry" / "1").mkdir(parents=True)
    (place.root / "1" / "job.retry" / "1" / "job.stdout").write_bytes(b"before\n")

    assert call("logs", 1, "--stdout").err == (
        "xqute: job 1 (true) has no stdout; its stderr and log are not empty: `xqute logs 1`\n"
    )
    assert call("logs", 1, "--stderr", "--start", 1).err == (
        "xqute: job 1 (true) has no stderr; its stdout is not empty: `xqute logs 1 --start 1`\n"
    )


def test_bytes_are_tamed_unless_they_are_wanted_raw(place, xqute) -> None:
    content = b"\x1b[31mred\x1b[0m \xff\x00\n10%\r20%\r\nend"
    place.run()
    place.job(out=content)

    assert xqute("logs", 1, text=False).stdout.decode() == "red ��\n10%\n20%\nend\n"
    assert xqute("logs", 1, "--raw", text=False).stdout == content


def test_a_pipe_in_place_of_the_output_does_not_hold_the_command(place, xqute) -> None:
    import os

    place.run()
    place.job()
    os.mkfifo(place.root / "1" / "job.stdout")

    assert xqute("logs", 1).returncode == 0


def test_following_ends_when_the_job_has_ended(place, begin) -> None:
    place.run(owner=living())
    place.job(JobStatus.RUNNING, reason=Reason("RUNNING"), out=b"one\n")
    process = begin("logs", 1, "--follow")
    assert process.stdout.readline() == b"one\n"
    with open(place.root / "1" / "job.stdout", "ab") as file:
        file.write(b"two\n")
    assert process.stdout.readline() == b"two\n"
    with open(place.root / "1" / "job.stdout", "ab") as file:
        file.write(b"last, without an end")

    place.do(lambda store: end(store, 1))
    rest, _ = process.communicate(timeout=30)

    assert rest == b"last, without an end\n"
    assert process.returncode == 0


def test_following_goes_on_with_the_next_start(place, begin) -> None:
    place.run(owner=living())
    place.job(JobStatus.RUNNING, reason=Reason("RUNNING"), out=b"first\n")
    process = begin("logs", 1, "--follow")
    assert process.stdout.readline() == b"first\n"

    async def start_again(store):
        row = (await store.get([1]))[0]
        owner = (await store.runs())[0].owner
        queued = Record(1, row.start, int(JobStatus.QUEUED), 2, "", row.document, 0.0, held=False)
        assert not await store.record([queued])
        directory = place.root / "1"
        (directory / "job.retry" / "1").mkdir(parents=True)
        (directory / "job.stdout").rename(directory / "job.retry" / "1" / "job.stdout")
        (directory / "job.stdout").write_bytes(b"second\n")
        assert len(await store.claim(owner, "run1", 1, THEN)) == 1
        await end(store, 1)

    place.do(start_again)
    rest, _ = process.communicate(timeout=30)

    assert rest == b"second\n"


async def end(store, id_):
    row = (await store.get([id_]))[0]
    record = Record(
        id_, row.start, int(JobStatus.FINISHED), row.attempt, row.uid, row.document, 0.0, held=False
    )
    assert not await store.record([record])


@pytest.mark.parametrize("state", [None, b"RUNNING 1\nFINISHED 0\n"])
def test_following_ends_when_nobody_runs_the_job_any_more(place, call, state) -> None:
    place.run(owner=dead())
    status = JobStatus.QUEUED if state is None else JobStatus.RUNNING
    place.job(status, reason=Reason("ACCEPTED"), out=b"all\n", state=state, starts=1)

    said = call("logs", 1, "--follow")

    assert (said.status, said.out) == (0, "all\n")


def tail(content, lines, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    with open_output(str(path)) as file:
        seek_tail(file, lines)
        return file.read()


@pytest.mark.parametrize("ending", [b"\n", b""])
@pytest.mark.parametrize("lines", [0, 1, 2, 3, 50, 99, 100, 101])
def test_the_tail_of_a_file_is_its_last_lines_however_long_they_are(tmp_path, lines, ending) -> None:
    whole = [b"%d " % number + b"x" * (number * BLOCK_BYTES // 60) + b"\n" for number in range(100)]
    content = b"".join(whole).removesuffix(b"\n") + ending
    wanted = b"".join(whole[max(0, 100 - lines) :]).removesuffix(b"\n") + ending if lines else b""

    assert tail(content, lines, tmp_path) == wanted


def test_the_tail_of_an_empty_file_is_empty(tmp_path) -> None:
    assert tail(b"", 5, tmp_path) == b""
    assert tail(b"\n", 1, tmp_path) == b"\n"


def test_lines_are_told_whole_and_characters_are_never_cut() -> None:
    lines = Lines()
    content = "größer\nzwei".encode()

    told = [lines.feed(content[at : at + 1]) for at in range(len(content))]

    assert [text for text in told if text] == ["größer\n"]
    assert lines.feed(b"", last=True) == "zwei\n"


def test_a_line_without_an_end_is_told_in_pieces() -> None:
    lines = Lines()

    assert lines.feed(b"x" * (LINE_MAX + 1)) == "x" * (LINE_MAX + 1)
    assert lines.feed(b"\n") == "\n"


def test_escapes_are_taken_out_line_by_line() -> None:
    assert tame("\x1b[1mbold\x1b[0m\n\x07\n\n") == "bold\n�\n\n"
