"""One execution of a call: what a user holds, awaits and kills, and what a scheduler's author overrides."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import handing, metadir, outcome, wrapper
from .events import Progress
from .jobstate import JobState
from .options import seconds
from .settings import TAIL_BYTES, TAIL_LINES, TITLE_WIDTH
from .states import JobStatus, Reason, Status, WaitReason
from .told import LogLine, read_logs, read_progress, with_stages
from .work import Work, shorten

if TYPE_CHECKING:
    from .keeping import Keeper
    from .scheduler import Scheduler


#: Reasons behind which there may be a newer one: the job may run, and does not.
_MAY_RUN = frozenset({WaitReason.ACCEPTED, WaitReason.READY, WaitReason.RETRY_DELAY})


class Job(JobState):
    """One execution of a call: awaitable and killable, and durable beyond its process.

    Jobs are made by `Xqute.push`. A subclass may override `wrap_cmd`; the script it returns must then
    use a trap of its own to write `status_file` and `rc_file`, and may remove `lock_file`.

    Attributes:
        id: Positive, growing per store; `index` is the same number.
        call: What it runs, and how.
        needs: The ids of the jobs it needs.
        seen: Somebody asked how it ended.
        awaited: How many wait for it, or have not let go of it since; taken: somebody did and had its result.
        removed: Its directory was removed after it had ended, as `keep=` says.
        status: Where it stands.
        rc: The return code of the newest start that ended; None when there is none.
        attempt: From 1; grows when a start ended by the job's own fault.
        start: How often it was handed to a scheduler.
        will_retry: In `on_job_failed`: another attempt follows.
        cached: Its result comes from an earlier run.
        created, submitted, started, ended: UTC seconds since the epoch, of the newest start.
        uid: The scheduler's id of the newest start.
        usage: Of the newest start, where it costs nothing: `wall` and `cpu` seconds, `peak` bytes.
    """

    __slots__ = ("__weakref__", "_keeper", "_task", "awaited", "call", "seen", "taken")

    #: So that a job is known as an argument of a call.
    __xqute_job__ = True

    def __init__(self, id: int, call: Work, keeper: Keeper, created: float) -> None:
        """Made by the engine, never by users."""
        super().__init__(id, created)
        self.call = call
        self._keeper = keeper
        self._task: asyncio.Task[Any] | None = None
        self.seen = False
        self.awaited = 0
        self.taken = False

    # What it is

    @property
    def reason(self) -> Reason:
        """Why it waits, or how it ended."""
        queued = self.status is JobStatus.QUEUED and self.kept_reason.code in _MAY_RUN
        if queued or self.status is JobStatus.WAITING:
            return self._keeper.why_waits(self) or self.kept_reason
        return self.kept_reason

    @reason.setter
    def reason(self, reason: Reason) -> None:
        self.kept_reason = reason

    @property
    def index(self) -> int:
        """The id, by the name the first xqute gave it."""
        return self.id

    @property
    def cmd(self) -> list[Any] | str:
        """What was pushed: a list of texts, or a shell line; for a Python call, as people read it."""
        if self.call.function is not None:
            return self.call.function.shown
        return self.call.cmd if isinstance(self.call.cmd, str) else list(self.call.cmd)

    @property
    def title(self) -> str:
        """The label given at push, or the command, shortened."""
        return shorten(self.call.options.title, TITLE_WIDTH) or self.call.shown

    @property
    def task(self) -> str:
        """The name of its task; empty for a command or a plain function."""
        return self.call.function.task if self.call.function is not None else ""

    @property
    def user(self) -> str:
        """Whose job it is."""
        return self.call.options.user

    @property
    def tags(self) -> tuple[str, ...]:
        """The words given at push."""
        return self.call.options.tags

    @property
    def name(self) -> str:
        """The named call it is a build of; empty for others."""
        return self.call.named.name if self.call.named is not None else ""

    @property
    def notes(self) -> str:
        """What was noted of the named call."""
        return self.call.named.notes if self.call.named is not None else ""

    @property
    def used(self) -> Mapping[str, int]:
        """Which builds of other named calls it uses, also those it required while it ran: name → id."""
        if self.call.named is None or not self.needs:
            return {}
        needs = self.given_needs
        given = {name: needs[place] for name, place in self.call.named.uses.items()} if needs else {}
        return {name: self.stand_ins.get(id_, id_) for name, id_ in {**self.found, **given}.items()}

    # Where it is

    @property
    def directory(self) -> str:
        """Its directory's path, whether or not it is there yet."""
        return f"{self._keeper.root}/{self.id}"

    @property
    def metadir(self) -> Path:
        """Its directory, made when it is asked for."""
        path = Path(self.directory)
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    @property
    def cwd(self) -> str:
        """The working directory it begins in."""
        return self.call.options.cwd or self.pushed_at or self._keeper.cwd

    @property
    def lock_file(self) -> Path:
        """The scheduler's id of the job and a newline, while the scheduler may have it."""
        return self.metadir / metadir.LOCK

    @property
    def status_file(self) -> Path:
        """What the wrapper says of the newest start."""
        return self.metadir / metadir.STATUS

    @property
    def rc_file(self) -> Path:
        """The return code of the newest start."""
        return self.metadir / metadir.RC

    @property
    def stdout_file(self) -> Path:
        """Where its output is: the file given at push, or its own."""
        return Path(self.call.options.stdout or f"{self.directory}/{metadir.STDOUT}")

    @property
    def stderr_file(self) -> Path:
        """Where its errors are: the file given at push, or its own."""
        return Path(self.call.options.stderr or f"{self.directory}/{metadir.STDERR}")

    # How it ends

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.status.final

    def __await__(self) -> Generator[Any, None, Any]:
        """The result, when it has ended.

        Cancelling the wait touches no job. The engine of the job's run starts if it does not run.

        Raises:
            JobFailed: It ended FAILED; what the call raised is its `__cause__`.
            JobKilled: It ended KILLED.
            DependencyFailed: It can't start, because a job it needs ended badly.
            Halted: The run was stopped first.
        """
        return self._outcome().__await__()

    async def _outcome(self) -> Any:
        self.awaited += 1
        try:
            await self._keeper.wait(self)
            result = self.result()
            self.taken = True
            return result
        finally:
            self.awaited -= 1

    def as_task(self) -> asyncio.Task[Any]:
        """The same asyncio.Task each time, for `asyncio.wait`; cancelling it touches no job."""
        if self._task is None:
            self._task = asyncio.create_task(self._outcome(), name=f"xqute job {self.id}")
            self._task.add_done_callback(_seen)
        return self._task

    def result(self) -> Any:
        """What a Python call returned, or what a command printed.

        Of a command, its stdout without trailing newlines, as `$(…)` has it, decoded as utf-8 with
        surrogateescape. None for a job that was SKIPPED.

        Raises:
            JobFailed, JobKilled: It ended so.
            asyncio.InvalidStateError: It has not ended.
            ResultTooLarge: A command printed more than 16 MiB; the message names the file.
            MetadirError: The file of its result is gone or damaged, or can not be read now.
        """
        error = self.exception()
        if error is not None:
            raise error
        return outcome.result_of(self)

    def exception(self) -> BaseException | None:
        """What `await job` would raise; None when it ended well.

        Raises:
            asyncio.InvalidStateError: It has not ended.
        """
        if not self.status.final:
            msg = f"{self} has not ended"
            raise asyncio.InvalidStateError(msg)
        self.seen = True
        if self.status is JobStatus.KILLED:
            return outcome.killed(self)
        return outcome.failure_of(self) if self.status is JobStatus.FAILED else None

    # What it says of itself

    @property
    def progress(self) -> Progress:
        """How far its newest start says it is; read from its files each time."""
        return read_progress(self.directory)

    async def history(self) -> list[Status]:
        """Everything that happened to it, oldest first, with the stages it said it went through.

        What differs only in progress is one entry.
        """
        lines = [Status.of(line) for line in self.kept_history]
        return with_stages(lines, self.directory, self.start)

    async def logs(self, level: str = "INFO", after: float = 0) -> list[LogLine]:
        """What its newest start logged, oldest first.

        Args:
            level: The least: DEBUG, INFO, WARNING, ERROR, CRITICAL.
            after: Only what is younger; UTC seconds.
        """
        return await asyncio.to_thread(read_logs, self.directory, level, after)

    def stderr_tail(self) -> list[str]:
        """The last lines of stderr, at most five."""
        return metadir.read_tail(self.stderr_file, TAIL_LINES, TAIL_BYTES)

    def summary(self) -> dict[str, Any]:
        """The little that a list of jobs shows of it, in plain values; reads its progress from its files."""
        return outcome.summary_of(self)

    # What can be done with it

    async def kill(self, grace: float | str | None = None) -> bool:
        """Stop it: a polite signal to all its processes, and after the grace a firm one.

        Returns when nothing of it runs any more.

        Args:
            grace: Seconds between the two; by default the option `grace`.

        Returns:
            False when it had ended before.
        """
        return await self._keeper.kill(self, None if grace is None else seconds("grace", grace))

    async def retry(self) -> None:
        """Run a FAILED or KILLED job once more, with a full set of retries; else does nothing."""
        await self._keeper.retry(self)

    async def archive(self) -> None:
        """Put it away: `find` leaves it out where `archived=` does not ask for it. Its files stay.

        Raises:
            XquteError: It has not ended.
        """
        await self._keeper.archive(self)

    async def delete(self, *, force: bool = False) -> None:
        """Forget it, and remove its directory; its cleanup function is called first, unless it was.

        Args:
            force: Kill it first when it has not ended.

        Raises:
            XquteError: It has not ended, or others wait for its result.
            JobFailed: Its cleanup function failed; the job is kept.
        """
        await self._keeper.delete(self, force=force)

    async def settle(self) -> None:
        """Before it starts: note whose results it takes, where that was not known when it was pushed."""
        if self.needs:
            await self._keeper.settle(self)

    # What a scheduler's author uses

    async def wrap_cmd(self, scheduler: Scheduler) -> str:
        """The text of the script that runs the job; the override point for authors of job classes."""
        options = self.call.options
        script = wrapper.Script(
            directory=self.directory,
            argv=self.call.argv,
            cwd=self.cwd,
            exports=self.exports(),
            start=self.start,
            whose=self.identity,
            stdin=options.stdin or os.devnull,
            stdout=options.stdout or "",
            stderr=options.stderr or "",
            directives=scheduler.directives(self),
            prescript=scheduler.prescript,
            postscript=scheduler.postscript,
            exit_with=scheduler.exit_with,
            asked_by=scheduler.asked_by,
            ignored=scheduler.ignored,
        )
        if self.call.inside:
            script = handing.hand(script, self, self.script(scheduler), await self._keeper.sources(self))
        return wrapper.fill(script)

    async def wrapped_script(self, scheduler: Scheduler) -> Path:
        """The path of the script, which the engine wrote before it hands the job over."""
        return Path(self.script(scheduler))

    def script(self, scheduler: Scheduler) -> str:
        """The same path, as a text."""
        return f"{self.directory}/{metadir.WRAPPED}{scheduler.name}"

    @property
    def mark(self) -> str:
        """What `XQUTE_JOB` is in the environment of each of its processes, in every start."""
        return f"{self._keeper.token}-{self.id}"

    @property
    def identity(self) -> str:
        """Which job, also among those that had its number in a store that was deleted or damaged."""
        return f"{self.mark} {self.created:.6f}"

    def exports(self) -> dict[str, str]:
        """The environment variables its script sets."""
        own = {
            "XQUTE_JOB": self.mark,
            "XQUTE_JOB_ID": str(self.id),
            "XQUTE_JOB_METADIR": self.directory,
            "XQUTE_JOB_ATTEMPT": str(self.attempt),
            "XQUTE_JOB_START": str(self.start),
            "XQUTE_JOB_EVENTS": f"{self.directory}/{metadir.EVENTS}",
        }
        return {**dict(self.call.options.env), **own}

    @classmethod
    def claims(cls) -> bool:
        """Whether its script is our wrapper, whose claim makes a second copy harmless."""
        return cls.wrap_cmd is Job.wrap_cmd

    # How it reads

    def __repr__(self) -> str:
        """The job as a report shows it."""
        return f"<Job {self.id} {self.status.name} {self.call.shown!r}>"

    def __str__(self) -> str:
        """The job as a sentence names it."""
        return f"job {self.id} ({self.title})"


def _seen(task: asyncio.Task[Any]) -> None:
    """A failure is kept in the job; a task that nobody asks for it needs no complaint in the log."""
    if not task.cancelled():
        task.exception()
