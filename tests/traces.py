"""Processes that are found wherever they went, by what they were started with."""

import os
from contextlib import suppress
from pathlib import Path


def carriers(mark: str) -> dict[int, str]:
    """Processes with this in their environment, by number, and their command lines; no zombies."""
    return processes_with(f"\0{mark}\0")


def processes_with(words: str) -> dict[int, str]:
    """The same of these words anywhere in an environment or in arguments; a NUL stands around each."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with suppress(OSError):
                arguments = (entry / "cmdline").read_bytes()
                if words.encode() in b"\0" + (entry / "environ").read_bytes() + b"\0" + arguments:
                    found[int(entry.name)] = arguments.replace(b"\0", b" ").decode()
    return {pid: line for pid, line in found.items() if line}
