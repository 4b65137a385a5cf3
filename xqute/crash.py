"""Where a test may have this process die: at every step that something durable changes by.

`XQUTE_CRASH_AT=<point>` ends the process as SIGKILL would, the first time it comes to that point;
`<point>:<n>` the n-th time. Without the variable a point costs a call that does nothing. The points
are the words given to `crash_point` in the package: a test reads them from the code.
"""

from __future__ import annotations

import os
from typing import Final

#: What a process that was killed by SIGKILL exits with, as shells tell it.
_EXIT: Final = 137

_wanted, _, _count = os.environ.get("XQUTE_CRASH_AT", "").partition(":")
_left = int(_count or 1)


def crash_point(name: str) -> None:
    """End the process here, when a test asked for it."""
    global _left  # noqa: PLW0603  it counts over the whole process
    if name == _wanted:
        _left -= 1
        if _left == 0:
            os._exit(_EXIT)
