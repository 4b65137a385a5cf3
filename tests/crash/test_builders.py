"""Two processes build the same, and one of them dies anywhere: the other builds it, and nothing waits."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.crash.keeping import KILLED, ROOT
from xqute import Xqute

PROGRAM = """
import asyncio, sys
from pathlib import Path
from xqute import Xqute, cmd

HERE = Path(sys.argv[1])

def named(name, script):
    return cmd("sh", "-c", f'echo {name} >>"$0/ran"; {script}', str(HERE)).named(name)

base = named("base", 'while [ -e "$0/wait" ]; do sleep 0.02; done')
top = named("top", "echo there").after(base)
CALLS = [base, top]

async def main():
    job = await Xqute(job_metadir=HERE / "meta", scheduler_forks=2).build(CALLS[int(sys.argv[2])])
    print(job.status.name, job.result())

if __name__ == "__main__":
    asyncio.run(main())
"""

#: Where a build may die. Behind the last of them its jobs run.
POINTS = [
    "before what is to be built is accepted",
    "before jobs are accepted",
    "after jobs are accepted",
    "after what is to be built is accepted",
    "after jobs are claimed",
    "before jobs are handed over",
    "after a job is handed over",
    "before a run is given back",
]


class Place:
    """Where some build."""

    def __init__(self, here: Path) -> None:
        self.here = here
        self.file = here / "builds.py"
        self.file.write_text(PROGRAM)
        self.begun: list[subprocess.Popen[str]] = []

    def begin(self, which: int = 1, crash: str = "") -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XQUTE_CRASH_AT": crash}
        argv = [sys.executable, str(self.file), str(self.here), str(which)]
        out, err = subprocess.PIPE, subprocess.PIPE
        process = subprocess.Popen(argv, env=environment, stdout=out, stderr=err, text=True)
        self.begun.append(process)
        return process

    def ran(self) -> list[str]:
        path = self.here / "ran"
        return path.read_text().split() if path.exists() else []

    def until(self, what) -> None:
        deadline = time.monotonic() + 60
        while not what():
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    (tmp_path / "wait").unlink(missing_ok=True)
    for process in place.begun:
        process.kill()
        process.communicate()


def unended(here: Path) -> list[str]:
    """The names of builds that wait or run in runs that nobody left behind on purpose."""

    async def read() -> list[str]:
        return [job.name for job in await Xqute(job_metadir=here / "meta").find() if not job.done()]

    return asyncio.run(read())


@pytest.mark.parametrize("point", POINTS)
def test_when_the_first_dies_anywhere_the_second_builds_what_is_left(point, place) -> None:
    first = place.begin(crash=point)
    second = place.begin()
    out, err = second.communicate(timeout=60)
    first.communicate(timeout=60)

    assert (second.returncode, out) == (0, "FINISHED there\n"), err
    assert first.returncode in {0, KILLED}
    # what outlived the first has ended before it is built again
    assert sorted(set(place.ran())) == ["base", "top"]
    assert len(place.ran()) <= 2 + (first.returncode == KILLED) * 2


@pytest.mark.parametrize("point", ["before builds are withdrawn", "after builds were withdrawn"])
def test_who_dies_while_it_takes_a_build_over_is_followed_by_the_next(point, place) -> None:
    (place.here / "wait").touch()
    first = place.begin(0)
    place.until(lambda: place.ran() == ["base"])
    second = place.begin(1, crash=point)
    place.until(lambda: unended(place.here) == ["base", "top"])
    first.kill()
    first.communicate()
    (place.here / "wait").unlink()

    second.communicate(timeout=60)
    assert second.returncode == KILLED
    third = place.begin(1)
    out, err = third.communicate(timeout=60)

    assert (third.returncode, out) == (0, "FINISHED there\n"), err
    assert sorted(place.ran()) in (["base", "base", "top"], ["base", "base", "base", "top"])
