"""Trouble with the commands of a batch scheduler is no trouble of its jobs: real processes, toy clusters."""

import asyncio

import pytest

from tests.batches import SGE, SLURM
from tests.faults.batch.jobs import SECONDS, counting, holding, runs, well
from tests.waiting import until
from xqute import JobStatus

COUNTED = 'n=$(cat "$0.n" 2>/dev/null || echo 0); echo $((n + 1)) >"$0.n"; if [ $((n % 3)) = 1 ]; then '
EMPTY = "<?xml version='1.0'?><job_info><queue_info></queue_info><job_info></job_info></job_info>"

#: What stands in the place of a command does this with `$real`, the command it stands for.
SHIMS = {
    "every third fails": f'{COUNTED}echo "something went wrong" >&2; exit 1; fi; exec "$real" "$@"',
    "every third says garbage": (
        f'{COUNTED}printf \'<html>\\377\\303 Busy </html>\\n\'; exit 0; fi; exec "$real" "$@"'
    ),
    "every third is cut off": f'{COUNTED}"$real" "$@" | head -c 200; exit 0; fi; exec "$real" "$@"',
    "misses lines once": (
        'if mkdir "$0.once" 2>/dev/null; then "$real" "$@" | head -n 1; else exec "$real" "$@"; fi'
    ),
    "misses all once": f'mkdir "$0.once" 2>/dev/null && echo "{EMPTY}" && exit 0; exec "$real" "$@"',
}

#: The commands that a manager may run until its jobs have ended.
COMMANDS = {SLURM: ["sbatch", "squeue", "scontrol"], SGE: ["qsub", "qstat", "qconf", "qacct"]}


@pytest.mark.parametrize(
    ("batch", "kind"),
    [
        *((batch, kind) for batch in COMMANDS for kind in ("every third fails", "every third says garbage")),
        (SGE, "every third is cut off"),
    ],
    ids=lambda each: getattr(each, "name", each),
)
@pytest.mark.parametrize("arrays", [True, False], ids=["arrays", "one by one"])
async def test_commands_that_fail_now_and_then_cost_no_job(make, shims, tmp_path, batch, kind, arrays):
    options = shims(SHIMS[kind], *COMMANDS[batch])
    xq = make(forks=8, **options, **({} if arrays else {"scheduler_array_limit": 1}))
    jobs = await xq.push_many([counting(tmp_path, "sleep 0.1")] * 12)

    async with asyncio.timeout(SECONDS):
        report = await xq.run_until_complete()

    assert report.ok
    assert well(jobs)
    assert runs(tmp_path) == len(jobs)


@pytest.mark.parametrize("several", [1, 3])
@pytest.mark.parametrize("fault", ["deny", "lose", "fail"])
async def test_a_submission_that_goes_wrong_is_made_good_and_runs_once(
    make, batch, cluster, tmp_path, fault, several
):
    xq = make()
    jobs = await xq.push_many([holding(tmp_path)] * several)
    cluster.fault(fault, verbs=["submit"], times=1)

    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: {job.status for job in jobs} == {JobStatus.RUNNING})
        (tmp_path / "go").touch()

    assert well(jobs)
    assert runs(tmp_path) == len(jobs)
    # what was taken and denied is found by its name; what was lost, or never taken, is submitted once more
    assert len(cluster.calls(batch.submit)) in ({1} if fault == "deny" else {2, 3, 4})


async def test_jobs_end_while_the_scheduler_is_away(make, cluster, tmp_path, caplog):
    xq = make()
    jobs = await xq.push_many([holding(tmp_path)] * 3)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: runs(tmp_path) == 3)
        mend = cluster.fault("fail")
        late = await xq.push(counting(tmp_path))
        await until(lambda: {job.reason.code for job in jobs} == {"UNREACHABLE"})
        (tmp_path / "go").touch()
        await asyncio.wait([job.as_task() for job in jobs])
        waits = late.reason.code
        mend()

    assert waits == "SCHEDULER_DOWN"
    assert well([*jobs, late])
    said = [line for line in caplog.messages if "does not answer" in line]
    assert len(said) == 1
    assert "scheduler unreachable since" in " ".join([str(line.reason) for line in await jobs[0].history()])


@pytest.mark.parametrize(
    ("batch", "kind"),
    [(SLURM, "misses lines once"), (SGE, "misses all once"), (SGE, "every third is cut off")],
    ids=lambda each: getattr(each, "name", each),
)
async def test_a_job_that_an_answer_misses_is_still_there(make, batch, cluster, shims, tmp_path, kind):
    xq = make(**shims(SHIMS[kind], batch.ask))
    job = await xq.push(holding(tmp_path))
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: job.status is JobStatus.RUNNING)
        missed = tmp_path / f"{batch.ask}.{'once' if kind.endswith('once') else 'n'}"
        await until(missed.exists)
        asked = len(cluster.calls(batch.ask))
        await until(lambda: len(cluster.calls(batch.ask)) > asked + 4)
        status = job.status
        (tmp_path / "go").touch()

    assert status is JobStatus.RUNNING
    assert well([job])


@pytest.mark.parametrize(
    ("batch", "hold", "why", "words"),
    [
        (SLURM, {"slurm_hold": True}, "JobHeldUser", "PENDING (JobHeldUser)"),
        (SGE, {"sge_h": True}, "held", "hqw (held)"),
    ],
    ids=["slurm", "sge"],
)
async def test_a_held_job_says_so_and_runs_when_it_is_released(
    make, batch, cluster, tmp_path, hold, why, words
):
    xq = make(**hold)
    job = await xq.push(counting(tmp_path))
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: why in str(job.reason))
        said = str(job.reason)
        cluster.release(job.uid)

    assert said == f"handed to {batch.name} as {job.uid}: {words}"
    assert well([job])


@pytest.mark.parametrize("several", [1, 3])
@pytest.mark.parametrize("deaf", [False, True], ids=["polite", "deaf"])
async def test_what_somebody_cancels_is_not_tried_again(make, batch, cluster, tmp_path, several, deaf):
    xq = make()
    line = holding(tmp_path, before="trap '' TERM" if deaf else "true")
    jobs = await xq.push_many([line] * several, retries=3)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: runs(tmp_path) == several and jobs[0].status is JobStatus.RUNNING)
        process = await asyncio.create_subprocess_exec(cluster.bin / batch.cancel, jobs[0].uid)
        assert await process.wait() == 0
        await asyncio.wait([jobs[0].as_task()])
        (tmp_path / "go").touch()

    assert (jobs[0].status, jobs[0].reason.code, jobs[0].start) == (JobStatus.FAILED, "KILLED", 1)
    assert all(job.status is JobStatus.FINISHED for job in jobs[1:])
    assert runs(tmp_path) == several


# Slurm counts the jobs of an array, Grid Engine the array.
@pytest.mark.parametrize(
    ("batch", "most", "array"),
    [(SLURM, 4, 2), (SLURM, 2, 1), (SGE, 2, 2), (SGE, 2, 1)],
    ids=lambda each: getattr(each, "name", None),
)
async def test_a_limit_of_submitted_jobs_is_waited_out(make, batch, cluster, tmp_path, most, array):
    cluster.set(most=most)
    xq = make(forks=6, scheduler_array_limit=array)
    jobs = await xq.push_many([holding(tmp_path)] * 6 * array)
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: any(job.reason.code == "SCHEDULER_FULL" for job in jobs))
        (tmp_path / "go").touch()
        await asyncio.wait([job.as_task() for job in jobs])

    assert well(jobs)
    assert runs(tmp_path) == len(jobs)
