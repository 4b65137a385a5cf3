"""Wherever the manager dies, the same program finishes the work: nothing is lost, nothing runs twice."""

import ast
from pathlib import Path

import pytest

import xqute
from tests.crash.keeping import KILLED, check, executions, session

PACKAGE = Path(xqute.__file__).parent

#: Points that only a session comes to which goes on with another.
LATER = {
    "after the jobs of a run are read",
    "after the jobs of a run are parked",
    "after it is known what was handed over",
    "after what was handed over is watched",
}

#: A job this long, so that the session lives until the point is reached.
SECONDS = {"after requests are taken": 1.3}

#: Reached only when a run is stopped, and the test that does.
ELSEWHERE = {
    "before claims are given back": "test_a_manager_that_dies_while_it_winds_down_loses_nothing",
    **dict.fromkeys(
        (
            "before it is recorded that directories are removed",
            "before directories are removed",
            "after directories were removed",
        ),
        "test_a_manager_that_dies_while_it_removes_directories_repeats_nothing",
    ),
}


def points() -> list[str]:
    """Every step there is, read from the code, so that a new one can't be forgotten."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "crash_point":
                [name] = node.args
                assert isinstance(name, ast.Constant), f"{file}: a point is named by a plain text"
                found.append(name.value)
    return found


POINTS = [point for point in points() if point not in ELSEWHERE]


def crash_there(directory: Path, point: str, count: int) -> int:
    """Have the manager die at the point; its exit status."""
    seconds = SECONDS.get(point, 0.0)
    if point in LATER:
        assert session(directory, crash="after a job is handed over:2") == KILLED
    return session(directory, crash=f"{point}:{count}", seconds=seconds)


def finish_and_check(directory: Path, point: str) -> None:
    seconds = SECONDS.get(point, 0.0)
    assert session(directory, seconds=seconds) == 0
    check(directory)
    ran = executions(directory)
    assert session(directory, seconds=seconds) == 0
    again = executions(directory) - ran
    assert set(again) <= {"fails", "endless"}, "what ended well runs again"
    check(directory)


def test_a_step_that_is_reached_elsewhere_is_reached_there() -> None:
    text = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))

    for point, test in ELSEWHERE.items():
        assert point in points()
        assert f"def {test}(" in text


def test_each_step_has_a_name_of_its_own() -> None:
    assert len(POINTS) > 15
    assert len(set(points())) == len(points())


@pytest.mark.parametrize("point", POINTS)
def test_a_manager_that_dies_at_any_step_loses_nothing_and_repeats_nothing(point, tmp_path) -> None:
    assert crash_there(tmp_path, point, 1) == KILLED, "the point was not reached"

    finish_and_check(tmp_path, point)


@pytest.mark.parametrize("point", [point for point in POINTS if point not in LATER | set(SECONDS)])
def test_the_same_holds_when_it_dies_there_later(point, tmp_path) -> None:
    crash_there(tmp_path, point, 4)

    finish_and_check(tmp_path, point)


@pytest.mark.soak
@pytest.mark.parametrize("count", [2, 9])
@pytest.mark.parametrize("point", POINTS)
def test_the_same_holds_however_often_it_came_there_before(point, count, tmp_path) -> None:
    crash_there(tmp_path, point, count)
    crash_there(tmp_path, point, count + 1)

    finish_and_check(tmp_path, point)
