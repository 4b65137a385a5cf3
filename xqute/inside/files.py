"""Files of a job's directory, where anybody may have put anything: opened with care."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO, Final

_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC

#: What is read beyond the size that a file of ours had when it was opened: nothing, as a rule.
_MORE_BYTES: Final = 1 << 12

#: No regular file is there: nothing, a link, a socket, or something else on the way to it.
_NOT_THERE: Final = {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR}


def open_regular(path: str, *, follow: bool = False) -> BinaryIO | None:
    """Open a regular file; None where there is none: nobody waits for a pipe or a device.

    Args:
        path: Where it is.
        follow: Also where a link leads to one.

    Raises:
        OSError: It could not be opened this time.
    """
    try:
        fd = os.open(path, _READ if follow else _READ | os.O_NOFOLLOW)
    except OSError as exc:
        if exc.errno in _NOT_THERE:
            return None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return os.fdopen(fd, "rb")


def read_all(path: str) -> bytes:
    """What a file of ours holds.

    Raises:
        OSError: It can't be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = piece = os.read(fd, os.fstat(fd).st_size)
        while piece:
            piece = os.read(fd, _MORE_BYTES)
            content += piece
        return content
    finally:
        os.close(fd)


def make_new(path: str, mode: int = 0o600) -> int:
    """Make a file, in the place of whatever is there, and never through a link; returns its descriptor.

    Raises:
        IsADirectoryError: A directory is there.
        OSError: It can't be made.
    """
    try:
        return os.open(path, _NEW, mode)
    except FileExistsError:
        os.unlink(path)
        return os.open(path, _NEW, mode)


def write_new(path: str, data: bytes, mode: int = 0o600) -> None:
    """Make a file, in the place of whatever is there, and write it.

    Raises:
        OSError: It can't be made, or not be written.
    """
    fd = make_new(path, mode)
    try:
        write_all(fd, data)
    except OSError as exc:
        exc.filename = path  # a descriptor has no name
        raise
    finally:
        os.close(fd)


def write_whole(path: str, data: bytes) -> None:
    """Write a file that is there as a whole or not at all.

    Raises:
        OSError: It can't be written.
    """
    part = f"{path}.part"
    write_new(part, data)
    os.replace(part, path)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write to a file until nothing is left: the kernel takes 2 GiB at most.

    Raises:
        OSError: It can't be written.
    """
    written = os.write(fd, data)
    while written < len(data):
        data = memoryview(data)[written:]
        written = os.write(fd, data)
