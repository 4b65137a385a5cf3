"""From what a store is given to the values of SQLite's statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from xqute.store import Draft, Query, Record

from .numbering import Numbering


def draft_values(run: str, draft: Draft) -> tuple[Any, ...]:
    """A job without its place among others."""
    status, priority, call, document, user, tags, title, task, digest, _, depth, _, _, name, *kind = draft
    labels = _plain(user), _plain(tags), _plain(title), _plain(task), _plain(name)
    return (run, status, priority, call, document, *labels, digest, depth, *kind)


def job_values(
    run: str, first: int, drafts: Sequence[Draft], numbering: Numbering
) -> Iterator[tuple[Any, ...]]:
    """Jobs that follow each other."""
    for job, draft in enumerate(drafts, first):
        yield draft_values(run, draft) + numbering.place(job, draft)


def members(numbering: Numbering) -> Iterator[tuple[int, int, int]]:
    """The groups that were named, one member each, with its place in the group."""
    return (
        (group, place, member) for group, needed in numbering.needs() for place, member in enumerate(needed)
    )


def newer_values(newest: Mapping[str, int]) -> Iterator[tuple[str | None, int]]:
    """The names of jobs, and the ids that none of them may exceed."""
    return ((_plain(name), id_) for name, id_ in newest.items())


def record_values(record: Record) -> Mapping[str, Any]:
    """What has become of a job."""
    return {**record._asdict(), "uid": _plain(record.uid)}


def kind_values(records: Sequence[Record]) -> list[Mapping[str, Any]]:
    """What is another than it was of what jobs share."""
    return [
        {"id": record.id, "start": record.start, "owner": record.owner, **record.kind._asdict()}
        for record in records
        if record.kind is not None
    ]


def query_values(query: Query) -> dict[str, Any]:
    """A query; no statuses: those of any."""
    statuses = "".join(f",{int(status)}," for status in query.statuses)
    words = {"user": _plain(query.user), "tag": _plain(query.tag), "task": _plain(query.task)}
    words["name"] = _plain(query.name)
    return {**query._asdict(), **words, "limit": max(query.limit, 0), "statuses": statuses}


def page_rows(db: sqlite3.Connection, sql: Mapping[str, str], query: Query) -> Iterator[tuple[Any, ...]]:
    """The jobs that match."""
    values = query_values(query)
    which = "page" + "_newest" * query.newest + "_of_name" * (query.name is not None)
    if query.run is None or not query.statuses or which != "page":
        return db.execute(sql[which], values)
    found: list[tuple[Any, ...]] = []
    for status in set(query.statuses):
        found += db.execute(sql["page_of_status"], {**values, "status": status})
    return islice(sorted(found), values["limit"])


def _plain(text: str | None) -> str | None:
    """The text with readable escapes for what is no unicode (bytes of a file's name)."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
