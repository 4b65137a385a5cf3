"""Asks the scheduler about many jobs at once, for so long at most; what could not be asked is not known."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import BackendAnswerError
from ..job import Job
from ..scheduler import Scheduler
from ..settings import ANSWER_SECONDS
from ..states import Answer

log = logging.getLogger("xqute.engine")


async def ask(scheduler: Scheduler, jobs: Sequence[Job]) -> Mapping[Job, Answer]:
    """What it says of each; of those that are left out nothing is known."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return _readable(await scheduler.poll_jobs(jobs))
    except Exception as exc:  # noqa: BLE001  whatever went wrong, nothing is concluded
        log.warning("scheduler %r could not be asked: %s", scheduler.name, exc)
        return {}


def _readable(answers: Any) -> dict[Job, Answer]:
    """What a scheduler answered, as far as it can be read; the rest is not known."""
    if not isinstance(answers, Mapping):
        raise BackendAnswerError(f"it answered {answers!r} instead of an answer for each job")
    return {job: answer for job, answer in answers.items() if isinstance(answer, Answer)}
