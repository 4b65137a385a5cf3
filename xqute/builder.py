"""Keeps the results of named calls up to date: looks at what there is, and pushes what is to be built."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from .calls import Call
from .crash import crash_point
from .elsewhere import Elsewhere, how_it_ended, was_asked_for
from .engine.room import Room
from .errors import DependencyFailed, MissingDependencies, OptionError
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
    given_up,
    ordered,
    statuses,
    usable,
)
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
        """Push what is to be built, and wait for its end; returns the job of the goal.

        A goal that is up to date has the job that it was built by.

        Raises:
            DependencyFailed: The goal can't be built, because something it needs failed.
            OptionError: The call has no name, or something else is not what it should be.
            GraphError: The calls can't be a tree.
            MissingDependencies: There are results missing that may not be built.
            XquteError: The goal is protected, and would have to be built again.
        """
        name = name_of(wanted.call)
        if wanted.deps not in POLICIES:
            raise OptionError(f"deps={wanted.deps!r}: it is 'outdated', 'missing' or None")
        lost: Sequence[Job] = ()
        while True:
            await self._own()
            try:
                async with self._deciding:  # two builds at the same time share what both need
                    jobs, elsewhere = await self._begin(wanted, name, base)
            except Overtaken:
                continue
            await self._withdraw(lost, jobs)
            if await self._ended(jobs, elsewhere):
                return jobs[0]
            lost = jobs

    async def _begin(self, wanted: Wanted, name: str, base: JobOptions) -> tuple[list[Job], set[int]]:
        """Push what is to be built; returns the jobs that count, and which builds of other runs they need."""
        calls = {name_of(call): call for call in wanted.dependents}
        definitions = _definitions(self._pusher.plan([wanted.call, *calls.values()], base, {}))
        needs = {each.name: each.needs for each in definitions}
        await self._pins.check(wanted.pin, below(needs[name], needs))
        seen = await self._look(definitions, base, patient=True)
        decision = decide(
            seen.definitions,
            seen.builds,
            name,
            deps=wanted.deps,
            dependents=calls,
            pin=wanted.pin,
            force=wanted.force,
        )
        if decision.refused:
            raise Protected(name, statuses(seen.definitions, seen.builds)[name].why)
        _refuse_missing(decision, name)
        roots = [wanted.call if root == name else calls[root] for root in decision.roots]
        newest = {each: seen.newest[each] for each in decision.new}
        jobs = await self._push(self._pusher.plan(roots, base, {}), decision, newest)
        overtaken = self._overtaken(decision, seen, self._below(jobs))
        await self._keeper.withdraw(overtaken, "another build takes its place")
        elsewhere = {id_ for id_ in self._below(jobs) if self._goes_on_elsewhere(id_, jobs)}
        await self._elsewhere.tell(elsewhere)
        return jobs, elsewhere

    def _overtaken(self, decision: Decision, seen: _Seen, wanted: Collection[int]) -> list[Job]:
        """Builds of this run that don't go on and have younger ones now, and their steps."""
        room, keeper = self._room, self._keeper
        jobs = [*map(keeper.known.get, room.blocked), *keeper.heritage.jobs.values()]
        idle = {job.id: job for job in jobs if job and not job.done() and job.id not in room.live}
        builds = [job for job in idle.values() if job.name and job.id not in wanted]
        older = [
            job.id for job in builds if job.name in decision.new or job.id < seen.newest.get(job.name, 0)
        ]
        steps = [job.id for job in idle.values() if not job.name and job.id not in wanted]
        return [idle[id_] for id_ in given_up({id_: job.needs for id_, job in idle.items()}, older, steps)]

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


def _refuse_missing(decision: Decision, goal: str) -> None:
    if decision.missing:
        names = ", ".join(decision.missing)
        raise MissingDependencies(
            f"{goal} can't be built with deps=None: there is no result of {names};"
            " build that first, or give deps='missing'",
            decision.missing,
        )
