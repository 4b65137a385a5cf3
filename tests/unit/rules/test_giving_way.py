"""A build that has not ended well gives way to a younger one, with its steps, unless others wait for it."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from xqute.rules.giving_way import given_up


class Left(NamedTuple):
    id: int
    name: str
    needs: tuple[int, ...] = ()


def ids(jobs) -> list[int]:
    return [job.id for job in jobs]


def test_an_older_build_and_its_steps_are_given_up_unless_others_wait_for_them() -> None:
    young = [Left(1, "A"), Left(2, "", (1,)), Left(3, "B", (2,))]
    others = [Left(4, "C"), Left(5, "", (4,)), Left(6, "D", (5, 4))]
    newest = {"A": 7, "B": 8, "C": 9, "D": 6}

    assert ids(given_up([*young, *others], newest)) == [1, 2, 3]
    assert ids(given_up([*young, *others], newest | {"D": 10})) == [1, 2, 3, 4, 5, 6]
    assert ids(given_up([*young, *others], {"A": 1, "B": 3, "C": 4, "D": 6})) == []


def test_what_is_wanted_in_any_case_stays_with_all_it_needs() -> None:
    jobs = [Left(1, "A"), Left(2, "", (1,)), Left(3, "B", (2,)), Left(4, "B", (2,))]

    assert ids(given_up(jobs, {"A": 9, "B": 9}, kept=[3])) == [4]


def test_a_step_that_no_job_needs_was_wanted_for_itself() -> None:
    assert ids(given_up([Left(1, ""), Left(2, "A", (1,)), Left(3, "")], {"A": 4})) == [1, 2]


@given(
    st.dictionaries(
        st.integers(1, 9), st.tuples(st.sampled_from(["", "A", "B"]), st.sets(st.integers(1, 9))), max_size=9
    ),
    st.fixed_dictionaries({"A": st.integers(0, 10), "B": st.integers(0, 10)}),
    st.sets(st.integers(1, 9)),
)
def test_nobody_waits_for_what_is_given_up_but_what_is_given_up_too(drawn, newest, kept) -> None:
    jobs = [
        Left(id_, name, tuple(need for need in needs if need < id_)) for id_, (name, needs) in drawn.items()
    ]

    gone = {*ids(given_up(jobs, newest, kept))}

    needed = {need for job in jobs for need in job.needs}
    assert not gone & kept
    for job in jobs:
        assert job.id in gone or not gone.intersection(job.needs)
        older = bool(job.name) and job.id < newest[job.name]
        if job.id in gone:
            assert older or not job.name
        if job.id not in needed:
            assert (job.id in gone) == (older and job.id not in kept)
