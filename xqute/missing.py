"""Results that are needed, and were removed with the directories of their jobs, as `keep=` says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .errors import JobNotFound, OptionError
from .job import Job
from .keeper import JobKeeper
from .plan import Node, Plan
from .work import Hole


def removed_and_needed(plan: Plan, matched: Sequence[Job | None], wanted: Sequence[bool]) -> set[int]:
    """The nodes that ended well and whose results are gone, where others that are to run take them.

    Args:
        plan: What is pushed.
        matched: For each of its nodes the job that an earlier session had, or None.
        wanted: Which nodes must be there.
    """
    if not any(job is not None and job.removed for job in matched):
        return set()
    to_run = [
        node
        for node, job, is_wanted in zip(plan.nodes, matched, wanted, strict=True)
        if is_wanted and (job is None or not job.status.well)
    ]
    needs = ((member, matched[member]) for member in _taken(to_run, plan.groups) if member >= 0)
    return {member for member, need in needs if need is not None and need.removed}


async def refuse_removed(nodes: Iterable[Node], groups: Sequence[Sequence[int]], keeper: JobKeeper) -> None:
    """Raise when a job that is to run would get a result that is gone.

    Args:
        nodes: The jobs that are to run.
        groups: What they need; members above 0 are ids of jobs that are there.
        keeper: Who knows those.

    Raises:
        OptionError: It would.
    """
    for id_ in sorted(id_ for id_ in _taken(nodes, groups) if id_ > 0):
        try:
            job = keeper.job(id_) or await keeper.get(id_)
        except JobNotFound:
            continue  # it is told when that is needed
        if job.removed:
            raise OptionError(
                f"{job} can't be given to another any more: its result was removed with its directory, as "
                "keep= of its run says; push both at once, or keep='all'"
            )


def _taken(nodes: Iterable[Node], groups: Sequence[Sequence[int]]) -> set[int]:
    """The members of groups that nodes take the results of; of a Python call, it may be any."""
    taken: set[int] = set()
    of_calls: set[int] = set()
    for node in nodes:
        if node.group and node.work.function is not None:
            of_calls.add(node.group)
        elif node.group:
            members = groups[node.group - 1]
            taken.update(members[word.need] for word in node.work.cmd if isinstance(word, Hole))
    return taken.union(*(groups[group - 1] for group in of_calls))
