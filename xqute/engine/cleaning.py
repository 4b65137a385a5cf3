"""Has a call's cleanup function run, once, when its job failed for good or was killed."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

from ..errors import StoreError
from ..job import Job
from ..options import JobOptions
from ..plan import Node, Plan
from ..work import Work
from .lifecycle import Lifecycle
from .room import Room
from .tidying import wants_cleanup

log = logging.getLogger("xqute.engine")


class Cleaner:
    """Pushes a job that calls the cleanup function; it is durable, seen and retried as any other."""

    def __init__(self, room: Room, lifecycle: Lifecycle) -> None:
        """Share the room."""
        self._room = room
        self._lifecycle = lifecycle

    def ended_for_good(self, job: Job) -> None:
        """A job has FAILED, or was KILLED; that is durable."""
        if wants_cleanup(job):
            self._lifecycle.lines.put(job, partial(self._clean_up, job))

    async def _clean_up(self, job: Job) -> None:
        if not wants_cleanup(job):
            return  # it is wanted once more by now, or somebody was faster
        try:
            [cleaner] = await self._room.push(plan_cleanup(job), job)
        except StoreError as exc:
            log.error("%s could not be cleaned up after: %s", job, exc)  # noqa: TRY400  the sentence says it
            return
        job.cleaned = cleaner.id
        self._lifecycle.recorder.add(job)


def plan_cleanup(job: Job) -> Plan:
    """The one job that cleans up after another; nothing but its number makes it what it is."""
    function = job.call.function
    if function is None:
        msg = f"{job} is no Python call"
        raise ValueError(msg)
    options = job.call.options
    own = replace(
        JobOptions(),
        env=options.env,
        cwd=options.cwd,
        user=options.user,
        tags=options.tags,
        grace=options.grace,
    )
    undo = replace(function, shown=f"cleanup of {job.id}: {function.shown}", cleanup=False, undoes=job.id)
    work = Work((), own, undo)
    return Plan([Node(work, f"cleanup {job.id} {job.start}", 0, 0, True, 0)], [], [0])  # noqa: FBT003  a root
