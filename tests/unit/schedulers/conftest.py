"""The local scheduler, and FIFOs to talk to what it starts."""

import os

import pytest

from tests.unit.schedulers.hosting import News, opened
from xqute.schedulers.local import LocalScheduler


@pytest.fixture(params=[True, False], ids=["pidfd", "in turn"])
def scheduler(request):
    scheduler = LocalScheduler()
    scheduler._pidfds = request.param
    return scheduler


@pytest.fixture
async def host(scheduler, tmp_path):
    async with opened(scheduler, tmp_path) as host:
        yield host
        await scheduler.kill_jobs(list(scheduler._running))


@pytest.fixture
def news(tmp_path):
    """What payloads tell the test."""
    news = News(tmp_path / "news")
    yield news
    os.close(news.fd)


@pytest.fixture
def go(tmp_path):
    """What the test tells payloads."""
    go = News(tmp_path / "go")
    yield go
    os.close(go.fd)
