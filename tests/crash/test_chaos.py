"""However often and whenever the manager dies: nothing is lost, nothing runs twice, nothing hangs."""

import shutil

import pytest

from tests.crash import chaos, keeping
from tests.crash.chaos import Round, Tally


def test_a_manager_that_dies_again_and_again_loses_nothing_repeats_nothing_and_never_hangs() -> None:
    told = keeping.chaos("--seconds", "15", "--jobs", "150", seconds=240)

    assert "lost 0, overlapping starts 0, hangs 0, repeated good executions 0" in told


# What is broken is counted


@pytest.fixture(scope="module")
def done():
    """A small round whose work was done in peace."""
    round_ = Round(1, 20, Tally(), [])
    round_.peace()
    yield round_
    shutil.rmtree(round_.directory)


def counted(round_: Round) -> Tally:
    round_.tally = Tally()
    round_.check()
    return round_.tally


def test_work_that_is_done_as_promised_breaks_nothing(done) -> None:
    tally = counted(done)

    assert not tally.broken, tally.wrong
    assert (tally.jobs, tally.lost, tally.repeated) == (32, 0, 0)


@pytest.mark.parametrize(
    ("file", "change", "broken"),
    [
        ("good", lambda lines: [*lines, lines[0]], {"repeated": 1}),
        ("good", lambda lines: lines[1:], {"lost": 1}),
        ("overlaps", lambda lines: ["1 job1"], {"overlaps": 1}),
        ("told", lambda lines: lines[1:], {"wrong": 1}),
    ],
)
def test_what_jobs_tell_of_a_broken_promise_is_counted(done, file, change, broken) -> None:
    path = done.directory / file
    before = path.read_text() if path.exists() else ""
    path.write_text("".join(f"{line}\n" for line in change(before.splitlines())))

    tally = counted(done)
    path.write_text(before)

    assert tally.broken
    found = {
        "repeated": tally.repeated,
        "lost": tally.lost,
        "overlaps": tally.overlaps,
        "wrong": len(tally.wrong),
    }
    assert {name: count for name, count in found.items() if count} == broken


def test_a_session_that_does_not_end_is_a_hang(monkeypatch) -> None:
    monkeypatch.setattr(chaos, "PEACE_SECONDS", 0.01)
    round_ = Round(1, 20, Tally(), [])

    round_.peace()

    assert round_.tally.hangs == 1
    assert round_.tally.broken
    shutil.rmtree(round_.directory)
