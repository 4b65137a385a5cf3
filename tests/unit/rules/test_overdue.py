"""Which jobs are taken out of the queue they wait in, and which are not."""

import pytest

from tests.unit.rules.test_evidence import ABSENT, BEGAN, KILLING, RUNNING, SUBMITTED, seen
from xqute import JobErrorStrategy
from xqute.options import JobOptions
from xqute.rules.evidence import overdue
from xqute.rules.verdict import Next, after_failure
from xqute.states import Answer, Presence, Reason

WAITS = Answer(Presence.PENDING, Reason("PENDING", {"uid": "7", "message": "PENDING (Priority)"}))


def test_a_job_that_waits_too_long_is_taken_back_in_its_schedulers_words() -> None:
    reason = overdue(seen(SUBMITTED, ABSENT, WAITS), 7200.0, 7200.0)

    assert reason == Reason("PENDING_TIMEOUT", {"timeout": "7200", "message": "PENDING (Priority)"})
    assert str(reason) == "PENDING_TIMEOUT after 7200 s: PENDING (Priority)"


def test_a_scheduler_that_gives_no_reason_is_not_quoted() -> None:
    reason = overdue(seen(SUBMITTED, ABSENT, Answer(Presence.PENDING)), 61.0, 60.0)

    assert str(reason) == "PENDING_TIMEOUT after 60 s"


@pytest.mark.parametrize(
    ("evidence", "queued", "most"),
    [
        pytest.param(seen(SUBMITTED, ABSENT, WAITS), 1e9, None, id="it may wait for ever"),
        pytest.param(seen(SUBMITTED, ABSENT, WAITS), 59.0, 60.0, id="not that long yet"),
        pytest.param(seen(SUBMITTED, BEGAN, WAITS), 61.0, 60.0, id="its files say it began"),
        pytest.param(seen(RUNNING, BEGAN, WAITS), 61.0, 60.0, id="it runs"),
        pytest.param(seen(KILLING, ABSENT, WAITS), 61.0, 60.0, id="it is being stopped"),
        *(
            pytest.param(seen(SUBMITTED, ABSENT, Answer(presence)), 61.0, 60.0, id=presence.name)
            for presence in Presence
            if presence is not Presence.PENDING
        ),
    ],
)
def test_others_stay(evidence, queued, most) -> None:
    assert overdue(evidence, queued, most) is None


@pytest.mark.parametrize(
    ("strategy", "follows"), [("ignore", Next.END), ("retry", Next.RETRY), ("halt", Next.HALT)]
)
def test_it_is_a_failure_like_any_other(strategy, follows) -> None:
    options = JobOptions(error_strategy=JobErrorStrategy(strategy), retries=1)

    assert after_failure(options, 1, Reason("PENDING_TIMEOUT"), 0.5).next is follows
