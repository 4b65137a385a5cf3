"""The wrapper's protocol in Python: the claim, the news, the fence; each start in a copy of this process."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from xqute import wrapper
from xqute.inside import wrapping
from xqute.inside.wrapping import Wrapping, told_for


def in_a_copy(run) -> int:
    """What it returns, or the signal that ended it (negative)."""
    pid = os.fork()
    if not pid:
        code = 99
        try:
            wrapping.listen()
            code = run()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def wrapped(directory: Path, call, **wrap) -> int:
    wrap = {"env": {}, "cwd": str(directory), "stdin": os.devnull, "stdout": "", "stderr": "", **wrap}
    return in_a_copy(lambda: Wrapping(str(directory), wrap, lambda _: None).run(call))


def lines(directory: Path) -> list[str]:
    return Path(directory, "job.status").read_text().splitlines()


def raise_(exc):
    raise exc


def test_a_call_that_returns_is_finished(tmp_path) -> None:
    assert wrapped(tmp_path, lambda: 0) == 0

    began, ended = lines(tmp_path)
    assert began.startswith("RUNNING ")
    assert ended == "FINISHED 0"
    assert Path(tmp_path, "job.rc").read_text() == "0\n"
    assert {path.name for path in tmp_path.iterdir()} == {"job.status", "job.rc", "job.stdout", "job.stderr"}


def test_a_start_under_way_leaves_its_class_as_it_was(tmp_path) -> None:
    # Python learns anew about a class that changes, and each copy of a process would.
    before = dict(vars(Wrapping))

    assert wrapped(tmp_path, lambda: 0 if dict(vars(Wrapping)) == before else 9) == 0


@pytest.mark.parametrize(
    ("exc", "rc"),
    [
        (KeyError("no"), 1),
        (KeyboardInterrupt(), 130),
        (SystemExit(), 0),
        (SystemExit(7), 7),
        (SystemExit("told"), 1),
    ],
)
def test_what_escapes_a_call_is_what_python_makes_of_it(tmp_path, exc, rc) -> None:
    assert wrapped(tmp_path, lambda: raise_(exc)) == rc

    assert Path(tmp_path, "job.rc").read_text() == f"{rc}\n"


def test_a_start_that_is_claimed_is_left_alone(tmp_path) -> None:
    Path(tmp_path, "job.status").write_text("RUNNING 1\n")

    assert wrapped(tmp_path, lambda: raise_(AssertionError)) == wrapping.TAKEN

    assert lines(tmp_path) == ["RUNNING 1"]


def test_a_claim_that_cannot_be_made_ran_nothing(tmp_path) -> None:
    assert wrapped(tmp_path / "gone", lambda: 0) == wrapping.NOTHING_RAN


def test_a_start_that_is_given_back_says_the_word_of_the_wrapper(tmp_path) -> None:
    Path(tmp_path, "job.stdout").mkdir()

    assert wrapped(tmp_path, lambda: 0) == wrapping.NOTHING_RAN

    assert lines(tmp_path) == [wrapper.RETURNED]


def test_nothing_is_told_when_a_later_start_has_the_files(tmp_path) -> None:
    status = Path(tmp_path, "job.status")

    def call() -> int:
        status.rename(tmp_path / "away")
        status.write_text("RUNNING 1\n")
        return 0

    assert wrapped(tmp_path, call) == wrapping.FENCED

    assert lines(tmp_path) == ["RUNNING 1"]
    assert not Path(tmp_path, "job.rc").exists()


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_a_payload_put_in_the_place_of_the_rc_is_replaced(tmp_path, kind) -> None:
    rc, other = Path(tmp_path, "job.rc"), tmp_path / "other"

    def call() -> int:
        if kind == "link":
            rc.symlink_to(other)
        elif kind == "folder":
            (rc / "full").mkdir(parents=True)
        else:
            os.mkfifo(rc)
        return 3

    assert wrapped(tmp_path, call) == 3

    assert rc.read_text() == "3\n"
    assert not other.exists()


def test_the_end_is_told_when_there_is_room_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(wrapping, "FULL_SECONDS", 0.0)
    full = [True, True]
    write = os.write

    def no_room(fd: int, data: bytes) -> int:
        if data.startswith(b"FINISHED") and full:
            full.pop()
            return write(fd, data[:3])
        return write(fd, data)

    monkeypatch.setattr(wrapping.os, "write", no_room)

    assert wrapped(tmp_path, lambda: 0) == 0

    assert lines(tmp_path)[1:] == ["FIN", "FIN", "FINISHED 0"]


def test_output_that_cannot_be_written_is_a_failure(tmp_path) -> None:
    def call() -> int:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  a test's own is not the process's
        print("lost")
        return 0

    assert wrapped(tmp_path, call, stdout="/dev/full") == wrapping.NOT_FLUSHED


def test_a_polite_signal_is_remembered(tmp_path) -> None:
    def call() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 5

    assert wrapped(tmp_path, call) == 5

    assert lines(tmp_path)[-1] == "FAILED 5 TERM"


def test_who_was_asked_before_there_was_a_payload_runs_none(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Wrapping, "_enter", lambda _: os.kill(os.getpid(), signal.SIGTERM))

    assert wrapped(tmp_path, lambda: raise_(AssertionError)) == 143

    assert lines(tmp_path)[-1] == "FAILED 143 TERM"


def test_the_end_of_a_process_that_said_nothing_is_written_once(tmp_path) -> None:
    Path(tmp_path, "job.status").write_text("RUNNING 77\n")

    assert told_for(str(tmp_path), 77, 139)
    assert not told_for(str(tmp_path), 77, 139)

    assert lines(tmp_path) == ["RUNNING 77", "FAILED 139"]
    assert Path(tmp_path, "job.rc").read_text() == "139\n"


@pytest.mark.parametrize("content", ["RUNNING 78\n", "", "RUNNING 77\nFINISHED 0\n"])
def test_the_end_of_another_start_is_not_written(tmp_path, content) -> None:
    Path(tmp_path, "job.status").write_text(content)

    assert not told_for(str(tmp_path), 77, 1)

    assert Path(tmp_path, "job.status").read_text() == content


def test_a_pipe_in_the_place_of_the_claim_is_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "job.status")
    begun = time.monotonic()

    assert not told_for(str(tmp_path), 77, 1)

    assert time.monotonic() - begun < 5
