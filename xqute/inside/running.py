"""The commands that a call runs: seen line by line, and ended with everything they started."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
import types
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Final, cast

from ..errors import OptionError, XquteError
from ..printable import printable
from ..settings import TAIL_BYTES, TAIL_LINES
from .killing import KILLING

#: From asking a command to end to forcing it: well within what a killed job has itself.
GRACE_SECONDS: Final = 2.0

#: What a command of a job that was asked to stop has before it is asked itself.
HEARD_SECONDS: Final = 0.5

#: Between two looks at a command that was asked to end.
LOOK_SECONDS: Final = 0.01

READ_BYTES: Final = 1 << 16


class CommandFailed(XquteError, subprocess.CalledProcessError):
    """A command ended with another status than 0.

    Attributes:
        returncode: Its status; -n when signal n ended it.
        cmd: What was run.
        output: What it wrote on stdout.
        stderr: The last of what it wrote on stderr.
    """

    def __str__(self) -> str:
        """One sentence, and the last lines of its stderr."""
        code = self.returncode
        how = f"ended with status {code}" if code >= 0 else f"was ended by {_signal_name(-code)}"
        shown = self.cmd if isinstance(self.cmd, str) else " ".join(self.cmd)
        said = [printable(line) for line in (self.stderr or "").splitlines() if line.strip()][-TAIL_LINES:]
        return "\n".join([f"{printable(shown)[:200]} {how}{':' if said else ''}", *said])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Lines:
    """Cuts what is read into lines; a carriage return ends one as well, as bars of progress write them."""

    def __init__(self) -> None:
        """Nothing was read yet."""
        self._parts: list[bytes] = []
        self._returned = False

    def feed(self, data: bytes) -> list[str]:
        """The lines that are whole now."""
        if not data:
            return []
        if self._returned and data.startswith(b"\n"):
            data = data[1:]
        self._returned = data.endswith(b"\r")
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *others = data.split(b"\n")
        self._parts.append(first)
        if not others:
            return []
        lines = [b"".join(self._parts), *others]
        self._parts = [lines.pop()]
        return [_decode(line) for line in lines]

    def rest(self) -> list[str]:
        """The last line, where no newline ended it."""
        rest, self._parts = b"".join(self._parts), []
        return [_decode(rest)] if rest else []


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


class Stream:
    """One output of a command.

    Args:
        file: Where it is read.
        to: The descriptor of the job's own output.
        on_line: Called with each line.
        keep: How many bytes at the end are kept; None: all.
    """

    def __init__(
        self, file: IO[bytes], to: int, on_line: Callable[[str], Any] | None, keep: int | None
    ) -> None:
        """Nothing was read yet."""
        self.file = file
        self.on_line = on_line
        self._to = to
        self._keep = keep
        self._kept: deque[bytes] = deque()
        self._size = 0
        self._lines = Lines()

    def take(self, data: bytes) -> list[str]:
        """Keep what was read and pass it on; no data is the end.

        Returns:
            The lines that are whole now, where somebody wants them.
        """
        view = memoryview(data)
        while view:
            view = view[os.write(self._to, view) :]
        self._kept.append(data)
        self._size += len(data)
        while self._keep is not None and self._size - len(self._kept[0]) >= self._keep:
            self._size -= len(self._kept.popleft())
        if self.on_line is None:
            return []
        return self._lines.feed(data) if data else self._lines.rest()

    @property
    def text(self) -> str:
        """What was kept."""
        return _decode(b"".join(self._kept))


class Command:
    """A command that runs, in a group of processes of its own.

    Args:
        command: A list of arguments, or a shell line.
        on_stdout, on_stderr: Called with each line.

    Raises:
        OptionError: It is neither.
        OSError: It can't be started.
    """

    def __init__(
        self,
        command: Sequence[Any] | str,
        on_stdout: Callable[[str], Any] | None,
        on_stderr: Callable[[str], Any] | None,
    ) -> None:
        """Start it."""
        self.argv = arguments(command)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # what was printed before comes before
        # The group, so that what it leaves behind can be ended with it. The session stays the job's.
        self.process = subprocess.Popen(
            self.argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
        )
        out, err = cast(IO[bytes], self.process.stdout), cast(IO[bytes], self.process.stderr)
        self.stdout = Stream(out, 1, on_stdout, None)
        self.stderr = Stream(err, 2, on_stderr, TAIL_BYTES)

    def end(self) -> None:
        """End it and everything it started, politely first."""
        if self.process.returncode is not None:
            return
        if KILLING.asked:
            # Who asks a job asks all of it, as a rule; and the same signal twice means "at once" to some.
            self._wait(HEARD_SECONDS)
        if self._signal(signal.SIGTERM):
            self._wait(GRACE_SECONDS)
            self._signal(signal.SIGKILL)
        self.process.wait()

    def _wait(self, seconds: float) -> None:
        """Wait until nothing of it is left, and not longer."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.process.poll()
            if not self._signal(0):
                return
            time.sleep(LOOK_SECONDS)

    def _signal(self, number: int) -> bool:
        """Send a signal to what is left of it; whether there is something."""
        try:
            # While there is any process of the group, its number is that of no other.
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def close(self) -> None:
        """Read nothing more."""
        self.stdout.file.close()
        self.stderr.file.close()

    def result(self, code: int, *, check: bool) -> str:
        """What it printed, without the newlines at its end.

        Raises:
            CommandFailed: It ended with another status than 0, and that matters.
        """
        if check and code != 0:
            raise CommandFailed(code, self.argv, self.stdout.text, self.stderr.text)
        return self.stdout.text.rstrip("\n")


def arguments(command: Sequence[Any] | str) -> list[str]:
    """A command as it is executed.

    Raises:
        OptionError: It is none.
    """
    if isinstance(command, str):
        return ["bash", "-c", command]
    if isinstance(command, (bytes, bytearray)) or not hasattr(command, "__iter__"):
        raise OptionError(f"can't run {command!r}: give a list of arguments or a shell line as a str")
    argv = [_argument(position, word) for position, word in enumerate(command)]
    if not argv:
        raise OptionError("can't run an empty list: the first element must name a program")
    return argv


def _argument(position: int, word: Any) -> str:
    if isinstance(word, (str, bytes, os.PathLike)):
        return os.fsdecode(word)
    if isinstance(word, (int, float)):
        return str(word)
    raise OptionError(f"argument {position} is {word!r}: give texts, bytes, numbers or paths")


def run_sync(
    argv: Sequence[Any] | str,
    *,
    on_stdout: Callable[[str], Any] | None = None,
    on_stderr: Callable[[str], Any] | None = None,
    check: bool = True,
) -> str:
    """Run a command to its end, in the thread that calls; see `CurrentJob.run`."""
    command = Command(argv, on_stdout, on_stderr)
    try:
        for stream, data in _read(command):
            for line in stream.take(data):
                _call(stream.on_line, line)
        code = command.process.wait()
    except BaseException:
        command.end()
        raise
    finally:
        command.close()
    return command.result(code, check=check)


def _read(command: Command) -> Iterator[tuple[Stream, bytes]]:
    """What comes, as it comes; no data is the end of a stream."""
    with selectors.DefaultSelector() as selector:
        for stream in (command.stdout, command.stderr):
            selector.register(stream.file, selectors.EVENT_READ, stream)
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, READ_BYTES)
                if not data:
                    selector.unregister(key.fileobj)
                yield key.data, data


def _call(on_line: Callable[[str], Any] | None, line: str) -> None:
    answer = on_line(line) if on_line is not None else None
    if isinstance(answer, types.CoroutineType):
        answer.close()
        raise OptionError("run_sync takes no asynchronous functions: use run in an asynchronous call")
