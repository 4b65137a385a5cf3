"""The promises of a store about builds of named calls; part of `StoreConformance`."""

# ruff: noqa: D102  the name of a test is its sentence
from __future__ import annotations

import asyncio
from typing import Any

import pytest

from xqute.states import JobStatus
from xqute.store import Query, Store

from .drafts import draft, record

#: As many builds as no store is expected to read at one go.
MANY = 1200


async def found(store: Store, **query: Any) -> list[int]:
    """The ids of the jobs that match."""
    return [row.id for row in await store.page(Query()._replace(**query))]


class NamingConformance:
    """What holds for jobs that are builds of named calls."""

    async def test_builds_are_found_by_the_name_of_their_call(self, store: Store) -> None:
        names = ["a", "", "b", "a", "A", "a b", "naïve 🦊"]
        first = await store.accept("run", [draft(name=name) for name in names])

        assert await found(store, name="a") == [first, first + 3]
        assert await found(store, name="naïve 🦊") == [first + 6]
        assert await found(store, name="c") == []
        assert len(await found(store)) == len(names)

    async def test_a_job_accepted_alone_has_its_name_too(self, store: Store) -> None:
        job = await store.accept("run", [draft(name="a")])

        assert await found(store, name="a") == [job]

    @pytest.mark.parametrize("name", [None, "a"])
    async def test_the_newest_come_first_where_that_is_asked_for(
        self, store: Store, name: str | None
    ) -> None:
        first = await store.accept("run", [draft(name="a")] * MANY)
        last = first + MANY - 1

        assert await found(store, name=name, newest=True, limit=3) == [last, last - 1, last - 2]
        assert await found(store, name=name, newest=True, limit=2, beyond=last - 2) == [last - 3, last - 4]
        assert await found(store, name=name, newest=True, beyond=first) == []
        assert await found(store, name=name, limit=2, beyond=last - 2) == [last - 1, last]

    async def test_a_name_goes_with_everything_else_that_is_asked_for(self, store: Store) -> None:
        one, two = draft(name="a", tags="x\ny", user="me", task="t"), draft(name="a", parent=1)
        first = await store.accept("run", [one, two, one])
        other = await store.accept("other", [one])
        [row] = await store.get([first])
        await store.record([record(row, status=int(JobStatus.FINISHED), held=False)])

        assert await found(store, name="a", tag="y") == [first, first + 2, other]
        assert await found(store, name="a", user="me", task="t", run="run") == [first, first + 2]
        assert await found(store, name="a", top=True, newest=True) == [other, first + 2, first]
        for newest in (False, True):
            finished = [int(JobStatus.FINISHED)]
            assert await found(store, name="a", statuses=finished, newest=newest) == [first]
            assert await found(store, name="a", statuses=finished, run="run", newest=newest) == [first]
            assert await found(store, name="a", statuses=finished, run="other", newest=newest) == []
            assert await found(store, statuses=finished, run="run", newest=newest) == [first]

    async def test_what_is_put_away_is_told_apart(self, store: Store) -> None:
        first = await store.accept("run", [draft(name="a")] * 3)
        row = (await store.get([first + 1]))[0]

        await store.record([record(row, status=int(JobStatus.FINISHED), held=False, archived=True)])

        assert await found(store) == [first, first + 1, first + 2]
        for query in ({}, {"name": "a"}, {"run": "run"}):
            assert await found(store, archived=True, **query) == [first + 1]
            assert await found(store, archived=False, newest=True, **query) == [first + 2, first]
        finished = [int(JobStatus.FINISHED)]
        assert await found(store, archived=False, statuses=finished, run="run") == []
        await store.record([record(row, status=int(JobStatus.FINISHED), held=False)])
        assert await found(store, archived=True) == []

    async def test_nothing_is_kept_when_there_are_younger_builds_than_were_known(self, store: Store) -> None:
        one = await store.accept("run", [draft(name="a"), draft(name="b")])
        pair = [draft(name="a"), draft(group=1)]

        assert await store.accept("other", pair, [(0,)], {"a": 0}) == 0
        assert await store.accept("other", [draft(name="a")] * MANY, (), {"a": one, "b": one}) == 0
        assert await found(store) == [one, one + 1]
        last = await store.accept("other", pair, [(0,)], {"a": one, "c": 0})
        assert await found(store, name="a") == [one, last]
        assert await store.accept("run", [draft(name="a")], (), {"a": one}) == 0
        assert await store.accept("run", [draft(name="a")], (), {"a": last}) > last

    async def test_of_many_who_saw_the_same_one_is_kept(self, store: Store) -> None:
        first = await store.accept("run", [draft(name="a")])

        kept = await asyncio.gather(
            *(store.accept(f"run {n}", [draft(name="a")], (), {"a": first}) for n in range(20))
        )

        assert await found(store, name="a") == [first, max(kept)]
        assert sum(map(bool, kept)) == 1
