"""A result is up to date when it was built from what is the newest now, and never because of a time."""

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from xqute.rules.freshness import (
    UNKNOWN,
    Build,
    BuildStatus,
    Decision,
    Definition,
    below,
    decide,
    ordered,
    statuses,
    usable,
)
from xqute.states import JobStatus

FINISHED, FAILED, SKIPPED = JobStatus.FINISHED, JobStatus.FAILED, JobStatus.SKIPPED
KILLED, RUNNING = JobStatus.KILLED, JobStatus.RUNNING

A, B, C = Definition("A", "a"), Definition("B", "b", ("A",)), Definition("C", "c", ("B",))
CHAIN = [A, B, C]


def built(id_: int, digest: str, status: JobStatus = FINISHED, *, ours: bool = False, **used: int) -> Build:
    return Build(id_, status, digest, used, ours)


def fresh() -> dict[str, list[Build]]:
    return {"A": [built(1, "a")], "B": [built(2, "b", A=1)], "C": [built(3, "c", B=2)]}


def words(builds) -> list[str]:
    return [str(word) for word in statuses(CHAIN, builds).values()]


# How calls stand


def test_what_was_never_built_is_not_built_and_what_only_failed_is_failed() -> None:
    builds = {"A": [built(1, "a", FAILED)], "B": [built(2, "b", KILLED)], "C": [built(3, "c", RUNNING)]}

    found = statuses([*CHAIN, Definition("D", "d")], builds)

    assert list(found.values()) == ["failed", "failed", "not_built", "not_built"]
    assert [found[name].running for name in "ABCD"] == [False, False, True, False]


def test_the_table_of_the_first_such_system() -> None:
    one, two = Definition("1", "x"), Definition("2", "y", ("1",))
    builds = {"1": [built(1, "x")], "2": [Build(2, FINISHED, "y", {"1": 1})]}
    seen = []
    for change in (built(3, "x", FAILED), built(4, "x", SKIPPED), built(5, "x")):
        builds["1"] = [*builds["1"], change]
        seen.append(statuses([one, two], builds)["2"])

    builds["2"] = [*builds["2"], Build(6, FINISHED, "y", {"1": 5})]

    assert seen == ["success", "success", "outdated"]
    assert statuses([one, two], builds)["2"] == "success"


def test_what_was_built_from_a_build_that_is_not_the_newest_is_outdated_whenever_it_ended() -> None:
    # B began with job 1 of A, A was built again meanwhile, and B ended last
    builds = {"A": [built(1, "a"), built(3, "a")], "B": [built(2, "b", A=1)], "C": []}

    found = statuses(CHAIN, builds)

    assert words(builds) == ["success", "outdated", "not_built"]
    assert found["B"].why == "it used job 1 of A, and the newest is job 3"
    assert found["B"].latest == 2


def test_who_needs_what_is_outdated_is_outdated_itself() -> None:
    builds = fresh() | {"A": [built(1, "a"), built(4, "a")]}

    assert words(builds) == ["success", "outdated", "outdated"]
    assert statuses(CHAIN, builds)["C"].why == "B is outdated itself"


def test_an_edit_of_the_definition_outdates_it_until_it_is_taken_back() -> None:
    edited = [A._replace(digest="other"), B, C]

    assert list(statuses(edited, fresh()).values()) == ["outdated"] * 3
    assert statuses(edited, fresh())["A"].why == "its definition changed"
    assert words(fresh()) == ["success"] * 3


def test_what_can_not_be_compared_is_outdated_always() -> None:
    assert statuses([A._replace(digest="")], {"A": [built(1, "")]})["A"] == "outdated"


def test_a_result_that_is_gone_outdates_what_used_it() -> None:
    builds = fresh() | {"A": []}

    assert words(builds) == ["not_built", "outdated", "outdated"]


def test_a_skipped_build_says_that_the_last_result_stands_for_what_is_there_now() -> None:
    builds = fresh() | {"A": [built(1, "a"), built(4, "a")]}
    builds["B"] = [*builds["B"], built(5, "b", SKIPPED, A=4)]

    assert words(builds) == ["success", "success", "success"]
    assert statuses(CHAIN, builds)["B"].latest == 2


def test_a_skipped_build_is_no_result() -> None:
    assert statuses([A], {"A": [built(1, "a", SKIPPED)]})["A"] == "not_built"


def test_a_status_is_a_word_that_knows_more() -> None:
    status = BuildStatus("outdated", "why", running=True, latest=7)

    assert status == "outdated"
    assert (status.why, status.running, status.latest) == ("why", True, 7)


def test_what_is_wrong_with_the_newest_build_is_told_beside_how_the_call_stands() -> None:
    blocked = Build(4, JobStatus.WAITING, "b", {"A": 1}, trouble="it can't start")
    failed = Build(5, FAILED, "a", {}, trouble="it failed")

    found = statuses(CHAIN, {"A": [failed], "B": [*fresh()["B"], blocked], "C": [blocked]})

    assert (found["A"], found["A"].why) == ("failed", "it failed")
    assert found["B"].why == "it used job 1 of A, and there is no result any more; it can't start"
    assert (found["C"], found["C"].why, found["C"].running) == ("not_built", "it can't start", False)


def test_a_change_of_what_it_needs_is_told_before_its_own() -> None:
    edited = [A._replace(digest="other"), B._replace(digest="other b")]

    assert statuses(edited, fresh())["B"].why == "A is outdated itself"
    assert statuses([A, B._replace(digest="other b")], fresh())["B"].why == "its definition changed"


def test_what_was_found_while_it_ran_counts_whoever_defines_it() -> None:
    alone = B._replace(needs=())
    builds = fresh() | {"A": [built(1, "a"), built(4, "a")]}

    assert statuses([Definition("A", UNKNOWN), alone], fresh())["B"] == "success"
    assert statuses([Definition("A", UNKNOWN), alone], builds)["B"] == "outdated"
    assert statuses([A._replace(digest="other"), alone], fresh())["B"].why == "A is outdated itself"
    assert decide([A._replace(digest="other"), alone], fresh(), ["B"]).new == {"B"}, "it builds A itself"


def test_each_call_comes_after_what_counts_for_it_also_in_circles() -> None:
    one, two = Definition("1", "x"), Definition("2", "y")
    builds = {"1": [built(1, "x", **{"2": 2})], "2": [built(2, "y", **{"1": 1})]}

    assert [each.name for each in ordered([C, B, A], fresh())] == ["A", "B", "C"]
    assert [each.name for each in ordered([one, two], {"1": builds["1"]})] == ["2", "1"]
    assert {each.name for each in ordered([one, two], builds)} == {"1", "2"}
    assert list(statuses(ordered([one, two], builds), builds).values()) == ["success", "success"]


# What is to be built


def test_only_what_is_outdated_is_built() -> None:
    builds = fresh() | {"A": [built(1, "a"), built(4, "a")]}

    decision = decide(CHAIN, builds, ["C"])

    assert decision.new == {"B", "C"}
    assert decision.uses == {"A": 4}
    assert decide(CHAIN, fresh(), ["C"]).new == frozenset()


def test_missing_builds_only_what_has_no_result_and_the_goal() -> None:
    old = fresh() | {"A": [built(1, "a"), built(4, "a")]}
    edited = [A, B, C._replace(digest="other")]

    assert decide(edited, old, ["C"], deps="missing").new == {"C"}
    assert decide(edited, {"A": old["A"]}, ["C"], deps="missing").new == {"B", "C"}


def test_none_builds_the_goal_alone_and_names_what_is_missing() -> None:
    assert decide(CHAIN, {}, ["C"], deps=None).missing == {"C": ("A", "B")}
    assert decide(CHAIN, fresh(), ["C"], deps=None) == decide(CHAIN, fresh(), ["C"])
    assert decide(CHAIN, {"B": fresh()["B"]}, ["C"], deps=None).missing == {}


def test_a_pinned_build_is_used_and_its_own_needs_are_not_looked_at() -> None:
    builds = fresh() | {"B": [built(2, "b", A=1), built(5, "b", A=1)], "A": []}

    decision = decide(CHAIN, builds, ["C"], pin={"B": 2}, force=True)

    assert (decision.new, decision.uses) == ({"C"}, {"B": 2})


def test_force_builds_the_goal_and_not_what_it_needs() -> None:
    assert decide(CHAIN, fresh(), ["C"], force=True).new == {"C"}


def test_who_needs_what_is_forced_beside_it_uses_its_new_build() -> None:
    decision = decide(CHAIN, fresh(), ["C", "A"], force=True)
    left = decide(CHAIN, fresh(), ["C", "A"], deps="missing", force=True)

    assert (decision.new, decision.uses) == ({"A", "B", "C"}, {})
    assert (left.new, left.uses) == ({"A", "C"}, {"B": 2}), "what lies between may not be built"


def test_of_several_goals_only_those_are_not_built_that_lack_something() -> None:
    builds = {"A": fresh()["A"]}

    assert decide(CHAIN, {}, ["A", "B", "C"], deps=None).new == {"A", "B", "C"}
    assert decide(CHAIN, builds, ["A", "C"], deps=None, force=True) == (
        *({"A"}, {}, ("A",), {"C": ("B",)}, frozenset()),
    )
    assert decide(CHAIN, {}, ["B", "C"], deps=None).missing == {"B": ("A",), "C": ("A",)}


def test_where_a_dependent_lacks_something_nothing_is_built() -> None:
    calls = [*CHAIN, Definition("aside", "e", ("A", "D")), Definition("D", "d")]

    decision = decide(calls, fresh(), ["B"], deps=None, dependents=["aside"], force=True)
    above = decide(calls, fresh(), ["A"], deps=None, dependents=["aside"], force=True)

    assert (decision.new, decision.missing) == ({"B"}, {})
    assert (above.new, above.missing) == (frozenset(), {"A": ("D",)})


def test_what_is_protected_is_not_built_again() -> None:
    calls = [A._replace(digest="other", protected=True), B, C]

    assert decide(calls, fresh(), ["C"]).new == frozenset()
    assert decide(calls, fresh(), ["A"]).refused == {"A"}
    assert not decide(calls, {}, ["A"]).refused
    assert decide(calls, fresh(), ["A"], force=True).new == {"A"}


def test_dependents_follow_what_was_built() -> None:
    aside = Definition("aside", "e", ("A",))
    calls = [*CHAIN, aside, Definition("else", "f")]
    names = [each.name for each in calls]

    decision = decide(calls, fresh(), ["B"], dependents=names, force=True)
    whole = decide(calls, fresh(), ["A"], dependents=names, force=True)
    nothing = decide(calls, fresh() | {"aside": [built(9, "e", A=1)]}, ["A"], dependents=names)

    assert (decision.new, decision.roots) == ({"B", "C"}, ("B", "C"))
    assert (whole.new, whole.roots) == ({"A", "B", "C", "aside"}, ("A", "B", "C", "aside"))
    assert nothing.new == frozenset()


def test_what_is_on_its_way_is_not_begun_twice() -> None:
    builds = {"A": [built(1, "a", RUNNING, ours=True)], "B": [built(2, "b", RUNNING, ours=True, A=1)]}
    others = {"A": [built(1, "a", RUNNING)]}

    assert decide(CHAIN, builds, ["C"]) == ({"C"}, {"B": 2}, ("C",), {}, frozenset())
    assert decide(CHAIN, builds, ["B"]).new == frozenset()
    assert decide(CHAIN, builds, ["B"], force=True).new == {"B"}
    assert decide([A._replace(digest="other"), B, C], builds, ["B"]).new == {"A", "B"}
    assert decide(CHAIN, others, ["B"]).new == {"A", "B"}, "nobody knows whether it will end"


# Whatever happens


class Made(NamedTuple):
    """What really became of a build: from which edit of its call, and from which results."""

    id: int
    status: JobStatus
    edit: int
    used: dict[int, int]


class Model:
    """The same from first principles: what each result was really made of."""

    def __init__(self, needs: list[set[int]]) -> None:
        self.needs = needs
        self.edits = [0] * len(needs)
        self.made: list[dict[int, Made]] = [{} for _ in needs]

    def good(self, call: int) -> int:
        """Its newest result; 0: there is none."""
        return max((one.id for one in self.made[call].values() if one.status is FINISHED), default=0)

    def standing(self, call: int) -> Made:
        """What said last that the result is right."""
        return max(one for one in self.made[call].values() if one.status in {FINISHED, SKIPPED})

    def outdated(self, call: int) -> bool:
        if not self.good(call):
            return True
        _, _, edit, used = self.standing(call)
        return (
            edit != self.edits[call]
            or not self.needs[call] <= used.keys()
            or any(self.good(need) != id_ for need, id_ in used.items())
            or any(self.outdated(need) for need in used)
        )

    def use(self, call: int, goals: set[int], deps: str | None, pin: dict[int, int], *, force: bool) -> int:
        """Which result of it would be used; 0: a new one."""
        if call in pin:
            return pin[call]
        if (call in goals and force) or not self.good(call):
            return 0
        if call not in goals and deps != "outdated":
            return self.good(call)
        _, _, edit, used = self.standing(call)
        same = edit == self.edits[call] and all(
            self.use(need, goals, deps, pin, force=force) == used.get(need) != 0
            for need in self.needs[call] | used.keys()
        )
        return self.good(call) if same else 0

    def new(self, goals: set[int], deps: str | None, pin: dict[int, int], *, force: bool) -> set[int]:
        """What would be built for goals."""
        found: set[int] = set()
        left = list(goals)
        while left:
            call = left.pop()
            if call not in found and not self.use(call, goals, deps, pin, force=force):
                found.add(call)
                left += self.needs[call]
        return found

    def missing(self, goals: set[int], pin: dict[int, int], *, force: bool) -> set[int]:
        """The goals that can't be had where nothing else may be built, nor what needs those."""
        left = set(goals)
        while bad := {
            goal
            for goal in left
            if any(not self.good(one) for one in self.reached(goal, left, pin, force=force) - left)
        }:
            left -= bad
        return goals - left

    def reached(self, goal: int, goals: set[int], pin: dict[int, int], *, force: bool) -> set[int]:
        """What would be built for one of several goals."""
        found: set[int] = set()
        left = [goal]
        while left:
            call = left.pop()
            if call not in found and not self.use(call, goals, None, pin, force=force):
                found.add(call)
                left += self.needs[call]
        return found


class Life(RuleBasedStateMachine):
    """Calls are built, edited, fail, skip and are deleted, and any of that while others run."""

    @initialize(needs=st.lists(st.sets(st.integers(1, 3), max_size=2), min_size=2, max_size=7))
    def begin(self, needs: list[set[int]]) -> None:
        below_ = [{number - back for back in backs if number >= back} for number, backs in enumerate(needs)]
        self.model = Model(below_)
        self.builds: dict[str, list[Build]] = {str(call): [] for call in range(len(needs))}
        self.running: list[tuple[int, Build]] = []
        self.newest = 0

    def definitions(self) -> list[Definition]:
        model = self.model
        return [
            Definition(str(call), f"{call}.{model.edits[call]}", tuple(map(str, sorted(needs))))
            for call, needs in enumerate(model.needs)
        ]

    def call(self, data) -> int:
        return data.draw(st.integers(0, len(self.model.needs) - 1))

    def keep(self, call: int, build: Build, status: JobStatus) -> None:
        edit = int(build.digest.split(".")[1])
        used = {int(need): id_ for need, id_ in build.used.items()}
        self.model.made[call][build.id] = Made(build.id, status, edit, used)

    @rule(data=st.data())
    def edit(self, data) -> None:
        call = self.call(data)
        self.model.edits[call] += 1

    @rule(data=st.data())
    def begin_build(self, data) -> None:
        """By hand, with what there is now; while it runs it may find that it needs more."""
        call, model = self.call(data), self.model
        found = data.draw(st.sets(st.integers(0, call), max_size=2)) - {call}
        needs = model.needs[call] | {other for other in found if model.good(other)}
        if all(map(model.good, needs)):
            self.newest += 1
            used = {str(need): model.good(need) for need in needs}
            build = Build(self.newest, RUNNING, f"{call}.{model.edits[call]}", used)
            self.builds[str(call)].append(build)
            self.running.append((call, build))

    @rule(data=st.data(), status=st.sampled_from([FINISHED, FINISHED, SKIPPED, FAILED, KILLED]))
    def end(self, data, status) -> None:
        if self.running:
            call, build = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
            builds = self.builds[str(call)]
            builds[builds.index(build)] = build._replace(status=status)
            # of two results the one of the younger job counts, whichever ended first
            self.keep(call, build, status)

    @rule(
        data=st.data(),
        deps=st.sampled_from(["outdated", "outdated", "missing", None]),
        pinned=st.booleans(),
        force=st.booleans(),
    )
    def build(self, data, deps, pinned, force) -> None:
        """As asked for: what is decided on is what the model says, and it ends well."""
        model = self.model
        goals = {self.call(data), self.call(data)}
        names = sorted(map(str, goals))
        before = statuses(self.definitions(), self.builds)
        pin = self.pins(data, goals) if pinned else {}
        texts = {str(call): id_ for call, id_ in pin.items()}
        decision = decide(self.definitions(), self.builds, names, deps=deps, pin=texts, force=force)
        missing = model.missing(goals, pin, force=force) if deps is None else set()
        assert set(map(int, decision.missing)) == missing
        assert set(map(int, decision.new)) == model.new(goals - missing, deps, pin, force=force)
        if not pin and not force:
            assert all(before[name] != "success" for name in decision.new), "nothing is built for nothing"
        self.build_all(decision, pin)
        if deps == "outdated" and not pin:
            after = statuses(self.definitions(), self.builds)
            assert {str(after[name]) for name in names} == {"success"}
            assert decide(self.definitions(), self.builds, names).new == frozenset()
        again = decide(self.definitions(), self.builds, decision.roots, deps=deps, pin=texts)
        assert not again.new & {*names}, "what was just built so is not built so again"

    def pins(self, data, goals: set[int]) -> dict[int, int]:
        """Any results of calls that the goals need."""
        names = {str(call): list(map(str, needs)) for call, needs in enumerate(self.model.needs)}
        above = [need for goal in goals for need in names[str(goal)]]
        needs = sorted(
            int(name) for name in below(above, names) if self.model.good(int(name)) and int(name) not in goals
        )
        pinned = data.draw(st.lists(st.sampled_from(needs), unique=True, max_size=2)) if needs else []
        return {
            call: data.draw(
                st.sampled_from([one.id for one in self.model.made[call].values() if one.status is FINISHED])
            )
            for call in pinned
        }

    def build_all(self, decision: Decision, pin: dict[int, int]) -> None:
        for definition in self.definitions():
            if definition.name in decision.new:
                self.newest += 1
                used = {need: pin.get(int(need)) or self.model.good(int(need)) for need in definition.needs}
                build = Build(self.newest, FINISHED, definition.digest, used)
                self.builds[definition.name].append(build)
                self.keep(int(definition.name), build, FINISHED)

    @rule(data=st.data())
    def delete(self, data) -> None:
        call = self.call(data)
        good = self.model.good(call)
        self.model.made[call].pop(good, None)
        self.builds[str(call)] = [build for build in self.builds[str(call)] if build.id != good]

    @invariant()
    def the_rules_say_what_the_model_says(self) -> None:
        for name, status in statuses(self.definitions(), self.builds).items():
            call = int(name)
            if self.model.good(call):
                assert status == ("outdated" if self.model.outdated(call) else "success")
                assert status.latest == self.model.good(call)
            else:
                assert status in {"failed", "not_built"}
            assert status.running == any(other == call for other, _ in self.running)

    @invariant()
    def what_can_be_used_is_what_is_up_to_date(self) -> None:
        use = usable(self.definitions(), self.builds)

        good = {call for call in range(len(self.builds)) if not self.model.outdated(call)}
        assert {int(name) for name in use} == good
        assert all(id_ == self.model.good(int(name)) for name, id_ in use.items())


class TestLife(Life.TestCase):
    settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_what_is_built_anew_just_now_is_used_as_it_will_be() -> None:
    builds = fresh()
    builds["B"].append(built(7, "b", RUNNING, ours=True, A=1))

    assert usable(CHAIN, builds) == {"A": 1, "B": 7, "C": 3}
    assert usable(CHAIN, fresh()) == {"A": 1, "B": 2, "C": 3}


@given(st.dictionaries(st.integers(0, 9), st.sets(st.integers(0, 9)), max_size=9), st.integers(0, 9))
def test_below_names_each_call_once_also_in_circles(needs, start) -> None:
    texts = {str(name): sorted(map(str, others)) for name, others in needs.items()}

    found = list(below([str(start)], texts))

    assert len(found) == len(set(found))
    assert all(set(texts.get(name, ())) <= set(found) for name in found)
