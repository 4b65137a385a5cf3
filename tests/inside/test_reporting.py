"""What a job says while it runs, from Python and from the shell."""

import pytest

from xqute.errors import JobNotFound
from xqute.events import Story, read_events
from xqute.inside.current import current_job

HEAD = "from xqute import current_job\n"


@pytest.fixture
def told(host):
    def told(text: str, target="work", *args):
        """The events of a call that ended well."""
        host.module(HEAD + text)
        job = host.call(target, *args)
        assert job.rc == 0, job.stderr
        return job.events

    return told


def progress_of(job):
    events, _ = read_events(str(job.directory / "job.events"), 0)
    return Story().tell(events)


def test_progress_is_current_total_and_message(told):
    assert told("def work(): current_job().progress(3, 10, 'frame 3')") == ["progress 3 10 frame 3"]


def test_without_a_total_it_is_percent(told):
    assert told("def work(): current_job().progress(12.5)") == ["progress 12.5 100"]


def test_bars_are_nested(told):
    text = """
def work():
    job = current_job()
    job.progress(1, 4, group=("outer loop", "a/b"))
    job.progress(1, 4, group="one")
"""

    assert told(text) == ["progress@outer%20loop/a%2Fb 1 4", "progress@one 1 4"]


def test_a_million_reports_are_few_lines_and_the_last_one_is_there(told):
    text = """
def work():
    job = current_job()
    for n in range(10**6):
        job.progress(n, 10**6)
"""

    events = told(text)

    assert len(events) < 2000
    assert events[-1] == "progress 999999 1000000"


def test_the_last_report_is_seen_while_the_job_goes_on(host):
    host.module(
        HEAD
        + """
def work():
    job = current_job()
    for n in range(100):
        job.progress(n)
    while not (job.metadir / "seen").exists():
        pass
"""
    )
    job = host.start("work")
    host.wait_until(lambda: "progress 99 100" in job.events, "the last report is there")
    (job.directory / "seen").touch()

    assert job.wait().rc == 0


def test_the_last_report_of_each_bar_is_there(told):
    text = """
def work():
    job = current_job()
    for n in range(100):
        for bar in "abc":
            job.progress(n, group=(bar,))
"""

    assert {f"progress@{bar} 99 100" for bar in "abc"} <= set(told(text))


def test_the_last_report_of_a_process_of_multiprocessing_is_there(told):
    text = """
import multiprocessing

def count(bar):
    for n in range(100):
        current_job().progress(n, group=(bar,))

def work():
    current_job().progress(0, 1)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=count, args=(bar,)) for bar in "ab"]
    for process in processes: process.start()
    for process in processes: process.join()
"""

    assert {"progress@a 99 100", "progress@b 99 100"} <= set(told(text))


def test_steps_are_stages_that_move_the_progress(host):
    host.module(
        HEAD
        + """
def prepare(job): pass
def align(job): job.progress(1, 2)
def index(job): pass

def work():
    job = current_job()
    for step in job.steps(prepare, align, index):
        step(job)
"""
    )

    job = host.call("work")

    assert job.events == ["stage@1/3 prepare", "stage@2/3 align", "progress 1 2", "stage@3/3 index"]
    assert progress_of(job).percent == pytest.approx(60)


def test_steps_may_be_names(host):
    host.module(
        HEAD
        + """
def work():
    return [step for step in current_job().steps("one", "two")]
"""
    )

    job = host.call("work")

    assert job.events == ["stage@1/2 one", "stage@2/2 two"]


def test_a_stage_may_be_a_block_or_a_word(told):
    text = """
def work():
    job = current_job()
    job.stage("alone")
    with job.stage("outer"):
        with job.stage("inner"):
            pass
    try:
        with job.stage("broken"):
            raise ValueError
    except ValueError:
        pass
"""

    assert told(text) == [
        "stage alone",
        "stage outer",
        "stage inner",
        "stage outer",
        "stage",
        "stage broken",
    ]


def test_a_line_for_the_log_has_a_level(told):
    text = "def work():\n    current_job().log('a\\nb', 'warning')\n    current_job().log('c')"

    assert told(text) == ["log warning a b", "log info c"]


def test_an_unknown_level_is_refused(host):
    host.module(HEAD + "def work(): current_job().log('a', 'loud')")

    assert host.call("work").error["message"].startswith("unknown level 'loud'")


def test_a_job_knows_what_it_is(host):
    host.module(
        HEAD
        + """
def work(*args, **kwargs):
    job = current_job()
    return job.id, job.attempt, job.start, str(job.metadir), job.args, job.kwargs, job.kill_requested
"""
    )

    job = host.call("work", 1, [2], start=5, a=3)

    assert job.result == (7, 2, 5, str(job.directory), (1, [2]), {"a": 3}, False)


def test_a_child_of_a_child_of_a_job_may_report(host):
    host.module(
        """
import subprocess, sys

CHILD = "from xqute import current_job; job = current_job(); job.progress(1, 2); job.stage(f'of {job.id}')"

def work():
    subprocess.run(["sh", "-c", '"$0" -c "$1"', sys.executable, CHILD], check=True)
"""
    )

    assert host.call("work").events == ["progress 1 2", "stage of 7"]


def test_only_the_call_itself_knows_its_arguments(host):
    host.module(
        """
import subprocess, sys

CHILD = "from xqute import current_job; current_job().args"

def work():
    return subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True).stderr
"""
    )

    assert "only the own process of a Python call knows its arguments" in host.call("work").result


def test_a_shell_reports_with_printf(host):
    host.module(
        HEAD
        + r"""
def work():
    current_job().run_sync('printf "stage align\nprogress 3 10 frame 3\n" >> "$XQUTE_JOB_EVENTS"')
"""
    )

    progress = progress_of(host.call("work"))

    assert (progress.stage, progress.percent, progress.message) == ("align", 30, "frame 3")


def test_a_full_disk_stops_no_job(host):
    host.module(
        HEAD
        + """
import os

def work():
    job = current_job()
    os.symlink("/dev/full", job.metadir / "job.events")
    job.progress(1)
    job.stage("a")
    job.log("b")
    return "done"
"""
    )

    assert host.call("work").result == "done"


def test_where_no_job_is_there_is_none(monkeypatch):
    monkeypatch.delenv("XQUTE_JOB_METADIR", raising=False)

    with pytest.raises(LookupError, match="there is no current job") as raised:
        current_job()

    assert raised.type is JobNotFound
