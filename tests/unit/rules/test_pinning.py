"""An older build is used as somebody wants it to be, or it is said what is in between."""

from hypothesis import given, settings
from hypothesis import strategies as st

from xqute.rules.freshness import Build, Definition, below, decide
from xqute.rules.pinning import Between, ignored_pins, made_of
from xqute.states import JobStatus

FINISHED, SKIPPED = JobStatus.FINISHED, JobStatus.SKIPPED
A, B, C, D = (
    *(Definition("A", "a"), Definition("B", "b", ("A",))),
    *(Definition("C", "c", ("B",)), Definition("D", "d", ("C",))),
)


def built(id_: int, digest: str, status: JobStatus = FINISHED, **used: int) -> Build:
    return Build(id_, status, digest, used)


def chain() -> dict[str, list[Build]]:
    """A was built again, as job 5, and all others after it."""
    return {
        "A": [built(1, "a"), built(5, "a")],
        "B": [built(2, "b", A=1), built(6, "b", A=5)],
        "C": [built(3, "c", B=2), built(7, "c", B=6)],
        "D": [built(4, "d", C=3), built(8, "d", C=7)],
    }


def ignored(definitions, builds, goal, pin, **how):
    decision = decide(definitions, builds, [goal], pin=pin, **how)
    return ignored_pins(decision, definitions, made_of(builds, {}), pin)


def test_a_pin_is_not_used_where_what_lies_between_is_left_as_it_is() -> None:
    calls = [A, B, C]

    assert ignored(calls, chain(), "C", {"A": 1}, deps="missing") == {"A": Between("B", 6, 5, "left")}
    assert ignored(calls, chain(), "C", {"A": 1}, deps=None, force=True) == {"A": Between("B", 6, 5, "left")}
    assert ignored(calls, chain(), "C", {"A": 1, "B": 6}) == {"A": Between("B", 6, 5, "pinned")}
    kept = [A, B._replace(protected=True), C]
    assert ignored(kept, chain(), "C", {"A": 1}) == {"A": Between("B", 6, 5, "protected")}


def test_the_nearest_to_what_is_wanted_is_named_where_more_was_left() -> None:
    assert ignored([A, B, C, D], chain(), "D", {"A": 1}, deps=None) == {"A": Between("C", 7, 0, "left")}
    assert ignored([A, B, C, D], chain(), "D", {"A": 1, "C": 7}) == {"A": Between("C", 7, 0, "pinned")}
    kept = [A, B._replace(protected=True), C, D]
    assert ignored(kept, chain(), "D", {"A": 1}) == {"A": Between("B", 6, 5, "protected")}


def test_a_pin_is_used_by_what_is_built_or_was_made_of_it() -> None:
    calls = [A, B, C]

    assert ignored(calls, chain(), "C", {"A": 1}) == {}
    assert ignored(calls, chain(), "C", {"A": 1, "B": 2}) == {}
    assert ignored(calls, chain(), "C", {"A": 5}, deps=None) == {}
    direct = C._replace(needs=("A", "B"))
    assert ignored([A, B, direct], chain(), "C", {"A": 1}, deps=None) == {}, "it uses it itself"


def test_a_skipped_build_stands_for_what_it_was_confirmed_for() -> None:
    builds = chain()
    builds["A"].append(built(9, "a"))
    builds["B"].append(built(10, "b", SKIPPED, A=9))

    assert ignored([A, B, C], builds, "C", {"A": 9}, deps=None) == {}
    assert ignored([A, B, C], builds, "C", {"A": 5}, deps=None) == {"A": Between("B", 6, 9, "left")}


def test_of_a_goal_that_is_refused_nothing_is_made() -> None:
    kept = C._replace(protected=True, digest="other")

    assert ignored([A, B, kept], chain(), "C", {"A": 1}) == {}


@st.composite
def histories(draw):
    """Calls, and builds that used any older ones of what they need."""
    count = draw(st.integers(3, 5))
    # each needs the one before, as a chain does, or any others
    needs = [draw(st.sampled_from([{n - 1}, {n - 1}, set(range(n))])) if n else set() for n in range(count)]
    protected = draw(st.sets(st.integers(0, count - 2), max_size=1))
    calls = [
        Definition(str(n), str(n), tuple(map(str, sorted(needs[n]))), n in protected) for n in range(count)
    ]
    builds: dict[str, list[Build]] = {str(n): [] for n in range(count)}
    later = draw(st.lists(st.integers(0, count - 1), max_size=6))
    for id_, n in enumerate([*range(count), *later], 1):
        used = {str(need): draw(st.sampled_from(builds[str(need)])).id for need in sorted(needs[n])}
        builds[str(n)].append(Build(id_, FINISHED, str(n), used))
    return calls, builds


@settings(max_examples=500, deadline=None)
@given(histories(), st.data())
def test_a_pin_is_ignored_where_the_goal_is_made_of_it_by_no_way(history, data) -> None:
    calls, builds = history
    goal = data.draw(st.sampled_from(calls[2:]))
    needs = {call.name: call.needs for call in calls}
    names = data.draw(
        st.lists(st.sampled_from(sorted(below(goal.needs, needs))), unique=True, min_size=1, max_size=2)
    )
    pin = {name: data.draw(st.sampled_from(builds[name])).id for name in names}
    deps, force = data.draw(st.sampled_from(["outdated", "missing", None])), data.draw(st.booleans())
    decision = decide(calls, builds, [goal.name], deps=deps, pin=pin, force=force)

    found = ignored_pins(decision, calls, made_of(builds, {}), pin)

    younger = 1 + max(build.id for some in builds.values() for build in some)
    made = {build.id: build.used for some in builds.values() for build in some}
    ids = dict(decision.uses)
    for number, call in enumerate(calls, younger):  # what is decided on is done
        if call.name in decision.new:
            ids[call.name] = number
            made[number] = {need: ids[need] for need in call.needs}

    def all_below(id_: int) -> set[int]:
        return {id_}.union(*(all_below(used) for used in made[id_].values()))

    of_it = all_below(ids[goal.name])
    expected = (
        {name for name, id_ in pin.items() if id_ not in of_it}
        if not decision.refused & {goal.name}
        else set()
    )
    assert set(found) == expected
    for name, between in found.items():
        assert between.id in of_it, "it is named by what is used"
        assert name in below([between.name], needs)
        assert between.used == made[between.id].get(name, 0)
        if deps == "outdated":
            assert between.why != "left", "else it would be built"
