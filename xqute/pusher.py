"""Accepts calls: plans them as jobs, finds what an earlier session did, and stores the rest at once."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from .calls import Call
from .crash import crash_point
from .engine.lifecycle import Lifecycle
from .engine.room import Room
from .errors import StoreUnavailable, XquteError
from .job import Job
from .keeper import JobKeeper
from .missing import refuse_removed, removed_and_needed
from .options import JobOptions, apply_options, limited, needs_text, settle_options
from .pickling import is_need, place, write_place
from .plan import Node, Plan, plan, refuse_strangers
from .rules.definition import plain_digest
from .settings import TROUBLE_MIN_SECONDS
from .store import NOTHING, Draft
from .work import make_work

log = logging.getLogger("xqute")

_NO_BUILDS: Final[Mapping[str, Job]] = {}


class Overtaken(XquteError):
    """Somebody else has accepted builds of the same names meanwhile."""


class Pusher:
    """Everything between a call and a job that the store has."""

    def __init__(
        self, room: Room, lifecycle: Lifecycle, keeper: JobKeeper, begin: Callable[[], Awaitable[None]]
    ) -> None:
        """Nothing is pushed yet; `begin` sees to it that there is a run for jobs."""
        self._room = room
        self._lifecycle = lifecycle
        self._keeper = keeper
        self._begin = begin
        self._place = ""
        self._told: set[str] = set()
        # Of trees whose jobs asked for others: the ids of what they have, by digest.
        self._trees: dict[int, dict[str, list[int]]] = {}

    # From users

    def plan(self, calls: Sequence[Any], base: JobOptions, given: Mapping[str, Any]) -> Plan:
        """The jobs that calls become.

        Raises:
            OptionError: A call or an option is not usable, or a job of another store is needed.
            GraphError: The calls can't be a tree.
        """
        if all(map(_is_plain, calls)):
            options = limited(settle_options(apply_options(base, given)))
            works = [make_work(command, options) for command in calls]
            nodes = [Node(work, "", 0, number, True, number) for number, work in enumerate(works)]  # noqa: FBT003
            return Plan(nodes, [], list(range(len(nodes))))
        made = plan(calls, base, given, place=self._place_of_this_program)
        for told in set(made.unmatched) - self._told:
            self._told.add(told)
            log.warning("%s", told)
        refuse_strangers(made.jobs, self._keeper.token)
        return made

    def _place_of_this_program(self) -> str:
        if not self._place:
            self._place = write_place(self._keeper.root, place())
        return self._place

    async def push(self, planned: Plan) -> list[Job]:
        """Accept what was planned, all or none; returns the jobs of its roots.

        What an earlier session did of it is found again.
        """
        refuse_strangers(planned.jobs, self._keeper.token)  # which was not known before the store was open
        planned = self._limited(planned)
        heritage = self._keeper.heritage
        if not heritage.any:
            accepted = await self._accept(_Parts.of(planned, [None] * len(planned.nodes)))
            return [accepted[number] for number in planned.roots]
        digests = [node.digest or plain_digest(node.work, node.group) for node in planned.nodes]
        matched = [
            heritage.match(d, node.work) if d else None
            for d, node in zip(digests, planned.nodes, strict=True)
        ]
        while True:
            wanted = _wanted(planned, [job is not None and job.status.well for job in matched])
            missed = removed_and_needed(planned, matched, wanted)
            if not missed:
                break
            for number in missed:
                matched[number] = None  # its result is needed, and was not kept: it runs once more
        used = [job if is_wanted else None for job, is_wanted in zip(matched, wanted, strict=True)]
        heritage.give_back([job for job, u in zip(matched, used, strict=True) if u is None])
        return await self._push(planned, used, wanted)

    async def _push(self, planned: Plan, used: Sequence[Job | None], wanted: Sequence[bool]) -> list[Job]:
        try:
            accepted = await self._accept(_Parts.of(planned, used, wanted))
        except BaseException:
            self._keeper.heritage.give_back(used)
            raise
        await self._keeper.enter([job for job in used if job is not None])
        return _roots(planned, used, wanted, accepted)

    async def push_with(
        self, planned: Plan, there: Sequence[Job | None], newest: Mapping[str, int]
    ) -> list[Job]:
        """Accept what was planned but for what is there; returns the jobs of its roots.

        Of what an earlier session left, only jobs are found again that need the very same jobs, and of
        named calls only the newest, if it has not ended well: whether a result is used was decided before.

        Raises:
            Overtaken: Of a name there are younger builds than `newest` says; nothing was changed.
        """
        planned = self._limited(planned)
        matched = list(there)
        if self._keeper.heritage.any:
            for number, node in enumerate(planned.nodes):
                if matched[number] is None:
                    matched[number] = self._find_again(node, _ids(planned, node, matched), newest)
        served = [
            job is not None and (kept is not None or job.status.well)
            for job, kept in zip(matched, there, strict=True)
        ]
        wanted = _wanted(planned, served)
        used = [job if is_wanted else None for job, is_wanted in zip(matched, wanted, strict=True)]
        again = [job for job, kept in zip(matched, there, strict=True) if kept is None and job is not None]
        self._keeper.heritage.give_back([job for job in again if job not in used])
        crash_point("before what is to be built is accepted")
        try:
            accepted = await self._accept(_Parts.of(planned, used, wanted, joins=False), newest=newest)
        except BaseException:
            self._keeper.heritage.give_back([job for job in again if job in used])
            raise
        crash_point("after what is to be built is accepted")
        await self._keeper.enter([job for job in again if job in used])
        return _roots(planned, used, wanted, accepted)

    def _find_again(self, node: Node, needs: Sequence[int] | None, newest: Mapping[str, int]) -> Job | None:
        heritage = self._keeper.heritage
        others: list[Job] = []
        found = heritage.match(node.digest, node.work) if node.digest else None
        while found is not None and not (
            list(found.given_needs) == needs and not found.removed and _may_be_built(found, newest)
        ):
            others.append(found)
            found = heritage.match(node.digest, node.work)
        heritage.give_back(others)
        return found

    # From jobs

    async def push_for(self, planned: Plan, asker: Job, builds: Mapping[str, Job] = _NO_BUILDS) -> list[Job]:
        """Accept what a job asks for, in its own tree; what that has already is not accepted again.

        Args:
            planned: What it asks for.
            asker: The job.
            builds: Those of named calls that are used as they are.
        """
        planned = self._limited(planned)
        tree = self._tree(asker)
        taken: dict[str, int] = {}
        there: list[Job | None] = []
        for node in planned.nodes:
            ids = [id_ for id_ in tree.get(node.digest, []) if self._has_what_is_asked_for(id_, asker)]
            place_ = taken.get(node.digest, 0)
            taken[node.digest] = place_ + 1
            known = self._room.known(ids[place_]) if place_ < len(ids) else None
            named = node.work.named.name if node.work.named is not None else ""
            there.append(known or builds.get(named))
        wanted = _wanted(planned, [job is not None for job in there])
        used = [job if is_wanted else None for job, is_wanted in zip(there, wanted, strict=True)]
        parts = _Parts.of(planned, used, wanted)
        if asker.id not in self._room.unpushed:
            mine = (job for job in used if job is not None and self._room.known(job.id) is job)
            await self._keeper.enter(list(mine))
        accepted = await self._accept_when_possible(parts, asker)
        for job in accepted:
            tree.setdefault(job.digest, []).append(job.id)
        return _roots(planned, used, wanted, accepted)

    def _has_what_is_asked_for(self, id: int, asker: Job) -> bool:
        """Whether a job of the tree will do: a Python call asks for results, which must be there."""
        job = self._room.known(id)
        return asker.call.function is None or job is None or not job.removed

    def _tree(self, asker: Job) -> dict[str, list[int]]:
        """What the tree of a job has by now."""
        number = asker.tree or asker.id
        if number not in self._trees:
            tree = self._trees[number] = {}
            for job in sorted(self._keeper.of_tree(number), key=lambda job: job.id):
                if job.digest:
                    tree.setdefault(job.digest, []).append(job.id)
        return self._trees[number]

    async def _accept_when_possible(self, parts: _Parts, asker: Job) -> list[Job]:
        while True:
            try:
                return await self._accept(parts, asker)
            except StoreUnavailable as exc:
                log.warning("what %s asks for can't be stored now, and is tried again: %s", asker, exc)
                await asyncio.sleep(TROUBLE_MIN_SECONDS)

    async def _accept(
        self, parts: _Parts, asker: Job | None = None, newest: Mapping[str, int] = NOTHING
    ) -> list[Job]:
        """New jobs, in one transaction."""
        if not parts.nodes:
            return []
        needed = {id_ for members in parts.groups for id_ in members if id_ > 0}
        self._room.wanted.update(needed)  # until they are known to be needed, nobody may remove them
        try:
            if needed:
                await refuse_removed(parts.nodes, parts.groups, self._keeper)
            return await self._accept_nodes(parts, asker, newest)
        finally:
            self._room.wanted.subtract(needed)
            self._room.wanted += Counter()  # without those that nobody is about to need

    async def _accept_nodes(self, parts: _Parts, asker: Job | None, newest: Mapping[str, int]) -> list[Job]:
        nodes = parts.nodes
        beginnings = {node.group > 0 for node in nodes}
        patterns = {waits: self._pattern(nodes[0], waits=waits) for waits in sorted(beginnings)}
        texts = {waits: pattern.document() for waits, pattern in patterns.items()}
        drafts = [_draft(node, patterns[node.group > 0], texts[node.group > 0], asker) for node in nodes]
        await self._begin()
        crash_point("before jobs are accepted")
        first = await self._room.store.accept(self._room.run, drafts, parts.groups, newest)
        if not first:
            raise Overtaken("somebody else has begun to build this just now")
        crash_point("after jobs are accepted")
        groups = [tuple(id_ if id_ > 0 else first - id_ for id_ in members) for members in parts.groups]
        jobs: list[Job] = []
        named: dict[int, int] = {}  # the store calls a group by the first job that names it
        for number, (node, draft) in enumerate(zip(nodes, drafts, strict=True), first):
            job = self._keeper.make(number, node.work, patterns[node.group > 0].created)
            job.tree = draft.tree if draft.tree > 0 else first - draft.tree
            job.depth, job.digest = draft.depth, draft.digest
            if node.group:
                job.group = named.setdefault(node.group, number)
                job.given_needs = groups[node.group - 1]
            jobs.append(job)
        self._keeper.known.update((job.id, job) for job in jobs)
        await self._keeper.connect(jobs)
        for waits, pattern in patterns.items():
            self._lifecycle.admit([job for job in jobs if bool(job.given_needs) is waits], pattern)
        return jobs

    def _limited(self, planned: Plan) -> Plan:
        """The same, where calls of a task that the store has a limit for know it; a limit has one number."""
        sharing = self._room.sharing
        said = {id(node.work.options): node.work.options for node in planned.nodes}.values()
        self._room.scheduler.check_resources(dict.fromkeys(name for one in said for name in one.takes))
        sharing.say(said)
        if not sharing.numbers:
            return planned
        return planned._replace(nodes=[_under_limit(node, sharing.numbers) for node in planned.nodes])

    def _pattern(self, node: Node, *, waits: bool) -> Job:
        """What all jobs that begin alike look like."""
        pattern = self._keeper.make(0, node.work, self._room.now())
        pattern.pushed_at = self._keeper.pushed_at
        self._lifecycle.draft(pattern, waits=waits)
        return pattern


def _may_be_built(job: Job, newest: Mapping[str, int]) -> bool:
    """Whether a job is no build of a named call, or the newest and one that has not ended well."""
    return not job.name or (job.id >= newest.get(job.name, 0) and not job.status.well)


class _Parts(NamedTuple):
    """The part of a plan that is new, as the store takes it.

    Attributes:
        nodes: `tree` and `parent` are as in `store.Draft`, `group` is one of `groups`.
        groups: Members above 0 are ids of jobs, all others minus the place of a node.
    """

    nodes: Sequence[Node]
    groups: Sequence[Sequence[int]]

    @classmethod
    def of(
        cls,
        plan: Plan,
        there: Sequence[Job | None],
        wanted: Sequence[bool] | None = None,
        *,
        joins: bool = True,
    ) -> _Parts:
        """The nodes of a plan that are wanted and not there; `joins`: they belong to the trees of those."""
        new = [
            number for number, job in enumerate(there) if job is None and (wanted is None or wanted[number])
        ]
        place = {number: place for place, number in enumerate(new)}
        trees: dict[int, int] = {}
        for node, job in zip(plan.nodes, there, strict=True):
            if job is not None and joins:
                trees.setdefault(node.tree, job.tree or job.id)

        def draft_or_id(number: int) -> int:
            job = there[number] if number >= 0 else None
            return -number if number < 0 else job.id if job is not None else -place[number]

        groups: list[Sequence[int]] = []
        numbers = {0: 0}
        nodes = []
        for number in new:
            node = plan.nodes[number]
            if node.group not in numbers:
                groups.append([draft_or_id(member) for member in plan.groups[node.group - 1]])
                numbers[node.group] = len(groups)
            tree = trees.setdefault(node.tree, -place[number])
            parent = 0 if node.root else draft_or_id(node.parent)
            nodes.append(node._replace(group=numbers[node.group], tree=tree, parent=parent))
        return cls(nodes, groups)


def _wanted(plan: Plan, served: Sequence[bool]) -> list[bool]:
    """Which nodes must be there: the roots, and what those need that are not served already."""
    wanted = [node.root for node in plan.nodes]
    for number in reversed(range(len(plan.nodes))):
        node = plan.nodes[number]
        if wanted[number] and not served[number] and node.group:
            for member in plan.groups[node.group - 1]:
                if member >= 0:
                    wanted[member] = True
    return wanted


def _ids(plan: Plan, node: Node, there: Sequence[Job | None]) -> list[int] | None:
    """The jobs that a node needs; None: some of them are not there."""
    members = plan.groups[node.group - 1] if node.group else ()
    jobs = [None if member < 0 else there[member] for member in members]
    ids = [-member if member < 0 else job.id if job else 0 for member, job in zip(members, jobs, strict=True)]
    return ids if all(ids) else None


def _roots(
    plan: Plan, used: Sequence[Job | None], wanted: Sequence[bool], accepted: Sequence[Job]
) -> list[Job]:
    """The jobs of a plan's roots, of which each was there or was accepted."""
    new = iter(accepted)
    jobs = [
        next(new) if job is None and is_wanted else job for job, is_wanted in zip(used, wanted, strict=True)
    ]
    return [job for job in (jobs[number] for number in plan.roots) if job is not None]


def _draft(node: Node, pattern: Job, document: str, asker: Job | None) -> Draft:
    work = node.work
    options = work.options
    return Draft(
        int(pattern.status),
        options.priority,
        work.as_json(),
        document,
        options.user,
        "\n".join(options.tags),
        options.title,
        work.function.task if work.function is not None else "",
        node.digest,
        node.tree if asker is None else asker.tree or asker.id,
        0 if asker is None else asker.depth + 1,
        node.group,
        node.parent if asker is None else asker.id,
        work.named.name if work.named is not None else "",
        *(options.limit or ("", 0)),
        needs_text(options, 1),
    )


def _under_limit(node: Node, keys: Collection[str]) -> Node:
    """A node whose task has a limit in the store; cleaning up has none."""
    work = node.work
    function = work.function
    if function is None or function.undoes or function.task not in keys or work.options.limit is not None:
        return node
    return node._replace(work=replace(work, options=replace(work.options, limit=(function.task, 0))))


def _is_plain(call: Any) -> bool:
    """Whether it is a command without calls in it."""
    return isinstance(call, str) or (
        isinstance(call, (list, tuple)) and not any(isinstance(word, Call) or is_need(word) for word in call)
    )
