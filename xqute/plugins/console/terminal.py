"""Where it is shown, and how a stranger's words get there harmlessly."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console as RichConsole

from ...printable import printable

if TYPE_CHECKING:
    from rich.text import Text

#: What a job says is shown on one line of so many characters.
LINE_WIDTH: Final = 200

#: Paths are shown whole.
PATH_WIDTH: Final = 4096


class Terminal(RichConsole):
    """Where it is shown. Nobody may be reading, which must not end the program that runs the jobs."""

    def __init__(self) -> None:
        # rich takes FORCE_COLOR for a terminal; a log file with colours still can't show a bar
        interactive = None if is_terminal(sys.stderr) else False
        super().__init__(stderr=True, force_interactive=interactive)

    def on_broken_pipe(self) -> None:
        self.quiet = True


def plain(text: str, width: int = LINE_WIDTH) -> str:
    """What a stranger wrote, as one line that can't do anything to a terminal."""
    shown = printable(" ".join(text[: 4 * width].split()))
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def is_terminal(stream: Any) -> bool:
    """Streams may be None, closed, or somebody's own."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def write(out: RichConsole, text: Text) -> None:
    """As it is: neither wrapped nor interpreted, so that a path can be copied."""
    out.print(text, soft_wrap=True)
