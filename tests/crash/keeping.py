"""Running the program until it is done, and what must be true then however often it died."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.crash.work import ASKING, BUILT, GOOD, TREE, name_of
from tests.traces import processes_with
from xqute import JobStatus
from xqute.store import Query, Row, every_row
from xqute.stores.sqlite import SqliteStore
from xqute.work import Work

ROOT = Path(__file__).parents[2]
KILLED = 137


def session(directory: Path, *, crash: str = "", seconds: float = 0.0) -> int:
    """Run the program once; its exit status."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.work", directory, str(seconds)],
        cwd=ROOT,
        env={**os.environ, "XQUTE_CRASH_AT": crash},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, KILLED), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


def chaos(*arguments: str, seconds: float) -> str:
    """What managers say at last that were killed at random, which must end well within these seconds."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.chaos", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    print(done.stdout)  # the seed, for whoever wants the same again
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def stored(metadir: Path) -> tuple[str, list[Row]]:
    """The token of the store, and all its rows."""

    async def read():
        store = SqliteStore(metadir / "xqute.db", readonly=True)
        await store.open()
        try:
            return store.token, [row async for row in every_row(store, Query(limit=10_000))]
        finally:
            await store.close()

    return asyncio.run(read())


def by_name(rows: Sequence[Row]) -> dict[str, Row]:
    """Rows by the names of their jobs."""
    return {name_of(Work.from_json(row.call)): row for row in rows}


def processes_of(token: str) -> dict[int, str]:
    """Processes of this store's jobs."""
    return processes_with(f"\0XQUTE_JOB={token}-")


def executions(directory: Path) -> Counter:
    return Counter(line.split()[0] for line in (directory / "executions").read_text().splitlines())


def check(directory: Path) -> None:
    """Nothing was lost, nothing ran twice, and what is told is what happened."""
    token, kept = stored(directory / "meta")
    rows = by_name(kept)
    ran = executions(directory)
    hooks = {tuple(line.split()[:2]) for line in (directory / "hooks").read_text().splitlines()}
    assert not (directory / "overlaps").exists(), (directory / "overlaps").read_text()
    assert processes_of(token) == {}
    for name in [*GOOD, "hold", "flaky", *TREE, *ASKING, *BUILT]:
        assert rows[name].status == JobStatus.FINISHED, (name, rows[name])
        assert ran[name] == (2 if name == "flaky" else ASKING.get(name, 1)), (name, ran)
        assert ("succeeded", name) in hooks
        assert (directory / "meta" / str(rows[name].id) / "job.stdout").read_text() == f"{name} done\n"
    assert rows["fails"].status == JobStatus.FAILED
    assert json.loads(rows["fails"].document)["reason"][:1] == ["EXIT"]
    assert rows["endless"].status == JobStatus.KILLED
    assert {("failed", "fails"), ("killed", "endless")} <= hooks
    assert {hook for hook in hooks if hook[0] == "queued"} == {("queued", name) for name in rows}
    assert len(rows) == len(kept), "a job was accepted twice"
    for row in rows.values():
        check_files(directory / "meta" / str(row.id), row.start)


def check_files(job: Path, newest: int) -> None:
    """The files of starts never mix: what lies in a directory is of the start it is named by."""
    scripts = [*job.glob("job.wrapped.*"), *job.glob("job.retry/*/job.wrapped.*")]
    for script in scripts:
        start = newest if script.parent == job else int(script.parent.name)
        told = re.search(r"^# xqute start (\d+) of ", script.read_text(), re.MULTILINE)
        assert told is not None, script
        assert int(told[1]) == start, script
        status = script.parent / "job.status"
        if status.exists():
            assert len(re.findall(r"^RUNNING", status.read_text(), re.MULTILINE)) == 1, status
