"""How many files and directories a finished command has made.

The command lists its own job directory while it runs; what is there afterwards is added. So the lock
counts, which is there only while the job is.
"""

from __future__ import annotations

import os

from shared import Row, Table, child, scratch

#: The lock is written after the start: give it a moment.
LIST = ["sh", "-c", 'sleep 0.3; ls -A "$XQUTE_JOB_METADIR"']


def measure(*, quick: bool) -> Table:
    table = Table("Files and directories per finished command (`files`)")
    with scratch() as root:
        names = child("files:made", directory=str(root / "x"))
    note = f"its directory, {', '.join(names)}"
    table.rows.append(Row("made for one job", 1 + len(names), bar=8, aim=6, note=note))
    return table


async def made(directory: str) -> list[str]:
    from xqute import Xqute

    async with Xqute(job_metadir=directory) as xq:
        job = await xq.push(LIST)
        while_running = (await job).splitlines()
        afterwards = os.listdir(job.directory)
    return sorted({*while_running, *afterwards})
