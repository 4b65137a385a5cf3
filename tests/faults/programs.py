"""Programs of their own that push jobs and come to an end, and how to see what is left of them."""

import asyncio
import contextlib
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

from xqute import JobStatus, Xqute

ROOT = Path(__file__).parents[2]
PYTHON = sys.executable

#: Goes before each program. Two jobs, each with a child in a session of its own; they tell when they are
#: there and when asked.
HEAD = """
import asyncio, logging, os, signal, sys, time
import fcntl, termios
if os.isatty(0):
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from xqute import Xqute, simplug
LINE = '''setsid sh -c 'touch $HERE/session.$XQUTE_JOB_ID; sleep 300' & sleep 300 &
trap 'touch $HERE/asked.$XQUTE_JOB_ID; exit 3' TERM; touch $HERE/up.$XQUTE_JOB_ID; wait; wait'''
STUBBORN = '''setsid sh -c 'trap "" TERM; touch $HERE/session.$XQUTE_JOB_ID; while :; do sleep 1; done' &
trap 'touch $HERE/asked.$XQUTE_JOB_ID' TERM; touch $HERE/up.$XQUTE_JOB_ID; while :; do sleep 0.1; done'''
META = os.environ["HERE"] + "/../meta"
async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)
def there(*names):
    return all(os.path.exists(os.environ["HERE"] + "/" + name) for name in names)
"""

#: Goes before a program that becomes another user: it has imported what that one could not read.
WARM = """
import asyncio
from xqute import Xqute
async def warm_up():
    xqute = Xqute(job_metadir="warm up")
    await xqute.push(["true"])
    await xqute.run_until_complete()
asyncio.run(warm_up())
"""

#: A program that hears no TERM, and leaves its parent, its session and its directory.
DAEMON = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.chdir("/")
open(sys.argv[1], "w").close()
time.sleep(300)
"""

#: All traces of two jobs that run.
UP = {"up.1", "up.2", "session.1", "session.2"}


def running(here: Path, names: set[str] = UP) -> bool:
    return names <= {path.name for path in here.iterdir()}


class Program:
    """A program of its own, on a terminal of its own where it is asked for."""

    def __init__(self, source: str, *args, terminal: bool = False) -> None:
        self.master = -1
        self.said = b""
        out = subprocess.PIPE
        if terminal:
            self.master, out = pty.openpty()
        self.process = subprocess.Popen(
            [PYTHON, "-c", HEAD + source, *map(str, args)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=out if terminal else subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        if terminal:
            os.close(out)

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def hang_up(self) -> None:
        os.close(self.master)
        self.master = -1

    def ended(self, seconds: float = 30) -> tuple[int, str]:
        """Its return code, and all that it said."""
        if self.master < 0:
            said = self.process.communicate(timeout=seconds)
            return self.process.returncode, "".join((part or b"").decode() for part in said)
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        code = self.process.wait(seconds)
        reader.join(5)
        self.hang_up()
        return code, self.said.decode()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # all who had the terminal open are gone
            while chunk := os.read(self.master, 4096):
                self.said += chunk

    def close(self) -> None:
        """Also of one that a failed test left: its pipes would be the trouble of a later test."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        if self.master >= 0:
            self.hang_up()


def killed_when_ready(source: str, *args) -> None:
    """Run a program until it says that it is ready, and kill it."""
    with subprocess.Popen(
        [PYTHON, "-c", source, *map(str, args)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout.readline() == "ready\n"
        program.kill()


def recorded(metadir: Path) -> list[JobStatus]:
    """What the store says of the jobs."""

    async def read():
        xqute = Xqute(job_metadir=metadir)
        try:
            return [job.status for job in await xqute.find(limit=1000)]
        finally:
            await xqute.run_until_complete()

    return asyncio.run(read())


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
