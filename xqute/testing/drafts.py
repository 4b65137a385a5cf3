"""Jobs and runs for the suite of stores, as small as can be."""

from __future__ import annotations

from typing import Any

from xqute.states import JobStatus
from xqute.store import Draft, Record, Row, RunRow, Store

QUEUED = int(JobStatus.QUEUED)
NOW = 1_700_000_000.0

#: Texts that something on the way to a file could damage.
AWKWARD = ("", "'quoted' \"twice\" \\ $HOME", "line\nline\r\n\t", "naïve 🦊 日本", "a\0b", "%_?:x")


def draft(call: str = "call", **changes: Any) -> Draft:
    """A queued job."""
    return Draft(QUEUED, 0, call, "document")._replace(**changes)


def record(row: Row, **changes: Any) -> Record:
    """A record that changes nothing but what is given."""
    same = Record(row.id, row.start, row.status, row.attempt, row.uid, row.document, row.after, held=True)
    return same._replace(**changes)


async def claimed(store: Store, count: int = 1) -> list[Row]:
    """New jobs, claimed by "me"."""
    await store.accept("run", [draft()] * count)
    return await store.claim("me", "run", count, NOW)


def run_row(name: str, **changes: Any) -> RunRow:
    """A run."""
    return RunRow(name, "/script.py", "owned", "me", NOW, "{}")._replace(**changes)
