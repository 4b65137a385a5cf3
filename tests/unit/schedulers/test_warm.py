"""Python calls in warm processes of the local scheduler: real processes, real files."""

# ruff: noqa: ASYNC220, ASYNC240  what would block a program is instant here

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.unit.schedulers.hosting import BOUND, Host, alive, gone, opened, status
from tests.waiting import until
from xqute.inside.results import read_result
from xqute.schedulers.local import LocalScheduler, processes, scheduler, starting, warm
from xqute.states import FileState, Presence

MODULE = """
import atexit, os, random, signal, subprocess, sys, tempfile, threading, time

count = 0
folder = tempfile.TemporaryDirectory()

def whoami():
    return os.getpid(), os.getppid(), os.getsid(0)

def counted():
    global count
    count += 1
    return os.getpid(), count

def has_folder():
    return os.path.isdir(folder.name)

def say(*words):
    print(*words)
    print("error", file=sys.stderr)
    return os.getcwd(), sys.stdin.read(), os.environ.get("GIVEN"), os.environ["XQUTE_JOB_START"]

def fail():
    raise KeyError("no")

def leave(rc):
    os._exit(rc)

def segfault():
    os.kill(os.getpid(), signal.SIGSEGV)

def wait(news, go):
    with open(news, "w") as file:
        print(os.getpid(), file=file)
    with open(go, "rb", buffering=0) as file:
        return file.read(3).decode()

def disguised(news, go):
    with open("/proc/self/stat", "rb") as file:
        begin, end = map(int, file.read().rpartition(b")")[2].split()[47:49])
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(begin)
        memory.write(b"x" * (end - begin))
    return wait(news, go)

def polite(news, told):
    try:
        with open(news, "w") as file:
            print(os.getpid(), file=file)
        time.sleep(60)
    finally:
        with open(told, "w") as file:
            file.write("tidied up")

def stubborn(news):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    with open(news, "w") as file:
        print(child.pid, file=file)
    time.sleep(60)

def leave_child(news):
    child = subprocess.Popen(["sh", "-c", f"echo $$ >{news}; exec sleep 60"])

def leave_thread():
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()

def _write(path):
    with open(path, "w") as file:
        file.write("written")

def at_exit(path):
    atexit.register(_write, path)

def in_thread(path):
    threading.Timer(0.1, _write, [path]).start()

def draw():
    return random.random()

def spoil():
    os.environ["SPOILT"] = "yes"
    os.environ.pop("HOME", None)
    os.chdir("/")
    os.umask(0o777)
    os.close(0)

def spoilt():
    return os.environ.get("SPOILT"), "HOME" in os.environ
"""


class Calls:
    """A host whose calls are served by warm processes."""

    def __init__(self, host: Host) -> None:
        self.host = host
        Path(host.keeper.root, "calls.py").write_text(MODULE)

    async def start(self, name, *args, module="calls", **options):
        job = await self.host.call(f"{module}:{name}", *map(_plain, args), **options)
        await self.host.submit(job)
        return job

    async def result(self, name, *args, **options):
        job = await self.start(name, *args, **options)
        await self.host.end(job)
        assert status(job).state is FileState.FINISHED, Path(job.directory, "job.stderr").read_text()
        return result(job)

    @property
    def runners(self):
        return list(self.host.scheduler._warm._runners.values())

    @property
    def workers(self):
        return [worker for workers in self.host.scheduler._warm._workers.values() for worker in workers]

    async def warmed(self, module="calls"):
        """Call until a runner is there; its number."""
        for _ in range(warm.WORTH):
            await self.result("whoami", module=module)
        await until(lambda: any(runner.ready for runner in self.runners))
        return self.runners[-1].pid


def _plain(argument):
    return str(argument) if isinstance(argument, Path) else argument


def result(job):
    return read_result(f"{job.directory}/job.result", lambda: None)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """pytest changes a variable from phase to phase; another environment takes another process."""

    def without():
        kept = starting.snapshot()
        kept.pop(b"PYTEST_CURRENT_TEST", None)
        return kept

    monkeypatch.setattr(scheduler, "snapshot", without)


@pytest.fixture
async def calls(tmp_path):
    local = LocalScheduler()
    async with opened(local, tmp_path) as host:
        yield Calls(host)
        await local.kill_jobs(list(local._running))


@pytest.fixture(params=[False, True], ids=["fork", "reuse"])
async def kind(request, calls):
    """How calls are served; a process for them is there."""
    if not request.param:
        await calls.warmed()
    return {"reuse": request.param}


@pytest.fixture(params=["cold", "fork", "reuse"])
async def way(request, calls):
    """All ways to serve a call, the shell wrapper among them, whose word and files are the measure."""
    if request.param == "fork":
        await calls.warmed()
    return {"fork": request.param != "cold", "reuse": request.param == "reuse"}


def children() -> set[int]:
    """Processes of this program, dead or alive."""
    found = set()
    for pid in processes.pids():
        try:
            parent = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1]
        except OSError:
            continue
        if int(parent) == os.getpid():
            found.add(pid)
    return found


# Copies


async def test_a_call_runs_in_a_copy_of_the_process_that_imported_its_module(calls) -> None:
    runner = await calls.warmed()

    job = await calls.start("whoami")
    await calls.host.end(job)

    assert result(job) == (int(job.uid), runner, int(job.uid))
    assert job.usage.keys() <= {"wall", "cpu", "peak"}
    assert job.usage["cpu"] > 0


async def test_every_call_has_a_fresh_process(calls) -> None:
    await calls.warmed()

    seen = [await calls.result("counted") for _ in range(12)]

    assert {count for _, count in seen} == {1}
    assert len({pid for pid, _ in seen}) == 12


async def test_a_call_that_asks_for_no_copy_begins_in_a_fresh_interpreter(calls) -> None:
    await calls.warmed()

    job = await calls.start("whoami", fork=False)
    await calls.host.end(job)

    assert result(job)[1] == int(job.uid)  # its parent is the wrapper


async def test_a_prescript_is_the_business_of_a_shell(calls) -> None:
    runner = await calls.warmed()
    calls.host.scheduler.prescript = "export GIVEN=1"

    assert (await calls.result("whoami"))[1] != runner


async def test_what_the_module_made_for_its_process_outlives_the_copies(calls) -> None:
    await calls.warmed()

    assert [await calls.result("has_folder") for _ in range(3)] == [True] * 3


async def test_what_the_module_made_for_its_process_goes_with_it(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "folders"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    async with opened(LocalScheduler(), tmp_path) as host:
        await Calls(host).warmed()
        assert list(folder.iterdir())

    assert list(folder.iterdir()) == []


async def test_calls_that_come_together_wait_for_their_process(calls, monkeypatch) -> None:
    monkeypatch.setattr(warm, "PATIENCE_SECONDS", BOUND)
    jobs = [await calls.host.call("calls:whoami") for _ in range(3)]

    assert calls.host.scheduler.submit_jobs_nowait(jobs) is None
    await calls.host.submit(*jobs)
    for job in jobs:
        await calls.host.end(job)

    [runner] = calls.runners
    assert {result(job)[1] for job in jobs} == {runner.pid}


async def test_calls_whose_process_takes_long_begin_without_it(calls, monkeypatch) -> None:
    monkeypatch.setattr(warm, "PATIENCE_SECONDS", 0.0)
    jobs = [await calls.host.call("calls:whoami") for _ in range(3)]

    await calls.host.submit(*jobs)
    for job in jobs:
        await calls.host.end(job)

    assert {result(job)[1] for job in jobs} == {int(job.uid) for job in jobs}


async def test_one_call_alone_starts_no_process_besides_its_own(calls) -> None:
    await calls.result("whoami")

    assert calls.runners == []


@pytest.mark.parametrize("fork", [False, True], ids=["cold", "fork"])
@pytest.mark.parametrize(
    ("name", "args", "rc"), [("segfault", (), 139), ("leave", (3,), 3), ("leave", (0,), 0)]
)
async def test_a_crash_is_written_down_and_harms_no_other(
    calls, news, tmp_path, name, args, rc, fork
) -> None:
    await calls.warmed()
    go = tmp_path / "go"
    os.mkfifo(go)
    other = await calls.start("wait", news.path, go)
    await news.line()

    job = await calls.start(name, *args, fork=fork)
    await calls.host.end(job)

    assert status(job).rc == rc
    assert Path(job.directory, "job.rc").read_text() == f"{rc}\n"
    go.write_text("on\n")
    await calls.host.end(other)
    assert result(other) == "on\n"


async def test_a_call_goes_on_when_its_runner_dies(calls, news, go) -> None:
    runner = await calls.warmed()
    job = await calls.start("wait", news.path, go.path)
    await news.line()

    os.kill(runner, signal.SIGKILL)
    await until(lambda: not calls.runners)

    assert (await calls.host.answer(job)).presence is Presence.RUNNING
    go.tell("on")
    await calls.host.end(job)
    assert result(job) == "on\n"
    assert await calls.warmed() != runner


async def test_a_call_that_dies_without_its_runner_is_gone(calls, news, go) -> None:
    runner = await calls.warmed()
    job = await calls.start("wait", news.path, go.path)
    await news.line()
    os.kill(runner, signal.SIGKILL)
    await until(lambda: not calls.runners)

    os.kill(int(job.uid), signal.SIGKILL)
    await calls.host.end(job)

    assert (await calls.host.answer(job)).presence is Presence.GONE


THREADS = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (THREADS, "threads"),
        ("import sys\nif '--serve' in sys.orig_argv: raise RuntimeError('not here')", "not here"),
        ("import os, sys\nif '--serve' in sys.orig_argv: os._exit(0)", "it ended"),
    ],
    ids=["threads", "raises", "ends"],
)
async def test_a_module_that_cannot_be_warm_is_told_once(calls, tmp_path, caplog, text, why) -> None:
    (tmp_path / "cold.py").write_text(f"{text}\n{MODULE}")
    for _ in range(warm.WORTH):
        await calls.result("whoami", module="cold")
    await until(lambda: caplog.records)

    for _ in range(3):
        await calls.result("whoami", module="cold")

    [record] = caplog.records
    assert "cold" in record.getMessage()
    assert why in record.getMessage()


async def test_an_import_that_takes_too_long_is_given_up(calls, tmp_path, caplog, monkeypatch) -> None:
    monkeypatch.setattr(warm, "IMPORT_SECONDS", 0.2)
    slow = "import sys, time\nif '--serve' in sys.orig_argv: time.sleep(60)"
    (tmp_path / "slow.py").write_text(f"{slow}\n{MODULE}")

    for _ in range(warm.WORTH):
        await calls.result("whoami", module="slow")
    await until(lambda: caplog.records)

    assert "0.2 s" in caplog.records[0].getMessage()
    await until(lambda: not children())


async def test_another_environment_takes_another_process(calls, monkeypatch) -> None:
    runner = await calls.warmed()
    monkeypatch.setenv("GIVEN", "new")

    await calls.result("whoami")
    assert await calls.warmed() != runner
    calls.host.scheduler.notify(())

    job = await calls.host.call("calls:say", "x")
    await calls.host.submit(job)
    await calls.host.end(job)
    assert result(job)[2] == "new"


# Both kinds


async def test_a_call_has_its_own_files_and_environment(calls, way, tmp_path) -> None:
    source = tmp_path / "in"
    source.write_text("input")
    (tmp_path / "there").mkdir()

    job = await calls.start(
        "say", "hello", stdin=source, env={"GIVEN": "given"}, cwd=tmp_path / "there", **way
    )
    await calls.host.end(job)

    assert result(job) == (str(tmp_path / "there"), "input", "given", "1")
    assert Path(job.directory, "job.stdout").read_text() == "hello\n"
    assert Path(job.directory, "job.stderr").read_text() == "error\n"
    assert Path(job.directory, "job.rc").read_text() == "0\n"


async def test_output_goes_where_the_user_wants_it(calls, way, tmp_path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    out.write_text("what was there before, and was longer")

    job = await calls.start("say", "hello", stdout=out, stderr=err, **way)
    await calls.host.end(job)

    assert out.read_text() == "hello\n"
    assert err.read_text() == "error\n"
    assert not Path(job.directory, "job.stdout").exists()


@pytest.mark.parametrize(("option", "rc"), [("stdin", 2), ("stdout", 2), ("cwd", 126)])
async def test_a_file_that_cannot_be_had_fails_the_call(calls, way, option, rc) -> None:
    job = await calls.start("say", **{option: "/nonexistent/x"}, **way)
    await calls.host.end(job)

    assert status(job).rc == rc
    assert "/nonexistent/x" in Path(job.directory, "job.stderr").read_text()


async def test_an_exception_is_a_failure_and_its_traceback_is_there(calls, way) -> None:
    job = await calls.start("fail", **way)
    await calls.host.end(job)

    assert (status(job).state, status(job).rc) == (FileState.FAILED, 1)
    assert "KeyError" in Path(job.directory, "job.stderr").read_text()
    assert json.loads(Path(job.directory, "job.error").read_text())["type"] == "KeyError"


async def test_a_call_is_found_by_its_mark_and_script(calls, kind, news, go) -> None:
    job = await calls.start("wait", news.path, go.path, **kind)
    pid = await news.pid()

    assert pid == int(job.uid)
    assert processes.mark_of(pid) == job.mark.encode()
    assert await LocalScheduler().find_jobs([job]) == {job: pid}
    assert (await LocalScheduler().poll_jobs([job]))[job].presence is Presence.RUNNING
    go.tell("on")
    await calls.host.end(job)
    assert (await LocalScheduler().poll_jobs([job]))[job].presence is Presence.GONE


@pytest.mark.parametrize("fork", [False, True], ids=["cold", "fork"])
async def test_a_call_has_ended_when_what_it_registered_for_its_end_is_done(calls, fork, tmp_path) -> None:
    if fork:
        await calls.warmed()

    await calls.result("at_exit", tmp_path / "told", fork=fork)

    assert (tmp_path / "told").read_text() == "written"


async def test_a_call_has_ended_when_its_threads_have(calls, way, tmp_path) -> None:
    await calls.result("in_thread", tmp_path / "told", **way)

    assert (tmp_path / "told").read_text() == "written"


async def test_every_copy_draws_its_own_numbers(calls) -> None:
    await calls.warmed()

    assert len({await calls.result("draw") for _ in range(5)}) == 5


async def test_a_call_that_wrote_over_its_mark_is_still_known(calls, kind, news, go) -> None:
    job = await calls.start("disguised", news.path, go.path, **kind)
    pid = await news.pid()
    assert processes.mark_of(pid) == b""
    other = LocalScheduler()

    assert (await other.poll_jobs([job]))[job].presence is Presence.RUNNING
    Path(job.directory, "job.status").write_text("RUNNING 1\n")
    assert (await other.poll_jobs([job]))[job].presence is Presence.GONE
    go.tell("on")
    await calls.host.end(job)

    job = await calls.start("wait", news.path, go.path, **kind)
    assert processes.mark_of(await news.pid()) == job.mark.encode()
    go.tell("on")
    await calls.host.end(job)


async def test_a_second_copy_of_a_start_leaves_without_running(calls, way, tmp_path) -> None:
    job = await calls.host.call("calls:say", "hello", **way)
    claim = Path(job.directory, "job.status")
    claim.write_text("RUNNING 1\n")

    await calls.host.submit(job)
    await calls.host.end(job)

    assert claim.read_text() == "RUNNING 1\n"
    assert not Path(job.directory, "job.stdout").exists()


@pytest.mark.parametrize("name", ["job.stdout", "job.stderr"])
async def test_a_call_whose_output_files_cannot_be_made_is_given_back(calls, way, name) -> None:
    job = await calls.host.call("calls:say", "hello", **way)
    Path(job.directory, name).mkdir()

    await calls.host.submit(job)
    await calls.host.end(job)

    assert (await calls.host.answer(job)).reason.code == "DISK_FULL"
    assert status(job).state is FileState.ABSENT


async def test_a_kill_lets_a_call_tidy_up(calls, way, news, tmp_path) -> None:
    told = tmp_path / "told"
    job = await calls.start("polite", news.path, told, grace=BOUND, **way)
    await news.line()

    await calls.host.scheduler.kill_jobs([job])

    assert told.read_text() == "tidied up"
    assert Path(job.directory, "job.status").read_text().splitlines()[-1] == "FAILED 143 TERM"
    assert not alive(int(job.uid))
    assert await calls.result("counted", **way)


@pytest.mark.parametrize("name", ["HUP", "XCPU"])
async def test_a_signal_that_ends_a_call_is_told(calls, way, news, go, name) -> None:
    job = await calls.start("wait", news.path, go.path, **way)
    await news.line()

    os.killpg(int(job.uid), getattr(signal, f"SIG{name}"))
    await calls.host.end(job)

    rc = 128 + getattr(signal, f"SIG{name}")
    assert Path(job.directory, "job.status").read_text().splitlines()[-1] == f"FAILED {rc} {name}"


async def test_a_kill_ends_a_stubborn_call_and_what_escaped_it(calls, kind, news) -> None:
    job = await calls.start("stubborn", news.path, grace=0.1, **kind)
    escaped = await news.pid()

    await calls.host.scheduler.kill_jobs([job])

    assert not alive(escaped)
    assert not alive(int(job.uid))
    await calls.host.end(job)
    assert await calls.result("counted", **kind)


async def test_a_process_that_a_call_leaves_is_ended_after_the_grace(calls, kind, news) -> None:
    job = await calls.start("leave_child", news.path, grace=0.1, **kind)
    left = await news.pid()

    await calls.host.end(job)
    await gone(left)

    assert status(job).rc == 0


async def test_calls_of_another_manager_are_adopted_and_killed(kind, calls, news, go, tmp_path) -> None:
    job = await calls.start("wait", news.path, go.path, **kind)
    await news.line()
    other = LocalScheduler()
    async with opened(other, tmp_path) as successor:
        await other.adopt_jobs([job], rebooted=False)
        await other.kill_jobs([job])
        await successor.end(job)

    await calls.host.end(job)
    assert not alive(int(job.uid))


async def test_hundreds_of_calls_leave_nothing(calls, kind) -> None:
    await calls.result("whoami", **kind)
    before = len(os.listdir("/proc/self/fd"))
    jobs = [await calls.host.call("calls:whoami", **kind) for _ in range(100)]

    for job in jobs:
        await calls.host.submit(job)
        await calls.host.end(job)

    assert {status(job).rc for job in jobs} == {0}
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(children()) == 1


async def test_closing_ends_every_warm_process(tmp_path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with opened(LocalScheduler(), tmp_path) as host:
        calls = Calls(host)
        await calls.warmed()
        await calls.result("counted", reuse=True)
        assert len(children()) == 2

    assert children() == set()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("reuse", [False, True])
def test_a_call_goes_on_in_the_next_session(tmp_path, news, go, reuse) -> None:
    local = LocalScheduler()

    async def first():
        async with opened(local, tmp_path) as host:
            calls = Calls(host)
            await calls.warmed()
            job = await calls.start("wait", news.path, go.path, reuse=reuse)
            await news.line()
            return job

    async def second(job):
        async with opened(local, tmp_path) as host:
            assert (await host.answer(job)).presence is Presence.RUNNING
            go.tell("on")
            await host.end(job)
        await until(lambda: warm.wait_for_left() or not children())

    job = asyncio.run(first())
    asyncio.run(second(job))

    assert result(job) == "on\n"


async def test_what_nobody_needs_is_let_go(calls, kind, monkeypatch) -> None:
    monkeypatch.setattr(warm, "IDLE_SECONDS", 0.1)
    await calls.result("whoami", **kind)
    assert children()

    await until(lambda: calls.host.scheduler._warm._tidy() or not children())

    assert await calls.result("counted", **kind)


async def test_a_copy_that_got_a_job_a_moment_ago_can_be_killed(calls, news, go) -> None:
    await calls.warmed()
    [runner] = calls.runners
    await until(lambda: runner.spares)
    os.kill(runner._spares[0], signal.SIGSTOP)
    job = await calls.start("wait", news.path, go.path, grace=0.1)

    await calls.host.scheduler.kill_jobs([job])

    await calls.host.end(job)
    assert not Path(job.directory, "job.status").exists()


@pytest.mark.parametrize("reuse", [False, True])
async def test_nothing_begins_that_a_dead_manager_handed_over(tmp_path, reuse) -> None:
    manager = subprocess.Popen([sys.executable, "-c", HALTING, tmp_path, str(reuse)], stdout=subprocess.PIPE)
    pid, directory = manager.stdout.readline().decode().split()
    manager.kill()
    manager.communicate()

    os.kill(int(pid), signal.SIGCONT)
    await gone(int(pid))

    assert not Path(directory, "job.status").exists()


HALTING = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.unit.schedulers.test_warm import Calls, opened
from tests.waiting import until
from xqute.schedulers.local import LocalScheduler

async def main(root, reuse):
    async with opened(LocalScheduler(), Path(root)) as host:
        calls = Calls(host)
        if reuse == "True":
            [pid] = {(await calls.result("counted", reuse=True))[0]}
        else:
            await calls.warmed()
            await until(lambda: calls.runners[0].spares)
            pid = calls.runners[0]._spares[0]
        os.kill(pid, signal.SIGSTOP)
        job = await calls.start("counted", reuse=reuse == "True")
        assert int(job.uid) == pid
        print(pid, job.directory, flush=True)
        await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""

MANAGER = """
import asyncio, os, sys
from pathlib import Path
from tests.unit.schedulers.test_warm import Calls, opened
from xqute.schedulers.local import LocalScheduler

async def main(root, news, go, reuse):
    async with opened(LocalScheduler(), Path(root)) as host:
        calls = Calls(host)
        host.keeper.token = "manager"
        await calls.warmed()
        job = await calls.start("wait", news, go, reuse=reuse == "True")
        print(job.id, job.uid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_call_outlives_its_manager_and_is_adopted(tmp_path, news, go, kind) -> None:
    reuse = str(kind["reuse"])
    manager = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(MANAGER), tmp_path, news.path, go.path, reuse],
        stdout=subprocess.PIPE,
    )
    pid = await news.pid()
    uid = manager.stdout.readline().split()[1].decode()
    runner = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    manager.kill()
    manager.communicate()

    async with opened(LocalScheduler(), tmp_path) as host:
        host.keeper.token = "manager"
        host._count = warm.WORTH
        job = await host.call("calls:wait", "", "")
        job.uid = ""
        Path(job.directory, "job.status").write_text(f"RUNNING {uid}\n")
        assert await host.scheduler.find_jobs([job]) == {job: pid}
        job.uid = uid
        await host.scheduler.adopt_jobs([job], rebooted=False)
        go.tell("on")
        await host.end(job)

    assert not alive(pid)
    if not kind["reuse"]:
        await gone(runner)


# One process for many


async def test_one_process_serves_one_call_after_the_other(calls) -> None:
    seen = [await calls.result("counted", reuse=True) for _ in range(5)]

    assert len({pid for pid, _ in seen}) == 1
    assert [count for _, count in seen] == [1, 2, 3, 4, 5]


async def test_calls_at_the_same_time_have_processes_of_their_own(calls, news, go) -> None:
    jobs = [await calls.start("wait", news.path, go.path, reuse=True) for _ in range(3)]
    for _ in jobs:
        await news.line()

    assert len({job.uid for job in jobs}) == 3
    for _ in jobs:
        go.tell("on")
    for job in jobs:
        await calls.host.end(job)


@pytest.mark.parametrize(("name", "args"), [("fail", ()), ("leave_thread", ()), ("leave", (0,))])
async def test_a_call_that_leaves_its_process_in_doubt_is_its_last(calls, name, args) -> None:
    before, _ = await calls.result("counted", reuse=True)
    job = await calls.start(name, *args, reuse=True)
    await calls.host.end(job)

    after, count = await calls.result("counted", reuse=True)

    assert job.uid == str(before)
    assert (after != before, count) == (True, 1)
    await until(lambda: len(children()) == 1)


async def test_a_process_that_cannot_serve_is_nothing_that_happened_to_the_job(
    calls, monkeypatch, caplog
) -> None:
    plan = warm.Warm._plan

    def broken(*args):
        right = plan(*args)
        return right._replace(argv=(right.argv[0], "-c", "raise SystemExit(3)", *right.argv[-2:]))

    monkeypatch.setattr(warm.Warm, "_plan", broken)
    job = await calls.start("counted", reuse=True)
    await calls.host.end(job)

    answer = await calls.host.answer(job)
    assert (answer.presence, answer.reason) == (Presence.GONE, None)
    assert len(caplog.records) == 1
    assert (await calls.result("counted", reuse=True))[1] == 1


async def test_what_a_call_changed_is_as_before_for_the_next(calls) -> None:
    await calls.result("spoil", reuse=True)

    assert await calls.result("spoilt", reuse=True) == (None, "HOME" in os.environ)
    assert (await calls.result("say", "x", reuse=True))[:2] == (calls.host.keeper.root, "")
    assert len(calls.workers) == 1


async def test_a_process_without_a_call_is_nobodys(calls) -> None:
    job = await calls.start("counted", reuse=True)
    await calls.host.end(job)

    assert processes.mark_of(int(job.uid)) == b""
    assert job.script(calls.host.scheduler).encode() not in processes.arguments(int(job.uid))
    await calls.host.scheduler.kill_jobs([job])
    assert alive(int(job.uid))


async def test_a_process_that_dies_is_the_end_of_its_call(calls, news, go) -> None:
    job = await calls.start("wait", news.path, go.path, reuse=True)
    await news.line()

    os.kill(int(job.uid), signal.SIGKILL)
    await calls.host.end(job)

    assert (await calls.host.answer(job)).reason.detail["signal"] == signal.SIGKILL
    assert await calls.result("counted", reuse=True)
