"""How a run was told to run: kept with it, so that another process goes on with it in the same way."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ..errors import OptionError
from ..rules.verdict import FailureBudget
from ..scheduler import Scheduler
from ..settings import MAX_WAIT_SECONDS
from .room import Room


def kept(room: Room) -> dict[str, Any]:
    """What to keep of it, in plain values; what plugins and other objects do is the script's own."""
    scheduler = room.scheduler
    more = {
        "scheduler_prescript": scheduler.prescript,
        "scheduler_postscript": scheduler.postscript,
        "scheduler_jobprefix": scheduler.jobprefix,
        "max_failures": _budget(room.budget),
        "max_wait": None if room.sharing.max_wait == MAX_WAIT_SECONDS else room.sharing.max_wait,
        "keep": None if room.keep == "all" else room.keep,
    }
    return {
        "scheduler": scheduler.name,
        "forks": scheduler.forks,
        "resources": dict(room.sharing.total),
        "options": {name: plain for name, value in scheduler.config.items() for plain in _plain(value)},
        "how": {name: value for name, value in more.items() if value},
    }


def given(document: str, scheduler: type[Scheduler]) -> dict[str, Any]:
    """The same as arguments of `Xqute`, from what is known of a run; but for the scheduler's name.

    Args:
        document: As `store.RunRow` has it.
        scheduler: What it is to run at now; options of another one say nothing here.
    """
    known: Mapping[str, Any] = json.loads(document)
    options = known.get("options", {}) if known.get("scheduler") == scheduler.name else {}
    try:
        scheduler.check_options(options)
    except OptionError:
        options = {}  # those of a class that the script has made, and that goes by the same name
    resources, how = known.get("resources"), known.get("how", {})
    return {"scheduler_forks": known.get("forks"), "resources": resources, **how, **options}


def _plain(value: Any) -> list[Any]:
    """A value as JSON has it; nothing, where it has not."""
    try:
        return [json.loads(json.dumps(value, default=os.fspath))]
    except (TypeError, ValueError):
        return []


def _budget(budget: FailureBudget) -> int | str | None:
    """How many failures a run bears, as a user says it."""
    return budget.most if budget.share is None else f"{100 * budget.share:.10g}%"
