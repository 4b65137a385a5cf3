"""Faults of files and stores: what was durable is there or its loss is told, nothing outside is written."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.programs import killed_when_ready
from xqute import JobStatus, StoreUnavailable, Xqute, XquteError
from xqute.stores.sqlite import SqliteStore

ROOT = Path(__file__).parents[2]


# A store that was cut


KILLED = """
import asyncio, sys
from xqute import Xqute
meta, counted, go = sys.argv[1:]
async def main():
    xqute = Xqute(job_metadir=meta, scheduler_forks=20)
    for number in range(20):
        waits = "" if number else f"until [ -e '{go}' ]; do sleep 0.02; done; echo late;"
        await xqute.push(f"echo {number} >> '{counted}'; {waits} echo old", title=f"job {number}")
    running = asyncio.create_task(xqute.run_until_complete())
    await asyncio.gather(*xqute.jobs[1:])  # whoever awaits a job is told when its end is in the store
    print("ready", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.fixture
def killed(tmp_path):
    """A metadir whose manager was killed, its first job runs on, the others had ended; what they counted."""
    counted = tmp_path / "counted"
    killed_when_ready(KILLED, tmp_path / "meta", counted, tmp_path / "go")
    yield tmp_path / "meta", counted
    (tmp_path / "go").touch()


async def test_after_any_cut_of_the_log_the_jobs_before_it_are_there_and_new_ones_keep_apart(
    killed, tmp_path
):
    """New jobs get the numbers, and the directories, of those that the cut took; one of these still runs."""
    metadir, counted = killed
    log = metadir / "xqute.db-wal"
    database, content = (metadir / "xqute.db").read_bytes(), log.read_bytes()
    whole = [f"job {number}" for number in range(20)]
    kept = []
    for length in [len(content) * part // 12 for part in range(13)]:
        (metadir / "xqute.db-shm").unlink(missing_ok=True)
        (metadir / "xqute.db").write_bytes(database)
        log.write_bytes(content[:length])
        xqute = Xqute(job_metadir=metadir)
        found = [job.call.options.title for job in await xqute.find(limit=100)]
        assert found == whole[: len(found)], length
        kept.append(len(found))
        again = len(found) in kept[:-1]  # that directory was used once more already
        job = await xqute.push(["echo", f"new {length}"]) if not again else None
        async with asyncio.timeout(20):
            await xqute.run_until_complete()
        if job is None:
            continue
        assert (job.id, job.status) == (len(found) + 1, JobStatus.FINISHED), job.reason
        assert await job == f"new {length}"
        assert job.status_file.read_text().count("\n") == 2
    (tmp_path / "go").touch()
    async with asyncio.timeout(20):
        while not any("late" in path.read_text() for path in metadir.rglob("job.stdout")):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    assert (metadir / "1" / "job.stdout").read_text() == "new 0\n"
    assert (metadir / "1" / "job.status").read_text().endswith("FINISHED 0\n")
    assert (metadir / "1" / "job.status").read_text().count("\n") == 2
    assert kept == sorted(kept)
    assert kept[-1] == 20
    assert sorted(counted.read_text().split(), key=int) == [str(number) for number in range(20)]


async def test_a_store_that_was_deleted_leaves_directories_that_are_used_again(tmp_path):
    for word in ("first", "second"):
        xqute = Xqute(job_metadir=tmp_path / "meta")
        job = await xqute.push(f"echo {word}; echo x >> {tmp_path}/{word}")
        async with asyncio.timeout(20):
            await xqute.run_until_complete()
        assert (job.id, job.status) == (1, JobStatus.FINISHED), job.reason
        assert await job == word
        (tmp_path / "meta" / "xqute.db").unlink()

    assert [(tmp_path / word).read_text() for word in ("first", "second")] == ["x\n", "x\n"]


@pytest.mark.parametrize("part", ["header", "schema", "rows", "rest"])
async def test_after_a_flipped_byte_every_job_is_there_or_one_sentence_says_why_not(tmp_path, part):
    xqute = Xqute(job_metadir=tmp_path / "meta")
    await xqute.push_many([["echo", number] for number in range(150)])
    await xqute._driver.close()
    file = tmp_path / "meta" / "xqute.db"
    content = file.read_bytes()
    ids = [job.id for job in xqute.jobs]
    places = {
        "header": range(0, 100, 3),
        "schema": range(content.index(b"CREATE"), 4096, 61),
        "rows": range(content.rindex(b"echo"), len(content) - 1, 97),
        "rest": range(4096, len(content), len(content) // 60),
    }[part]
    told = []
    for place in places:
        file.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        for name in ("xqute.db-wal", "xqute.db-shm"):
            file.with_name(name).unlink(missing_ok=True)
        xqute = Xqute(job_metadir=tmp_path / "meta")
        try:
            found = await xqute.find(limit=1000)
        except XquteError as exc:
            told.append(str(exc))
        else:
            assert [job.id for job in found] == ids, place
        with suppress(XquteError):
            await xqute._driver.close()

    assert told or part not in ("header", "schema")
    assert [sentence for sentence in told if str(file.parent) not in sentence or "\n" in sentence] == []


# A store that another process keeps to itself


HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
db.execute("CREATE TABLE strange AS SELECT 1")
print("held", flush=True)
sys.stdin.readline()
"""


@contextmanager
def held(file: Path):
    """Another process is in the midst of a transaction; yields the process."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


async def test_ends_of_jobs_are_kept_while_a_second_writer_holds_the_store_until_it_is_killed(tmp_path):
    counted = tmp_path / "counted"
    xqute = Xqute(job_metadir=tmp_path / "meta", scheduler_forks=3, job_error_strategy="retry")
    line = f"echo $XQUTE_JOB_ID >> '{counted}'; until [ -e '{tmp_path}/go' ]; do sleep 0.02; done; exit 0"
    jobs = await xqute.push_many([line] * 3)
    async with asyncio.timeout(40), xqute:
        while not counted.exists() or counted.read_text().count("\n") < 3:  # noqa: ASYNC110  files tell
            await asyncio.sleep(0.01)
        with held(xqute.metadir / "xqute.db") as holder:
            (tmp_path / "go").touch()
            while not all(job.status_file.read_text().endswith("FINISHED 0\n") for job in jobs):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            holder.kill()
        await asyncio.wait([job.as_task() for job in jobs])

    with sqlite3.connect(tmp_path / "meta" / "xqute.db") as db:
        kept = db.execute("SELECT status FROM job").fetchall()
        strange = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'strange'").fetchone()
    db.close()
    assert kept == [(int(JobStatus.FINISHED),)] * 3
    assert strange == (0,)
    assert {(job.start, job.attempt) for job in jobs} == {(1, 1)}
    assert sorted(counted.read_text().split()) == ["1", "2", "3"]


async def test_a_push_into_a_store_that_is_held_is_refused_in_a_sentence_and_stores_nothing(tmp_path):
    store = SqliteStore(tmp_path / "xqute.db", patience=0.5)
    xqute = Xqute(job_metadir=tmp_path / "meta", store=store)
    await xqute.push(["echo", "before"])
    with held(tmp_path / "xqute.db"):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"xqute\.db.*locked"):
            await xqute.push(["echo", "meanwhile"])
        assert time.monotonic() - began < 10

    job = await xqute.push(["echo", "after"])
    report = await xqute.run_until_complete()

    assert report.counts == {JobStatus.FINISHED: 2}
    assert await job == "after"
    assert job.id == 2


# Links in the metadir


NAMES = [
    *[(".gitignore", kind) for kind in ("link", "dangling link", "hard link", "fifo")],
    *[(".xqute-probe-PID", kind) for kind in ("link", "dangling link", "hard link", "fifo")],
    *[("xqute.db", kind) for kind in ("link", "dangling link", "hard link", "fifo")],
]


@pytest.mark.parametrize(("name", "kind"), NAMES)
async def test_a_link_in_the_place_of_a_file_of_the_metadir_is_not_followed(tmp_path, name, kind):
    outside, metadir = tmp_path / "outside", tmp_path / "meta"
    outside.mkdir()
    metadir.mkdir()
    precious, place = outside / "precious", metadir / name.replace("PID", str(os.getpid()))
    precious.write_text("precious\n")
    os.utime(precious, (1, 1))
    if kind == "hard link":
        place.hardlink_to(precious)
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to(outside / "new" if kind == "dangling link" else precious)

    with suppress(XquteError):
        async with asyncio.timeout(20):
            xqute = Xqute(job_metadir=metadir)
            await xqute.push(["true"])
            await xqute.run_until_complete()

    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert (precious.read_text(), precious.stat().st_mtime) == ("precious\n", 1)


# Who may read and write it


async def test_nobody_else_may_write_into_the_metadir_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        xqute = Xqute(job_metadir=tmp_path / "made" / "meta")
        await xqute.push(["true"])
        await xqute.run_until_complete()
    finally:
        os.umask(before)

    assert xqute.metadir.stat().st_mode & 0o022 == 0
