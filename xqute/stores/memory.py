"""Jobs in this process's memory, for tests and runs nobody will ask about."""

from __future__ import annotations

import heapq
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from operator import attrgetter

from xqute.rules.limits import PLAIN, Kind, Rank
from xqute.states import JobStatus
from xqute.store import NOTHING, Choose, Draft, Query, Record, Request, Row, RunRow, Store

from .numbering import Numbering


class _Queue:
    """The queued jobs of one run, as heaps. Entries may be stale: the job has the last word."""

    def __init__(self) -> None:
        self.ready: dict[Kind, list[Rank]] = {PLAIN: []}
        self.asleep: list[tuple[float, int]] = []

    def add(self, row: Row, kind: Kind) -> None:
        if row.after:
            heapq.heappush(self.asleep, (row.after, row.id))
        else:
            heapq.heappush(self.ready.setdefault(kind, []), row.rank)

    def due(self, now: float) -> Iterator[int]:
        while self.asleep and self.asleep[0][0] <= now:
            yield heapq.heappop(self.asleep)[1]


class _Reading(Iterator[Rank]):
    """A heap of ready jobs, best first; what was read and is still ready goes back in the end."""

    def __init__(self, heap: list[Rank], is_ready: Callable[[int], bool]) -> None:
        self._heap = heap
        self._is_ready = is_ready
        self._read: list[Rank] = []

    def _drop_stale(self) -> None:
        while self._heap and (self._heap[0] in self._read[-1:] or not self._is_ready(self._heap[0][-1])):
            heapq.heappop(self._heap)

    @property
    def there(self) -> bool:
        """Whether there is a next."""
        self._drop_stale()
        return bool(self._heap)

    def __next__(self) -> Rank:
        if not self.there:
            raise StopIteration
        self._read.append(heapq.heappop(self._heap))
        return self._read[-1]

    def put_back(self) -> None:
        """Ready again is what was only looked at."""
        read, self._read = self._read, []
        for rank in read:
            if self._is_ready(rank[-1]):
                heapq.heappush(self._heap, rank)


class MemoryStore(Store):
    """Remembers jobs as long as it lives; the same promises otherwise."""

    lasting = False

    def __init__(self) -> None:
        """Empty."""
        self.token = secrets.token_hex(4)
        self._newest = 0
        self._jobs: dict[int, Row] = {}
        self._words: dict[int, tuple[str, str, str, str]] = {}
        self._archived: set[int] = set()
        self._kinds: dict[int, Kind] = {}  # of those that share something
        self._claimed: Counter[str] = Counter()
        self._limits: dict[str, int] = {}
        self._needs: dict[int, tuple[int, ...]] = {}
        self._naming: Counter[int] = Counter()  # how many jobs name a group
        self._queues: dict[str, _Queue] = {}
        self._counts: dict[str, Counter[int]] = {}
        self._runs: dict[str, RunRow] = {}
        self._settings: dict[str, str] = {"token": self.token}
        self._requests: dict[str, list[Request]] = {}

    def begin_after(self, id: int) -> None:
        self._newest = max(self._newest, id)

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def own(self, run: RunRow, was: str) -> bool:
        known = self._runs.get(run.id)
        if known is not None and known.owner != was:
            return False
        self._runs[run.id] = run
        if run.owner not in {"", was}:
            for row in [row for row in self._jobs.values() if row.run == run.id and row.owner]:
                self._put(row._replace(owner=run.owner))
        return True

    async def runs(self, script: str | None = None) -> list[RunRow]:
        newest = list(self._runs.values())[::-1]
        newest.sort(key=lambda run: -run.created)
        return [run for run in newest if script in {None, run.script}]

    async def forget(self, run: RunRow) -> bool:
        known = self._runs.get(run.id)
        if known is None or known.owner != run.owner or await self.counts(run.id):
            return False
        del self._runs[run.id]
        return True

    def _is_others(self, run: str, owner: str) -> bool:
        known = self._runs.get(run)
        return known is not None and bool(owner) and known.owner not in {"", owner}

    async def accept(
        self,
        run: str,
        drafts: Sequence[Draft],
        groups: Sequence[Sequence[int]] = (),
        newest: Mapping[str, int] = NOTHING,
    ) -> int:
        if newest and any(job > newest.get(words[-1], job) for job, words in self._words.items()):
            return 0
        first = self._newest + 1
        numbering = Numbering(first, len(drafts), groups)
        # Whatever is wrong with them comes out here, before anything is kept.
        rows = [_row(run, job, draft, numbering) for job, draft in enumerate(drafts, first)]
        needs = {group: tuple(members) for group, members in numbering.needs()}
        for row, draft in zip(rows, drafts, strict=False):
            self._words[row.id] = (draft.user, draft.tags, draft.task, draft.name)
            self._keep_kind(row.id, Kind(draft.limit_key, draft.limit_most, draft.resources))
            self._put(row)
        self._needs.update(needs)
        self._naming.update(row.group for row in rows if row.group)
        self._newest += len(rows)
        return first if rows else 0

    async def needs(self, groups: Sequence[int]) -> Mapping[int, tuple[int, ...]]:
        return {group: self._needs[group] for group in groups if self._needs.get(group)}

    def _keep_kind(self, job: int, kind: Kind) -> None:
        self._kinds.pop(job, None)
        if kind.key or kind.resources:
            self._kinds[job] = kind

    def _kind(self, job: int) -> Kind:
        return self._kinds.get(job, PLAIN)

    def _put(self, row: Row) -> None:
        if row.id in self._jobs:
            self._count(self._jobs[row.id], -1)
        self._count(row, 1)
        self._jobs[row.id] = row
        if row.status == JobStatus.QUEUED and not row.owner:
            self._queues.setdefault(row.run, _Queue()).add(row, self._kind(row.id))

    def _count(self, row: Row, by: int) -> None:
        self._counts.setdefault(row.run, Counter())[row.status] += by
        if row.owner and (key := self._kind(row.id).key):
            self._claimed[key] += by

    async def claim(
        self, owner: str, run: str, count: int, now: float, choose: Choose | None = None
    ) -> list[Row]:
        queue = _Queue() if self._is_others(run, owner) else self._queues.get(run, _Queue())
        for job in queue.due(now):
            row = self._jobs[job]
            if row.after <= now and self._claimable(row):
                self._put(row._replace(after=0.0))
        reading = {kind: _Reading(heap, self._is_ready(kind)) for kind, heap in queue.ready.items()}
        if choose is not None and any(one.there for kind, one in reading.items() if kind != PLAIN):
            running = await self.claimed()
            ids = choose({kind: one for kind, one in reading.items() if one.there}, running, self._limits)
        else:
            ids = [rank[-1] for rank in islice(reading[PLAIN], max(count, 0))] if PLAIN in reading else []
        rows = [row._replace(owner=owner, start=row.start + 1) for row in map(self._jobs.__getitem__, ids)]
        for row in rows:
            self._put(row)
        for one in reading.values():
            one.put_back()
        for kind in [kind for kind, one in reading.items() if kind != PLAIN and not one.there]:
            del queue.ready[kind]
        return sorted(rows, key=attrgetter("rank"))

    def _is_ready(self, kind: Kind) -> Callable[[int], bool]:
        """Whether a job may be claimed now, and is of this kind."""

        def is_ready(job: int) -> bool:
            row = self._jobs.get(job)
            return row is not None and not row.after and self._claimable(row) and self._kind(job) == kind

        return is_ready

    @staticmethod
    def _claimable(row: Row) -> bool:
        return row.status == JobStatus.QUEUED and not row.owner

    async def release(self, owner: str, ids: Sequence[int]) -> None:
        for row in await self.get(ids):
            if row.owner == owner and row.status == JobStatus.QUEUED:
                self._put(row._replace(owner="", start=row.start - 1))

    async def record(self, records: Sequence[Record]) -> set[int]:
        fenced = set()
        for job, start, status, attempt, uid, document, after, held, owner, archived, kind in records:
            row = self._jobs.get(job)
            if row is None or row.start != start or self._is_others(row.run, owner):
                fenced.add(job)
                continue
            kept = row.owner if held else ""
            (self._archived.add if archived else self._archived.discard)(job)
            if kind is not None:
                self._count(row, -1)
                self._keep_kind(job, kind)
                self._count(row, 1)
            self._put(
                row._replace(
                    status=status,
                    attempt=attempt,
                    uid=uid,
                    document=document,
                    after=after,
                    owner=kept,
                )
            )
        return fenced

    async def get(self, ids: Sequence[int]) -> list[Row]:
        return [self._jobs[job] for job in ids if job in self._jobs]

    async def page(self, query: Query) -> list[Row]:
        rows = reversed(self._jobs.values()) if query.newest else iter(self._jobs.values())
        found = (row for row in rows if _is_beyond(row.id, query) and self._matches(row, query))
        return list(islice(found, max(query.limit, 0)))

    def _matches(self, row: Row, query: Query) -> bool:
        user, tags, task, name = self._words[row.id]
        return (
            query.run in {None, row.run}
            and (not query.statuses or row.status in query.statuses)
            and query.user in {None, user}
            and (query.tag is None or query.tag in tags.split("\n"))
            and query.task in {None, task}
            and query.name in {None, name}
            and not (query.top and row.parent)
            and query.archived in {None, row.id in self._archived}
        )

    async def delete(self, ids: Sequence[int]) -> set[int]:
        gone = {row.id for row in await self.get(ids) if row.status >= JobStatus.FINISHED}
        for job in gone:
            row = self._jobs.pop(job)
            self._count(row, -1)
            del self._words[job]
            self._archived.discard(job)
            self._kinds.pop(job, None)
            if row.group:
                self._let_go(row.group)
        return gone

    def _let_go(self, group: int) -> None:
        self._naming[group] -= 1
        if not self._naming[group]:
            del self._naming[group]
            del self._needs[group]

    async def ask(self, run: str, requests: Sequence[Request]) -> None:
        self._requests.setdefault(run, []).extend(requests)

    async def asked(self, run: str) -> list[Request]:
        return self._requests.pop(run, [])

    async def counts(self, run: str) -> Mapping[int, int]:
        counts = self._counts.get(run, Counter[int]())
        return {status: count for status, count in counts.items() if count}

    async def limits(self) -> Mapping[str, int]:
        return dict(self._limits)

    async def set_limit(self, key: str, most: int | None) -> None:
        self._limits.pop(key, None)
        if most is not None:
            self._limits[key] = most

    async def claimed(self) -> Mapping[str, int]:
        return {key: count for key, count in self._claimed.items() if count}

    async def setting(self, key: str, value: str | None = None) -> str | None:
        if value is not None:
            self._settings[key] = value
        return self._settings.get(key)


def _is_beyond(job: int, query: Query) -> bool:
    return (not query.beyond or job < query.beyond) if query.newest else job > query.beyond


def _row(run: str, job: int, draft: Draft, numbering: Numbering) -> Row:
    status, priority, call, document, _, _, _, _, digest, _, depth, *_ = draft
    tree, group, parent = numbering.place(job, draft)
    # The same number object twice: half the memory.
    tree = job if tree == job else tree
    return Row(
        job, run, status, priority, 0, 1, 0.0, "", "", call, document, tree, depth, digest, group, parent
    )
