"""One warning at interpreter exit for jobs that were pushed and never awaited."""

from __future__ import annotations

import atexit
import logging
from collections import Counter

log = logging.getLogger("xqute")

#: Metadir → jobs pushed there that no engine has looked at.
_pushed: Counter[str] = Counter()


def pushed(root: str, count: int) -> None:
    """Jobs were pushed, and no engine runs."""
    if not count:
        return
    atexit.unregister(_warn)
    atexit.register(_warn)
    _pushed[root] += count


def awaited(root: str) -> None:
    """An engine of that metadir runs."""
    _pushed.pop(root, None)


def _warn() -> None:
    for root, count in _pushed.items():
        log.warning(
            "%s job(s) in %s were pushed and never awaited, so they did not run; "
            "they are kept there. Call `await xqute.run_until_complete()` before the program ends",
            count,
            root,
        )


def forget_all() -> None:
    """Warn of nothing that was pushed before."""
    _pushed.clear()
