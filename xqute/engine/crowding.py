"""Notices that a metadir has come to hold very many job directories, and says so once."""

from __future__ import annotations

import asyncio
import logging
import os

from ..errors import StoreUnavailable
from ..report import crowded
from ..settings import LIST_AGAIN_IDS, MANY_DIRECTORIES
from ..store import Query
from .room import Room

log = logging.getLogger("xqute.engine")


class Crowd:
    """Counts job directories without looking at them, as long as there can't be very many.

    There are no more of them than ids were given, and the newest id the store knows at once. Only where
    that is beyond the limit they are listed, and again only when many more ids were given.

    Attributes:
        count: How many there were when they were found to be very many; 0: they are not, as far as is known.
    """

    def __init__(self, room: Room) -> None:
        """Nothing is counted yet."""
        self._room = room
        self._from = 0  # the newest id at the last listing
        self._less = 0  # ids without a directory then
        self.count = 0

    async def check(self) -> None:
        """Say it, once, when there are very many by now."""
        if self.count:
            return
        try:
            newest = await self._room.store.page(Query(newest=True, limit=1))
        except StoreUnavailable:
            return
        id_ = newest[0].id if newest else 0
        if id_ - self._less <= MANY_DIRECTORIES or (self._from and id_ < self._from + LIST_AGAIN_IDS):
            return
        count = await asyncio.to_thread(count_directories, self._room.root)
        self._from, self._less = id_, id_ - count
        if count > MANY_DIRECTORIES:
            self.count = count
            log.warning("%s", crowded(self._room.root, count))


def count_directories(root: str) -> int:
    """How many job directories a metadir has; 0 when it can't be read."""
    try:
        return sum(name.isdecimal() for name in os.listdir(root))
    except OSError:
        return 0
