"""Disks that are full, read-only or gone, and stores that are torn or locked: nothing is lost or hangs."""

import asyncio
import errno
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.programs import killed_when_ready
from tests.traces import processes_with
from tests.waiting import until
from xqute import JobStatus, MetadirError, StoreError, StoreUnavailable, Xqute, XquteError
from xqute.store import Draft, Query, RunRow
from xqute.stores.sqlite import SqliteStore

HERE = Path(__file__).parents[2]


@pytest.fixture
def disk(tmp_path):
    """A file system of 1 MiB."""
    place = tmp_path / "small disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def make(disk, tmp_path):
    """Make an Xqute with its metadir on the small disk, and its store there or elsewhere."""

    def make_xqute(store: str = "inside", **options) -> Xqute:
        elsewhere = None if store == "inside" else f"sqlite://{tmp_path}/elsewhere.db"
        return Xqute(**{"job_metadir": disk / "meta", "store": elsewhere, **options})

    return make_xqute


@pytest.fixture
def lines(caplog):
    """The lines of the log that contain some words."""
    caplog.set_level(logging.INFO, "xqute")

    def find(words: str) -> list[str]:
        return [
            record.getMessage()
            for record in caplog.records
            if words in record.getMessage() and record.levelno >= logging.WARNING
        ]

    return find


@pytest.fixture
def warned(lines):
    """Return once the log has a line with these words."""

    async def wait(words: str) -> None:
        await until(lambda: lines(words))

    return wait


def fill(disk: Path) -> Path:
    """Leave no block free."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as exc:
                assert exc.errno == errno.ENOSPC  # noqa: PT017  some writes must fail
    return filler


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)


def waits_for(path: Path) -> str:
    """A shell line that ends when a file is there."""
    return f"until [ -e '{path}' ]; do sleep 0.02; done"


def counted(path: Path) -> list[str]:
    """What jobs wrote about themselves, in order."""
    return sorted(path.read_text().split()) if path.exists() else []


# A full disk

INSIDE_OR_OUTSIDE = pytest.mark.parametrize("store", ["inside", "outside"])


@pytest.mark.live
@INSIDE_OR_OUTSIDE
async def test_a_full_disk_pauses_submissions_which_go_on_by_themselves_when_there_is_room(
    make, disk, tmp_path, lines, warned, store
):
    xqute = make(store, scheduler_forks=2, job_error_strategy="retry")
    jobs = await xqute.push_many([f"echo $XQUTE_JOB_ID >> '{tmp_path}/ran'"] * 6)
    filler = fill(disk)
    async with asyncio.timeout(30), xqute:
        await warned("submissions pause")
        assert counted(tmp_path / "ran") == []
        filler.unlink()

    assert {job.status for job in jobs} == {JobStatus.FINISHED}
    assert counted(tmp_path / "ran") == sorted(str(job.id) for job in jobs)
    assert {(job.start, job.attempt) for job in jobs} == {(1, 1)}
    assert len(lines("submissions pause")) == 1
    assert len(lines("submissions go on")) == 1


@pytest.mark.live
@INSIDE_OR_OUTSIDE
async def test_jobs_say_that_the_disk_is_full_while_it_is(make, disk, warned, store):
    xqute = make(store)
    job = await xqute.push(["true"])
    filler = fill(disk)
    async with asyncio.timeout(30), xqute:
        await warned("submissions pause")
        told = job.reason
        filler.unlink()

    assert told.code == "DISK_FULL"
    assert str(disk) in str(told)  # the place is named


@pytest.mark.live
@INSIDE_OR_OUTSIDE
async def test_a_manager_that_waits_for_room_is_idle(make, disk, warned, store):
    xqute = make(store)
    await xqute.push_many([["true"]] * 20)
    filler = fill(disk)
    async with asyncio.timeout(30), xqute:
        await warned("submissions pause")

        before = time.process_time()
        await asyncio.sleep(1)  # the time that is measured
        used = time.process_time() - before
        filler.unlink()

    assert used < 0.1


@pytest.mark.live
@INSIDE_OR_OUTSIDE
async def test_the_end_of_a_job_that_ran_when_the_disk_became_full_is_not_lost(make, disk, tmp_path, store):
    xqute = make(store, job_error_strategy="retry")
    async with asyncio.timeout(30), xqute:
        job = await xqute.push(f"echo ran >> '{tmp_path}/ran'; {waits_for(tmp_path / 'go')}; exit 0")
        await until(lambda: job.status is JobStatus.RUNNING)
        filler = fill(disk)
        (tmp_path / "go").touch()
        await until(lambda: job.status is JobStatus.FINISHED)
        filler.unlink()

    assert counted(tmp_path / "ran") == ["ran"]
    assert (job.start, job.attempt, job.rc) == (1, 1, 0)
    assert (await Xqute(job_metadir=xqute.metadir, store=xqute._store).get(job.id)).status is job.status
    await xqute._store.close()


@pytest.mark.live
@INSIDE_OR_OUTSIDE
async def test_a_wrapper_keeps_its_end_until_there_is_room_for_it(make, disk, tmp_path, store):
    xqute = make(store, job_error_strategy="retry")
    async with asyncio.timeout(30), xqute:
        first = await xqute.push(waits_for(tmp_path / "go"))
        second = await xqute.push(f"echo ran >> '{tmp_path}/ran'; exit 0")
        # claimed and written ahead, it starts without room for anything but its name
        await until(lambda: (disk / "meta" / str(second.id) / "job.wrapped.local").exists())  # noqa: PLW0108  read anew each time
        await until(lambda: first.status is JobStatus.RUNNING)
        filler = fill(disk)
        (tmp_path / "go").touch()
        await until((tmp_path / "ran").exists)
        assert not second.status.final
        filler.unlink()

    assert counted(tmp_path / "ran") == ["ran"]
    assert second.status is JobStatus.FINISHED
    assert (second.start, second.attempt, second.rc) == (1, 1, 0)


@pytest.mark.live
@INSIDE_OR_OUTSIDE
async def test_a_job_that_fills_the_disk_and_makes_room_again_delays_the_others_only(
    make, disk, tmp_path, lines, warned, store
):
    xqute = make(store, scheduler_forks=2)
    async with asyncio.timeout(30), xqute:
        greedy = await xqute.push(
            f"cat /dev/zero > '{disk}/big'; "
            f"touch '{tmp_path}/full'; {waits_for(tmp_path / 'go')}; rm '{disk}/big'"
        )
        await until((tmp_path / "full").exists)
        lines_of_jobs = [f"echo $XQUTE_JOB_ID >> '{tmp_path}/ran'"] * 40
        if store == "inside":
            with pytest.raises(StoreUnavailable, match="full"):
                await xqute.push_many(lines_of_jobs * 50)
        else:
            await xqute.push_many(lines_of_jobs)
            await warned("submissions pause")
        (tmp_path / "go").touch()

    assert {job.status for job in xqute.jobs} == {JobStatus.FINISHED}
    assert counted(tmp_path / "ran") == sorted(str(job.id) for job in xqute.jobs if job is not greedy)
    assert len(lines("submissions pause")) <= 1


@pytest.mark.live
@pytest.mark.parametrize("left", range(6))
async def test_a_disk_without_room_for_the_names_of_all_files_costs_no_attempt(
    make, disk, tmp_path, lines, left
):
    xqute = make("outside", job_error_strategy="retry", retry_delay=0.1)
    remount(disk, "nr_inodes=30")
    async with asyncio.timeout(30), xqute:
        await (await xqute.push(["true"]))
        fillers = [disk / f"filler {number}" for number in range(os.statvfs(disk).f_ffree - left)]
        for filler in fillers:
            filler.touch()
        job = await xqute.push(f"echo ran >> '{tmp_path}/ran'")
        await until(lambda: lines("submissions pause") or job.status.final)
        with suppress(TimeoutError):  # a few tries
            await until(lambda: len(lines("submissions pause")) > 1 or job.status.final, seconds=1.2)
        for filler in fillers:
            filler.unlink()

    assert (job.status, job.start, job.attempt) == (JobStatus.FINISHED, 1, 1)
    assert counted(tmp_path / "ran") == ["ran"]
    assert len(lines("submissions pause")) <= 1
    assert len(lines("submissions go on")) == len(lines("submissions pause"))


@pytest.mark.live
async def test_a_push_that_finds_the_disk_full_is_refused_and_works_when_there_is_room(make, disk):
    xqute = make()
    await xqute.find()
    filler = fill(disk)

    with pytest.raises(StoreUnavailable, match="full"):
        await xqute.push_many([["echo", "x" * 1000]] * 1000)

    filler.unlink()
    job = await xqute.push(["echo", "room"])
    async with asyncio.timeout(30):
        report = await xqute.run_until_complete()
    assert await job == "room"
    assert report.counts == {JobStatus.FINISHED: 1}


@pytest.mark.live
async def test_a_disk_that_is_full_from_the_start_is_told_in_one_sentence(make, disk):
    fill(disk)

    with pytest.raises(XquteError, match=r"metadir|store") as told:
        await make().push(["true"])

    assert "\n" not in str(told.value)
    assert str(disk) in str(told.value)


@pytest.mark.live
async def test_jobs_can_be_killed_while_the_disk_is_full(make, disk, warned):
    xqute = make(scheduler_forks=2)
    async with asyncio.timeout(40), xqute:
        job = await xqute.push(["sleep", "60"])
        await until(lambda: job.status is JobStatus.RUNNING)
        filler = fill(disk)
        killing = asyncio.create_task(job.kill())
        try:
            await until(lambda: not Path(f"/proc/{job.uid}").exists(), seconds=10)
        finally:
            filler.unlink()
        assert await killing

    assert job.status is JobStatus.KILLED


# A read-only disk


@pytest.mark.live
async def test_a_read_only_metadir_is_refused_at_the_start_in_one_sentence(make, disk):
    remount(disk, "ro")

    with pytest.raises(MetadirError, match="can't be written") as told:
        make()

    assert str(disk / "meta") in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.live
async def test_a_metadir_that_becomes_read_only_pauses_the_run_until_it_can_be_written(
    make, disk, tmp_path, lines, warned
):
    xqute = make("outside", job_error_strategy="retry")
    async with asyncio.timeout(30), xqute:
        await (await xqute.push(["true"]))
        remount(disk, "ro")
        jobs = await xqute.push_many([f"echo $XQUTE_JOB_ID >> '{tmp_path}/ran'"] * 3)
        await warned("submissions pause")
        assert jobs[0].reason.code == "DISK_FULL"
        assert "ead-only" in str(jobs[0].reason)
        remount(disk, "rw")

    assert {(job.status, job.start, job.attempt) for job in jobs} == {(JobStatus.FINISHED, 1, 1)}
    assert counted(tmp_path / "ran") == sorted(str(job.id) for job in jobs)
    assert len(lines("submissions pause")) == 1


# A disk that is gone


@INSIDE_OR_OUTSIDE
async def test_a_metadir_that_vanishes_ends_the_run_with_its_name_and_nothing_runs_on(tmp_path, store):
    metadir = tmp_path / "meta"
    outside = None if store == "inside" else f"sqlite://{tmp_path}/elsewhere.db"
    xqute = Xqute(job_metadir=metadir, scheduler_forks=2, store=outside)
    long = await xqute.push(["sleep", "1234"], grace=1)
    short = await xqute.push(waits_for(tmp_path / "go"))
    await xqute.push_many([["touch", tmp_path / "ran"]] * 40)

    run = asyncio.create_task(xqute.run_until_complete())
    await until(lambda: (long.status, short.status) == (JobStatus.RUNNING, JobStatus.RUNNING))
    shutil.rmtree(metadir)
    (tmp_path / "go").touch()

    with pytest.raises(XquteError) as told:
        async with asyncio.timeout(45):
            await run
    assert isinstance(told.value, MetadirError)
    assert str(metadir) in str(told.value)
    assert processes_with(str(metadir)) == {}


@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_store_that_is_removed_or_replaced_ends_the_run_with_its_name(tmp_path, how):
    xqute = Xqute(job_metadir=tmp_path / "meta")
    file = tmp_path / "meta" / "xqute.db"
    await xqute.push(waits_for(tmp_path / "go"))
    await xqute.push_many([["true"]] * 40)

    run = asyncio.create_task(xqute.run_until_complete())
    await until(lambda: xqute.jobs[0].status is JobStatus.RUNNING)
    if how == "replaced":
        shutil.copy(file, tmp_path / "other.db")
        (tmp_path / "other.db").replace(file)
    else:
        file.unlink()
    (tmp_path / "go").touch()

    with pytest.raises(StoreError) as told:
        async with asyncio.timeout(15):
            await run
    assert str(file) in str(told.value)
    assert processes_with(str(tmp_path / "meta")) == {}


# Torn files

WRITER = """
import asyncio, os, sys
from xqute.store import Draft, RunRow
from xqute.stores.sqlite import SqliteStore
async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    await store.own(RunRow("run", "", "owned", "me", 0.0, "{}"), "")
    for number in range(40):
        await store.accept("run", [Draft(2, 0, f"call {number}", "{}", "", "", "")])
    print("ready", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.fixture
def torn(tmp_path):
    """The files of a store whose writer was killed: the database and its log."""
    file = tmp_path / "torn.db"
    killed_when_ready(WRITER, file)
    return file.read_bytes(), Path(f"{file}-wal").read_bytes()


async def rows_of(file: Path) -> list[str]:
    """The calls in a store, which is then written and closed."""
    store = SqliteStore(file)
    await store.open()
    try:
        calls = [row.call for row in await store.page(Query(limit=1000))]
        await store.own(RunRow("run", "", "owned", "me", 0.0, "{}"), "")
        await store.accept("run", [Draft(2, 0, "after", "{}", "", "", "")])
    finally:
        await store.close()
    return calls


def lay_out(directory: Path, database: bytes, log: bytes) -> Path:
    directory.mkdir()
    (directory / "xqute.db").write_bytes(database)
    if log:
        (directory / "xqute.db-wal").write_bytes(log)
    return directory / "xqute.db"


async def test_a_store_whose_log_was_cut_anywhere_opens_with_all_rows_before_the_cut(tmp_path, torn):
    database, log = torn
    whole = [f"call {number}" for number in range(40)]
    lengths = sorted({*range(0, len(log), max(1, len(log) // 120)), 1, 31, 32, 33, len(log) - 1, len(log)})
    kept = []
    for length in lengths:
        calls = await rows_of(lay_out(tmp_path / str(length), database, log[:length]))
        assert calls == whole[: len(calls)], length
        kept.append(len(calls))

    assert kept == sorted(kept)
    assert kept[-1] == 40
    assert kept[-2] >= 39


async def test_a_flipped_byte_in_the_log_loses_no_row_before_it(tmp_path, torn):
    database, log = torn
    whole = [f"call {number}" for number in range(40)]
    for place in range(40, len(log), len(log) // 40):
        bent = log[:place] + bytes([log[place] ^ 0x41]) + log[place + 1 :]
        calls = await rows_of(lay_out(tmp_path / str(place), database, bent))
        assert calls == whole[: len(calls)], place


async def test_a_flipped_byte_in_the_header_is_harmless_or_told_in_one_sentence(tmp_path, torn):
    merged = lay_out(tmp_path / "merged", *torn)
    await rows_of(merged)
    content = merged.read_bytes()
    whole = [f"call {number}" for number in range(40)]
    told = []
    for place in range(100):
        bent = content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]
        file = lay_out(tmp_path / str(place), bent, b"")
        try:
            calls = await rows_of(file)
        except StoreError as exc:
            told.append((str(file), str(exc)))
        else:
            assert calls[:40] == whole, place

    assert len(told) >= 20
    assert all(file in sentence and "\n" not in sentence for file, sentence in told)


async def test_a_page_of_garbage_in_the_store_is_told_in_one_sentence_by_the_run(tmp_path):
    xqute = Xqute(job_metadir=tmp_path)
    await xqute.push_many([["true"]] * 200)
    await xqute._driver.close()
    file = tmp_path / "xqute.db"
    content = bytearray(file.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    file.write_bytes(content)

    with pytest.raises(StoreError, match="damaged"):
        async with asyncio.timeout(30):
            await xqute.run_until_complete()


@pytest.mark.parametrize(
    "content", [b"not a database, but a letter\n" * 100, b"\0" * 8192], ids=["text", "zeros"]
)
async def test_a_file_that_is_no_store_is_told_in_one_sentence_and_kept(tmp_path, content):
    file = tmp_path / "xqute.db"
    file.write_bytes(content)

    with pytest.raises(StoreError, match=r"xqute\.db"):
        await Xqute(job_metadir=tmp_path).push(["true"])

    assert file.read_bytes() == content


# A store that is locked

LOCKER = """
import sqlite3, sys, time
with sqlite3.connect(sys.argv[1], isolation_level=None) as db:
    db.execute("BEGIN IMMEDIATE")
    print("locked", flush=True)
    sys.stdin.readline()
    db.execute("ROLLBACK")
"""


@contextmanager
def locked(file: Path):
    """Another process holds the write lock; yields a call that lets go of it."""
    with subprocess.Popen(
        [sys.executable, "-c", LOCKER, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as locker:
        try:
            assert locker.stdout.readline() == "locked\n"

            def let_go() -> None:
                locker.stdin.write("\n")
                locker.stdin.flush()

            yield let_go
        finally:
            locker.kill()


async def test_a_lock_of_two_seconds_delays_what_is_recorded_and_nothing_else(tmp_path, lines):
    xqute = Xqute(job_metadir=tmp_path / "meta", scheduler_forks=3)
    jobs = await xqute.push_many([f"echo $XQUTE_JOB_ID >> {tmp_path}/ran; {waits_for(tmp_path / 'go')}"] * 3)
    async with asyncio.timeout(30), xqute:
        await until(lambda: all(job.status is JobStatus.RUNNING for job in jobs))
        with locked(xqute.metadir / "xqute.db") as let_go:
            asyncio.get_running_loop().call_later(2, let_go)
            (tmp_path / "go").touch()
            begun = time.monotonic()
            await asyncio.wait([job.as_task() for job in jobs])
            waited = time.monotonic() - begun

    assert {job.status for job in jobs} == {JobStatus.FINISHED}
    assert counted(tmp_path / "ran") == ["1", "2", "3"]
    assert waited < 4
    assert len(lines("")) <= 1


async def test_a_long_lock_is_told_once_while_jobs_run_on_and_their_ends_are_recorded_later(tmp_path, lines):
    store = SqliteStore(tmp_path / "xqute.db", patience=0.1)
    xqute = Xqute(job_metadir=tmp_path / "meta", scheduler_forks=3, store=store, job_error_strategy="retry")
    jobs = await xqute.push_many([f"echo $XQUTE_JOB_ID >> {tmp_path}/ran; {waits_for(tmp_path / 'go')}"] * 3)
    async with asyncio.timeout(30), xqute:
        await until(lambda: all(job.status is JobStatus.RUNNING for job in jobs))
        with locked(tmp_path / "xqute.db") as let_go:
            (tmp_path / "go").touch()
            await until(lambda: all(job.status is JobStatus.FINISHED for job in jobs))
            await until(lambda: lines("is locked by another process"))
            before = time.process_time()
            await asyncio.sleep(1)  # the time that is measured
            used = time.process_time() - before
            assert not any(job.as_task().done() for job in jobs)
            let_go()
            await asyncio.wait([job.as_task() for job in jobs])

    kept = sqlite3.connect(tmp_path / "xqute.db").execute("SELECT status FROM job").fetchall()
    assert kept == [(int(JobStatus.FINISHED),)] * 3
    assert {(job.start, job.attempt) for job in jobs} == {(1, 1)}
    assert counted(tmp_path / "ran") == ["1", "2", "3"]
    assert used < 0.2
    assert len(lines("jobs run on")) == 1
    assert len(lines("nothing was lost")) == 1


async def test_a_lock_while_jobs_are_to_be_claimed_pauses_with_one_line(tmp_path, lines, warned):
    store = SqliteStore(tmp_path / "xqute.db", patience=0.1)
    xqute = Xqute(job_metadir=tmp_path / "meta", store=store, job_error_strategy="retry")
    jobs = await xqute.push_many([["true"]] * 3)
    with locked(tmp_path / "xqute.db") as let_go:
        async with asyncio.timeout(30), xqute:
            await warned("submissions pause")
            let_go()

    assert {(job.status, job.start, job.attempt) for job in jobs} == {(JobStatus.FINISHED, 1, 1)}
    assert len(lines("submissions pause")) == 1
