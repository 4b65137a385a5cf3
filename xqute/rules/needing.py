"""What is said of a job that waits for others, whoever says it; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..printable import listed
from ..states import JobStatus, Reason


def needs_others(
    missing: Sequence[int],
    asked: Collection[int],
    elsewhere: Sequence[int] = (),
    whose: str = "another run",
) -> Reason:
    """That it waits.

    Args:
        missing: Those that have not ended well.
        asked: Those that it asked for while it ran.
        elsewhere: Those of `missing` that other runs have.
        whose: Which run that is.
    """
    told = ["it asked for them"] if missing and set(missing) <= set(asked) else []
    told += [f"job {listed(elsewhere)} is of {whose}"] if elsewhere else []
    message = {"message": "; ".join(told)} if told else {}
    return Reason("NEEDS", {"needs": listed(missing), **message})


def blocked_by(causes: Mapping[int, JobStatus | None]) -> Reason:
    """That it can't go on, because of jobs that ended so; None: nobody knows any more how.

    >>> str(blocked_by({7: JobStatus.FAILED})), str(blocked_by({7: JobStatus.KILLED, 8: JobStatus.KILLED}))
    ('blocked: 7 failed', 'blocked: 7, 8 were killed')
    """
    killed = [id_ for id_, status in causes.items() if status is JobStatus.KILLED]
    were = "was killed" if len(causes) == 1 else "were killed"
    ended = "failed" if not killed else were if len(killed) == len(causes) else f"failed or {were}"
    return Reason("BLOCKED", {"needs": listed([*causes]), "ended": ended, "cause": next(iter(causes))})
