"""The promises of a store about trees and who needs whom; part of `StoreConformance`."""

# ruff: noqa: D102  the name of a test is its sentence
from __future__ import annotations

import asyncio
from typing import Any

import pytest

from xqute.states import JobStatus
from xqute.store import Draft, Query, Row, Store

from .drafts import NOW, draft, record

WAITING, FINISHED = int(JobStatus.WAITING), int(JobStatus.FINISHED)

#: As many jobs as no store is expected to keep at one go.
MANY = 3000


def waiting(group: int, **changes: Any) -> Draft:
    """A job that needs a group."""
    return draft(status=WAITING, group=group, **changes)


async def accepted(store: Store, drafts: list[Draft], groups: list[tuple[int, ...]]) -> list[Row]:
    """The new jobs as the store has them."""
    first = await store.accept("run", drafts, groups)
    return await store.get(range(first, first + len(drafts)))


async def ended(store: Store, *jobs: int) -> None:
    """Let jobs end."""
    await store.record([record(row, status=FINISHED, held=False) for row in await store.get(jobs)])


async def groups_there(store: Store, rows: list[Row]) -> list[bool]:
    """Whether each job's group is there."""
    there = await store.needs([row.group for row in rows])
    return [row.group in there for row in rows]


class NeedingConformance:
    """What holds for jobs that were accepted together."""

    async def test_a_job_accepted_alone_is_a_tree_of_its_own(self, store: Store) -> None:
        jobs = [await store.accept("run", [draft(depth=3, digest="abc")]) for _ in range(3)]

        rows = await store.get(jobs)

        assert [(row.tree, row.depth, row.digest) for row in rows] == [(job, 3, "abc") for job in jobs]
        assert [(row.group, row.parent) for row in rows] == [(0, 0)] * 3

    async def test_a_tree_has_no_name_of_one_that_was_deleted(self, store: Store) -> None:
        gone = await store.accept("run", [draft()])
        await ended(store, gone)
        await store.delete([gone])

        alone, *rows = await accepted(store, [draft()], []) + await accepted(store, [draft()] * 2, [])

        assert [row.tree for row in (alone, *rows)] == [alone.id, rows[0].id, rows[0].id]
        assert gone < alone.id < rows[0].id

    async def test_a_job_accepted_alone_may_belong_to_others_that_are_there(self, store: Store) -> None:
        root = await store.accept("run", [draft()])

        [row] = await accepted(store, [waiting(1, tree=root, parent=root)], [(root,)])

        assert (row.tree, row.parent) == (root, root)
        assert await store.needs([row.group]) == {row.group: (root,)}

    @pytest.mark.parametrize("count", [3, MANY])
    async def test_numbers_of_drafts_become_ids(self, store: Store, count: int) -> None:
        old = await store.accept("run", [draft()] * 2)
        last = count - 1
        drafts = [draft(), *[draft(tree=-number, parent=-last) for number in range(1, last)], draft(tree=old)]

        rows = await accepted(store, drafts, [])

        first = rows[0].id
        assert first >= old + 2
        assert [row.id for row in rows] == [*range(first, first + count)]
        assert [row.tree for row in rows] == [*range(first, first + last), old]
        assert [row.parent for row in rows] == [0, *[first + last] * (count - 2), 0]

    @pytest.mark.parametrize("count", [2, MANY])
    async def test_jobs_share_a_group(self, store: Store, count: int) -> None:
        rows = await accepted(store, [draft(), draft(), *[waiting(1)] * count], [(0, -1)])

        first = rows[0].id
        [group] = {row.group for row in rows[2:]}
        assert await store.needs([group]) == {group: (first, first + 1)}

    async def test_groups_of_different_calls_are_different(self, store: Store) -> None:
        drafts, groups = [draft(), waiting(1), waiting(2), waiting(1)], [(0,), (0, -1)]

        rows = await accepted(store, drafts, groups) + await accepted(store, drafts, groups)

        a, b = rows[0].id, rows[4].id
        found = await store.needs([row.group for row in rows if row.group])
        expected = [(a,), (a, a + 1), (a,), (b,), (b, b + 1), (b,)]
        assert [found[row.group] for row in rows if row.group] == expected
        assert len(found) == len({*expected})

    @pytest.mark.parametrize("count", [2, MANY])
    async def test_needs_are_in_the_order_in_which_they_were_given_each_once(
        self, store: Store, count: int
    ) -> None:
        old = await store.accept("run", [draft()] * 2)
        members = (*range(-count + 1, 1), old + 1, 0, old)

        rows = await accepted(store, [*[draft()] * count, waiting(1)], [members])

        found = await store.needs([rows[-1].group])
        assert found[rows[-1].group] == (*(row.id for row in rows[-2::-1]), old + 1, old)

    async def test_many_groups_are_asked_for_at_once(self, store: Store) -> None:
        drafts = [draft(), *(waiting(number + 1) for number in range(MANY))]

        rows = await accepted(store, drafts, [(-number,) for number in range(MANY)])

        found = await store.needs([row.group for row in rows])
        assert found == {row.group: (row.id - 1,) for row in rows[1:]}

    async def test_groups_that_are_not_there_are_left_out(self, store: Store) -> None:
        [job] = await accepted(store, [draft()], [(0,)])

        assert await store.needs([]) == await store.needs([0, job.id, 900]) == {}

    @pytest.mark.parametrize("count", [2, MANY])
    @pytest.mark.parametrize(
        ("wrong", "groups", "words"),
        [
            (waiting(2), [(0,)], "no group 2"),
            (waiting(-1), [(0,)], "no group -1"),
            (waiting(1), [(0, -90_000)], "no draft number 90000"),
            (draft(tree=-90_000), [], "no draft number 90000"),
            (draft(parent=-90_000), [], "no draft number 90000"),
        ],
    )
    async def test_drafts_that_name_what_is_not_there_are_refused_together(
        self, store: Store, count: int, wrong: Draft, groups: list[tuple[int, ...]], words: str
    ) -> None:
        for drafts in ([*[draft()] * count, wrong], [wrong]):
            with pytest.raises(ValueError, match=words):
                await store.accept("run", drafts, groups)

        assert await store.page(Query()) == []
        [*_, row] = await accepted(store, [draft(), waiting(1)], [(0,)])
        assert await store.needs(range(90_000)) == {row.group: (row.id - 1,)}

    async def test_a_cancelled_accept_keeps_no_group_without_its_jobs(self, store: Store) -> None:
        drafts = [*[draft()] * MANY, waiting(1)]
        accepting = asyncio.create_task(store.accept("run", drafts, [range(-MANY + 1, 1)]))
        for _ in range(8):  # until the members are on their way, in a store that breathes
            await asyncio.sleep(0)

        accepting.cancel()
        await asyncio.wait([accepting])

        jobs, groups = await store.page(Query(limit=2 * MANY)), await store.needs(range(2 * MANY))
        assert (len(jobs), len(groups)) == ((0, 0) if accepting.cancelled() else (MANY + 1, 1))

    async def test_highest_priority_comes_first_then_oldest_tree_then_deepest(self, store: Store) -> None:
        await store.accept("run", [draft("d", tree=0), draft("f", tree=-1), draft("b", tree=0, depth=2)])
        drafts = [draft("h", tree=-1), draft("g", tree=-1, depth=1), draft("c", tree=1, depth=1)]
        await store.accept("run", [*drafts, draft("a", tree=-3, priority=1), draft("e", tree=1)])

        rows = await store.claim("me", "run", 3, NOW)
        rows += await store.claim("me", "run", 9, NOW)

        assert "".join(row.call for row in rows) == "abcdefgh"
        assert sorted(rows, key=lambda row: row.rank) == rows

    async def test_a_waiting_job_is_claimed_once_it_is_queued(self, store: Store) -> None:
        need, job = await accepted(store, [draft(tree=-1, depth=1), waiting(1, tree=-1)], [(0,)])
        assert [row.id for row in await store.claim("me", "run", 9, NOW)] == [need.id]

        await store.record([record(job, status=int(JobStatus.QUEUED), held=False)])

        [row] = await store.claim("me", "run", 9, NOW)
        assert (row.id, row.group, row.tree) == (job.id, job.group, job.id)

    async def test_what_has_become_of_a_job_leaves_its_place_alone(self, store: Store) -> None:
        drafts = [draft(tree=-1, depth=2, parent=-1, digest="abc"), waiting(1, tree=-1)]
        before = await accepted(store, drafts, [(0,)])

        await ended(store, *(row.id for row in before))

        after = await store.get([row.id for row in before])
        assert after == [row._replace(status=FINISHED) for row in before]

    async def test_a_group_goes_with_the_last_job_that_names_it(self, store: Store) -> None:
        rows = await accepted(store, [draft(), waiting(1), waiting(1), waiting(2)], [(0,), (0,)])
        need, one, other, third = rows
        await ended(store, need.id, one.id)
        await store.delete([need.id, one.id, other.id])
        assert await groups_there(store, [one, other, third]) == [True] * 3
        assert (await store.needs([other.group]))[other.group] == (need.id,)

        await ended(store, other.id)
        await store.delete([other.id])

        assert await groups_there(store, [one, other, third]) == [False, False, True]

    async def test_no_group_gets_the_number_of_another_that_is_named(self, store: Store) -> None:
        need, first, second = await accepted(store, [draft(), waiting(1), waiting(1)], [(0,)])
        await ended(store, first.id)
        await store.delete([first.id])

        rows = await accepted(store, [draft(), waiting(1)], [(0,)])

        found = await store.needs([second.group, rows[1].group])
        assert found == {second.group: (need.id,), rows[1].group: (rows[0].id,)}

    @pytest.mark.parametrize("statuses", [(), (WAITING, int(JobStatus.QUEUED))])
    async def test_a_page_holds_roots_or_one_task(self, store: Store, statuses: tuple[int, ...]) -> None:
        drafts = [
            draft("a", task="cut", parent=-2),
            draft("b", task="cüt", parent=-2),
            draft("c", task="cut"),
        ]
        await store.accept("run", drafts)
        await store.accept("run", [draft("d", task="caf\udce9")])

        async def calls(**query: Any) -> str:
            query = {"run": "run", "statuses": statuses, **query}
            return "".join(row.call for row in await store.page(Query(**query)))

        assert await calls(top=True) == "cd"
        assert await calls(task="cut") == "ac"
        assert await calls(task="cüt") == "b"
        assert await calls(task="caf\udce9") == "d"
        assert await calls(task="") == ""
        assert await calls(task="cut", top=True) == "c"
        assert await calls(task="cut", limit=1) == "a"
