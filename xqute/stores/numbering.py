"""What the numbers in drafts mean, once the id of the first one is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xqute.store import Draft


class Numbering:
    """The ids and groups of one `accept`.

    A group gets the id of the first job that names it: durable with that job, and never given twice.

    Args:
        first: The id that draft number 0 gets.
        count: How many drafts there are.
        groups: As given to `accept`.
    """

    def __init__(self, first: int, count: int, groups: Sequence[Sequence[int]]) -> None:
        """Nobody has named a group yet."""
        self._first = first
        self._count = count
        self._groups = groups
        self._numbers: dict[int, int] = {}

    def place(self, job: int, draft: Draft) -> tuple[int, int, int]:
        """The tree, the group and the parent of a job.

        Raises:
            ValueError: There is no such group or draft.
        """
        tree, group, parent = draft.tree, draft.group, draft.parent
        if tree <= 0:
            tree = self._id(tree)
        if group:
            group = self._number(group, job)
        return tree, group, self._id(parent) if parent < 0 else parent

    def _id(self, number: int) -> int:
        if -number >= self._count:
            raise ValueError(f"there is no draft number {-number}: {self._count} were given")
        return self._first - number

    def _number(self, group: int, job: int) -> int:
        if not 0 < group <= len(self._groups):
            raise ValueError(f"there is no group {group}: {len(self._groups)} were given")
        return self._numbers.setdefault(group, job)

    def needs(self) -> Iterator[tuple[int, list[int]]]:
        """Each group that was named, with the ids of its members, each once."""
        for group, number in self._numbers.items():
            members = self._groups[group - 1]
            yield number, list(dict.fromkeys(self._id(n) if n <= 0 else n for n in members))
