"""The file of a SqliteStore: how it is made, migrated and opened, and what its errors mean."""

from __future__ import annotations

import errno
import logging
import os
import re
import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Final
from urllib.parse import quote

from xqute.errors import MetadirError, SchemaMismatch, StoreError, StoreUnavailable, XquteError

log = logging.getLogger("xqute.stores")

#: Says in the file's header whose it is: "xqut".
APPLICATION_ID: Final = 0x78717574

#: What leads from each schema to the next; the schema's number is how many were run.
STEPS: Final = ("sqlite_schema_1.sql", "sqlite_schema_2.sql", "sqlite_schema_3.sql")

#: RETURNING came with 3.35 (https://sqlite.org/changes.html).
OLDEST_SQLITE: Final = (3, 35, 0)

#: A WAL larger than this is begun anew, for which writers must wait some milliseconds.
WAL_MAX_PAGES: Final = 4000
#: What the WAL's file may keep of the disk after it was begun anew.
WAL_KEEP_BYTES: Final = 16 * 1024 * 1024
#: How long the checkpoint's own thread waits for writers and readers.
CHECKPOINT_WAIT_MS: Final = 200

_SECTION: Final = re.compile(r"^-- (\w+): .*\n((?:(?!-- \w+: ).*\n?)*)", re.MULTILINE)
_ABOVE: Final = re.compile(r"\{(\w+)\}")

#: What a result code means (https://sqlite.org/rescode.html), and whether trying again can help.
_MEANINGS: Final[Mapping[int, tuple[type[StoreError], str]]] = {
    sqlite3.SQLITE_BUSY: (StoreUnavailable, "is locked by another process"),
    sqlite3.SQLITE_LOCKED: (StoreUnavailable, "is locked by another part of this program"),
    sqlite3.SQLITE_FULL: (StoreUnavailable, "can't grow: the disk or the quota is full"),
    sqlite3.SQLITE_IOERR: (StoreUnavailable, "can't be read or written now"),
    sqlite3.SQLITE_NOMEM: (StoreUnavailable, "needs more memory than there is"),
    sqlite3.SQLITE_CORRUPT: (
        StoreError,
        "is damaged: move it away, or mend it with sqlite3's .recover, and start again",
    ),
    sqlite3.SQLITE_NOTADB: (
        StoreError,
        "is not a database: move that file away, or name another store",
    ),
    sqlite3.SQLITE_CANTOPEN: (StoreError, "can't be opened: is its directory still there?"),
    sqlite3.SQLITE_READONLY: (
        StoreError,
        "can't be written: it was moved or deleted, or its permissions forbid it",
    ),
    sqlite3.SQLITE_PERM: (StoreError, "can't be used: its permissions forbid it"),
}


def meaning(error: sqlite3.Error, path: str) -> StoreError:
    """The error of ours that says it, with the file's name."""
    code = getattr(error, "sqlite_errorcode", 0)
    kind, words = _MEANINGS.get(code & 0xFF, (StoreError, "failed"))
    return kind(f"the store {path} {words} ({error})")


def damaged(path: str, error: Exception) -> StoreError:
    """The sentence for a file with texts that are none."""
    kind, words = _MEANINGS[sqlite3.SQLITE_CORRUPT]
    return kind(f"the store {path} {words} ({error})")


def is_locked(error: sqlite3.Error) -> bool:
    """Whether somebody else has the lock, so that nothing is wrong but the moment."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


@cache
def statements() -> Mapping[str, str]:
    """The statements by their names."""
    found: dict[str, str] = {}
    for name, body in _SECTION.findall(_read("sqlite.sql")):
        found[name] = _ABOVE.sub(lambda above: found[above[1]], body.strip())
    return found


@cache
def schema() -> Sequence[str]:
    """The scripts that lead from each schema to the next."""
    return tuple(_read(name) for name in STEPS)


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def make_file(path: str) -> None:
    """Make an empty file that only its user can read, unless there is one.

    Raises:
        StoreError: It can't be made or used; says why.
    """
    # O_EXCL: a file that exists must not be opened here, because closing it would let go of the
    # locks this process may hold on it (https://sqlite.org/howtocorrupt.html, 2.2).
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        _refuse_unusable(path)
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        kind = StoreUnavailable if full else StoreError
        raise kind(f"the store {path} can't be made: {_why(error, path)}") from error


def _why(error: OSError, path: str) -> str:
    directory = os.path.dirname(path)
    if error.errno == errno.ENOENT:
        return f"there is no directory {directory}"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"the directory {directory} can't be written"
    return error.strerror or str(error)


def _refuse_unusable(path: str) -> None:
    if os.path.isdir(path):
        raise StoreError(f"the store {path} can't be opened: it is a directory")
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreError(f"the store {path} can't be opened: its file can't be read and written")
    directory = os.path.dirname(path)
    if not os.access(directory, os.W_OK | os.X_OK):
        # SQLite keeps its log beside the file
        raise StoreError(f"the store {path} can't be opened: {directory} can't be written")


def connect_to_read(path: str, known: int) -> sqlite3.Connection:
    """A connection that changes nothing, to a file of any schema up to the one known.

    Raises:
        StoreError: It is not there, or somebody else's.
        SchemaMismatch: A newer xqute wrote it.
    """
    if not os.path.exists(path):
        raise StoreError(f"there is no store {path}: nothing was pushed there yet")
    last = sqlite3.OperationalError("never tried")
    for how in _ways_to_read(path):
        connection = sqlite3.connect(
            f"file:{quote(os.fsencode(path))}?{how}", uri=True, isolation_level=None, check_same_thread=False
        )
        try:
            _version(connection, path, known)
        except sqlite3.OperationalError as error:
            connection.close()
            last = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise meaning(last, path)


def has_log(path: str) -> bool:
    """Whether there is something that is not in the file itself yet, or may come: somebody has it open."""
    try:
        return os.stat(f"{path}-wal").st_size > 0
    except OSError:
        return False


def _ways_to_read(path: str) -> tuple[str, str]:
    """Best first: SQLite can't read a log without writing beside it, and a file without one is whole."""
    return ("mode=ro", "immutable=1") if has_log(path) else ("immutable=1", "mode=ro")


def connect(path: str) -> sqlite3.Connection:
    """A connection to a file that is there; it waits for no lock and makes no checkpoints."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise StoreError(
            f"SQLite {sqlite3.sqlite_version} is too old for the store {path}: "
            f"xqute needs {oldest}; use a Python that brings it, or the store memory://"
        )
    # Used by one thread at a time; the last to use it is the one that closes it.
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode=rw",
        uri=True,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_KEEP_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(connection: sqlite3.Connection, path: str, steps: Sequence[str]) -> None:
    """Bring the file to the newest schema; another process may be doing the same.

    Raises:
        SchemaMismatch: A newer xqute wrote it.
        StoreError: Another program wrote it, or it is where SQLite can't share a file.
    """
    # Before anything is changed: the file may be somebody else's.
    _version(connection, path, len(steps))
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(f"the store {path} can't be shared there: put it on a local disk")
    if _version(connection, path, len(steps)) == len(steps):
        return
    with connection:
        connection.execute(statements()["begin"])
        # Meanwhile another process may have done it.
        for step in steps[_version(connection, path, len(steps)) :]:
            for statement in _split(step):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(steps)}")


def _version(connection: sqlite3.Connection, path: str, known: int) -> int:
    whose, found, filled = _header(connection)
    if whose != APPLICATION_ID and (whose or found or filled):
        raise StoreError(f"the store {path} can't be opened: another program's database is there")
    if found > known:
        raise SchemaMismatch(
            f"the store {path} was written by a newer xqute (schema {found}, this one knows "
            f"{known}): update xqute, or name another store"
        )
    return found


def _header(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Whose the file is, its schema and how many tables it has, as they are at one moment.

    Another process may be making the file: what was read before and after that is nobody's file.
    """
    if not connection.in_transaction:
        connection.execute("BEGIN")
        try:
            return _header(connection)
        finally:
            connection.rollback()
    asked = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    whose, found, filled = (connection.execute(statement).fetchone()[0] for statement in asked)
    return whose, found, filled


def _split(script: str) -> list[str]:
    """The statements of a script; sqlite3's own `executescript` would end the transaction."""
    found, statement = [], ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            found.append(statement)
            statement = ""
    return [*found, statement] if statement.strip() else found


def checkpoint(path: str) -> None:
    """Bring what is in the log into the file. For a thread: it waits for the disk."""
    try:
        connection = connect(path)
    except sqlite3.Error as error:
        log.warning("%s", meaning(error, path))
        return
    try:
        _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if pages > WAL_MAX_PAGES:
            # Under constant writes a passive checkpoint never reaches the end of the log, and the
            # log would grow for ever. Little is left to do now, so writers wait only briefly.
            connection.execute(f"PRAGMA busy_timeout = {CHECKPOINT_WAIT_MS}")
            connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    except sqlite3.Error as error:
        # Nothing is lost: the log keeps it, and the next write meets the same trouble by itself.
        log.warning("%s", meaning(error, path))
    finally:
        connection.close()


def finish(connection: sqlite3.Connection, path: str) -> None:
    """Checkpoint and close. For a thread: it waits for the disk."""
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.Error as error:
        log.warning("%s", meaning(error, path))
    finally:
        connection.close()


def identity(path: str) -> tuple[int, int] | None:
    """Which file this is; None when there is none."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def lost(path: str) -> XquteError:
    """The sentence for a file that is not where it was opened."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        return MetadirError(f"the metadir {folder} has vanished while jobs ran: the run was stopped")
    return StoreError(f"the store {path} was moved, deleted or replaced while it was in use")
