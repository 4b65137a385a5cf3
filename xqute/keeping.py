"""What a job asks of whoever made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .handing import Sources
from .states import Reason

if TYPE_CHECKING:
    from .job import Job


class Keeper(Protocol):
    """Who made a job and keeps it: the producer, for the job's own methods."""

    #: The metadir.
    root: str
    #: Where jobs run that were not told.
    cwd: str

    @property
    def token(self) -> str:
        """Part of the mark in every process of a job."""

    async def wait(self, job: Job) -> None:
        """Return when the job has ended; starts the engine when nothing runs it yet."""

    async def kill(self, job: Job, grace: float | None) -> bool:
        """Stop the job; False: it had ended."""

    async def retry(self, job: Job) -> None:
        """Run an ended job once more."""

    async def archive(self, job: Job) -> None:
        """Put an ended job away."""

    async def delete(self, job: Job, *, force: bool) -> None:
        """Forget a job and remove its directory."""

    def why_waits(self, job: Job) -> Reason | None:
        """Why a job that waits for others, or may run and does not; None: what it says itself."""

    async def settle(self, job: Job) -> None:
        """Note whose results the job takes, where that was not known when it was pushed."""

    async def sources(self, job: Job) -> Sources:
        """Where the results of what the job needs are."""
