"""Lines and answers that come late, twice, torn, in any order or never, through the whole engine."""

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.engine.acting import Diary
from xqute import Job, JobStatus, Reason, Scheduler, Xqute
from xqute.states import Answer, Presence
from xqute.stores.memory import MemoryStore
from xqute.testing.clock import AutojumpLoop, clock_time
from xqute.testing.fake import FakeScheduler

virtual = partial(AutojumpLoop, horizon=30 * 86_400)

ENDS = ("FINISHED", "FAILED", "SKIPPED", "6", "7", "9")


class Puppet(Scheduler):
    """Its jobs are whatever the test writes into their files and lets it answer."""

    name = "puppet"
    options: ClassVar = {}

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[int, Answer] = {}
        self.said_gone: set[int] = set()

    async def submit_job(self, job: Job) -> str:
        return f"puppet-{job.id}"

    async def kill_job(self, job: Job) -> None:
        """Nothing: what becomes of it, the test says."""

    async def job_is_running(self, job: Job) -> bool:
        return True

    async def poll_jobs(self, jobs):
        answers = {job: self.answers.get(job.id, Answer(Presence.UNKNOWN)) for job in jobs}
        self.said_gone |= {job.id for job, answer in answers.items() if answer.presence is Presence.GONE}
        return answers


steps = st.one_of(
    st.tuples(
        st.just("write"),
        st.sampled_from(
            [
                "RUNNING 7\n",
                "FINISHED 0\n",
                "FAILED 3\n",
                "FAILED 143 TERM\n",
                "FINI",
                "SHED 0\n",
                "LOL\n",
                "\n",
            ]
        ),
    ),
    st.tuples(st.just("remove"), st.just(None)),
    st.tuples(
        st.just("answer"),
        st.builds(Answer, st.sampled_from(Presence), st.none() | st.just(Reason("OOM"))),
    ),
    st.tuples(st.just("notify"), st.integers(1, 3)),
    st.tuples(st.just("wait"), st.sampled_from([0, 0.3, 4, 40, 3600])),
)


def last_word(status: Path) -> str:
    """The first word of the last complete line."""
    text = status.read_text() if status.exists() else ""
    lines = text[: text.rfind("\n") + 1].splitlines()
    words = lines[-1].split() if lines else []
    return words[0] if words else ""


class Stage:
    """One job that is acted on, and one that only keeps the engine up."""

    def __init__(self, metadir: str) -> None:
        self.puppet, self.diary = Puppet(), Diary()
        self.xq = Xqute(
            self.puppet, store=MemoryStore(), job_metadir=metadir, scheduler_forks=2, plugins=[self.diary]
        )
        self.xq._room.clock = clock_time
        self.said_end = False

    async def act(self, job: Job, what: str, thing) -> None:
        status = job.status_file
        if what == "write":
            with status.open("a") as file:
                file.write(thing)
            self.said_end |= last_word(status) in ENDS
        elif what == "remove":
            status.unlink(missing_ok=True)
        elif what == "answer":
            self.puppet.answers[job.id] = thing
        elif what == "notify":
            for _ in range(thing):
                self.puppet.notify([job])
        await asyncio.sleep(thing if what == "wait" else 0)

    async def play(self, script) -> Job:
        async with self.xq:
            keeper, job = await self.xq.push_many([["puppet"]] * 2)
            while not (job.status.live and keeper.status.live):  # noqa: ASYNC110  virtual time
                await asyncio.sleep(0.1)
            keeper.status_file.write_text("RUNNING 1\n")
            first_end = None
            for what, thing in script:
                await self.act(job, what, thing)
                if job.status.final:
                    assert self.said_end or job.id in self.puppet.said_gone
                    first_end = first_end or (job.status, job.reason, job.rc, job.ended, job.start)
            self.puppet.answers[job.id] = Answer(Presence.GONE)
            with suppress(Exception):
                async with asyncio.timeout(86_400):
                    await job
            assert first_end in (None, (job.status, job.reason, job.rc, job.ended, job.start))
            keeper.status_file.write_text("RUNNING 1\nFINISHED 0\n")
        return job


@pytest.fixture
def fake():
    """Overrides: one way of noticing is enough, the puppet is swept and told about."""
    return FakeScheduler()


ENDING_HOOKS = ["succeeded", "failed", "killed"]


@example([("write", "FINISHED 0\n"), ("wait", 4), ("write", "FAILED 3\n"), ("notify", 3), ("wait", 40)])
@example([("write", "RUNNING 7\nFINI"), ("wait", 3600), ("write", "SHED 0\n"), ("wait", 4)])
@example([("answer", Answer(Presence.GONE)), ("answer", Answer(Presence.UNKNOWN)), ("wait", 3600)])
@given(st.lists(steps, max_size=14))
@settings(max_examples=120, deadline=None)
def test_a_job_ends_once_and_for_good_and_only_by_proof(script):
    with TemporaryDirectory() as metadir, asyncio.Runner(loop_factory=virtual) as runner:

        async def main():
            stage = Stage(metadir)
            job = await stage.play(script)
            return stage, job, await job.history()

        stage, job, history = runner.run(main())

    finals = [line for line in history if line.state.final]
    assert job.status.final
    assert job.reason.code
    assert len(finals) == 1
    assert finals[0] is history[-1] or finals[0] == history[-1]
    assert len([hook for hook in stage.diary.of(job) if hook in ENDING_HOOKS]) <= 1
    assert job.status is not JobStatus.KILLED
    if job.status is JobStatus.FINISHED:
        assert stage.said_end
        assert job.rc == 0
