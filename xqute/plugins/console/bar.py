"""The live display of a terminal."""

from __future__ import annotations

import sys
from typing import ClassVar, Final

from rich import box
from rich.console import Console as RichConsole
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .moment import Closing, Moment, Told
from .terminal import PATH_WIDTH, is_terminal, plain, write

#: Of the closing table: what a column of words has at most, and at least where there is one more for stderr.
COLUMN_WIDTH: Final = 40
LEAST_WIDTH: Final = 20

#: What lies beside the words of a column.
_EDGE: Final = 3


class Bar:
    """Two live lines at the bottom of a terminal."""

    #: A process has one terminal; what others say while a bar is there goes through its console.
    shown: ClassVar[Bar | None] = None

    def __init__(self, out: RichConsole) -> None:
        """Show it.

        Raises:
            LiveError: Somebody else's live display is there.
        """
        self.out = out
        # what the program prints appears above the bar; what it pipes away stays untouched
        self._live = Live(
            console=out,
            auto_refresh=False,
            transient=True,
            redirect_stdout=is_terminal(sys.stdout),
            redirect_stderr=is_terminal(sys.stderr),
        )
        self._live.start()
        Bar.shown = self

    def show(self, moment: Moment) -> None:
        """Draw it anew."""
        self._live.update(_drawing(moment), refresh=True)

    def say(self, told: Told) -> None:
        """A failure, above the bar."""
        sign, style = ("↻", "yellow") if told.again else ("✗", "bold red")
        text = Text.assemble((sign, style), f" job {told.job.id} ", (plain(told.job.title), "bold"))
        text.append(f"  {plain(told.reason)}", style)
        if told.said:
            text.append(f"\n    {plain(told.said)}")
        if not told.again:
            text.append(f"\n    {plain(told.job.directory, PATH_WIDTH)}", "dim")
        write(self.out, text)

    def remark(self, text: str) -> None:
        """A word of our own, above the bar."""
        write(self.out, Text(f"✗ {text}", "bold red"))

    def leave(self) -> None:
        """Give the terminal back."""
        if Bar.shown is self:
            Bar.shown = None
        self._live.stop()

    def close(self, closing: Closing) -> None:
        """The tables that stay."""
        self.out.print(_numbers(closing.moment))
        if closing.failed:
            self.out.print(_failures(closing, self.out.width))
        if closing.stopped:
            write(self.out, Text(f"  stopped: {closing.stopped}", "bold yellow"))
        write(self.out, Text.assemble(("  job directories: ", "dim"), f"{closing.metadir}/<job>"))


def _drawing(moment: Moment) -> RenderableType:
    top = Table.grid(expand=True, padding=(0, 1))
    top.add_column(ratio=1)
    top.add_column(no_wrap=True)
    bar = ProgressBar(max(1, moment.jobs), moment.ended, complete_style="green")
    top.add_row(bar, Text(f"{moment.ended} of {moment.jobs}  {moment.speed}"))
    return Group(top, moment.sentence())


def _numbers(moment: Moment) -> Table:
    groups = moment.groups("finished", "failed", "retries")
    table = Table(box=box.SIMPLE_HEAD)
    for name, _, style in groups:
        table.add_column(name, justify="right", style=style)
    table.add_column("time", justify="right")
    table.add_column("jobs/s", justify="right")
    numbers = [f"{count}" for _, count, _ in groups]
    table.add_row(*numbers, f"{moment.seconds:.1f} s", f"{moment.total_rate:.1f}")
    return table


def _failures(closing: Closing, width: int) -> Table:
    missing = closing.moment.failed - len(closing.failed)
    rows = [[plain(word) for word in (told.job.title, told.reason, told.said)] for told in closing.failed]
    table = Table(box=box.SIMPLE_HEAD, title=Text("  failed jobs", "bold red"))
    table.title_justify = table.caption_justify = "left"
    # The number is what one asks on by: it is never cut, and a reason goes on below; other words are cut.
    number = max(3, *(len(str(told.job.id)) for told in closing.failed))
    there = width - number - 4 * _EDGE - 1
    with_stderr = there >= 3 * LEAST_WIDTH and any(said for _, _, said in rows)
    words = max(8, min(COLUMN_WIDTH, there // 3))
    table.add_column("job", justify="right", no_wrap=True, width=number)
    table.add_column("title", no_wrap=True, max_width=words)
    table.add_column(
        "reason", overflow="fold", max_width=words if with_stderr else max(8, there + _EDGE - words)
    )
    if with_stderr:
        table.add_column("last line on stderr", no_wrap=True, max_width=words)
    for told, row in zip(closing.failed, rows, strict=True):
        table.add_row(str(told.job.id), *map(Text, row[: len(table.columns) - 1]))
    if missing > 0:
        table.caption = Text(f"  and {missing} more", "bold red")
    return table
