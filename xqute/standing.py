"""How a run stands, now and when its engine has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from .engine.driver import Driver
from .engine.room import Room
from .errors import Halted
from .keeper import JobKeeper
from .report import Failure, Report, Stats
from .settings import REPORT_FAILURES
from .states import JobStatus
from .store import Query

#: Stops that are no wish of the user's.
_FAILED_STOPS: Final = frozenset({"halt", "max_failures"})


async def stats_of(room: Room, keeper: JobKeeper, driver: Driver) -> Stats:
    """How the run stands now."""
    reused, running = keeper.heritage.reused, driver.running
    resources = room.sharing.in_use(live.job for live in room.live.values())
    limits = await room.sharing.limits_in_use(room.store) if driver.opened else {}
    forks, commands = room.scheduler.forks, _commands(room)
    return Stats(_counts(room), room.used, forks, running, commands, reused, resources, limits)


async def report_of(room: Room, keeper: JobKeeper, driver: Driver) -> Report:
    """How the run stands when its engine has ended."""
    counts = _counts(room)
    failed = Query(run=room.run, statuses=[JobStatus.FAILED], limit=REPORT_FAILURES)
    rows = await room.store.page(failed) if JobStatus.FAILED in counts else []
    report = Report(
        counts,
        [Failure.of(keeper.load(row)) for row in rows if row.id in keeper.known],
        driver.seconds,
        room.stop,
        _commands(room),
        keeper.heritage.reused,
        keeper.heritage.left,
        Counter(room.graph.cause(id_) for id_ in sorted(room.blocked)),
        room.sharing.in_use(live.job for live in room.live.values()),
        await driver.crowd(),
        room.root,
    )
    unasked = [job for job in keeper.known.values() if job.status is JobStatus.FAILED and not job.seen]
    report.watch(unasked, alone=not room.held)  # leaving a block tells of all that failed in it
    return report


def raise_what_happened(room: Room, driver: Driver) -> None:
    """Raise what nobody asked for: the engine's crash, or that failures stopped the run.

    Raises:
        Halted: They did.
    """
    if driver.crash is not None:
        raise driver.crash
    if room.stop is not None and room.stop.code in _FAILED_STOPS:
        raise Halted(str(room.stop), room.stop)


def _counts(room: Room) -> Mapping[JobStatus, int]:
    return {status: count for status, count in room.counts.items() if count}


def _commands(room: Room) -> Mapping[str, int]:
    """How often each command of a batch scheduler was run."""
    return dict(getattr(room.scheduler, "commands", {}))
