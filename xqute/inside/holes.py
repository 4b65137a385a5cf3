"""A command that takes results of others: its arguments are filled, and it takes the process over."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import XquteError
from .loading import Needs


def fill(argv: Sequence[str | Mapping[str, int]], needs: Needs) -> list[str]:
    """The arguments as texts.

    Raises:
        XquteError: A result is nothing that a command takes.
    """
    return [
        word if isinstance(word, str) else _text(position, needs.id(word["need"]), needs.load(word["need"]))
        for position, word in enumerate(argv)
    ]


def _text(position: int, id: int, value: Any) -> str:
    if isinstance(value, (str, bytes, os.PathLike)):
        text = os.fsdecode(value)
    elif isinstance(value, (int, float)):
        text = str(value)
    else:
        what = "None" if value is None else f"a {type(value).__qualname__}"
        raise XquteError(
            f"argument {position} of the command takes the result of job {id}, which is {what}: "
            "texts, bytes, numbers and paths can be arguments"
        )
    if "\0" in text:
        raise XquteError(f"argument {position} of the command, the result of job {id}, holds a NUL")
    return text


def execute(argv: Sequence[str]) -> int:
    """Become a command; where there is none, the return code that a shell would tell."""
    # Python ignores these, and what is ignored stays so.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvp(argv[0], list(argv))
    except OSError as exc:
        print(f"xqute: {argv[0]}: {exc.strerror}", file=sys.stderr)  # noqa: T201
        return 127 if exc.errno in {errno.ENOENT, errno.ENOTDIR} else 126
