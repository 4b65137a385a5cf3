"""The stories of jobcontrol: definitions, builds of them, and what has to be built again."""

import asyncio
import importlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from tests.acceptance import jobcontrol_calls
from tests.acceptance.conftest import until
from tests.acceptance.jobcontrol_calls import CALLS, SHOWN, A, B, C, D, ask, hand_on, make
from xqute import (
    DependencyFailed,
    GraphError,
    JobFailed,
    JobStatus,
    MissingDependencies,
    OptionError,
    Xqute,
    XquteError,
    cmd,
)

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def ran(here):
    """The names of what ran since the last look."""
    seen = 0

    def read() -> list[str]:
        nonlocal seen
        path = here / "ran"
        lines = path.read_text().split() if path.exists() else []
        new, seen = lines[seen:], len(lines)
        return new

    return read


@pytest_asyncio.fixture
async def xqute(request, make_xqute):
    """Knows all calls; in SQLite where a test names no other store."""
    one = make_xqute(calls=CALLS, store=getattr(request, "param", None), scheduler_forks=4)
    yield one
    await one.run_until_complete()  # what a story left, such as the cleanup after a failure


@pytest.fixture
def make_xqute(metadir, place):
    def make_one(**options) -> Xqute:
        return Xqute(place.scheduler(), job_metadir=metadir, **options)

    return make_one


async def words(xqute: Xqute, *calls) -> list[str]:
    return [str(await xqute.status(call)) for call in calls or CALLS]


# A → B → C → D


@pytest.mark.parametrize("xqute", [None, "memory://"], ids=["sqlite", "memory"], indirect=True)
async def test_what_a_build_needs_is_built_first_and_nothing_twice(xqute, ran):
    assert await words(xqute) == ["not_built"] * 4

    job = await xqute.build(C)

    assert ran() == ["A", "B", "C"]
    assert await words(xqute) == ["success", "success", "success", "not_built"]
    [a], [b] = await xqute.find(name="A"), await xqute.find(name="B")
    assert job.result() == ["C", job.id, ["B", b.id, {"deep": [["A", a.id]]}]]
    assert (dict(a.used), dict(b.used), dict(job.used)) == ({}, {"A": a.id}, {"B": b.id})
    assert await xqute.build(C) is job
    assert job.cached
    assert ran() == []


async def test_without_deps_what_is_missing_is_named_and_nothing_runs(xqute, ran):
    with pytest.raises(MissingDependencies, match="no result of A, B") as raised:
        await xqute.build(C, deps=None)

    assert raised.value.names == ("A", "B")
    assert ran() == []
    await xqute.build(B)
    ran()
    await xqute.build(C, deps=None)
    assert ran() == ["C"]


async def test_missing_deps_are_built_and_outdated_ones_used_as_they_are(xqute, ran):
    await xqute.build(B)
    await xqute.build(A, force=True)
    ran()

    job = await xqute.build(C, deps="missing")

    assert ran() == ["C"]
    assert job.used == {"B": 2}
    assert await words(xqute) == ["success", "outdated", "outdated", "not_built"]


async def test_what_depends_on_a_build_follows_it_when_that_is_wanted(xqute, ran):
    await xqute.build(C)
    ran()

    job = await xqute.build(B, dependents=True, force=True)

    assert ran() == ["B", "C", "D"]
    assert job.name == "B"
    assert await words(xqute) == ["success"] * 4


async def test_only_what_was_asked_for_follows(xqute, ran):
    await xqute.build(D)
    ran()

    await xqute.build(A, dependents=[B], force=True)

    assert ran() == ["A", "B"]
    assert await words(xqute) == ["success", "success", "outdated", "outdated"]


async def test_a_build_is_read_like_any_job(xqute):
    job = await xqute.build(A)

    assert (job.name, job.title, job.notes) == ("A", "The first", "Takes *long*.")
    assert set(job.tags) == {"pages", "crawl"}
    assert job.exception() is None
    assert job.progress.message == "making A"
    assert [line.text for line in await job.logs()] == ["making A"]
    assert [found.id for found in await xqute.find(name="A", tag="pages")] == [job.id]
    assert await xqute.find(name="B") == []


async def test_a_command_can_be_kept_up_to_date_too(xqute):
    shown = SHOWN["shown"]

    job = await xqute.build(shown)

    assert job.result() == "the text of A"
    assert await xqute.status(shown) == "success"
    await xqute.build(A, force=True)
    assert await xqute.status(shown) == "outdated"


# The table, and what else outdates


@pytest.mark.parametrize("xqute", [None, "memory://"], ids=["sqlite", "memory"], indirect=True)
async def test_the_table_of_rebuilds(xqute, here, ran):
    await xqute.build(B)
    seen = []
    for trouble in ("fails", "skips", None):
        flag = here / f"A.{trouble}"
        if trouble:
            flag.touch()
        job = await xqute.build(A, force=True)
        flag.unlink(missing_ok=True)
        seen.append((job.status.name, str(await xqute.status(A)), str(await xqute.status(B))))
        ran()
        await xqute.build(B)
        seen.append(ran())

    assert seen == [
        ("FAILED", "success", "success"),
        [],
        ("SKIPPED", "success", "success"),
        [],
        ("FINISHED", "success", "outdated"),
        ["B"],
    ]


@pytest.mark.parametrize("xqute", [None, "memory://"], ids=["sqlite", "memory"], indirect=True)
async def test_what_was_rebuilt_while_its_user_ran_outdates_that(xqute, here):
    await xqute.build(A)
    (here / "B.waits").touch()
    building = asyncio.create_task(xqute.build(B))
    await until(lambda: (here / "ran").read_text().split() == ["A", "B"])
    assert (await xqute.status(B)).running

    newer = await xqute.build(A, force=True)
    (here / "B.waits").unlink()
    job = await building

    assert job.ended > newer.ended
    status = await xqute.status(B)
    assert status == "outdated"
    assert status.why == f"it used job 1 of A, and the newest is job {newer.id}"
    assert not status.running


async def test_what_is_outdated_goes_down_the_chain(xqute):
    await xqute.build(D)
    assert await words(xqute) == ["success"] * 4

    await xqute.build(A, force=True)

    assert await words(xqute) == ["success", "outdated", "outdated", "outdated"]
    assert (await xqute.status(D)).why == "C is outdated itself"


async def test_an_edit_of_a_definition_outdates_it_and_what_uses_it(make_xqute, ran):
    xqute = make_xqute()
    await xqute.build(B)
    ran()
    edited = make("A", "more").named("A")
    user = make("B", {"deep": [edited]}).named("B")

    status = await xqute.status(edited)

    assert (status, status.why) == ("outdated", "its definition changed")
    assert await xqute.status(user) == "outdated"
    await xqute.build(user)
    assert ran() == ["A", "B"]
    assert await words(xqute, edited, user) == ["success", "success"]
    assert await words(xqute, A) == ["outdated"]


async def test_an_edit_between_two_named_calls_outdates_the_one_above(xqute):
    await xqute.build(C)

    assert await xqute.status(make("C", B).named("C")) == "outdated"
    assert await xqute.status(make("C", hand_on(B)).options(retries=2, priority=3).named("C")) == "success"


async def test_a_pinned_build_is_used_in_the_place_of_the_newest(xqute, ran):
    old = await xqute.build(B)
    await xqute.build(A, force=True)
    new = await xqute.build(B)
    ran()

    job = await xqute.build(C, pin={"B": old.id})

    assert ran() == ["C"]
    assert job.used == {"B": old.id}
    assert job.result()[2] == old.result()
    assert (await xqute.status(C)).why == f"it used job {old.id} of B, and the newest is job {new.id}"
    assert await xqute.build(C, pin={"B": old.id}) is job


@pytest.mark.parametrize("pin", [{"B": 99}, {"B": 1}, {"D": 1}, {"C": 1}])
async def test_a_pin_that_means_nothing_is_refused(xqute, pin):
    await xqute.build(A)

    with pytest.raises(OptionError, match="pin"):
        await xqute.build(C, pin=pin)


@pytest.mark.parametrize("how", [{"deps": "missing"}, {"deps": None, "force": True}])
async def test_a_pin_that_nothing_would_be_made_of_is_refused_with_what_lies_between(xqute, ran, how):
    old = await xqute.build(A)
    new = await xqute.build(A, force=True)
    between = await xqute.build(B)
    await xqute.build(C)
    ran()

    with pytest.raises(OptionError) as raised:
        await xqute.build(C, pin={"A": old.id}, **how)

    assert str(raised.value) == (
        f"pin={{'A': {old.id}}}: nothing would use it: B is left as it is, job {between.id}, which used job "
        f"{new.id} of A; build B first, with that pin, or give deps='outdated'"
    )
    assert ran() == []
    await xqute.build(B, pin={"A": old.id})
    await xqute.build(C, pin={"A": old.id}, **how)
    assert ran() == ["B", "C"]
    await xqute.build(C, pin={"A": old.id}, **how | {"force": False})
    assert ran() == [], "it was made of it"


async def test_a_pin_above_another_must_have_been_made_of_that(xqute, ran):
    old = await xqute.build(A)
    older = await xqute.build(B)
    new = await xqute.build(A, force=True)
    newer = await xqute.build(B)
    ran()

    with pytest.raises(
        OptionError, match=f"B is pinned to job {newer.id}, which used job {new.id} of A; pin a"
    ):
        await xqute.build(C, pin={"A": old.id, "B": newer.id})

    job = await xqute.build(C, pin={"A": old.id, "B": older.id})
    assert (ran(), job.used) == (["C"], {"B": older.id})


async def test_what_is_protected_is_named_where_it_keeps_a_pin_from_being_used(xqute, ran):
    old = await xqute.build(A)
    await xqute.build(A, force=True)
    kept = make("B", {"deep": [A]}).named("B", protected=True)
    await xqute.build(kept)
    user = make("C", kept).named("C")

    with pytest.raises(OptionError, match=r"B is protected and left as it is, .* that pin and force=True$"):
        await xqute.build(user, pin={"A": old.id})


@pytest.mark.parametrize("xqute", [None, "memory://"], ids=["sqlite", "memory"], indirect=True)
async def test_a_skipped_build_keeps_the_last_good_result_for_its_users(xqute, here, ran):
    first = await xqute.build(A)
    (here / "A.skips").touch()
    ran()
    edited = make("B", {"new": [A]}).named("B")

    job = await xqute.build(A, force=True, dependents=[edited])
    [user] = await xqute.find(name="B")

    assert (ran(), job.status) == (["A", "B"], JobStatus.SKIPPED)
    assert user.result()[2] == {"new": [first.result()]}
    assert user.used == {"A": first.id}
    assert await words(xqute, A, edited) == ["success", "success"]


async def test_what_had_nothing_new_to_do_is_up_to_date(xqute, here, ran):
    await xqute.build(C)
    (here / "B.skips").touch()
    await xqute.build(A, force=True)

    await xqute.build(B)
    ran()

    assert await words(xqute) == ["success", "success", "success", "not_built"]
    await xqute.build(C)
    assert ran() == []


# Failures


async def test_a_build_that_failed_tells_why_and_outdates_nobody(xqute, here, ran):
    (here / "B.fails").touch()
    with pytest.raises(DependencyFailed, match="B"):
        await xqute.build(C)

    assert await words(xqute) == ["success", "failed", "not_built", "not_built"]
    job = await xqute.build(B)
    assert isinstance(job.exception(), JobFailed)
    assert isinstance(job.exception().__cause__, ValueError)
    (here / "B.fails").unlink()
    ran()
    await xqute.build(C)
    assert ran() == ["B", "C"]


async def test_what_is_protected_is_built_again_only_by_force(xqute, ran):
    first = await xqute.build(A)
    edited = make("A", "more").named("A", protected=True)
    user = make("B", {"deep": [edited]}).named("B")
    ran()

    with pytest.raises(XquteError, match="protected"):
        await xqute.build(edited)
    assert (await xqute.build(user)).used == {"A": first.id}
    assert ran() == ["B"]
    await xqute.build(edited, force=True)
    assert ran() == ["A"]


async def test_a_deleted_build_is_cleaned_up_after_and_the_one_before_counts_again(xqute, here):
    first = await xqute.build(A)
    second = await xqute.build(A, force=True)
    await xqute.build(B)

    await second.delete()

    assert (here / "unmade").read_text() == "A\n"
    assert [job.id for job in await xqute.find(name="A")] == [first.id]
    assert await words(xqute, A, B) == ["success", "outdated"]


async def test_a_protected_build_is_deleted_only_by_force(xqute):
    kept = await xqute.build(make("A").named("A", protected=True))

    with pytest.raises(XquteError, match="protected"):
        await kept.delete()
    await kept.delete(force=True)
    assert await xqute.find(name="A") == []


async def test_a_result_that_was_removed_by_hand_is_built_again(xqute, ran):
    job = await xqute.build(A)
    shutil.rmtree(job.directory)

    assert await xqute.status(A) == "not_built"
    await xqute.build(A)
    assert ran() == ["A", "A"]


async def test_how_a_goal_stands_whose_need_failed_is_told_with_the_cause(make_xqute, here, xqute):
    (here / "B.fails").touch()
    with pytest.raises(DependencyFailed):
        await xqute.build(C)

    for looking in (xqute, make_xqute()):
        failed, blocked = await looking.status(B), await looking.status(C)
        assert (failed, failed.running) == ("failed", False)
        assert failed.why.startswith("job 2 (B) failed: EXIT 1: ValueError: B fails")
        assert (blocked, blocked.running) == ("not_built", False)
        assert blocked.why == f"job 4 can't start: {failed.why}"


@pytest.mark.parametrize("xqute", [None, "memory://"], ids=["sqlite", "memory"], indirect=True)
async def test_what_is_blocked_gives_way_to_the_build_that_follows(xqute, here, ran):
    (here / "B.fails").touch()
    with pytest.raises(DependencyFailed):
        await xqute.build(C)
    (here / "B.fails").unlink()
    ran()

    job = await xqute.build(C)

    assert ran() == ["B", "C"]
    assert [found.id for found in await xqute.find(name="C")] == [job.id]
    report = await xqute.run_until_complete()
    assert report.blocked == {}


async def test_what_was_left_blocked_is_not_taken_up_where_there_is_a_younger_build(make_xqute, here):
    edited = make("B", "more", {"deep": [A]}).named("B")
    user = make("C", edited).named("C")
    goal = make("D", user).named("D")
    async with make_xqute() as session:
        await session.build(D)
    (here / "B.fails").touch()
    async with make_xqute(resume=True) as session:
        with pytest.raises(DependencyFailed):
            await session.build(goal)
    (here / "B.fails").unlink()
    async with make_xqute(resume=True) as session:
        younger = await session.build(goal, deps="missing", force=True)

    async with make_xqute(resume=True) as session:
        job = await session.build(goal)

    assert job.id > younger.id
    assert await words(session, edited, user, goal) == ["success"] * 3


async def test_resume_leaves_builds_alone_that_have_younger_ones(make_xqute, here, ran, caplog):
    (here / "B.fails").touch()
    async with make_xqute() as old:
        with pytest.raises(DependencyFailed):
            await old.build(D)
    (here / "B.fails").unlink()
    async with make_xqute() as young:
        await young.build(D)
    ran()

    session = make_xqute(resume="all", run=old.run)
    report = await session.run_until_complete()

    assert ran() == []
    assert await words(session) == ["success"] * 4
    left = [job for job in await session.find(run=old.run) if job.name]
    assert [(job.name, job.status.name) for job in left] == [("A", "FINISHED"), ("B", "FAILED")]
    assert report.blocked == {}
    assert report.left_alone == 0
    assert "there are younger builds: job 2 (B), job 4 (C), job 5 (D)" in caplog.text


async def test_an_older_build_that_others_wait_for_is_resumed_with_them(make_xqute, here, ran):
    (here / "B.fails").touch()
    async with make_xqute() as old:
        with pytest.raises(DependencyFailed):
            await old.build(C)
        waits = await old.push(hand_on(C))
    (here / "B.fails").unlink()
    async with make_xqute() as young:
        await young.build(C)
    ran()

    async with make_xqute(resume="all", run=old.run) as session:
        pass

    assert (await session.get(waits.id)).status is JobStatus.FINISHED
    assert ran() == ["B", "C"]
    assert await words(session, A, B, C) == ["success"] * 3


async def test_what_an_earlier_session_left_waiting_gives_way_to_the_build_that_follows(make_xqute, here):
    (here / "B.fails").touch()
    async with make_xqute() as old:
        with pytest.raises(DependencyFailed):
            await old.build(C)
    edited = make("C", hand_on(make("B", "more").named("B"))).named("C")
    (here / "B.fails").unlink()

    async with make_xqute(resume=True) as session:
        job = await session.build(edited)

    assert job.status is JobStatus.FINISHED
    assert session.run == old.run
    assert [job for job in await session.find() if not job.done()] == []
    assert [found.id for found in await session.find(name="C")] == [job.id]


@pytest.mark.parametrize("id_", [True, "2", None, 2.0, -1, 1 << 63, 99, 1])
async def test_a_pin_of_what_is_no_build_names_those_that_are(xqute, id_):
    await xqute.build(B)
    again = await xqute.build(B, force=True)

    with pytest.raises(OptionError) as raised:
        await xqute.build(C, pin={"B": id_})

    assert str(raised.value).startswith(f"pin={{'B': {id_!r}}}: ")
    assert str(raised.value).endswith(f"; good builds of B are {again.id}, 2")
    assert await xqute.find(name="C") == []


async def test_where_nothing_named_is_needed_a_pin_has_none_to_name(xqute):
    with pytest.raises(OptionError, match=r"^pin=\{'X': 1\}: no other named call is needed here$"):
        await xqute.build(A, pin={"X": 1})


async def test_a_pin_that_is_no_dictionary_is_refused(xqute):
    with pytest.raises(OptionError, match="pin=17: it is a dictionary"):
        await xqute.build(A, pin=17)


async def test_a_result_stands_although_a_newer_build_of_it_failed_and_that_is_told(xqute, here):
    await xqute.build(A)
    (here / "A.fails").touch()

    await xqute.build(A, force=True)

    status = await xqute.status(A)
    assert (status, status.latest) == ("success", 1)
    assert status.why.startswith("job 2 (The first) failed")


async def test_after_a_failure_several_goals_are_built_by_the_next_session(make_xqute, here, ran):
    (here / "B.fails").touch()
    async with make_xqute() as first:
        with pytest.raises(DependencyFailed):
            await first.build(C)
    (here / "B.fails").unlink()
    ran()

    async with make_xqute(resume=True) as second:
        jobs = await asyncio.gather(*(second.build(call) for call in (A, B, C, D)))

    assert ran() == ["B", "C", "D"]
    assert [job.id for job in jobs[:3]] == [1, 2, 4]
    assert await words(second) == ["success"] * 4


# What is found while a build runs


@pytest.mark.parametrize("xqute", [None, "memory://"], ids=["sqlite", "memory"], indirect=True)
@pytest.mark.parametrize("by_way_of", [False, True], ids=["itself", "in a step"])
async def test_what_was_required_counts_as_what_was_declared(xqute, ran, by_way_of):
    asker = ask("asker", by_way_of=by_way_of).named("asker")
    top = make("top", asker).named("top")
    x = make("X").named("X")

    await xqute.build(top)
    [first] = await xqute.find(name="X")
    [build] = await xqute.find(name="asker")

    assert ran() == ["asker", "X", "asker", "top"]
    assert build.used == {"X": first.id}
    assert await words(xqute, x, asker, top) == ["success"] * 3

    second = await xqute.build(x, force=True)
    assert await words(xqute, asker, top) == ["outdated", "outdated"]
    status = await xqute.status(asker)
    assert status.why == f"it used job {first.id} of X, and the newest is job {second.id}"
    ran()

    await xqute.build(top)
    assert ran() == ["asker", "asker", "top"], "X is up to date, and is not built again"
    assert await words(xqute, x, asker, top) == ["success"] * 3
    assert (await xqute.find(name="asker"))[-1].used == {"X": second.id}


async def test_those_that_require_the_same_do_not_outdate_each_other(xqute, ran):
    one, two = ask("one").named("one"), ask("two").named("two")

    await xqute.build(one)
    await xqute.build(two)

    assert ran() == ["one", "X", "one", "two", "two"]
    assert await words(xqute, one, two) == ["success", "success"]


async def test_an_edit_of_what_was_required_outdates_where_the_call_is_known(make_xqute):
    asker = ask("asker").named("asker")
    await make_xqute().build(asker)

    edited = make_xqute(calls=[asker, make("X", "more").named("X")])
    assert await words(edited, asker) == ["outdated"]
    assert (await edited.status(asker)).why == "X is outdated itself"
    assert await words(make_xqute(calls=[asker, make("X").named("X")]), asker) == ["success"]


async def test_dependents_include_those_that_required_what_was_built(make_xqute, ran):
    asker, x = ask("asker").named("asker"), make("X").named("X")
    xqute = make_xqute(calls=[asker, x])
    await xqute.build(asker)
    ran()

    await xqute.build(x, force=True, dependents=True)

    *began, last = ran()
    assert sorted(began) == ["X", "asker"], "only what is declared says which is first"
    assert last == "asker"
    assert await words(xqute, asker) == ["success"]


async def test_a_required_build_that_was_deleted_outdates_its_user(xqute, ran):
    asker = ask("asker").named("asker")
    await xqute.build(asker)
    [x] = await xqute.find(name="X")

    await x.delete()

    status = await xqute.status(asker)
    assert (status, status.why) == ("outdated", f"it used job {x.id} of X, and there is no result any more")


# Several at once


async def test_builds_at_the_same_time_share_what_both_need(xqute, ran):
    other = make("other", A).named("other")

    jobs = await asyncio.gather(xqute.build(B), xqute.build(other), xqute.build(A))

    assert sorted(ran()) == ["A", "B", "other"]
    assert len({job.id for job in jobs}) == 3
    assert await words(xqute, A, B, other) == ["success"] * 3


async def test_a_push_of_named_calls_is_a_build_of_each(xqute, ran):
    job = await xqute.push(B)
    await job

    assert ran() == ["A", "B"]
    assert job.used == {"A": 1}
    assert await words(xqute, A, B) == ["success", "success"]


async def test_one_name_has_one_meaning(xqute):
    with pytest.raises(GraphError, match="two different calls are named 'A'"):
        await xqute.build(make("C", A, make("other").named("A")).named("C"))

    job = await xqute.build(make("C", make("x").named("x"), make("x").named("x")).named("C"))
    assert len(await xqute.find(name="x")) == 1
    assert job.result()[2] == job.result()[3]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda xq: xq.build(make("A")), r"make\('A'\) has no name"),
        (lambda xq: xq.build(["echo"]), "only calls"),
        (lambda xq: xq.status(cmd("true")), r"cmd\('true'\) has no name"),
        (lambda xq: xq.build(A, deps="all"), "deps="),
    ],
)
async def test_what_can_not_be_built_is_refused(xqute, wrong, told):
    with pytest.raises(OptionError, match=told):
        await wrong(xqute)


async def test_dependents_need_to_know_the_calls(make_xqute):
    with pytest.raises(OptionError, match="calls="):
        await make_xqute().build(A, dependents=True)


@pytest.mark.parametrize(
    "named",
    [
        {"name": ""},
        {"name": "two\nlines"},
        {"name": 3},
        {"name": "x", "tags": "x"},
        {"name": "x", "notes": 1},
        {"name": "x", "protected": "yes"},
    ],
)
def test_a_name_that_is_none_is_refused(named):
    with pytest.raises(OptionError, match="named"):
        make("A").named(**named)


def test_a_named_call_is_the_same_call_with_a_name():
    call = make("A").named("A", tags=["x"])

    assert call.after(B).options(priority=3).naming == call.naming
    assert make("A").naming is None


# Several processes, and crashes


async def test_another_process_finds_the_builds(make_xqute, ran):
    async with make_xqute() as first:
        await first.build(C)
    ran()

    second = make_xqute()

    assert await words(second) == ["success", "success", "success", "not_built"]
    job = await second.build(C)
    assert job.cached
    assert job.result()[0] == "C"
    assert (await second.build(D)).used == {"C": job.id}
    assert ran() == ["D"]


async def test_a_build_of_an_earlier_process_is_deleted_and_cleaned_up_after(make_xqute, here):
    async with make_xqute() as first:
        await first.build(B)
    xqute = make_xqute()
    [old] = await xqute.find(name="A")

    await old.delete()

    assert (here / "unmade").read_text() == "A\n"
    assert not (xqute.metadir / str(old.id)).exists()
    assert await words(xqute, A, B) == ["not_built", "outdated"]


async def test_a_build_of_another_living_run_is_not_deleted(make_xqute):
    async with make_xqute() as first:
        await first.build(A)
        second = make_xqute()
        [job] = await second.find(name="A")

        with pytest.raises(XquteError, match="another run"):
            await job.delete()


BUILDS = """
import asyncio, sys
from tests.acceptance.jobcontrol_calls import C
from xqute import Xqute

async def main():
    xqute = Xqute(job_metadir=sys.argv[1], resume=True)
    job = await xqute.build(C)
    print(job.id, dict(job.used))

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_a_build_that_was_killed_goes_on_where_it_was(metadir, here, ran):
    script = here / "builds.py"
    script.write_text(BUILDS)
    argv = [sys.executable, script, metadir]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    (here / "B.waits").touch()
    with subprocess.Popen(argv, env=environment) as process:  # noqa: ASYNC220  it is begun, not awaited
        await until(lambda: (here / "ran").exists() and "B" in (here / "ran").read_text())
        process.send_signal(signal.SIGKILL)

    (here / "B.waits").unlink()
    done = await asyncio.to_thread(
        subprocess.run, argv, env=environment, capture_output=True, text=True, check=True
    )
    again = await asyncio.to_thread(
        subprocess.run, argv, env=environment, capture_output=True, text=True, check=True
    )

    assert ran() == ["A", "B", "C"]
    assert done.stdout.split()[1:] == ["{'B':", "2}"]
    assert again.stdout == done.stdout


async def test_a_result_of_an_earlier_session_that_is_outdated_is_not_taken_for_new(make_xqute, ran):
    async with make_xqute() as first:
        await first.build(C)
    async with make_xqute(resume=True) as second:
        newer = await second.build(A, force=True)
    ran()

    async with make_xqute(resume=True) as third:
        job = await third.build(C)

    assert ran() == ["B", "C"]
    [_, b] = await third.find(name="B")
    assert (dict(b.used), dict(job.used)) == ({"A": newer.id}, {"B": b.id})
    assert job.result()[2] == b.result()


@pytest.mark.parametrize("xqute", [None, "memory://"], ids=["sqlite", "memory"], indirect=True)
async def test_what_is_built_keeps_to_the_limit_of_its_task(xqute, ran):
    await xqute.set_limit(make.name, 0)
    building = asyncio.ensure_future(xqute.build(A))
    await until(lambda: [str(job.reason) for job in xqute.jobs] == [f"limit {make.name} 0/0"])

    await xqute.set_limit(make.name, 1)
    async with asyncio.timeout(30):
        job = await building

    assert (job.name, job.status) == ("A", JobStatus.FINISHED)
    await job.archive()
    assert await xqute.find(name="A") == []
    assert await xqute.find(name="A", archived=True) == [job]
    assert ran() == ["A"]


def test_the_module_can_be_imported_again_and_means_the_same():
    first = dict(vars(jobcontrol_calls))
    try:
        again = importlib.reload(jobcontrol_calls)

        assert again.A.naming == A.naming
    finally:
        vars(jobcontrol_calls).update(first)  # the calls that other tests have are of these functions
