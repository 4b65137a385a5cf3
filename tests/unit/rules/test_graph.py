"""Nothing is runnable before its needs ended well, and whatever can't be is blocked."""

import sys
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from xqute.rules.graph import Graph, Standing

OPEN, GOOD, BAD = "open", "good", "bad"

#: For each job, how far back those stand that it needs.
graphs = st.lists(st.sets(st.integers(1, 4), max_size=3), min_size=3, max_size=14)


class Model:
    """The same by looking at everything each time."""

    def __init__(self) -> None:
        self.needs: dict[int, set[int]] = {}
        self.state: dict[int, str] = {}

    def missing(self, job: int) -> list[int]:
        return sorted(need for need in self.needs[job] if self.state[need] != GOOD)

    def causes(self, job: int) -> list[int]:
        """The nearest bad ends below an open job, by way of open ones."""
        if self.state[job] != OPEN:
            return []
        found, seen, stack = set(), {job}, [job]
        while stack:
            for need in self.needs[stack.pop()] - seen:
                seen.add(need)
                if self.state[need] == BAD:
                    found.add(need)
                elif self.state[need] == OPEN:
                    stack.append(need)
        return sorted(found)

    def reaches(self, job: int, other: int) -> bool:
        seen, stack = {job}, [job]
        while stack:
            more = {need for need in self.needs[stack.pop()] - seen if self.state[need] != GOOD}
            seen |= more
            stack += more
        return other in seen

    def blocked(self) -> set[int]:
        return {job for job in self.needs if self.causes(job)}

    def runnable(self) -> set[int]:
        return {job for job in self.needs if self.state[job] == OPEN and not self.missing(job)}


class Life(RuleBasedStateMachine):
    """Jobs come, require others, end well or badly, are tried again and are forgotten, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.graph = Graph()
        self.model = Model()
        self.groups: list[list[int]] = []

    def some_job(self, data: st.DataObject, *states: str) -> int | None:
        jobs = sorted(job for job, state in self.model.state.items() if state in states)
        return data.draw(st.sampled_from(jobs)) if jobs else None

    def ended(self) -> dict[str, set[int]]:
        return {
            word: {job for job, state in self.model.state.items() if state == word} for word in (GOOD, BAD)
        }

    @initialize(first=st.sampled_from([OPEN, GOOD, BAD]))
    def a_job_nobody_told_about(self, first: str) -> None:
        self.model.needs[1], self.model.state[1] = set(), first

    @rule(data=st.data(), own=st.booleans())
    def a_new_job(self, data: st.DataObject, *, own: bool) -> None:
        job = len(self.model.needs) + 1
        some = data.draw(st.lists(st.sampled_from(sorted(self.model.needs)), max_size=4))
        number = data.draw(st.integers(0, len(self.groups)))
        if not own and number < len(self.groups):
            some = self.groups[number]
        else:
            self.groups.append(some)
            number = len(self.groups) - 1
        self.model.needs[job], self.model.state[job] = set(some), OPEN

        standing = self.graph.add(job, None if own else number, some, **self.ended())

        assert standing is self.expected(job)

    @rule(data=st.data())
    def a_job_asks_for_others(self, data: st.DataObject) -> None:
        job = self.some_job(data, OPEN)
        some = data.draw(st.lists(st.sampled_from(sorted(self.model.needs)), max_size=3))
        if job is None or any(self.model.reaches(need, job) for need in some):
            return
        self.model.needs[job] |= set(some)

        standing = self.graph.require(job, some, **self.ended())

        assert standing is self.expected(job)

    @rule(data=st.data())
    def a_job_ends_well(self, data: st.DataObject) -> None:
        job = self.some_job(data, OPEN, BAD)
        if job is None:
            return
        before = self.model.runnable()
        self.model.state[job] = GOOD

        free = self.graph.good(job)

        assert free == sorted(self.model.runnable() - before)

    @rule(data=st.data())
    def a_job_ends_badly(self, data: st.DataObject) -> None:
        job = self.some_job(data, OPEN, GOOD)
        if job is None:
            return
        before = self.model.blocked()
        self.model.state[job] = BAD

        blocked = self.graph.bad(job)

        assert blocked == sorted(self.model.blocked() - before)
        assert all(self.graph.causes(other) == [job] for other in blocked)

    @rule(data=st.data())
    def a_job_is_wanted_again(self, data: st.DataObject) -> None:
        job = self.some_job(data, GOOD, BAD)
        if job is None:
            return
        before = self.model.blocked()
        self.model.state[job] = OPEN

        unblocked = self.graph.again(job)

        assert unblocked == sorted(before - self.model.blocked())

    @rule(data=st.data())
    def a_job_is_forgotten_unless_somebody_needs_it(self, data: st.DataObject) -> None:
        job = self.some_job(data, GOOD)
        if job is None:
            return
        needed = any(job in needs for needs in self.model.needs.values())
        was_there = job in self.graph

        self.graph.forget(job)

        assert (job in self.graph) is (was_there and needed)
        if not needed:
            self.forget_alike(job)

    def forget_alike(self, job: int) -> None:
        """In the model its needs go; what nobody needs any more goes with it, if it ended well."""
        gone = [job]
        while gone:
            one = gone.pop()
            needs, self.model.needs[one] = self.model.needs[one], set()
            named = {need for needs in self.model.needs.values() for need in needs}
            gone += [need for need in needs - named if self.model.state[need] == GOOD]

    def expected(self, job: int) -> Standing:
        if not self.model.missing(job):
            return Standing.RUNNABLE
        return Standing.BLOCKED if self.model.causes(job) else Standing.WAITING

    @invariant()
    def everything_is_as_in_the_model(self) -> None:
        for job in self.model.needs:
            if self.model.state[job] == OPEN:
                assert self.graph.standing(job) is self.expected(job)
                assert self.graph.runnable(job) is (not self.model.missing(job))
            assert self.graph.missing(job) == self.model.missing(job)
            assert self.graph.blocked(job) is bool(self.model.causes(job))
            assert self.graph.causes(job) == self.model.causes(job)
            assert self.graph.cause(job) in (self.model.causes(job) or [0])
            assert self.graph.needs(job) == tuple(sorted(self.model.needs[job]))
        assert self.graph.blocked_count == len(self.model.blocked())

    @invariant()
    def ways_are_as_in_the_model(self) -> None:
        newest = max(self.model.needs, default=0)
        for job in self.model.needs:
            assert self.graph.reaches(newest, job) is self.model.reaches(newest, job)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(graphs, st.randoms(use_true_random=True))
def test_jobs_that_come_in_any_order_stand_as_if_they_had_come_in_theirs(needs, random) -> None:
    model, graph = Model(), Graph()
    for job, some in enumerate(needs, 1):
        model.needs[job] = {job - back for back in some if back < job}
        model.state[job] = random.choice([OPEN, OPEN, GOOD, BAD])
    ended = {word: {job for job, state in model.state.items() if state == word} for word in (GOOD, BAD)}

    for job in random.sample([*model.needs], len(needs)):
        if model.state[job] == OPEN:
            graph.add(job, None, model.needs[job], **ended)

    assert {job for job in model.needs if graph.blocked(job)} == model.blocked()
    assert graph.blocked_count == len(model.blocked())
    for job in (job for job, state in model.state.items() if state == OPEN):
        assert (graph.missing(job), graph.causes(job)) == (model.missing(job), model.causes(job))


@given(graphs, st.lists(st.booleans(), max_size=20), st.randoms(use_true_random=True))
def test_whatever_fails_is_tried_again_and_everything_runs_once_after_its_needs(needs, fails, random) -> None:
    graph, groups = Graph(), {}
    for job, some in enumerate(needs, 1):
        groups[job] = sorted(job - back for back in some if back < job)
        graph.add(job, tuple(groups[job]), groups[job])
    ready, ran = [job for job in groups if graph.runnable(job)], []

    while ready:
        job = ready.pop(random.randrange(len(ready)))
        assert set(groups[job]) <= set(ran)
        if fails and fails.pop():
            blocked = graph.bad(job)
            assert not set(blocked) & {*ran, *ready}
            assert graph.again(job) == blocked
            ready.append(job)
            continue
        ran.append(job)
        ready += graph.good(job)
        graph.forget(job)

    assert sorted(ran) == [*groups]
    assert not [job for job in groups if job in graph]


def test_a_chain_may_have_any_length() -> None:
    graph, length = Graph(), 50_000
    for job in range(2, length + 1):
        graph.add(job, None, (job - 1,))

    assert graph.bad(1) == [*range(2, length + 1)]
    assert {graph.cause(job) for job in range(2, length + 1)} == {1}
    assert graph.causes(length) == [1]
    assert graph.reaches(length, 1)
    assert graph.again(1) == [*range(2, length + 1)]
    assert [graph.good(job) for job in range(1, length)] == [[job] for job in range(2, length + 1)]
    graph.good(length)
    graph.forget(length)
    assert not [job for job in range(1, length + 1) if job in graph]


def life_of_a_fan(members: range, jobs: range) -> None:
    """Many jobs wait for one group of many, and one waits for them all."""
    graph, top = Graph(), jobs[-1] + 1
    for job in jobs:
        graph.add(job, "all", members)
    graph.add(top, None, jobs)
    assert graph.bad(members[0]) == [*jobs, top]
    assert not any(graph.bad(member) for member in members[1:])
    assert {graph.cause(job) for job in jobs} == {members[0]}
    assert graph.causes(top) == [*members]
    assert not graph.reaches(top, 0)
    assert not any(graph.again(member) for member in members[:-1])
    assert {graph.cause(job) for job in jobs} == {members[-1]}
    assert graph.again(members[-1]) == [*jobs, top]
    assert [job for member in members for job in graph.good(member)] == [*jobs]
    assert [job for one in jobs for job in graph.good(one)] == [top]
    graph.good(top)
    graph.forget(top)
    assert not [job for job in range(1, top + 1) if job in graph]


def life_of_a_star(jobs: range) -> None:
    """Many jobs wait for one, each beside another."""
    graph = Graph()
    for job in jobs:
        graph.add(job, job, (1, job + len(jobs)))
    for job in [*jobs, *range(jobs.stop, jobs.stop + len(jobs))]:
        graph.good(job)
    assert graph.good(1) == []
    for job in jobs:
        assert 1 in graph
        graph.forget(job)
    assert 1 not in graph


def lines_of(doing: Callable[[], None]) -> int:
    """How many lines of the graph's own are run by something."""
    lines = 0

    def count(frame, event, _):
        nonlocal lines
        if frame.f_globals.get("__name__") != Graph.__module__:
            return None
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        doing()
    finally:
        sys.settrace(before)
    return lines


def test_jobs_that_share_a_group_cost_their_sum_and_not_their_product() -> None:
    few = lines_of(lambda: life_of_a_fan(range(1, 101), range(101, 201)))

    assert lines_of(lambda: life_of_a_fan(range(1, 801), range(801, 1601))) < 10 * few


def test_jobs_that_need_the_same_one_are_forgotten_in_steps_as_many_as_they_are() -> None:
    few = lines_of(lambda: life_of_a_star(range(2, 102)))

    assert lines_of(lambda: life_of_a_star(range(2, 802))) < 10 * few


def test_jobs_that_may_run_come_ascending_whatever_they_waited_for() -> None:
    graph = Graph()
    graph.add(5, "a", [1, 2])
    graph.add(4, "b", [2])
    graph.add(3, "a", [1, 2])

    assert (graph.good(1), graph.good(2)) == ([], [3, 4, 5])


def test_a_job_that_came_before_those_it_needs_is_blocked_with_them() -> None:
    graph = Graph()
    assert graph.add(3, None, [2]) is Standing.WAITING

    assert graph.add(2, None, [1], bad={1}) is Standing.BLOCKED

    assert (graph.standing(3), graph.cause(3), graph.blocked_count) == (Standing.BLOCKED, 1, 2)


def test_a_group_that_went_is_read_anew() -> None:
    graph = Graph()
    graph.add(2, "group", [1], good={1})
    graph.good(2)
    graph.forget(2)

    assert graph.add(3, "group", [1], bad={1}) is Standing.BLOCKED


def test_a_job_that_ended_well_and_is_tried_again_may_be_blocked_itself() -> None:
    graph = Graph()
    graph.add(2, None, [1])
    graph.add(3, None, [2])
    assert (graph.good(1), graph.good(2), graph.again(1), graph.bad(1)) == ([2], [3], [], [])

    assert graph.again(2) == []

    assert (graph.causes(2), graph.causes(3)) == ([1], [1])


def test_what_nobody_named_changes_nothing() -> None:
    graph = Graph()

    assert [graph.good(1), graph.bad(1), graph.again(1), graph.causes(1), graph.missing(1)] == [[]] * 5
    assert (graph.standing(1), graph.blocked(1), graph.cause(1)) == (Standing.RUNNABLE, False, 0)
    assert (graph.needs(1), graph.reaches(1, 2), graph.reaches(1, 1)) == ((), False, True)
    graph.forget(1)
    assert 1 not in graph


def test_what_a_job_required_again_is_needed_once() -> None:
    graph = Graph()
    graph.add(9, "group", [1, 2], good={1, 2})

    assert graph.require(9, [2, 3]) is Standing.WAITING
    assert graph.require(9, [3, 2, 3, 4], bad={4}) is Standing.BLOCKED

    assert graph.needs(9) == (1, 2, 3, 4)
    assert (graph.again(4), graph.good(3), graph.good(4)) == ([9], [], [9])
