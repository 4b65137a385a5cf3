"""What a warm process and its manager say to each other, and how such a process looks from outside."""

import os
import select
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from xqute.inside.line import CONTROL_FD, MARK, RECORD, UNFIT
from xqute.schedulers.local import processes

FACE = """
import sys
from xqute.inside.line import Face
face = Face()
for line in sys.stdin:
    try:
        face.show(*line.split())
        print("shown", flush=True)
    except OSError as exc:
        print(exc, flush=True)
"""


@contextmanager
def faced(room: str, *arguments: str):
    environ = {**os.environ, MARK: room, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", FACE, "--serve", "fork", *arguments],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def show(mark: str, script: str) -> str:
        print(mark, script, file=process.stdin, flush=True)
        return process.stdout.readline().strip()

    try:
        yield process.pid, show
    finally:
        process.communicate()


def test_a_process_looks_like_that_of_its_job() -> None:
    with faced("." * 12, "/a/long/path", "....") as (pid, show):
        assert show("mark-1", "/job/1/script") == "shown"
        assert processes.mark_of(pid) == b"mark-1"
        assert processes.arguments(pid)[5:7] == [b"/job/1/script", b""]

        assert show("m", "/s") == "shown"
        assert processes.mark_of(pid) == b"m"
        assert set(processes.arguments(pid)[6:]) == {b""}


def test_a_name_without_room_is_refused_and_nothing_is_written_beside_it() -> None:
    with faced("....", "/a/path", "....") as (pid, show):
        assert "longer" in show("mark-1", "/s")
        assert "longer" in show("m", "/a/path/that/is/longer")

        assert processes.mark_of(pid) == b""
        assert show("1234", "/a/path/1234") == "shown"
        assert processes.mark_of(pid) == b"1234"


BESIDE = '"$0" "$@" >/dev/null & echo $!; wait'
SERVE = "import os, sys; os.dup2({fd}, {control}); from xqute.inside.serve import main; main(sys.argv[2:])"


@contextmanager
def lines():
    """Both ends of what a manager and its process have between them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs, [sys.executable, "-c", SERVE.format(fd=theirs.fileno(), control=CONTROL_FD)]


@pytest.mark.parametrize("how", ["fork", "reuse"])
def test_a_process_that_was_started_without_room_says_that_it_is_unfit(how) -> None:
    with lines() as (ours, theirs, command):
        process = subprocess.Popen(
            [*command, "--serve", how, "/none", ""],
            env={**without_mark(), "PYTHONPATH": os.pathsep.join(sys.path)},
            pass_fds=[theirs.fileno()],
        )
        packet = ours.recv(65536)
        assert process.wait(20) == 0

    assert RECORD.unpack_from(packet)[0] == UNFIT
    assert b"/proc" in packet[RECORD.size :]


def without_mark() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != MARK}


def test_a_process_whose_manager_is_gone_ends_although_its_socket_is_open() -> None:
    with lines() as (_, theirs, command):
        manager = subprocess.Popen(
            ["/bin/sh", "-c", BESIDE, *command, "--serve", "reuse", "/none", "...."],
            env={**os.environ, MARK: "....", "PYTHONPATH": os.pathsep.join(sys.path)},
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
        )
        served = int(manager.stdout.readline())
        end = os.pidfd_open(served)
        try:
            until_it_serves(served)
            manager.kill()
            manager.communicate()
            assert ended(end, 20_000)
        finally:
            os.close(end)


def until_it_serves(pid: int) -> None:
    """It has written over its mark, which it does before it waits for a job."""
    deadline = time.monotonic() + 20
    environ = Path(f"/proc/{pid}/environ")
    while f"{MARK}=\0".encode() not in environ.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(pidfd: int, milliseconds: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(milliseconds))
