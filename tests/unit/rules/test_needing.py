"""What is said of a job that waits for others."""

import pytest

from xqute.rules.needing import blocked_by, needs_others
from xqute.states import JobStatus, Reason

FAILED, KILLED = JobStatus.FAILED, JobStatus.KILLED


@pytest.mark.parametrize(
    ("causes", "sentence"),
    [
        ({3: FAILED}, "blocked: 3 failed"),
        ({3: KILLED}, "blocked: 3 was killed"),
        ({3: FAILED, 5: FAILED}, "blocked: 3, 5 failed"),
        ({3: KILLED, 5: KILLED}, "blocked: 3, 5 were killed"),
        ({3: FAILED, 5: KILLED}, "blocked: 3, 5 failed or were killed"),
        ({3: None}, "blocked: 3 failed"),
    ],
)
def test_who_is_blocked_says_by_what_and_how_that_ended(causes, sentence):
    assert str(blocked_by(causes)) == sentence
    assert blocked_by(causes).detail["cause"] == 3


def test_a_reason_that_an_earlier_version_kept_can_still_be_read():
    assert str(Reason("BLOCKED", {"needs": 7, "cause": 7})) == "blocked: 7 failed"


@pytest.mark.parametrize(
    ("missing", "asked", "elsewhere", "sentence"),
    [
        ([2], [], [], "needs 2"),
        ([2, 3], [2, 3, 4], [], "needs 2, 3: it asked for them"),
        ([2, 3], [3], [], "needs 2, 3"),
        ([2], [], [2], "needs 2: job 2 is of another run"),
        ([2, 3], [2, 3], [3], "needs 2, 3: it asked for them; job 3 is of another run"),
    ],
)
def test_who_waits_says_for_what_and_whether_it_asked_for_it(missing, asked, elsewhere, sentence):
    assert str(needs_others(missing, asked, elsewhere)) == sentence
