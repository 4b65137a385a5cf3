"""Whose results a job takes: of what it needs, and of what stands in for that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from .engine.room import Room
from .handing import Sources
from .job import Job
from .outcome import source_of
from .states import JobStatus
from .store import Query, Row


class Loader(Protocol):
    """Who has the jobs."""

    #: Those of this session, by id.
    known: dict[int, Job]

    def job(self, id: int) -> Job | None:
        """The job of a number, where it is of this run."""

    async def load_all(self, rows: Iterable[Row]) -> list[Job]:
        """The jobs of rows."""


class Inputs:
    """Looks up where results are, when a job is about to start."""

    def __init__(self, room: Room, keeper: Loader) -> None:
        """Nothing was looked up."""
        self._room = room
        self._keeper = keeper

    async def stand_ins(self, job: Job) -> Mapping[int, int]:
        """Of what the job needs and was SKIPPED, the builds whose results stand."""
        needs = {id_: need for id_ in job.needs if (need := self._keeper.job(id_)) is not None}
        found: dict[int, int] = {}
        for id_, need in needs.items():
            if need.name and need.status is JobStatus.SKIPPED:
                standing = await self._newest_result(need.name)
                found.update({id_: standing} if standing else {})
        return found

    async def _newest_result(self, name: str) -> int:
        """The newest FINISHED build of a name; 0: there is none."""
        finished = Query(name=name, statuses=[JobStatus.FINISHED], newest=True, limit=1)
        stored = [row.id for row in await self._room.store.page(finished)]
        # what ended here may not be in the store yet
        here = (
            id_
            for id_, job in self._keeper.known.items()
            if job.status is JobStatus.FINISHED and job.name == name
        )
        return max((*stored, *here), default=0)

    async def found(self, job: Job) -> Mapping[str, int]:
        """Which builds of named calls were required by the job, or by steps of it without a name."""
        named = job.call.named
        if named is None:
            return {}
        found: dict[str, int] = {}
        seen: set[int] = set()
        left = list(job.needs)
        while left:
            needs = await self._jobs(set(left) - seen)
            seen.update(left)
            left = []
            for need in needs.values():
                if not need.name:
                    left += need.needs
                elif need.name not in named.uses:
                    found[need.name] = max(found.get(need.name, 0), await self._standing(need))
        return found

    async def _standing(self, need: Job) -> int:
        skipped = need.status is JobStatus.SKIPPED
        return (skipped and await self._newest_result(need.name)) or need.id

    async def _jobs(self, ids: Iterable[int]) -> dict[int, Job]:
        """Jobs of this run and of others, those that are there."""
        here = {id_: self._keeper.job(id_) for id_ in ids}
        rows = await self._room.store.get([id_ for id_, job in here.items() if job is None])
        others = {job.id: job for job in await self._keeper.load_all(rows)}
        return {id_: job for id_, job in {**here, **others}.items() if job is not None}

    async def sources(self, job: Job) -> Sources:
        """Where the results of what the job needs are."""
        jobs = await self._jobs({*job.needs, *job.stand_ins.values()})

        def source(id_: int) -> tuple[int, str]:
            id_ = job.stand_ins.get(id_, id_)
            need = jobs.get(id_)
            return id_, "gone" if need is None else source_of(need)

        required = {digest: [source(id_) for id_ in ids] for digest, ids in job.required.items()}
        return Sources([source(id_) for id_ in job.given_needs], required)
