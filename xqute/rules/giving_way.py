"""Which jobs nobody wants any more, since there are younger builds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar


class Left(Protocol):
    """A job that has not ended well."""

    @property
    def id(self) -> int:
        """Its number."""

    @property
    def name(self) -> str:
        """Of the named call that it is a build of; empty: it is a step of others."""

    @property
    def needs(self) -> Sequence[int]:
        """The jobs it needs."""


L = TypeVar("L", bound=Left)


def given_up(jobs: Iterable[L], newest: Mapping[str, int], kept: Collection[int] = ()) -> list[L]:
    """Of jobs that have not ended well, those that nobody wants any more; what others wait for is wanted.

    A build gives way to a younger one of its name, and a step to whatever the builds do that need it.

    Args:
        jobs: All that may need each other.
        newest: The id of the newest build of each name.
        kept: The ids of those that are wanted in any case.
    """
    left = {job.id: job for job in jobs}
    needed = {id_ for job in left.values() for id_ in job.needs}
    loose = {
        id_
        for id_, job in left.items()
        if id_ not in kept and (id_ < newest.get(job.name, 0) if job.name else id_ in needed)
    }
    wanted = [id_ for id_ in left if id_ not in loose]
    while wanted:
        again = loose.intersection(left[wanted.pop()].needs)
        loose -= again
        wanted += again
    return [left[id_] for id_ in sorted(loose)]
