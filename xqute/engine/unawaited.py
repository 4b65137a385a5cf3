"""One warning at interpreter exit for jobs that were pushed and never awaited."""

from __future__ import annotations

import atexit
import logging
from collections import Counter

log = logging.getLogger("xqute")

#: Metadir, and why its run had been stopped → jobs pushed there that no engine has looked at.
_pushed: Counter[tuple[str, str]] = Counter()


def pushed(root: str, count: int, stopped: str) -> None:
    """Jobs were pushed, and no engine runs; `stopped`: why none does, empty when none was stopped."""
    if not count:
        return
    atexit.unregister(_warn)
    atexit.register(_warn)
    _pushed[root, stopped] += count


def awaited(root: str) -> None:
    """Jobs of that metadir were awaited: an engine runs, or it was said why none does."""
    for place in [place for place in _pushed if place[0] == root]:
        del _pushed[place]


def _warn() -> None:
    for (root, stopped), count in _pushed.items():
        why = f"when the run had been stopped ({stopped})" if stopped else "and never awaited"
        log.warning(
            "%s job(s) in %s were pushed %s, so they did not run; "
            "they are kept there. Call `await xqute.run_until_complete()` before the program ends",
            *(count, root, why),
        )


def forget_all() -> None:
    """Warn of nothing that was pushed before."""
    _pushed.clear()
