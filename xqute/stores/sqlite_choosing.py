"""Claims of a SqliteStore: in one statement, or by a choice inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Mapping
from typing import Any

from xqute.rules.limits import PLAIN, Kind, Rank
from xqute.store import Choose

Values = Mapping[str, Any]
Rows = list[tuple[Any, ...]]
Queue = Generator[Rank, None, None]


def claim_rows(db: sqlite3.Connection, sql: Mapping[str, str], claim: Values, choose: Choose | None) -> Rows:
    """The rows that are claimed now, in any order."""
    found: Rows = db.execute(sql["claim"], claim).fetchall() if claim["count"] else []
    if found or choose is None or db.execute(sql["shares"], claim).fetchone() is None:
        return found
    with db:
        db.execute(sql["begin"])
        if db.execute(sql["shares"], claim).fetchone() is None:
            return []  # somebody else has the run by now; or else the next claim takes what is left
        running, limits = (dict(db.execute(sql[name]).fetchall()) for name in ("claimed", "limits"))
        queues = _queues(db, sql, claim["run"])
        try:
            ids = choose(queues, running, limits)
        finally:
            for queue in queues.values():
                queue.close()  # one that is still being read would keep the transaction open
        chosen = ({"owner": claim["owner"], "id": id_} for id_ in ids)
        return [db.execute(sql["claim_one"], values).fetchall()[0] for values in chosen]


def _queues(db: sqlite3.Connection, sql: Mapping[str, str], run: str) -> dict[Kind, Queue]:
    """The jobs of a run that may start, by kind; a queue is read when it is asked for its next."""
    queues: dict[Kind, Queue] = {PLAIN: _plain_queue(db, sql, run)}
    kind = PLAIN
    while (found := _next(db, sql, run, kind)) is not None:
        kind = Kind(*found[:3])
        queues[kind] = _queue(db, sql, run, kind, found[3:])
    return queues


def _next(db: sqlite3.Connection, sql: Mapping[str, str], run: str, kind: Kind) -> tuple[Any, ...] | None:
    """The next kind and its best job; three questions, as SQLite seeks by the first of three columns only."""
    for name in ("next_resources", "next_most", "next_key"):
        found: tuple[Any, ...] | None = db.execute(sql[name], {"run": run, **kind._asdict()}).fetchone()
        if found is not None:
            return found
    return None


def _plain_queue(db: sqlite3.Connection, sql: Mapping[str, str], run: str) -> Queue:
    yield from db.execute(sql["plain_queue"], {"run": run})


def _queue(db: sqlite3.Connection, sql: Mapping[str, str], run: str, kind: Kind, first: Rank) -> Queue:
    """Most kinds are only asked for their first, which is known: there may be thousands."""
    yield first
    yield from db.execute(sql["queue"], {"run": run, **kind._asdict()})
