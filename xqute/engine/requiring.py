"""What a job asked for while it ran: others are to run first, then it starts again from the top."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace

from .. import metadir
from ..crash import crash_point
from ..errors import GraphError, OptionError, XquteError
from ..job import Job
from ..plan import Plan
from ..settings import REQUIRE_MAX_BYTES, REQUIRE_ROUNDS
from .room import Room

log = logging.getLogger("xqute.engine")


class Refused(XquteError):
    """What a job required can't be run; says why."""


class Requirer:
    """Accepts what jobs require, and lets those jobs wait for it."""

    def __init__(self, room: Room) -> None:
        """Share the room."""
        self._room = room

    async def take(self, job: Job, names: Sequence[str]) -> dict[str, list[int]]:
        """Have accepted what the job asked for; returns everything it requires by now: digest → ids.

        What is there already in its tree under the same definition is not accepted a second time.

        Args:
            job: Its start is over.
            names: Of the files in its directory that hold the calls.

        Raises:
            Refused: It can't be: says why.
        """
        plans = [self._read(job, name) for name in dict.fromkeys(names)]
        if job.rounds >= REQUIRE_ROUNDS:
            raise Refused(_too_often(plans))
        required = {digest: list(ids) for digest, ids in job.required.items()}
        for plan in plans:
            crash_point("before what a job requires is accepted")
            try:
                jobs = await self._room.push(plan, job)
            except (GraphError, OptionError) as exc:
                raise Refused(str(exc)) from exc
            crash_point("after what a job requires is accepted")
            wanted: dict[str, list[int]] = {}
            for node, other in zip(plan.roots, jobs, strict=True):
                self._refuse_cycle(job, other)
                wanted.setdefault(plan.nodes[node].digest, []).append(other.id)
            for digest, ids in wanted.items():
                known = required.setdefault(digest, [])
                known += [id_ for id_ in dict.fromkeys(ids) if id_ not in known]
        return required

    def _refuse_cycle(self, job: Job, other: Job) -> None:
        if other is job or self._room.graph.reaches(other.id, job.id):
            raise Refused(f"it requires {other}, which waits for it: neither could ever run")

    def _read(self, job: Job, name: str) -> Plan:
        path = f"{job.directory}/{metadir.CALL}{name}"
        try:
            content = metadir.read_small(path, REQUIRE_MAX_BYTES)
            if isinstance(content, str):
                raise Refused(f"what it requires can't be read: {path} is {content}")
            plan = Plan.from_json(content.decode())
        except (OSError, ValueError, KeyError, TypeError, json.JSONDecodeError) as exc:
            raise Refused(f"what it requires can't be read: {path}: {exc}") from exc
        if not all(plan.nodes[node].digest for node in plan.roots):
            raise Refused("it requires a call that can't be compared with others, and would ask for ever")
        return plan if job.call.function is not None else _as_asked_by(job, plan)


def _too_often(plans: Sequence[Plan]) -> str:
    asked = [plan.nodes[number].work.shown for plan in plans for number in plan.roots]
    often = f"it asked for others {REQUIRE_ROUNDS} times, and now for {asked[0] if asked else 'nothing'}"
    remedy = "let each start require the same calls, without the time, random numbers or job.start in them"
    return f"{often}: {remedy}"


def _as_asked_by(job: Job, plan: Plan) -> Plan:
    """What a shell job asks for runs as that does; nothing in its directory tells it how that is."""
    options = {name: getattr(job.call.options, name) for name in _INHERITED}
    nodes = [
        node._replace(work=replace(node.work, options=replace(node.work.options, **options)))
        for node in plan.nodes
    ]
    return plan._replace(nodes=nodes)


#: Options that say how jobs run, and are no part of what they do.
_INHERITED = ("priority", "error_strategy", "retries", "retry_delay", "grace", "user", "tags")
