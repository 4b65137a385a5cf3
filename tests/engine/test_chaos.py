"""Whatever happens in whatever order, what was promised holds."""

import asyncio
from contextlib import suppress
from functools import partial
from tempfile import TemporaryDirectory

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.engine.acting import FailingStore, plugin
from xqute import JobStatus, Reason, Xqute, XquteError
from xqute.testing.clock import AutojumpLoop, clock_time
from xqute.testing.fake import FakeScheduler, Play, TellingFakeScheduler

virtual = partial(AutojumpLoop, horizon=10 * 86_400)

plays = st.builds(
    Play,
    takes=st.sampled_from([0, 0, 3]),
    waits=st.sampled_from([0, 0, 10]),
    begins=st.sampled_from([True, True, True, False]),
    runs=st.sampled_from([0, 1, 20, 300]),
    rc=st.sampled_from([0, 0, 1]),
    signal=st.sampled_from(["", "", "TERM"]),
    vanishes=st.sampled_from([False, False, True]),
    late=st.sampled_from([0, 0, 5, 30]),
    reason=st.sampled_from([None, None, Reason("PREEMPTED"), Reason("OOM")]),
    word=st.sampled_from(["", "", "FINISHED", "LOL"]),
    deaf=st.sampled_from([0, 0, 8]),
    refuses=st.sampled_from(["", "", "", "", "no such queue"]),
)
mishaps = st.tuples(
    st.sampled_from(["kill", "kill", "retry", "unreachable", "store", "blind", "push", "nothing"]),
    st.integers(0, 7),
    st.sampled_from([0, 0.02, 0.3, 2, 11, 70]),
)
worlds = st.fixed_dictionaries(
    {
        "forks": st.integers(1, 4),
        "telling": st.booleans(),
        "acts": st.lists(plays, min_size=1, max_size=8),
        "mishaps": st.lists(mishaps, max_size=8),
        "timeout": st.sampled_from([None, None, 15]),
        "hook_seconds": st.sampled_from([0, 0, 0.1, 4]),
        "stopped": st.booleans(),
    }
)


#: A killed job was claimed before its kill was in the store, and used up the only free fork.
KILLED_WHILE_CLAIMED = {
    "forks": 1,
    "telling": True,
    "acts": [Play()] * 3,
    "mishaps": [("kill", 1, 0), ("store", 1, 0)],
    "timeout": None,
    "hook_seconds": 0,
    "stopped": False,
}


class World:
    """One run and everything that happens to it."""

    def __init__(self, metadir: str, world: dict) -> None:
        self.acts = world["acts"]
        self.fake = (TellingFakeScheduler if world["telling"] else FakeScheduler)(self.plan)
        self.store = FailingStore()
        self.seconds = world["hook_seconds"]
        self.xq = Xqute(
            self.fake,
            store=self.store,
            job_metadir=metadir,
            scheduler_forks=world["forks"],
            job_error_strategy="retry",
            job_num_retries=1,
            timeout=world["timeout"],
            plugins=[plugin(on_job_started=self.hook(), on_job_killing=self.hook())],
        )
        self.xq._room.clock = clock_time

    def plan(self, job) -> Play:
        """Preempted for ever would run for ever: later starts end well."""
        return self.acts[(job.id + job.start) % len(self.acts)] if job.start < 5 else Play()

    def hook(self):
        async def hook(scheduler, job):
            await asyncio.sleep(self.seconds)

        return hook

    async def befall(self, what: str, number: int) -> None:
        jobs = self.xq.jobs
        job = jobs[number % len(jobs)]
        if what == "kill":
            with suppress(XquteError):
                await job.kill()
        elif what == "retry":
            await job.retry()
        elif what == "push":
            await self.xq.push(["fake"])
        elif what == "unreachable":
            self.fake.unreachable_for(10 * number)
        elif what == "store":
            self.store.fails_for(number)
        else:
            self.fake.blind = what == "blind" and not self.fake.blind


async def live_through(world: World, mishaps, *, stopped: bool) -> None:
    async with asyncio.TaskGroup() as group, world.xq:
        await world.xq.push_many([["fake"]] * len(world.acts))
        for what, number, pause in mishaps:
            group.create_task(world.befall(what, number))
            await asyncio.sleep(pause)
        world.fake.blind = False
        if stopped:
            world.xq.request_stop("enough")
    assert asyncio.all_tasks() == {asyncio.current_task()}


@example(KILLED_WHILE_CLAIMED)
@given(worlds)
@settings(max_examples=150, deadline=None)
def test_nothing_runs_twice_nothing_is_lost_and_nothing_is_left(given_):

    with TemporaryDirectory() as metadir, asyncio.Runner(loop_factory=virtual) as runner:

        async def main() -> World:
            world = World(metadir, given_)
            await live_through(world, given_["mishaps"], stopped=given_["stopped"])
            return world

        world = runner.run(main())
        rows = runner.run(world.store.get([job.id for job in world.xq.jobs]))

    assert world.fake.doubled == []
    assert world.fake.peak <= given_["forks"]
    assert len(set(world.fake.began)) == len(world.fake.began)
    assert [row.status for row in rows] == [job.status for job in world.xq.jobs]
    for row, job in zip(rows, world.xq.jobs, strict=True):
        # a claim that could not be given back at the stop is given back by the next engine
        assert row.start - job.start in ({0} if job.status.final else {0, 1})
    counts = dict.fromkeys(JobStatus, 0)
    for job in world.xq.jobs:
        counts[job.status] += 1
    assert world.xq._room.counts == counts
    if not given_["stopped"]:
        assert all(job.status.final for job in world.xq.jobs)
    if not given_["stopped"] or "unreachable" not in [what for what, _, _ in given_["mishaps"]]:
        assert world.fake.alive == []
