"""What is between a warm process and its manager, and how such a process looks from outside.

The manager writes packets to descriptor 3: which job is next. What it is told there are `RECORD`s. The
process ends when the manager closes its side, or is gone.

A job is recognised by the mark in the environment its process was started with, and by the script among
the arguments; here both are written over where the kernel reads them.
"""

from __future__ import annotations

import os
import select
import struct
from typing import Final

#: What is told: which sort, which process, its exit status, its peak of memory (KiB), seconds of CPU.
RECORD: Final = struct.Struct("=iiiqd")

#: A copy is there and waits for a job; it ended; a call has ended in the process itself.
SPARE: Final = 1
ENDED: Final = 2
DONE: Final = 3
#: This process can't serve: a sentence follows, in the same packet.
UNFIT: Final = 4

#: In place of the peak, for calls in the process itself: it ends, and children of the call are still there.
LEAVES: Final = 1
LEFT: Final = 2

#: Copies that wait for a job, at least, as soon as there was time to make them.
SPARES: Final = 4

#: The manager's side.
CONTROL_FD: Final = 3

#: The largest packet.
PACKET: Final = 65536

#: The variable of the mark; the process is started with as many characters as there is room for.
MARK: Final = "XQUTE_JOB"

#: How it stands in an environment.
_NAME: Final = f"\0{MARK}=".encode()

#: The descriptor of its memory is opened by whoever writes: a copy has a memory of its own.
_MEMORY: Final = "/proc/self/mem"

#: Fields of /proc/self/stat behind the name, and so two less than proc(5) counts: arg_start, env_start.
_ARGUMENTS: Final = 45
_ENVIRONMENT: Final = 47


class Face:
    """How this process looks from outside: its mark and its last argument, in place."""

    def __init__(self) -> None:
        """Find where both are.

        Raises:
            OSError: They can't be found, or not be written.
        """
        arguments, environ = _content("/proc/self/cmdline"), b"\0" + _content("/proc/self/environ")
        fields = _content("/proc/self/stat").rpartition(b")")[2].split()
        before = arguments.find(b"\0--serve\0")
        script = arguments.find(b"\0", before + len(b"\0--serve\0")) + 1
        name = environ.find(_NAME)
        if before < 0 or name < 0:
            raise OSError("what it was started with is not in /proc")
        self._script = int(fields[_ARGUMENTS]) + script, len(arguments) - script - 1
        # The byte before the environment is the last of the arguments, and is the NUL before the name.
        self._mark = int(fields[_ENVIRONMENT]) + name - 1, environ.find(b"\0", name + 1) - name
        self.check()

    def check(self) -> None:
        """Make sure that what is written is what is seen.

        Raises:
            OSError: It is not; a library has written there too, or nobody may.
        """
        self.show("", "")
        if _NAME + b"\0" not in b"\0" + _content("/proc/self/environ"):
            raise OSError("what it was started with can't be written over")

    def show(self, mark: str, script: str) -> None:
        """Look like the process of a job; without one, like nobody's.

        Raises:
            OSError: There is no room for them.
        """
        fd = os.open(_MEMORY, os.O_WRONLY | os.O_CLOEXEC)
        try:
            _write(fd, self._script, os.fsencode(script))
            # With its name: who wrote over the environment did not leave that.
            _write(fd, self._mark, _NAME + mark.encode())
        finally:
            os.close(fd)


def _write(fd: int, place: tuple[int, int], content: bytes) -> None:
    address, room = place
    if len(content) > room:
        raise OSError("its name is longer than that of the first job")
    os.pwrite(fd, content.ljust(room, b"\0"), address)


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


class Manager:
    """Who started this process: what it says, and whether it lives."""

    def __init__(self) -> None:
        """It is the parent; when it has ended before this, its side is closed too."""
        self._parent = os.pidfd_open(os.getppid())
        os.set_inheritable(CONTROL_FD, False)  # noqa: FBT003  it takes no names
        self._alive = select.poll()
        self._alive.register(self._parent, select.POLLIN)
        self._news = select.poll()
        for fd in self.fds:
            self._news.register(fd, select.POLLIN)

    @property
    def fds(self) -> tuple[int, int]:
        """Both can be waited for."""
        return CONTROL_FD, self._parent

    def lives(self) -> bool:
        """Whether it is still there.

        A copy asks when it can already be seen whose job it is: a manager that comes after this one has
        looked before, and does not hand over a second time what was handed over by this.
        """
        return not self._alive.poll(0)

    def hear(self) -> bytes:
        """What it says next; nothing, when it closed its side or is gone."""
        self._news.poll()
        return self.read() if self.lives() else b""

    def read(self) -> bytes:
        """The packet that is there; nothing, when it closed its side."""
        try:
            return os.read(CONTROL_FD, PACKET)
        except OSError:
            return b""

    def tell(self, *records: bytes) -> None:
        """Tell it; when it is gone there is nobody to tell."""
        try:
            os.write(CONTROL_FD, b"".join(records))
        except OSError:
            return

    def refuse(self, why: str) -> None:
        """Tell it that this process can't serve."""
        self.tell(RECORD.pack(UNFIT, 0, 0, 0, 0.0), why.encode(errors="replace")[: PACKET // 2])

    def close(self) -> None:
        """For copies that have asked."""
        os.close(self._parent)

    def leave(self) -> None:
        """For copies: they tell nothing."""
        os.close(CONTROL_FD)


def directory_of(script: str) -> str:
    """The directory of a job, by its script."""
    return script.rpartition("/")[0]
