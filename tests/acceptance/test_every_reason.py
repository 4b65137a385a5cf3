"""Every cause of waiting and of ending, provoked: its code, sentence and remedy, in time, for anybody."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.acceptance.causes import ENDING, NOT_HERE, WAITING, Cause, Stage, matches
from tests.acceptance.conftest import until
from tests.faults.test_disk import disk  # noqa: F401  a fixture
from xqute import JobStatus, cmd
from xqute.rules.remedies import remedy
from xqute.states import EndReason, WaitReason

ROOT = Path(__file__).parents[2]

#: Seconds within which a reason is known on a machine that has much to do, as docs/states.md states them;
#: at a cluster besides those between two questions, and for which files may be late.
STATED = 10.0


def at_their_places(table: list[Cause]):
    rows = [(place, cause) for cause in table for place in cause.where]
    ids = [f"{cause.name}-{place}" for place, cause in rows]
    return pytest.mark.parametrize(
        ("place", "cause"),
        [("toy slurm" if place == "slurm" else place, cause) for place, cause in rows],
        ids=ids,
        indirect=["place"],
    )


@pytest.fixture
def stage(place, here, metadir, alive, request):
    yield Stage(place, here, metadir, lambda: request.getfixturevalue("disk"))
    (here / "go").touch()


#: Runs `xqute` for programs and for people; the start of an interpreter is what takes its time.
BOTH_FORMS = """
import contextlib, io, json, sys
from xqute.cli import app
told = []
for form in (["--json"], []):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert app.main([*sys.argv[1:], *form]) == 0
    told.append(printed.getvalue())
print(json.dumps(told))
"""


async def why(stage: Stage, job) -> tuple[str, str]:
    """What `xqute why` prints with `--json` and without, run by somebody else."""
    store = ["--store", stage.store] if stage.store else []
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-c", BOTH_FORMS, "why", str(job.id), "--metadir", stage.metadir, *store],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    said, text = json.loads(printed)
    return said, text


async def known(cause: Cause, job, seconds: float) -> None:
    """Return when the job gives the reason itself, in time."""
    try:
        await until(
            lambda: job.reason.code == cause.code and matches(cause.sentence, str(job.reason)), seconds
        )
    except TimeoutError:
        pytest.fail(f"{job} is {job.status.name}, {job.reason.code}: {job.reason}")


async def check(cause: Cause, stage: Stage) -> None:
    pytest.importorskip("rich_click")
    async with asyncio.timeout(60), cause.provoke(stage) as job:
        await known(cause, job, STATED + stage.place.interval + stage.place.late)
        assert cause.remedy in remedy(job.status, job.reason, job.id)
        said, text = await why(stage, job)

    told = json.loads(said)
    code, sentence, todo = cause.outside or (cause.code, cause.sentence, cause.remedy)
    assert told["reason"]["code"] == code
    assert matches(sentence, told["reason"]["sentence"])
    assert told["sentence"].startswith(str(job))
    assert told["deserted"] or told["sentence"].endswith(told["reason"]["sentence"])
    assert todo in told["remedy"]
    first, *_, last = text.splitlines()
    assert (first, last) == (told["sentence"], f"→ {told['remedy']}")


@at_their_places(WAITING)
async def test_a_cause_of_waiting_is_told_with_a_remedy(cause, stage):
    await check(cause, stage)


@at_their_places(ENDING)
async def test_a_cause_of_ending_is_told_with_a_remedy(cause, stage):
    await check(cause, stage)


@pytest.mark.parametrize("place", ["toy slurm"], indirect=True)
@pytest.mark.parametrize(("state", "code"), [("NODE_FAIL", "NODE_FAIL"), ("PREEMPTED", "PREEMPTED")])
async def test_what_is_no_fault_of_a_job_is_told_by_its_history_and_it_runs_again(stage, state, code):
    async with asyncio.timeout(60), stage.xqute() as xqute:
        job = await xqute.push(stage.stays())
        await until(lambda: job.status is JobStatus.RUNNING)
        stage.place.cluster.strike(job.uid, state)
        await until(lambda: job.start == 2)
        stage.go()
        await job

    [told] = [line for line in await job.history() if line.reason.code == code]
    assert (told.state, told.start, told.attempt) == (JobStatus.QUEUED, 1, 1)
    assert (job.status, job.attempt) == (JobStatus.FINISHED, 1)


async def test_a_job_whose_needs_are_there_says_so_in_its_history(stage):
    async with asyncio.timeout(60), stage.xqute() as xqute:
        job = await xqute.push(cmd("true").after(cmd("true")))
        await job

    assert ("QUEUED", "READY") in [(line.state.name, line.reason.code) for line in await job.history()]


def test_every_reason_is_provoked_or_it_is_said_why_not():
    provoked = {cause.code for cause in [*WAITING, *ENDING]}

    assert provoked | NOT_HERE.keys() == {*WaitReason, *EndReason}
    assert not provoked & NOT_HERE.keys()
    for place in ("local", "slurm"):
        for table in (WAITING, ENDING):
            assert len([cause for cause in table if place in cause.where]) >= 12
