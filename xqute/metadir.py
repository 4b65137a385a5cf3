"""Where each file of a job lives, who writes it, and how it is read safely.

```
<metadir>/
├── .gitignore                  *
├── xqute.db                    the default store
├── .store/                     which store these directories are of
├── .places/                    with which Python, and where, calls were pushed
└── <id>/                       0700, made when the job is first handed to a scheduler
    ├── job.wrapped.<scheduler> the engine
    ├── job.lock                the engine; the scheduler's id of the job while it may be there
    ├── job.status              the wrapper: the claim, then how it ended
    ├── job.rc                  the wrapper: the return code, for people
    ├── job.stdout job.stderr   the wrapper
    ├── job.events              the job: progress, stages, what it asks for
    ├── job.log                 a Python call: its log records
    ├── job.result job.error    a Python call: what it returned or raised; job.result.txt is for people
    └── job.retry/<start>/      the engine: the files of earlier starts
```

What others may have written is read with care: regular files only, never through a symlink, never
more than a cap, never waiting for a FIFO's writer.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import Final

from .crash import crash_point
from .errors import MetadirError
from .inside.files import write_new
from .printable import printable
from .settings import SCRIPT_HEAD_BYTES, SCRIPT_MAX_BYTES, STATUS_MAX_BYTES
from .states import FileNews, FileState

STATUS: Final = "job.status"
RC: Final = "job.rc"
STDOUT: Final = "job.stdout"
STDERR: Final = "job.stderr"
LOCK: Final = "job.lock"
RETRY: Final = "job.retry"
EVENTS: Final = "job.events"
RESULT: Final = "job.result"
RESULT_TEXT: Final = "job.result.txt"
ERROR: Final = "job.error"
LOG: Final = "job.log"
CALL: Final = "job.call."
WRAPPED: Final = "job.wrapped."

#: For what must be made new: never through a link, and never what somebody else put there.

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

#: The words of a status file, ours and those of a wrapper's author (also by number of `JobStatus`).
_WORDS: Final = {
    "RUNNING": FileState.RUNNING,
    "4": FileState.RUNNING,
    "3": FileState.RUNNING,
    "5": FileState.RUNNING,
    "FINISHED": FileState.FINISHED,
    "6": FileState.FINISHED,
    "FAILED": FileState.FAILED,
    "7": FileState.FAILED,
    "KILLED": FileState.FAILED,
    "8": FileState.FAILED,
    "SKIPPED": FileState.SKIPPED,
    "9": FileState.SKIPPED,
}

ABSENT: Final = FileNews(FileState.ABSENT)


def prepare_root(metadir: str | os.PathLike[str]) -> Path:
    """Make the metadir absolute, make it, and prove that it can be written.

    Raises:
        MetadirError: It can't be made or written; the message says why.
    """
    root = Path(os.path.abspath(metadir))
    probe = root / f".xqute-probe-{os.getpid()}"
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_new(str(probe), b"")
        probe.unlink()
        if not os.path.lexists(root / ".gitignore"):
            write_new(f"{root}/.gitignore", b"*\n")
    except OSError as exc:
        msg = f"the metadir {root} can't be written: {exc.strerror or exc}; choose another with job_metadir="
        raise MetadirError(msg) from exc
    return root


def read_small(path: str, cap: int = STATUS_MAX_BYTES) -> bytes | str:
    """Read a small regular file: its bytes, or a word for what is there instead.

    Raises:
        FileNotFoundError: Nothing is there.
        OSError: It could not be read this time.
    """
    try:
        fd = os.open(path, _FLAGS)
    except OSError as exc:
        if exc.errno in _NOT_REGULAR:
            return "a symlink or device"
        raise
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            return "not a regular file"
        if info.st_size > cap:
            return f"{info.st_size} bytes"
        return os.read(fd, cap)
    finally:
        os.close(fd)


_NOT_REGULAR: Final = {errno.ELOOP, errno.ENXIO}  # a link; a socket
_NO_FILE: Final = _NOT_REGULAR | {errno.ENOENT, errno.ENOTDIR}


def read_news(directory: str) -> FileNews:
    """What the files in a job's directory say now.

    Raises:
        OSError: They could not be read this time (not: they are not there).
    """
    try:
        content = read_small(f"{directory}/{STATUS}")
    except FileNotFoundError:
        return ABSENT
    if isinstance(content, str):
        return FileNews(FileState.UNREADABLE, what=f"{STATUS} is {content}")
    news = parse_status(content)
    ended = news.state in (FileState.FINISHED, FileState.FAILED)
    return news._replace(rc=_read_rc(directory)) if ended and news.rc is None else news


def parse_status(content: bytes) -> FileNews:
    """Read a status file's content: its last complete line is the news."""
    end = content.rfind(b"\n")
    if end < 0:
        return ABSENT
    begin = content.rfind(b"\n", 0, end) + 1
    words = content[begin:end].decode("ascii", "replace").split()
    if not words:
        return ABSENT
    state = _WORDS.get(words[0].upper())
    if state is None:
        return FileNews(FileState.UNREADABLE, what=f"{STATUS} says {words[0][:40]!r}")
    number = words[1] if len(words) > 1 else ""
    if state is FileState.RUNNING:
        pid = int(number) if number.isdecimal() and len(number) <= _PID_DIGITS else None
        return FileNews(state, ours=pid is not None, pid=pid)
    rc = _rc(number)
    signal = words[2] if len(words) > 2 else ""  # noqa: PLR2004  FAILED <rc> <signal>
    return FileNews(state, rc=rc, signal=signal if rc is not None else "", ours=rc is not None)


def _read_rc(directory: str) -> int | None:
    try:
        content = read_small(f"{directory}/{RC}")
    except FileNotFoundError:
        return None
    return _rc(content.decode("ascii", "replace").strip()) if isinstance(content, bytes) else None


def _rc(text: str) -> int | None:
    """A return code: 0 to 255, and nothing else."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 3):  # noqa: PLR2004  digits of 255
        return None
    number = int(text)
    return number if number <= 255 else None  # noqa: PLR2004


_PID_DIGITS: Final = 10


def write_script(path: str, text: str) -> None:
    """Write a job's script, 0700, never through something that was there before."""
    write_new(path, os.fsencode(text), 0o700)


def read_start(script: str, whose: str) -> int | None:
    """Which start of a job the files beside this script are of.

    Args:
        script: Its path.
        whose: The job's `identity`.

    Returns:
        0: They are another job's, whose directory is used again. None: nothing says it.

    All files of earlier starts are put away before the script of a start is written.

    Raises:
        OSError: It could not be read this time.
    """
    try:
        content = read_small(script, SCRIPT_MAX_BYTES)
    except FileNotFoundError:
        return None
    told = _START.search(content[:SCRIPT_HEAD_BYTES]) if isinstance(content, bytes) else None
    if told is None:
        return None
    return int(told[1]) if told[2].decode("utf-8", "replace") == whose else 0


_START: Final = re.compile(rb"^# xqute start (\d{1,9}) of (.*)$", re.MULTILINE)


def read_uid(directory: str) -> str:
    """The scheduler's id in the lock; empty when there is none."""
    try:
        content = read_small(f"{directory}/{LOCK}")
    except OSError:
        return ""
    return content.decode("utf-8", "replace").strip() if isinstance(content, bytes) else ""


def read_claim(directory: str) -> str | None:
    """The process id in the claim of a start; None: nothing claimed it."""
    try:
        content = read_small(f"{directory}/{STATUS}")
    except FileNotFoundError:
        return None
    if isinstance(content, str):
        return ""
    told = _CLAIM.match(content)
    return told[1].decode() if told else ""


def has_said(directory: str) -> bool:
    """Whether a job's newest start reported something."""
    return os.path.lexists(f"{directory}/{EVENTS}")


def has_result(directory: str) -> bool:
    """Whether a Python call left what it returned."""
    return os.path.lexists(f"{directory}/{RESULT}")


def claimed_at(directory: str) -> float | None:
    """When the wrapper wrote last to its claim: as it began, or ended.

    UTC seconds of the file system's clock; None: there is none.
    """
    try:
        return os.lstat(f"{directory}/{STATUS}").st_mtime
    except OSError:
        return None


_CLAIM: Final = re.compile(rb"RUNNING (\d{1,10})\n")


def write_lock(directory: str, uid: int | str) -> None:
    """Write the scheduler's id of a job: the id and a newline, nothing else."""
    # The job may run already, and have put something there: a link to a file of its user.
    write_new(f"{directory}/{LOCK}", f"{uid}\n".encode())


def remove_lock(directory: str) -> None:
    """Remove the lock; an author's script may have done so before."""
    try:
        os.unlink(f"{directory}/{LOCK}")
    except OSError:
        return


def put_away(directory: str, start: int) -> None:
    """Move our files of an earlier start to `job.retry/<start>/`, so that starts never mix.

    What a job or a user wrote there under other names stays.

    Raises:
        PermissionError: The directory is not ours: a link, or another user's.
    """
    _check_ours(directory)
    target = Path(directory, RETRY, str(start))
    names = [name for name in os.listdir(directory) if name.startswith("job.") and name != RETRY]
    # The script last: it says which start the others are of, should this process die in between.
    for name in sorted(names, key=lambda name: name.startswith(WRAPPED)):
        if not target.is_dir():
            _make_retry(target)
        crash_point("before a file of an earlier start is put away")
        os.replace(f"{directory}/{name}", target / name)


def _make_retry(target: Path) -> None:
    target.parent.mkdir(mode=0o700, exist_ok=True)
    _check_ours(str(target.parent))
    target.mkdir(mode=0o700, exist_ok=True)


def _check_ours(directory: str) -> None:
    info = os.lstat(directory)
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "not a directory of ours, and not touched", directory)


def read_output(path: str | os.PathLike[str], cap: int) -> bytes | int:
    """The content of an output file; its size when that is more than `cap`.

    Nothing, when it is not there or no regular file: nobody waits for a pipe or a device.

    Raises:
        OSError: It could not be read this time.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno in _NO_FILE:
            return b""
        raise
    with os.fdopen(fd, "rb") as file:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            return b""
        return info.st_size if info.st_size > cap else file.read(cap)


def read_lines(path: str, cap: int) -> list[bytes]:
    """The complete lines at the end of a file, at most `cap` bytes of it; none when it can't be read."""
    begin, content = _end_of(path, cap, _FLAGS)
    lines = content.split(b"\n")[:-1]
    return lines[1:] if begin else lines


def read_tail(path: str | os.PathLike[str], lines: int, cap: int) -> list[str]:
    """The last lines of a text file, at most `cap` bytes of it; none when it can't be read."""
    _, content = _end_of(path, cap, _FLAGS & ~os.O_NOFOLLOW)  # the user's own stderr= may be a link
    text = content.decode("utf-8", "replace").replace("\r\n", "\n")
    return [printable(line) for line in text.split("\n") if line][-lines:]


def _end_of(path: str | os.PathLike[str], cap: int, flags: int) -> tuple[int, bytes]:
    """The last bytes of a regular file, at most `cap`, and where they begin; none when it can't be read."""
    try:
        fd = os.open(path, flags)
    except OSError:
        return 0, b""
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            return 0, b""
        begin = max(0, info.st_size - cap)
        return begin, os.pread(fd, cap, begin)
    except OSError:
        return 0, b""
    finally:
        os.close(fd)
