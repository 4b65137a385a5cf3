"""Who waits for whom: the jobs of a run that need others, while the run is in memory.

How the engine uses it:

| when | call | answers |
|---|---|---|
| a job that needs a group is there | `add(job, group, members, good=…, bad=…)` | how it stands |
| a job asked for others while it ran | `require(job, needs, good=…, bad=…)` | how it stands |
| a job ended well | `good(job)` | the jobs that miss nothing any more |
| a job ended badly, for good | `bad(job)` | the jobs that are blocked now: `job` is the one cause of each |
| a job that ended is wanted once more | `again(job)` | the jobs that are not blocked any more |
| a job that ended well will not be asked about | `forget(job)` | |

Questions: `standing`, `runnable`, `blocked`, `cause` take the same time however many needs there are;
`needs`, `missing`, `causes`, `reaches` and lists grow with what they look at. Jobs that need nobody and
that nobody needs may stay out: what is said about a job that nobody named before changes nothing.

A group is given its members once, however many jobs wait for it: everything takes time and memory in
proportion to jobs + groups + members. Nothing recurses, so a chain may have any length. The caller sees
to it that nobody needs itself: before `require` it asks `reaches`.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Iterator
from enum import Enum, auto
from itertools import chain


class Standing(Enum):
    """How a job stands that has not ended."""

    #: It misses nothing.
    RUNNABLE = auto()

    #: Something it needs has not ended well yet.
    WAITING = auto()

    #: Something it needs ended badly, or needs what ended badly.
    BLOCKED = auto()


class _State(Enum):
    OPEN = auto()
    GOOD = auto()
    BAD = auto()


class _Job:
    """A job that needs others, or that others need."""

    __slots__ = ("groups", "id", "named", "names", "state", "troubles", "waits")

    def __init__(self, id: int, state: _State = _State.OPEN) -> None:
        self.id = id
        self.state = state
        self.groups: tuple[_Group, ...] = ()  # whom it needs
        self.waits = 0  # how many of them are not all good
        self.troubles = 0  # how many of them have a member in trouble
        self.named: list[_Group] = []  # who has it as a member; some may be gone
        self.names = 0  # how many of them are not gone

    @property
    def blocked(self) -> bool:
        return self.state is _State.OPEN and self.troubles > 0

    @property
    def in_trouble(self) -> bool:
        return self.state is _State.BAD or self.blocked


class _Group:
    """Jobs that others wait for together."""

    __slots__ = ("jobs", "key", "looked", "members", "missing", "troubled", "users")

    def __init__(self, key: Hashable, members: tuple[_Job, ...]) -> None:
        self.key = key
        self.members = members
        self.missing = sum(member.state is not _State.GOOD for member in members)
        self.troubled = sum(member.in_trouble for member in members)
        self.jobs: list[_Job] = []  # who waits for it; some may be forgotten
        self.users = 0  # how many of them are not
        self.looked = 0  # where a member in trouble was found last

    def culprit(self) -> _Job | None:
        """A member in trouble."""
        for place in chain(range(self.looked, len(self.members)), range(self.looked)):
            member = self.members[place]
            if member.in_trouble:
                self.looked = place
                return member
        return None


class Graph:
    """Follows which jobs may run, and which never will unless something changes."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._jobs: dict[int, _Job] = {}
        self._groups: dict[Hashable, _Group] = {}
        self._blocked = 0
        self._causes: dict[_Job, int] = {}  # found before; right until somebody gets out of trouble

    def __contains__(self, job: object) -> bool:
        """Whether it needs others or others need it, as far as anybody said."""
        return job in self._jobs

    @property
    def blocked_count(self) -> int:
        """How many jobs are blocked."""
        return self._blocked

    # What happens

    def add(
        self,
        job: int,
        group: Hashable = None,
        members: Iterable[int] = (),
        *,
        good: Container[int] = frozenset(),
        bad: Container[int] = frozenset(),
    ) -> Standing:
        """There is a job that needs these.

        Jobs may come in any order; `standing` tells how they stand when all are there.

        Args:
            job: It has not ended, unless something else was said of it before.
            group: What the members are called. Another job with the same group shares them: they are
                looked at the first time only. None: only this job needs them.
            members: Whom it needs.
            good: What ended well among them, a set.
            bad: What ended badly among them. Both count for jobs that nobody named before.
        """
        node = self._node(job)
        found = None if group is None else self._groups.get(group)
        if found is None:
            found = self._group(group, members, good, bad)
        if found is not None and found not in node.groups:
            self._wait(node, found)
        return self.standing(job)

    def require(
        self,
        job: int,
        needs: Iterable[int],
        *,
        good: Container[int] = frozenset(),
        bad: Container[int] = frozenset(),
    ) -> Standing:
        """A job needs these too, beside what it needed before; what it required before may be among them.

        Args:
            job: It has not ended.
            needs: Whom it needs now.
            good: What ended well among them, a set.
            bad: What ended badly among them. Both count for jobs that nobody named before.
        """
        known = set(self.needs(job))
        return self.add(job, None, [need for need in needs if need not in known], good=good, bad=bad)

    def good(self, job: int) -> list[int]:
        """It ended well; returns the jobs that miss nothing any more, ascending."""
        node = self._jobs.get(job)
        if node is None or node.state is _State.GOOD:
            return []
        self._become(node, _State.GOOD)
        free: list[int] = []
        for group in node.named:
            group.missing -= 1
            if not group.missing:
                for waiting in group.jobs:
                    waiting.waits -= 1
                free += [one.id for one in group.jobs if not one.waits and one.state is _State.OPEN]
        return sorted(free)

    def bad(self, job: int) -> list[int]:
        """It ended badly, and nobody tries it again; returns the jobs that are blocked now and were not.

        They are ascending, and none of them has another `cause`.
        """
        return self._miss(job, _State.BAD)

    def again(self, job: int) -> list[int]:
        """It is to run once more; returns the jobs that were blocked and are not any more, ascending."""
        changed = self._miss(job, _State.OPEN)
        # It may have ended well, and then somebody it needs was tried again and failed.
        return [] if self.blocked(job) else changed

    def _miss(self, job: int, state: _State) -> list[int]:
        node = self._jobs.get(job)
        if node is None:
            return []
        if node.state is _State.GOOD:
            for group in node.named:
                group.missing += 1
                if group.missing == 1:
                    for waiting in group.jobs:
                        waiting.waits += 1
        return self._become(node, state)

    def forget(self, job: int) -> None:
        """It ended well, and nobody will ask about it; with it goes what only it needed.

        While others need it, it stays, and goes with the last of them. It is harmless to call this for
        every job that ended well.
        """
        stack = [self._jobs.get(job)]
        while stack:
            node = stack.pop()
            if node is None or node.names or node.state is not _State.GOOD:
                continue
            if self._jobs.pop(node.id, None) is None:  # two of its groups went at once
                continue
            for group in node.groups:
                group.users -= 1
                if not group.users:
                    stack += self._drop(group)
                elif len(group.jobs) > 2 * group.users:
                    group.jobs = [one for one in group.jobs if self._jobs.get(one.id) is one]

    # Questions

    def standing(self, job: int) -> Standing:
        """How it stands; a job that nobody named is runnable."""
        node = self._jobs.get(job)
        if node is None or not node.waits:
            return Standing.RUNNABLE
        return Standing.BLOCKED if node.troubles else Standing.WAITING

    def runnable(self, job: int) -> bool:
        """Whether everything it needs ended well."""
        return self.standing(job) is Standing.RUNNABLE

    def blocked(self, job: int) -> bool:
        """Whether it waits for what ended badly, or for what waits for such."""
        node = self._jobs.get(job)
        return node is not None and node.blocked

    def needs(self, job: int) -> tuple[int, ...]:
        """Whom it needs, ascending, what it required included."""
        return tuple(sorted({member.id for member in self._members(job)}))

    def missing(self, job: int) -> list[int]:
        """Those of its needs that have not ended well, ascending."""
        return sorted({member.id for member in self._members(job) if member.state is not _State.GOOD})

    def cause(self, job: int) -> int:
        """A job whose bad end blocks this one, the same until it runs again; 0: it is not blocked."""
        node = self._jobs.get(job)
        path: dict[_Job, None] = {}
        while node is not None and node.blocked and node not in self._causes and node not in path:
            path[node] = None
            troubled = next((group for group in node.groups if group.troubled), None)
            node = None if troubled is None else troubled.culprit()
        if node is None or (not path and not node.blocked):
            return 0
        found = self._causes.get(node, node.id)
        self._causes.update(dict.fromkeys(path, found))
        return found

    def causes(self, job: int) -> list[int]:
        """The jobs whose bad ends block it, ascending; the blocked ones in between are not named."""
        node = self._jobs.get(job)
        if node is None or not node.blocked:
            return []
        return sorted(one.id for one in _below(node, in_trouble=True) if one.state is _State.BAD)

    def reaches(self, job: int, other: int) -> bool:
        """Whether it is the other, or needs it, or needs what needs it; not by way of what ended well."""
        node = self._jobs.get(job)
        if node is None or job == other:
            return job == other
        return any(one.id == other for one in _below(node, in_trouble=False))

    # How it is done

    def _node(self, job: int) -> _Job:
        node = self._jobs.get(job)
        if node is None:
            node = self._jobs[job] = _Job(job)
        return node

    def _members(self, job: int) -> Iterator[_Job]:
        node = self._jobs.get(job)
        return (member for group in (node.groups if node else ()) for member in group.members)

    def _group(
        self, key: Hashable, members: Iterable[int], good: Container[int], bad: Container[int]
    ) -> _Group | None:
        nodes = []
        for id_ in dict.fromkeys(members):
            node = self._jobs.get(id_)
            if node is None:
                state = _State.GOOD if id_ in good else _State.BAD if id_ in bad else _State.OPEN
                node = self._jobs[id_] = _Job(id_, state)
            nodes.append(node)
        if not nodes:
            return None
        group = _Group(key, tuple(nodes))
        for node in nodes:
            node.named.append(group)
            node.names += 1
        if key is not None:
            self._groups[key] = group
        return group

    def _wait(self, node: _Job, group: _Group) -> None:
        node.groups += (group,)
        group.jobs.append(node)
        group.users += 1
        node.waits += group.missing > 0
        if group.troubled:
            node.troubles += 1
            if node.blocked and node.troubles == 1:
                self._blocked += 1
                self._spread(node)

    def _become(self, node: _Job, state: _State) -> list[int]:
        """The jobs that are blocked since, or not any more, ascending."""
        was_blocked, was_in_trouble = node.blocked, node.in_trouble
        node.state = state
        self._blocked += node.blocked - was_blocked
        if was_in_trouble:
            self._causes.clear()
        return [] if node.in_trouble is was_in_trouble else self._spread(node)

    def _spread(self, start: _Job) -> list[int]:
        """Somebody got into trouble, or out of it: so may those that need him, and those that need them."""
        into = start.in_trouble
        step = 1 if into else -1
        changed, stack = [], [start]
        while stack:
            for group in stack.pop().named:
                group.troubled += step
                if group.troubled != into:  # it had a member in trouble before, or still has one
                    continue
                for job in group.jobs:
                    job.troubles += step
                    if job.troubles == into and job.state is _State.OPEN:
                        changed.append(job.id)
                        stack.append(job)
        self._blocked += step * len(changed)
        return sorted(changed)

    def _drop(self, group: _Group) -> Iterator[_Job]:
        """Nobody waits for the group any more; returns its members."""
        if group.key is not None:
            del self._groups[group.key]
        for member in group.members:
            member.names -= 1
            # Not at once: of those that many groups name, leaving one would cost as much as all others.
            if len(member.named) > 2 * member.names:
                member.named = [other for other in member.named if other.users]
            yield member


def _below(start: _Job, *, in_trouble: bool) -> Iterator[_Job]:
    """What it needs and what that needs, each once, not by way of what ended well.

    In trouble: only what blocks it, and nothing beyond what ended badly.
    """
    seen, looked, stack = {start}, set(), [start]
    while stack:
        for group in stack.pop().groups:
            if group in looked or not (group.troubled if in_trouble else group.missing):
                continue
            looked.add(group)
            for job in group.members:
                if job in seen or not (job.in_trouble if in_trouble else job.state is not _State.GOOD):
                    continue
                seen.add(job)
                yield job
                if not in_trouble or job.state is _State.OPEN:
                    stack.append(job)
