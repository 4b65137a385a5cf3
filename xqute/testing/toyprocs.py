"""What /proc says about the processes of a toy cluster; standard library only, see `toycore`."""

from __future__ import annotations

import os
import signal

_DEAD = frozenset((b"Z", b"X"))


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _stat(pid: int) -> list[bytes]:
    """State, parent, group, session, … of a process; empty when it has ended."""
    content = _content(f"/proc/{pid}/stat")
    fields = content[content.rfind(b")") + 2 :].split()
    return [] if not fields or fields[0] in _DEAD else fields


def since(pid: int) -> int:
    """When a process started, in ticks since the boot; 0 when it has ended. With its pid: never twice."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def alive(known: list[int] | None) -> bool:
    """Whether this process, known by its pid and `since`, lives."""
    return known is not None and since(known[0]) == known[1]


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def of_session(session: int) -> list[int]:
    """Who lives in a session."""
    return [pid for pid in _pids() if (fields := _stat(pid)) and int(fields[3]) == session]


def of_group(group: int) -> list[int]:
    """Who lives in a group of processes."""
    return [pid for pid in _pids() if (fields := _stat(pid)) and int(fields[2]) == group]


def marked(mark: str) -> list[int]:
    """Who lives and was started with this `NAME=value` in its environment."""
    wanted = os.fsencode(mark)
    return [pid for pid in _pids() if wanted in _content(f"/proc/{pid}/environ").split(b"\0") and _stat(pid)]


def send(pids: list[int], number: signal.Signals) -> None:
    """Signal each that still lives."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
