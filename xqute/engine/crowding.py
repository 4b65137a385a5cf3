"""Notices that a metadir has come to hold very many job directories."""

from __future__ import annotations

import asyncio
import os

from ..settings import LIST_AGAIN_IDS, MANY_DIRECTORIES
from ..store import Query, Store


class Crowd:
    """Counts job directories without looking at them, as long as there can't be very many.

    There are no more of them than ids were given, and the newest id the store knows at once. Only where
    that is beyond the limit they are listed, and again only when many more ids were given.

    Attributes:
        count: How many there were when they were found to be very many; 0: they are not, as far as is known.
    """

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self._from = 0  # the newest id at the last listing
        self._less = 0  # ids without a directory then
        self.count = 0

    async def found(self, store: Store, root: str) -> bool:
        """Whether there are very many by now, and were not when this was asked before.

        Raises:
            StoreUnavailable: It is not known now.
        """
        if self.count:
            return False
        newest = await store.page(Query(newest=True, limit=1))
        id_ = newest[0].id if newest else 0
        if id_ - self._less <= MANY_DIRECTORIES or (self._from and id_ < self._from + LIST_AGAIN_IDS):
            return False
        count = await asyncio.to_thread(count_directories, root)
        self._from, self._less = id_, id_ - count
        self.count = count if count > MANY_DIRECTORIES else 0
        return bool(self.count)


def count_directories(root: str) -> int:
    """How many job directories a metadir has; 0 when it can't be read."""
    try:
        return sum(name.isdecimal() for name in os.listdir(root))
    except OSError:
        return 0
