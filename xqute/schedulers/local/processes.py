"""What /proc says about the processes of this host, and signals that can't meet a stranger.

Without /proc nothing is found, and nothing is signalled. What can't be read now (no descriptor is free) is
no answer: that is raised as the OSError it is.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from typing import Final, NamedTuple

#: The variable that every process of a job has in its environment.
MARK: Final = b"XQUTE_JOB"

_MARKS: Final = b"\0" + MARK + b"="
_CHUNK: Final = 65536
_BOOTTIME: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_DEAD: Final = frozenset((b"Z", b"X"))

#: What says that there is no such process, or that it is somebody else's.
_NONE_OF_OURS: Final = frozenset((errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM))


class Process(NamedTuple):
    """A process at one moment; `pid` and `since` together are never given twice.

    Attributes:
        pid: Its number.
        group, session: The numbers of their leaders.
        since: When it started, in clock ticks since the boot.
    """

    pid: int
    group: int
    session: int
    since: int


def pids() -> list[int]:
    """Every process there is."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except FileNotFoundError:
        return []


def read(pid: int) -> Process | None:
    """The process with this number; None when there is none, or only its exit status is left."""
    content = _content(f"/proc/{pid}/stat")
    # The second field is the program's name in parentheses, and may hold blanks and parentheses.
    fields = content[content.rfind(b")") + 2 :].split()
    if not fields or fields[0] in _DEAD:
        return None
    return Process(pid, int(fields[2]), int(fields[3]), int(fields[19]))


def parent_of(pid: int) -> int:
    """The number of its parent; 0 when there is no such process."""
    fields = _content(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields and fields[0] not in _DEAD else 0


def mark_of(pid: int) -> bytes:
    """The mark in the environment a process was started with; empty when it has none."""
    environ = b"\0" + _content(f"/proc/{pid}/environ")
    begin = environ.find(_MARKS)
    if begin < 0:
        return b""
    begin += len(_MARKS)
    end = environ.find(b"\0", begin)
    return environ[begin:end] if end >= 0 else b""


def arguments(pid: int) -> list[bytes]:
    """The command line of a process."""
    return _content(f"/proc/{pid}/cmdline").split(b"\0")


def ticks_now() -> int:
    """This moment as `Process.since` counts."""
    return int(time.clock_gettime(_BOOTTIME) * _TICKS)


def started(process: Process) -> float:
    """When it started, in UTC seconds as files have them."""
    return time.time() - time.clock_gettime(_BOOTTIME) + process.since / _TICKS


def send(process: Process, *signals: int) -> None:
    """Signal exactly this process, or nobody when it has ended."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError as exc:
        if exc.errno != errno.ESRCH:
            _send_without_descriptor(process, signals)
        return
    try:
        # The descriptor is of whoever had the number a moment ago: is that still our process?
        if read(process.pid) == process:
            for number in signals:
                signal.pidfd_send_signal(fd, number)
    except OSError:
        return  # it ended, or belongs to somebody else by now: whoever asks looks again
    finally:
        os.close(fd)


def _send_without_descriptor(process: Process, signals: tuple[int, ...]) -> None:
    """For kernels before 5.3, and when no descriptor is free."""
    try:
        for number in signals:
            if read(process.pid) == process:
                os.kill(process.pid, number)
    except OSError:
        return


def _content(path: str) -> bytes:
    """What a file of a process says; nothing where there is no such process of ours."""
    try:
        return _read_all(path)
    except OSError as exc:
        if exc.errno in _NONE_OF_OURS:
            return b""
        raise


def _read_all(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(fd, _CHUNK)
        while more := os.read(fd, _CHUNK) if content else b"":
            content += more
        return content
    finally:
        os.close(fd)
