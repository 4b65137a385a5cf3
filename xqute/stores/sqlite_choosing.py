"""Claims of a SqliteStore: in one statement, or by a choice inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from xqute.rules.limits import PLAIN, Kind, Rank
from xqute.store import Choose

Values = Mapping[str, Any]
Rows = list[tuple[Any, ...]]


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
        ids = choose(_queues(db, sql, claim["run"]), running, limits)
        chosen = ({"owner": claim["owner"], "id": id_} for id_ in ids)
        return [db.execute(sql["claim_one"], values).fetchall()[0] for values in chosen]


def _queues(db: sqlite3.Connection, sql: Mapping[str, str], run: str) -> dict[Kind, Iterator[Rank]]:
    """The jobs of a run that may start, by kind; a queue is read when it is asked for its next."""
    queues: dict[Kind, Iterator[Rank]] = {PLAIN: db.execute(sql["plain_queue"], {"run": run})}
    kind: Kind | None = PLAIN
    while (kind := _next_kind(db, sql, run, kind or PLAIN)) is not None:
        queues[kind] = db.execute(sql["queue"], {"run": run, **kind._asdict()})
    return queues


def _next_kind(db: sqlite3.Connection, sql: Mapping[str, str], run: str, kind: Kind) -> Kind | None:
    found = db.execute(sql["next_kind"], {"run": run, **kind._asdict()}).fetchone()
    return None if found is None else Kind(*found)
