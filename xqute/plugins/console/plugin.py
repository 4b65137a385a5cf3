"""`Console`: looks at the counts some times per second, and hears of failures.

A job that ends well costs it nothing. Everything it shows goes to stderr: stdout is the program's own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from rich.errors import LiveError

from ...job import Job
from ...plugin import simplug
from ...report import Stats
from ...scheduler import Scheduler
from ...states import JobStatus
from .bar import Bar
from .lines import Lines
from .moment import Closing, Moment, Pace, Told
from .terminal import PATH_WIDTH, Terminal, plain

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

log = logging.getLogger("xqute.plugin")

#: Between two looks at the run.
REFRESH_SECONDS: Final = 0.25

#: Failures told per look, per run, and in the closing table; the others are counted.
TOLD_PER_LOOK: Final = 10
TOLD_PER_RUN: Final = 100
CLOSING_FAILURES: Final = 10

Display = Bar | Lines


class Watched(Protocol):
    """What is looked at: the producer."""

    metadir: Path

    @property
    def stop_reason(self) -> object | None:
        """Why the run was stopped; None when it was not."""

    async def stats(self) -> Stats:
        """How the run stands now."""


class Console:
    """The plugin of one producer, given to it by `progress=True`."""

    name: Final = "console"

    def __init__(self, xqute: Watched, out: RichConsole | None = None, *, failures: bool = True) -> None:
        """Show nothing yet; `out` is stderr unless told otherwise, `failures`: tell of each."""
        self._xqute = xqute
        self._out = out
        self._display: Display | None = None
        self._task: asyncio.Task[None] | None = None
        self._stats = Stats({}, 0, 0, running=False, commands={})
        self._pace = Pace()
        self._retries = 0
        self._failed: list[Told] = []
        self._news: list[Told] = []
        self._untold = 0
        self._left = TOLD_PER_RUN if failures else 0
        self._closing = CLOSING_FAILURES if failures else 0

    @simplug.impl
    async def on_init(self, scheduler: Scheduler) -> None:
        await self._end()  # of a session that broke
        self._stats = await self._xqute.stats()
        self._pace.begin(_ended(self._stats))
        self._display = _display(self._out)
        self._task = asyncio.create_task(self._refresh(), name="xqute console")

    @simplug.impl
    async def on_job_failed(self, scheduler: Scheduler, job: Job) -> None:
        self._retries += job.will_retry
        job.seen = job.seen or bool(self._closing)  # it is told of here
        tellable = len(self._news) < min(TOLD_PER_LOOK, self._left)
        closing = not job.will_retry and len(self._failed) < self._closing
        if tellable or closing:
            told = Told(job, str(job.reason), job.will_retry, "".join(job.stderr_tail()[-1:]))
            self._failed += [told] * closing
            self._news += [told] * tellable
        self._untold += not tellable

    @simplug.impl
    async def on_shutdown(self, scheduler: Scheduler, consumer: Any) -> None:
        await self._end()
        self._stats = await self._xqute.stats()
        self._show(self._tell)
        self._show(self._close)
        self._display = None
        self._pace.end()

    # The task

    async def _refresh(self) -> None:
        """Look at the run until its engine ended, also when nobody says so."""
        try:
            while self._stats.running:
                self._show(self._look)
                await asyncio.sleep(REFRESH_SECONDS)
                self._stats = await self._xqute.stats()
        finally:
            self._show(self._leave)

    async def _end(self) -> None:
        task, self._task = self._task, None
        try:
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        finally:
            self._show(self._leave)  # a task that never began does not

    # What it shows

    def _show(self, what: Callable[[Display], None]) -> None:
        """Trouble with the display ends the display, and nothing else."""
        display = self._display
        if display is None:
            return
        try:
            what(display)
        except Exception:
            self._display = None
            with suppress(OSError, ValueError):
                display.leave()
            log.exception("the progress can't be shown any more")

    def _look(self, display: Display) -> None:
        self._tell(display)
        display.show(self._moment())

    def _tell(self, display: Display) -> None:
        """The failures since the last look."""
        news, self._news = self._news, []
        untold, self._untold = self._untold, 0
        for told in news:
            display.say(told)
        if untold and self._left:
            display.remark(f"{untold} more failed attempts")
        self._left -= len(news)
        if news and not self._left:
            display.remark("from here on, failures are only counted")

    def _leave(self, display: Display) -> None:
        display.leave()

    def _close(self, display: Display) -> None:
        # who was tried again later and ended well is no failure
        failed = [told for told in self._failed if told.job.status is JobStatus.FAILED]
        stop = self._xqute.stop_reason
        metadir = plain(str(self._xqute.metadir), PATH_WIDTH)
        closing = Closing(
            self._moment(over=stop is None), failed, "" if stop is None else plain(str(stop)), metadir
        )
        if closing.moment.jobs or closing.stopped:
            display.close(closing)

    def _moment(self, *, over: bool = False) -> Moment:
        self._pace.look(_ended(self._stats))
        return Moment(self._stats.counts, self._retries, self._pace, self._stats.reused, over=over)


def _display(out: RichConsole | None) -> Display:
    shown = Bar.shown
    if shown is not None and out is None:
        return Lines(shown.out)
    out = out or Terminal()
    if out.is_interactive and shown is None:
        try:
            return Bar(out)
        except LiveError:
            log.debug("another live display is on this terminal")
    return Lines(out)


def _ended(stats: Stats) -> int:
    """Jobs that ended here; those that had ended in an earlier session took no time."""
    return sum(count for status, count in stats.counts.items() if status.final) - stats.reused
