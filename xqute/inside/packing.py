"""Brings together in memory what each copy of this process uses.

A copy shares every page of memory with the process it was made of, until one of them writes to it; then
the page is copied, which costs more than most of what a call does. To use an object is to write to it:
its references are counted where it stands. So what counts is on how many pages stands what is used.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any, Final

#: Python keeps objects of up to 512 bytes by their sizes, each multiple of a step in pages of its own.
_STEP: Final = 16
_SMALL: Final = 512

#: So much that stands side by side stands in no gap; so much is taken of one size at most.
_ENOUGH: Final = 1 << 13
_MOST: Final = 1 << 16

#: What an object of no bytes takes.
_EMPTY: Final = sys.getsizeof(b"")

_held: list[bytes] = []


def fill_gaps() -> None:
    """Take what is free between what is used, for good: what is made later stands side by side."""
    for size in range(_SMALL, _EMPTY, -_STEP):
        blocks: list[bytes] = []
        last = near = 0
        while near * size < _ENOUGH and len(blocks) < _MOST // size:
            blocks.append(bytes(size - _EMPTY))
            near = near + 1 if id(blocks[-1]) - last == size else 0
            last = id(blocks[-1])
        _held.extend(blocks[: len(blocks) - near])


def move_code(do: Callable[[], Any]) -> None:
    """Move the code of all functions that are called while something is done, to stand side by side."""
    called: set[CodeType] = set()
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, arg: called.add(frame.f_code))
    try:
        do()
    finally:
        sys.setprofile(before)
    for function in gc.get_objects():
        # Not isinstance: it asks proxies what they are, and some do much then.
        if type(function) is FunctionType and function.__code__ in called:
            function.__code__ = function.__code__.replace()
