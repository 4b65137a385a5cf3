"""Faces of a toy cluster: how its commands read their arguments and print their answers.

A face is thin: it turns arguments into calls of `toyjobs`, and jobs into lines. The switches for faults
work for every face alike, in `main`; what a face says then is its own. Standard library only, see `toycore`.
"""

from __future__ import annotations

import json
import os
import sys
import time

from . import toyjobs
from .toycore import Refused, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

#: Between two looks at whether a command shall still hang.
_LOOK = 0.02


class Usage(Exception):
    """The arguments can't be read."""


class Face:
    """How one kind of cluster looks.

    Attributes:
        programs: The commands it has, name → what it is: a method of the face. A name that is given to
            the switches for faults is one of these methods.
        unreachable, refused: What its commands say when a switch says nothing better.
    """

    programs: Mapping[str, str] = {}
    unreachable = "cannot reach the cluster"
    refused = "no such queue"

    def __init__(self, home: str, program: str) -> None:
        """Be this command of the cluster in this directory."""
        self.home = home
        self.program = program

    def error(self, text: str) -> str:
        """How a command says what is wrong."""
        return f"{self.program}: {text}"

    def refusal(self, text: str) -> str:
        """How a command says that a job is refused."""
        return self.error(text)


class Plain(Face):
    """The face of nobody's cluster: three commands with the least that such commands have.

    `toy-submit [-H] [-t SECONDS] SCRIPT [NAME]` prints a number; `-H`: to be held.
    `toy-queue` prints `ID NAME STATE [REASON]` for each job, also for those that have just ended.
    `toy-cancel ID…` says nothing, but which it does not know.
    """

    programs = {  # noqa: RUF012  typing is not imported here
        "toy-submit": "submit",
        "toy-queue": "queue",
        "toy-cancel": "cancel",
    }

    def refusal(self, text: str) -> str:
        """A word that a scheduler can look for."""
        return self.error(f"refused: {text}")

    def submit(self, arguments: list[str], *, lost: bool) -> str:
        """Take a script."""
        held, walltime = False, 0.0
        while arguments and arguments[0] in {"-H", "-t"}:
            if arguments.pop(0) == "-H":
                held = True
            else:
                walltime = _number(arguments.pop(0) if arguments else "")
        if len(arguments) not in {1, 2}:
            raise Usage("[-H] [-t SECONDS] SCRIPT [NAME]")
        script, *names = arguments
        name = names[0] if names else os.path.basename(script).replace(" ", "_")
        if not name or len(name.split()) != 1:
            raise Refused(f"{name!r} is no name of a job")
        return f"{toyjobs.submit(self.home, script, lost=lost, name=name, held=held, walltime=walltime)}\n"

    def queue(self, arguments: list[str]) -> str:
        """What the table knows."""
        if arguments:
            raise Usage("")
        jobs = toyjobs.wake(self.home).jobs.values()
        lines = [f"{job.id} {job.name} {job.state} {job.reason}".strip() for job in jobs]
        return "".join(f"{line}\n" for line in lines)

    def cancel(self, arguments: list[str]) -> str:
        """Stop jobs."""
        unknown = toyjobs.cancel(self.home, _numbers(arguments))
        if unknown:
            raise Refused(f"no such job: {' '.join(map(str, unknown))}")
        return ""


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise Usage("-t SECONDS") from None


def _numbers(words: list[str]) -> list[int]:
    if not words or not all(word.isdecimal() for word in words):
        raise Usage("ID...")
    return [int(word) for word in words]


# Switches for faults


def switch_of(home: str, name: str) -> str:
    """The file of a switch: it is on as long as it is there."""
    return f"{home}/faults/{name}.json"


def fault(home: str, name: str, verb: str, arguments: list[str]) -> dict[str, Any] | None:
    """What a switch says about this command, if it is on; one that counts has one less."""
    path = switch_of(home, name)
    if _said(path, verb, arguments) is None:
        return None
    with Table(home):  # its lock keeps the count right
        found = _said(path, verb, arguments)
        if found is not None and found["times"]:
            found["times"] -= 1
            if found["times"]:
                flip(path, found)
            else:
                os.unlink(path)
    return found


def _said(path: str, verb: str, arguments: list[str]) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8") as file:
            found: dict[str, Any] = json.load(file)
    except FileNotFoundError:
        return None
    meant = verb in (found["verbs"] or [verb]) and found["only"] in "\0".join(arguments)
    return found if meant else None


def flip(path: str, said: dict[str, Any]) -> None:
    """Write a switch, as a whole."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(said, file)
    os.rename(f"{path}.new", path)


# Commands


def main(home: str, kind: type[Face], program: str, arguments: list[str]) -> int:
    """Run one command; returns what it exits with."""
    face, verb = kind(home, program), kind.programs[program]
    _note(home, [program, *arguments])
    while _said(switch_of(home, "hang"), verb, arguments) is not None:
        time.sleep(_LOOK)
    if broken := fault(home, "fail", verb, arguments):
        return _complain(face.error(broken["text"] or face.unreachable))
    if banner := fault(home, "banner", verb, arguments):
        print(banner["text"] or "Welcome to the toy cluster.", flush=True)
    try:
        if verb == "submit":
            return _submit(face, arguments)
        print(end=getattr(face, verb)(arguments))
    except Usage as exc:
        return _complain(f"usage: {program} {exc}")
    except Refused as exc:
        return _complain(face.error(str(exc)))
    return 0


def _submit(face: Any, arguments: list[str]) -> int:
    if refused := fault(face.home, "refuse", "submit", arguments):
        return _complain(face.refusal(refused["text"] or face.refused))
    lost = fault(face.home, "lose", "submit", arguments) is not None
    try:
        answer = face.submit(arguments, lost=lost)
    except Refused as exc:
        return _complain(face.refusal(str(exc)))
    if denied := fault(face.home, "deny", "submit", arguments):
        return _complain(face.error(denied["text"] or face.unreachable))
    print(end=answer)
    return 0


def _complain(text: str) -> int:
    print(text, file=sys.stderr)
    return 1


def _note(home: str, command: list[str]) -> None:
    descriptor = os.open(f"{home}/calls.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with open(descriptor, "wb") as file:
        file.write(json.dumps(command).encode() + b"\n")
