"""Signal handlers, set without the names that the module `signal` makes of numbers.

Making them costs a fresh copy of a process more than all else that it does about signals.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what `signal` is a cover of, in every CPython
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

DEFAULT: Final[Any] = _signal.SIG_DFL
IGNORE: Final[Any] = _signal.SIG_IGN

#: As `signal.signal` and `signal.getsignal`; what one returns the other takes.
set_handler: Final[Callable[[int, Callable[[int, FrameType | None], None]], Any]] = _signal.signal
handler_of: Final[Callable[[int], Any]] = _signal.getsignal
