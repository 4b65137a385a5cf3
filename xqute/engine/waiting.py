"""Moves the jobs that wait for others: on when what they need is there, to blocked when it won't be."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..job import Job
from ..rules.needing import blocked_by, needs_others
from ..states import JobEvent, JobStatus, Reason
from .room import Room


class Waiting:
    """Follows every end along the graph of needs.

    Args:
        room: The engine's.
        apply: The lifecycle's door: job, event, reason.
        explain: The same for a job that stays where it is.
        blocked: Is told of each job that can't go on any more.
    """

    def __init__(
        self,
        room: Room,
        apply: Callable[[Job, JobEvent, Reason], bool],
        explain: Callable[[Job, Reason], None],
        blocked: Callable[[Job], None],
    ) -> None:
        """Nobody waits yet."""
        self._room = room
        self._apply = apply
        self._explain = explain
        self._tell = blocked

    def moved(self, job: Job) -> None:
        """The job has come to where it is now."""
        room, graph = self._room, self._room.graph
        room.blocked.discard(job.id)
        if job.status.well:
            self.go_on(graph.good(job.id))
            graph.forget(job.id)
        elif job.status.final:
            self._block(graph.bad(job.id), job.id)
        elif job.status is JobStatus.WAITING:
            self.look_at(job)

    def ended_elsewhere(self, id: int, status: JobStatus) -> None:
        """A job of another run that some need here is so far."""
        if status.well:
            self.go_on(self._room.graph.good(id))
        elif status.final:
            self._block(self._room.graph.bad(id), id)

    def wanted_again(self, job: Job) -> None:
        """It ended badly, and is to run once more: those that waited for it have hope."""
        for other in self._jobs(self._room.graph.again(job.id)):
            if other.status is JobStatus.WAITING:
                self._room.blocked.discard(other.id)
                self._explain(other, Reason("NEEDS", {"needs": "others"}))

    def go_on(self, ids: Iterable[int]) -> None:
        """What these need is there."""
        for job in self._jobs(ids):
            if job.status is JobStatus.WAITING:
                self._apply(job, JobEvent.NEEDS_MET, Reason("READY"))

    def connect(self, jobs: Iterable[Job]) -> None:
        """These need others, of which some may have ended."""
        graph = self._room.graph
        looked: set[int] = set()
        for job in jobs:
            if job.given_needs and job.group in looked:
                graph.add(job.id, job.group, job.given_needs)
            elif job.given_needs:
                looked.add(job.group)
                good, bad = self._ended(job.given_needs)
                graph.add(job.id, job.group, job.given_needs, good=good, bad=bad)
            if job.required:
                self.require(job)
            if job.status.well:
                graph.good(job.id)
            elif job.status.final:
                graph.bad(job.id)

    def require(self, job: Job) -> None:
        """The job needs what it asked for, too."""
        ids = job.asked
        good, bad = self._ended(ids)
        self._room.graph.require(job.id, ids, good=good, bad=bad)

    def _ended(self, ids: Iterable[int]) -> tuple[set[int], set[int]]:
        """Those that ended well, and those that did not."""
        good, bad = set(), set()
        for id_ in ids:
            status = self._status(id_)
            if status.well:
                good.add(id_)
            elif status.final:
                bad.add(id_)
        return good, bad

    def _status(self, id: int) -> JobStatus:
        job = self._room.known(id)
        return JobStatus(self._room.foreign.get(id, 0)) if job is None else job.status

    def why(self, job: Job) -> Reason:
        """Why it waits for others, as it is now."""
        graph = self._room.graph
        if graph.blocked(job.id):
            return blocked_by({id_: self._status(id_) for id_ in graph.causes(job.id)})
        missing = graph.missing(job.id) or job.needs  # those may be there, and it is on its way
        others = [id_ for id_ in missing if id_ in self._room.foreign]
        idle = next((self._room.idle[id_] for id_ in others if id_ in self._room.idle), "another run")
        return needs_others(missing, job.asked, others, idle)

    def look_at(self, job: Job) -> None:
        """A job has begun to wait: is what it needs there already, or never to come?"""
        graph = self._room.graph
        if graph.runnable(job.id):
            self.go_on([job.id])
        elif graph.blocked(job.id):
            self._block([job.id], graph.cause(job.id))

    def _block(self, ids: Iterable[int], cause: int) -> None:
        """These can't start because of that one's end."""
        reason = blocked_by({cause: self._status(cause)})
        for job in self._jobs(ids):
            if job.status is not JobStatus.WAITING:
                continue
            self._explain(job, reason)
            if job.id not in self._room.unpushed:
                self._room.blocked.add(job.id)
            self._tell(job)
        self._room.wake.set()

    def _jobs(self, ids: Iterable[int]) -> Iterable[Job]:
        return (job for job in map(self._room.known, ids) if job is not None)
