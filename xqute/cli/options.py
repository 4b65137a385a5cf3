"""What several commands take, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import rich_click as click

from xqute.errors import OptionError
from xqute.options import seconds, unknown
from xqute.states import JobStatus

F = TypeVar("F", bound=Callable[..., Any])

#: Where jobs are when nobody says otherwise.
METADIR: Final = "./.xqute"

#: Words that stand for several statuses.
SEVERAL: Final = {
    "live": tuple(status for status in JobStatus if status.live),
    "ended": tuple(status for status in JobStatus if status.final),
    "unfinished": tuple(status for status in JobStatus if not status.final),
}


def duration(value: str) -> float:
    """Seconds, or as people write it: 90s, 1h30m, 7d."""
    try:
        return seconds("duration", float(value) if _is_number(value) else value)
    except OptionError:
        told = f"{value!r} is no duration: give seconds, or a text like 90s, 1h30m or 7d"
        raise click.BadParameter(told) from None


def statuses(value: str | tuple[JobStatus, ...]) -> tuple[JobStatus, ...]:
    """Names of statuses, with commas between."""
    if isinstance(value, tuple):  # the default
        return value
    found: list[JobStatus] = []
    for word in (word.strip().lower() for word in value.split(",")):
        if word in SEVERAL:
            found += SEVERAL[word]
        elif word.upper() in JobStatus.__members__:
            found.append(JobStatus[word.upper()])
        else:
            known = [*(status.name.lower() for status in JobStatus), *SEVERAL]
            raise click.BadParameter(unknown("status", word, known))
    return tuple(dict.fromkeys(found))


def _is_number(value: str) -> bool:
    return value.replace(".", "", 1).isdecimal()


def assignments(values: Sequence[str], example: str) -> dict[str, Any]:
    """Words like NAME=VALUE; a value is JSON where it reads as that, else a text."""
    found = {}
    for value in values:
        name, sign, text = value.partition("=")
        if not (sign and name.strip()):
            raise click.BadParameter(f"{value!r}: give a name and a value, as in {example}")
        found[name.strip()] = _value(text)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def on_interrupt(command: F) -> F:
    """What Ctrl-C does: the option `--on-interrupt` of what runs jobs."""
    return click.option(
        "--on-interrupt",
        type=click.Choice(["kill", "detach"]),
        default="kill",
        show_default=True,
        help="What Ctrl-C does with jobs that run.",
    )(command)


def where(command: F) -> F:
    """Which jobs are meant: the options `--metadir` and `--store`, and the form of the answer."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    store = click.option("--store", metavar="URL", help="Where jobs are remembered, if not in the metadir.")
    metadir = click.option(
        "--metadir",
        metavar="PATH",
        envvar="XQUTE_METADIR",
        default=METADIR,
        show_default=True,
        show_envvar=True,
        help="Where the directories of jobs are.",
    )
    return metadir(store(as_json(command)))


def one_job(command: F) -> F:
    """The argument that names a job."""
    return click.argument("job", metavar="ID", type=JobId())(command)


class JobId(click.ParamType[int]):
    """A positive number; `hint` goes on with the sentence that says so."""

    name = "ID"

    def __init__(self, hint: str = "") -> None:
        self._hint = hint

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """The number."""
        if isinstance(value, int):
            return value
        if not (value.isdecimal() and int(value)):
            self.fail(
                f"{value!r} is no id of a job: that is a number, see `xqute ls`{self._hint}", param, ctx
            )
        return int(value)
