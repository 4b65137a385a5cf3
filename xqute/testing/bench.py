"""A bench to try a scheduler on: it does what the engine does, one step at a time.

Every job of the bench says in its title what it does (`exit 3`, `wait`), so that a fake can act it.
What jobs and tests have to tell each other lies in files below `root`: a scheduler that runs jobs on
other hosts is tried with a `root` that is there, too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import wraps
from pathlib import Path
from subprocess import Popen
from typing import Any, Final, Self
from unittest.mock import patch

from .. import metadir
from ..handing import Sources
from ..job import Job
from ..options import JobOptions, apply_options
from ..scheduler import Scheduler
from ..schedulers.local import processes
from ..states import Answer, FileNews, FileState, Presence, Reason
from ..store import Row
from ..work import Command, make_work
from ..wrapper import quote
from .bounds import bound, within

#: Between two looks at what has no event: a file of a job, an answer of a scheduler.
LOOK_SECONDS: Final = 0.01

#: Between two beats of the heart.
BEAT_SECONDS: Final = 0.002

ENDED: Final = (FileState.FINISHED, FileState.FAILED, FileState.SKIPPED)


class BenchKeeper:
    """What a job needs of whoever made it, where there is no engine."""

    def __init__(self, root: Path) -> None:
        """Keep jobs below this directory."""
        self.root = self.cwd = str(root)
        self.token = f"bench{os.getpid()}-{time.time_ns():x}"

    async def settle(self, job: Job) -> None:
        """It needs nobody."""

    async def sources(self, job: Job) -> Sources:
        """It needs nobody."""
        return Sources()

    async def wait(self, job: Job) -> None:
        """There is no engine to wait for."""
        raise NotImplementedError("a job of a bench is awaited by `bench.end(job)`")

    async def kill(self, job: Job, grace: float | None) -> bool:
        """There is no engine to ask."""
        raise NotImplementedError("a job of a bench is killed by its scheduler")

    async def retry(self, job: Job) -> None:
        """There is no engine to ask."""
        raise NotImplementedError("a job of a bench is started again by `bench.again(job)`")

    async def archive(self, job: Job) -> None:
        """Nothing is kept here."""
        raise NotImplementedError("a bench keeps no jobs")

    async def delete(self, job: Job, *, force: bool) -> None:
        """There is no store to delete it from."""
        raise NotImplementedError("a job of a bench is gone with its directory")

    def why_waits(self, job: Job) -> Reason | None:
        """It is where the test put it."""
        return None


class Bench:
    """Makes jobs and hands them over; each wait is for a condition, and bounded.

    Attributes:
        scheduler: What is tried.
        root: A directory of its own, for jobs, and for what they and the test tell each other.
        seconds: What anything may take at most.
    """

    def __init__(self, scheduler: Scheduler, root: Path, seconds: float = 60.0) -> None:
        """Try a scheduler below this directory, which is made."""
        root.mkdir(parents=True, exist_ok=True)
        self.scheduler = scheduler
        self.root = root
        self.seconds = seconds
        bound(scheduler, seconds)
        self._keeper = BenchKeeper(root)
        self._jobs: list[Job] = []
        self._flags: dict[Job, Path] = {}
        self._noted: list[processes.Process] = []

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Bench]:
        """The scheduler is open inside; what still runs is killed in the end."""
        ready, leave = asyncio.Event(), asyncio.Event()
        # Opened and closed by the same task, as the engine does it: a TaskGroup may be on the stack.
        session = asyncio.create_task(self._session(ready, leave), name="xqute bench")
        await asyncio.wait(
            [session, asking := asyncio.ensure_future(ready.wait())], return_when="FIRST_COMPLETED"
        )
        asking.cancel()
        try:
            if not session.done():
                yield self
        finally:
            leave.set()
            await session

    async def _session(self, ready: asyncio.Event, leave: asyncio.Event) -> None:
        async with AsyncExitStack() as stack:
            await self.scheduler.open(stack)
            ready.set()
            await leave.wait()
            await self._clear()

    async def _clear(self) -> None:
        """Leave nothing behind, also when a kill does nothing yet."""
        left = list(await self._not_gone(self._jobs))
        if left:
            await self.scheduler.kill_jobs(left)
        for go in self._flags.values():
            go.touch()
        for process in self._noted:
            processes.send(process, signal.SIGKILL)
        await self.until_gone(*left)

    # Jobs

    async def job(self, command: Command, *, title: str = "", **options: Any) -> Job:
        """A job at its first start, its script written, not handed over."""
        call = make_work(command, apply_options(JobOptions(), {"title": title, "grace": 2.0, **options}))
        job = self.scheduler.get_job_class()(len(self._jobs) + 1, call, self._keeper, time.time())
        self._jobs.append(job)
        await self._write(job, start=1)
        return job

    async def exiting(self, rc: int) -> Job:
        """A job that ends with this rc."""
        return await self.job(f"exit {rc}", title=f"exit {rc}")

    async def waiting(self, **options: Any) -> Job:
        """A job that ends well when it is released. It counts how often it ran, see `runs`."""
        go, ran = self.root / f"go {len(self._jobs) + 1}", self._ran(len(self._jobs) + 1)
        line = f"echo ran >>{quote(str(ran))}; {until_made(go, self.seconds)}"
        job = await self.job(line, title="wait", **options)
        self._flags[job] = go
        return job

    def release(self, job: Job) -> None:
        """Let a waiting job end."""
        self._flags[job].touch()

    def runs(self, job: Job) -> int:
        """How often the command of a waiting job was run."""
        ran = self._ran(job.id)
        return len(ran.read_text("ascii").splitlines()) if ran.exists() else 0

    def _ran(self, number: int) -> Path:
        return self.root / f"ran {number}"

    def copy(self, job: Job) -> Job:
        """The same job as another process knows it: by what a store kept."""
        twin = type(job)(job.id, job.call, self._keeper, job.created)
        row = Row(
            *(job.id, "", int(job.status), 0, job.start, job.attempt, job.after, "", job.uid),
            *(job.call.as_json(), job.document(), job.tree, job.depth, job.digest, job.group, 0),
        )
        twin.restore(row)
        return twin

    async def _write(self, job: Job, start: int) -> None:
        job.start = start
        os.makedirs(job.directory, mode=0o700, exist_ok=True)
        text = job.wrap_cmd(self.scheduler)
        # an author's may be no coroutine
        metadir.write_script(job.script(self.scheduler), text if isinstance(text, str) else await text)

    # As the engine does it

    def batches(self, jobs: Sequence[Job]) -> list[Sequence[Job]]:
        """Jobs, as many at a time as the scheduler takes."""
        size = self.scheduler.max_batch
        return [jobs[first : first + size] for first in range(0, len(jobs), size)]

    async def submit(self, *jobs: Job) -> None:
        """Hand jobs over, with their ids and locks written down.

        Raises:
            Exception: The first that was not taken says why.
        """
        outcomes = await self.scheduler.submit_jobs(jobs)
        errors = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        for job, outcome in zip(jobs, outcomes, strict=True):
            if not isinstance(outcome, Exception):
                job.uid = str(outcome)
                metadir.write_lock(job.directory, outcome)
        if errors:
            raise errors[0]

    async def begun(self, job: Job) -> None:
        """Return when the wrapper said RUNNING, or an end."""
        await self.until(lambda: self.news(job).state is not FileState.ABSENT, f"{job} never began")

    async def end(self, job: Job) -> FileNews:
        """What the files say, when they say an end and the scheduler says that it is gone."""
        await self.until(lambda: self.news(job).state in ENDED, f"the files of {job} never said an end")
        await self.until_gone(job)
        return self.news(job)

    async def again(self, job: Job) -> None:
        """Hand over the next start of a job whose start has ended."""
        metadir.remove_lock(job.directory)
        metadir.put_away(job.directory, job.start)
        await self._write(job, job.start + 1)
        await self.submit(job)

    def news(self, job: Job) -> FileNews:
        """What its files say now."""
        return metadir.read_news(job.directory)

    async def answer(self, job: Job) -> Answer:
        """What the scheduler says now."""
        return (await self.scheduler.poll_jobs([job])).get(job, Answer(Presence.UNKNOWN))

    async def until_gone(self, *jobs: Job) -> None:
        """Return when the scheduler says that they are gone.

        Raises:
            AssertionError: It does not within `seconds`; says what it says.
        """
        left = dict.fromkeys(jobs, Presence.UNKNOWN)
        async with within(self.seconds, lambda: f"scheduler {self.scheduler.name!r} {_still(left)}"):
            while left := await self._not_gone(list(left)):  # noqa: ASYNC110  a scheduler has no events
                await asyncio.sleep(LOOK_SECONDS)

    async def _not_gone(self, jobs: Sequence[Job]) -> dict[Job, Presence]:
        """What the scheduler says of those that it does not say are gone."""
        answers = await self.scheduler.poll_jobs(jobs) if jobs else {}
        said = {job: answers[job].presence if job in answers else Presence.UNKNOWN for job in jobs}
        return {job: presence for job, presence in said.items() if presence is not Presence.GONE}

    async def until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Return when it is true.

        Raises:
            AssertionError: It was not within `seconds`.
        """
        async with within(self.seconds, lambda: otherwise):
            while not condition():  # noqa: ASYNC110  files of other processes have no events
                await asyncio.sleep(LOOK_SECONDS)

    # What jobs tell

    def note(self, name: str) -> Path:
        """Where a job may write something down for the test."""
        return self.root / f"note {name}"

    def noting_pid(self, name: str) -> str:
        """Shell text that writes the pid of its shell down, at once as a whole."""
        path = quote(str(self.note(name)))
        return f"echo $$ >{path}.part; mv {path}.part {path}"

    async def pid(self, name: str) -> int:
        """The pid that a job wrote down, when it did."""
        await self.until(self.note(name).exists, f"no job wrote {name!r}")
        pid = int(self.note(name).read_text("ascii"))
        process = processes.read(pid)
        self._noted += [process] if process is not None else []
        return pid

    def alive(self, pid: int) -> bool:
        """Whether this process lives; where jobs run on other hosts, to be overridden."""
        if os.path.isdir("/proc/self"):
            return processes.read(pid) is not None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True


def until_made(path: Path, seconds: float) -> str:
    """Shell text that waits for a file.

    It gives up with rc 9, long after the test did: one that is never asked whether it has given up is
    that of a scheduler which holds the thread until a job has ended.
    """
    looks = int(3 * seconds / 0.02)
    return f"n=0; until [ -e {quote(str(path))} ]; do [ $((n+=1)) -le {looks} ] || exit 9; sleep 0.02; done"


def _still(left: Mapping[Job, Presence]) -> str:
    said = ", ".join(f"{job} {presence.name}" for job, presence in left.items())
    return f"never said that what had to end is gone; it calls {said}"


class Heart:
    """Beats while it is entered; `pause` is the longest time that the event loop was held, in seconds.

    Time in which other programs had the processor is not counted, where the kernel tells it: neither while
    this thread was ready, nor while a process was that it spawns, whose program it sees begin.
    """

    def __init__(self) -> None:
        self.pause = 0.0
        self._births = Births()
        self._beating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._births.__enter__()
        self._beating = asyncio.create_task(self._beat(), name="xqute heart")
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.sleep(BEAT_SECONDS)  # what held the loop until now counts
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])
        self._births.__exit__()

    def _now(self) -> float:
        return time.monotonic() - _kept_waiting() - self._births.waited

    async def _beat(self) -> None:
        before = self._now()
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            now = self._now()
            self.pause = max(self.pause, now - before - BEAT_SECONDS)
            before = now


class Births:
    """Counts, while it is entered, for how many seconds what this thread spawned was ready and others ran.

    Whoever spawns a process goes on when its program has begun, and so waits with it for the processor.

    Attributes:
        waited: That many; 0 where the kernel does not tell.
    """

    def __init__(self) -> None:
        self.waited = 0.0
        self._thread = threading.get_ident()
        self._patches = [
            patch.object(os, "posix_spawn", self._counting(os.posix_spawn, lambda pid, _: pid)),
            patch.object(Popen, "__init__", self._counting(Popen.__init__, lambda _, popen: popen.pid)),
        ]

    def __enter__(self) -> Self:
        for each in self._patches:
            each.start()
        return self

    def __exit__(self, *error: object) -> None:
        for each in self._patches:
            each.stop()

    def _counting(self, spawn: Callable[..., Any], pid_of: Callable[[Any, Any], int]) -> Callable[..., Any]:
        @wraps(spawn)
        def counted(first: Any, *args: Any, **options: Any) -> Any:
            before = time.monotonic() - _kept_waiting()
            answer = spawn(first, *args, **options)
            if threading.get_ident() == self._thread:
                lasted = time.monotonic() - _kept_waiting() - before
                self.waited += min(lasted, _kept_waiting(str(pid_of(answer, first))))
            return answer

        return counted


def _kept_waiting(who: str = "thread-self") -> float:
    """Seconds for which this thread, or a process, was ready and others had the processor."""
    try:
        with open(f"/proc/{who}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0
