"""When status files are looked at again."""

import pytest

from xqute.rules.sweeping import seconds_to_next
from xqute.settings import SWEEP_MAX_SECONDS, SWEEP_MIN_SECONDS


def test_news_are_followed_by_a_look_at_once() -> None:
    assert seconds_to_next(1.5, 0.0, changed=True) == SWEEP_MIN_SECONDS


def test_silence_makes_the_looks_rarer_up_to_a_limit() -> None:
    waits = [SWEEP_MIN_SECONDS]
    while waits[-1] != SWEEP_MAX_SECONDS:
        waits.append(seconds_to_next(waits[-1], 0.0, changed=False))

    assert waits == sorted(set(waits))
    assert seconds_to_next(SWEEP_MAX_SECONDS, 0.0, changed=False) == SWEEP_MAX_SECONDS


@pytest.mark.parametrize("changed", [True, False])
@pytest.mark.parametrize(
    ("used", "share"), [(0.001, 1 / 200), (0.005, 1 / 200), (0.01, 1 / 200), (0.1, 1 / 66)]
)
def test_looking_takes_a_small_share_of_the_processor(used, share, changed) -> None:
    assert used / seconds_to_next(SWEEP_MIN_SECONDS, used, changed=changed) == pytest.approx(share)


def test_what_costs_more_is_looked_at_within_the_longest_wait_as_long_as_that_is_no_burden() -> None:
    assert seconds_to_next(SWEEP_MIN_SECONDS, 0.02, changed=True) == SWEEP_MAX_SECONDS
