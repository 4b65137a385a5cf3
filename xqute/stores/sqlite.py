"""Jobs in one SQLite file, for any number of processes of one host."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from operator import attrgetter
from time import monotonic
from typing import Any, Final, TypeVar

from xqute.errors import StoreError
from xqute.store import NOTHING, Choose, Draft, Query, Record, Request, Row, RunRow, Store

from .numbering import Numbering
from .sqlite_choosing import claim_rows
from .sqlite_file import (
    checkpoint,
    connect,
    connect_to_read,
    damaged,
    finish,
    has_log,
    identity,
    is_locked,
    lost,
    make_file,
    meaning,
    prepare,
    schema,
    statements,
)
from .sqlite_rows import (
    draft_values,
    job_values,
    kind_values,
    members,
    newer_values,
    page_rows,
    record_values,
)
from .sqlite_steps import BREATH_ROWS, Answered, Steps, parts

#: How long a locked file is tried again, and the pauses between, first and longest.
LOCK_SECONDS: Final = 10.0
PAUSE_MIN_SECONDS: Final = 0.001
PAUSE_MAX_SECONDS: Final = 0.01

#: Rows written between two checkpoints. Accepted one by one, each leaves about 25 kB in the log.
CHECKPOINT_ROWS: Final = 500

#: What the last checkpoint may take before the program goes on without it.
CLOSE_SECONDS: Final = 10.0

#: The schema that jobs with needs came with.
_TREES: Final = 3

T = TypeVar("T")


class SqliteStore(Store):
    """Remembers jobs in one file, in WAL mode.

    Statements run on the event loop's own thread: one takes microseconds, handing it to another
    thread takes more. They never wait there: a locked file is tried again after a pause. What takes
    longer breathes in between, on a connection of its own.

    Args:
        path: The file. Its directory must exist.
        patience: Seconds a locked file is tried again before `StoreUnavailable`.
        readonly: Only read: make, migrate and change nothing. Opened while nobody else has the file open,
            it may not see what comes later: open it anew for each look.
        steps: The scripts that lead from each schema to the next.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        patience: float = LOCK_SECONDS,
        readonly: bool = False,
        steps: Sequence[str] | None = None,
    ) -> None:
        """Touches no file yet."""
        self.path = os.path.abspath(path)
        self.token = ""
        self._patience = patience
        self._readonly = readonly
        self._whole = False  # the file was read without a log, as there was none
        self._steps = schema() if steps is None else steps
        self._sql = statements()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._door = asyncio.Lock()
        self._unsaved = 0
        self._seen: dict[str, int] = {}  # what the last look for a run's requests saw
        self._checkpoint: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"SqliteStore({self.path!r})"

    async def open(self) -> None:
        async with self._door:
            if self._connection is not None:
                return
            self._connection = await self._connect()
            self._identity = identity(self.path)
            self.token = await self.setting("token") or ""

    async def _connect(self) -> sqlite3.Connection:
        if self._readonly:
            self._whole = not has_log(self.path)
            return await self._when_free(lambda: connect_to_read(self.path, len(self._steps)))
        make_file(self.path)
        connection = await self._when_free(lambda: connect(self.path))
        try:
            await self._when_free(lambda: prepare(connection, self.path, self._steps))
        except BaseException:
            connection.close()
            raise
        return connection

    async def close(self) -> None:
        async with self._door:
            connection, self._connection = self._connection, None
            if connection is None:
                return
            if self._readonly:
                connection.close()
                return
            # The last to close a file brings the whole log into it, which waits for the disk.
            closing = asyncio.create_task(
                asyncio.to_thread(finish, connection, self.path), name=f"close {self.path}"
            )
            tasks = [closing] if self._checkpoint is None else [closing, self._checkpoint]
            # What is late ends by itself, and nothing is lost: the log keeps what the file has not.
            self._checkpoint = None
            done, _ = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            for task in done:
                task.result()

    async def own(self, run: RunRow, was: str) -> bool:
        values = {**run._asdict(), "was": was}

        def change(db: sqlite3.Connection) -> bool:
            with db:
                db.execute(self._sql["begin"])
                changed = db.execute(self._sql["own"], values).rowcount > 0
                if changed and run.owner not in {"", was}:
                    db.execute(self._sql["inherit"], values)
            return changed

        return await self._write(change, 1)

    async def runs(self, script: str | None = None) -> list[RunRow]:
        rows = await self._read(lambda db: db.execute(self._sql["runs"], {"script": script}).fetchall())
        return [RunRow(*row) for row in rows]

    async def forget(self, run: RunRow) -> bool:
        return await self._write(lambda db: db.execute(self._sql["forget"], run._asdict()).rowcount > 0, 1)

    async def accept(
        self,
        run: str,
        drafts: Sequence[Draft],
        groups: Sequence[Sequence[int]] = (),
        newest: Mapping[str, int] = NOTHING,
    ) -> int:
        if len(drafts) == 1 and not (drafts[0].tree or drafts[0].group or drafts[0].parent or newest):
            one = draft_values(run, drafts[0])
            return await self._write(lambda db: db.execute(self._sql["accept_alone"], one).lastrowid or 0, 1)

        def accepting(db: sqlite3.Connection) -> Steps[int]:
            # Nobody else writes during a transaction, so the ids follow each other.
            if any(db.execute(self._sql["newer"], row).fetchone() for row in newer_values(newest)):
                return 0
            first: int = db.execute(self._sql["newest"]).fetchone()[0] + 1
            numbering = Numbering(first, len(drafts), groups)
            yield from self._each(db, "accept", job_values(run, first, drafts, numbering))
            yield from self._each(db, "need", members(numbering))
            return first

        return await self._all_or_none(accepting, len(drafts) + sum(map(len, groups))) if drafts else 0

    async def needs(self, groups: Sequence[int]) -> Mapping[int, tuple[int, ...]]:
        found: dict[int, tuple[int, ...]] = {}
        for some in parts(groups):
            found |= await self._read(partial(self._needs, groups=some))
            await asyncio.sleep(0)
        return found

    def _needs(self, db: sqlite3.Connection, groups: Sequence[int]) -> dict[int, tuple[int, ...]]:
        if db.execute(self._sql["version"]).fetchone()[0] < _TREES:  # an older file, opened for reading
            return {}
        rows = ((group, db.execute(self._sql["needs"], (group,))) for group in groups)
        found = {group: tuple(member for (member,) in cursor) for group, cursor in rows}
        return {group: needed for group, needed in found.items() if needed}

    async def claim(
        self, owner: str, run: str, count: int, now: float, choose: Choose | None = None
    ) -> list[Row]:
        if count < 1 and choose is None:
            return []
        await self._wake(run, now)
        claim = {"owner": owner, "run": run, "count": max(count, 0), "choosing": choose is not None}
        found = await self._write(lambda db: claim_rows(db, self._sql, claim, choose), count)
        return sorted((Row(*row) for row in found), key=attrgetter("rank"))

    async def _wake(self, run: str, now: float) -> None:
        wake = {"run": run, "now": now, "count": BREATH_ROWS}
        while True:
            woken = await self._write(lambda db: db.execute(self._sql["wake"], wake).rowcount, 0)
            if woken < BREATH_ROWS:
                return
            await asyncio.sleep(0)

    async def release(self, owner: str, ids: Sequence[int]) -> None:
        rows = [(job, owner) for job in ids]
        await self._all_or_none(partial(self._each, name="release", rows=rows), len(ids))

    async def record(self, records: Sequence[Record]) -> set[int]:
        shares = kind_values(records)
        if len(records) == 1 and not shares:
            one = record_values(records[0])
            changed = await self._write(lambda db: db.execute(self._sql["record"], one).rowcount, 1)
            return set() if changed else {records[0].id}

        def recording(db: sqlite3.Connection) -> Steps[set[int]]:
            changed = yield from self._each(db, "record", map(record_values, records))
            yield from self._each(db, "share", shares)
            if changed == len(records):
                return set()
            return {record.id for record in records if self._is_fenced(db, record)}

        return await self._all_or_none(recording, len(records))

    def _is_fenced(self, db: sqlite3.Connection, record: Record) -> bool:
        start, owner = db.execute(self._sql["fence"], (record.id,)).fetchone() or (None, None)
        return start != record.start or bool(record.owner and owner and owner != record.owner)

    async def get(self, ids: Sequence[int]) -> list[Row]:
        found: list[Row] = []
        for some in parts(ids):
            if found:
                await asyncio.sleep(0)
            found += await self._get(some)
        return found

    async def _get(self, ids: Sequence[int]) -> list[Row]:
        one = self._sql["get"]
        found = await self._read(lambda db: [row for job in ids for row in db.execute(one, (job,))])
        return [Row(*row) for row in found]

    async def page(self, query: Query) -> list[Row]:
        rows = await self._read(lambda db: list(page_rows(db, self._sql, query)))
        return [Row(*row) for row in rows]

    async def counts(self, run: str) -> Mapping[int, int]:
        return dict(await self._read(lambda db: db.execute(self._sql["counts"], (run,)).fetchall()))

    async def delete(self, ids: Sequence[int]) -> set[int]:
        gone: set[int] = set()
        for some in parts(ids):
            rows = [(job,) for job in some]
            await self._all_or_none(partial(self._each, name="delete", rows=rows), len(some))
            gone |= set(some) - {row.id for row in await self._get(some)}
        return gone

    async def ask(self, run: str, requests: Sequence[Request]) -> None:
        rows = [(run, *request) for request in requests]
        await self._all_or_none(partial(self._each, name="ask", rows=rows), len(requests))
        self._seen.clear()  # what this connection writes does not change its own number

    async def asked(self, run: str) -> list[Request]:
        version = await self._read(lambda db: db.execute(self._sql["changed"]).fetchone()[0])
        if version == self._seen.get(run):
            return []
        self._seen[run] = version
        found = await self._write(lambda db: db.execute(self._sql["asked"], (run,)).fetchall(), 1)
        return [Request(*row[1:]) for row in sorted(found)]

    async def limits(self) -> Mapping[str, int]:
        return dict(await self._read(lambda db: db.execute(self._sql["limits"]).fetchall()))

    async def set_limit(self, key: str, most: int | None) -> None:
        values = {"key": key, "most": most}
        name = "drop_limit" if most is None else "set_limit"
        await self._write(lambda db: db.execute(self._sql[name], values), 1)

    async def claimed(self) -> Mapping[str, int]:
        return dict(await self._read(lambda db: db.execute(self._sql["claimed"]).fetchall()))

    async def setting(self, key: str, value: str | None = None) -> str | None:
        if value is not None:
            await self._write(lambda db: db.execute(self._sql["keep_setting"], (key, value)), 1)
            return value
        row = await self._read(lambda db: db.execute(self._sql["setting"], (key,)).fetchone())
        return row[0] if row else None

    # How it is done

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"the store {self.path} is not open")
        if self._readonly and self._whole and has_log(self.path):  # somebody has opened it meanwhile
            self._connection.close()
            self._whole = False
            self._connection = connect_to_read(self.path, len(self._steps))
        if identity(self.path) != self._identity:
            # SQLite would go on writing to a file that nobody finds any more
            raise lost(self.path)
        return self._connection

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._when_free(lambda: work(self._opened()))

    async def _write(self, work: Callable[[sqlite3.Connection], T], rows: int) -> T:
        if self._readonly:
            raise StoreError(f"the store {self.path} was opened for reading only")
        done = await self._when_free(lambda: work(self._opened()))
        self._written(rows)
        return done

    async def _when_free(self, work: Callable[[], T]) -> T:
        """What `work` returns; it is tried again while somebody else has the lock.

        Without a lock it does not give the event loop away, so nothing can be cancelled between a
        change and its answer.
        """
        pause, give_up = PAUSE_MIN_SECONDS, 0.0
        while True:
            try:
                return work()
            except UnicodeDecodeError as error:  # in a text of the file, or in SQLite's sentence about it
                raise damaged(self.path, error) from error
            except sqlite3.Error as error:
                now = monotonic()
                give_up = give_up or now + self._patience
                if now >= give_up or not is_locked(error):
                    raise meaning(error, self.path) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_MAX_SECONDS)

    def _each(self, db: sqlite3.Connection, name: str, rows: Iterable[Any]) -> Steps[int]:
        """Run a statement for each row; returns how many rows it changed."""
        changed, rest = 0, iter(rows)
        while batch := list(islice(rest, BREATH_ROWS)):
            changed += db.executemany(self._sql[name], batch).rowcount
            yield
        return changed

    async def _all_or_none(self, work: Callable[[sqlite3.Connection], Steps[T]], count: int) -> T:
        """Do what changes about `count` rows in one transaction."""

        def at_once(db: sqlite3.Connection) -> T:
            with db:
                db.execute(self._sql["begin"])
                steps = Answered(work(db))
                for _ in steps:
                    pass
            return steps.answer

        if count <= BREATH_ROWS:
            return await self._write(at_once, count)
        async with self._transaction() as db:
            steps = Answered(work(db))
            for _ in steps:
                await asyncio.sleep(0)
        self._written(count)
        return steps.answer

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[sqlite3.Connection]:
        """A transaction that others of this process can't get into, and that may breathe."""
        self._opened()
        db = await self._when_free(lambda: connect(self.path))
        try:
            await self._when_free(lambda: db.execute(self._sql["begin"]))
            yield db
            db.execute(self._sql["commit"])
        except sqlite3.Error as error:
            raise meaning(error, self.path) from error
        finally:
            # What was not committed is undone.
            db.close()

    def _written(self, rows: int) -> None:
        """Start a checkpoint when the log has grown, unless one is on its way."""
        self._unsaved += rows
        busy = self._checkpoint is not None and not self._checkpoint.done()
        if self._unsaved >= CHECKPOINT_ROWS and self._connection is not None and not busy:
            self._unsaved = 0
            self._checkpoint = asyncio.create_task(
                asyncio.to_thread(checkpoint, self.path), name=f"xqute checkpoint of {self.path}"
            )
