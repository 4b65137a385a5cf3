"""The contract of stores: who remembers jobs and decides who may run which.

A store keeps two texts per job: `call`, written once, and `document`, replaced by each record. Beside
them stand the columns it can search and order by. It understands neither text.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from .owner import OwnerPresence, presence_of
from .rules.limits import Kind, Rank

#: Decides which of the jobs that may run are taken: the queues of a run by kind, each best first and
#: read no further than needed; how many jobs of all runs are claimed, by the keys of limits; the store's
#: limits. Returns ids, best first. It may be asked more than once for one claim.
Choose = Callable[[Mapping[Kind, Iterator[Rank]], Mapping[str, int], Mapping[str, int]], Sequence[int]]


#: No condition.
NOTHING: Final[Mapping[str, int]] = {}


class Draft(NamedTuple):
    """A job on its way into the store.

    The drafts of one `accept` have the numbers 0, 1, 2, …, since their ids are not known yet.

    Attributes:
        status, priority, call, document, user, title: As they are.
        tags: One on each line.
        task: The name of what is called.
        digest: Says what is called with what; empty when nothing can.
        tree: Which tree it belongs to. 0 and less: the one named after the id of draft number -tree.
        depth: How far below the root of its tree.
        group: Whom it needs: 0 nobody, k the members of `groups[k - 1]`.
        parent: The root of its tree: 0 when it is one itself, -n: draft number n, else an id.
        name: The named call it is a build of.
        limit_key, limit_most, resources: Its `rules.limits.Kind`.
    """

    status: int
    priority: int
    call: str
    document: str
    user: str = ""
    tags: str = ""
    title: str = ""
    task: str = ""
    digest: str = ""
    tree: int = 0
    depth: int = 0
    group: int = 0
    parent: int = 0
    name: str = ""
    limit_key: str = ""
    limit_most: int = 0
    resources: str = ""


class Record(NamedTuple):
    """What has become of a job.

    Attributes:
        id: Which job.
        start: The start this is about; a record about another start than the store has changes nothing.
        status, attempt, uid, document: What to keep.
        after: May not be claimed before this time (UTC seconds).
        held: True keeps the owner's claim; False gives it back.
        owner: Who says so: when somebody else owns the job's run by now, nothing is changed. Empty:
            whoever owns it.
        archived: Whether it is put away.
        kind: What its next start shares; None: what it was.
    """

    id: int
    start: int
    status: int
    attempt: int
    uid: str
    document: str
    after: float
    held: bool
    owner: str = ""
    archived: bool = False
    kind: Kind | None = None


class Row(NamedTuple):
    """A job as the store has it; `owner` is empty when nobody claimed it.

    Attributes:
        group: Whom it needs, for `Store.needs`; 0: nobody. The number is never given to another group.
        parent: The root of its tree; 0 when it is one itself.
    """

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
    tree: int
    depth: int
    digest: str
    group: int
    parent: int

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """Where it stands in the queue: the smallest is claimed first."""
        return -self.priority, self.tree, -self.depth, self.id


class Query(NamedTuple):
    """Which jobs to list; None and empty mean any, `top` only roots.

    Oldest first, at most `limit`, after id `beyond`. `newest`: newest first, before id `beyond` where
    that is not 0. `archived`: only those put away, or only the others.
    """

    run: str | None = None
    statuses: Sequence[int] = ()
    user: str | None = None
    tag: str | None = None
    beyond: int = 0
    limit: int = 100
    task: str | None = None
    top: bool = False
    name: str | None = None
    newest: bool = False
    archived: bool | None = None


class RunRow(NamedTuple):
    """A run: one producer's pushes.

    Attributes:
        id: A short word.
        script: What pushed it.
        state: `owned` while a process awaits it, `open` for any worker, `closed` when it was left.
        owner: Who owns it, as text; empty when nobody does.
        created: UTC seconds.
        document: Whatever else is known, JSON.
        lease: Until when an owner that can't be looked at is believed to live; UTC seconds.
    """

    id: str
    script: str
    state: str
    owner: str
    created: float
    document: str
    lease: float = 0.0

    def presence(self, now: float) -> OwnerPresence | None:
        """Whether its manager lives; None: nobody owns it. `now` is in UTC seconds."""
        return presence_of(self.owner, self.lease, now) if self.state == "owned" else None

    def lives(self, now: float) -> bool:
        """Whether somebody may run its jobs; False: nobody does, for sure."""
        presence = self.presence(now)
        return presence is not None and presence.may_live


class Request(NamedTuple):
    """What somebody asks of the process that owns a run.

    Attributes:
        job: About which job.
        what: `kill`.
        detail: The rest, JSON.
    """

    job: int
    what: str
    detail: str = "{}"


class Store(ABC):
    """Remembers jobs. What a method returned from is durable: it survives the death of the process.

    Every method may raise `StoreUnavailable`: nothing was changed, ask again later. It never holds
    the event loop for the sake of another process's lock.
    """

    #: A random word made with the store; part of the mark in each job's environment.
    token: str

    #: The file it is in, absolute; empty where it is in none.
    path: str = ""

    #: Whether it outlives the process that made it.
    lasting: bool = True

    def begin_after(self, id: int) -> None:  # noqa: B027  most stores last
        """Give no id up to this one. Asked only of a store that does not last, before its first job."""

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
    async def own(self, run: RunRow, was: str) -> bool:
        """Keep a run, new or changed; False: somebody else than `was` owns it by now, nothing changed.

        An owner other than before gets every claim there is of the run's jobs, in the same step.
        """

    @abstractmethod
    async def runs(self, script: str | None = None) -> list[RunRow]:
        """The runs of a script, or all; newest first."""

    @abstractmethod
    async def forget(self, run: RunRow) -> bool:
        """Forget a run without jobs; False: it has some, or somebody else than this says owns it by now."""

    @abstractmethod
    async def accept(
        self,
        run: str,
        drafts: Sequence[Draft],
        groups: Sequence[Sequence[int]] = (),
        newest: Mapping[str, int] = NOTHING,
    ) -> int:
        """Keep new jobs with their needs, all or none.

        Ids grow and are never given twice, also after jobs were deleted.

        Args:
            run: Whose jobs they are.
            drafts: The jobs.
            groups: Whom some of the drafts need; any number of drafts may name one group. A member above
                0 is the id of a job that is there, 0 and less is draft number -member.
            newest: Nothing is kept when a job with one of these names has a higher id than stands there.
                Looking for that and keeping are one step.

        Returns:
            The id of the first; the others follow it by one each. 0: there are younger jobs of a name.

        Raises:
            ValueError: A draft names no group of these, or a group no draft of these; nothing is kept.
        """

    @abstractmethod
    async def needs(self, groups: Sequence[int]) -> Mapping[int, tuple[int, ...]]:
        """The members of groups in the order in which they were given, also those deleted since.

        A group is there as long as a job that names it; groups that are not there are left out.
        """

    @abstractmethod
    async def claim(
        self, owner: str, run: str, count: int, now: float, choose: Choose | None = None
    ) -> list[Row]:
        """Take up to `count` jobs that may run, best first, and count one more start for each.

        May run: QUEUED, of this run, claimed by nobody, `after` not later than `now`. Best: highest
        priority, then oldest tree, then deepest in it, then oldest (`Row.rank`). No two claims ever
        return the same start of a job. The rows are as they are after the claim; a start that was
        released may be claimed again. Nothing is claimed of a run that somebody else owns.

        Jobs with a limit or resources are only taken by a claim that chooses; none gets past limits that
        it does not know. Where such jobs may run, `choose` decides about all, and `count` does not
        matter; what it sees and what is taken are one step. Else it is not asked.
        """

    @abstractmethod
    async def release(self, owner: str, ids: Sequence[int]) -> None:
        """Give back claims that were never handed to a scheduler, and take back their count."""

    @abstractmethod
    async def record(self, records: Sequence[Record]) -> set[int]:
        """Keep what has become of jobs, all at once.

        Returns:
            The ids that were not changed, because the store has another start of the job, or its run
            another owner.
        """

    @abstractmethod
    async def get(self, ids: Sequence[int]) -> list[Row]:
        """These jobs, in the order asked; ids that are not there are left out."""

    @abstractmethod
    async def page(self, query: Query) -> list[Row]:
        """Jobs that match."""

    @abstractmethod
    async def delete(self, ids: Sequence[int]) -> set[int]:
        """Forget jobs that have ended, and groups that no job names any more; returns which jobs.

        Others are left.
        """

    @abstractmethod
    async def ask(self, run: str, requests: Sequence[Request]) -> None:
        """Leave requests for whoever owns the run."""

    @abstractmethod
    async def asked(self, run: str) -> list[Request]:
        """Take the requests that were left, oldest first. Costs next to nothing while there are none."""

    @abstractmethod
    async def counts(self, run: str) -> Mapping[int, int]:
        """How many jobs of a run are in each status."""

    @abstractmethod
    async def limits(self) -> Mapping[str, int]:
        """How many jobs may be claimed at once in the whole store, by the keys of limits."""

    @abstractmethod
    async def set_limit(self, key: str, most: int | None) -> None:
        """Set such a number; None: each job's own `limit_most` counts."""

    @abstractmethod
    async def claimed(self) -> Mapping[str, int]:
        """How many jobs of all runs are claimed, by the keys of limits; those without one are left out."""

    @abstractmethod
    async def setting(self, key: str, value: str | None = None) -> str | None:
        """A setting of the whole store; a value replaces it."""


async def every_page(store: Store, query: Query) -> AsyncIterator[list[Row]]:
    """All jobs that match, however many, `query.limit` at a time; the event loop has a turn between them."""
    while rows := await store.page(query):
        yield rows
        query = query._replace(beyond=rows[-1].id)
        await asyncio.sleep(0)


async def every_row(store: Store, query: Query) -> AsyncIterator[Row]:
    """All jobs that match, however many."""
    async for rows in every_page(store, query):
        for row in rows:
            yield row
