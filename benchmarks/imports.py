"""What `import xqute` costs a program that has asyncio anyway."""

from __future__ import annotations

import subprocess
import sys

from shared import Row, Table, environment, median, say

ROUNDS = 20

TIMED = """
import asyncio
from time import perf_counter
begun = perf_counter()
{what}
print(perf_counter() - begun)
"""


def measure(*, quick: bool) -> Table:
    table = Table("Import, beyond `import asyncio` (`import`)")
    rounds = 3 if quick else ROUNDS
    for what, bars in (
        ("import xqute", {"bar": 60, "aim": 15}),
        ("from xqute import Xqute", {}),
    ):
        fresh(what)  # compiled, and in the disk's cache
        value = median([fresh(what) for _ in range(rounds)])
        say(f"{what}: {value:.2f} ms")
        table.rows.append(Row(f"`{what}`", value, "ms", **bars))
    return table


def fresh(what: str) -> float:
    """Milliseconds in a fresh interpreter."""
    argv = [sys.executable, "-c", TIMED.format(what=what)]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, check=True)
    return 1000 * float(done.stdout)
