"""What batch schedulers share and what needs no scheduler: directives, names, and the scripts of arrays."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from ..errors import OptionError
from ..options import seconds
from ..wrapper import quote

#: A digit of the number of a batch.
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"

#: What may stand in the name of a job at every batch scheduler.
_NAMELESS: Final = re.compile(r"[^A-Za-z0-9_.+-]")

_COUNT: Final = itertools.count()


# Options


def check_values(options: Mapping[str, Any], prefixes: tuple[str, ...]) -> None:
    """Refuse what can't stand in one line of a script.

    Raises:
        OptionError: Names the option.
    """
    for name, value in options.items():
        if prefixes and name.startswith(prefixes):
            for item in _items(value):
                if any(sign in str(item) for sign in "\n\r\0"):
                    raise OptionError(f"{name}={value!r}: a directive is one line")


def expand(options: Mapping[str, Any], prefixes: tuple[str, ...]) -> Iterator[tuple[str, str | None]]:
    """The user's options as the scheduler's own: names without prefix, lists one by one.

    The value of a bare flag is None.

    >>> list(expand({"sge_l": ["a=1", "b=2"], "sge_cwd": True, "sge_V": False, "qsub": "x"}, ("sge_",)))
    [('l', 'a=1'), ('l', 'b=2'), ('cwd', None)]
    """
    for name, value in options.items():
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
        if prefix is None:
            continue
        for item in _items(value):
            if item is not None and item is not False:
                yield name.removeprefix(prefix), None if item is True else str(item)


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


# Names


def token_of(store: str, batch: str) -> str:
    """What stands in the name of the jobs of one submission, so that they can be found again."""
    return f"xq-{store}-{batch}"


def token_in(name: str) -> str:
    """The token in the name of a job; empty when there is none, and it is not ours."""
    place = name.rfind("xq-")
    return name[place:] if place >= 0 else ""


def new_batch() -> str:
    """The number of a batch, never given twice by one host."""
    number, word = time.time_ns() * 1000 + next(_COUNT) % 1000, ""
    while number:
        number, digit = divmod(number, 36)
        word = _DIGITS[digit] + word
    return f"a{word}"


def plain_name(text: str) -> str:
    """A text as the name of a job, that every batch scheduler takes."""
    return _NAMELESS.sub("_", text)


def number_of(uid: str) -> str:
    """What all elements of an array have in common, and no other job has; the id of one that is alone.

    >>> number_of("7_3"), number_of("7.3"), number_of("7[3].host"), number_of("x-7")
    ('7', '7', '7', 'x-7')
    """
    found = _NUMBER(uid)
    return found[0] if found else uid


_NUMBER: Final = re.compile(r"\d+").match


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as people and schedulers write many of them.

    >>> ranges([3, 1, 2, 7])
    '1-3,7'
    """
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in spans)


def spread(text: str) -> Iterator[int]:
    """The numbers in what schedulers write of many.

    >>> list(spread("1-3,7,10-14:2"))
    [1, 2, 3, 7, 10, 12, 14]
    """
    for part in text.split(","):
        found = _SPAN(part.strip())
        if found is not None:
            first, last, step = found.groups()
            yield from range(int(first), int(last or first) + 1, int(step or 1))


_SPAN: Final = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?").fullmatch


def clock(text: str) -> float:
    """Seconds of a time as schedulers write it; 0 for what is none.

    >>> clock("1-02:03:04"), clock("00:01:00"), clock("60"), clock("UNLIMITED")
    (93784.0, 60.0, 60.0, 0.0)
    """
    days, _, rest = text.rpartition("-")
    with suppress(ValueError):
        parts = [float(part or 0) for part in rest.split(":")]
        return (
            sum(part * 60.0**place for place, part in enumerate(reversed(parts))) + float(days or 0) * 86400
        )
    return 0.0


# Arrays


class Element(NamedTuple):
    """One job of an array: which start of which job, and its script."""

    id: int
    start: int
    claims: bool = True


def array_text(root: str, wrapped: str, variable: str, directives: Iterable[str], jobs: list[Element]) -> str:
    """The script of an array: each element becomes the script of its job, if that is of the start meant.

    It is also what says which element is which job's, see `read_elements`.

    Args:
        root: The metadir.
        wrapped: The name of the jobs' scripts.
        variable: The environment variable with the number of the element, from 1.
        directives: Lines for the scheduler.
        jobs: The elements.
    """
    words = " ".join(f"{job.id}:{job.start}" for job in jobs)
    lines = [
        "#!/bin/sh",
        *directives,
        f"set -- {words}",
        f'eval "e=\\${{${variable}}}"',
        f's={quote(root)}/"${{e%:*}}"/{quote(wrapped)}',
    ]
    if jobs[0].claims:
        # a later start has its own submission: whoever comes late for an earlier one leaves
        lines += [
            "while read -r line; do case $line in",
            '"# xqute start ${e#*:} of "*) exec /bin/sh "$s" </dev/null ;;',
            '"# xqute start "*) exit 0 ;;',
            'esac; done <"$s"',
            "exit 75",
        ]
    else:
        lines.append('exec "$s" </dev/null')
    return "\n".join([*lines, ""])


_ELEMENTS: Final = re.compile(r"^set -- ((?:\d+:\d+ ?)+)$", re.MULTILINE)


def read_elements(text: str) -> list[Element]:
    """Which job each element of an array is, by its script."""
    found = _ELEMENTS.search(text)
    words = found[1].split() if found else []
    pairs = (word.split(":") for word in words)
    return [Element(int(id_), int(start)) for id_, start in pairs]


def place_of(
    name: str, index: int, store: str, elements: Mapping[str, Sequence[Element]]
) -> tuple[int, int] | None:
    """Which start of which job has this name, and is this element of its array; None: it is not ours.

    Args:
        name: Of a job in the queue.
        index: Which element it is; 0: it is alone.
        store: Part of the names of our jobs.
        elements: Of the arrays that were submitted, by token.
    """
    token = token_in(name)
    if not token.startswith(token_of(store, "")):
        return None
    if index:
        jobs = elements.get(token, ())
        return jobs[index - 1][:2] if index <= len(jobs) else None
    id_, _, start = token.rpartition("-")[2].partition(".")
    return (int(id_), int(start)) if id_.isdecimal() and start.isdecimal() else None


# Rates


class Rate:
    """A bucket: so many commands at once, and as many again in each span of time."""

    def __init__(self, count: float, span: float) -> None:
        """Full."""
        self._count, self._span = count, span
        self._left, self._then = count, time.monotonic()

    @classmethod
    def of(cls, given: Any) -> Rate | None:
        """From "60/1m"; None: no limit.

        Raises:
            OptionError: It can't be read.
        """
        if given is None:
            return None
        count, _, span = str(given).partition("/")
        if not count.strip().isdecimal() or int(count) < 1 or not span:
            raise OptionError(f'scheduler_rate={given!r}: give commands per time, such as "60/1m", or None')
        return cls(int(count), max(seconds("scheduler_rate", span.strip()), 0.001))

    async def take(self) -> None:
        """Wait until one more may run."""
        now = time.monotonic()
        self._left = min(self._count, self._left + (now - self._then) * self._count / self._span) - 1
        self._then = now
        if self._left < 0:
            await asyncio.sleep(-self._left * self._span / self._count)
