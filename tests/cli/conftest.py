"""A metadir as a manager leaves it, and the command to look at it."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from xqute.cli import app
from xqute.cli.place import Onlooker
from xqute.engine.sharing import kind_of
from xqute.job import Job
from xqute.options import OPTION_NAMES, JobOptions, apply_options
from xqute.owner import Owner
from xqute.states import JobStatus, Reason
from xqute.store import Draft, Record, RunRow
from xqute.stores.sqlite import SqliteStore
from xqute.work import Function, Named, Work, make_work

#: 2026-03-01 12:00:00 UTC
THEN = 1772366400.0

#: What a test may put into a job's directory.
FILES = {
    "out": "job.stdout",
    "err": "job.stderr",
    "state": "job.status",
    "events": "job.events",
    "log": "job.log",
    "result": "job.result.txt",
    "error": "job.error",
}


def living() -> Owner:
    """An owner that lives as long as this test."""
    return Owner.here()


def dead() -> Owner:
    """An owner that has ended: its number belongs to a process that started at another time."""
    return Owner.here()._replace(since=1)


class Place:
    """A metadir whose runs and jobs are what a test says."""

    def __init__(self, root: Path):
        self.root = root
        root.mkdir()
        self.url = f"{root}/xqute.db"
        self.owners = {}

    def do(self, work):
        """What `work` does with the open store."""

        async def main():
            store = SqliteStore(self.url)
            await store.open()
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(main())

    def run(self, id="run1", owner=None, created=THEN, script="/home/me/work.py", state="owned", **known):
        """A run; without an owner its manager left in order."""
        text = str(owner or "")
        self.owners[id] = text or str(living())
        row = RunRow(id, script, state if owner else "closed", text, created, json.dumps(known))
        self.do(lambda store: store.own(row, ""))
        return id

    def job(self, status=JobStatus.FINISHED, command="true", *, run="run1", reason=None, **facts):
        """A job of a run, as its newest start left it; returns its id."""
        starts = facts.pop("starts", 1 if status > JobStatus.QUEUED else 0)
        files = {name: facts.pop(name, None) for name in FILES}
        age = facts.pop("age", None)
        needs = facts.pop("needs", ())
        after = facts.pop("after", 0.0)
        removed = facts.pop("removed", False)
        parent = facts.pop("parent", 0)
        end = THEN + 2 if age is None else age
        options = apply_options(JobOptions(), {name: facts.pop(name) for name in OPTION_NAMES & facts.keys()})
        call = self._work(command, options, **facts)

        async def work(store):
            job = Job(0, call, Onlooker(str(self.root)), THEN)
            task = call.function.task if call.function else ""
            tags = "\n".join(options.tags)
            draft = Draft(
                2, options.priority, call.as_json(), job.document(), options.user, tags, options.title
            )
            name = call.named.name if call.named else ""
            rows = [draft._replace(name=name, task=task, group=1 if needs else 0, parent=parent)]
            job.id = await store.accept(run, rows, [needs] if needs else [])
            for _ in range(starts):
                await self._claim(store, run, job)
            [row] = await store.get([job.id])
            uid = "4711" if starts else ""
            job.restore(row._replace(status=int(status), start=starts, attempt=max(starts, 1), uid=uid))
            job.reason = reason or Reason("EXIT", {"rc": 0})
            job.removed = removed
            if starts:
                job.submitted = job.started = end - 1
                job.ended = end if status.final else None
            job.note(end)
            if starts or status is not JobStatus.QUEUED:
                record = Record(job.id, starts, int(status), max(starts, 1), job.uid, job.document(), after,
                                held=False)  # fmt: skip
                await store.record([record])
            return job.id

        id_ = self.do(work)
        self._write(id_, files, exists=bool(starts))
        return id_

    def hold(self, *ids):
        """These jobs are claimed by the owners of their runs, and take what their options say."""
        with closing(sqlite3.connect(self.url)) as db, db:
            for id_ in ids:
                run, call = db.execute("SELECT run, call FROM job WHERE id = ?", (id_,)).fetchone()
                kind = kind_of(Work.from_json(call).options, 1)
                values = (self.owners[run], *kind, id_)
                db.execute(
                    "UPDATE job SET owner = ?, limit_key = ?, limit_most = ?, resources = ? WHERE id = ?",
                    values,
                )

    def _work(self, command, options, task=None, name="", *, protected=False):
        """A command; of a task, its call as it is shown; of a named call, a build."""
        work = make_work(command, options)
        if task is not None:
            work = Work((), options, Function("work:fn", "", "00", command, task))
        return replace(work, named=Named(name, protected=protected)) if name else work

    async def _claim(self, store, run, job):
        """One more start."""
        runs = {row.id: row for row in await store.runs()}
        owner = runs[run].owner or self.owners[run]
        if not runs[run].owner:
            await store.own(runs[run]._replace(owner=owner, state="owned"), "")
        claimed = await store.claim(owner, run, 1, THEN)
        assert [row.id for row in claimed] == [job.id]
        row = claimed[0]
        back = Record(row.id, row.start, 2, 1, "", row.document, 0.0, held=False)
        assert not await store.record([back])
        if not runs[run].owner:
            await store.own(runs[run], owner)

    def _write(self, id_, files, *, exists):
        directory = self.root / str(id_)
        if not exists:
            return
        directory.mkdir(mode=0o700)
        for kind, content in files.items():
            if content is not None:
                (directory / FILES[kind]).write_bytes(content)


@pytest.fixture
def place(tmp_path):
    """An empty metadir, with a blank in its name."""
    return Place(tmp_path / "meta dir")


@pytest.fixture
def some(place):
    """A finished run with jobs that ended in several ways."""
    place.run()
    place.job(command="echo hello", out=b"hello\n", tags=["greet"], user="ann")
    place.job(
        JobStatus.FAILED,
        ["sh", "-c", "exit 3"],
        reason=Reason("EXIT", {"rc": 3}),
        title="sad",
        err=b"oh no\n",
        retries=1,
        starts=2,
    )
    place.job(JobStatus.KILLED, "sleep 9", reason=Reason("KILLED", {"by": "request"}))
    return place


@pytest.fixture
def environment():
    """The environment of a command that nobody configured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XQUTE", "FORCE_"))}
    return {**kept, "TERM": "xterm", "TZ": "UTC"}


@pytest.fixture
def xqute(place, environment):
    """Run the command as a program, on the metadir of the test."""

    def run(*arguments, metadir=place.root, cwd="/", **how):
        command = [sys.executable, "-m", "xqute", *map(str, arguments)]
        variables = {**environment, **({"XQUTE_METADIR": str(metadir)} if metadir else {})}
        how = {"capture_output": True, "text": True, "timeout": 60, "stdin": subprocess.DEVNULL, **how}
        return subprocess.run(command, env=variables, cwd=cwd, check=False, **how)

    return run


@pytest.fixture
def begin(place, environment):
    """Begin the command as a program, on the metadir of the test; ended after it."""
    begun = []

    def start(*arguments, **how):
        command = [sys.executable, "-m", "xqute", *map(str, arguments)]
        variables = {**environment, "XQUTE_METADIR": str(place.root)}
        process = subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


class Said:
    """What a command printed, and its status."""

    def __init__(self, status, out, err):
        self.status = status
        self.out = out
        self.err = err

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def call(place, monkeypatch, capsys):
    """Run the command in this process, on the metadir of the test."""
    monkeypatch.setenv("XQUTE_METADIR", str(place.root))
    monkeypatch.setenv("XQUTE_TRACEBACK", "1")

    def run(*arguments):
        status = app.main([str(argument) for argument in arguments])
        return Said(status, *capsys.readouterr())

    return run
