"""Work of a SqliteStore that lets the event loop breathe between its steps."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Final, Generic, TypeVar

#: Rows written without letting the event loop breathe: some milliseconds.
BREATH_ROWS: Final = 500

T = TypeVar("T")

#: A transaction that returns T; the event loop may go round at each of its yields.
Steps = Generator[None, None, T]


class Answered(Generic[T]):
    """Steps, and what they returned after the last one."""

    answer: T

    def __init__(self, steps: Steps[T]) -> None:
        """Nothing is done yet."""
        self._steps = steps

    def __iter__(self) -> Iterator[None]:
        """Do them."""
        self.answer = yield from self._steps


def parts(items: Sequence[int]) -> Iterator[Sequence[int]]:
    """What may be done without letting the event loop breathe, one part after the other."""
    return (items[first : first + BREATH_ROWS] for first in range(0, len(items), BREATH_ROWS))
