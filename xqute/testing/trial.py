"""What a trial of a scheduler is made of: abilities, fixtures, and what its author overrides."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
import pytest_asyncio

from ..job import Job
from ..producer import Xqute
from ..scheduler import Outcome, Scheduler
from ..states import Answer, Presence
from .bench import Bench, until_made
from .bounds import bound

#: What every scheduler does, unless `lacks` says why not.
BASIC: Final[Mapping[str, str]] = {
    "commands": "it really runs the scripts of jobs",
}

#: What may be declared in `supports`, and is skipped where it isn't. In this order they need the methods
#: `refuse`, `disconnect`, `hold`, `another` (where class and options are not enough), `commands`, none, none.
ABILITIES: Final[Mapping[str, str]] = {
    "refusal": "a test can make it refuse a job",
    "outage": "a test can make it unreachable",
    "kill_pending": "a test can make jobs wait in its queue, and killing one there keeps it from running",
    "reattach": "another object of it can ask about a job and end it, knowing only its uid",
    "count_commands": "a test can count the commands it runs",
    "batch_submit": "one command submits many jobs",
    "kill_escaped": "a kill ends also what left the session of its job",
}

#: Arguments that something on the way to a program could damage.
AWKWARD: Final = (
    *("", " ", "two  words", "'", '"', 'it\'s "it"', "\\", "\\n", "a\nb\n", "\t\r", "$HOME", "$(id)"),
    *("`id`", "*", "?", "~", "!", "#no", "-n", "--", "&& exit 7;", "naïve 🦊 日本", "\x7f", "%s@DIR@"),
    "long " * 20_000,
)

#: The file that jobs wait for which are to be killed.
NEVER: Final = "never"

#: Every byte, and no newline at the end.
BYTES: Final = bytes(range(256)) * 400 + b"the end"


class SchedulerTrial:
    """What `SchedulerConformance` is told about the scheduler, and what its promises are tried with.

    Attributes:
        supports: Abilities it has, of `ABILITIES`.
        lacks: Abilities it can't have, and what every scheduler does but this one: name → reason.
        seconds: What anything may take at most.
        unknown_uid: The id of a job that its backend never had.
    """

    supports: ClassVar[Collection[str]] = ()
    lacks: ClassVar[Mapping[str, str]] = {}
    seconds: ClassVar[float] = 60.0
    unknown_uid: ClassVar[str] = "999999999"

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse abilities that nobody knows.

        Raises:
            TypeError: Names them.
        """
        super().__init_subclass__(**options)
        strange = {*cls.supports, *cls.lacks} - {*ABILITIES, *BASIC}
        if strange:
            known = ", ".join([*ABILITIES, *BASIC])
            raise TypeError(f"{cls.__name__}: unknown abilities {sorted(strange)}; known are {known}")

    # To be overridden

    @pytest.fixture
    def scheduler(self) -> Scheduler:
        """A new scheduler, not open yet."""
        raise NotImplementedError("override the fixture `scheduler`")

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """Where jobs and their directories are; a directory that every host of the backend has."""
        return tmp_path / "the bench"

    def make_bench(self, scheduler: Scheduler, root: Path) -> Bench:
        """The bench it is tried on."""
        return Bench(scheduler, root, self.seconds)

    def refuse(self, scheduler: Any, job: Job) -> str:
        """Have it refuse this job; returns words that its refusal must have."""
        raise NotImplementedError("override `refuse`")

    def disconnect(self, scheduler: Any) -> Callable[[], None]:
        """Make it unreachable; returns what makes it reachable again."""
        raise NotImplementedError("override `disconnect`")

    def hold(self, scheduler: Any) -> Callable[[], None]:
        """Let what is submitted from now on wait in the queue; returns what lets it run."""
        raise NotImplementedError("override `hold`")

    def another(self, scheduler: Any) -> Scheduler:
        """One more object for the same backend, that knows nothing of the first."""
        again: Scheduler = type(scheduler)(**scheduler.config)
        return again

    def commands(self, scheduler: Any) -> int:
        """How many commands it has run, or calls it has made."""
        raise NotImplementedError("override `commands`")

    # Used by the promises

    @pytest_asyncio.fixture
    async def bench(self, scheduler: Scheduler, root: Path) -> AsyncIterator[Bench]:
        """The bench, its scheduler open."""
        async with self.make_bench(scheduler, root).opened() as bench:
            yield bench

    @pytest_asyncio.fixture
    async def xq(self, scheduler: Scheduler, root: Path) -> AsyncIterator[Xqute]:
        """An `Xqute` with the scheduler, for promises that are kept together with the engine."""
        os.makedirs(root)
        bound(scheduler, self.seconds)
        yield Xqute(scheduler, job_metadir=root / "run", store="memory://", scheduler_forks=4)
        (root / NEVER).touch()

    async def endless(self, xq: Xqute, root: Path) -> Job:
        """A job that ends when it is killed; or when the test is over, whatever became of it."""
        return await xq.push(until_made(root / NEVER, self.seconds), title="wait", grace=1)

    def need(self, ability: str) -> None:
        """Skip the test where the ability is not declared."""
        if ability in self.lacks:
            pytest.skip(f"lacks {ability!r}: {self.lacks[ability]}")
        if ability not in self.supports and ability not in BASIC:
            pytest.skip(f"does not declare {ability!r}: {ABILITIES[ability]}")

    def need_our_wrapper(self, scheduler: Scheduler) -> None:
        """Skip the test where jobs have scripts of their own."""
        if not scheduler.get_job_class().claims():
            pytest.skip(f"scheduler {scheduler.name!r} has a script of its own, which makes no such promise")


def cancel_at_submission(
    scheduler: Scheduler, running: asyncio.Future[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancel while the scheduler is being given jobs, whichever way it takes them."""
    now, later = scheduler.submit_jobs_nowait, scheduler.submit_jobs

    def submit_now(jobs: Sequence[Job]) -> Sequence[Outcome] | None:
        outcomes = now(jobs)
        if outcomes is not None:
            running.cancel()
        return outcomes

    async def submit_later(jobs: Sequence[Job]) -> Sequence[Outcome]:
        running.cancel()
        return await later(jobs)

    monkeypatch.setattr(scheduler, "submit_jobs_nowait", submit_now)
    monkeypatch.setattr(scheduler, "submit_jobs", submit_later)


def polls_of(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> list[Presence]:
    """Have the engine ask often, and be soon sure; returns what it is told, as it is told."""
    told: list[Presence] = []
    poll = scheduler.poll_jobs

    async def poll_jobs(jobs: Sequence[Job]) -> Mapping[Job, Answer]:
        answers = await poll(jobs)
        told.extend(answers[job].presence if job in answers else Presence.UNKNOWN for job in jobs)
        return answers

    monkeypatch.setattr(scheduler, "poll_jobs", poll_jobs)
    monkeypatch.setattr(scheduler, "poll_seconds", 0.1)
    monkeypatch.setattr(scheduler, "grace_seconds", 0.1)
    return told
