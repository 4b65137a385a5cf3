"""What the cleanup function of a task is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple


class Undone(NamedTuple):
    """A job that failed for good, was killed or is deleted.

    Attributes:
        id: Its number.
        metadir: Its directory.
        args, kwargs: The arguments of the call; None in place of the results of other jobs.
    """

    id: int
    metadir: Path
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, id: int, root: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Undone:
        """The job of this number in the metadir `root`."""
        return cls(id, Path(root, str(id)), args, kwargs)
