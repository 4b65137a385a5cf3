"""What the engine's tests act with: plays by hand, plugins, stores that fail for a while."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from xqute import Job, XquteError, simplug
from xqute.errors import StoreUnavailable
from xqute.stores.memory import MemoryStore
from xqute.testing.fake import Plan, Play


def now() -> float:
    return asyncio.get_running_loop().time()


def act(*plays: Play) -> Plan:
    """The n-th start of each job acts the n-th play, later ones the last."""
    return lambda job: plays[min(job.start, len(plays)) - 1]


def cast(plays: dict[str, Play], other: Play | None = None) -> Plan:
    """Each job acts the play of its title."""
    return lambda job: plays.get(job.title, other or Play())


async def until(true: Callable[[], object], within: float = 1000.0) -> None:
    """Let virtual time pass until this is true."""
    end = now() + within
    while not true():
        assert now() < end, f"not true within {within} virtual seconds"
        await asyncio.sleep(0.01)


async def ended(jobs: Iterable[Job]) -> None:
    """Wait for the end of all, however they end."""
    for job in jobs:
        with suppress(XquteError):
            await job


async def walked(job: Job) -> list[str]:
    """The statuses a job went through, without those it stayed in."""
    names = [line.state.name for line in await job.history()]
    return [name for name, before in zip(names, [None, *names], strict=False) if name != before]


class Diary:
    """A plugin that writes down every hook it is called by."""

    name = "diary"

    def __init__(self) -> None:
        self.lines: list[tuple[str, int]] = []
        self.events: list[str] = []
        self.seen: list[tuple[str, int, str]] = []
        self.will_retry: list[bool] = []

    def of(self, job: Job) -> list[str]:
        """The hooks of one job, in order; `on_job_` is left out."""
        return [hook for hook, id_ in self.lines if id_ == job.id]

    @property
    def run(self) -> list[str]:
        """The hooks of the run, in order."""
        return [hook for hook, id_ in self.lines if id_ == 0]

    def write(self, hook: str, job: Job | None = None) -> None:
        self.lines.append((hook, job.id if job else 0))
        if job:
            self.seen.append((hook, job.id, job.status.name))

    @simplug.impl
    async def on_init(self, scheduler):
        self.write("on_init")

    @simplug.impl
    async def on_shutdown(self, scheduler, consumer):
        self.write("on_shutdown")

    @simplug.impl
    async def on_complete(self, scheduler):
        self.write("on_complete")

    @simplug.impl
    async def on_job_init(self, scheduler, job):
        self.write("init", job)

    @simplug.impl
    async def on_job_queued(self, scheduler, job):
        self.write("queued", job)

    @simplug.impl
    async def on_job_submitted(self, scheduler, job):
        self.write("submitted", job)

    @simplug.impl
    async def on_job_started(self, scheduler, job):
        self.write("started", job)

    @simplug.impl
    async def on_job_event(self, scheduler, job, event):
        self.write("event", job)
        self.events.append(event)

    @simplug.impl
    async def on_job_finishing(self, scheduler, job):
        self.write("finishing", job)

    @simplug.impl
    async def on_job_killing(self, scheduler, job):
        self.write("killing", job)

    @simplug.impl
    async def on_job_killed(self, scheduler, job):
        self.write("killed", job)

    @simplug.impl
    async def on_job_failed(self, scheduler, job):
        self.will_retry.append(job.will_retry)
        self.write("failed", job)

    @simplug.impl
    async def on_job_succeeded(self, scheduler, job):
        self.write("succeeded", job)


Hook = Callable[..., Awaitable[object]]


def plugin(called: str = "plugin", **hooks: Hook) -> object:
    """A plugin of these hooks, which take what the real ones take."""
    parts: dict[str, object] = {"name": called}
    for hook, call in hooks.items():
        call.__name__ = hook
        parts[hook] = simplug.impl(call)
    return type(called, (), parts)


class FailingStore(MemoryStore):
    """Can't be written, for as long as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.down_until = 0.0
        self.refused = 0

    def fails_for(self, seconds: float) -> None:
        self.down_until = now() + seconds

    def _look(self) -> None:
        if now() < self.down_until:
            self.refused += 1
            raise StoreUnavailable("the disk of the store is full")

    async def record(self, records):
        self._look()
        return await super().record(records)

    async def claim(self, owner, run, count, now, choose=None):
        self._look()
        return await super().claim(owner, run, count, now, choose)

    async def release(self, owner, ids):
        self._look()
        await super().release(owner, ids)


class SlowStore(MemoryStore):
    """Takes a second to write, as a busy disk does."""

    async def record(self, records):
        await asyncio.sleep(1.0)
        return await super().record(records)
