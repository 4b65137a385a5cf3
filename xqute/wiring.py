"""Makes the parts that a producer is made of, and makes them known to each other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from .builder import Builder
from .calls import Call
from .engine.driver import Driver
from .engine.killer import Killer
from .engine.lifecycle import Lifecycle
from .engine.ownership import Ownership, Wish
from .engine.room import Room
from .errors import OptionError
from .keeper import JobKeeper
from .owner import Owner
from .plugin import Plugins
from .pusher import Pusher
from .scheduler import Scheduler
from .store import Store


class Parts(NamedTuple):
    """What does a producer's work."""

    room: Room
    keeper: JobKeeper
    driver: Driver
    pusher: Pusher
    builder: Builder


def wire(
    producer: Any,
    scheduler: Scheduler,
    store: Store,
    plugins: Plugins,
    wish: Wish,
    *,
    root: str,
    calls: Sequence[Call],
) -> Parts:
    """Make the parts of a producer.

    Args:
        producer: As plugins get it.
        scheduler: Where its jobs run.
        store: Where they are remembered.
        plugins: Whoever is told.
        wish: Which run it is to have.
        root: The metadir.
        calls: The named calls it knows.
    """
    keeper = JobKeeper(scheduler.get_job_class(), root, wish)
    owner = Owner.here()
    room = Room(scheduler, store, plugins, producer, "", str(owner), keeper.find, root=root)
    lifecycle = Lifecycle(room)
    killer = Killer(room, lifecycle)
    ownership = Ownership(room, owner, wish)
    jobs = keeper.known.values
    driver = Driver(room, lifecycle, killer, ownership, inherit=keeper.inherit, jobs=jobs, root=root)
    keeper.meet(room, lifecycle, killer, ownership, driver)
    pusher = Pusher(room, lifecycle, keeper, driver.begin)
    builder = Builder(room, keeper, pusher, driver.own, calls)
    room.known, room.push = keeper.job, builder.push_for
    return Parts(room, keeper, driver, pusher, builder)


def progress_plugins(producer: Any, wanted: bool | str | None) -> list[Any]:  # noqa: FBT001  as it was given
    """What shows the progress of a producer, where a user wants that.

    Raises:
        OptionError: What is wanted can't be understood.
    """
    if wanted is None:
        wanted = os.environ.get("XQUTE_PROGRESS") == "1"
    if not isinstance(wanted, bool) and wanted != "counts":
        raise OptionError(f"progress={wanted!r} must be True, False or 'counts'")
    if not wanted:
        return []
    # rich is only paid for by those who look
    console = import_module("xqute.plugins.console").Console
    return [console(producer, failures=wanted is True)]
