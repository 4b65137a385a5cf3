"""The promises of a scheduler about jobs that nobody kills: part of `SchedulerConformance`."""

# ruff: noqa: D102  the name of a test is its sentence
from __future__ import annotations

import os
from pathlib import Path

import pytest

from ..errors import BackendUnavailable, SubmitError
from ..metadir import RETRY, STATUS, STDOUT
from ..states import FileState, Presence
from .bench import Bench
from .trial import AWKWARD, BYTES, SchedulerTrial


@pytest.mark.asyncio
class RunningPromises(SchedulerTrial):
    """Jobs are handed over, asked about, and end as they are: none is killed here."""

    # Submitting

    async def test_each_job_gets_its_own_uid(self, bench: Bench) -> None:
        jobs = [await bench.exiting(0) for _ in range(5)]

        await bench.submit(*jobs)

        assert len({job.uid for job in jobs if job.uid.strip()}) == len(jobs)

    async def test_a_job_is_running_from_its_submission_until_its_wrapper_ended(self, bench: Bench) -> None:
        job = await bench.waiting()
        await bench.submit(job)

        assert await bench.scheduler.job_is_running(job)
        await bench.begun(job)
        assert (await bench.answer(job)).presence in {Presence.RUNNING, Presence.PENDING}
        bench.release(job)
        await bench.end(job)
        assert not await bench.scheduler.job_is_running(job)

    async def test_a_job_in_the_queue_is_running(self, bench: Bench) -> None:
        self.need("kill_pending")
        let_go = self.hold(bench.scheduler)
        job = await bench.waiting()
        await bench.submit(job)

        assert await bench.scheduler.job_is_running(job)
        assert (await bench.answer(job)).presence in {Presence.PENDING, Presence.RUNNING}
        assert bench.news(job).state is FileState.ABSENT

        let_go()
        await bench.begun(job)
        bench.release(job)
        await bench.end(job)

    async def test_asking_about_an_ended_or_unknown_job_is_no_error(self, bench: Bench) -> None:
        ended, unknown, never = [await bench.exiting(0) for _ in range(3)]
        await bench.submit(ended)
        await bench.end(ended)
        unknown.uid = self.unknown_uid

        jobs = [ended, unknown, never]
        assert [await bench.scheduler.job_is_running(job) for job in jobs] == [False] * 3
        answers = await bench.scheduler.poll_jobs(jobs)
        assert [answers[job].presence for job in jobs] == [Presence.GONE] * 3

    async def test_plurals_agree_with_singulars(self, bench: Bench) -> None:
        running, ended = await bench.waiting(), await bench.exiting(0)
        await bench.submit(running, ended)
        await bench.begun(running)
        await bench.end(ended)

        answers = await bench.scheduler.poll_jobs([running, ended])

        for job in (running, ended):
            there = answers[job].presence is not Presence.GONE
            assert await bench.scheduler.job_is_running(job) is there
        assert list(await bench.scheduler.submit_jobs([])) == []
        assert dict(await bench.scheduler.poll_jobs([])) == {}
        await bench.scheduler.kill_jobs([])
        bench.release(running)
        await bench.end(running)

    async def test_a_refusal_is_a_submit_error_with_its_own_words(self, bench: Bench) -> None:
        self.need("refusal")
        job = await bench.exiting(0)
        words = self.refuse(bench.scheduler, job)

        with pytest.raises(SubmitError) as refused:
            await bench.scheduler.submit_job(job)

        assert words in str(refused.value)
        assert bench.news(job).state is FileState.ABSENT

    async def test_a_refused_job_is_no_trouble_of_the_others(self, bench: Bench) -> None:
        self.need("refusal")
        first, bad, last = [await bench.exiting(0) for _ in range(3)]
        self.refuse(bench.scheduler, bad)

        outcomes = await bench.scheduler.submit_jobs([first, bad, last])

        assert isinstance(outcomes[1], SubmitError)
        for job, outcome in ((first, outcomes[0]), (last, outcomes[2])):
            assert not isinstance(outcome, Exception), f"{job} was refused, too: {outcome}"
            job.uid = str(outcome)
            assert (await bench.end(job)).rc == 0

    async def test_what_can_not_be_reached_is_unknown_and_can_be_asked_again(self, bench: Bench) -> None:
        self.need("outage")
        running, new = await bench.waiting(), await bench.exiting(0)
        await bench.submit(running)
        await bench.begun(running)

        reconnect = self.disconnect(bench.scheduler)
        [outcome] = await bench.scheduler.submit_jobs([new])
        answer = await bench.answer(running)
        with pytest.raises(BackendUnavailable):
            await bench.scheduler.job_is_running(running)
        reconnect()

        assert isinstance(outcome, BackendUnavailable)
        assert answer.presence is Presence.UNKNOWN
        assert (await bench.answer(running)).presence is Presence.RUNNING
        await bench.submit(new)
        bench.release(running)
        assert [(await bench.end(job)).rc for job in (running, new)] == [0, 0]

    async def test_a_second_copy_of_a_start_does_nothing(self, bench: Bench) -> None:
        self.need_our_wrapper(bench.scheduler)
        job = await bench.waiting()
        twins = [job, bench.copy(job), bench.copy(job)]

        for twin in twins[:2]:
            twin.uid = str(await bench.scheduler.submit_job(twin))
        await bench.begun(job)
        bench.release(job)
        await bench.end(job)
        twins[2].uid = str(await bench.scheduler.submit_job(twins[2]))
        await bench.until_gone(*twins)

        assert bench.runs(job) == 1
        assert bench.news(job)[:2] == (FileState.FINISHED, 0)

    async def test_a_start_after_another_never_mixes_files(self, bench: Bench) -> None:
        seen = f"'{bench.note('seen')}'"
        line = f"if [ -e {seen} ]; then echo new; else echo old >&2; echo old; echo >{seen}; exit 3; fi"
        job = await bench.job(line, title="old, then new")
        await bench.submit(job)
        assert (await bench.end(job)).rc == 3  # noqa: PLR2004  as the line says

        await bench.again(job)
        news = await bench.end(job)

        earlier = Path(job.directory, RETRY, "1")
        assert news[:2] == (FileState.FINISHED, 0)
        assert [path.read_text() for path in (earlier / STDOUT, job.stdout_file)] == ["old\n", "new\n"]
        assert "FAILED" in (earlier / STATUS).read_text()

    # Running

    @pytest.mark.parametrize("rc", [0, 1, 42, 99, 100, 255])
    async def test_a_return_code_arrives_exactly(self, bench: Bench, rc: int) -> None:
        job = await bench.exiting(rc)
        await bench.submit(job)

        news = await bench.end(job)

        assert (news.state is FileState.FINISHED) is (rc == 0)
        assert news.rc == rc

    async def test_output_arrives_byte_for_byte(self, bench: Bench) -> None:
        self.need("commands")
        out, err = bench.note("out"), bench.note("err")
        out.write_bytes(BYTES)
        err.write_bytes(BYTES[::-1])
        job = await bench.job(["sh", "-c", 'cat "$1"; cat "$2" >&2', "sh", out, err])
        await bench.submit(job)

        await bench.end(job)

        assert job.stdout_file.read_bytes() == BYTES
        assert job.stderr_file.read_bytes() == BYTES[::-1]

    async def test_arguments_arrive_unchanged(self, bench: Bench) -> None:
        self.need("commands")
        job = await bench.job(["sh", "-c", "printf '%s\\0' \"$@\"", "sh", *AWKWARD])
        await bench.submit(job)

        await bench.end(job)

        assert job.stdout_file.read_bytes().split(b"\0") == [*map(os.fsencode, AWKWARD), b""]

    async def test_env_and_cwd_are_honoured(self, bench: Bench) -> None:
        self.need("commands")
        self.need_our_wrapper(bench.scheduler)
        word, where = "two 'words'\n$HOME é", bench.root / "some where"
        where.mkdir()
        told = "printf '%s' \"$XQUTE_BENCH\"; pwd -P >pwd"
        job = await bench.job(told, env={"XQUTE_BENCH": word}, cwd=where)
        await bench.submit(job)

        await bench.end(job)

        assert job.stdout_file.read_text("utf-8") == word
        assert (where / "pwd").read_text("utf-8") == f"{where.resolve()}\n"
