"""What follows from a failed start: another attempt, the same attempt again, or the end; pure."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from ..options import JobOptions
from ..settings import RETRY_BACKOFF, RETRY_DELAY_MAX_SECONDS, RETRY_JITTER
from ..states import EndReason, JobErrorStrategy, Reason


class Next(Enum):
    """What follows."""

    #: another attempt, after a delay
    RETRY = "retry"
    #: the same attempt again: the job was not at fault
    AGAIN = "again"
    #: FAILED
    END = "end"
    #: FAILED, and the run stops
    HALT = "halt"


class Verdict(NamedTuple):
    """What follows, and how many seconds later."""

    next: Next
    delay: float = 0.0


#: Ends of a start that are no fault of the job: the same attempt runs again.
NOT_ITS_FAULT = frozenset({EndReason.NODE_FAIL, EndReason.PREEMPTED})

#: Ends after which the same would only happen again, or that somebody wanted.
HOPELESS = frozenset(
    {EndReason.SUBMIT_REFUSED, EndReason.WRAP_FAILED, EndReason.REQUIRE_REFUSED, EndReason.KILLED}
)


def after_failure(options: JobOptions, attempt: int, reason: Reason, chance: float) -> Verdict:
    """What follows when a start of the given attempt (from 1) failed.

    Args:
        options: The job's.
        attempt: Which attempt failed, from 1.
        reason: Why.
        chance: A number from 0 to 1 for the jitter.
    """
    if reason.code in NOT_ITS_FAULT:
        return Verdict(Next.AGAIN)
    if options.error_strategy is JobErrorStrategy.HALT:
        return Verdict(Next.HALT)
    retry = options.error_strategy is JobErrorStrategy.RETRY and attempt <= options.retries
    if retry and reason.code not in HOPELESS:
        return Verdict(Next.RETRY, delay(options.retry_delay, attempt, chance))
    return Verdict(Next.END)


def delay(first: float, failed: int, chance: float) -> float:
    """Seconds before the next attempt, when `failed` attempts failed: exponential, with jitter.

    >>> [delay(1.0, n, 0.5) for n in (1, 2, 3)]
    [1.0, 2.0, 4.0]
    """
    grown: float = first * RETRY_BACKOFF ** (min(failed, 64) - 1)
    spread = 1 + RETRY_JITTER * (2 * chance - 1)
    return min(grown, max(first, RETRY_DELAY_MAX_SECONDS)) * spread


def backoff(first: float, failed: int, most: float) -> float:
    """Seconds before infrastructure is asked again, when it failed `failed` times in a row."""
    return min(most, first * 2.0 ** (min(failed, 64) - 1))


class FailureBudget(NamedTuple):
    """How many failed jobs a run bears: a number, or a share of its jobs.

    Attributes:
        most: That many; None: no limit by number.
        share: That part of all jobs, 0 to 1; None: no limit by share.
    """

    most: int | None = None
    share: float | None = None

    @property
    def unlimited(self) -> bool:
        """Whether it bears any number."""
        return self.most is None and self.share is None

    def spent(self, failed: int, jobs: int) -> bool:
        """Whether the run must stop."""
        if self.most is not None and failed >= self.most:
            return True
        return self.share is not None and failed > 0 and failed >= self.share * jobs
