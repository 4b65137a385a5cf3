"""From what a user gives as `scheduler=` to a scheduler."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

from ..errors import OptionError
from ..options import refuse_unknown, unknown
from ..scheduler import Scheduler

#: The built-in ones; other packages add theirs by entry points of the group `xqute.schedulers`.
BUILT_IN: Final[Mapping[str, str]] = {
    "local": "xqute.schedulers.local.scheduler:LocalScheduler",
    "sge": "xqute.schedulers.sge:SgeScheduler",
    "slurm": "xqute.schedulers.slurm:SlurmScheduler",
}


def make_scheduler(
    given: str | type[Scheduler] | Scheduler, options: Mapping[str, Any], other_names: Iterable[str]
) -> Scheduler:
    """The scheduler of a name, of a class, or as it was given.

    Args:
        given: A name, a subclass of `Scheduler`, or an object of one.
        options: The options for it.
        other_names: Names of options that are not the scheduler's, to guess what was meant.

    Raises:
        OptionError: The name or an option is not known; names those that are.
    """
    if isinstance(given, Scheduler):
        if options:
            msg = f"options {', '.join(options)} came with a scheduler object: give them to its class"
            raise OptionError(msg)
        return given
    found: Any = find_scheduler(given) if isinstance(given, str) else given
    if not (isinstance(found, type) and issubclass(found, Scheduler)):
        msg = f"scheduler={given!r}: give a name, a subclass of xqute.Scheduler, or an object of one"
        raise OptionError(msg)
    if found.options is not None:
        prefixes = found.option_prefixes or ("\0",)
        loose = [name for name in options if not name.startswith(prefixes)]
        known = {*found.options, *other_names}
        if strange := [name for name in loose if name not in known]:
            _refuse_others(strange, found.name)
        refuse_unknown([name for name in loose if name not in found.options], known, "option")
    return found(**options)


def _refuse_others(loose: Iterable[str], mine: str) -> None:
    """Raise for an option of a built-in scheduler that is not the one meant."""
    others = {prefix: name for name in BUILT_IN for prefix in find_scheduler(name).option_prefixes}
    for option in loose:
        other = next((name for prefix, name in others.items() if option.startswith(prefix)), None)
        if other is not None:
            raise OptionError(
                f"{option!r} is an option of scheduler {other!r}, and this is {mine!r}: give each its own; "
                "cpus=, mem=, gpus= and time= hold at every scheduler"
            )


def known_schedulers() -> set[str]:
    """The names that `find_scheduler` knows."""
    return {*BUILT_IN, *(entry.name for entry in entry_points(group="xqute.schedulers"))}


def find_scheduler(name: str) -> type[Scheduler]:
    """The scheduler class of a name."""
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        found: type[Scheduler] = getattr(import_module(module), attribute)
        return found
    offered = {entry.name: entry for entry in entry_points(group="xqute.schedulers")}
    if name not in offered:
        raise OptionError(unknown("scheduler", name, [*BUILT_IN, *offered]))
    loaded: type[Scheduler] = offered[name].load()
    return loaded
