"""What a failed start is to be blamed on: looked for when it has failed, so that no other job pays for it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Sequence
from typing import Final

from .. import metadir
from ..job import Job
from ..outcome import raised_text
from ..scheduler import Scheduler
from ..settings import TAIL_BYTES
from ..states import Reason
from ..wrapper import PRESCRIPT_FAILED

_SIGKILL: Final = 9

#: What POSIX shells return for what was not found, and for what was and can't be executed.
_NOT_FOUND: Final = 127
_NOT_RUN: Final = 126

#: How much the kernel reads of a script's first line, at most.
_LINE_BYTES: Final = 256

#: What bash says of a program in a shell line that it could not execute.
_BASH: Final = re.compile(r"bash: (?:line \d+: )?(?P<program>.+?): ")

_TOO_LONG: Final = (
    "its arguments and environment (env=) are longer than the system lets a program begin with: put what is "
    "long in a file, and give its path, or the file as stdin="
)


def explained(job: Job, reason: Reason, scheduler: Scheduler) -> Reason:
    """Name the exception, the prescript, the command, its file or the memory when they are to blame."""
    if reason.code == "SIGNAL" and reason.detail.get("signal") == _SIGKILL and "peak" in job.usage:
        peak = job.usage["peak"] / 2**20
        told = f"it had used {peak:.0f} MiB: the kernel ends so what has no memory left"
        return Reason("SIGNAL", {**reason.detail, "message": told})
    if reason.code != "EXIT":
        return reason
    told = raised_text(job) or (_prescript_failure(job) if scheduler.prescript else "")
    if told:
        return Reason("EXIT", {**reason.detail, "message": told})
    if reason.detail.get("rc") not in (_NOT_FOUND, _NOT_RUN):
        return reason
    told = _never_began(job, reason.detail["rc"], here=scheduler.on_this_host)
    if told:  # with what to do, so that no other advice is needed
        return Reason("EXIT", {**reason.detail, "message": told, "explained": True})
    told = _not_found(job) if reason.detail["rc"] == _NOT_FOUND else _not_run(job, reason)
    return Reason("EXIT", {**reason.detail, "message": told}) if told else reason


def _never_began(job: Job, rc: int, *, here: bool) -> str:
    """What is wrong with a program that is there, or with what it is given; empty when it is not that."""
    said = "".join(job.stderr_tail()[-1:])
    if said.endswith("Argument list too long"):
        return _TOO_LONG
    program = "" if job.call.inside else job.call.argv[0]
    in_line = _BASH.match(said) if program == "bash" else None
    if in_line is not None:
        program = in_line["program"]
    path = _path(job, program, here=here)
    told = _script_trouble(path, program, here=here)
    if told or not path or not here or program == "bash" or in_line is not None or rc == _NOT_RUN:
        return told
    elsewhere = "/" not in program and f"{program}: not found" in said  # its PATH is not ours
    return "" if elsewhere else f"{program[:200]} is there, and something that it needs is not: {said}"


def _path(job: Job, program: str, *, here: bool) -> str:
    """Where a program is; empty when it can't be found from here."""
    if "/" in program:
        path = os.path.join(job.cwd, program)
        return path if os.path.isfile(path) else ""
    return (here and shutil.which(program, path=dict(job.call.options.env).get("PATH"))) or ""


def _script_trouble(path: str, program: str, *, here: bool) -> str:
    """What keeps the system from beginning a script; empty when its first line looks well."""
    line = _first_line(path)
    if not line.startswith("#!"):
        return ""
    shown = shlex.quote(program[:200])
    if line.endswith("\r"):
        told = f"{shown} has the line ends of Windows, and so names no program in its first line"
        return f"{told}: `sed -i 's/\\r$//' {shown}` mends it"
    missing = _missing(line[2:].split()) if here else ""
    told = f"{shown} is there, but its first line names {missing}, which is not: mend that line"
    return told if missing else ""


def _missing(words: Sequence[str]) -> str:
    """Which program of a script's first line is not there; empty when all are."""
    if not words:
        return ""
    if not os.path.exists(words[0]):
        return words[0]
    looked_for = [word for word in words[1:] if not word.startswith("-") and "=" not in word][:1]
    found = os.path.basename(words[0]) != "env" or all(map(shutil.which, looked_for))
    return "" if found else looked_for[0]


def _first_line(path: str) -> str:
    """The beginning of a file as far as the system looks at it; empty when it can't be read."""
    if not path:
        return ""
    try:
        with open(path, "rb") as file:
            return file.read(_LINE_BYTES).split(b"\n")[0].decode("utf-8", "replace")
    except OSError:
        return ""


def _not_found(job: Job) -> str:
    """Of a shell line, only bash knows what."""
    program = "" if job.call.inside else job.call.argv[0]
    if program in ("", "bash"):
        return ""
    hint = " (a whole shell line is pushed as a text, not as one word of a list)" if " " in program else ""
    return f"command not found: {program[:200]}{hint}"


def _not_run(job: Job, reason: Reason) -> str:
    return ": ".join([str(reason.detail.get("message", "")), *job.stderr_tail()[-1:]])


def _prescript_failure(job: Job) -> str:
    """What the wrapper wrote when the prescript failed, and the line before it; else nothing."""
    lines = metadir.read_tail(job.stderr_file, TAIL_BYTES, TAIL_BYTES)
    for place, line in enumerate(lines):
        if line.startswith(PRESCRIPT_FAILED):
            return " / ".join(["the prescript failed", *lines[max(0, place - 1) : place]])
    return ""
