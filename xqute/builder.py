"""Keeps the results of named calls up to date: looks at what there is, and pushes what is to be built."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from .calls import Call
from .crash import crash_point
from .elsewhere import Elsewhere, how_it_ended, was_asked_for
from .engine.room import Room
from .errors import DependencyFailed, MissingDependencies, OptionError, XquteError
from .job import Job
from .keeper import JobKeeper
from .options import JobOptions
from .plan import Plan
from .pusher import Overtaken, Pusher
from .rules.freshness import (
    POLICIES,
    UNKNOWN,
    Build,
    BuildStatus,
    Decision,
    Definition,
    below,
    decide,
    ordered,
    statuses,
    usable,
)
from .rules.giving_way import given_up
from .settings import REQUESTS_SECONDS
from .states import JobStatus
from .store import Query
from .wanted import Pins, Protected, Wanted, name_of

#: Builds read at a time, newest first, until one is found whose result others use.
_PAGE = 20


class _Seen(NamedTuple):
    """What a look at named calls has found.

    Attributes:
        definitions: The calls, each after what it needs.
        builds: Those of each that still matter.
        newest: The id of the newest of each; 0: there is none.
        patient: As in `Elsewhere.look`.
    """

    definitions: list[Definition]
    builds: dict[str, list[Build]]
    newest: dict[str, int]
    patient: bool = False


class _Begun(NamedTuple):
    """What was begun.

    Attributes:
        roots: The jobs of what was asked for, and of what depends on that, by name; or why there is none.
        elsewhere: Which builds of other runs those need.
    """

    roots: Mapping[str, Job | XquteError]
    elsewhere: set[int]


class Builder:
    """What `Xqute.build` and `Xqute.status` do."""

    def __init__(
        self,
        room: Room,
        keeper: JobKeeper,
        pusher: Pusher,
        own: Callable[[], Awaitable[None]],
        calls: Sequence[Call],
    ) -> None:
        """Nothing was looked at; `own` makes the run ours, `calls` are those that are known."""
        self._room = room
        self._keeper = keeper
        self._pusher = pusher
        self._own = own
        self._calls = calls
        self._elsewhere = Elsewhere(room, keeper)
        self._pins = Pins(room, keeper)
        self._deciding = asyncio.Lock()

    # Looking

    async def statuses(self, calls: Sequence[Call], base: JobOptions) -> dict[str, BuildStatus]:
        """How calls stand, and all named ones they need; each after those.

        Raises:
            OptionError: One of them has no name.
        """
        for call in calls:
            name_of(call)
        seen = await self._look(_definitions(self._pusher.plan(calls, base, {})), base)
        return statuses(seen.definitions, seen.builds)

    async def _look(
        self, definitions: Sequence[Definition], base: JobOptions, *, patient: bool = False
    ) -> _Seen:
        """What is there of calls, and of those that their builds turned out to need."""
        seen = _Seen([], {}, {}, patient)
        known = {each.name: each for each in definitions}
        while left := known.keys() - seen.builds.keys():
            for name in sorted(left):
                await self._look_at(name, seen)
                used = {need for build in seen.builds[name] for need in build.used}
                for need in sorted(used - known.keys()):
                    found = self._defined(need, base) or [Definition(need, UNKNOWN)]
                    known = {**{each.name: each for each in found}, **known}
        return seen._replace(definitions=ordered(list(known.values()), seen.builds))

    def _defined(self, name: str, base: JobOptions) -> list[Definition]:
        """A call that is known by `calls=`, and what it needs."""
        calls = [call for call in self._calls if call.naming is not None and call.naming.name == name]
        return _definitions(self._pusher.plan(calls[:1], base, {})) if calls else []

    async def _look_at(self, name: str, seen: _Seen) -> None:
        """Note the builds of a name that still matter."""
        found = seen.builds[name] = []
        seen.newest[name] = 0
        query = Query(name=name, newest=True, limit=_PAGE)
        while rows := await self._room.store.page(query):
            seen.newest[name] = seen.newest[name] or rows[0].id
            jobs = await self._keeper.load_all(rows)
            others = await self._elsewhere.look(rows, jobs, patient=seen.patient)
            for job in jobs:
                if job.status is JobStatus.FINISHED and not _has_result(job):
                    continue
                found.append(await self._build(job, others.get(job.id)))
                if job.status is JobStatus.FINISHED:
                    return
            query = query._replace(beyond=rows[-1].id)

    async def _build(self, job: Job, other: str | None) -> Build:
        """A build; `other`: of another run, and why it does not go on there; empty: it does."""
        if job.status in (JobStatus.FAILED, JobStatus.KILLED):
            return Build(job.id, job.status, job.digest, job.used, trouble=how_it_ended(job))
        if job.done() or other is not None:
            return Build(job.id, job.status, job.digest, job.used, other == "", other or "")
        if job.id in self._room.blocked:
            trouble = await self._elsewhere.blocked(job, self._room.graph.cause(job.id))
            return Build(job.id, job.status, job.digest, job.used, trouble=trouble)
        goes_on = self._room.stop is None and job.status is not JobStatus.KILLING
        ours = self._keeper.known.get(job.id) is job and goes_on
        return Build(job.id, job.status, job.digest, job.used, ours)

    # Building

    async def build(self, wanted: Wanted, base: JobOptions) -> Job:
        """Push what is to be built for a call, and wait for its end; returns its job.

        A goal that is up to date has the job that it was built by.

        Raises:
            DependencyFailed: The goal can't be built, because something it needs failed.
            OptionError: The call has no name, or something else is not what it should be.
            GraphError: The calls can't be a tree.
            MissingDependencies: There are results missing that may not be built.
            XquteError: The goal is protected, and would have to be built again.
        """
        return await self._follow(wanted, base, await self._begun(wanted, base))

    async def build_together(self, wanted: Wanted, base: JobOptions) -> dict[str, Job | BaseException]:
        """The same for several calls: what several of them need is built once, and so are they.

        Returns what each came to, and each that depends on them, by name: its job, or why there is none.
        """
        begun = await self._begun(wanted, base)
        goals = {name_of(call): call for call in wanted.calls}
        calls = {**{name_of(call): call for call in wanted.dependents}, **goals}
        ones = [
            wanted._replace(calls=(calls[name],), dependents=(), force=wanted.force and name in goals)
            for name in begun.roots
        ]
        follows = (self._follow(one, base, begun) for one in ones)
        return dict(zip(begun.roots, await asyncio.gather(*follows, return_exceptions=True), strict=True))

    async def _follow(self, wanted: Wanted, base: JobOptions, begun: _Begun) -> Job:
        """Wait for the end of a call, and of what depends on it; begin anew what is lost in another run."""
        goal, *dependents = map(name_of, (*wanted.calls, *wanted.dependents))
        while True:
            job = begun.roots[goal]
            if not isinstance(job, Job):
                raise job
            others = [begun.roots.get(name) for name in dependents if name != goal]
            jobs = [job, *(each for each in others if isinstance(each, Job))]
            if await self._ended(jobs, begun.elsewhere & self._below(jobs)):
                return job
            begun = await self._begun(wanted, base)
            await self._withdraw(jobs, [each for each in begun.roots.values() if isinstance(each, Job)])

    async def _begun(self, wanted: Wanted, base: JobOptions) -> _Begun:
        if wanted.deps not in POLICIES:
            raise OptionError(f"deps={wanted.deps!r}: it is 'outdated', 'missing' or None")
        for call in wanted.calls:
            name_of(call)
        while True:
            await self._own()
            try:
                async with self._deciding:  # two builds at the same time share what both need
                    return await self._begin(wanted, base)
            except Overtaken:
                continue

    async def _begin(self, wanted: Wanted, base: JobOptions) -> _Begun:
        """Push what is to be built; where none of the goals can be had, nothing is."""
        decision, seen = await self._decide(wanted, base)
        calls = {name_of(call): call for call in (*wanted.dependents, *wanted.calls)}
        ends: dict[str, Job | XquteError] = dict(_refusals(decision, seen))
        roots = [root for root in decision.roots if root not in ends]
        if not {*map(name_of, wanted.calls)} - ends.keys():
            return _Begun(ends, set())
        newest = {each: seen.newest[each] for each in decision.new}
        jobs = await self._push(
            self._pusher.plan([calls[root] for root in roots], base, {}), decision, newest
        )
        overtaken = self._overtaken(decision, seen, self._below(jobs))
        await self._keeper.withdraw(overtaken, "another build takes its place")
        elsewhere = {id_ for id_ in self._below(jobs) if self._goes_on_elsewhere(id_, jobs)}
        await self._elsewhere.tell(elsewhere)
        return _Begun({**dict(zip(roots, jobs, strict=True)), **ends}, elsewhere)

    async def _decide(self, wanted: Wanted, base: JobOptions) -> tuple[Decision, _Seen]:
        """Look at what there is, and say what has to be built."""
        goals = [name_of(call) for call in wanted.calls]
        planned = self._pusher.plan([*wanted.calls, *wanted.dependents], base, {})
        definitions = _definitions(planned)
        needs = {each.name: each.needs for each in definitions}
        await self._pins.check(wanted.pin, below((need for goal in goals for need in needs[goal]), needs))
        seen = await self._look(definitions, base, patient=True)
        decision = decide(
            seen.definitions,
            seen.builds,
            goals,
            deps=wanted.deps,
            dependents={name_of(call) for call in wanted.dependents},
            pin=wanted.pin,
            force=wanted.force,
        )
        await self._pins.refuse_ignored(wanted.pin, decision, seen.definitions, seen.builds)
        return decision, seen

    def _overtaken(self, decision: Decision, seen: _Seen, wanted: Collection[int]) -> list[Job]:
        """Builds of this run that don't go on and have younger ones now, and their steps."""
        room, keeper = self._room, self._keeper
        jobs = [*map(keeper.known.get, room.blocked), *keeper.heritage.jobs.values()]
        idle = [job for job in jobs if job and not job.done() and job.id not in room.live]
        newest = {**seen.newest, **dict.fromkeys(decision.new, sys.maxsize)}
        return given_up(idle, newest, wanted)

    def _goes_on_elsewhere(self, id_: int, jobs: Sequence[Job]) -> bool:
        """Whether a job that is needed, or is one of those wanted, has yet to end in another run."""
        if self._keeper.job(id_) is not None:
            return False
        wanted = next((job.status for job in jobs if job.id == id_), JobStatus.INIT)
        return not JobStatus(self._room.foreign.get(id_, wanted)).final

    async def _ended(self, jobs: Sequence[Job], elsewhere: set[int]) -> bool:
        """Wait for the end of what was begun; False: something it needs was lost in another run.

        What somebody killed there is not lost: it is not wanted any more.
        """
        goal, killed = jobs[0], None
        waiting = asyncio.ensure_future(self._wait(jobs))
        try:
            while elsewhere and killed is None:
                await asyncio.wait([waiting], timeout=REQUESTS_SECONDS)
                if goal.done() and goal.id not in elsewhere:
                    break
                lost = await self._elsewhere.lost(elsewhere)
                killed = next(filter(was_asked_for, lost.values()), None)
                if lost and killed is None:
                    return False
                if waiting.done():
                    break
            await waiting
        except DependencyFailed as error:
            if killed is None or error.cause is not None:
                raise
            told = f"{goal} can't start: {how_it_ended(killed)}"
            raise DependencyFailed(told, goal, error.reason, killed) from None
        finally:
            waiting.cancel()
            await asyncio.wait([waiting])
        return True

    async def _withdraw(self, lost: Sequence[Job], jobs: Sequence[Job]) -> None:
        """Forget what was begun and waits for what will not come; other jobs were begun in its place."""
        ids = self._below(lost) - self._below(jobs)
        waiting = [job for job in map(self._keeper.job, ids) if job and job.status is JobStatus.WAITING]
        if waiting:
            crash_point("before builds are withdrawn")
            await self._keeper.withdraw(waiting, "what it needs was lost in another run")
            crash_point("after builds were withdrawn")

    def _below(self, jobs: Iterable[Job]) -> set[int]:
        """The numbers of jobs, and of all they need."""
        found: set[int] = set()
        stack = [job.id for job in jobs]
        while stack:
            id_ = stack.pop()
            if id_ not in found:
                found.add(id_)
                job = self._keeper.job(id_)
                stack += job.needs if job is not None and not job.done() else ()
        return found

    async def push_for(self, planned: Plan, asker: Job) -> list[Job]:
        """Accept what a job asks for, but for builds of named calls that are up to date, or on their way."""
        definitions = _definitions(planned)
        if not definitions:
            return await self._pusher.push_for(planned, asker)
        base = JobOptions()
        async with self._deciding:
            seen = await self._look(definitions, base)
            use = usable(seen.definitions, seen.builds)
            ready = await self._keeper.load_all(await self._room.store.get(sorted(use.values())))
            # nobody would follow one of another run to its end, were its process to die
            there = {job.name: job for job in ready if job.done() or self._keeper.job(job.id) is job}
            return await self._pusher.push_for(planned, asker, there)

    async def _push(self, planned: Plan, decision: Decision, newest: Mapping[str, int]) -> list[Job]:
        there: list[Job | None] = []
        for node in planned.nodes:
            name = node.work.named.name if node.work.named is not None else ""
            id_ = 0 if name in decision.new else decision.uses.get(name, 0)
            job = await self._keeper.get(id_) if id_ else None
            if job is not None and job.done():
                job.cached = True
            there.append(job)
        jobs = await self._pusher.push_with(planned, there, newest)
        known = self._keeper.known
        new = [job for job in jobs if not job.cached and known.get(job.id) is job]
        self._keeper.pushed += [job for job in new if job not in self._keeper.pushed]
        return jobs

    async def _wait(self, jobs: Sequence[Job]) -> None:
        """Return when the goal and what depends on it have ended, however they did."""
        goal, *others = jobs
        try:
            await self._keeper.wait(goal)
        finally:
            for job in others:
                try:
                    await self._keeper.wait(job)
                except DependencyFailed:
                    continue  # the report tells of it


def _has_result(job: Job) -> bool:
    """Whether nobody removed its directory by hand."""
    return os.path.isdir(job.directory)


def _definitions(plan: Plan) -> list[Definition]:
    """The named calls of a plan, each after what it needs."""
    named = ((node, node.work.named) for node in plan.nodes)
    return [
        Definition(each.name, node.digest, tuple(each.uses), each.protected)
        for node, each in named
        if each is not None
    ]


def _refusals(decision: Decision, seen: _Seen) -> Iterator[tuple[str, XquteError]]:
    """The calls that nobody tries to build, and why."""
    for goal, missing in decision.missing.items():
        names = ", ".join(missing)
        yield (
            goal,
            MissingDependencies(
                f"{goal} can't be built with deps=None: there is no result of {names};"
                " build that first, or give deps='missing'",
                missing,
            ),
        )
    if refused := decision.refused.intersection(decision.roots):
        stand = statuses(seen.definitions, seen.builds)
        yield from ((name, Protected(name, stand[name].why)) for name in refused)
