"""What happens while something is awaited: what was true before it may not be true after it."""

import asyncio
import json
from math import inf

import pytest

from tests.engine.acting import act, now, until, walked
from xqute import JobStatus, Reason
from xqute.errors import StoreError, StoreUnavailable
from xqute.states import Answer, Presence
from xqute.store import Request
from xqute.stores.memory import MemoryStore
from xqute.testing.fake import FakeScheduler, Play


class SlowToLeave(MemoryStore):
    """Takes its time to let go of a run; nothing can be asked of it once it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.leaving = asyncio.Event()
        self.is_open = False

    async def open(self):
        await super().open()
        self.is_open = True

    async def close(self):
        self.is_open = False
        await super().close()

    async def own(self, row, before):
        if row.state == "closed":
            self.leaving.set()
            await asyncio.sleep(1)
        self._look()
        return await super().own(row, before)

    async def accept(self, *args, **more):
        self._look()
        return await super().accept(*args, **more)

    def _look(self):
        if not self.is_open:
            raise StoreError("the store is closed")


async def test_a_job_that_is_pushed_while_a_run_is_left_is_accepted_and_runs(make):
    store = SlowToLeave()
    xq = make(store=store)
    first = await xq.push(["fake"])
    running = asyncio.create_task(xq.run_until_complete())
    await store.leaving.wait()

    second = await xq.push(["fake"])
    await running
    await second

    assert [job.status for job in (first, second)] == [JobStatus.FINISHED] * 2


class SometimesUnreadable(MemoryStore):
    """Jobs can't be read for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.unreadable_until = 0.0
        self.refused = 0

    async def get(self, ids):
        if now() < self.unreadable_until:
            self.refused += 1
            raise StoreUnavailable("the file system is away")
        return await super().get(ids)


async def test_a_kill_that_another_process_asked_for_is_done_although_the_store_could_not_be_read_then(
    make, fake
):
    fake.plan = act(Play(runs=inf))
    store = SometimesUnreadable()
    xq = make(store=store)
    async with xq:
        job = await xq.push(["fake"])
        await until(lambda: job.status is JobStatus.RUNNING)
        store.unreadable_until = now() + 10
        await store.ask(xq.run, [Request(job.id, "kill", json.dumps({}))])
        await until(lambda: job.status is JobStatus.KILLED)

    assert store.refused > 1
    assert await walked(job) == ["QUEUED", "SUBMITTED", "RUNNING", "KILLING", "KILLED"]


class BeginsMeanwhile(FakeScheduler):
    """What waits in its queue begins right after it said that it waits."""

    pending_seconds = 50.0

    async def poll_jobs(self, jobs):
        if now() - self.first < 50:
            return await super().poll_jobs(jobs)
        self.begin_all()
        return dict.fromkeys(jobs, Answer(Presence.PENDING, Reason("PENDING", {"message": "qw"})))


async def test_a_job_that_begins_as_its_time_in_the_queue_is_up_runs(make):
    slow = BeginsMeanwhile(act(Play(waits=inf, runs=5)))
    slow.first = now()
    xq = make(slow)
    async with xq:
        job = await xq.push(["fake"])

        assert await job == ""

    assert slow.asked("kill") == []


async def test_a_job_that_was_wanted_again_while_it_was_deleted_is_left_with_its_files(make, fake):
    class Wanted(MemoryStore):
        """Somebody wants the job again before it is deleted."""

        async def delete(self, ids):
            await job.retry()
            return await super().delete(ids)

    fake.plan = act(Play(rc=3, stderr="gone wrong"), Play(runs=10))
    xq = make(store=Wanted())
    async with xq:
        job = await xq.push(["fake"])
        await asyncio.wait([job.as_task()])

        with pytest.raises(Exception, match="has not ended"):
            await job.delete()
        await until(lambda: job.status is JobStatus.RUNNING)
        await job

    assert (job.start, job.status) == (2, JobStatus.FINISHED)
    assert job.stdout_file.parent.is_dir()
