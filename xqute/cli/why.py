"""`xqute why`: one sentence about a job, and what to do."""

from __future__ import annotations

import asyncio

import rich_click as click

from xqute.job import Job
from xqute.rules.remedies import remedy
from xqute.states import JobStatus
from xqute.store import RunRow

from .forms import Out, job_document, print_json
from .options import one_job, where
from .place import Place
from .runs import deserted, manager, meanwhile, run_of


@click.command(
    help="""Say why a job waits or how it ended, and what to do about it.

Also when the manager of its run has ended, and nobody runs it any more.

\b
Examples:
  xqute why 7
  xqute why 7 --json | jq -r .remedy
"""
)
@one_job
@where
def command(job: int, metadir: str, store: str | None, *, as_json: bool) -> None:
    """Say why."""
    asyncio.run(_why(Place.of(metadir, store), job, as_json=as_json))


async def _why(place: Place, id: int, *, as_json: bool) -> None:
    async with place.reading() as store:
        row, job = await place.find(store, id)
        run = await run_of(store, row)
    left = not job.status.final and deserted(run)
    sentence = f"{job} is {_left(job, run)}" if left else f"{job} {_stands(job)}"
    todo = (
        f"start the same script again with resume=True, or run `xqute resume {row.run}`"
        if left
        else remedy(job.status, job.reason, job.id)
    )
    if as_json:
        document = job_document(row, job)
        print_json({**document, "sentence": sentence, "remedy": todo, "deserted": left})
        return
    out = Out()
    out.say(sentence)
    out.say(f"→ {todo}")


def _stands(job: Job) -> str:
    if job.status is JobStatus.FINISHED:
        return f"FINISHED: it ended well, in attempt {job.attempt}"
    return (
        f"is {job.status.name}: {job.reason}" if not job.status.final else f"{job.status.name}: {job.reason}"
    )


def _left(job: Job, run: RunRow | None) -> str:
    """How a job stands that nobody runs."""
    who = "its manager" if run is None else f"its manager ({manager(run)})"
    return f"{job.status.name}, and {who} ended{meanwhile(job)}"
