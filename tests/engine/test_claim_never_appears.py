"""A start whose claim never appears is handed over again as the same start, at most three times."""

import pytest

from tests.engine.acting import act, until
from xqute import JobFailed, JobStatus
from xqute.testing.fake import Play

NEVER = Play(begins=False)


async def test_a_start_that_never_began_is_handed_over_again_as_the_same_start(xq, fake):
    copies = iter([NEVER, NEVER, Play()])
    fake.plan = lambda job: next(copies)

    job = await xq.push(["fake"], retries=0)
    await job

    assert fake.began == [(job.id, 1)]
    assert (job.status, job.start, job.attempt) == (JobStatus.FINISHED, 1, 1)
    assert len(fake.asked("submit")) == 3


async def test_a_start_that_never_begins_is_lost_after_three_more_tries(xq, fake):
    job = await xq.push(["fake", "never"])

    with pytest.raises(JobFailed):
        await job

    assert job.reason.code == "LOST"
    assert len(fake.asked("submit")) == 4
    assert job.start == 1


async def test_a_lost_start_counts_as_an_attempt(xq, fake):
    fake.plan = act(NEVER, Play())

    job = await xq.push(["fake"], retries=1)
    await job

    assert (job.start, job.attempt) == (2, 2)
    assert len(fake.asked("submit")) == 5


async def test_files_are_not_put_away_when_the_same_start_is_handed_over_again(xq, fake):
    copies = iter([NEVER, Play()])
    fake.plan = lambda job: next(copies)

    job = await xq.push(["fake"])
    await job

    assert not (job.metadir / "job.retry").exists()


async def test_a_first_copy_that_shows_up_late_makes_the_second_harmless(xq, fake):
    """The scheduler said gone, and was wrong: the first copy waits in a queue it does not show."""
    job = await xq.push(["fake", "never"])
    async with xq:
        await until(lambda: len(fake.asked("submit")) == 2)
        job.status_file.write_text("RUNNING 1\nFINISHED 0\n")

    assert job.status is JobStatus.FINISHED
    assert fake.began == []
