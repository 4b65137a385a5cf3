"""The contract of stores: who remembers jobs and decides who may run which.

A store keeps two texts per job: `call`, written once, and `document`, replaced by each record. Beside
them stand the columns it can search and order by. It understands neither text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Draft(NamedTuple):
    """A job on its way into the store; `tags` has one on each line."""

    status: int
    priority: int
    call: str
    document: str
    user: str = ""
    tags: str = ""
    title: str = ""


class Record(NamedTuple):
    """What has become of a job.

    Attributes:
        id: Which job.
        start: The start this is about; a record about another start than the store has changes nothing.
        status, attempt, uid, document: What to keep.
        after: May not be claimed before this time (UTC seconds).
        held: True keeps the owner's claim; False gives it back.
    """

    id: int
    start: int
    status: int
    attempt: int
    uid: str
    document: str
    after: float
    held: bool


class Row(NamedTuple):
    """A job as the store has it; `owner` is empty when nobody claimed it."""

    id: int
    run: str
    status: int
    priority: int
    start: int
    attempt: int
    after: float
    owner: str
    uid: str
    call: str
    document: str


class Query(NamedTuple):
    """Which jobs to list; None and empty mean any. Oldest first, at most `limit`, after id `beyond`."""

    run: str | None = None
    statuses: Sequence[int] = ()
    user: str | None = None
    tag: str | None = None
    beyond: int = 0
    limit: int = 100


class RunRow(NamedTuple):
    """A run: one producer's pushes.

    Attributes:
        id: A short word.
        script: What pushed it.
        state: `owned` while a process awaits it, `open` for any worker, `closed` when over.
        owner: Who owns it, as text.
        created: UTC seconds.
        document: Whatever else is known, JSON.
    """

    id: str
    script: str
    state: str
    owner: str
    created: float
    document: str


class Store(ABC):
    """Remembers jobs. What a method returned from is durable: it survives the death of the process.

    Every method may raise `StoreUnavailable`: nothing was changed, ask again later. It never holds
    the event loop for the sake of another process's lock.
    """

    #: A random word made with the store; part of the mark in each job's environment.
    token: str

    @abstractmethod
    async def open(self) -> None:
        """Make or migrate what is there; harmless when it is open.

        Raises:
            SchemaMismatch: A newer xqute wrote it.
            StoreError: It can't be opened; says why.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of it; harmless when it is closed. It can be opened again."""

    @abstractmethod
    async def run(self, run: RunRow) -> None:
        """Keep a run, new or changed."""

    @abstractmethod
    async def runs(self) -> list[RunRow]:
        """All runs, oldest first."""

    @abstractmethod
    async def accept(self, run: str, drafts: Sequence[Draft]) -> int:
        """Keep new jobs, all or none; return the id of the first, the others follow it by one each.

        Ids grow and are never given twice, also after jobs were deleted.
        """

    @abstractmethod
    async def claim(self, owner: str, run: str, count: int, now: float) -> list[Row]:
        """Take up to `count` jobs that may run, best first, and count one more start for each.

        May run: QUEUED, of this run, claimed by nobody, `after` not later than `now`. Best: highest
        priority, then oldest. No two claims ever return the same start of a job. The rows are as
        they are after the claim; a start that was released may be claimed again.
        """

    @abstractmethod
    async def release(self, owner: str, ids: Sequence[int]) -> None:
        """Give back claims that were never handed to a scheduler, and take back their count."""

    @abstractmethod
    async def record(self, records: Sequence[Record]) -> set[int]:
        """Keep what has become of jobs, all at once.

        Returns:
            The ids that were not changed, because the store has another start of the job.
        """

    @abstractmethod
    async def get(self, ids: Sequence[int]) -> list[Row]:
        """These jobs, in the order asked; ids that are not there are left out."""

    @abstractmethod
    async def page(self, query: Query) -> list[Row]:
        """Jobs that match."""

    @abstractmethod
    async def counts(self, run: str) -> Mapping[int, int]:
        """How many jobs of a run are in each status."""

    @abstractmethod
    async def setting(self, key: str, value: str | None = None) -> str | None:
        """A setting of the whole store; a value replaces it."""
