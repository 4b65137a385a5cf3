"""Sessions of one script: each a process of its own, whose text may change between them."""

import asyncio
import json
import os
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.crash.keeping import ROOT
from tests.waiting import wait_for
from xqute import Job, Xqute

#: Goes before the text of each session. Jobs leave their traces in $HERE.
HEAD = """
import asyncio, json, os, signal, sys, time
from pathlib import Path
from xqute import JobStatus, Xqute, XquteError, simplug
from xqute.errors import RunNotFound, RunOwned

META, HERE = sys.argv[1], Path(os.environ["HERE"])

def make(**options):
    small = {"job_metadir": META, "scheduler_forks": 4, "grace": 0.3, "retry_delay": 0.02}
    return Xqute(**{**small, **options})

def job(name, then="true"):
    "A job that counts its executions, and says when it runs."
    return ["sh", "-c", f'echo {name} >>"$HERE/ran"; touch "$HERE/up.{name}"; {then}']

def hold(name, then="true"):
    "The same until it is let go."
    return job(name, f'until [ -e "$HERE/go.{name}" ]; do sleep 0.02; done; {then}')

def tell(**facts):
    print(json.dumps(facts), flush=True)

async def until(condition, seconds=30):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)

async def main():
"""

TAIL = """
asyncio.run(main())
"""


class Said(NamedTuple):
    """How a session ended: its exit status, the facts it told, what stands on its stderr."""

    code: int
    facts: dict[str, Any]
    err: str


class Sessions:
    """One script in one directory; its metadir is beside it."""

    def __init__(self, here: Path) -> None:
        self.here = here
        self.meta = here.parent / "meta"
        self.script = here.parent / "script.py"
        self._started: list[subprocess.Popen] = []

    def start(self, text: str, *, crash: str = "", cwd: Path | None = None) -> subprocess.Popen:
        """Begin a session."""
        source = HEAD + textwrap.indent(textwrap.dedent(text), "    ") + TAIL
        # one that was started a moment ago may be reading it
        if not self.script.exists() or self.script.read_text() != source:
            self.script.write_text(source)
        process = subprocess.Popen(
            [sys.executable, self.script, self.meta],
            cwd=cwd or self.here,
            env={**os.environ, "PYTHONPATH": str(ROOT), "XQUTE_CRASH_AT": crash},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    @staticmethod
    def end(process: subprocess.Popen, seconds: float = 60) -> Said:
        """See a session end."""
        out, err = process.communicate(timeout=seconds)
        facts: dict[str, Any] = {}
        for line in out.splitlines():
            facts.update(json.loads(line))
        return Said(process.returncode, facts, err)

    def run(self, text: str, *, crash: str = "", cwd: Path | None = None) -> Said:
        """One session from beginning to end."""
        return self.end(self.start(text, crash=crash, cwd=cwd))

    def facts(self, text: str, **how: Any) -> dict[str, Any]:
        """The same, when it ends well."""
        said = self.run(text, **how)
        assert said.code == 0, said.err
        return said.facts

    def killed(self, text: str, *up: str) -> None:
        """A session that is killed by force as soon as these jobs run."""
        process = self.start(text)
        self.wait_up(process, *up)
        self.end_by_force(process)

    @staticmethod
    def end_by_force(process: subprocess.Popen) -> None:
        """Kill a session."""
        process.kill()
        process.communicate()

    def wait_up(self, process: subprocess.Popen, *up: str) -> None:
        """These jobs run."""

        def they_are() -> bool:
            assert process.poll() is None, process.communicate()[1]
            return all((self.here / f"up.{name}").exists() for name in up)

        wait_for(they_are)

    def go(self, *names: str) -> None:
        """Let jobs go that hold."""
        for name in names:
            (self.here / f"go.{name}").touch()

    def command(self, *words: str) -> str:
        """What a command prints, when it ends well."""
        done = self._command(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *words: str) -> str:
        """Why a command ends badly."""
        done = self._command(*words)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def _command(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "xqute", words[0], "--metadir", self.meta, *words[1:]]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)

    @property
    def ran(self) -> dict[str, int]:
        """How often each job was executed."""
        file = self.here / "ran"
        return dict(Counter(file.read_text().split())) if file.exists() else {}

    def jobs(self) -> list[Job]:
        """All jobs of the metadir, as the store has them."""
        return self._read(lambda xqute: xqute.find(limit=1000))

    def runs(self) -> list[str]:
        """The runs of the metadir."""
        return [row.id for row in self._read(lambda xqute: xqute._store.runs())]

    def kept(self) -> list[dict[str, Any]]:
        """What is kept with each run."""
        return [json.loads(row.document) for row in self._read(lambda xqute: xqute._store.runs())]

    def _read(self, question: Callable[[Xqute], Awaitable[Any]]) -> Any:
        async def read() -> Any:
            xqute = Xqute(job_metadir=self.meta)
            try:
                await xqute.find(limit=1)  # opens the store
                return await question(xqute)
            finally:
                await xqute._store.close()

        return asyncio.run(read())

    def close(self) -> None:
        """End what a failed test left."""
        for process in self._started:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()
