"""`keep=` across crashes: what was begun to be removed goes, and what finished is known to have."""

import pytest

from tests.crash.keeping import KILLED
from tests.crash.test_sweep import points

SESSION = """
xqute = make(keep="failed", resume=True)
jobs = await xqute.push_many([job(name) for name in "abc"] + [job("bad", "exit 3")])
report = await xqute.run_until_complete()
tell(status=[job.status.name for job in jobs], removed=[job.removed for job in jobs])
"""

POINTS = [point for point in points() if "director" in point]


def directories(sessions):
    return sorted(int(path.name) for path in sessions.meta.iterdir() if path.name.isdecimal())


def finish_and_check(sessions):
    told = sessions.facts(SESSION)

    assert told["status"] == ["FINISHED"] * 3 + ["FAILED"]
    assert told["removed"] == [True] * 3 + [False]
    assert directories(sessions) == [4]
    assert {name: sessions.ran[name] for name in "abc"} == dict.fromkeys("abc", 1)


@pytest.mark.parametrize("point", POINTS)
def test_a_manager_that_dies_while_it_removes_directories_repeats_nothing(sessions, point):
    assert sessions.run(SESSION, crash=point).code == KILLED

    finish_and_check(sessions)


@pytest.mark.parametrize("point", POINTS)
def test_what_a_manager_that_died_left_of_directories_goes_also_with_another_keep(sessions, point):
    assert sessions.run(SESSION, crash=point).code == KILLED

    told = sessions.facts(SESSION.replace("failed", "all"))

    left = [id_ for id_, removed in zip([1, 2, 3, 4], told["removed"], strict=True) if not removed]
    assert directories(sessions) == left


def test_a_manager_that_was_killed_before_it_removed_them_leaves_that_to_the_next(sessions):
    running = SESSION.replace("[job(", "[hold('long')] + [job(", 1)
    sessions.killed(running, "long", "a", "b", "c")
    sessions.go("long")

    told = sessions.facts(running)

    assert told["removed"] == [True] * 4 + [False]
    assert directories(sessions) == [5]
    assert {name: sessions.ran[name] for name in ("long", *"abc")} == dict.fromkeys(("long", *"abc"), 1)
