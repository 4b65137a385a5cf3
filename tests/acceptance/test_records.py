"""Records of jobs: what happened to them, with their stages, as Virtool's jobs tell it."""

import pytest

from tests.acceptance.record_calls import ALONE, add_host, quiet
from xqute import JobStatus, XquteError
from xqute.owner import Owner
from xqute.store import Record

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


# Put away


async def test_what_is_archived_is_found_only_when_it_is_asked_for(make):
    xqute = make()
    kept, away = await xqute.push_many([quiet(), quiet()])
    with pytest.raises(XquteError, match="has not ended"):
        await away.archive()
    await xqute.run_until_complete()

    await away.archive()

    assert [job.id for job in await xqute.find()] == [kept.id]
    assert [job.id for job in await xqute.find(archived=True)] == [away.id]
    assert [job.id for job in await xqute.find(archived=None)] == [kept.id, away.id]
    assert (await make().get(away.id)).archived
    assert away.result() is None


async def test_a_job_of_an_earlier_process_is_archived_too_and_stays_so(make):
    async with make() as first:
        await first.push(quiet())
    second = make()
    [job] = await second.find()

    await job.archive()

    assert await make().find() == []
    [found] = await make().find(archived=True)
    assert (found.status, found.start) == (FINISHED, 1)


async def left_and_taken(make, state, *, at):
    """A job of a run that was left, which another process takes over when ours does this at the store."""
    async with make() as first:
        job = await first.push(["false"], retries=0)
    ours = make()
    [job] = await ours.find()
    store = ours._room.store
    real = getattr(store, at)

    async def taken(*arguments):
        setattr(store, at, real)
        [run] = await store.runs()
        other = str(Owner.here()._replace(since=1))
        assert await store.own(run._replace(owner=other, state="owned"), run.owner)
        [row] = await store.get([job.id])
        kept = (row.attempt, row.uid, row.document, 0.0)
        again = Record(row.id, row.start, int(state), *kept, held=False, owner=other)
        assert not await store.record([again])
        return await real(*arguments)

    setattr(store, at, taken)
    return ours, job


async def test_a_job_whose_run_is_taken_over_meanwhile_is_not_archived_as_it_was(make):
    ours, job = await left_and_taken(make, JobStatus.QUEUED, at="record")

    with pytest.raises(XquteError, match="another process has taken its run over just now"):
        await job.archive()

    [row] = await ours._room.store.get([job.id])
    assert (row.status, job.archived) == (JobStatus.QUEUED, False)


async def test_what_is_archived_is_what_became_of_a_job_since_it_was_loaded(make):
    _, job = await left_and_taken(make, JobStatus.KILLED, at="get")

    await job.archive()

    [found] = await make().find(archived=True)
    assert (found.status, job.status) == (JobStatus.KILLED, JobStatus.KILLED)


async def test_a_job_that_is_tried_again_is_not_archived_any_more(make):
    xqute = make()
    job = await xqute.push(["false"])
    await xqute.run_until_complete()
    await job.archive()

    await job.retry()
    await xqute.run_until_complete()

    assert [found.id for found in await xqute.find()] == [job.id]


async def test_a_named_call_that_is_archived_is_still_built(make):
    xqute = make()
    call = quiet().named("quiet")
    await (await xqute.build(call)).archive()

    assert await xqute.status(call) == "success"


# In a list


TAKES = {"cpus": 2, "mem": lambda attempt: f"{2 * attempt}G", "retries": 1, "retry_delay": 0}


async def test_the_summary_tells_what_the_attempt_takes_that_is_next(run_one):
    job = await run_one(["false"], **TAKES, time="1h")

    assert (job.attempt, job.summary()["mem"], job.summary()["time"]) == (2, 4 * 2**30, 3600)


async def test_the_summary_is_the_little_that_a_list_shows(run_one):
    job = await run_one(
        add_host("Peach", fail="bowtie_build"), user="igboyes", tags=["host"], title="Peach", cpus=2, mem="2G"
    )

    assert job.summary() == {
        "id": job.id,
        "task": "add_host",
        "name": "",
        "title": "Peach",
        "user": "igboyes",
        "tags": ["host"],
        "cpus": 2,
        "mem": 2 * 2**30,
        "time": None,
        "archived": False,
        "state": "failed",
        "stage": "bowtie_build",
        "progress": pytest.approx(50.0),
        "created": job.created,
    }


async def test_the_summary_of_a_job_that_did_not_run_knows_no_progress(make):
    job = await make().push(quiet())

    assert (job.summary()["state"], job.summary()["progress"], job.summary()["stage"]) == ("queued", 0.0, "")
