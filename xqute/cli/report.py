"""`xqute report`: what a shell job says of itself, and asks for, while it runs.

It runs in every job that reports something, perhaps often: so it is not one of the commands behind
`app`, whose library takes longer to load than this takes in all.
"""

from __future__ import annotations

import math
import os
import sys
import time
from argparse import (
    REMAINDER,
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    RawDescriptionHelpFormatter,
)
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from xqute.errors import XquteError
from xqute.events import LEVELS, TOTAL, Event, format_event
from xqute.printable import printable

from .ends import FAILED, MISUSED, status_of

_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_TEACHES: Final = """Say from inside a job how far it is, or what it needs first.

For the commands and scripts that run as jobs. What they say is in `xqute ls`, `show` and `logs`, and
plugins hear of it. A line that a program appends to the file $XQUTE_JOB_EVENTS itself does the same."""

_EXAMPLES: Final = """Examples:
  xqute report progress 3 10 "frame 3"     three of ten; without the 10, it is percent
  xqute report progress 1 4 --group a/b    one of nested bars
  xqute report stage align --of 2/5        the second of five stages
  xqute report log warning "no index yet"
  xqute report skip "nothing new"          then exit 0: the job is SKIPPED
  xqute report require make index          then exit 0: that first, then the job begins again

It works inside a job of xqute, and says so elsewhere. Only `skip` and `require` can fail a job that
runs under `set -e`: what nobody can see, where the disk is full, is no reason to."""


class _Parser(ArgumentParser):
    """Tells what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """End with the status of wrong usage."""
        print(f"xqute: {printable(message)}; see xqute report --help", file=sys.stderr)
        raise SystemExit(MISUSED)


def make_parser() -> ArgumentParser:
    """What can be reported, and how it is written."""
    parser = _Parser("xqute report", description=_TEACHES, epilog=_EXAMPLES,
                     formatter_class=RawDescriptionHelpFormatter)  # fmt: skip
    words = parser.add_subparsers(title="what can be reported", metavar="WORD", required=True)

    def word(name: str, does: Callable[[Namespace], int], says: str) -> ArgumentParser:
        made: ArgumentParser = words.add_parser(name, help=says, description=says)
        made.set_defaults(does=does)
        return made

    progress = word("progress", _progress, "How far the job is: CURRENT of TOTAL, or CURRENT percent.")
    progress.add_argument("current", metavar="CURRENT", type=_number)
    progress.add_argument("rest", metavar="TOTAL MESSAGE", nargs="*", help="each may be left out")
    progress.add_argument("--group", metavar="A/B", default="", help="which of nested bars")
    stage = word("stage", _stage, "What the job does now.")
    stage.add_argument("name", metavar="NAME", nargs="+")
    stage.add_argument(
        "--of", metavar="K/N", type=_part, help="it is the k-th of n: the progress moves by itself"
    )
    skip = word("skip", _skip, "The job had nothing to do; it exits with 0 after this, and is SKIPPED.")
    skip.add_argument("text", metavar="TEXT", nargs="*", help="why")
    log = word("log", _log, "A line for the job's log.")
    log.add_argument("level", metavar="LEVEL", type=str.lower, choices=LEVELS, help=", ".join(LEVELS))
    log.add_argument("text", metavar="TEXT", nargs="+")
    require = word("require", _require, "A command that has to run first; the job exits with 0 after this.")
    require.add_argument("argv", metavar="CMD ARGS", nargs=REMAINDER, help="it runs here, in this directory")
    return parser


def _number(text: str) -> float:
    if not _is_number(text):
        raise ArgumentTypeError(f"{text!r} is no number")
    return float(text)


def _part(text: str) -> tuple[int, int]:
    """The 2 and the 5 of "2/5"."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 0 < int(number) <= int(count)):
        raise ArgumentTypeError(f"{text!r} is not as in 2/5")
    return int(number), int(count)


def main(arguments: Sequence[str]) -> int:
    """Report something; returns the exit status.

    Args:
        arguments: Those of `xqute`: the first is "report".
    """
    try:
        given = make_parser().parse_args(arguments[1:])
        status: int = given.does(given)
    except SystemExit as end:  # help, or wrong usage
        return end.code if isinstance(end.code, int) else MISUSED
    except XquteError as error:
        return _fail(str(error), status_of(error))
    except OSError as error:
        return _fail(f"{os.fsdecode(error.filename or 'the report')}: {error.strerror or error}")
    return status


def _fail(sentence: str, status: int = FAILED) -> int:
    print(f"xqute: {printable(sentence)}", file=sys.stderr)
    return status


# The words


def _progress(given: Namespace) -> int:
    total, rest = TOTAL, given.rest
    if rest and _is_number(rest[0]):
        total, rest = float(rest[0]), rest[1:]
    group = tuple(name for name in given.group.split("/") if name)
    return _tell_if_possible(Event("progress", " ".join(rest), given.current, total, group))


def _stage(given: Namespace) -> int:
    number, count = given.of or (0, 0)
    return _tell_if_possible(Event("stage", " ".join(given.name), number, count, date=time.time()))


def _log(given: Namespace) -> int:
    return _tell_if_possible(Event("log", " ".join(given.text), level=given.level))


def _skip(given: Namespace) -> int:
    _tell(Event("skip", " ".join(given.text)))
    return 0


def _require(given: Namespace) -> int:
    if not given.argv:
        make_parser().error("say which command is required")
    # what plans calls takes longer to load than all the rest
    from .requiring import ask

    _tell(Event("require", ask(os.path.dirname(_events()), given.argv)))
    return 0


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


# The files


def _events() -> str:
    """The file of the job that this process belongs to."""
    path = os.environ.get("XQUTE_JOB_EVENTS", "")
    if not path:
        raise XquteError("`xqute report` is for use inside a job, and no job of xqute started this process")
    return path


def _tell_if_possible(event: Event) -> int:
    """Write an event that no job should fail for."""
    try:
        _tell(event)
    except OSError as error:
        _fail(f"not reported: {error.strerror or error}")
    return 0


def _tell(event: Event) -> None:
    line = format_event(event)
    fd = os.open(_events(), _APPEND, 0o600)
    try:
        if os.write(fd, line) < len(line):
            # half a line: the next one is to begin on its own
            os.write(fd, b"\n")
    finally:
        os.close(fd)
