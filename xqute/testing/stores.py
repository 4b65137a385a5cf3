"""The promises of a store, one test each, for every store there is.

A store's whole test module:

    class TestMine(StoreConformance):
        @pytest.fixture
        def store(self, tmp_path):
            return MyStore(tmp_path)

Needs pytest and pytest-asyncio.
"""

# ruff: noqa: D102  the name of a test is its sentence
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from xqute.states import JobStatus
from xqute.store import Draft, Query, Row, Store

from .drafts import AWKWARD, NOW, QUEUED, claimed, draft, record, run_row
from .naming import NamingConformance
from .needing import NeedingConformance
from .owning import OwningConformance
from .sharing import SharingConformance


class Interrupted(list[Draft]):
    """Drafts that can't be read to their end."""

    def __iter__(self) -> Iterator[Draft]:
        yield from super().__iter__()
        raise RuntimeError("the drafts end here")


@pytest.mark.asyncio
class StoreConformance(NamingConformance, NeedingConformance, OwningConformance, SharingConformance):
    """Inherit, override the fixture `store`, and say in the attributes what it can't."""

    #: Whether it remembers after `close` and `open`.
    durable: ClassVar[bool] = True

    @pytest.fixture
    def store(self) -> Store:
        """A new store, not open yet."""
        raise NotImplementedError("override the fixture `store`")

    @pytest_asyncio.fixture(autouse=True)
    async def _opened(self, store: Store) -> AsyncIterator[None]:
        await store.open()
        yield
        await store.close()

    async def reopened(self, store: Store) -> Store:
        """The store after it was closed and opened again."""
        if not self.durable:
            pytest.skip("this store does not say that it is durable")
        await store.close()
        await store.open()
        return store

    async def test_a_job_comes_back_as_it_was_given(self, store: Store) -> None:
        given = draft("the call", priority=-3, document="the document", status=1)

        job = await store.accept("run", [given])

        expected = Row(job, "run", 1, -3, 0, 1, 0.0, "", "", "the call", "the document", job, 0, "", 0, 0)
        assert await store.get([job]) == [expected]

    async def test_texts_come_back_character_for_character(self, store: Store) -> None:
        texts = [*AWKWARD, "long " * 50_000]
        drafts = [draft(text, document=text, user=text, title=text) for text in texts]

        first = await store.accept("run", drafts)

        rows = await store.get(range(first, first + len(texts)))
        assert [(row.call, row.document) for row in rows] == [(text, text) for text in texts]

    async def test_labels_may_hold_the_bytes_of_a_file_name(self, store: Store) -> None:
        label = "caf\udce9"

        job = await store.accept("run", [draft(title=label, user=label, tags=label)])

        assert [row.id for row in await store.page(Query(user=label, tag=label))] == [job]

    async def test_ids_grow_and_follow_each_other(self, store: Store) -> None:
        first = await store.accept("run", [draft()] * 3)
        second = await store.accept("other", [draft()])
        third = await store.accept("run", [draft()] * 1200)

        assert first > 0
        assert second >= first + 3
        assert third >= second + 1
        rows = await store.page(Query(limit=2000))
        expected = [*range(first, first + 3), second, *range(third, third + 1200)]
        assert [row.id for row in rows] == expected

    @pytest.mark.parametrize("count", [2, 3000])
    async def test_jobs_are_kept_all_or_none(self, store: Store, count: int) -> None:
        with pytest.raises(RuntimeError, match="end here"):
            await store.accept("run", Interrupted([draft()] * count))

        assert await store.page(Query()) == []

    async def test_a_cancelled_accept_keeps_all_or_none(self, store: Store) -> None:
        accepting = asyncio.create_task(store.accept("run", [draft()] * 3000))
        await asyncio.sleep(0)

        accepting.cancel()
        await asyncio.wait([accepting])

        assert sum((await store.counts("run")).values()) == (0 if accepting.cancelled() else 3000)

    async def test_jobs_come_as_asked_without_missing_ones(self, store: Store) -> None:
        first = await store.accept("run", [draft("a"), draft("b"), draft("c")])

        rows = await store.get([first + 2, first + 900, first, 0, -1])

        assert [row.call for row in rows] == ["c", "a"]

    async def test_highest_priority_comes_first_then_oldest(self, store: Store) -> None:
        names = [("low", -1), ("old", 5), ("new", 5), ("high", 9), ("zero", 0)]
        await store.accept("run", [draft(name, priority=number) for name, number in names])

        rows = await store.claim("me", "run", 3, NOW)
        rows += await store.claim("me", "run", 3, NOW)

        assert [row.call for row in rows] == ["high", "old", "new", "zero", "low"]

    @pytest.mark.parametrize("count", [0, 1, 3])
    async def test_a_claim_takes_no_more_than_asked(self, store: Store, count: int) -> None:
        await store.accept("run", [draft()] * 4)

        assert len(await store.claim("me", "run", count, NOW)) == count

    async def test_a_claim_counts_one_more_start_and_names_the_owner(self, store: Store) -> None:
        rows = await claimed(store, 2)

        assert [(row.start, row.owner, row.status) for row in rows] == [(1, "me", QUEUED)] * 2
        assert await store.get([row.id for row in rows]) == rows

    async def test_a_claimed_job_is_claimed_by_nobody_else(self, store: Store) -> None:
        await claimed(store)

        assert await store.claim("you", "run", 1, NOW) == []

    async def test_no_two_of_twenty_claimers_get_the_same_start(self, store: Store) -> None:
        first = await store.accept("run", [draft()] * 300)
        got: list[int] = []

        async def claimer(name: str) -> None:
            while rows := await store.claim(name, "run", 4, NOW):
                got.extend(row.id for row in rows)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(claimer(f"claimer {number}"))

        assert sorted(got) == [*range(first, first + 300)]

    async def test_only_queued_jobs_are_claimed(self, store: Store) -> None:
        await store.accept("run", [draft(status=int(status)) for status in JobStatus])

        rows = await store.claim("me", "run", 20, NOW)

        assert [row.status for row in rows] == [QUEUED]

    async def test_jobs_of_other_runs_are_not_claimed(self, store: Store) -> None:
        await store.accept("other", [draft("theirs", priority=9)])
        await store.accept("run", [draft("mine")])

        rows = await store.claim("me", "run", 9, NOW)

        assert [row.call for row in rows] == ["mine"]
        assert await store.claim("me", "nobody's", 9, NOW) == []

    async def test_a_released_claim_takes_back_its_count(self, store: Store) -> None:
        row, _ = await claimed(store, 2)

        await store.release("me", [row.id])

        again = await store.claim("you", "run", 2, NOW)
        assert again == [row._replace(owner="you")]

    async def test_releasing_twice_is_harmless(self, store: Store) -> None:
        [row] = await claimed(store)

        await store.release("me", [row.id, row.id])
        await store.release("me", [row.id])

        assert [row.start for row in await store.get([row.id])] == [0]

    async def test_a_claim_of_somebody_else_is_not_released(self, store: Store) -> None:
        [row] = await claimed(store)

        await store.release("you", [row.id])

        assert await store.get([row.id]) == [row]

    async def test_a_job_that_was_handed_over_is_not_released(self, store: Store) -> None:
        [row] = await claimed(store)
        await store.record([record(row, status=int(JobStatus.SUBMITTED))])

        await store.release("me", [row.id])

        assert [(row.start, row.owner) for row in await store.get([row.id])] == [(1, "me")]

    @pytest.mark.parametrize("held", [True, False])
    async def test_a_record_says_whether_its_claim_is_held(self, store: Store, *, held: bool) -> None:
        [row] = await claimed(store)

        await store.record([record(row, held=held)])

        again = await store.claim("you", "run", 1, NOW)
        assert [row.start for row in again] == ([] if held else [2])

    @pytest.mark.parametrize("count", [1, 3, 1200])
    async def test_a_record_keeps_what_has_become_of_jobs(self, store: Store, count: int) -> None:
        rows = await claimed(store, count)
        news: dict[str, Any] = {
            "status": 6,
            "attempt": 2,
            "uid": "17",
            "document": "new",
            "after": 1.5,
        }

        fenced = await store.record([record(row, **news) for row in rows])

        assert fenced == set()
        assert await store.get([row.id for row in rows]) == [row._replace(**news) for row in rows]

    @pytest.mark.parametrize("count", [1, 3, 1200])
    async def test_a_record_about_another_start_is_named(self, store: Store, count: int) -> None:
        rows = await claimed(store, count)
        late, *others = [record(row, document="new") for row in rows]

        fenced = await store.record([late._replace(start=0), *others])

        assert fenced == {late.id}
        kept = [row.document for row in await store.get([row.id for row in rows])]
        assert kept == ["document"] + ["new"] * (count - 1)

    @pytest.mark.parametrize("count", [1, 2])
    async def test_a_record_about_no_job_is_named(self, store: Store, count: int) -> None:
        [row] = await claimed(store)
        missing = [record(row, id=row.id + 900 + number) for number in range(count)]

        assert await store.record(missing) == {row.id for row in missing}

    async def test_empty_batches_change_nothing(self, store: Store) -> None:
        await store.accept("run", [])
        await store.release("me", [])

        assert await store.record([]) == set()
        assert await store.get([]) == await store.page(Query()) == []

    async def test_a_job_is_hidden_until_its_time(self, store: Store) -> None:
        [row] = await claimed(store)
        await store.record([record(row, after=NOW + 60, held=False)])

        assert await store.claim("me", "run", 1, NOW + 59.9) == []
        assert [row.start for row in await store.claim("me", "run", 1, NOW + 60)] == [2]

    async def test_a_job_whose_time_has_come_takes_its_place(self, store: Store) -> None:
        await store.accept("run", [draft("a"), draft("b"), draft("c"), draft("z", priority=-1)])
        a, b, c = await store.claim("me", "run", 3, NOW)
        later = [record(a, after=NOW + 2), record(b, after=NOW + 90), record(c, after=NOW + 1)]
        await store.record([item._replace(held=False) for item in later])

        rows = await store.claim("me", "run", 9, NOW + 60)

        assert [row.call for row in rows] == ["a", "c", "z"]

    async def test_a_page_holds_the_jobs_that_match(self, store: Store) -> None:
        await store.accept("run", [draft("a", user="ann", tags="red\nbig"), draft("b", status=6)])
        await store.accept("other", [draft("c", user="ann", tags="redder"), draft("d", status=7)])

        async def calls(**query: Any) -> str:
            return "".join(row.call for row in await store.page(Query(**query)))

        assert await calls() == "abcd"
        assert await calls(run="other") == "cd"
        assert await calls(statuses=[7, 6]) == "bd"
        assert await calls(run="run", statuses=[6, 7, QUEUED]) == "ab"
        assert await calls(user="ann") == "ac"
        assert await calls(tag="red") == "a"
        assert await calls(tag="big", user="ann", run="run", statuses=[QUEUED]) == "a"
        assert await calls(tag="big", run="other") == ""
        assert await calls(user="") == "bd"

    @pytest.mark.parametrize("statuses", [(), (QUEUED, 6)])
    async def test_pages_follow_each_other(self, store: Store, statuses: tuple[int, ...]) -> None:
        drafts = [draft(str(n), status=6 if n % 3 else QUEUED) for n in range(10)]
        await store.accept("run", drafts)
        query = Query(run="run", statuses=statuses, limit=4)
        calls = []

        while rows := await store.page(query):
            calls.append([int(row.call) for row in rows])
            query = query._replace(beyond=rows[-1].id)

        assert calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]

    async def test_counts_say_how_many_jobs_of_a_run_are_in_each_status(self, store: Store) -> None:
        await store.accept("other", [draft()] * 5)
        await store.accept("run", [draft()] * 3)
        [row] = await store.claim("me", "run", 1, NOW)

        await store.record([record(row, status=6)])

        assert dict(await store.counts("run")) == {QUEUED: 2, 6: 1}
        assert dict(await store.counts("nobody's")) == {}

    async def test_a_setting_is_what_it_was_set_to_last(self, store: Store) -> None:
        assert await store.setting("colour") is None

        await store.setting("colour", "red")
        await store.setting("colour", "blue")

        assert await store.setting("colour") == "blue"

    async def test_the_token_is_a_word(self, store: Store) -> None:
        assert store.token.isalnum()

    async def test_opening_and_closing_twice_is_harmless(self, store: Store) -> None:
        job = await store.accept("run", [draft()])

        await store.open()

        assert len(await store.get([job])) == 1
        await store.close()
        await store.close()

    async def test_everything_is_there_after_reopening(self, store: Store) -> None:
        assert await store.own(run_row("run"), "")
        await store.setting("colour", "red")
        job = await store.accept("run", [draft("a"), draft("b")])
        await store.claim("me", "run", 1, NOW)
        before = (await store.get([job, job + 1]), await store.runs(), store.token)

        store = await self.reopened(store)

        assert (await store.get([job, job + 1]), await store.runs(), store.token) == before
        assert await store.setting("colour") == "red"
        assert [row.call for row in await store.claim("me", "run", 9, NOW)] == ["b"]

    async def test_ids_go_on_growing_after_reopening(self, store: Store) -> None:
        first = await store.accept("run", [draft()] * 5)

        store = await self.reopened(store)

        assert await store.accept("run", [draft()]) >= first + 5
