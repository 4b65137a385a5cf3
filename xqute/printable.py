"""Foreign text for people and their terminals."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

#: Control sequences of terminals: colours, cursor, titles (ECMA-48 5.4, xterm's OSC).
_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


#: Numbers that a sentence names.
LISTED: Final = 10


def listed(items: Sequence[object]) -> str:
    """Some numbers or words, and how many more there are."""
    more = f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return ", ".join(map(str, items[:LISTED])) + more


def printable(text: str) -> str:
    """One line without escapes, control characters or changes of direction."""
    if text.isprintable():
        return text
    bare = _SEQUENCE.sub("", text).expandtabs()
    return "".join(char if char.isprintable() else "�" for char in bare)


def one_line(text: str) -> str:
    r"""The same, with lines told apart.

    >>> one_line("no good:\n  too small\n")
    'no good: / too small'
    """
    return printable(" / ".join(line for part in text.splitlines() if (line := part.strip())))
