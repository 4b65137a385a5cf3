"""The promises of a store about runs and who owns them; part of `StoreConformance`."""

# ruff: noqa: D102  the name of a test is its sentence
from __future__ import annotations

from xqute.states import JobStatus
from xqute.store import Request, Store

from .drafts import NOW, claimed, draft, record, run_row

FINISHED = int(JobStatus.FINISHED)


class OwningConformance:
    """What holds while processes own runs, die, and take over from each other."""

    async def test_runs_come_newest_first_and_as_they_were_kept_last(self, store: Store) -> None:
        old, new = run_row("old"), run_row("new", created=NOW + 1)
        closed = new._replace(state="closed", owner="", document='{"x": 1}', lease=5.0)

        kept = [await store.own(new, ""), await store.own(old, ""), await store.own(closed, "me")]

        assert kept == [True, True, True]
        assert await store.runs() == [closed, old]

    async def test_runs_of_a_script_are_found_by_it(self, store: Store) -> None:
        for name in ("a", "b"):
            await store.own(run_row(name, script=f"/{name}.py"), "")

        assert [run.id for run in await store.runs("/b.py")] == ["b"]

    async def test_a_run_is_taken_from_the_owner_that_was_seen_and_from_no_other(self, store: Store) -> None:
        await store.own(run_row("run", owner="dead"), "")

        first = await store.own(run_row("run", owner="quick"), "dead")
        second = await store.own(run_row("run", owner="slow"), "dead")

        assert (first, second) == (True, False)
        assert [run.owner for run in await store.runs()] == ["quick"]

    async def test_a_new_owner_gets_the_claims_of_the_old_one(self, store: Store) -> None:
        await store.own(run_row("run"), "")
        [held] = await claimed(store)
        [free] = await store.get([await store.accept("run", [draft()])])

        await store.own(run_row("run", owner="heir"), "me")

        rows = await store.get([held.id, free.id])
        assert [(row.owner, row.start) for row in rows] == [("heir", 1), ("", 0)]

    async def test_who_lost_a_run_claims_and_records_nothing_of_it(self, store: Store) -> None:
        await store.own(run_row("run"), "")
        [row] = await claimed(store)
        await store.accept("run", [draft()])
        await store.own(run_row("run", owner="heir"), "me")

        late = record(row, document="late", owner="me")

        assert await store.record([late]) == {row.id}
        assert await store.record([late] * 2) == {row.id}
        assert await store.claim("me", "run", 9, NOW) == []
        assert [kept.document for kept in await store.get([row.id])] == ["document"]
        assert await store.record([late._replace(owner="heir")]) == set()
        assert len(await store.claim("heir", "run", 9, NOW)) == 1

    async def test_only_jobs_that_ended_are_forgotten(self, store: Store) -> None:
        ended, queued = await claimed(store, 2)
        await store.record([record(ended, status=FINISHED, held=False)])

        gone = await store.delete([ended.id, queued.id])

        assert gone == {ended.id}
        assert [row.id for row in await store.get([ended.id, queued.id])] == [queued.id]
        assert FINISHED not in {status for status, count in (await store.counts("run")).items() if count}
        assert await store.accept("run", [draft()]) > queued.id

    async def test_a_run_is_forgotten_that_has_no_jobs_and_the_owner_that_was_seen(
        self, store: Store
    ) -> None:
        empty, taken, full = (run_row(name, owner="dead") for name in ("empty", "taken", "full"))
        for run in (empty, taken, full):
            await store.own(run, "")
        await store.own(run_row("taken", owner="heir"), "dead")
        await store.accept("full", [draft()])

        gone = [await store.forget(run) for run in (empty, taken, full, empty)]

        assert gone == [True, False, False, False]
        assert {run.id for run in await store.runs()} == {"taken", "full"}

    async def test_who_comes_back_to_a_run_that_was_forgotten_owns_it_again(self, store: Store) -> None:
        left = run_row("run", owner="")._replace(state="closed")
        await store.own(left, "")
        await store.forget(left)

        assert await store.own(run_row("run"), "")
        await store.accept("run", [draft()])

        assert [run.id for run in await store.runs()] == ["run"]
        assert len(await store.claim("me", "run", 9, NOW)) == 1

    async def test_requests_are_taken_once_and_by_the_run_they_are_for(self, store: Store) -> None:
        asked = [Request(1, "kill"), Request(2, "kill", '{"grace": 1}')]
        assert await store.asked("run") == []

        await store.ask("run", asked)

        assert await store.asked("other") == []
        assert sorted(await store.asked("run")) == asked
        assert await store.asked("run") == []
