"""Why a job that may run does not, as the process knows that runs it."""

from __future__ import annotations

from ..job import Job
from ..states import Reason
from .room import Room


def why_not_handed(room: Room, job: Job, *, running: bool) -> Reason | None:
    """Why a job was not handed over yet: what would hold it with a free fork goes first.

    Args:
        room: The engine's surroundings.
        job: It may run, and may be claimed already.
        running: Whether an engine runs.
    """
    if room.stop is not None:
        return Reason("STOPPED", {"by": str(room.stop)})
    claimed = job.id in room.live
    held = None if claimed else room.sharing.why(job)
    if held is None and running and room.free <= 0:
        held = None if claimed else room.sharing.why_now(job, (live.job for live in room.live.values()))
        return held or Reason("FORKS", {"used": room.used, "forks": room.scheduler.forks})
    return held or room.trouble
