"""Processes that are found wherever they went, by what stands in their environment."""

import os
from contextlib import suppress
from pathlib import Path


def carriers(mark: str) -> dict[int, str]:
    """Processes with this in their environment, by number, and their command lines; no zombies."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return {pid: line for pid, line in found.items() if line}
