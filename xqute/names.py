"""The named calls of a plan: which node each is, and which of them a node uses, by way of whatever else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from .errors import GraphError
from .naming import Named, Naming
from .work import Work

_NOBODY: Final[dict[str, int]] = {}


class Names:
    """Follows the names while nodes are made, needs first.

    A job needs the builds it uses, also those it uses by way of calls without a name. So who reads
    what a job needs knows what it was built from.
    """

    def __init__(self) -> None:
        """No call has a name."""
        self._numbers: dict[str, tuple[int, str]] = {}
        self._names: dict[int, str] = {}
        self._below: dict[int, tuple[int, ...]] = {}  # of nodes without a name: the named ones they use
        self._uses: dict[tuple[int, ...], dict[str, int]] = {}

    def below(self, members: Sequence[int]) -> set[int]:
        """The named nodes that these use by way of calls without a name."""
        if not self._below:
            return set()
        return {named for member in members for named in self._below.get(member, ())}

    def known(self, naming: Naming | None, digest: str) -> int | None:
        """The node that has this name already; None: no node has.

        Raises:
            GraphError: It is another call.
        """
        if naming is None or naming.name not in self._numbers:
            return None
        number, its_digest = self._numbers[naming.name]
        if not digest or digest != its_digest:
            raise GraphError(
                f"two different calls are named {naming.name!r}: a name has one meaning;"
                " make the call once, and use it wherever its result is needed"
            )
        return number

    def give(
        self, number: int, naming: Naming | None, digest: str, work: Work, members: tuple[int, ...]
    ) -> Work:
        """The work of a new node, which says what builds it uses when it has a name itself."""
        uses = self._used(members)
        if naming is None:
            if uses:
                self._below[number] = tuple(members[place] for place in uses.values())
            return work
        self._numbers[naming.name] = (number, digest)
        self._names[number] = naming.name
        return replace(work, named=Named(naming.name, naming.notes, naming.protected, uses))

    def _used(self, members: tuple[int, ...]) -> dict[str, int]:
        """The named ones among the needs of a node, and their places."""
        if not self._names or not members:
            return _NOBODY
        if members not in self._uses:
            named = ((place, self._names.get(member)) for place, member in enumerate(members))
            self._uses[members] = {name: place for place, name in named if name is not None}
        return self._uses[members]
