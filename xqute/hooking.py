"""Inside which hook code runs: a hook must not wait for the engine, which waits for the hook."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from .errors import XquteError

if TYPE_CHECKING:
    from .job import Job

_current: ContextVar[HookCall | None] = ContextVar("xqute hook", default=None)

#: What to do instead; a task of its own goes on when the hook has returned.
REMEDY: Final = "push in hooks, and wait in a task of its own, asyncio.create_task(…), or outside of hooks"


class HookCall:
    """One call of one plugin's hook.

    Attributes:
        plugins: Of which producer. hook, plugin: Their names. job: Whose it is; None: the run's.
        over: It has returned.
        awaits: Jobs whose ends it waits for now, also in tasks that it started.
        when_over: Called when it returns.
    """

    def __init__(self, plugins: Any, hook: str, plugin: str, job: Job | None) -> None:
        """It is about to be called, by the current task."""
        self.plugins = plugins
        self.hook = hook
        self.plugin = plugin
        self.job = job
        self.over = False
        self.awaits: list[Job] = []
        self.when_over: Callable[[], None] | None = None
        self._task = asyncio.current_task()

    def __str__(self) -> str:
        """As a sentence names it."""
        of = "" if self.job is None else f" for {self.job}"
        return f"{self.hook} of plugin {self.plugin!r}{of}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What runs in here, and in tasks that it starts, runs inside the hook."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)
            self.over = True
            if self.when_over is not None:
                self.when_over()

    @property
    def direct(self) -> bool:
        """Whether the hook itself runs, and no task that it started: the hook may never wait for that."""
        return asyncio.current_task() is self._task

    @property
    def told(self) -> str:
        """What it waits for, and the remedy; empty when it waits for no job."""
        if not self.awaits:
            return ""
        named = ", ".join(f"{job}, which is {job.status.name} ({job.reason})" for job in self.awaits[:3])
        more = f" and {len(self.awaits) - 3} more" if len(self.awaits) > 3 else ""  # noqa: PLR2004  as above
        return f": it awaits {named}{more}; {REMEDY}"


def hook_of(plugins: Any) -> HookCall | None:
    """The hook of this producer's plugins inside which this runs; None: outside, or it has returned."""
    call = _current.get()
    return call if call is not None and call.plugins is plugins and not call.over else None


def decides_on(plugins: Any, job: Job) -> bool:
    """Whether this runs inside a hook that decides whether the job, whose process has ended, counts.

    Raises:
        XquteError: The hook decides whether the job is killed.
    """
    call = hook_of(plugins)
    if call is None or call.job is not job:
        return False
    if call.hook == "on_job_killing":
        raise XquteError(f"{call} can't kill it: it is about to be killed, unless the hook returns False")
    return call.hook == "on_job_finishing"


def refuse_in_hook(plugins: Any, what: str) -> None:
    """Raise where the engine would be waited for by a hook that it waits for.

    Raises:
        XquteError: Names the hook and the remedy.
    """
    call = hook_of(plugins)
    if call is not None and call.direct:
        raise XquteError(f"{call} can't use {what}: the run can't end before this hook returned; {REMEDY}")
