"""A scheduler as a stranger writes it, on the commands of a toy cluster, keeps every promise."""

import asyncio
import inspect
import os
import re
from pathlib import Path
from subprocess import PIPE
from typing import Any, ClassVar

import pytest

from xqute import Answer, BackendUnavailable, Presence, Reason, Scheduler, SubmitError, Xqute
from xqute.testing import ToyCluster, toyprocs
from xqute.testing.trial import SchedulerTrial


class ToyScheduler(Scheduler):
    """Runs jobs on a toy cluster."""

    name = "toy"
    options = dict.fromkeys(("toy_submit", "toy_queue", "toy_cancel"), "the path of the command")
    seconds = 10  # that a command may take

    async def ask(self, verb, *arguments):
        path = self.command(f"toy_{verb}", f"toy-{verb}")
        process = await asyncio.create_subprocess_exec(path, *arguments, stdout=PIPE, stderr=PIPE)
        try:
            async with asyncio.timeout(self.seconds):
                output, error = await process.communicate()
        except TimeoutError:
            raise BackendUnavailable(f"{path} does not answer", scheduler=self.name) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise BackendUnavailable(error.decode().strip(), scheduler=self.name)
        return output.decode()

    async def submit_job(self, job):
        try:
            output = await self.ask("submit", await job.wrapped_script(self))
        except BackendUnavailable as error:
            if "refused" in str(error):
                raise SubmitError(str(error), scheduler=self.name) from None
            raise
        return output.split()[-1]

    async def kill_job(self, job):
        try:
            await self.ask("cancel", job.uid)
        except BackendUnavailable as error:
            if "no such job" not in str(error):
                raise

    async def job_is_running(self, job):
        return job.uid in await self.queue()

    async def queue(self):
        rows = [line.split() for line in (await self.ask("queue")).splitlines()]
        return {row[0] for row in rows if row[2:3] and row[2] in {"PENDING", "RUNNING", "ENDING"}}


class SeveralAtOnce(ToyScheduler):
    """Asks about and cancels many jobs by one command."""

    max_batch = 8

    async def poll_jobs(self, jobs):
        try:
            there = await self.queue()
        except BackendUnavailable:
            return {}  # a job that is left out is UNKNOWN
        return {job: Answer(Presence.RUNNING if job.uid in there else Presence.GONE) for job in jobs}

    async def kill_jobs(self, jobs):
        try:
            if jobs:
                await self.ask("cancel", *(job.uid for job in jobs))
        except BackendUnavailable as error:
            if "no such job" not in str(error):
                raise


def the_page() -> dict[str, Any]:
    """What a reader of the page has at its end: a scheduler, and its test module."""
    written, _, _ = WRITTEN.partition("## In use")
    names: dict[str, Any] = {"__name__": "test_my"}
    for block in re.findall(r"```python\n(.*?)```", written, re.DOTALL):
        exec(block, names)
    return names


WRITTEN = (Path(__file__).parents[2] / "docs" / "extend" / "write-a-scheduler.md").read_text("utf-8")
PAGE = the_page()


def test_the_page_ends_with_this_scheduler() -> None:
    assert f"```python\n{inspect.getsource(ToyScheduler)}```\n" in WRITTEN


class TestToy(PAGE["TestToy"]):
    seconds = 60


class TestSeveralAtOnceBelowABanner(PAGE["TestToy"]):
    seconds = 60
    supports: ClassVar = {*PAGE["TestToy"].supports, "count_commands", "kill_escaped"}
    lacks: ClassVar = {"batch_submit": "the cluster has no such command"}

    @pytest.fixture
    def scheduler(self, cluster):
        cluster.set(escaped=True)
        cluster.fault("banner", "\nMaintenance on Monday:\n3 hours")
        return SeveralAtOnce(**cluster.options)

    def commands(self, scheduler):
        return len(self.cluster.calls())


class TestFaults(SchedulerTrial):
    """What goes wrong at such a cluster costs no job."""

    @pytest.fixture
    def cluster(self, tmp_path):
        with ToyCluster(tmp_path / "the cluster", keep=60) as cluster:
            yield cluster

    @pytest.fixture
    def scheduler(self, cluster):
        return ToyScheduler(**cluster.options)

    async def test_a_command_that_hangs_is_an_outage_and_leaves_no_process(self, bench, cluster):
        job = await bench.waiting()
        await bench.submit(job)
        await bench.begun(job)

        mend, bench.scheduler.seconds = cluster.fault("hang"), 0.1
        answer = await bench.answer(job)
        hanging = [pid for pid in toyprocs.marked(f"XQUTE_TOY_CLUSTER={cluster.home}") if asks(pid)]
        mend()
        bench.scheduler.seconds = 30

        assert (answer.presence, hanging) == (Presence.UNKNOWN, [])
        assert (await bench.answer(job)).presence is Presence.RUNNING

    @pytest.mark.parametrize("fault", ["deny", "lose", "fail"])
    async def test_a_submission_that_goes_wrong_is_repeated_and_runs_once(self, xq, root, cluster, fault):
        xq.scheduler.poll_seconds = xq.scheduler.grace_seconds = 1
        job = await xq.push(f"echo ran >>'{root}/ran'; echo told")
        cluster.fault(fault, verbs=["submit"], times=1)

        await xq.run_until_complete()

        assert (job.status.name, await job, job.start, job.attempt) == ("FINISHED", "told", 1, 1)
        assert (root / "ran").read_text() == "ran\n"
        assert len(cluster.calls("toy-submit")) > 1

    async def test_a_node_that_fails_costs_no_attempt(self, root, cluster):
        os.makedirs(root)
        scheduler = KnowsNodes(**cluster.options)
        scheduler.poll_seconds = scheduler.grace_seconds = 0.2
        xq = Xqute(scheduler, job_metadir=root / "run", store="memory://")
        job = await xq.push(f"if [ -e '{root}/ran' ]; then exit 0; fi; echo >'{root}/ran'; sleep 60")
        bench = self.make_bench(scheduler, root)

        async with asyncio.timeout(self.seconds), xq:
            await bench.until(lambda: bool(job.uid) and (root / "ran").exists(), "it never ran")
            cluster.fail_node(job.uid)

        assert (job.status.name, job.start, job.attempt) == ("FINISHED", 2, 1)


def asks(pid):
    """Whether a process is a command of a cluster, and no job."""
    try:
        return b"toy-queue" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it ended while this was about to look
        return False


class KnowsNodes(ToyScheduler):
    """Tells how a job ended when its node failed."""

    async def poll_jobs(self, jobs):
        answers = await super().poll_jobs(jobs)
        failed = {line.split()[0] for line in (await self.ask("queue")).splitlines() if "NODE_FAIL" in line}
        lost = Answer(Presence.GONE, Reason("NODE_FAIL", {"node": "toy"}))
        return {job: lost if job.uid in failed else answer for job, answer in answers.items()}
