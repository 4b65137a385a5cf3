"""Reading what a job writes: from its end, as it grows, and without harm to a terminal."""

from __future__ import annotations

import codecs
import os
import stat
from typing import BinaryIO, Final

from xqute.printable import printable

#: Read at a time.
BLOCK_BYTES: Final = 64 * 1024

#: A line is shown in pieces of so many characters when it does not end.
LINE_MAX: Final = 64 * 1024


def open_output(path: str) -> BinaryIO | None:
    """An output file to read; None when it is not there, or is no regular file.

    Raises:
        OSError: It can't be read.
    """
    try:
        # the user's own stdout= may be a link, or a pipe that nobody may wait for
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return os.fdopen(fd, "rb", buffering=0)


def seek_tail(file: BinaryIO, lines: int) -> None:
    """Go to where the last so many lines begin; a last line without an end counts."""
    end = file.seek(0, os.SEEK_END)
    position, found = end, 0
    while position > 0:
        begin = max(0, position - BLOCK_BYTES)
        file.seek(begin)
        block = file.read(position - begin)
        searched = len(block) - (position == end and block.endswith(b"\n"))
        while (newline := block.rfind(b"\n", 0, searched)) >= 0:
            found += 1
            if found >= lines:
                file.seek(begin + newline + 1 if lines else end)
                return
            searched = newline
        position = begin
    file.seek(0 if lines else end)


class Lines:
    """Bytes as they come, told as harmless lines."""

    def __init__(self) -> None:
        """Nothing came yet."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, block: bytes, *, last: bool = False) -> str:
        """What can be shown by now; `last` when nothing follows."""
        text = self._rest + self._decoder.decode(block, last)
        whole, _, rest = text.rpartition("\n")
        if len(rest) > LINE_MAX:
            whole, rest = text, ""
        elif whole or text.startswith("\n"):
            whole += "\n"
        if last and rest:
            whole, rest = f"{whole}{rest}\n", ""
        self._rest = rest
        return tame(whole)


def tame(text: str) -> str:
    """Lines without escapes and control characters; a carriage return ends one."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(map(printable, lines))
