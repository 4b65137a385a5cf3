"""What a shell job requires, as the engine finds it: `job.call.<name>`, the plan of one command."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Final

from xqute.calls import cmd
from xqute.errors import XquteError
from xqute.metadir import CALL
from xqute.options import JobOptions
from xqute.plan import plan

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def ask(directory: str, argv: Sequence[str]) -> str:
    """Write down that a job needs a command, to be run where this process is; returns its name.

    Raises:
        XquteError: It is no command.
        OSError: It can't be written.
    """
    laid = plan([cmd(*argv)], JobOptions(cwd=os.getcwd()), place=_nowhere)
    content = laid.as_json().encode()
    name = hashlib.sha256(content).hexdigest()[:12]
    part = f"{directory}/{CALL}{name}.{os.getpid()}.part"
    with open(part, "wb", opener=_private) as file:
        file.write(content)
    os.replace(part, f"{directory}/{CALL}{name}")
    return name


def _nowhere() -> str:
    raise XquteError("a command that takes no results needs no Python")


def _private(path: str, _: int) -> int:
    return os.open(path, _NEW, 0o600)
