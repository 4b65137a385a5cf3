"""What jobs say of themselves while they run, and at their end: the lines of `job.events`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from .. import metadir
from ..events import Event, format_event, read_events
from ..job import Job
from ..settings import EVENTS_BYTES, EVENTS_READS, REPORTS_BACKOFF, REPORTS_MAX_SECONDS, REPORTS_MIN_SECONDS
from ..states import JobStatus
from .room import Live, Room

log = logging.getLogger("xqute.engine")


class Said(NamedTuple):
    """What a start that ended well says besides.

    Attributes:
        skipped: Why there was nothing to do; None: there was.
        requires: The names of what must run first.
    """

    skipped: str | None = None
    requires: tuple[str, ...] = ()


class Reports:
    """One task that reads what running jobs append, when a plugin wants to hear of it."""

    def __init__(self, room: Room, tell: Callable[[Job, str], None]) -> None:
        """Call `tell` with each line."""
        self._room = room
        self._tell = tell

    async def run(self) -> None:
        """Read until cancelled; often while something is said, rarely when nothing is."""
        pause = REPORTS_MIN_SECONDS
        while True:
            await asyncio.sleep(pause)
            heard = False
            if self._room.plugins.has("on_job_event"):
                running = self._room.live.values()
                lives = [live for live in running if live.job.status is JobStatus.RUNNING]
                news = await asyncio.to_thread(_read_all, lives)
                for live, events, offset in news:
                    heard |= self._take(live, events, offset)
            pause = REPORTS_MIN_SECONDS if heard else min(pause * REPORTS_BACKOFF, REPORTS_MAX_SECONDS)

    def _take(self, live: Live, events: list[Event], offset: int) -> bool:
        if offset <= live.heard:  # read meanwhile, at its end
            return False
        live.heard = offset
        for event in events:
            self._tell(live.job, format_event(event._replace(date=0.0)).decode().rstrip("\n"))
        return bool(events)

    def at_the_end(self, live: Live) -> Said:
        """What the start said; the rest of its lines are told."""
        path = f"{live.job.directory}/{metadir.EVENTS}"
        tells = self._room.plugins.has("on_job_event")
        skipped, requires, offset = None, [], 0
        for _ in range(EVENTS_READS):
            heard = live.heard - offset  # what was told already is read apart
            events, after = read_events(path, offset, min(heard, EVENTS_BYTES) if heard > 0 else EVENTS_BYTES)
            if after == offset:
                break
            offset = after
            for event in events:
                if event.word == "skip":
                    skipped = event.text
                elif event.word == "require":
                    requires.append(event.text)
            if tells:
                self._take(live, events, offset)
        else:
            log.warning("%s wrote more than is read of %s: the rest is ignored", live.job, path)
        return Said(skipped, tuple(requires))


def _read_all(lives: list[Live]) -> list[tuple[Live, list[Event], int]]:
    news = []
    for live in lives:
        events, offset = read_events(f"{live.job.directory}/{metadir.EVENTS}", live.heard, EVENTS_BYTES)
        if offset > live.heard:
            news.append((live, events, offset))
    return news
