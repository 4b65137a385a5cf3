"""The whole engine in virtual time, on a scheduler without processes and a store without a disk."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
import pytest_asyncio

from tests.engine.acting import Diary
from xqute import Xqute
from xqute.scheduler import Scheduler
from xqute.stores.memory import MemoryStore
from xqute.testing.clock import AutojumpLoop, clock_time
from xqute.testing.fake import FakeScheduler, TellingFakeScheduler

Make = Callable[..., Xqute]

#: No test lasts longer: who is still busy then is busy for ever.
THREE_DAYS = 3 * 86_400


def pytest_asyncio_loop_factories(config, item):
    return {"autojump": partial(AutojumpLoop, horizon=THREE_DAYS)}


@pytest.fixture(params=[FakeScheduler, TellingFakeScheduler], ids=["swept", "telling"])
def fake(request) -> FakeScheduler:
    """Both ways of noticing ends: by files and polls, and by being told."""
    return request.param()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture
def make(tmp_path, fake, store) -> Make:
    """Make an Xqute; what is not said is the fake, the memory and virtual time."""

    def make(scheduler: Scheduler = fake, **options) -> Xqute:
        given = {"store": store, "job_metadir": tmp_path / "jobs", "scheduler_forks": 4, **options}
        xqute = Xqute(scheduler, **given)
        xqute._room.clock = clock_time
        return xqute

    return make


@pytest_asyncio.fixture
async def xq(make, diary) -> Xqute:
    """Four forks, and a plugin that writes down every hook."""
    return make(plugins=[diary])


@pytest_asyncio.fixture(autouse=True)
async def _nothing_leaks(fake) -> AsyncIterator[None]:
    """After a test no task is left, and no two starts of a job were alive at the same time."""
    yield
    if left := asyncio.all_tasks() - {asyncio.current_task()}:
        _, left = await asyncio.wait(left, timeout=600)  # an engine may be about to end
    assert sorted(task.get_name() for task in left) == []
    assert fake.doubled == []
