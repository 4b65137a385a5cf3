"""`xqute …` and `python -m xqute …`."""

from __future__ import annotations

import signal
import sys
from types import ModuleType


def main() -> int:
    """Run the command line; returns the exit status."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        # whoever changes his mind at once sees no traceback of an import
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    door = _load(sys.argv[1:2])
    signal.signal(signal.SIGINT, before)
    if door is None:
        sys.stderr.write("xqute: the command line needs another package: pip install 'xqute[cli]'\n")
        return 1
    status: int = door.main(sys.argv[1:])
    return status


def _load(command: list[str]) -> ModuleType | None:
    """The command line; None when its library is not installed."""
    if command == ["report"]:
        # jobs run it, perhaps often, and it needs no library
        from .cli import report

        return report
    try:
        from .cli import app
    except ModuleNotFoundError as missing:
        if missing.name in {"rich_click", "click"}:
            return None
        raise
    return app


if __name__ == "__main__":
    sys.exit(main())
