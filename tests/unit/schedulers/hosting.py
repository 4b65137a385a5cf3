"""What the engine does with the local scheduler, done by hand; and news between tests and payloads."""

# ruff: noqa: ASYNC240  what would block a program is instant here

import asyncio
import os
import pickle
import shutil
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from xqute import metadir
from xqute.handing import Sources
from xqute.job import Job
from xqute.options import JobOptions, apply_options
from xqute.pickling import as_text, place, write_place
from xqute.schedulers.local import LocalScheduler, processes
from xqute.work import Function, Work, make_work

BOUND = 20


class Keeper:
    """What a job needs of whoever made it."""

    def __init__(self, root: Path):
        self.root = str(root)
        self.cwd = str(root)
        self.token = f"test{os.getpid()}-{root.name}"

    async def settle(self, job) -> None:
        return

    async def sources(self, job) -> Sources:
        return Sources()


class Bare(Job):
    """A job of an author: its command is its script."""

    __slots__ = ()

    async def wrap_cmd(self, scheduler):
        return self.call.cmd


class News:
    """A FIFO between a test and a payload; opened for both ways, so that nobody waits to open it."""

    def __init__(self, path: Path):
        os.mkfifo(path)
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.path = path

    def tell(self, text: str) -> None:
        os.write(self.fd, f"{text}\n".encode())

    async def line(self) -> str:
        text = b""
        while not text.endswith(b"\n"):
            await readable(self.fd)
            text += os.read(self.fd, 1)
        return text.decode().strip()

    async def pid(self) -> int:
        return int(await self.line())


class Host:
    """Does what the engine does: writes scripts, hands jobs over, takes the news."""

    def __init__(self, scheduler: LocalScheduler, root: Path):
        self.scheduler = scheduler
        self.keeper = Keeper(root)
        self.told: list[list[Job]] = []
        self._ends: dict[Job, asyncio.Event] = {}
        self._count = 0
        scheduler.notify = self._take

    def _take(self, jobs):
        self.told.append(list(jobs))
        for job in jobs:
            self._ends.setdefault(job, asyncio.Event()).set()

    async def job(self, command, *, cls=Job, **options) -> Job:
        work = make_work(command, apply_options(JobOptions(), options))
        return await self._made(work, cls=cls)

    async def call(self, target, *args, reuse=False, fork=True, **options) -> Job:
        """A job that calls a function: "module:name"."""
        pickled = as_text(pickle.dumps((args, {}), 5))
        digest = write_place(self.keeper.root, {**place(), "path": [self.keeper.root, *sys.path]})
        function = Function(target, pickled, digest, target, reuse=reuse, fork=fork)
        return await self._made(Work((), apply_options(JobOptions(), options), function))

    async def _made(self, work, *, cls=Job) -> Job:
        self._count += 1
        job = cls(self._count, work, self.keeper, 0.0)
        await self.write(job, start=1)
        return job

    async def write(self, job, *, start) -> None:
        job.start = start
        shutil.rmtree(job.directory, ignore_errors=True)
        Path(job.directory).mkdir()
        text = await job.wrap_cmd(self.scheduler)
        metadir.write_script(job.script(self.scheduler), text)

    async def start(self, command, **options) -> Job:
        job = await self.job(command, **options)
        await self.submit(job)
        return job

    async def submit(self, *jobs) -> None:
        outcomes = await self.scheduler.submit_jobs(jobs)
        for job, uid in zip(jobs, outcomes, strict=True):
            assert isinstance(uid, int), uid
            job.uid = str(uid)

    async def end(self, job) -> None:
        async with asyncio.timeout(BOUND):
            await self._ends.setdefault(job, asyncio.Event()).wait()

    async def answer(self, job):
        return (await self.scheduler.poll_jobs([job]))[job]


async def readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    news = loop.create_future()
    loop.add_reader(fd, lambda: news.done() or news.set_result(None))
    try:
        async with asyncio.timeout(BOUND):
            await news
    finally:
        loop.remove_reader(fd)


async def gone(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await readable(fd)
    finally:
        os.close(fd)


def alive(pid: int) -> bool:
    return processes.read(pid) is not None


def status(job) -> metadir.FileNews:
    return metadir.parse_status(Path(job.directory, metadir.STATUS).read_bytes())


@asynccontextmanager
async def opened(scheduler, root):
    async with AsyncExitStack() as stack:
        await scheduler.open(stack)
        yield Host(scheduler, root)
