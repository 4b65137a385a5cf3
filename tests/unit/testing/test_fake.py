"""The fake is verified: what it leaves behind is what the real wrapper leaves behind."""

import asyncio
import os
import signal
import subprocess
from math import inf
from pathlib import Path

import pytest

from xqute import Answer, Job, Presence, Xqute
from xqute.errors import BackendUnavailable, OptionError, SubmitError
from xqute.stores.memory import MemoryStore
from xqute.testing.fake import FakeScheduler, Play, TellingFakeScheduler, last_line
from xqute.wrapper import Script, fill


@pytest.fixture
def fake() -> FakeScheduler:
    return FakeScheduler()


@pytest.fixture
def push(tmp_path, fake):
    """A job with a directory, at its first start, not handed over."""

    async def push(command: str = "fake ok") -> Job:
        xq = Xqute(fake, job_metadir=tmp_path / "jobs", store=MemoryStore())
        job = await xq.push(command.split())
        job.start = 1
        assert job.metadir.is_dir()
        return job

    return push


async def hand_over(fake, job: Job) -> Job:
    job.uid = await fake.submit_job(job)
    return job


async def presence(fake, job: Job) -> Presence:
    return (await fake.poll_jobs([job]))[job].presence


def files(directory: Path) -> dict[str, str]:
    """What tells the end, with process ids left out."""
    texts = {name: (directory / name) for name in ("job.status", "job.rc")}
    return {
        name: " ".join("PID" if before == "RUNNING" else word for before, word in pairs(path))
        for name, path in texts.items()
        if path.exists()
    }


def pairs(path: Path):
    words = path.read_text().replace("\n", " / ").split()
    return zip([None, *words], words, strict=False)


def real(tmp_path: Path, line: str, number: int | None = None) -> dict[str, str]:
    """What the wrapper leaves, run by a real shell."""
    directory = tmp_path / "real"
    directory.mkdir()
    script = directory / "script"
    script.write_text(fill(Script(str(directory), ["sh", "-c", line], str(directory), {"A": "1"})))
    options = {"stdin": subprocess.DEVNULL, "start_new_session": True}
    process = subprocess.Popen(["/bin/sh", script], **options)
    if number is not None:
        while not (directory / "ready").exists():
            os.sched_yield()
        os.killpg(process.pid, number)
    process.wait(30)
    return files(directory)


@pytest.mark.parametrize("rc", [0, 1, 3, 255])
async def test_it_writes_what_the_wrapper_writes_at_an_end(fake, push, tmp_path, rc):
    fake.plan = lambda job: Play(rc=rc)
    job = await hand_over(fake, await push())
    await asyncio.sleep(2)

    assert files(job.metadir) == real(tmp_path, f"exit {rc}")


@pytest.mark.parametrize("name", ["TERM", "HUP", "XCPU"])
async def test_it_writes_what_the_wrapper_writes_when_somebody_stops_it(fake, push, tmp_path, name):
    number = getattr(signal, f"SIG{name}")
    fake.plan = lambda job: Play(rc=128 + number, signal=name)
    job = await hand_over(fake, await push())
    await asyncio.sleep(2)

    assert files(job.metadir) == real(tmp_path, "touch ready; exec sleep 60", number)


async def test_it_writes_what_the_wrapper_writes_when_it_is_killed(fake, push, tmp_path):
    fake.plan = lambda job: Play(runs=inf)
    job = await hand_over(fake, await push())
    await asyncio.sleep(2)
    await fake.kill_job(job)
    await asyncio.sleep(1)

    assert files(job.metadir) == real(tmp_path, "touch ready; exec sleep 60", signal.SIGTERM)


async def test_it_writes_what_the_wrapper_writes_when_it_is_killed_hard(fake, push, tmp_path):
    fake.plan = lambda job: Play(vanishes=True)
    job = await hand_over(fake, await push())
    await asyncio.sleep(2)

    assert files(job.metadir) == real(tmp_path, "touch ready; exec sleep 60", signal.SIGKILL)


async def test_a_second_copy_of_a_start_runs_nothing(fake, push):
    job = await push()
    await hand_over(fake, job)
    await hand_over(fake, job)
    await asyncio.sleep(5)

    assert fake.began == [(job.id, 1)]
    assert job.status_file.read_text().endswith("\nFINISHED 0\n")
    assert fake.alive == []


async def test_the_file_of_a_later_start_is_never_touched(fake, push):
    job = await hand_over(fake, await push())
    await asyncio.sleep(0.5)
    job.status_file.rename(job.metadir / "old")
    job.status_file.write_text("RUNNING 1\n")
    await asyncio.sleep(5)

    assert job.status_file.read_text() == "RUNNING 1\n"
    assert not job.rc_file.exists()


async def test_it_answers_where_a_job_is(fake, push):
    fake.plan = lambda job: Play(waits=10, runs=10)
    job = await hand_over(fake, await push())

    seen = []
    for _ in range(3):
        seen.append((await presence(fake, job), await fake.job_is_running(job)))
        await asyncio.sleep(10.5)

    assert seen == [
        (Presence.PENDING, True),
        (Presence.RUNNING, True),
        (Presence.GONE, False),
    ]


async def test_a_job_it_never_had_is_gone(fake, push):
    job = await push()
    job.uid = "fake-99"

    assert await presence(fake, job) is Presence.GONE
    assert await fake.job_is_running(job) is False
    await fake.kill_job(job)


async def test_each_job_has_its_own_id(fake, push):
    job = await push()

    assert len({await fake.submit_job(job) for _ in range(3)}) == 3


async def test_killing_twice_or_too_late_is_harmless(fake, push):
    fake.plan = lambda job: Play(runs=inf)
    job = await hand_over(fake, await push())
    await asyncio.sleep(1)
    for _ in range(3):
        await fake.kill_job(job)
        await asyncio.sleep(1)

    assert job.status_file.read_text().count("FAILED") == 1


async def test_a_killed_pending_job_never_runs(fake, push):
    fake.plan = lambda job: Play(waits=10)
    job = await hand_over(fake, await push())
    await fake.kill_job(job)
    await asyncio.sleep(20)

    assert fake.began == []
    assert fake.alive == []


async def test_a_deaf_job_ends_firmly_after_its_grace(fake, push):
    fake.plan = lambda job: Play(runs=inf, deaf=inf)
    job = await hand_over(fake, await push())
    await asyncio.sleep(1)
    await fake.kill_job(job)
    await asyncio.sleep(4.9)
    before = list(fake.alive)
    await asyncio.sleep(0.2)

    assert (before, fake.alive) == ([job.id], [])
    assert job.status_file.read_text().count("\n") == 1


async def test_what_can_not_be_reached_says_so_and_can_be_reached_again(fake, push):
    job = await push()
    fake.unreachable_for(60)
    with pytest.raises(BackendUnavailable):
        await fake.submit_job(job)
    with pytest.raises(BackendUnavailable):
        await fake.job_is_running(job)
    assert await presence(fake, job) is Presence.UNKNOWN

    await asyncio.sleep(60)

    await hand_over(fake, job)
    assert fake.alive == [job.id]


async def test_a_refusal_is_a_submit_error(fake, push):
    job = await push("fake refuse")

    with pytest.raises(SubmitError, match="as the command wishes"):
        await fake.submit_job(job)


async def test_a_telling_fake_tells_ends_and_its_kills_return_when_the_job_is_gone(tmp_path):
    told = []
    fake = TellingFakeScheduler(lambda job: Play(runs=inf, deaf=3))
    fake.notify = told.extend
    xq = Xqute(fake, job_metadir=tmp_path / "jobs", store=MemoryStore())
    job = await xq.push(["fake"])
    assert job.metadir.is_dir()
    await hand_over(fake, job)
    await asyncio.sleep(1)
    await fake.kill_job(job)

    assert fake.alive == []
    assert told == [job]
    assert await fake.poll_jobs([job]) == {job: Answer(Presence.GONE)}


async def test_a_play_nobody_knows_is_an_error(fake, push):
    with pytest.raises(OptionError, match="known are ok, fail"):
        await fake.submit_job(await push("fake dance"))


def test_the_last_line_is_the_wrappers():
    assert [last_line(0), last_line(0, "TERM"), last_line(3)] == [
        "FINISHED 0",
        "FAILED 0 TERM",
        "FAILED 3",
    ]
