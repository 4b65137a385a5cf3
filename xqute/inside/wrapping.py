"""What `wrapper.sh` does, for a call that needs no shell: the claim, the news, the fence.

The files and the order in which they are written are the same, so that nobody who reads them has to
know which of the two it was. The process is wrapper and payload in one: whatever ends it without a word
(a crash, `os._exit`) is written down by its parent, with `told_for`.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType
from typing import Any, Final

from .files import make_new
from .handlers import DEFAULT, IGNORE, set_handler

#: What the claim of a start says that was given back; `xqute.wrapper` has the same word.
RETURNED: Final = b"RETURNED"

#: What a start exits with that ran nothing: another copy has it, it can't make its files, a later one came.
TAKEN: Final = 0
NOTHING_RAN: Final = 75
FENCED: Final = 76

#: Return codes: a file of the user's own can't be had, or the directory; the output can't be written.
NO_FILE: Final = 2
NO_DIRECTORY: Final = 126
NOT_FLUSHED: Final = 120

#: Between two tries to tell the end where there is no room for it.
FULL_SECONDS: Final = 1.0

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_OUTPUT: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
_MODE: Final = 0o666

#: End a payload at once, where it does not say otherwise: nothing of it runs any more.
_AT_ONCE: Final = (signal.SIGHUP, signal.SIGXCPU)

#: What is remembered.
_ASKING: Final = (signal.SIGTERM, *_AT_ONCE)


def listen() -> None:
    """From now on a start under way hears of signals that ask it to stop; any other process ends by them."""
    for number in _ASKING:
        set_handler(number, _take)


#: The start under way. Not an attribute of its class: Python learns anew about a class that changes.
_now: Wrapping | None = None


def _take(number: int, frame: FrameType | None) -> None:
    wrapping = _now
    if wrapping is not None and wrapping.here:
        wrapping.ask(number)
    else:
        set_handler(number, DEFAULT)
        os.kill(os.getpid(), number)


class Wrapping:
    """One start of a job, from its claim to the word about its end.

    Attributes:
        asked: The signal that asked it to stop, without SIG; empty when none did.
        claimed: This copy of the start is the one that runs.
        told: Its end is written.
    """

    def __init__(self, directory: str, wrap: Mapping[str, Any], note: Callable[[Wrapping], None]) -> None:
        """Nothing is done yet.

        Args:
            directory: The job's.
            wrap: `env`, `cwd`, `stdin`, `stdout`, `stderr`, as a script has them.
            note: Is called as soon as `claimed` or `told` became true.
        """
        self.asked = ""
        self.claimed = False
        self.told = False
        self._pid = os.getpid()
        self._directory = directory
        self._wrap = wrap
        self._note = note
        self._news = -1
        self._outputs: list[tuple[int, int]] = []

    def run(self, call: Callable[[], int]) -> int:
        """Run a call as a job; returns what the wrapper would exit with."""
        global _now  # noqa: PLW0603  signals are the whole process's
        status = f"{self._directory}/job.status"
        try:
            self._news = os.open(status, _NEW, _MODE)
        except OSError:
            return TAKEN if os.path.exists(status) else NOTHING_RAN
        self.claimed = True
        self._note(self)
        try:
            if not self._open_outputs():
                return self._give_back(status)
            _now = self
            _written(self._news, b"RUNNING %d\n" % self._pid)
            return self.end(self._payload(call))
        finally:
            _now = None
            os.close(self._news)

    # Before it

    def _open_outputs(self) -> bool:
        """Open its own files, before anything runs: what lies in their place later is never opened."""
        for name, fd in (("stderr", 2), ("stdout", 1)):
            if not self._wrap.get(name):
                try:
                    self._outputs.append((os.open(f"{self._directory}/job.{name}", _OUTPUT, _MODE), fd))
                except OSError:
                    return False
        return True

    def _give_back(self, status: str) -> int:
        """Nothing ran: the start is given back."""
        for fd, _ in self._outputs:
            os.close(fd)
        if not _written(self._news, RETURNED):
            with suppress(OSError):
                os.unlink(status)
        self._tell()
        return NOTHING_RAN

    def ask(self, number: int) -> None:
        """A signal asks it to stop."""
        self.asked = signal.Signals(number).name[3:]
        if number in _AT_ONCE:
            os._exit(self.end(128 + number))

    @property
    def here(self) -> bool:
        """Whether this process is the job's own, and no fork of it."""
        return os.getpid() == self._pid

    # The payload

    def _payload(self, call: Callable[[], int]) -> int:
        """The return code of what the job runs."""
        try:
            self._enter()
        except _CannotBeginError as exc:
            return exc.rc
        if self.asked:
            return 128 + signal.SIGTERM
        return _flushed(_called(call))

    def _enter(self) -> None:
        """Have the job's own files, environment and directory."""
        for fd, place in self._outputs:
            os.dup2(fd, place)
            os.close(fd)
        self._open_given("stderr", 2, _OUTPUT)
        if self._wrap.get("stdin", os.devnull) != os.devnull:
            self._open_given("stdin", 0, os.O_RDONLY | os.O_CLOEXEC)
        self._open_given("stdout", 1, _OUTPUT)
        for name, value in self._wrap["env"].items():
            os.environ[name] = value
        try:
            os.chdir(self._wrap["cwd"])
        except OSError as exc:
            told = f"xqute: the directory {self._wrap['cwd']} can't be had: {exc.strerror}"
            raise _CannotBeginError(told, NO_DIRECTORY) from exc

    def _open_given(self, name: str, place: int, flags: int) -> None:
        """Have a file of the user's own; that it can't be is the job's failure."""
        path = self._wrap.get(name)
        if not path:
            return
        try:
            fd = os.open(path, flags, _MODE)
        except OSError as exc:
            told = f"xqute: its {name}, {path}, can't be opened: {exc.strerror}"
            raise _CannotBeginError(told, NO_FILE) from exc
        os.dup2(fd, place)
        os.close(fd)

    # After it

    def end(self, rc: int) -> int:
        """Tell how it ended; returns what to exit with."""
        for number in _ASKING:
            set_handler(number, IGNORE)
        while _is_same(f"{self._directory}/job.status", self._news):
            if _tell(self._directory, self._news, rc, self.asked):
                self._tell()
                return rc
            # A full disk: the end is told when there is room again, after whatever part of a line got in.
            time.sleep(FULL_SECONDS)
            _written(self._news, b"\n")
        self._tell()
        return FENCED

    def _tell(self) -> None:
        self.told = True
        self._note(self)


class _CannotBeginError(Exception):
    """The payload could not be begun; its stderr says why."""

    def __init__(self, told: str, rc: int) -> None:
        super().__init__(told)
        self.rc = rc
        with suppress(OSError):
            os.write(2, f"{told}\n".encode(errors="surrogateescape"))


def told_for(directory: str, pid: int, rc: int) -> bool:
    """Write the end of a start whose process ended without a word; False: it was not to be, or could not be.

    Args:
        directory: The job's.
        pid: Of the process that claimed the start.
        rc: What a shell would say of its end.
    """
    status = f"{directory}/job.status"
    try:
        fd = os.open(status, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        ours = os.read(fd, 64) == b"RUNNING %d\n" % pid
        return ours and _is_same(status, fd) and _tell(directory, fd, rc, "")
    except OSError:
        return False
    finally:
        os.close(fd)


def _tell(directory: str, news: int, rc: int, asked: str) -> bool:
    """Write the return code and the line about the end."""
    well = rc == 0 and not asked
    line = b"FINISHED 0\n" if well else f"FAILED {rc}{' ' * bool(asked)}{asked}\n".encode()
    with suppress(OSError):  # it is for people
        fd = _open_new(f"{directory}/job.rc")
        os.write(fd, b"%d\n" % rc)
        os.close(fd)
    return _written(news, line)


def _written(news: int, line: bytes) -> bool:
    """Write news; False: not all of it got in."""
    try:
        return os.write(news, line) == len(line)
    except OSError:
        return False


def _open_new(path: str) -> int:
    """Open a new file; what the payload left in its place (a link, a pipe, a directory) is not used."""
    try:
        return make_new(path, _MODE)
    except IsADirectoryError:
        importlib.import_module("shutil").rmtree(path, ignore_errors=True)
        return make_new(path, _MODE)


def _is_same(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except OSError:
        return False


def _called(call: Callable[[], int]) -> int:
    """What a call returns; an exception on its way out of the process is what Python makes of it."""
    try:
        return call()
    except SystemExit as exc:
        return _exit_code(exc.code)
    except KeyboardInterrupt:
        traceback.print_exc()
        return 128 + signal.SIGINT
    except BaseException:  # noqa: BLE001  nobody else tells how it ended
        traceback.print_exc()
        return 1


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    with suppress(Exception):
        sys.stderr.write(f"{code}\n")
    return 1


def _flushed(rc: int) -> int:
    """The return code when the output is written; output that can't be written is a failure."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            rc = rc or NOT_FLUSHED
    return rc
