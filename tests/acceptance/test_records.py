"""Records of jobs: what happened to them, with their stages, as Virtool's jobs tell it."""

import pytest

from tests.acceptance.record_calls import ALONE, add_host, quiet
from xqute import JobStatus

pytestmark = pytest.mark.usefixtures("here")

RUNNING, FINISHED, FAILED = JobStatus.RUNNING, JobStatus.FINISHED, JobStatus.FAILED


async def story(job):
    """State, stage and percent of each entry since it ran."""
    history = await job.history()
    assert [line.date for line in history] == sorted(line.date for line in history)
    return [
        (line.state, line.stage, None if line.progress is None else round(line.progress))
        for line in history
        if line.state >= RUNNING
    ]


async def test_each_stage_is_an_entry_and_its_progress_is_only_the_newest(run_one):
    job = await run_one(add_host("Peach"))

    assert await story(job) == [
        (RUNNING, "", None),
        (RUNNING, "mk_host_dir", 20),
        (RUNNING, "bowtie_build", 50),
        (RUNNING, "update_db", 60),
        (FINISHED, "update_db", 100),
    ]
    began = [line.date for line in await job.history() if line.stage and line.state is RUNNING]
    assert len(set(began)) == len(began), "each stage has the time at which it began"


async def test_an_error_says_in_which_stage_it_was(run_one):
    job = await run_one(add_host("Peach", fail="bowtie_build"))

    last = (await job.history())[-1]
    assert (last.state, last.stage, round(last.progress)) == (FAILED, "bowtie_build", 50)
    assert "no memory" in last.error


async def test_each_attempt_has_the_stages_it_came_to(run_one):
    job = await run_one(add_host("Peach", fail="once"), retries=1, retry_delay=0)

    told = [(line.start, line.stage) for line in await job.history() if line.stage]
    assert [stage for start, stage in told if start == 1][-1] == "bowtie_build"
    assert [stage for start, stage in told if start == 2][-1] == "update_db"


async def test_a_job_without_stages_has_one_entry_with_its_progress(run_one):
    assert await story(await run_one(ALONE)) == [(RUNNING, "", 70), (FINISHED, "", 100)]


async def test_a_job_that_says_nothing_has_no_progress(run_one):
    assert await story(await run_one(quiet())) == [(RUNNING, "", None), (FINISHED, "", None)]


async def test_a_shell_job_tells_its_stages_too(run_one):
    line = 'printf "stage a\\nprogress 5\\nprogress 9\\nstage b\\n" >> "$XQUTE_JOB_EVENTS"'

    assert await story(await run_one(line)) == [
        (RUNNING, "", None),
        (RUNNING, "a", 9),
        (RUNNING, "b", 9),
        (FINISHED, "b", 100),
    ]
