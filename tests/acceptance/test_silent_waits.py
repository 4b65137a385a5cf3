"""What would wait for ever says so once, and what to do."""

import asyncio
import logging

import pytest

from tests.acceptance.conftest import until
from tests.acceptance.tasks import add
from xqute.engine import requests

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def said(caplog):
    """The warnings so far."""
    caplog.set_level(logging.WARNING, "xqute")
    return lambda: [record.getMessage() for record in caplog.records]


async def test_a_job_of_an_xqute_that_was_not_started_is_waited_for_aloud(make, said, monkeypatch):
    monkeypatch.setattr(requests, "IDLE_SECONDS", 0.0)
    idle, going = make(), make()
    job = await idle.push(add(1, 2))
    async with going:
        more = await going.push(add(job, 1))
        await until(lambda: any("waiting for job" in text for text in said()))
        [told] = [text for text in said() if "waiting for job" in text]
        assert told.startswith(f"waiting for job {job.id}, which is of run {idle.run} of another Xqute")
        assert "await xq.run_until_complete()" in told
        assert "where nothing runs" in str(more.reason)
        assert "await xq.run_until_complete()" in str(more.reason)

        await idle.run_until_complete()
        async with asyncio.timeout(30):
            assert await more == 4
    assert len([text for text in said() if "waiting for job" in text]) == 1


async def test_a_limit_of_0_that_was_left_in_the_store_is_told_with_its_remedy(make, said):
    before = make(limits={"a": 0})
    async with before:
        pass
    xqute = make()
    async with xqute:
        job = await xqute.push("echo at last", limit=("a", 1))
        await until(lambda: any("limit 'a'" in text for text in said()))
        [told] = [text for text in said() if "limit 'a'" in text]
        assert "await xq.set_limit('a', …)" in told

        await xqute.set_limit("a", None)
        async with asyncio.timeout(30):
            assert await job == "at last"
