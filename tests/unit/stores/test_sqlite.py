"""What SqliteStore promises beyond the contract: its file, its locks, its speed."""

import asyncio
import os
import signal
import sqlite3
import stat
import sys
from collections.abc import Awaitable
from contextlib import closing
from pathlib import Path

import pytest

from xqute.errors import SchemaMismatch, StoreError, StoreUnavailable
from xqute.store import Draft, Query, Record
from xqute.stores.sqlite import BREATH_ROWS, CHECKPOINT_ROWS, SqliteStore
from xqute.stores.sqlite_file import connect, make_file, prepare, schema, statements

ROOT = Path(__file__).resolve().parents[3]
JOB = Draft(2, 0, "call", "document")

#: What another process begins with; its arguments are the file and whatever it likes.
CHILD = """
import asyncio, os, signal, sqlite3, sys
from xqute.store import Draft
from xqute.stores.sqlite import SqliteStore
path = sys.argv[1]
JOB = Draft(2, 0, "call", "document")
"""

LOCK = """
db = sqlite3.connect(path, isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""

OPEN = """
async def main():
    print("ready", flush=True)
    sys.stdin.read()
    store = SqliteStore(path)
    await store.open()
    [row] = await store.get([await store.accept("run", [JOB])])
    print(store.token, row.id, row.tree)
    await store.close()
asyncio.run(main())
"""

CLAIM = """
async def main():
    store = SqliteStore(path)
    await store.open()
    print("ready", flush=True)
    sys.stdin.read()
    while rows := await store.claim(str(os.getpid()), "run", 3, 0.0):
        print(*(row.id for row in rows))
    await store.close()
asyncio.run(main())
"""

CLAIM_LIMITED = """
from xqute.rules.limits import Spare, choose
from xqute.store import Record

async def main():
    store = SqliteStore(path)
    await store.open()
    print("ready", flush=True)
    sys.stdin.read()
    run = sys.argv[2]
    def fitting(queues, claimed, limits):
        return choose(queues, claimed, limits, Spare(4)).taken
    while (await store.counts(run)).get(2):
        for row in await store.claim(run, run, 4, 0.0, fitting):
            print((await store.claimed())["align"])
            await store.record([Record(row.id, row.start, 6, 1, "", "", 0.0, False)])
        await asyncio.sleep(0)
    await store.close()
asyncio.run(main())
"""

DIE_AFTER_ACCEPT = """
async def main():
    store = SqliteStore(path)
    await store.open()
    await store.accept("run", [JOB] * int(sys.argv[2]))
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""

DIE_WHILE_ACCEPTING = """
async def main():
    store = SqliteStore(path)
    await store.open()
    accepting = asyncio.create_task(store.accept("run", [JOB] * 20_000))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not accepting.done()
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


async def child(script: str, *arguments) -> asyncio.subprocess.Process:
    """Another process."""
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-c", CHILD + script, *map(str, arguments)]
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)


async def ready(process: asyncio.subprocess.Process) -> None:
    assert await process.stdout.readline()


async def finished(*processes: asyncio.subprocess.Process) -> list[list[str]]:
    """Let them go; the words that each said until its end."""
    for process in processes:
        process.stdin.close()
    said = [(await process.stdout.read()).decode().split() for process in processes]
    assert [await process.wait() for process in processes] == [0] * len(processes)
    return said


def has_tables(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


async def turns(task: asyncio.Task) -> int:
    """How often the event loop went round until the task was done."""
    count = 0
    while not task.done():
        await asyncio.sleep(0)
        count += 1
    return count


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "xqute.db"


@pytest.fixture
async def store(path):
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


#: Dumps of what the xqute of an older schema left, when its manager died.
FIRST_SCHEMA, SECOND_SCHEMA = (
    Path(__file__).parents[2] / "data" / f"store_of_schema_{number}.sql" for number in (1, 2)
)


def schema_number(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("PRAGMA user_version").fetchone()[0]


# The file


async def test_only_its_user_can_read_it(store, path) -> None:
    await store.accept("run", [JOB])

    files = sorted(path.parent.iterdir())

    assert [file.name for file in files] == ["xqute.db", "xqute.db-shm", "xqute.db-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_a_closed_store_is_one_file(store, path) -> None:
    await store.accept("run", [JOB])

    await store.close()

    assert list(path.parent.iterdir()) == [path]


async def test_a_relative_path_is_where_the_program_was_then(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert SqliteStore("a.db").path == str(tmp_path / "a.db")


async def test_a_path_may_hold_any_character(tmp_path) -> None:
    store = SqliteStore(tmp_path / "100% a?b#c&d 'e' \udce9.db")

    await store.open()

    assert await store.accept("run", [JOB]) == 1
    await store.close()


async def test_a_missing_directory_is_named(tmp_path) -> None:
    with pytest.raises(StoreError, match=rf"there is no directory {tmp_path}/gone$"):
        await SqliteStore(tmp_path / "gone" / "xqute.db").open()


async def test_a_directory_that_cant_be_written_is_named(tmp_path) -> None:
    directory = Path("/sys/kernel") if os.geteuid() == 0 else tmp_path  # root may write anywhere
    tmp_path.chmod(0o500)

    with pytest.raises(StoreError, match=f"the directory {directory} can't be written"):
        await SqliteStore(directory / "xqute.db").open()


async def test_a_directory_is_no_store(tmp_path) -> None:
    with pytest.raises(StoreError, match="it is a directory"):
        await SqliteStore(tmp_path).open()


async def test_a_file_that_is_no_database_is_left_alone(path) -> None:
    path.write_text("important notes, " * 100)

    with pytest.raises(StoreError, match=rf"{path} is not a database: move that file away") as info:
        await SqliteStore(path).open()

    assert isinstance(info.value.__cause__, sqlite3.DatabaseError)
    assert path.read_text() == "important notes, " * 100


async def test_the_database_of_another_program_is_left_alone(path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE notes (note)")
    before = path.read_bytes()

    with pytest.raises(StoreError, match="another program's database"):
        await SqliteStore(path).open()

    assert path.read_bytes() == before


async def test_a_damaged_file_is_said_to_be_damaged(store, path) -> None:
    await store.accept("run", [JOB] * 2000)
    await store.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))

    with pytest.raises(StoreError, match=rf"{path} is damaged: move it away") as info:
        await store.open()

    assert not isinstance(info.value, StoreUnavailable)


async def test_a_full_disk_changes_nothing_and_may_be_tried_again(store) -> None:
    await store.accept("run", [JOB])
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(StoreUnavailable, match="the disk or the quota is full"):
        await store.accept("run", [JOB._replace(document="long " * 9000)] * 5)

    store._connection.execute("PRAGMA max_page_count = 100000")
    assert await store.accept("run", [JOB]) == 2


async def test_a_closed_store_says_so(path) -> None:
    with pytest.raises(StoreError, match=f"{path} is not open"):
        await SqliteStore(path).accept("run", [JOB])


# Its schema


async def test_a_newer_schema_is_refused(path) -> None:
    newer = SqliteStore(path, steps=[*schema(), *["SELECT 1;"] * 6])
    await newer.open()
    await newer.close()

    words = r"written by a newer xqute \(schema 9, this one knows 3\): update xqute"
    with pytest.raises(SchemaMismatch, match=words):
        await SqliteStore(path).open()

    assert schema_number(path) == 9


async def test_an_older_schema_is_migrated_with_all_it_holds(path) -> None:
    older = SqliteStore(path)
    await older.open()
    await older.accept("run", [JOB] * 3)
    await older.close()
    step = "ALTER TABLE job ADD COLUMN colour TEXT;\n-- why\nUPDATE job SET document = 'newer';\n"

    newer = SqliteStore(path, steps=[*schema(), step])
    await newer.open()

    rows = await newer.page(Query())
    await newer.close()
    assert [row.document for row in rows] == ["newer"] * 3
    assert newer.token == older.token
    assert schema_number(path) == 4


async def test_a_store_that_the_first_schema_s_xqute_left_is_read_and_goes_on(path) -> None:
    db = sqlite3.connect(path)
    db.executescript(FIRST_SCHEMA.read_text())
    db.close()

    store = SqliteStore(path)
    await store.open()

    [run] = await store.runs()
    statuses = {row.id: (row.status, row.start, row.owner) for row in await store.page(Query(run=run.id))}
    assert run.script == "/home/ann/sweep.py"
    assert statuses == {1: (6, 1, ""), 2: (7, 1, ""), 3: (6, 1, ""), 4: (2, 1, "4242-abcd"), 5: (2, 0, "")}
    assert await store.own(run._replace(owner="heir"), run.owner)
    assert [row.id for row in await store.claim("heir", run.id, 9, 2e9)] == [5]
    assert schema_number(path) == 3
    await store.close()


async def test_a_store_that_the_second_schema_s_xqute_left_is_read_and_goes_on(path) -> None:
    db = sqlite3.connect(path)
    db.executescript(SECOND_SCHEMA.read_text())
    db.close()

    store = SqliteStore(path)
    await store.open()

    [run] = await store.runs()
    rows = await store.page(Query(run=run.id, top=True))
    assert [row.status for row in rows] == [6, 7, 6, 2, 2, 2]
    assert {row[-5:] for row in rows} == {(0, 0, "", 0, 0)}
    assert [(request.job, request.what) for request in await store.asked(run.id)] == [(4, "kill")]
    assert await store.own(run._replace(owner="heir"), run.owner)
    drafts = [JOB._replace(depth=1, parent=-1), JOB._replace(group=1)]
    assert await store.accept(run.id, drafts, [(0, 1)]) == 7
    assert await store.needs([8]) == {8: (7, 1)}
    assert [row.id for row in await store.claim("heir", run.id, 9, 2e9)] == [5, 6, 7, 8]
    assert schema_number(path) == 3
    await store.close()


@pytest.mark.parametrize(("left", "number", "jobs"), [(FIRST_SCHEMA, 1, 5), (SECOND_SCHEMA, 2, 6)])
async def test_a_store_of_an_older_schema_is_read_without_being_changed(path, left, number, jobs) -> None:
    db = sqlite3.connect(path)
    db.executescript(left.read_text())
    db.close()
    store = SqliteStore(path, readonly=True)

    await store.open()

    assert len(await store.page(Query())) == jobs
    assert await store.needs([1]) == {}
    with pytest.raises(StoreError, match="was opened for reading only"):
        await store.accept("run", [JOB])
    await store.close()
    assert schema_number(path) == number


async def test_reading_a_store_that_is_not_there_makes_none(path) -> None:
    with pytest.raises(StoreError, match=f"there is no store {path}"):
        await SqliteStore(path, readonly=True).open()

    assert not path.exists()


async def test_a_migration_that_fails_changes_nothing(store, path) -> None:
    await store.accept("run", [JOB])
    await store.close()
    steps = [*schema(), "UPDATE job SET document = 'newer';", "UPDATE missing SET x = 1;"]

    with pytest.raises(StoreError, match="no such table: missing"):
        await SqliteStore(path, steps=steps).open()

    assert schema_number(path) == 3
    await store.open()
    assert [row.document for row in await store.page(Query())] == ["document"]


async def test_processes_that_open_a_new_file_at_once_share_it(path) -> None:
    processes = [await child(OPEN, path) for _ in range(4)]
    for process in processes:
        await ready(process)

    said = await finished(*processes)

    tokens, jobs, trees = zip(*said, strict=True)
    assert len(set(tokens)) == 1
    assert sorted(jobs) == ["1", "2", "3", "4"]
    assert trees == jobs


@pytest.mark.parametrize("asked", ["application_id", "user_version", "sqlite_master"])
def test_a_file_that_another_makes_while_it_is_looked_at_is_not_another_programs(path, asked) -> None:
    make_file(str(path))
    with closing(connect(str(path))) as one, closing(connect(str(path))) as other:
        other.execute("PRAGMA journal_mode = WAL")

        def make_it(statement: str) -> None:
            if asked in statement and not has_tables(other):
                prepare(other, str(path), schema())

        one.set_trace_callback(make_it)
        prepare(one, str(path), schema())

        assert has_tables(one)
        assert has_tables(other)


# Its locks


async def test_a_lock_of_another_process_is_waited_for_without_holding_the_loop(store, path) -> None:
    other = await child(LOCK, path)
    await ready(other)
    accepting = asyncio.create_task(store.accept("run", [JOB]))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not accepting.done()

    await finished(other)

    assert await accepting == 1


@pytest.mark.parametrize("count", [1, 2, 2 * BREATH_ROWS])
async def test_a_lock_that_stays_is_store_unavailable(store, path, count) -> None:
    impatient = SqliteStore(path, patience=0.02)
    await impatient.open()
    other = await child(LOCK, path)
    await ready(other)

    accepting = asyncio.create_task(impatient.accept("run", [JOB] * count))

    assert await turns(accepting) > 10
    with pytest.raises(StoreUnavailable, match=f"{path} is locked by another process"):
        await accepting
    await finished(other)
    await impatient.close()
    assert await store.page(Query()) == []


async def test_reading_waits_for_no_lock(store, path) -> None:
    job = await store.accept("run", [JOB])
    other = await child(LOCK, path)
    await ready(other)

    assert [row.id for row in await store.get([job])] == [job]
    assert await store.counts("run") == {2: 1}

    await finished(other)


async def test_processes_never_claim_the_same_start(store, path) -> None:
    first = await store.accept("run", [JOB] * 600)
    processes = [await child(CLAIM, path) for _ in range(4)]
    for process in processes:
        await ready(process)

    said = await finished(*processes)

    claimed = sorted(int(job) for words in said for job in words)
    assert claimed == [*range(first, first + 600)]
    assert {row.start for row in await store.page(Query(limit=1000))} == {1}


async def test_a_limit_holds_for_eight_processes(store, path) -> None:
    runs = [f"run{number}" for number in range(8)]
    for run in runs:
        await store.accept(run, [JOB._replace(limit_key="align", limit_most=3)] * 40)
    processes = [await child(CLAIM_LIMITED, path, run) for run in runs]
    for process in processes:
        await ready(process)

    said = [int(word) for words in await finished(*processes) for word in words]

    assert len(said) == 320  # each job was claimed once
    assert max(said) == 3
    assert dict(await store.claimed()) == {}


# Death of its process


@pytest.mark.parametrize("count", [1, 2, 2 * BREATH_ROWS])
async def test_a_process_killed_right_after_accept_returned_loses_nothing(store, path, count) -> None:
    process = await child(DIE_AFTER_ACCEPT, path, count)

    assert await process.wait() == -signal.SIGKILL

    assert await store.counts("run") == {2: count}


async def test_a_process_killed_while_it_accepts_leaves_nothing(store, path) -> None:
    process = await child(DIE_WHILE_ACCEPTING, path)

    assert await process.wait() == -signal.SIGKILL

    assert await store.counts("run") == {}
    assert await store.accept("run", [JOB]) == 1


# Its speed


async def test_the_loop_goes_round_while_many_jobs_are_accepted(store) -> None:
    accepting = asyncio.create_task(store.accept("run", [JOB] * (20 * BREATH_ROWS)))

    assert await turns(accepting) >= 20


async def test_others_of_the_process_may_write_while_many_jobs_are_accepted(store) -> None:
    async with asyncio.TaskGroup() as group:
        many = group.create_task(store.accept("run", [JOB] * (4 * BREATH_ROWS)))
        one = group.create_task(store.accept("run", [JOB]))

    assert {many.result(), one.result()} in ({1, 2}, {1, 4 * BREATH_ROWS + 1})


async def test_the_claim_walks_the_index_of_ready_jobs_and_sorts_nothing(store) -> None:
    claim = statements()["claim"]
    values = {"owner": "me", "run": "run", "count": 1, "choosing": True}

    plan = store._connection.execute(f"EXPLAIN QUERY PLAN {claim}", values).fetchall()

    steps = [step[3] for step in plan]
    assert "SEARCH job USING INDEX job_ready (run=?)" in steps
    assert not [step for step in steps if "SCAN" in step or "ORDER BY" in step]


async def steps(store: SqliteStore, doing: Awaitable[object]) -> int:
    """Instructions of SQLite's machine that something takes."""
    count = 0

    def step() -> None:
        nonlocal count
        count += 1

    store._connection.set_progress_handler(step, 1)
    await doing
    store._connection.set_progress_handler(None, 0)
    return count


async def claim_steps(store: SqliteStore, count: int) -> int:
    """What a claim takes."""
    claiming = asyncio.ensure_future(store.claim("me", "run", count, 1.0))
    taken = await steps(store, claiming)
    assert len(claiming.result()) == count
    return taken


async def delete_steps(store: SqliteStore, dependents: int) -> int:
    """What it takes to forget one of the jobs that share a group."""
    drafts = [JOB, *[JOB._replace(group=1, status=6)] * dependents]
    first = await store.accept("run", drafts, [[0] * dependents])
    return await steps(store, store.delete([first + 1]))


async def test_forgetting_one_of_many_jobs_that_share_a_group_costs_the_same_as_of_two(store) -> None:
    among_two = await delete_steps(store, 2)

    assert await delete_steps(store, 20_000) <= 1.1 * among_two


async def test_a_claim_costs_the_same_among_1000_and_among_100_000_queued_jobs(store) -> None:
    await store.accept("run", [JOB] * 1000)
    among_few = await claim_steps(store, 8)

    await store.accept("run", [JOB] * 99_000)

    assert await claim_steps(store, 8) <= 1.1 * among_few


async def test_jobs_that_wait_for_their_time_cost_a_claim_nothing(store) -> None:
    await store.accept("run", [JOB] * 20)
    alone = await claim_steps(store, 8)
    await store.accept("run", [JOB._replace(priority=9)] * 2000)
    rows = await store.claim("me", "run", 2000, 0.0)
    await store.record([Record(row.id, 1, 2, 2, "", "", 99.0, held=False) for row in rows])

    assert await claim_steps(store, 8) <= 1.1 * alone


async def test_the_log_is_brought_into_the_file_while_the_store_is_open(store, path) -> None:
    for _ in range(CHECKPOINT_ROWS):
        await store.accept("run", [JOB])

    await store._checkpoint

    # "immutable" reads the file alone, without its log
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
        assert db.execute("SELECT count(*) FROM job").fetchone() == (CHECKPOINT_ROWS,)


async def test_closing_waits_for_a_checkpoint_on_its_way(store) -> None:
    await store.accept("run", [JOB] * CHECKPOINT_ROWS)
    on_its_way = store._checkpoint

    await store.close()

    assert on_its_way.done()
