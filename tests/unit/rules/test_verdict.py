"""What follows from a failed start."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xqute.options import JobOptions
from xqute.rules.verdict import FailureBudget, Next, after_failure, backoff, delay
from xqute.settings import RETRY_DELAY_MAX_SECONDS
from xqute.states import JobErrorStrategy, Reason

EXIT = Reason("EXIT", {"rc": 1})
RETRY = JobOptions(error_strategy=JobErrorStrategy.RETRY, retries=2)
IGNORE = JobOptions(error_strategy=JobErrorStrategy.IGNORE, retries=2)
HALT = JobOptions(error_strategy=JobErrorStrategy.HALT, retries=2)


@pytest.mark.parametrize(
    ("options", "attempt", "next_"),
    [
        (IGNORE, 1, Next.END),
        (HALT, 1, Next.HALT),
        (RETRY, 1, Next.RETRY),
        (RETRY, 2, Next.RETRY),
        (RETRY, 3, Next.END),
        (JobOptions(error_strategy=JobErrorStrategy.RETRY, retries=0), 1, Next.END),
    ],
)
def test_the_strategy_decides_until_the_attempts_are_used_up(options, attempt, next_):
    assert after_failure(options, attempt, EXIT, 0.5).next is next_


@pytest.mark.parametrize("code", ["NODE_FAIL", "PREEMPTED"])
@pytest.mark.parametrize("options", [IGNORE, RETRY, HALT])
def test_what_is_no_fault_of_the_job_runs_again_with_any_strategy(options, code):
    assert after_failure(options, 99, Reason(code), 0.5).next is Next.AGAIN


@pytest.mark.parametrize("code", ["SUBMIT_REFUSED", "WRAP_FAILED"])
def test_what_would_only_happen_again_is_not_tried_again(code):
    assert after_failure(RETRY, 1, Reason(code), 0.5).next is Next.END


@pytest.mark.parametrize("code", ["EXIT", "SIGNAL", "OOM", "TIMEOUT", "LOST", "REJECTED", "CORRUPT"])
def test_every_other_failure_is_tried_again(code):
    assert after_failure(RETRY, 1, Reason(code), 0.5).next is Next.RETRY


def test_delays_double():
    assert [delay(3.0, failed, 0.5) for failed in (1, 2, 3, 4)] == [3, 6, 12, 24]


def test_the_jitter_is_a_quarter_each_way():
    assert [delay(8.0, 1, chance) for chance in (0.0, 0.5, 1.0)] == [6, 8, 10]


@given(st.floats(0, 1e4), st.integers(1, 10_000), st.floats(0, 1))
def test_no_delay_is_negative_or_endless(first, failed, chance):
    longest = max(first, RETRY_DELAY_MAX_SECONDS)

    assert 0 <= delay(first, failed, chance) <= 1.25 * longest


def test_a_delay_of_the_users_own_is_not_cut():
    assert delay(3600.0, 1, 0.5) == 3600


@given(st.integers(1, 10_000))
def test_the_back_off_grows_to_its_maximum(failed):
    assert backoff(0.5, failed, 30.0) <= backoff(0.5, failed + 1, 30.0) <= 30


@pytest.mark.parametrize(
    ("budget", "failed", "jobs", "spent"),
    [
        (FailureBudget(), 100, 100, False),
        (FailureBudget(most=3), 2, 100, False),
        (FailureBudget(most=3), 3, 100, True),
        (FailureBudget(share=0.05), 4, 100, False),
        (FailureBudget(share=0.05), 5, 100, True),
        (FailureBudget(share=0.05), 0, 0, False),
        (FailureBudget(share=0.05), 0, 10, False),
        (FailureBudget(share=0.05), 1, 10, True),
    ],
)
def test_a_budget_is_a_number_or_a_share(budget, failed, jobs, spent):
    assert budget.spent(failed, jobs) is spent
