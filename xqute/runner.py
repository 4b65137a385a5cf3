"""The contract of runners: where the commands of a scheduler are run."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from .printable import printable

#: What a message quotes of a command at most.
_QUOTED: Final = 500


def program_of(argv: Sequence[str]) -> str:
    """The name of a command, without its folder; of a line for `sh -c` the name it is given, if any."""
    named = tuple(argv[:2]) == ("/bin/sh", "-c") and len(argv) > 3  # noqa: PLR2004  what follows the line is its $0
    return os.path.basename(argv[3 if named else 0])


class Ran(NamedTuple):
    """What became of one command.

    Attributes:
        argv: The command.
        code: What it exited with; negative: the signal that ended it.
        output, error: What it said, as far as it is text.
    """

    argv: Sequence[str]
    code: int
    output: str
    error: str

    @property
    def program(self) -> str:
        """Its name."""
        return program_of(self.argv)

    @property
    def said(self) -> str:
        """What it said, in one line for people; the errors first."""
        lines = [line.strip() for line in f"{self.error}\n{self.output}".splitlines()]
        told = " / ".join(line for line in lines if line) or f"exit status {self.code}, and no word"
        return printable(told if len(told) <= _QUOTED else f"{told[:_QUOTED]}…")


class Runner(ABC):
    """Runs commands somewhere: each to its end, within a time.

    Attributes:
        commands: How often each program was run.
    """

    def __init__(self) -> None:
        """Nothing was run yet."""
        self.commands: Counter[str] = Counter()

    @abstractmethod
    async def run(self, argv: Sequence[str], *, seconds: float, env: Mapping[str, str] | None = None) -> Ran:
        """Run a command and return what became of it, whatever it exited with.

        It reads nothing, and is ended with all that it started when it takes too long or the call is
        cancelled: what it has done by then is not known.

        Args:
            argv: The program and its arguments.
            seconds: What it may take.
            env: Its whole environment; None: that of this process.

        Raises:
            BackendUnavailable: It could not be started, took too long, or said more than can be kept.
        """
