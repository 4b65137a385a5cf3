"""The promises of a store about jobs that share limits and resources; part of `StoreConformance`."""

# ruff: noqa: D102  the name of a test is its sentence
from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from xqute.rules.limits import PLAIN, Kind, Rank, Spare, choose
from xqute.states import JobStatus
from xqute.store import Choose, Draft, Store

from .drafts import NOW, draft, record, run_row

BIG = '{"cpus":8}'


def limited(key: str = "align", most: int = 2, resources: str = "") -> Draft:
    """A job that shares something."""
    return draft(limit_key=key, limit_most=most, resources=resources)


def fitting(forks: int = 99, ahead: int = 0) -> Choose:
    """Choose as an engine does that counts no resources."""
    spare = Spare(forks, ahead)
    return lambda queues, claimed, limits: choose(queues, claimed, limits, spare).taken


async def kinds(store: Store, run: str = "run") -> dict[Kind, list[Rank]]:
    """What a claim may choose from; it takes nothing."""
    seen: dict[Kind, list[Rank]] = {}

    def look(queues: Mapping[Kind, Iterator[Rank]], _: object, __: object) -> Sequence[int]:
        seen.update((kind, list(queue)) for kind, queue in queues.items())
        return []

    assert await store.claim("me", run, 9, NOW, look) == []
    return {kind: ranks for kind, ranks in seen.items() if ranks}


class SharingConformance:
    """What holds for jobs with a limit or resources."""

    async def test_a_claim_that_does_not_choose_leaves_what_is_shared(self, store: Store) -> None:
        first = await store.accept("run", [limited(), draft(), draft(resources=BIG), draft()])

        rows = await store.claim("me", "run", 9, NOW)

        assert [row.id for row in rows] == [first + 1, first + 3]

    async def test_a_choice_sees_the_queue_of_each_kind_best_first(self, store: Store) -> None:
        high = limited()._replace(priority=1)
        first = await store.accept("run", [draft(), limited(), limited(most=3), draft(resources=BIG), high])
        await store.accept("other", [limited()])

        seen = await kinds(store)

        assert {kind: [rank[-1] - first for rank in ranks] for kind, ranks in seen.items()} == {
            PLAIN: [0],
            Kind("align", 2): [4, 1],
            Kind("align", 3): [2],
            Kind(resources=BIG): [3],
        }
        assert seen[Kind("align", 2)][0] == (await store.get([first + 4]))[0].rank

    async def test_a_choice_is_not_asked_where_nothing_is_shared(self, store: Store) -> None:
        await store.accept("run", [draft()] * 3)
        await store.accept("other", [limited()])

        assert len(await store.claim("me", "run", 2, NOW, lambda *_: [])) == 2  # noqa: PLR2004  as asked

    async def test_what_was_chosen_is_claimed_and_the_rest_stays(self, store: Store) -> None:
        first = await store.accept("run", [limited(), draft(), limited(), draft()])

        rows = await store.claim("me", "run", 0, NOW, lambda *_: [first + 1, first + 2])

        assert [(row.id, row.owner, row.start) for row in rows] == [(first + n, "me", 1) for n in (1, 2)]
        assert await store.get([first + 1, first + 2]) == rows
        seen = await kinds(store)
        assert {rank[-1] for ranks in seen.values() for rank in ranks} == {first, first + 3}

    async def test_a_choice_knows_how_many_of_all_runs_are_claimed(self, store: Store) -> None:
        await store.accept("run", [limited(), limited(), limited("sort")])
        await store.accept("other", [limited(), limited("render")])
        await store.claim("you", "other", 9, NOW, fitting())

        rows = await store.claim("me", "run", 9, NOW, fitting())

        assert len(rows) == 2  # noqa: PLR2004  one of two aligns, and the sort
        assert dict(await store.claimed()) == {"align": 2, "render": 1, "sort": 1}

    async def test_a_limit_is_free_again_when_a_claim_ends(self, store: Store) -> None:
        await store.accept("run", [limited(most=1)] * 3)
        [row] = await store.claim("me", "run", 9, NOW, fitting())
        assert await store.claim("me", "run", 9, NOW, fitting()) == []

        await store.record([record(row, status=int(JobStatus.FINISHED), held=False)])
        [row] = await store.claim("me", "run", 9, NOW, fitting())
        await store.release("me", [row.id])

        assert dict(await store.claimed()) == {}
        assert len(await store.claim("me", "run", 9, NOW, fitting())) == 1

    async def test_the_number_of_the_store_goes_before_that_of_a_job(self, store: Store) -> None:
        await store.accept("run", [limited()] * 9)
        await store.set_limit("align", 5)
        await store.set_limit("align", 1)
        assert dict(await store.limits()) == {"align": 1}
        assert len(await store.claim("me", "run", 9, NOW, fitting())) == 1

        await store.set_limit("align", 4)
        assert len(await store.claim("me", "run", 9, NOW, fitting())) == 3  # noqa: PLR2004  four are claimed
        await store.set_limit("align", None)

        assert dict(await store.limits()) == {}
        assert await store.claim("me", "run", 9, NOW, fitting()) == []

    async def test_limits_hold_for_any_number_of_claimers(self, store: Store) -> None:
        runs = [f"run {number}" for number in range(8)]
        for run in runs:
            await store.accept(run, [limited(most=3)] * 10)
        most = ended = 0

        async def work(run: str) -> None:
            nonlocal most, ended
            while any(await kinds(store, run)):
                rows = await store.claim(run, run, 4, NOW, fitting(4))
                most = max(most, (await store.claimed()).get("align", 0))
                await asyncio.sleep(0)
                await store.record([record(row, status=int(JobStatus.FINISHED), held=False) for row in rows])
                ended += len(rows)

        async with asyncio.TaskGroup() as group:
            for run in runs:
                group.create_task(work(run))

        assert (most, ended) == (3, 80)

    async def test_nothing_is_chosen_of_a_run_that_somebody_else_owns(self, store: Store) -> None:
        await store.own(run_row("run"), "")
        await store.accept("run", [limited()])

        assert await store.claim("you", "run", 9, NOW, fitting()) == []
        assert len(await store.claim("me", "run", 9, NOW, fitting())) == 1

    async def test_a_job_may_need_something_else_for_its_next_start(self, store: Store) -> None:
        await store.accept("run", [draft(resources='{"mem":1}')] * 2)
        row, other = await store.claim("me", "run", 2, NOW, fitting())

        more = Kind("mem", 3, '{"mem":2}')
        await store.record([record(row, held=False, kind=more), record(other, held=False)])

        assert set(await kinds(store)) == {Kind(resources='{"mem":1}'), more}

    async def test_a_claimed_job_may_become_one_that_shares(self, store: Store) -> None:
        await store.accept("run", [draft(), draft()])
        [one, two] = await store.claim("me", "run", 2, NOW)

        await store.record([record(one, kind=Kind("align", 2))])
        assert dict(await store.claimed()) == {"align": 1}

        late = record(two, kind=Kind("align", 2))._replace(start=0)
        assert await store.record([late]) == {two.id}
        assert dict(await store.claimed()) == {"align": 1}
        await store.record([record(one, kind=PLAIN)])
        assert dict(await store.claimed()) == {}

    async def test_a_shared_job_is_hidden_until_its_time(self, store: Store) -> None:
        await store.accept("run", [limited()])
        [row] = await store.claim("me", "run", 1, NOW, fitting())
        await store.record([record(row, after=NOW + 60, held=False)])

        assert await store.claim("me", "run", 1, NOW + 59, fitting()) == []
        assert [row.start for row in await store.claim("me", "run", 1, NOW + 60, fitting())] == [2]

    async def test_a_long_queue_of_held_jobs_hides_nobody(self, store: Store) -> None:
        await store.accept("run", [limited(most=1)] * 5000)
        last = await store.accept("run", [draft()])

        rows = await store.claim("me", "run", 9, NOW, fitting(9))

        assert [row.id for row in rows][1:] == [last]
