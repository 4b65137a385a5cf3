"""However a program ends, it ends as it would without jobs, and nothing of them is left."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import time

import pytest

from tests.faults.programs import descriptors, recorded, running
from tests.traces import carriers
from tests.waiting import until, wait_for
from xqute import JobStatus, Xqute, metadir, plugin, simplug
from xqute.engine.claimer import Claimer
from xqute.engine.concluding import Concluder
from xqute.engine.lifecycle import Lifecycle
from xqute.engine.recorder import Recorder
from xqute.engine.submitter import Submitter
from xqute.engine.watcher import Watcher
from xqute.schedulers.local.scheduler import LocalScheduler
from xqute.stores.sqlite import SqliteStore

# Programs


RUN = """
async def main():
    xqute = Xqute(job_metadir=META, scheduler_forks=2, grace=0.3)
    await xqute.push_many([LINE] * 2)
    await xqute.run_until_complete()
asyncio.run(main())
"""

RUN_STUBBORN = RUN.replace("LINE", "STUBBORN").replace("grace=0.3", "grace=60")


def test_ctrl_c_on_a_terminal_ends_program_and_jobs_as_a_keyboard_interrupt(here, tmp_path, alive, start):
    program = start(RUN, terminal=True)
    wait_for(lambda: running(here))
    program.type(b"\x03")
    code, said = program.ended()

    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in said
    assert "Task was destroyed" not in said
    assert "never retrieved" not in said
    assert alive() == {}
    assert recorded(tmp_path / "meta") == [JobStatus.KILLED] * 2


LAST_HOOKS = """
class Tells:
    @simplug.impl
    async def on_job_killed(self, scheduler, job):
        print("hook of a job", flush=True)
    @simplug.impl
    async def on_complete(self, scheduler):
        print("completed", flush=True)
    @simplug.impl
    async def on_shutdown(self, scheduler, consumer):
        print("shut down", flush=True)
simplug.register(Tells)
"""


def test_ctrl_c_twice_does_not_wait_for_the_grace_and_leaves_nothing(here, tmp_path, alive, start):
    """Also what ignores a polite signal in a session of its own is gone."""
    program = start(LAST_HOOKS + RUN_STUBBORN, terminal=True)
    wait_for(lambda: running(here))
    program.type(b"\x03")
    wait_for(lambda: running(here, {"asked.1", "asked.2"}))
    began = time.monotonic()
    program.type(b"\x03")
    code, said = program.ended()

    assert time.monotonic() - began < 10
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in said
    assert "Task was destroyed" not in said
    assert "hook of a job" not in said
    assert said.index("completed") < said.index("shut down")
    assert alive() == {}
    assert set(recorded(tmp_path / "meta")) <= {JobStatus.KILLING, JobStatus.KILLED}


def test_a_terminal_that_is_closed_ends_program_and_jobs(here, tmp_path, alive, start):
    program = start(RUN, terminal=True)
    wait_for(lambda: running(here))
    program.hang_up()
    code, _ = program.ended()

    assert code == -signal.SIGHUP
    assert alive() == {}
    assert recorded(tmp_path / "meta") == [JobStatus.KILLED] * 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_winds_down_and_then_ends_the_program_by_it(here, tmp_path, alive, start, number):
    program = start(RUN)
    wait_for(lambda: running(here))
    program.process.send_signal(number)
    code, said = program.ended()

    assert code == -number, said
    assert running(here, {"asked.1", "asked.2"})
    assert alive() == {}
    assert recorded(tmp_path / "meta") == [JobStatus.KILLED] * 2


@pytest.mark.parametrize(
    ("first", "number"),
    [
        ("SIGINT", signal.SIGTERM),
        ("halt", signal.SIGHUP),
        pytest.param("SIGINT", signal.SIGHUP, marks=pytest.mark.soak),
        pytest.param("halt", signal.SIGTERM, marks=pytest.mark.soak),
    ],
)
def test_a_signal_while_a_run_is_winding_down_for_another_reason_is_not_lost(
    here, tmp_path, alive, start, number, first
):
    source = """
async def main():
    xqute = Xqute(job_metadir=META, scheduler_forks=3, grace=1.5)
    await xqute.push_many([STUBBORN] * 2)
    await xqute.push("while ! [ -e $HERE/go ]; do sleep 0.02; done; exit 1", error_strategy="halt")
    await xqute.run_until_complete()
try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
print("went on", flush=True)
time.sleep(3)
"""
    program = start(source)
    wait_for(lambda: running(here))
    if first == "halt":
        (here / "go").touch()
    else:
        program.process.send_signal(signal.SIGINT)
    wait_for(lambda: running(here, {"asked.1", "asked.2"}))
    program.process.send_signal(number)
    code, said = program.ended()

    assert alive() == {}
    assert code == -number, said
    assert "went on" not in said


def test_a_signal_is_not_lost_when_the_last_of_two_runs_to_end_stops_for_another_reason(here, alive, start):
    source = """
async def main():
    one = Xqute(job_metadir=META, grace=1.5)
    two = Xqute(job_metadir=META + "2", grace=0.2)
    await one.push(STUBBORN)
    await two.push("touch $HERE/up.two; sleep 300")
    tasks = [asyncio.ensure_future(xqute.run_until_complete()) for xqute in (one, two)]
    await until(lambda: there("up.1", "session.1", "up.two"))
    one.request_stop("enough")
    await until(lambda: there("asked.1"))
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait(tasks)
    await asyncio.sleep(0.5)
    print("went on", flush=True)
asyncio.run(main())
"""
    code, said = start(source).ended()

    assert alive() == {}
    assert code == -signal.SIGTERM, said
    assert "went on" not in said


def test_a_program_that_catches_the_interrupt_goes_on_with_nothing_left(here, tmp_path, alive, start):
    source = (
        RUN.replace("asyncio.run(main())", "")
        + """
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("caught", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
sys.exit(5)
"""
    )
    program = start(source)
    wait_for(lambda: running(here))
    program.process.send_signal(signal.SIGINT)
    code, said = program.ended()

    assert code == 5
    assert said.startswith("caught True\n")
    assert "Xqute(resume=True) or `xqute resume " in said
    assert alive() == {}


def test_the_jobs_of_a_program_that_is_killed_by_force_run_on_and_say_how_they_ended(
    here, tmp_path, alive, start
):
    line = "'touch $HERE/up.$XQUTE_JOB_ID; until [ -e $HERE/go ]; do sleep 0.02; done'"
    program = start(RUN.replace("LINE", line))
    wait_for(lambda: running(here, {"up.1", "up.2"}))
    program.process.kill()
    code, _ = program.ended()
    (here / "go").touch()
    files = [tmp_path / "meta" / id_ / "job.status" for id_ in "12"]

    assert code == -signal.SIGKILL
    wait_for(lambda: all("FINISHED 0" in file.read_text() for file in files))
    wait_for(lambda: alive() == {})


@pytest.fixture
def left_nothing(here, tmp_path, alive):
    """That a program ends with this exit status, its jobs are in these, and nothing of them lives."""

    def left_nothing(program, expected, became):
        code, said = program.ended()

        assert alive() == {}
        assert code == expected, said
        assert "Task was destroyed" not in said
        assert recorded(tmp_path / "meta") == became

    return left_nothing


#: Where a program ends itself, and what its exit status is without any job.
WAYS = {
    "sys.exit in the block": ("sys.exit(7)", 7),
    "KeyboardInterrupt in the block": ("raise KeyboardInterrupt", -signal.SIGINT),
    "an exception in the block": ("raise ValueError('mine')", 1),
    "sys.exit in another task": (
        "other = asyncio.create_task(_exit()); await asyncio.sleep(300)",
        7,
    ),
    "KeyboardInterrupt in a callback": (
        "asyncio.get_running_loop().call_soon(_interrupt); await asyncio.sleep(300)",
        -signal.SIGINT,
    ),
}


@pytest.mark.parametrize(("line", "expected"), WAYS.values(), ids=WAYS.keys())
def test_a_program_that_ends_itself_has_its_own_exit_status_and_leaves_nothing(
    start, left_nothing, line, expected
):
    source = f"""
def _interrupt():
    raise KeyboardInterrupt
async def _exit():
    sys.exit(7)
async def main():
    async with Xqute(job_metadir=META, scheduler_forks=2, grace=0.3) as xqute:
        await xqute.push_many([LINE] * 2)
        await until(lambda: there("up.1", "up.2", "session.1", "session.2"))
        {line}
asyncio.run(main())
"""
    left_nothing(start(source), expected, [JobStatus.KILLED] * 2)


#: Hooks, and what becomes of two jobs when all their calls end the program: the first runs on until it is
#: stopped, the second ends well when the first is there.
ENDING_HOOKS = {
    "on_init": (JobStatus.QUEUED, JobStatus.QUEUED),
    "on_job_started": (JobStatus.KILLED, JobStatus.FINISHED),
    "on_job_finishing": (JobStatus.KILLED, JobStatus.KILLED),
    "on_job_succeeded": (JobStatus.KILLED, JobStatus.FINISHED),
}


@pytest.mark.parametrize(("hook", "became"), ENDING_HOOKS.items(), ids=ENDING_HOOKS.keys())
@pytest.mark.parametrize(
    ("line", "expected"), [("sys.exit(7)", 7), ("raise KeyboardInterrupt", -signal.SIGINT)]
)
def test_a_hook_that_ends_the_program_ends_it_and_the_run_winds_down(
    start, left_nothing, hook, became, line, expected
):
    arguments = "scheduler" if hook == "on_init" else "scheduler, job"
    end = "" if hook == "on_init" else "await until(lambda: there('up.1', 'session.1', '../meta/2/job.rc')); "
    source = f"""
class Ends:
    @simplug.impl
    async def {hook}(self, {arguments}):
        {end}{line}
async def main():
    xqute = Xqute(job_metadir=META, scheduler_forks=2, grace=0.3, plugins=[Ends()])
    await xqute.push(LINE)
    await xqute.push("until [ -e $HERE/up.1 ]; do sleep 0.02; done")
    await xqute.run_until_complete()
asyncio.run(main())
"""
    left_nothing(start(source), expected, list(became))


@pytest.mark.parametrize("hook", ["on_job_killed", "on_complete", "on_shutdown"])
@pytest.mark.parametrize(
    ("line", "expected"), [("sys.exit(7)", 7), ("raise KeyboardInterrupt", -signal.SIGINT)]
)
def test_a_hook_that_ends_the_program_while_the_run_winds_down_leaves_nothing(
    start, left_nothing, hook, line, expected
):
    arguments = {"on_job_killed": "scheduler, job", "on_complete": "scheduler"}
    source = f"""
class Ends:
    @simplug.impl
    async def {hook}(self, {arguments.get(hook, "scheduler, consumer")}):
        {line}
async def main():
    xqute = Xqute(job_metadir=META, scheduler_forks=2, grace=0.3, plugins=[Ends()])
    await xqute.push_many([LINE] * 2)
    running = asyncio.create_task(xqute.run_until_complete())
    await until(lambda: there("up.1", "up.2", "session.1", "session.2"))
    xqute.request_stop("enough")
    await running
asyncio.run(main())
"""
    left_nothing(start(source), expected, [JobStatus.KILLED] * 2)


# What the host program had before


STATE = """
import threading, warnings
def state():
    return {
        "handlers": [str(signal.getsignal(n)) for n in range(1, 32) if n not in (9, 19)],
        "policy": str(type(asyncio.get_event_loop_policy())),
        "logging": [str(logging.getLogger(name).handlers) + str(logging.getLogger(name).level)
                    for name in ("", "xqute", "asyncio")],
        "disabled": logging.root.manager.disable,
        "cwd": os.getcwd(),
        "umask": os.umask(os.umask(0o22)),
        "hooks": [str(sys.excepthook), str(threading.excepthook), str(sys.unraisablehook)],
        "warnings": len(warnings.filters),
        "mask": str(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "wakeup": signal.set_wakeup_fd(-1),
        "threads": threading.active_count(),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "environ": dict(os.environ),
    }
class Bad:
    @simplug.impl
    async def on_job_killed(self, scheduler, job):
        raise RuntimeError
async def main(end, lines, **options):
    async with Xqute(job_metadir=META, scheduler_forks=2, grace=0.3, **options) as xqute:
        await xqute.push_many(lines)
        if LINE in lines:
            await until(lambda: there("up.2", "up.3", "session.2", "session.3"))
        end(xqute)
        await asyncio.sleep(0 if lines == [["true"]] else 300)
def fail(xqute):
    raise ValueError
def nothing(xqute):
    pass
def interrupt(xqute):
    os.kill(os.getpid(), signal.SIGINT)
def cancel(xqute):
    asyncio.current_task().cancel()
logging.getLogger("xqute")
logging.disable()
os.umask(0o27)
asyncio.run(main(nothing, [["true"]]))  # what is loaded and made once
before = state()
try:
    asyncio.run(END)
except BaseException as exc:
    print(type(exc).__name__)
after = state()
print({key: (before[key], after[key]) for key in before if before[key] != after[key]})
try:
    print(os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    print("no child")
"""

ENDS = {
    "all jobs ended": ("main(nothing, [['true']])", ""),
    "an exception in the block": ("main(fail, [LINE] * 2)", "ValueError\n"),
    "Ctrl-C": ("main(interrupt, [LINE] * 2)", "KeyboardInterrupt\n"),
    "a cancellation": ("main(cancel, [LINE] * 2)", "CancelledError\n"),
    "a bug in a hook": ("main(fail, [LINE] * 2, plugins=[Bad()])", "ValueError\n"),
}


@pytest.mark.parametrize(("end", "raised"), ENDS.values(), ids=ENDS.keys())
def test_the_program_is_afterwards_as_it_was_without_a_child_or_a_thread_more(
    here, alive, start, end, raised
):
    code, said = start(STATE.replace("END)", end + ")")).ended()

    assert (code, said) == (0, raised + "{}\nno child\n")
    assert alive() == {}


OWN_HANDLER = """
called = []
def mine(number, frame):
    called.append(number)
signal.signal(signal.SIGTERM, mine)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
async def main():
    xqute = Xqute(job_metadir=META, grace=0.3)
    await xqute.push("touch $HERE/up; while ! [ -e $HERE/go ]; do sleep 0.02; done; touch $HERE/done")
    running = asyncio.create_task(xqute.run_until_complete())
    await until(lambda: called)
    open(os.environ["HERE"] + "/go", "w").close()
    report = await running
    print(report.ok, called, signal.getsignal(signal.SIGTERM) is mine,
          signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)
asyncio.run(main())
"""


def test_a_programs_own_handlers_are_called_and_left_alone(here, alive, start):
    program = start(OWN_HANDLER)
    wait_for((here / "up").exists)
    program.process.send_signal(signal.SIGHUP)
    program.process.send_signal(signal.SIGTERM)
    code, said = program.ended()

    assert (code, said) == (0, "True [15] True True\n")
    assert (here / "done").exists()


OWN_LOOP_HANDLER = """
called = []
async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, called.append, "loop")
    for number in (1, 2):
        xqute = Xqute(job_metadir=META, grace=0.3)
        line = "touch $HERE/up.%s; until [ -e $HERE/go.$XQUTE_JOB_ID ]; do sleep 0.02; done"
        await xqute.push(line % number)
        running = asyncio.create_task(xqute.run_until_complete())
        await until(lambda: there("up.%s" % number))
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: len(called) == number * 2 - 1)
        open(os.environ["HERE"] + "/go.%s" % number, "w").close()
        print((await running).ok, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: len(called) == number * 2)
    print(called)
asyncio.run(main())
"""


def test_a_handler_that_the_program_gave_its_event_loop_is_called_during_and_after_the_run(
    here, alive, start
):
    code, said = start(OWN_LOOP_HANDLER).ended()

    assert (code, said) == (0, "True\nTrue\n['loop', 'loop', 'loop', 'loop']\n")


WAKEUP = """
import socket
mine, other = socket.socketpair()
for end in (mine, other):
    end.setblocking(False)
signal.set_wakeup_fd(mine.fileno())
async def main():
    xqute = Xqute(job_metadir=META)
    await xqute.push(["true"])
    await xqute.run_until_complete()
asyncio.run(main())
print(signal.set_wakeup_fd(-1) == mine.fileno())
"""


def test_a_wakeup_descriptor_of_the_program_is_left_alone(here, alive, start):
    code, said = start(WAKEUP).ended()

    assert (code, said) == (0, "True\n")


# Leaks


def no_children() -> bool:
    """Neither a running child nor the status of one that ended."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    print("there is a child:", found)
    return False


@pytest.fixture(autouse=True)
def _each_test_has_only_its_own_children():
    yield
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


async def others(*known) -> list[str]:
    """Tasks beside this one; what ends by itself in a moment has that moment."""
    left = asyncio.all_tasks() - {asyncio.current_task(), *known}
    if left:
        _, left = await asyncio.wait(left, timeout=5)
    return sorted(task.get_name() for task in left)


async def run_it(xqute: Xqute) -> None:
    await xqute.push_many(["setsid sleep 300 & sleep 300", ["true"]])
    await xqute.run_until_complete()


async def run_block(xqute: Xqute) -> None:
    async with xqute:
        await xqute.push_many(["setsid sleep 300 & sleep 300", ["true"]])


async def await_job(xqute: Xqute) -> None:
    async with xqute:
        [slow, _] = await xqute.push_many(["setsid sleep 300 & sleep 300", ["true"]])
        await slow


async def end_soon(xqute: Xqute) -> None:
    await xqute.push_many([["true"], ["true"]])
    await xqute.run_until_complete()


@pytest.mark.parametrize(
    "stride", [pytest.param(11, id="some"), pytest.param(1, id="all", marks=pytest.mark.soak)]
)
@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("way", [run_it, run_block, await_job, end_soon])
async def test_a_cancellation_at_any_moment_passes_through_and_leaks_nothing(make, alive, way, again, stride):
    await end_soon(make())
    before = descriptors()
    for steps in range(0, 61, stride):
        xqute = make(scheduler_forks=2)
        task = asyncio.create_task(way(xqute))
        for _ in range(steps):
            await asyncio.sleep(0)
        done = task.done()
        task.cancel()
        if again:
            for _ in range(steps % 7):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task], timeout=20)

        assert task.done()
        assert task.cancelled() or done, f"after {steps} steps: {task}"
        assert await others() == [], f"after {steps} steps"
        assert alive() == {}, f"after {steps} steps"
        assert no_children(), f"after {steps} steps"
        del xqute, task
        gc.collect()
        assert descriptors() <= before, f"after {steps} steps"


async def test_a_run_that_is_cancelled_when_it_has_just_ended_closes_its_store(make, monkeypatch, alive):
    """Between the end of the engine and the report there are steps too."""
    await end_soon(make())
    before = descriptors()
    page = SqliteStore.page

    async def slowly(self, query):
        asking.set()
        await asyncio.sleep(0.05)
        return await page(self, query)

    asking = asyncio.Event()
    monkeypatch.setattr(SqliteStore, "page", slowly)
    xqute = make()
    await xqute.push(["false"])
    task = asyncio.create_task(xqute.run_until_complete())
    await asking.wait()
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert await others() == []
    assert descriptors() <= before


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, TimeoutError, GeneratorExit])
async def test_an_exception_in_the_block_passes_through_and_leaks_nothing(make, here, alive, error):
    await end_soon(make())
    before = descriptors()
    with pytest.raises(error):  # noqa: PT012  what raises is the last line
        async with make(scheduler_forks=2) as xqute:
            job = await xqute.push("setsid sleep 300 & touch $HERE/up; sleep 300")
            await until((here / "up").exists)
            raise error

    assert job.status is JobStatus.KILLED
    assert await others() == []
    assert alive() == {}
    assert no_children()
    assert descriptors() <= before


# Bugs


#: Parts of an engine, and a door of each.
PARTS = [
    (Watcher, "run"),
    (Watcher, "follow"),
    (Watcher, "_judge"),
    (Submitter, "run"),
    (Submitter, "fill"),
    (Claimer, "claim"),
    (Claimer, "give_back"),
    (Lifecycle, "apply"),
    (Concluder, "conclude"),
    (Concluder, "_count_failure"),
    (Recorder, "flush"),
    (SqliteStore, "claim"),
    (SqliteStore, "record"),
    (LocalScheduler, "submit_jobs_nowait"),
    (LocalScheduler, "kill_jobs"),
    (LocalScheduler, "poll_jobs"),
    (metadir, "read_news"),
    (metadir, "write_script"),
]


#: Called by the event loop itself: nobody gets what it raises.
LOOK = (LocalScheduler, "_look", 1)


@pytest.mark.parametrize(
    ("part", "name", "nth"),
    [
        *((part, name, 1) for part, name in PARTS),
        LOOK,
        *(pytest.param(part, name, 3, marks=pytest.mark.soak) for part, name in PARTS),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_a_bug_of_the_engine_ends_or_passes_and_leaves_nothing(
    make, here, alive, monkeypatch, part, name, nth
):
    """Whoever waits gets the bug or a proper end, soon; nothing hangs, and nothing stays behind."""
    await end_soon(make())
    before = descriptors()
    original, calls = getattr(part, name), []
    coroutine = asyncio.iscoroutinefunction(original)

    def broken(*args, **options):
        calls.append(name)
        if len(calls) == nth:
            raise RuntimeError("a bug of the engine")
        return original(*args, **options)

    async def broken_coroutine(*args, **options):
        return await broken(*args, **options)

    xqute = make(scheduler_forks=2, job_error_strategy="halt")
    await xqute.push_many([["true"], ["true"], "setsid sleep 300 & sleep 300", "sleep 0.3; exit 1"])
    monkeypatch.setattr(part, name, broken_coroutine if coroutine else broken)
    try:
        async with asyncio.timeout(20):
            await xqute.run_until_complete()
        outcome = None
    except RuntimeError as exc:
        outcome = exc
    monkeypatch.undo()

    assert outcome is None or str(outcome) == "a bug of the engine"
    assert carriers_of(xqute) == {}
    assert await others() == []
    assert no_children()
    assert descriptors() <= before


def carriers_of(xqute: Xqute) -> dict[int, str]:
    """Processes with the marks of its jobs."""
    return {pid: line for job in xqute.jobs for pid, line in carriers(f"XQUTE_JOB={job.mark}").items()}


HOOKS = [
    *("on_init", "on_complete", "on_shutdown"),
    *("on_job_init", "on_job_queued", "on_job_submitted", "on_job_started", "on_job_event"),
    *("on_job_finishing", "on_job_succeeded", "on_job_failed", "on_job_killing", "on_job_killed"),
]


def bad(hook: str, body: str):
    names = {"on_init": "scheduler", "on_complete": "scheduler", "on_shutdown": "scheduler, consumer"}
    arguments = names.get(hook, "scheduler, job, event" if hook == "on_job_event" else "scheduler, job")
    scope = {"asyncio": asyncio, "time": time}
    exec(f"async def {hook}(self, {arguments}):\n    {body}", scope)
    return type("Bad", (), {"name": "bad plugin", hook: simplug.impl(scope[hook])})()


BODIES = {
    "raises": "raise ValueError('a bug of the plugin')",
    "hangs": "await asyncio.sleep(300)",
    "blocks": "time.sleep(0.06)",
    "swallows its cancellation": (
        "\n    try:\n        await asyncio.sleep(300)\n    except asyncio.CancelledError:\n        pass"
    ),
}


#: Each hook with each body; a third of the pairs in an ordinary run, and each hook and body in it.
@pytest.mark.parametrize(
    "third", [0, pytest.param(1, marks=pytest.mark.soak), pytest.param(2, marks=pytest.mark.soak)]
)
@pytest.mark.parametrize(("place", "body"), list(enumerate(BODIES.values())), ids=BODIES.keys())
async def test_no_hook_harms_the_jobs_or_the_run_and_its_plugin_is_named(
    make, here, alive, monkeypatch, caplog, place, body, third
):
    monkeypatch.setattr(plugin, "HOOK_SLOW_SECONDS", 0.06)
    monkeypatch.setattr(plugin, "HOOK_MAX_SECONDS", 0.12)
    monkeypatch.setattr(plugin, "HOOK_BLOCKS_SECONDS", 0.05)
    for number, hook in enumerate(HOOKS[(place + third) % 3 :: 3]):
        caplog.clear()
        xqute = make(plugins=[bad(hook, body)], scheduler_forks=3)
        with caplog.at_level(logging.WARNING):
            async with asyncio.timeout(20), xqute:
                good = await xqute.push(["true"])
                wrong = await xqute.push(["false"])
                slow = await xqute.push(f"setsid sleep 300 & touch $HERE/{number}; sleep 300")
                await until((here / str(number)).exists)
                await slow.kill()

        statuses = [job.status.name for job in (good, wrong, slow)]
        assert statuses == ["FINISHED", "FAILED", "KILLED"], hook
        assert "bad plugin" in caplog.text or hook == "on_job_event" or body == BODIES["blocks"], hook
        assert alive() == {}, hook
        assert await others() == [], hook


def test_a_hook_that_hangs_at_the_end_does_not_keep_ctrl_c_from_ending_the_program(
    here, tmp_path, alive, start
):
    source = """
class Hangs:
    @simplug.impl
    async def on_job_killed(self, scheduler, job):
        open(os.environ["HERE"] + "/hangs", "w").close()
        await asyncio.sleep(300)
async def main():
    xqute = Xqute(job_metadir=META, scheduler_forks=2, grace=0.3, plugins=[Hangs()])
    await xqute.push_many([LINE] * 2)
    await xqute.run_until_complete()
asyncio.run(main())
"""
    program = start(source, terminal=True)
    wait_for(lambda: running(here))
    program.type(b"\x03")
    wait_for((here / "hangs").exists)
    program.type(b"\x03")
    code, _ = program.ended(20)

    assert code == -signal.SIGINT
    assert alive() == {}
    assert recorded(tmp_path / "meta") == [JobStatus.KILLED] * 2


def test_a_stop_that_takes_longer_says_what_it_waits_for_and_how_to_go_on(start, here, alive):
    program = start(RUN_STUBBORN)
    wait_for(lambda: running(here))

    program.process.send_signal(signal.SIGINT)
    said = program.process.stderr.readline().decode()
    program.process.send_signal(signal.SIGINT)
    _, rest = program.ended()

    assert (
        "2 job(s) were asked to end, and are forced 60 s after that; a second Ctrl-C forces them now" in said
    )
    assert "was interrupted: 2 of 2 jobs have not ended well; Xqute(resume=True) or `xqute resume " in rest
    assert alive() == {}
