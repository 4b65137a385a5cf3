"""Real jobs: on the local scheduler, and at a toy Slurm where a test asks for a place."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.places import Place, toy_slurm
from xqute import Job, Xqute

ROOT = Path(__file__).parents[2]


@pytest.fixture
def metadir(tmp_path: Path) -> Path:
    return tmp_path / "meta dir"  # the blank is on purpose


@pytest.fixture
def make(metadir: Path):
    """Make an Xqute whose jobs are in a metadir with a blank in its name."""

    def make_xqute(**options) -> Xqute:
        return Xqute(**{"job_metadir": metadir, **options})

    return make_xqute


@pytest.fixture(params=["local", "toy slurm"])
def place(request, tmp_path):
    """Where jobs run: a story that uses it holds at each place."""
    if request.param == "local":
        yield Place("local")
        return
    with toy_slurm(tmp_path / "cluster") as cluster:
        yield Place("slurm", cluster)


@pytest.fixture
def run_one(make):
    """Run one job to its end, whatever that is."""

    async def run(call, *, options=None, **push) -> Job:
        xqute = make(**(options or {}))
        job = await xqute.push(call, **push)
        async with asyncio.timeout(60):
            await xqute.run_until_complete()
        return job

    return run


@pytest.fixture
def marked():
    """The processes, by pid, that carry a job's mark in their environment."""

    def find(job: Job) -> set[int]:
        mark = f"XQUTE_JOB={job.mark}".encode()
        found = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                try:
                    environment = (entry / "environ").read_bytes().split(b"\0")
                except OSError:
                    continue
                if mark in environment:
                    found.add(int(entry.name))
        return found

    return find


def run_as_user(file, *arguments, cwd: Path) -> subprocess.CompletedProcess:
    """Run a program in a folder as a user would; a warning is an error."""
    return subprocess.run(
        [sys.executable, "-W", "error", file, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def until(condition, seconds: float = 30.0) -> None:
    """Wait for something that only a file or a process tells."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  only files and processes tell
            await asyncio.sleep(0.01)
