"""What jobs share: the resources of this process, and the limits of the whole store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import OptionError, StoreUnavailable
from ..job import Job
from ..options import JobOptions, needs_text
from ..report import Use
from ..rules.limits import PLAIN, Choice, Kind, Rank, Spare, choose, needs_of, too_large
from ..settings import MAX_WAIT_SECONDS
from ..states import Reason, WaitReason
from ..store import Store


def kind_of(options: JobOptions, attempt: int) -> Kind:
    """What a job shares with others in an attempt (from 1)."""
    key, most = options.limit or ("", 0)
    return Kind(key, most, needs_text(options, attempt))


@dataclass(slots=True)
class Sharing:
    """Decides inside the claim, and knows afterwards why jobs are held.

    Attributes:
        total: The resources of this process, by name; those not named here are not counted.
        limits: The store's numbers that were given to this `Xqute`; None: no number.
        max_wait: Seconds after which a kind that waits for resources is passed over no more.
        numbers: The limits that the store has, by name; they go before all others.
        said: Those that pushes to this `Xqute` said, and
        left: those that jobs of an earlier session have, the youngest's, where no push says another.
        running: How many jobs of each limit ran, and
        held: why the jobs of a kind may not start now, as the last choice found.
        since: How long they have waited for resources; loop time.
        peaks: The most that was in use of what is counted, by name.
        others: By the names of limits that jobs of other runs hold, too: who does, as in `Holders.of_limit`.
    """

    total: Mapping[str, float] = field(default_factory=dict)
    limits: dict[str, int | None] = field(default_factory=dict)
    max_wait: float = MAX_WAIT_SECONDS
    numbers: Mapping[str, int] = field(default_factory=dict)
    said: Mapping[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    running: Mapping[str, int] = field(default_factory=dict)
    held: dict[Kind, Reason] = field(default_factory=dict)
    since: dict[Kind, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    async def declare(self, store: Store) -> None:
        """Tell the store the limits that were given, once, and learn which it has."""
        while self.limits:
            key, most = next(iter(self.limits.items()))
            await store.set_limit(key, most)
            del self.limits[key]
        self.numbers = await store.limits()

    def say(self, options: Iterable[JobOptions]) -> None:
        """Jobs with these are about to be pushed: a limit has one number, whichever of them says it.

        Raises:
            OptionError: It has another one from before, and the store has none; nothing is changed.
        """
        said = dict(self.said)
        for key, most in dict.fromkeys(each.limit for each in options if each.limit is not None):
            before = said.get(key, most)
            if most and before != most and key not in self.numbers:
                raise OptionError(
                    f'limit=("{key}", {most}): other jobs of this Xqute say {before}, and a limit has one '
                    f'number: say the same, or set it for all with `await xq.set_limit("{key}", {most})`, or '
                    f'limits={{"{key}": {most}}} of Xqute'
                )
            if most:
                said[key] = most
        self.said = said

    def take_up(self, jobs: Iterable[Job]) -> None:
        """These jobs of an earlier session are this one's, oldest first."""
        limits = (job.call.options.limit for job in jobs if not job.status.final)
        self.left.update((key, most) for key, most in filter(None, limits) if most)

    def in_force(self, numbers: Mapping[str, int]) -> dict[str, int]:
        """The number of each limit for the jobs of this process; `numbers` are the store's by now."""
        return {**self.left, **self.said, **numbers}

    def used(self, jobs: Iterable[Job]) -> dict[str, float]:
        """What claimed jobs take of what is counted."""
        used = dict.fromkeys(self.total, 0.0)
        for job in jobs if used else ():
            for name, need in needs_of(needs_text(job.call.options, job.next_attempt)).items():
                if name in used:
                    used[name] += need
        return used

    async def set(self, store: Store, key: str, most: int | None) -> None:
        """Change one of the store's numbers."""
        self.limits.pop(key, None)
        await store.set_limit(key, most)
        self.numbers = await store.limits()

    def in_use(self, jobs: Iterable[Job]) -> dict[str, Use]:
        """How much of each resource claimed jobs take."""
        used = self.used(jobs)
        return {name: Use(used[name], total, self.peaks.get(name, 0.0)) for name, total in self.total.items()}

    def note(self, jobs: Iterable[Job]) -> None:
        """These are claimed now: was as much in use before?"""
        for name, used in self.used(jobs).items():
            self.peaks[name] = max(used, self.peaks.get(name, 0.0))

    async def limits_in_use(self, store: Store) -> dict[str, Use]:
        """How many jobs of each limit are claimed in the whole store; none when it can't be read now."""
        try:
            limits, claimed = await store.limits(), await store.claimed()
        except StoreUnavailable:
            return {}
        numbers = self.in_force(limits)
        return {key: Use(claimed.get(key, 0), numbers.get(key)) for key in sorted({*numbers, *claimed})}

    def too_large(self, jobs: Iterable[Job]) -> frozenset[int]:
        """Those that need more than there is at all, by their ids."""
        if not self.total:
            return frozenset()
        kinds = {job.id: kind_of(job.call.options, job.next_attempt) for job in jobs}
        never = {kind for kind in set(kinds.values()) if too_large(kind, self.total) is not None}
        return frozenset(id_ for id_, kind in kinds.items() if kind in never)

    def why(self, job: Job) -> Reason | None:
        """Why a job that may run is not started; None: it is not held, as far as is known."""
        kind = kind_of(job.call.options, job.next_attempt)
        reason = too_large(kind, self.total) or self.held.get(kind)
        others = self.others.get(kind.key)
        if reason is None or reason.code != WaitReason.LIMIT or others is None:
            return reason
        return Reason(reason.code, {**others, **reason.detail})

    def why_now(self, job: Job, jobs: Iterable[Job]) -> Reason | None:
        """The same of one that the last choice did not look at, as no fork was free; `jobs` are claimed."""
        kind = kind_of(job.call.options, job.next_attempt)
        if kind == PLAIN:
            return None
        used = self.used(jobs)
        free = {name: total - used[name] for name, total in self.total.items()}
        one = {kind: iter([(0, 0, 0, 0)])}
        numbers = self.in_force(self.numbers)
        return choose(one, self.running, numbers, Spare(1, 0, self.total, free)).held.get(kind)

    @property
    def limited(self) -> dict[str, Reason]:
        """The limits that hold jobs, which another process may let go; by their names."""
        return {kind.key: reason for kind, reason in self.held.items() if reason.code == WaitReason.LIMIT}


class Chooser:
    """One claim's choice.

    Args:
        sharing: What is shared.
        jobs: Those that are claimed already.
        forks: How many more would start at once. ahead: How many more are had ready.
        now: Loop time.
    """

    def __init__(self, sharing: Sharing, jobs: Iterable[Job], forks: int, ahead: int, now: float) -> None:
        """Nothing is chosen yet."""
        self._sharing = sharing
        used = sharing.used(jobs)
        free = {name: total - used[name] for name, total in sharing.total.items()}
        late = {kind for kind, since in sharing.since.items() if now - since >= sharing.max_wait}
        self._spare = Spare(forks, ahead, sharing.total, free, late)
        self._now = now
        self._kinds: frozenset[Kind] = frozenset()
        self._choice = Choice([], {}, {}, set(), {})

    def __call__(
        self,
        queues: Mapping[Kind, Iterator[Rank]],
        running: Mapping[str, int],
        limits: Mapping[str, int],
    ) -> list[int]:
        """The ids to claim: those that may start, and those that never can."""
        self._kinds = frozenset(queues)
        self._choice = choose(queues, running, self._sharing.in_force(limits), self._spare)
        return [*self._choice.taken, *self._choice.refused]

    def settle(self) -> Mapping[int, Reason]:
        """The claim is done: keep why others are held; returns which of the claimed are to be refused."""
        choice, sharing = self._choice, self._sharing
        sharing.held, sharing.running = choice.held, choice.running
        waited = {kind: since for kind, since in sharing.since.items() if kind in self._kinds}
        short = [kind for kind, reason in choice.held.items() if reason.code == WaitReason.RESOURCES]
        fresh = {kind: waited.get(kind, self._now) for kind in short}
        # Of what was not looked at, nothing is known anew; whose turn came begins to wait anew.
        kept = {kind: since for kind, since in waited.items() if kind not in choice.seen}
        sharing.since = {**kept, **fresh}
        for kind in choice.started & fresh.keys():
            sharing.since[kind] = self._now
        return choice.refused
