"""`current_job()`: what a job may say about itself, and ask for, while it runs."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from ..errors import JobNotFound, XquteError
from ..events import LEVELS, TOTAL, Event
from . import calling
from .calling import Calling
from .reporting import Reporter, reporter

Command = Sequence[Any] | str

#: What a step is announced by: a function, or a name.
S = TypeVar("S", bound=Callable[..., Any] | str)

#: Levels that `logging` knows by two names.
_ALIASES: Final = {"warn": "warning", "fatal": "critical"}
OnLine = Callable[[str], Any]


def current_job() -> CurrentJob:
    """The job that this process belongs to, also where it is a child of the job's own process.

    Raises:
        JobNotFound: It belongs to none.
    """
    directory = os.environ.get("XQUTE_JOB_METADIR")
    if not directory:
        raise JobNotFound("there is no current job: no job of xqute started this process, nor one above it")
    return CurrentJob(directory)


class CurrentJob:
    """A job, seen from inside.

    Attributes:
        id: Its number.
        attempt: From 1; it grows when an attempt failed.
        start: From 1; it grows with each time it was handed to a scheduler.
        metadir: Its directory.
    """

    def __init__(self, directory: str) -> None:
        """The job whose files are in this directory."""
        self.metadir: Final = Path(directory)
        self.id: Final = _number("XQUTE_JOB_ID")
        self.attempt: Final = _number("XQUTE_JOB_ATTEMPT")
        self.start: Final = _number("XQUTE_JOB_START")

    def __repr__(self) -> str:
        return f"<current job {self.id}>"

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments of the call; those by name are in `kwargs`."""
        return self._call.loaded.args if self._call.loaded is not None else ()

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments of the call that were given by name."""
        return dict(self._call.loaded.kwargs) if self._call.loaded is not None else {}

    @property
    def kill_requested(self) -> bool:
        """Whether the job was asked to stop. Its function hears of it by itself, by an exception."""
        call = calling.now
        return call is not None and call.here and call.killing.asked

    @property
    def _call(self) -> Calling:
        call = calling.now
        if call is None or not call.here:
            sort = "only the own process of a Python call knows its arguments and needs"
            raise XquteError(f"{sort}, and this is none of job {self.id}")
        return call

    @property
    def _reporter(self) -> Reporter:
        return reporter(str(self.metadir))

    def progress(
        self, current: float, total: float = TOTAL, message: str = "", *, group: Sequence[str] = ()
    ) -> None:
        """Say how far the job is.

        Args:
            current: In any unit.
            total: In the same; without it, `current` is percent.
            message: A text for people.
            group: Which of nested bars: ("outer", "inner"). A bar that says nothing itself is the sum of
                those below it.

        May be called as often as is convenient: not every call is written, the last one is.
        """
        path = (group,) if isinstance(group, str) else tuple(map(str, group))
        self._reporter.progress(Event("progress", message, float(current), float(total), path))

    def steps(self, *steps: S) -> Iterator[S]:
        """Each of these functions, announced as a stage of the job: `for step in job.steps(a, b): step()`.

        The names of stages will do as well: `for name in job.steps("fetch", "index"): …`.

        The progress moves by itself: of n steps, the k-th begins at k / (n + 2), and what is reported
        inside it is its fraction.
        """
        for number, step in enumerate(steps, 1):
            name = step if isinstance(step, str) else _name(step)
            self._stage(Event("stage", name, number, len(steps)))
            yield step

    def stage(self, name: str) -> Stage:
        """Say what the job does now; as `with job.stage("align"):` until the block ends."""
        stage = Stage(self, name)
        self._stage(Event("stage", name))
        return stage

    def _stage(self, event: Event) -> None:
        try:
            self._reporter.tell(event._replace(date=time.time()))
        except OSError:  # a full disk: no job fails because nobody sees what it does
            return

    def log(self, text: str, level: str = "info") -> None:
        """Write a line to the job's log; `logging` does it as well.

        Raises:
            ValueError: There is no such level.
        """
        level = _ALIASES.get(level.lower(), level.lower())
        if level not in LEVELS:
            raise ValueError(f"unknown level {level!r}: known are {', '.join(LEVELS)}")
        self._stage(Event("log", text, level=level))

    async def run(
        self,
        argv: Command,
        *,
        on_stdout: OnLine | None = None,
        on_stderr: OnLine | None = None,
        check: bool = True,
    ) -> str:
        """Run a command; what it prints, without the newlines at its end.

        Args:
            argv: A list of arguments, or a shell line (for bash).
            on_stdout: Called with each line, all of them before this returns. When it raises, the command
                ends with everything it started. May be asynchronous.
            on_stderr: The same for the other output.
            check: Whether to raise when it ends with another status than 0.

        What it prints is also written to the job's own stdout and stderr.

        Raises:
            CommandFailed: It ended with another status than 0.
            OSError: There is no such command.
        """
        from .running_async import run

        return await run(argv, on_stdout=on_stdout, on_stderr=on_stderr, check=check)

    def run_sync(
        self,
        argv: Command,
        *,
        on_stdout: OnLine | None = None,
        on_stderr: OnLine | None = None,
        check: bool = True,
    ) -> str:
        """As `run`, for functions that are not asynchronous."""
        from .running import run_sync

        return run_sync(argv, on_stdout=on_stdout, on_stderr=on_stderr, check=check)

    def require(self, calls: Iterable[Any], *, ok: str = "all") -> list[Any] | Awaitable[list[Any]]:
        """The results of calls that were found to be needed: "these first, then start me again".

        When they are there, they are returned: as a list, or to be awaited in an asynchronous function.
        Otherwise the job gives its place back, waits for them, and begins again from the top. Calls are
        known again by their definition; what can't be compared is refused.

        Raises:
            OptionError: A call can't be compared, or is none.
            CycleError: The calls need each other.
        """
        from .requiring import require

        return require(self._call, calls, ok)


def _number(variable: str) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else 0


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None) or getattr(function, "name", None)
    return str(name or type(function).__name__)


class Stage:
    """What a job does until the block ends; then it does again what it did before."""

    #: The stages around the present one, of this process.
    _around: Final[list[str]] = []

    def __init__(self, job: CurrentJob, name: str) -> None:
        """It was announced already."""
        self._job = job
        self._name = name

    def __enter__(self) -> Self:
        """It was announced when it was made."""
        self._around.append(self._name)
        return self

    def __exit__(self, *exc: object) -> None:
        """Say what goes on; nothing is said about a stage that failed, so that it can be seen."""
        self._around.remove(self._name)  # of tasks of one call, the first may end first
        if exc[0] is None:
            self._job._stage(Event("stage", self._around[-1] if self._around else ""))  # noqa: SLF001
