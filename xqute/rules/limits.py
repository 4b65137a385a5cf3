"""Which jobs may be taken now, where some share what there is little of; pure.

First fit, in the order of the queue: a job that does not fit is passed over. One whose kind has waited
long is passed over no more: what it needs is kept for it, and what comes after it takes of the rest.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Final, NamedTuple

from ..amounts import shown, told
from ..states import EndReason, Reason, WaitReason

#: Where a job stands in the queue, as `store.Row.rank`: less goes first, and the last is its id.
Rank = tuple[int, int, int, int]

#: Sums of fractions are not exact: so much of a whole is nothing.
_DUST: Final = 1e-9

#: Jobs that are refused at one go.
_REFUSED: Final = 100


class Kind(NamedTuple):
    """What jobs share with others; jobs of one kind can take each other's place.

    Attributes:
        key: Of which limit they are; empty: of none.
        most: How many may run at once, where the store has no number for the key; 0: any.
        resources: What each takes, JSON with sorted names; empty: nothing.
    """

    key: str = ""
    most: int = 0
    resources: str = ""


#: The jobs that share nothing.
PLAIN: Final = Kind()


class Spare(NamedTuple):
    """What there is to give.

    Attributes:
        forks: So many jobs would start at once.
        ahead: So many more may be taken that share nothing, to have them ready.
        total: The resources of this process by name; jobs may take any amount of others.
        free: What is not taken of them.
        barriers: Kinds that have waited too long for resources.
    """

    forks: int
    ahead: int = 0
    total: Mapping[str, float] = {}
    free: Mapping[str, float] = {}
    barriers: Collection[Kind] = ()


class Choice(NamedTuple):
    """What was decided.

    Attributes:
        taken: The ids of jobs that may start, best first.
        refused: Those that need more than there is at all, and why; also when nothing may start.
        held: Why the first of a kind, and so all of it, may not start now.
        started: The kinds of those that may.
        running: How many jobs run by the keys of limits, with those that may start.
    """

    taken: list[int]
    refused: dict[int, Reason]
    held: dict[Kind, Reason]
    started: set[Kind]
    running: dict[str, int]

    @property
    def seen(self) -> set[Kind]:
        """The kinds that were looked at."""
        return self.started | self.held.keys()


def choose(
    queues: Mapping[Kind, Iterator[Rank]],
    running: Mapping[str, int],
    limits: Mapping[str, int],
    spare: Spare,
) -> Choice:
    """Decide who may start.

    Args:
        queues: The jobs that may run, by their kinds, each best first. No more is read than is needed.
        running: How many jobs run, by the keys of limits.
        limits: The store's numbers, which go before those of the kinds.
        spare: What there is to give.
    """
    refused: dict[int, Reason] = {}
    heads = []
    for kind, queue in queues.items():
        if (reason := too_large(kind, spare.total)) is not None:
            refused.update((rank[-1], reason) for rank in islice(queue, _REFUSED - len(refused)))
        elif (rank := next(queue, None)) is not None:
            heads.append((rank, kind))
    heapq.heapify(heads)
    dealing = _Dealing(Choice([], refused, {}, set(), dict(running)), limits, spare, dict(spare.free))
    while heads and dealing.open:
        rank, kind = heads[0]
        if dealing.deal(kind, rank[-1]) and (following := next(queues[kind], None)) is not None:
            heapq.heapreplace(heads, (following, kind))
        else:
            heapq.heappop(heads)  # what holds the first of a kind holds all of it
    return dealing.choice


def too_large(kind: Kind, total: Mapping[str, float]) -> Reason | None:
    """Why no job of a kind could ever start, whatever else ends; None: there is enough for one."""
    needs = needs_of(kind.resources)
    lacking = [name for name, need in needs.items() if name in total and need > total[name] * (1 + _DUST)]
    if not lacking:
        return None
    return Reason(EndReason.TOO_LARGE, {"needs": told(needs, lacking), "total": _there(total, lacking)})


@dataclass
class _Dealing:
    """One choice on its way."""

    choice: Choice
    limits: Mapping[str, int]
    spare: Spare
    free: dict[str, float]
    open: bool = True
    #: A job that shares something was met.
    sharing: bool = False
    #: The job for which something is kept.
    kept_for: int = 0

    def deal(self, kind: Kind, id: int) -> bool:
        """Decide about a job; False: it can't start, and so can't any other of its kind."""
        needs = {name: need for name, need in needs_of(kind.resources).items() if name in self.spare.total}
        shares = bool(kind.key or needs)
        self.sharing |= shares
        if shares and (reason := self._why_not(kind, needs)) is not None:
            self.choice.held[kind] = reason
            if reason.code == WaitReason.RESOURCES and kind in self.spare.barriers:
                self._take(needs)
                self.kept_for = self.kept_for or id
            return False
        taken = len(self.choice.taken)
        if taken >= self.spare.forks + (0 if self.sharing else self.spare.ahead):
            # Also what shares nothing is not taken ahead of a job that does: it would start before it.
            self.open = False
            return False
        self.choice.taken.append(id)
        self.choice.started.add(kind)
        self._take(needs)
        if kind.key:
            self.choice.running[kind.key] = self.choice.running.get(kind.key, 0) + 1
        return True

    def _take(self, needs: Mapping[str, float]) -> None:
        for name, need in needs.items():
            self.free[name] = self.free.get(name, 0.0) - need

    def _why_not(self, kind: Kind, needs: Mapping[str, float]) -> Reason | None:
        """Why a job of this kind can't start now; None: it can."""
        most = self.limits.get(kind.key, kind.most or None) if kind.key else None
        used = self.choice.running.get(kind.key, 0)
        if most is not None and used >= most:
            return Reason(WaitReason.LIMIT, {"task": kind.key, "used": used, "limit": most})
        dust = {name: self.spare.total[name] * _DUST for name in needs}
        lacking = [
            name for name, need in needs.items() if need > 0 and need > self.free.get(name, 0.0) + dust[name]
        ]
        if not lacking:
            return None
        detail: dict[str, Any] = {"needs": told(needs, lacking), "free": _there(self.free, lacking)}
        if self.kept_for:
            detail["message"] = f"some is kept for job {self.kept_for}, which goes first"
        return Reason(WaitReason.RESOURCES, detail)


@lru_cache(maxsize=256)
def needs_of(resources: str) -> Mapping[str, float]:
    """What a job takes, by name, from the text that stores keep."""
    return json.loads(resources) if resources else {}


def _there(amounts: Mapping[str, float], names: list[str]) -> str:
    """What there is of what is lacking: the name is said already where it is one."""
    there = {name: max(amounts.get(name, 0.0), 0.0) for name in names}
    return shown(names[0], there[names[0]]) if len(names) == 1 else told(there, names)
