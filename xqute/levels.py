"""The options of each call: those of all jobs, of its task, of the push and its own; the nearest win."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .calls import Call
from .naming import Naming
from .options import JobOptions, apply_options, limited, settle_options

#: Options given to `push()` that belong to what was pushed, and not to what it needs.
_OF_ROOTS: Final = frozenset({"title", "stdin", "stdout", "stderr"})


class Levels:
    """The options of the calls of one push; one object for all that have the same."""

    def __init__(self, base: JobOptions, given: Mapping[str, Any]) -> None:
        """Take the defaults of all jobs, and what was given to `push()`.

        Raises:
            OptionError: One of these is not usable.
        """
        self._base = base
        self._given = {
            True: given,
            False: {name: value for name, value in given.items() if name not in _OF_ROOTS},
        }
        apply_options(base, given)
        self._known: dict[tuple[Any, bool], JobOptions] = {}
        self._whole: dict[tuple[Any, bool], JobOptions] = {}  # of calls without options of their own

    def of(self, call: Call, *, root: bool) -> JobOptions:
        """Those of a call; `root`: it was pushed itself.

        Raises:
            OptionError: Its own are not usable.
        """
        task = call.what if hasattr(type(call.what), "__xqute_task__") else None
        options = self._known.get((task, root))
        if options is None:
            options = apply_options(self._base, task.options if task is not None else {})
            options = apply_options(options, self._given[root])
            self._known[task, root] = options
        name = task.name if task is not None else ""
        if call.given or call.naming is not None:
            options = apply_options(options, call.given) if call.given else options
            options = options if call.naming is None else _labelled(options, call.naming)
            return limited(settle_options(options), name)
        if (task, root) not in self._whole:
            self._whole[task, root] = limited(settle_options(options), name)
        return self._whole[task, root]


def _labelled(options: JobOptions, naming: Naming) -> JobOptions:
    """With what a named call is called."""
    labels: dict[str, Any] = {"title": naming.title or options.title or naming.name}
    if naming.tags:
        labels["tags"] = tuple(dict.fromkeys((*options.tags, *naming.tags)))
    return apply_options(options, labels)
