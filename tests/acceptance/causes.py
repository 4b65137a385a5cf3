"""The table of causes: why jobs wait and how they end, each really provoked.

A row is a function below one of the decorators `waits` and `ends`: its name says what is the matter, the
decorator says the code of the reason, what its sentence must match, and words of its remedy. It yields the
job at the moment from which the reason is to be known.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.acceptance.cause_calls import asks_for_others, ends_by
from tests.acceptance.conftest import until
from tests.acceptance.places import KINDS, Place
from tests.faults.test_disk import fill
from xqute import Job, JobStatus, Reject, Xqute, cmd, simplug

BOTH = ("local", "slurm")


@dataclass
class Stage:
    """Where a cause is provoked.

    Attributes:
        place: The scheduler.
        here: Where jobs leave their traces, and files tell them to go on.
        metadir: Of the runs.
        disk: A small file system, made when it is asked for.
        store: Where it is; None: in the metadir.
    """

    place: Place
    here: Path
    metadir: Path
    disk: Callable[[], Path]
    store: str | None = None

    def xqute(self, *, kind: type[Any] | None = None, scheduler: Any = None, **options: Any) -> Xqute:
        """A producer of this place, whose jobs end soon when they are asked to."""
        scheduler = self.place.scheduler(kind=kind, **(scheduler or {}))
        settings = {"job_metadir": self.metadir, "store": self.store, "grace": 0.5}
        return Xqute(scheduler, **{**settings, **options})

    def stays(self, then: str = "exit 0", name: str = "job") -> str:
        """A command that says that it is there, and goes on when it may."""
        up, go = self.here / f"{name}.up", self.here / "go"
        return f": > '{up}'; until [ -e '{go}' ]; do sleep 0.01; done; {then}"

    async def there(self, name: str = "job") -> None:
        await until((self.here / f"{name}.up").exists)

    def go(self) -> None:
        (self.here / "go").touch()

    async def gone_on(self, job: Job) -> Job:
        """The job, which has been told to go on to its end."""
        await self.there()
        self.go()
        return job

    async def to_its_end(self, call: Any) -> AsyncIterator[Job]:
        """Provoke how a job ends that is told to go on."""
        async with self.xqute() as xqute:
            yield await self.gone_on(await xqute.push(call))


Provoked = AbstractAsyncContextManager[Job]


class Cause(NamedTuple):
    """One row.

    Attributes:
        code: Of the reason.
        sentence: What the sentence of the reason must match.
        remedy: What must be in the remedy.
        provoke: Brings it about.
        where: At which places it exists.
        outside: Code, sentence and remedy for other processes, where only the one that runs the job knows.
    """

    code: str
    sentence: str
    remedy: str
    provoke: Callable[[Stage], Provoked]
    where: tuple[str, ...]
    outside: tuple[str, str, str] | None = None

    @property
    def name(self) -> str:
        """What is the matter."""
        return self.provoke.__name__


WAITING: list[Cause] = []
ENDING: list[Cause] = []


Row = Callable[[Callable[[Stage], AsyncIterator[Job]]], None]


def waits(
    code: str,
    sentence: str,
    remedy: str,
    *,
    where: tuple[str, ...] = BOTH,
    outside: tuple[str, str, str] | None = None,
) -> Row:
    """A cause of waiting."""
    return lambda provoke: WAITING.append(
        Cause(code, sentence, remedy, asynccontextmanager(provoke), where, outside)
    )


def ends(code: str, sentence: str, remedy: str, *, where: tuple[str, ...] = BOTH) -> Row:
    """A cause of ending."""
    return lambda provoke: ENDING.append(Cause(code, sentence, remedy, asynccontextmanager(provoke), where))


#: Codes that no row provokes, and why.
NOT_HERE = {
    "READY": "passes at once: from then on it is handed over, or another reason holds it; "
    "the history tells it",
    "NODE_FAIL": "no fault of the job, which runs again: the history tells it",
    "PREEMPTED": "no fault of the job, which runs again: the history tells it",
}


# Waiting for its run


@waits("ACCEPTED", r"accepted; its run has not started", "run_until_complete")
async def its_run_has_not_started(stage):
    xqute = stage.xqute()
    yield await xqute.push(["true"])
    await xqute.run_until_complete()


@waits("STOPPED", r"not started: (enough for today|nobody runs its run)", "resume")
async def its_run_was_stopped_before_it_could_start(stage):
    async with stage.xqute(scheduler_forks=1) as xqute:
        await xqute.push(stage.stays())
        await stage.there()
        job = await xqute.push(["true"])
        xqute.request_stop("enough for today")
    yield job


@waits("PARKED", r"left by an earlier session", "resume='all'")
async def its_script_did_not_push_it_again(stage):
    async with stage.xqute(limits={"align": 0}) as first:
        await first.push(["true"], limit=("align", 1))
        first.request_stop("enough for today")
    async with stage.xqute(resume=True) as second:
        await second.push(stage.stays())
        await stage.there()
        yield (await second.find())[0]
        stage.go()


# Waiting for others


@waits("NEEDS", r"needs \d+", "xqute why")
async def what_it_needs_has_not_ended(stage):
    async with stage.xqute() as xqute:
        job = await xqute.push(cmd("true").after(cmd("sh", "-c", stage.stays())))
        await stage.there()
        yield job
        stage.go()


@waits("NEEDS", r"needs \d+: it asked for them", "xqute why")
async def what_it_asked_for_while_it_ran_has_not_ended(stage):
    async with stage.xqute() as xqute:
        job = await xqute.push(asks_for_others())
        await stage.there()
        yield job
        stage.go()


@waits("BLOCKED", r"blocked: \d+ failed", "retry")
async def what_it_needs_failed(stage):
    async with stage.xqute() as xqute:
        job = await xqute.push(cmd("true").after(cmd("sh", "-c", stage.stays("exit 3"))))
        yield await stage.gone_on(job)


@waits("BLOCKED", r"blocked: \d+ was killed", "retry")
async def what_it_needs_was_killed(stage):
    async with stage.xqute() as xqute:
        needed = await xqute.push(stage.stays())
        job = await xqute.push(cmd("true").after(needed))
        await stage.there()
        await needed.kill(grace=0)
        yield job


# Waiting for room


@waits("FORKS", r"waits for a free fork, 1/1 are in use", "scheduler_forks=")
async def all_forks_are_in_use(stage):
    async with stage.xqute(scheduler_forks=1) as xqute:
        await xqute.push(stage.stays())
        await stage.there()
        yield await xqute.push(["true"])
        stage.go()


@waits("LIMIT", r"limit align 1/1", r"set_limit('align'")
async def as_many_of_its_kind_run_as_may(stage):
    async with stage.xqute(scheduler_forks=4) as xqute:
        await xqute.push(stage.stays(), limit=("align", 1))
        await stage.there()
        yield await xqute.push(["true"], limit=("align", 1))
        stage.go()


@waits("LIMIT", r"limit align 0/0", r"set_limit('align'")
async def its_kind_is_paused(stage):
    async with stage.xqute(limits={"align": 0}) as xqute:
        yield await xqute.push(["true"], limit=("align", 3))
        await xqute.set_limit("align", None)


@waits("LIMIT", r"limit align 1/1", r"set_limit('align'")
async def jobs_of_its_kind_run_in_another_run(stage):
    async with stage.xqute() as other, stage.xqute() as xqute:
        await other.push(stage.stays(), limit=("align", 1))
        await stage.there()
        yield await xqute.push(["true"], limit=("align", 1))
        stage.go()


@waits("RESOURCES", r"needs mem 3G, free 2G", "ask for less")
async def too_little_memory_is_free(stage):
    async with stage.xqute(scheduler_forks=4, resources={"mem": "4G"}) as xqute:
        await xqute.push(stage.stays(), mem="2G")
        await stage.there()
        yield await xqute.push(["true"], mem="3G")
        stage.go()


@waits(
    "RESOURCES",
    r"needs cpus 1, free 0: some is kept for job \d+, which goes first",
    "ask for less",
    outside=("READY", "what it needs is there, and others go first", "the program that runs it"),
)
async def what_it_needs_is_kept_for_a_big_one(stage):
    async with stage.xqute(scheduler_forks=4, resources={"cpus": 2}, max_wait=0) as xqute:
        await xqute.push(stage.stays(), cpus=1)
        await stage.there()
        big = await xqute.push(["true"], cpus=2)
        await until(lambda: big.reason.code == "RESOURCES")
        yield await xqute.push(["true"], cpus=1)
        stage.go()


@waits("RETRY_DELAY", r"attempt 2 of 3 in \S+ s, after EXIT 3", "xqute logs")
async def it_failed_and_waits_for_its_next_attempt(stage):
    async with stage.xqute() as xqute:
        yield await stage.gone_on(await xqute.push(stage.stays("exit 3"), retries=2, retry_delay=300))
        xqute.request_stop("seen")


@waits("DISK_FULL", r"the metadir can't be written: .*No space left", "make room")
async def the_disk_is_full(stage):
    disk = stage.disk()
    stage.metadir, stage.store = disk / "meta", f"sqlite://{stage.here}/store.db"
    xqute = stage.xqute()
    job = await xqute.push(["true"])
    filler = fill(disk)
    async with xqute:
        yield job
        filler.unlink()


# Waiting for its scheduler


@waits("SCHEDULER_DOWN", r"scheduler unreachable: .*Unable to contact slurm", "own command", where=("slurm",))
async def the_scheduler_can_not_be_reached(stage):
    mend = stage.place.cluster.fault("fail", verbs=["submit"])
    async with stage.xqute() as xqute:
        yield await xqute.push(["true"])
        mend()


@waits("SCHEDULER_DOWN", r"scheduler unreachable: .*Unable to contact slurm", "own command", where=("slurm",))
async def the_scheduler_could_not_be_reached_when_another_was_to_start(stage):
    mend = stage.place.cluster.fault("fail", verbs=["submit"])
    async with stage.xqute() as xqute:
        first = await xqute.push(["true"])
        await until(lambda: first.reason.code == "SCHEDULER_DOWN")
        yield await xqute.push(["true"])
        mend()


@waits("SCHEDULER_FULL", r"takes no more jobs now: .*submit limit", "administrator", where=("slurm",))
async def the_scheduler_takes_no_more_jobs(stage):
    stage.place.cluster.set(most=1)
    async with stage.xqute() as xqute:
        await xqute.push(stage.stays())
        await stage.there()
        yield await xqute.push(["true"])
        stage.go()


@waits("UNREACHABLE", r"scheduler unreachable since \S+", "own command", where=("slurm",))
async def the_scheduler_that_has_it_can_not_be_asked(stage):
    async with stage.xqute() as xqute:
        job = await xqute.push(stage.stays())
        await stage.there()
        mend = stage.place.cluster.fault("fail", verbs=["queue"])
        yield job
        mend()
        stage.go()


@waits(
    "PENDING", r"handed to slurm as \d+: PENDING \(Resources\)", "wait for the scheduler", where=("slurm",)
)
async def the_cluster_has_no_place_free(stage):
    let_go = stage.place.cluster.hold()
    async with stage.xqute() as xqute:
        yield await xqute.push(["true"])
        let_go()


@waits(
    "PENDING", r"handed to slurm as \d+: PENDING \(JobHeldUser\)", "wait for the scheduler", where=("slurm",)
)
async def somebody_holds_it_in_the_queue(stage):
    async with stage.xqute(scheduler={"slurm_hold": True}) as xqute:
        job = await xqute.push(["true"])
        yield job
        stage.place.cluster.release(job.uid)


# No need to wait


@waits("RUNNING", r"running at (local|slurm) as \d+", "--follow")
async def it_runs(stage):
    async with stage.xqute() as xqute:
        job = await xqute.push(stage.stays())
        await stage.there()
        yield job
        stage.go()


@waits("KILLING", r"asked to stop by request", "grace")
async def it_was_asked_to_stop_and_goes_on(stage):
    if stage.place.cluster is not None:
        stage.place.cluster.set(grace=120)
    async with stage.xqute(grace=120) as xqute:
        job = await xqute.push(f"trap '' TERM; {stage.stays()}")
        await stage.there()
        killing = asyncio.create_task(job.kill())
        yield job
        stage.go()
        await killing


@waits("KILLING", r"asked to stop by request: .*Unable to contact", "tries again by itself", where=("slurm",))
async def it_was_asked_to_stop_and_its_scheduler_can_not_be_asked(stage):
    async with stage.xqute() as xqute:
        job = await xqute.push(stage.stays())
        await stage.there()
        mend = stage.place.cluster.fault("fail", verbs=["cancel"])
        killing = asyncio.create_task(job.kill())
        yield job
        mend()
        await killing


# Ended by its own


@ends("EXIT", r"EXIT 3", "xqute logs")
def a_command_fails(stage):
    return stage.to_its_end(stage.stays("exit 3"))


@ends("EXIT", r"EXIT 127: command not found", "PATH")
def a_program_is_not_there(stage):
    return stage.to_its_end(stage.stays("exec no-such-program"))


@ends("EXIT", r"EXIT 126: the command can't be executed, or its working directory is missing", "chmod")
def a_program_can_not_be_executed(stage):
    program = stage.here / "program"
    program.write_text("#!/bin/sh\n")
    return stage.to_its_end(stage.stays(f"exec '{program}'"))


@ends("EXIT", r"EXIT 126: .*working directory is missing", "cwd=")
async def its_directory_is_not_there(stage):
    async with stage.xqute() as xqute:
        yield await xqute.push(["true"], cwd=stage.here / "missing")


@ends("EXIT", r"EXIT 1: ValueError: there is no sequence", "xqute logs")
def a_call_raises(stage):
    return stage.to_its_end(ends_by("raising"))


@ends("EXIT", r"EXIT 0: its process ended without leaving a result", "xqute logs")
def a_call_leaves_without_a_result(stage):
    return stage.to_its_end(ends_by("leaving"))


@ends("EXIT", r"EXIT 1: .*pickle", "xqute logs")
def a_call_returns_what_can_not_be_sent(stage):
    return stage.to_its_end(ends_by("returning a lock"))


@ends("SKIPPED", r"SKIPPED: nothing new", "nothing")
def it_has_nothing_to_do(stage):
    return stage.to_its_end(ends_by("skipping"))


@ends(
    "REQUIRE_REFUSED", r"REQUIRE_REFUSED: it requires job \d+ .*, which waits for it", "mend what it asks for"
)
def it_asks_for_itself(stage):
    return stage.to_its_end(ends_by("asking for itself"))


# Ended from outside


@ends("SIGNAL", r"SIGNAL 11", "crashed")
def a_command_crashes(stage):
    return stage.to_its_end(stage.stays("kill -SEGV $$"))


@ends("SIGNAL", r"SIGNAL 9.*wrapper of the job was killed by signal 9", "memory", where=("local",))
async def its_wrapper_is_killed(stage):
    async with stage.xqute() as xqute:
        job = await xqute.push(stage.stays())
        await until(lambda: job.status is JobStatus.RUNNING)
        os.kill(int(job.uid), signal.SIGKILL)
        yield job


@ends("OOM", r"OOM", "more memory", where=("slurm",))
async def the_cluster_kills_it_for_its_memory(stage):
    async with stage.xqute() as xqute:
        job = await xqute.push(stage.stays())
        await until(lambda: job.status is JobStatus.RUNNING)
        stage.place.cluster.strike(job.uid, "OUT_OF_MEMORY")
        yield job


@ends("TIMEOUT", r"TIMEOUT after 0.5 s", "timeout=")
async def it_runs_too_long(stage):
    async with stage.xqute() as xqute:
        job = await xqute.push(stage.stays(), timeout=0.5)
        await stage.there()
        yield job


@ends("TIMEOUT", r"TIMEOUT after \S+ s: TIMEOUT", "timeout=", where=("slurm",))
async def it_runs_longer_than_the_cluster_lets_it(stage):
    async with stage.xqute(scheduler={"slurm_time": "0.02"}) as xqute:
        xqute.scheduler.grace_seconds = 60.0  # its script only says that it was asked to stop
        job = await xqute.push(stage.stays())
        await stage.there()
        yield job


@ends("LOST", r"LOST: the scheduler does not have it any more", "run it again", where=("slurm",))
async def the_cluster_forgets_it(stage):
    async with stage.xqute() as xqute:
        job = await xqute.push(stage.stays())
        await until(lambda: job.status is JobStatus.RUNNING)
        stage.place.cluster.lose(job.uid)
        yield job


@ends("LOST", r"LOST: Slurm says FAILED \(JobLaunchFailure\)", "give it more with mem=", where=("slurm",))
async def its_wrapper_is_killed_at_the_cluster(stage):
    async with stage.xqute() as xqute:
        job = await xqute.push(stage.stays())
        await until(lambda: job.status is JobStatus.RUNNING)
        os.kill(stage.place.cluster.jobs()[int(job.uid)].session, signal.SIGKILL)
        yield job


@ends("LOST", r"LOST: its wrapper exited with \d+ and left no status", "run it again", where=("local",))
def its_directory_is_removed_while_it_runs(stage):
    return stage.to_its_end(stage.stays('cd /; rm -rf "$XQUTE_JOB_METADIR"'))


class TellsHalf(Job):
    """An author's job whose script says that it ended, and not how."""

    async def wrap_cmd(self, scheduler):
        return f"#!/bin/sh\necho FINISHED > '{self.status_file}'\n"


@ends("CORRUPT", r"CORRUPT: its script wrote FINISHED and no return code to job.rc", "xqute show")
async def its_script_says_half_of_its_end(stage):
    async with stage.xqute(kind=_of(stage, TellsHalf)) as xqute:
        yield await xqute.push(["true"])


# Never begun


class Unwrappable(Job):
    """An author's job whose definition is wrong."""

    async def wrap_cmd(self, scheduler):
        raise LookupError("there is no template of that name")


@ends("WRAP_FAILED", r"WRAP_FAILED: LookupError: there is no template", "definition")
async def its_definition_raises(stage):
    async with stage.xqute(kind=_of(stage, Unwrappable)) as xqute:
        yield await xqute.push(["true"])


def _of(stage: Stage, job_class: type[Job]) -> type[Any]:
    """The scheduler of a place, with jobs of this class."""
    kind = KINDS[stage.place.name]
    return type(kind.__name__, (kind,), {"job_class": job_class})


@ends("SUBMIT_REFUSED", r"SUBMIT_REFUSED: .*Invalid partition name", "change the options", where=("slurm",))
async def the_scheduler_will_not_take_it(stage):
    async with stage.xqute(scheduler={"slurm_partition": "nowhere"}) as xqute:
        yield await xqute.push(["true"])


@ends(
    "PENDING_TIMEOUT",
    r"PENDING_TIMEOUT after 0.5 s: PENDING \(JobHeldUser\)",
    "scheduler_pending_timeout=",
    where=("slurm",),
)
async def it_waits_in_the_queue_for_longer_than_it_may(stage):
    asked = {"slurm_hold": True, "scheduler_pending_timeout": 0.5}
    async with stage.xqute(scheduler=asked) as xqute:
        yield await xqute.push(["true"])


@ends("TOO_LARGE", r"TOO_LARGE: needs mem 8G, and there is 4G", "ask for less")
async def it_needs_more_than_there_is(stage):
    async with stage.xqute(resources={"mem": "4G"}) as xqute:
        yield await xqute.push(["true"], mem="8G")


# Not wanted


@ends("KILLED", r"KILLED by request", "retry")
async def it_is_killed_on_request(stage):
    async with stage.xqute() as xqute:
        job = await xqute.push(stage.stays())
        await stage.there()
        killing = asyncio.create_task(job.kill())
        yield job
        await killing


@ends("KILLED", r"KILLED by enough for today", "resume")
async def its_run_is_stopped(stage):
    async with stage.xqute() as xqute:
        job = await xqute.push(stage.stays())
        await stage.there()
        xqute.request_stop("enough for today")
        yield job


@ends("KILLED", r"KILLED by scancel", "at its scheduler", where=("slurm",))
async def somebody_cancels_it_at_the_cluster(stage):
    async with stage.xqute() as xqute:
        xqute.scheduler.grace_seconds = 60.0  # its script only says that it was asked to stop
        job = await xqute.push(stage.stays())
        await until(lambda: job.status is JobStatus.RUNNING)
        scancel = [stage.place.cluster.bin / "scancel", job.uid]
        await asyncio.to_thread(subprocess.run, scancel, check=True)
        yield job


class Strict:
    """Accepts nothing."""

    @simplug.impl
    async def on_job_finishing(self, scheduler, job):
        raise Reject("there is no output")


@ends("REJECTED", r"REJECTED: there is no output", "plugin")
async def a_plugin_rejects_what_it_made(stage):
    async with stage.xqute(plugins=[Strict()]) as xqute:
        yield await stage.gone_on(await xqute.push(stage.stays()))


def matches(pattern: str, sentence: str) -> bool:
    """Whether a sentence is as a row says."""
    return re.search(pattern, sentence) is not None
