"""The contract of schedulers: what an author writes, and what the engine asks for."""

from __future__ import annotations

import asyncio
import inspect
import shutil
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, ClassVar

from diot import Diot

from .errors import BackendUnavailable, OptionError, SchedulerError
from .job import Job
from .options import refuse_unknown
from .settings import BATCH_FORKS, GRACE_SECONDS, POLL_SECONDS
from .states import Answer, Presence

#: What the outcome of handing one job over can be: the scheduler's id of it, or why not.
Outcome = int | str | Exception


class Scheduler(ABC):
    """Runs jobs somewhere. A subclass needs `name` and three methods; all else has a default.

    The engine writes each job's script before `submit_job` (`await job.wrapped_script(self)` is its
    path) and the id that `submit_job` returns into `job.lock_file` after it. It follows the job by
    its status file, and asks `job_is_running` when that file has been silent for `poll_seconds`.

    Class attributes an author may set:
        name: The word users choose it by; part of the script's file name.
        job_class: The class of its jobs; an annotation `job_class: MyJob` is enough.
        options: The options it takes, name → sentence; None takes all.
        option_prefixes: Prefixes of options it takes besides (`sge_`).
        default_forks: Jobs at a time when the user gives no `scheduler_forks`.
        max_batch: Jobs per `submit_jobs`.
        poll_seconds: How long a job's files may be silent before the scheduler is asked.
        pending_seconds: How long a job may wait in its queue; it has failed then, and is taken back. None: as
            long as it likes.
        grace_seconds: How long files may be later than the answer that a job is gone.
        refill_share: What share of the forks is free before they are filled up, unless a job has waited for
            `refill_seconds`; 0: each free fork is used at once.
        kill_seconds: What its backend takes between asking a job to stop and forcing it.
        confirms_kills: What was asked to stop has ended when it says so, and not when its files do.
        on_this_host: Its jobs end when this host goes down.
        tells_ends: It calls `self.notify` at once when a job ended, and never before: the files of its
            jobs need no sweeping, and the fork is free.
        exit_with: The shell word its scripts exit with, where a return code (`$1`) has a meaning there.
        asked_by: Signals by which it asks a job to stop, where that isn't TERM; the payload gets TERM.
        ignored: Signals it sends to jobs that mean nothing to them.
    """

    name: str = ""
    job_class: type[Job]
    options: ClassVar[Mapping[str, str] | None] = None
    option_prefixes: ClassVar[tuple[str, ...]] = ()
    default_forks: ClassVar[int] = BATCH_FORKS
    max_batch: int = 64
    poll_seconds: float = POLL_SECONDS
    pending_seconds: float | None = None
    grace_seconds: float = GRACE_SECONDS
    refill_share: ClassVar[float] = 0.0
    refill_seconds: float = 0.0
    kill_seconds: float = 0.0
    confirms_kills: ClassVar[bool] = False
    on_this_host: ClassVar[bool] = False
    tells_ends: ClassVar[bool] = False
    exit_with: ClassVar[str] = '"$1"'
    asked_by: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    #: Set by the producer: shell text before and after each command, jobs at a time, their names.
    prescript: str = ""
    postscript: str = ""
    forks: int = 1
    jobprefix: str = ""
    #: Set by the producer: when the run is interrupted, what runs is left running.
    leaves_running: bool = False

    def __init__(self, **options: Any) -> None:
        """Keep the options in `self.config`.

        Raises:
            OptionError: One is not declared; names the nearest.
        """
        self.config = Diot()
        self.config.update(self.check_options(options))
        self.notify: Callable[[Sequence[Job]], None] = _nobody_listens

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options, checked against what the class declares."""
        if cls.options is not None:
            loose = [name for name in options if not name.startswith(cls.option_prefixes or ("\0",))]
            refuse_unknown(loose, cls.options, f"option of scheduler {cls.name!r},")
        return dict(options)

    def check_resources(self, names: Iterable[str]) -> None:  # noqa: B027  most take all
        """Refuse what no job may ask for: called with the names when jobs are pushed, and for all of a run.

        Raises:
            OptionError: It is not known here, or one of its own options says it already.
        """

    # The three that must be written

    @abstractmethod
    async def submit_job(self, job: Job) -> int | str:
        """Hand the job's script over; return the id it has there (a pid, a job number).

        Raises:
            SubmitError: It was refused; trying again would be refused again.
            BackendUnavailable: It could not be asked now; the engine tries again.
        """

    @abstractmethod
    async def kill_job(self, job: Job) -> None:
        """End every process of the job, politely and then firmly; harmless when it has ended."""

    @abstractmethod
    async def job_is_running(self, job: Job) -> bool:
        """Whether it is there: pending counts, an unknown id is False.

        Raises:
            BackendUnavailable: It could not be asked; nothing is concluded.
        """

    # The plurals the engine calls

    async def submit_jobs(self, jobs: Sequence[Job]) -> Sequence[Outcome]:
        """Hand several over: for each its id, or the exception that says why not."""
        return [await _outcome(self.submit_job(job)) for job in jobs]

    def submit_jobs_nowait(self, jobs: Sequence[Job]) -> Sequence[Outcome] | None:
        """The same without waiting for anything; None: it must wait, call `submit_jobs`."""
        return None

    async def kill_jobs(self, jobs: Sequence[Job]) -> None:
        """End several, at the same time.

        Raises:
            SchedulerError: Some could not be ended, or could not be asked to.
        """
        outcomes = await asyncio.gather(*(_in_turn(self.kill_job(job), n) for n, job in enumerate(jobs)))
        errors = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise SchedulerError("; ".join(str(error) for error in errors), scheduler=self.name)

    async def poll_jobs(self, jobs: Sequence[Job]) -> Mapping[Job, Answer]:
        """Ask about several; one that could not be asked about is UNKNOWN."""
        return {job: await self._poll_job(job) for job in jobs}

    async def _poll_job(self, job: Job) -> Answer:
        running = await _outcome(self.job_is_running(job))
        if isinstance(running, Exception):
            return Answer(Presence.UNKNOWN)
        return Answer(Presence.RUNNING if running else Presence.GONE)

    # What another process handed over

    async def find_jobs(self, jobs: Sequence[Job]) -> Mapping[Job, int | str]:
        """The ids of jobs that may have been handed over by a process that died before it kept them.

        Those it does not find are handed over once more, under the same start: whichever copy comes
        second leaves at the claim. So by default nothing is looked up.
        """
        return {}

    async def adopt_jobs(self, jobs: Sequence[Job], *, rebooted: bool) -> None:  # noqa: B027
        """Tell the ends of jobs that another process handed over, where ends are told.

        Args:
            jobs: Each has its uid; it may have ended.
            rebooted: This host was booted since; what ran on it has ended.
        """

    # What may be overridden besides

    async def open(self, stack: AsyncExitStack) -> None:  # noqa: B027  most need nothing
        """Get ready; push the own clean-up on the caller's stack."""

    def directives(self, job: Job) -> Sequence[str]:
        """Lines for the scheduler at the top of the job's script."""
        return ()

    def launch(self, job: Job) -> Sequence[str]:
        """The argv that runs the job's script on the host where it starts."""
        script = job.script(self)
        return ("/bin/sh", script) if job.claims() else (script,)

    @classmethod
    def get_job_class(cls) -> type[Job]:
        """The class of its jobs, also when it is only annotated."""
        given = getattr(cls, "job_class", None)
        if given is None:
            given = _annotated(cls)
        if given is None:
            return Job
        if not (isinstance(given, type) and issubclass(given, Job)):
            msg = f"job_class of scheduler {cls.name!r} is {given!r}: it must be a subclass of xqute.Job"
            raise OptionError(msg)
        return given

    def command(self, name: str, default: str) -> str:
        """The path of one of its commands, as configured.

        Raises:
            BackendUnavailable: It is not on PATH, or not where it was given.
        """
        given = self.config.get(name)
        found = shutil.which(str(default if given is None else given))
        if found is None:
            told = f"{default!r} is not on PATH; give its path with {name}="
            told = told if given is None else no_program(name, given)
            raise BackendUnavailable(f"scheduler {self.name!r}: {told}", scheduler=self.name)
        return found


def no_program(name: str, given: Any) -> str:
    """What is to be said of an option that names no program."""
    return f"{name}={str(given)!r} is no program that can be run here"


def _nobody_listens(jobs: Sequence[Job]) -> None:
    """Take news before an engine listens."""


def _annotated(cls: type[Scheduler]) -> Any:
    """The job class a subclass only annotated, as the first xqute's documentation shows it."""
    for base in cls.__mro__[: cls.__mro__.index(Scheduler)]:
        if "job_class" not in inspect.get_annotations(base):
            continue
        try:
            given: Any = inspect.get_annotations(base, eval_str=True)["job_class"]
        except NameError as exc:
            msg = f"job_class of {base.__name__} is annotated with a name not known there: {exc}; assign it"
            raise OptionError(msg) from exc
        return typing.get_args(given)[0] if typing.get_args(given) else given
    return None


async def _in_turn(answer: typing.Awaitable[Any], turns: int) -> Any:
    """Its outcome, begun so many turns of the event loop later: each may start a process at once."""
    for _ in range(turns):
        await asyncio.sleep(0)
    return await _outcome(answer)


async def _outcome(answer: typing.Awaitable[Any]) -> Any:
    """What it returns, or the exception it raises."""
    try:
        return await answer
    except Exception as exc:  # noqa: BLE001  the engine decides by its type
        return exc
