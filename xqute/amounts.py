"""How much of something a job takes: sizes as people write them, and amounts that grow with the attempt.

An amount is kept as a tuple, one number for each attempt; the last counts for all that follow. Until it
is known how many attempts there may be, a function of the attempt stands in its place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from .errors import OptionError

#: One number for each attempt; or, not settled yet, one function of the attempt. Empty: none.
Amount = tuple[Any, ...]

#: Amounts that an option of their own gives; no other resource may have their names.
OWN: Final = ("cpus", "mem", "gpus", "time")

_UNITS: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?", re.IGNORECASE)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*")


def number(name: str, value: Any) -> float:
    """How many: a finite number of at least 0, whole or not."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise OptionError(f"{name}={value!r} must be a number of at least 0")
    return float(value)


def size(name: str, value: Any) -> float:
    """A size in bytes: a number, or as people write it ("8G", "512M", "1.5GiB"; all by 1024)."""
    if isinstance(value, str):
        found = _SIZE.fullmatch(value.strip())
        if found is None:
            msg = f'{name}={value!r} is no size: give bytes, or a text like "8G" or "512M"'
            raise OptionError(msg)
        return float(found[1]) * _UNITS[found[2].lower()]
    return number(name, value)


def amount(name: str, value: Any, check: Callable[[str, Any], float]) -> Amount:
    """What an option gave: a value, a function of the attempt, or None for nothing."""
    if value is None:
        return ()
    return (value,) if callable(value) else (check(name, value),)


def settled(name: str, given: Amount, attempts: int, check: Callable[[str, Any], float]) -> Amount:
    """The numbers for attempts 1, 2, …; equal ones at the end stand once.

    Raises:
        OptionError: The function of the attempt raised, or returned no amount.
    """
    if not (given and callable(given[0])):
        return given
    numbers = [_asked(name, given[0], attempt, check) for attempt in range(1, attempts + 1)]
    while len(numbers) > 1 and numbers[-1] == numbers[-2]:
        numbers.pop()
    return tuple(numbers)


def _asked(name: str, fn: Callable[[int], Any], attempt: int, check: Callable[[str, Any], float]) -> float:
    try:
        value = fn(attempt)
    except Exception as error:
        msg = f"{name}= is a function that raised for attempt {attempt}: {type(error).__name__}: {error}"
        raise OptionError(msg) from error
    return check(f"{name} of attempt {attempt}", value)


def at(given: Amount, attempt: int) -> float:
    """What an attempt (from 1) takes."""
    return float(given[min(attempt, len(given)) - 1]) if given else 0.0


def named(name: str, value: Any) -> dict[str, Any]:
    """Resources by name, as an option gives them.

    Raises:
        OptionError: It is no mapping, or a name is none or has an option of its own.
    """
    if not isinstance(value, Mapping):
        msg = f'{name}={value!r} must be a mapping of names to numbers, such as {{"licence": 1}}'
        raise OptionError(msg)
    for key in value:
        if not isinstance(key, str) or not _NAME.fullmatch(key):
            raise OptionError(f"{name}: {key!r} is no name of a resource")
    return dict(value)


def shown(name: str, value: float) -> str:
    """An amount as people read it.

    >>> shown("mem", 1.5 * 2**30), shown("cpus", 4.0)
    ('1.5G', '4')
    """
    if name == "mem":
        for unit, bytes_ in list(_UNITS.items())[:0:-1]:
            if value >= bytes_:
                return f"{value / bytes_:.4g}{unit.upper()}"
    return f"{value:.10g}"


def told(amounts: Mapping[str, float], names: Iterable[str] | None = None) -> str:
    """Some amounts, named."""
    return ", ".join(f"{name} {shown(name, amounts.get(name, 0.0))}" for name in names or amounts)
