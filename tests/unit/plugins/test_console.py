import asyncio
import os
import re
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console as RichConsole

from xqute import JobFailed, Xqute
from xqute.job import Job
from xqute.options import JobOptions, apply_options
from xqute.plugin import HOOK_NAMES, Plugins
from xqute.plugins.console import Console
from xqute.plugins.console import plugin as console_plugin
from xqute.plugins.console.bar import Bar
from xqute.plugins.console.lines import Lines
from xqute.plugins.console.moment import Closing, Moment, Pace, Told
from xqute.plugins.console.terminal import Terminal, plain
from xqute.report import Stats
from xqute.states import JobStatus, Reason
from xqute.work import make_work

EVIL = "\x1b[31mred\x1b[0m \x1b[2J\x1b]0;title\x07[bold]b[/bold] :smile: \x9b1m \u202ertl \x07"
SHOW_CURSOR = "\x1b[?25h"
HIDE_CURSOR = "\x1b[?25l"

TAMED = "red [bold]b[/bold] :smile: �1m �rtl �"


class Run:
    """A producer as the console sees it."""

    def __init__(self, root):
        self.metadir = Path(root)
        self.root = str(root)
        self.stop_reason = None
        self.counts = {JobStatus.QUEUED: 4}
        self.running = True
        self._ids = iter(range(1, 10_000))

    async def stats(self):
        return Stats(dict(self.counts), 0, 4, self.running, {})

    def why_waits(self, job):
        return None

    def failed_job(self, title="sad", stderr="", *, retry=False):
        """A job of which an attempt just failed."""
        call = make_work(["false"], apply_options(JobOptions(), {"title": title}))
        job = Job(next(self._ids), call, self, 0.0)
        (job.metadir / "job.stderr").write_bytes(os.fsencode(stderr))
        job.will_retry = retry
        job.status = JobStatus.QUEUED if retry else JobStatus.FAILED
        detail = {"attempt": 2, "attempts": 4, "delay": 1.0, "after": "EXIT 3"}
        job.reason = Reason("RETRY_DELAY", detail) if retry else Reason("EXIT", {"rc": 3})
        return job


class Clock:
    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time


def screen(**options):
    return RichConsole(file=StringIO(), width=100, force_terminal=True, **options)


def pipe():
    return RichConsole(file=StringIO(), width=40, force_terminal=False)


def written(out):
    return out.file.getvalue()


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


@pytest.fixture(autouse=True)
def no_bar_is_left():
    yield
    assert Bar.shown is None


async def play(run, out, *jobs, **options):
    """A session in which these jobs fail."""
    console = Console(run, out, **options)
    await console.on_init(None)
    await asyncio.sleep(0)
    for job in jobs:
        await console.on_job_failed(None, job)
    await console.on_shutdown(None, run)
    return written(out)


async def test_a_terminal_has_a_bar_with_the_counts(run):
    run.counts = {JobStatus.QUEUED: 4, JobStatus.RUNNING: 2, JobStatus.FINISHED: 3}

    shown = await play(run, screen(no_color=True))

    assert "3 of 9" in shown
    assert "4 queued · 2 running · 3 finished" in shown


async def test_jobs_that_wait_for_others_are_counted_apart_and_are_blocked_when_nothing_goes_on(run):
    run.counts = {JobStatus.WAITING: 5, JobStatus.QUEUED: 4, JobStatus.RUNNING: 2}
    console = Console(run, out := screen(no_color=True))
    await console.on_init(None)
    await asyncio.sleep(0)
    run.counts = {JobStatus.WAITING: 5, JobStatus.FINISHED: 5, JobStatus.FAILED: 1}
    run.running = False

    await console.on_shutdown(None, run)

    live, _, closing = written(out).rpartition(SHOW_CURSOR)
    assert "5 waiting · 4 queued · 2 running" in live
    assert "blocked" in closing
    assert "waiting" not in closing


async def test_who_waits_when_a_run_was_stopped_is_not_blocked(run):
    run.counts = {JobStatus.WAITING: 5, JobStatus.FAILED: 1}
    run.stop_reason = "halted because job 7 failed"

    shown = await play(run, pipe())

    assert "xqute: 5 waiting · 1 failed in " in shown


async def test_a_pipe_gets_plain_lines_only(run):
    shown = await play(run, pipe(), run.failed_job(stderr="\x1b[1mbold\x1b[0m"))

    assert "\x1b" not in shown
    assert all(line.startswith("xqute: ") for line in shown.splitlines())


async def test_a_failure_is_told_with_all_it_takes_to_look_at_it(run):
    job = run.failed_job("align sample 3", "first\nthe last word\n")

    for out in (screen(), pipe()):
        shown = await play(run, out, job)

        for part in ("job 1", "align sample 3", "EXIT 3", "the last word", job.directory):
            assert part in shown
        assert "first" not in shown


async def test_a_retry_is_told_with_the_attempt_that_follows(run):
    for out in (screen(), pipe()):
        shown = await play(run, out, run.failed_job(retry=True))

        assert "attempt 2 of 4 in 1.0 s, after EXIT 3" in shown
        assert "1 retry" in shown or "retries" in shown
        assert "failed jobs" not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (EVIL, TAMED),
        ("a\r\nb\tc\x0bd", "a b c d"),
        ("\x1b]8;;http://evil\x1b\\link", "link"),
        ("\x1b]0;never closed", ""),
        ("\x1bc\x1b7", "\ufffdc\ufffd7"),
        ("\udcff\ue000\u200b", "\ufffd\ufffd\ufffd"),
        ("ünïcödé 漢字 🙂", "ünïcödé 漢字 🙂"),
        ("x" * 300, "x" * 199 + "…"),
    ],
)
def test_what_a_stranger_wrote_can_do_nothing_to_a_terminal(text, shown):
    assert plain(text) == shown


async def test_hostile_titles_and_stderr_are_shown_tamed_everywhere(run):
    run.stop_reason = EVIL

    for out in (screen(no_color=True), pipe()):
        shown = await play(run, out, run.failed_job(EVIL, EVIL + "\n"))

        assert shown.count(TAMED) >= 2  # the title and the stop reason
        for evil in ("\x9b", "\x07", "\u202e", "\x1b[31m", "\x1b[2J", "\x1b]"):
            assert evil not in shown


async def test_the_colours_of_stderr_are_left_out(run):
    shown = await play(run, pipe(), run.failed_job(stderr="\x1b[1;31merror:\x1b[0m no\x1b[K input\n"))

    assert "| error: no input |" in shown


async def test_the_closing_table_says_how_it_ended(run):
    run.counts = {JobStatus.FINISHED: 90, JobStatus.FAILED: 12, JobStatus.KILLED: 3}
    run.stop_reason = "halted because job 7 failed"

    shown = await play(run, screen(no_color=True), *(run.failed_job(f"no {n}") for n in range(12)))

    table = shown.rpartition(SHOW_CURSOR)[2]
    for part in ("90", "12", "3", "failed jobs", "no 9", "and 2 more", str(run.metadir)):
        assert part in table
    assert "no 10" not in table
    assert "stopped: halted because job 7 failed" in table


async def test_the_closing_lines_say_how_it_ended(run):
    run.counts = {JobStatus.FINISHED: 90, JobStatus.FAILED: 12}
    run.stop_reason = "halted because job 7 failed"

    shown = await play(run, pipe(), *(run.failed_job(f"no {n}") for n in range(12)))

    assert "xqute: 90 finished · 12 failed in " in shown
    assert "xqute:   job 10 (no 9): EXIT 3\nxqute:   and 2 more failed\n" in shown
    assert "xqute: stopped: halted because job 7 failed\n" in shown
    assert shown.endswith(f"xqute: job directories: {run.metadir}/<job>\n")


@pytest.mark.parametrize("out", [screen, pipe])
async def test_who_tells_of_failures_himself_has_them_counted_only(run, out):
    run.counts = {JobStatus.FAILED: 2}

    shown = await play(run, out(), run.failed_job("sad"), run.failed_job("mad"), failures=False)

    assert "failed" in shown
    assert not any(word in shown for word in ("sad", "mad", "EXIT", "more"))


async def test_a_job_that_was_tried_again_and_ended_well_is_no_failure_at_the_end(run):
    job = run.failed_job("lucky")
    console = Console(run, out := pipe())
    await console.on_init(None)
    await console.on_job_failed(None, job)
    job.status = JobStatus.FINISHED

    await console.on_shutdown(None, run)

    assert "  job 1 (lucky)" not in written(out)


async def test_a_flood_of_failures_is_counted_and_in_the_end_not_even_that(run, monkeypatch):
    monkeypatch.setattr(console_plugin, "REFRESH_SECONDS", 0)
    console = Console(run, out := pipe())
    await console.on_init(None)

    for _ in range(20):
        for _ in range(13):
            await console.on_job_failed(None, run.failed_job())
        for _ in range(5):
            await asyncio.sleep(0)
    await console.on_shutdown(None, run)

    assert written(out).count("xqute: FAILED: ") == console_plugin.TOLD_PER_RUN
    assert written(out).count("3 more failed attempts") == 10
    assert written(out).count("from here on, failures are only counted") == 1


def test_jobs_that_end_well_cost_the_console_nothing(run):
    plugins = Plugins([Console(run)])

    heard = [name for name in HOOK_NAMES if plugins.has(name)]

    assert heard == ["on_init", "on_shutdown", "on_job_failed"]


def test_the_rate_is_that_of_late_and_the_rest_is_estimated_by_it():
    pace = Pace(clock := Clock())
    pace.begin(0)
    for second in range(1, 61):
        clock.time += 1
        pace.look(second if second <= 30 else 30 + 10 * (second - 30))

    moment = Moment({JobStatus.QUEUED: 670, JobStatus.FINISHED: 330}, 0, pace)

    assert moment.speed == "10.0 jobs/s, 1:00, about 1:07 left"


def test_what_was_reused_does_not_read_as_more_than_what_ended():
    moment = Moment({JobStatus.FINISHED: 3, JobStatus.SKIPPED: 1}, 0, Pace(Clock()), reused=2)

    assert moment.sentence().plain == "3 finished · 1 skipped · 2 of them reused"


def test_few_long_jobs_are_estimated_by_the_whole_session():
    pace = Pace(clock := Clock())
    pace.begin(0)
    for second in range(1, 4001):
        clock.time += 1
        pace.look(second // 1000)

    moment = Moment({JobStatus.RUNNING: 2, JobStatus.FINISHED: 4}, 0, pace)

    assert moment.speed == "0.0 jobs/s, 1:06:40, about 33:20 left"


def test_nothing_is_estimated_before_anything_ended():
    pace = Pace(clock := Clock())
    pace.begin(0)
    clock.time += 5
    pace.look(0)

    assert Moment({JobStatus.QUEUED: 3}, 0, pace).speed == "0.0 jobs/s, 0:05"


def test_the_time_between_sessions_does_not_count():
    pace = Pace(clock := Clock())

    for ended in (5, 10):
        clock.time += 100
        pace.begin(ended - 5)
        clock.time += 2
        pace.look(ended)
        pace.end()

    assert pace.seconds == 4


def test_plain_lines_are_few():
    lines = Lines(out := pipe(), clock := Clock())
    pace = Pace(clock)
    pace.begin(0)

    for second in range(1, 201):
        clock.time += 1
        ended = min(second, 100)
        pace.look(ended)
        lines.show(Moment({JobStatus.QUEUED: 100 - ended, JobStatus.FINISHED: ended}, 0, pace))

    told = [line.split()[1] for line in written(out).splitlines()]
    assert told == "10 20 25 35 45 50 60 70 75 85 95 100 100".split()


def test_numbers_do_not_leave_the_screen_when_it_is_narrow():
    out = RichConsole(file=StringIO(), width=20, force_terminal=True, no_color=True)
    pace = Pace(Clock())
    pace.begin(0)
    bar = Bar(out)

    bar.show(Moment({JobStatus.QUEUED: 4000, JobStatus.FINISHED: 3000}, 0, pace))
    bar.leave()
    bar.close(Closing(Moment({JobStatus.FINISHED: 3000}, 0, pace), [], "", "/here"))

    assert "4000 queued · 3000 …" in written(out)


@pytest.mark.parametrize(("width", "has_stderr"), [(40, False), (60, False), (80, True), (200, True)])
def test_the_reason_of_a_failure_is_never_cut(run, width, has_stderr):
    out = RichConsole(file=StringIO(), width=width, force_terminal=True, no_color=True)
    reason = "EXIT 1: ValueError: the header of the twelfth line is not one that we know"
    job = run.failed_job("a title that is far too long for a narrow terminal, and for most others")
    bar = Bar(out)
    bar.leave()

    told = [Told(job, reason, again=False, said="its last line")]
    bar.close(Closing(Moment({JobStatus.FAILED: 1}, 0, Pace(Clock())), told, "", "/here"))

    table = (
        re.sub(r"\x1b\[[0-9;]*m", "", written(out))
        .partition("failed jobs")[2]
        .partition("job directories")[0]
    )
    assert set(reason.split()) <= set(table.split())
    assert ("last line" in table) is has_stderr
    assert "…" in table
    assert max(map(len, table.splitlines())) <= width


async def test_several_sessions_of_one_run_are_shown(run):
    console = Console(run, out := pipe())

    for _ in range(2):
        await console.on_init(None)
        await console.on_shutdown(None, run)

    assert written(out).count("job directories") == 2


async def test_two_at_once_share_the_terminal(run, tmp_path, monkeypatch):
    monkeypatch.setattr(console_plugin, "Terminal", screen)
    first, second = Console(run), Console(Run(tmp_path))

    await first.on_init(None)
    await second.on_init(None)
    out = Bar.shown.out
    await second.on_job_failed(None, run.failed_job("of the second"))
    await second.on_shutdown(None, run)
    still_there = Bar.shown is not None
    await first.on_shutdown(None, run)

    assert still_there
    assert "xqute: FAILED: job 1 (of the second)" in written(out)


async def test_a_session_that_ends_without_a_word_gives_the_terminal_back(run, monkeypatch):
    monkeypatch.setattr(console_plugin, "REFRESH_SECONDS", 0)
    console = Console(run, out := screen())
    await console.on_init(None)
    task = console._task
    await asyncio.sleep(0)

    run.running = False
    await task

    assert SHOW_CURSOR in written(out)
    assert Bar.shown is None


async def test_a_session_that_ends_at_once_gives_the_terminal_back(run):
    console = Console(run, screen())
    await console.on_init(None)

    await console.on_shutdown(None, run)

    assert Bar.shown is None


async def test_trouble_with_the_display_ends_only_the_display(run, caplog):
    class Full(StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    console = Console(run, RichConsole(file=Full()))
    await console.on_init(None)
    await console.on_job_failed(None, run.failed_job())

    await console.on_shutdown(None, run)

    assert "the progress can't be shown any more" in caplog.text


def test_a_closed_pipe_does_not_end_the_program(monkeypatch):
    class NobodyReads(StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", NobodyReads())
    out = Terminal()

    out.print("hello")

    assert out.quiet


@pytest.mark.parametrize("stream", [StringIO(), None])
def test_colours_that_are_forced_make_no_terminal_of_a_log(stream, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", stream)

    assert not Terminal().is_interactive


async def test_no_color_is_respected(run, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    shown = await play(run, screen(), run.failed_job())

    assert not any(f"\x1b[{code}m" in shown for code in range(30, 38))
    assert "\x1b[1;31m" not in shown


@pytest.mark.parametrize("end", ["halt", "cancel", "complete"])
async def test_nothing_is_left_however_a_run_ends(end, tmp_path, monkeypatch):
    out = screen(no_color=True)
    monkeypatch.setattr(console_plugin, "Terminal", lambda: out)
    before = sys.stdout, sys.stderr
    xqute = Xqute(job_metadir=tmp_path / "jobs", scheduler_forks=2, progress=True)
    if end != "complete":
        await xqute.push(["sleep", "60"])
    failing = await xqute.push("exit 3", error_strategy="halt" if end == "halt" else "ignore")

    running = asyncio.create_task(xqute.run_until_complete())
    if end == "cancel":
        with pytest.raises(JobFailed):
            await failing
        running.cancel()
    await asyncio.wait([running])

    assert running.cancelled() is (end == "cancel")
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert (sys.stdout, sys.stderr) == before
    assert written(out).count(SHOW_CURSOR) == written(out).count(HIDE_CURSOR) == 1
    assert "job directories" in written(out)
    assert ("stopped: " in written(out)) is (end != "complete")
