"""The display where there is no terminal: plain lines, few of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from rich.text import Text

from .moment import Closing, Moment, Told
from .terminal import PATH_WIDTH, plain, write

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

#: Between two lines: at a quarter of the jobs, when something changed, and when nothing did.
QUARTER_SECONDS: Final = 2.0
LINE_SECONDS: Final = 10.0
SILENT_SECONDS: Final = 60.0


class Lines:
    """Plain lines, few of them."""

    def __init__(self, out: RichConsole, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is said yet."""
        self._out = out
        self._clock = clock
        self._time = clock()
        self._sentence = ""
        self._quarter = 0

    def show(self, moment: Moment) -> None:
        """A line, when it is time for one."""
        waited = self._clock() - self._time
        sentence = moment.sentence().plain
        quarter = 4 * moment.ended // moment.jobs if moment.jobs else 0
        needed = LINE_SECONDS if sentence != self._sentence else SILENT_SECONDS
        if waited < (QUARTER_SECONDS if quarter > self._quarter else needed):
            return
        self._time, self._sentence, self._quarter = self._clock(), sentence, quarter
        self._line(f"{moment.ended} of {moment.jobs} ended: {sentence}; {moment.speed}")

    def say(self, told: Told) -> None:
        """A failure, on one line."""
        what = "retry" if told.again else "FAILED"
        said = f" | {plain(told.said)}" if told.said else ""
        where = plain(told.job.directory, PATH_WIDTH)
        title = plain(told.job.title)
        self._line(f"{what}: job {told.job.id} ({title}): {plain(told.reason)}{said} | {where}")

    def remark(self, text: str) -> None:
        """A word of our own."""
        self._line(text)

    def leave(self) -> None:
        """There is nothing to give back."""

    def close(self, closing: Closing) -> None:
        """How the session ended."""
        moment = closing.moment
        took = f"{moment.seconds:.1f} s ({moment.total_rate:.1f} jobs/s)"
        self._line(f"{moment.sentence().plain or 'no jobs'} in {took}")
        for told in closing.failed:
            self._line(f"  job {told.job.id} ({plain(told.job.title)}): {plain(told.reason)}")
        missing = moment.failed - len(closing.failed)
        if closing.failed and missing > 0:
            self._line(f"  and {missing} more failed")
        if closing.stopped:
            self._line(f"stopped: {closing.stopped}")
        self._line(f"job directories: {closing.metadir}/<job>")

    def _line(self, text: str) -> None:
        write(self._out, Text(f"xqute: {text}"))
