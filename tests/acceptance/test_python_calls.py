"""Python calls: what they return and raise, how they are killed, and what they say while they run."""

import asyncio
import functools
import hashlib
import importlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.acceptance import tasks
from tests.acceptance.conftest import until
from tests.acceptance.tasks import add, show, step
from xqute import (
    JobFailed,
    JobKilled,
    JobNotFound,
    JobStatus,
    MetadirError,
    OptionError,
    Xqute,
    XquteError,
    cmd,
    current_job,
    simplug,
    task,
)

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def result_of(run_one):
    """What a call returns, when it runs as a job."""

    async def run(call, **push):
        return await (await run_one(call, **push))

    return run


# Functions


def plain(a, b=2):
    return a * b


async def asynchronous(a):
    await asyncio.sleep(0)
    return a + 1


class Counter:
    def __init__(self, start):
        self.start = start

    def more(self, by=1):
        return self.start + by

    def __call__(self):
        return self.start


async def test_plain_and_asynchronous_functions_can_be_pushed_as_they_are(result_of):
    assert await result_of(functools.partial(plain, 4)) == 8
    assert await result_of(functools.partial(plain, 4, b=5)) == 20
    assert await result_of(functools.partial(asynchronous, 1)) == 2
    assert await result_of(os.getcwd) == os.getcwd()


async def test_lambdas_closures_methods_and_callables_travel_by_value(result_of):
    outer = {"k": [1, 2]}

    def closure():
        return outer["k"]

    assert await result_of(lambda: 6 * 7) == 42
    assert await result_of(closure) == [1, 2]
    assert await result_of(Counter(5).more) == 6
    assert await result_of(Counter(7)) == 7


async def test_a_task_called_by_its_fn_runs_here_and_now():
    assert add.fn.__name__ == "add"
    assert show.fn(1, a=2) == ((1,), {"a": 2})


async def test_wrong_arguments_are_an_error_where_the_call_is_written(make):
    @task
    def two(a, b):
        return a, b

    with pytest.raises(TypeError, match="two"):
        two(1)
    with pytest.raises(TypeError, match="two"):
        two(1, 2, 3)
    with pytest.raises(TypeError):
        await make().push(functools.partial(plain, 1, 2, 3))


async def test_generator_functions_are_refused_with_a_sentence(make):
    def numbers():
        yield 1

    async def later():
        yield 1

    for function in (numbers, later):
        with pytest.raises(OptionError, match="generator"):
            task(function)
        with pytest.raises(OptionError, match="generator"):
            await make().push(function)


async def test_the_call_runs_where_and_with_what_it_was_pushed(result_of, tmp_path):
    def where():
        return os.getcwd(), sys.executable, sys.version_info[:2]

    assert await result_of(where) == (os.getcwd(), sys.executable, sys.version_info[:2])
    assert (await result_of(where, cwd=tmp_path))[0] == str(tmp_path)


async def test_env_and_stdin_reach_a_call_and_its_output_is_captured(run_one, tmp_path):
    (tmp_path / "in").write_text("from a file")

    def talk():
        print("out", os.environ["GREETING"])
        print("err", file=sys.stderr)
        os.system("echo from a child")
        return sys.stdin.read()

    job = await run_one(talk, env={"GREETING": "it's é"}, stdin=tmp_path / "in")

    assert await job == "from a file"
    assert job.stdout_file.read_text() == "out it's é\nfrom a child\n"
    assert job.stderr_file.read_text() == "err\n"


# Results


@pytest.mark.parametrize(
    "value",
    [None, 0, "é\udcff", b"\0\xff", [1, [2]], {"a": {1, 2}}, 10**40, Path("/x"), float("inf")],
    ids=repr,
)
async def test_a_result_comes_back_as_it_was(result_of, value):
    ((back,), _) = await result_of(show(value))

    assert back == value
    assert type(back) is type(value)


async def test_a_result_of_megabytes_comes_back_and_goes_on_into_another_call(make):
    xqute = make()
    made = tasks.many_bytes(5 << 20)

    async with xqute:
        known = await xqute.push(tasks.digest_of(made))
        data = await (await xqute.get(known.needs[0]))

        assert len(data) == 5 << 20
        assert await known == hashlib.sha256(data).hexdigest()


async def test_a_result_of_a_hundred_megabytes_is_whole(make):
    xqute = make()
    size = 100 << 20

    async with xqute:
        digest = await xqute.push(tasks.digest_of(tasks.many_bytes(size)))
        told = await digest
        job = await xqute.get(digest.needs[0])
        data = await job

    assert len(data) == size
    assert hashlib.sha256(data).hexdigest() == told
    assert (job.metadir / "job.result.txt").stat().st_size <= 4096
    (job.metadir / "job.result").unlink()  # nobody needs it in the temporary folder of the tests


async def test_a_damaged_result_is_an_error_and_never_another_value(run_one):
    job = await run_one(show("precious"))
    path = job.metadir / "job.result"
    data = bytearray(path.read_bytes())

    data[-3] ^= 1
    path.write_bytes(data)

    with pytest.raises(Exception, match=r"job\.result"):
        await job


@pytest.mark.parametrize("call", [tasks.return_a_lock(), tasks.return_a_generator()], ids=str)
async def test_a_result_that_cant_be_kept_fails_the_job_and_says_what_it_was(run_one, call):
    job = await run_one(call)

    assert job.status is JobStatus.FAILED
    assert ("lock" in str(job.reason)) or ("generator" in str(job.reason))
    with pytest.raises(JobFailed):
        await job


async def test_a_result_that_does_not_fit_on_the_disk_is_no_success_and_nobody_gets_half_of_it(make):
    xqute = make()
    parent = await xqute.push(tasks.digest_of(tasks.too_large_for_the_disk()))

    await xqute.run_until_complete()

    job = await xqute.get(parent.needs[0])
    assert job.status is JobStatus.FAILED
    assert "File too large" in str(job.reason)
    assert not (job.metadir / "job.result").exists()
    assert parent.start == 0


@pytest.mark.parametrize("content", [b"", b"xqute result 1 "], ids=["empty", "half"])
async def test_a_result_that_is_not_all_there_fails_those_who_need_it_with_its_path(make, content):
    xqute = make()
    job = await xqute.push(show("precious"))
    await xqute.run_until_complete()
    (job.metadir / "job.result").write_bytes(content)

    parent = await xqute.push(show(job))
    await xqute.run_until_complete()

    assert parent.status is JobStatus.FAILED
    assert "1/job.result" in str(parent.exception())
    with pytest.raises(MetadirError, match=r"1/job\.result"):
        await job


# Exceptions


async def test_what_a_call_raised_is_the_cause_of_what_await_raises(run_one):
    job = await run_one(tasks.fail("on purpose: é"))

    with pytest.raises(JobFailed, match="ValueError: on purpose: é") as caught:
        await job
    assert type(caught.value.__cause__) is ValueError
    assert str(caught.value.__cause__) == "on purpose: é"
    assert str(job.reason) == "EXIT 1: ValueError: on purpose: é"


async def test_an_exception_comes_with_its_own_cause(run_one):
    job = await run_one(tasks.raise_from())

    told = json.loads((job.metadir / "job.error").read_text())
    assert (told["type"], told["message"]) == ("ValueError", "nothing of that name")
    assert (told["cause"]["type"], told["cause"]["message"]) == ("KeyError", "'missing'")
    with pytest.raises(JobFailed) as caught:
        await job
    raised = caught.value.__cause__
    assert isinstance(raised, ValueError)
    assert isinstance(raised.__cause__, KeyError)


async def test_the_traceback_is_kept_with_lines_and_locals(run_one):
    job = await run_one(tasks.raise_with_locals())

    told = json.loads((job.metadir / "job.error").read_text())
    frame = told["frames"][-1]
    assert frame["function"] == "raise_with_locals"
    assert any("raise LookupError" in text for _, text in frame["context"])
    assert frame["locals"]["wanted"] == "{'frame': 17}"
    assert len(frame["locals"]["long"]) <= 1024
    assert "raise LookupError" in job.stderr_file.read_text()


async def test_an_exception_that_cant_be_pickled_is_kept_as_text(run_one):
    job = await run_one(tasks.raise_unsendable())

    assert str(job.reason) == "EXIT 1: Unsendable: it holds a lock"
    with pytest.raises(JobFailed, match="it holds a lock"):
        await job


async def test_a_call_that_fails_is_tried_again_as_a_command_is(make, here):
    xqute = make()

    job = await xqute.push(tasks.gated("gate"), error_strategy="retry", retries=5, retry_delay="50ms")
    async with xqute:
        await until(lambda: job.reason.code == "RETRY_DELAY" or job.attempt > 1)
        (here / "gate.open").touch()
        assert await job == "gate"

    assert job.attempt > 1


# Functions that are not there


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that can be changed behind the back of whoever imported it."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    path = folder / f"own_{os.getpid()}_{abs(hash(tmp_path))}.py"
    path.write_text("def work():\n    return 'done'\n")
    yield importlib.import_module(path.stem), path
    sys.modules.pop(path.stem, None)


async def test_a_module_that_is_gone_fails_its_own_job_only(make, module):
    mine, path = module
    xqute = make()
    lost, good = await xqute.push(mine.work), await xqute.push(add(1, 2))

    path.rename(path.with_name("renamed.py"))
    report = await xqute.run_until_complete()

    assert (lost.status, good.status) == (JobStatus.FAILED, JobStatus.FINISHED)
    assert path.stem in str(lost.reason)
    assert report.counts == {JobStatus.FAILED: 1, JobStatus.FINISHED: 1}


async def test_a_function_that_was_renamed_after_the_push_is_named(make, module):
    mine, path = module
    xqute = make()
    job = await xqute.push(mine.work)

    path.write_text("def renamed():\n    return 'done'\n")
    await xqute.run_until_complete()

    assert job.status is JobStatus.FAILED
    assert "work" in str(job.reason)
    assert "renamed or removed" in str(job.reason)


async def test_a_module_that_cant_be_imported_says_why(make, module):
    mine, path = module
    xqute = make()
    job = await xqute.push(mine.work)

    path.write_text("import no_such_module_anywhere\n")
    await xqute.run_until_complete()

    assert "no_such_module_anywhere" in str(job.reason)


SCRIPT = """
import asyncio, os, sys
from xqute import Xqute, task
print("imported as", __name__, flush=True)

@task
def double(n):
    return Box(2 * n)

class Box:
    def __init__(self, n):
        self.n = n

async def main():
    xqute = Xqute(job_metadir=os.environ["META"])
    boxes = await xqute.map(double, range(3))
    async with xqute:
        print([type(await box) is Box and (await box).n for box in boxes])
"""
GUARDED = SCRIPT + 'if __name__ == "__main__":\n    asyncio.run(main())\n'
UNGUARDED = SCRIPT + "asyncio.run(main())\n"


def run_script(folder: Path, source: str) -> subprocess.CompletedProcess:
    script = folder / "my script.py"
    script.write_text(source)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "META": str(folder / "meta")}
    return subprocess.run(
        [sys.executable, script],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_functions_and_classes_of_a_script_are_found_again(tmp_path):
    ended = run_script(tmp_path, GUARDED)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["imported as __main__", "[0, 2, 4]"]


def test_a_script_without_a_guard_gets_one_clear_error_and_no_fork_bomb(tmp_path, alive):
    ended = run_script(tmp_path, UNGUARDED)

    assert ended.returncode != 0
    assert 'if __name__ == "__main__":' in ended.stderr
    assert len(list((tmp_path / "meta").glob("[0-9]*"))) == 3
    assert alive() == {}


def test_functions_of_a_program_on_stdin_travel_by_value(tmp_path):
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "META": str(tmp_path / "meta")}

    ended = subprocess.run(
        [sys.executable, "-"],
        input=GUARDED,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.stdout.splitlines()[1:] == ["[0, 2, 4]"], ended.stderr


# Killing


@pytest.mark.parametrize("sleeper", [tasks.sleep_sync, tasks.sleep_async], ids=["sync", "async"])
async def test_a_killed_call_runs_its_finally_and_is_never_finished(make, here, marked, sleeper):
    xqute = make()
    job = await xqute.push(sleeper("s"))

    async with xqute:
        await until((here / "s.up").exists)
        assert await job.kill(grace=20)

    assert (here / "s.finally").exists()
    assert job.status is JobStatus.KILLED
    assert marked(job) == set()
    with pytest.raises(JobKilled):
        await job


@pytest.mark.parametrize("function", [tasks.deaf, tasks.stubborn], ids=["in C code", "catching all"])
async def test_a_call_that_does_not_listen_is_ended_after_the_grace(make, here, marked, alive, function):
    xqute = make()
    job = await xqute.push(function("d"))

    async with xqute:
        await until((here / "d.up").exists)
        assert await job.kill(grace=0.3)

    assert job.status is JobStatus.KILLED
    assert not (here / "d.finally").exists()
    assert marked(job) == set()


async def test_a_killed_call_takes_the_processes_with_it_that_it_started(make, here, alive):
    xqute = make()
    job = await xqute.push(tasks.parent_of_sleepers("p"))

    async with xqute:
        await until(lambda: any("sleep 300" in line for line in alive().values()))
        assert await job.kill(grace=10)
        await until(lambda: not any("sleep 300" in line for line in alive().values()))

    assert job.status is JobStatus.KILLED


async def test_a_killed_shell_job_takes_its_children_with_it(make, here, marked):
    xqute = make()
    job = await xqute.push(f"setsid sleep 300 & sleep 300 & touch '{here}/up'; wait; sleep 300")

    async with xqute:
        await until((here / "up").exists)
        assert await job.kill(grace=0.5)

    assert job.status is JobStatus.KILLED
    assert marked(job) == set()


async def test_calls_that_wait_or_are_queued_are_killed_without_ever_running(make, here):
    xqute = make(scheduler_forks=1)
    runs = await xqute.push(tasks.held("runs"))
    queued = await xqute.push(step("queued"))
    waiting = await xqute.push(step("waiting", runs))

    async with xqute:
        await until((here / "order").exists)
        states = [queued.status, waiting.status]
        assert await queued.kill()
        assert await waiting.kill()
        (here / "runs.open").touch()
        assert await runs == "runs"

    assert states == [JobStatus.QUEUED, JobStatus.WAITING]
    assert [queued.status, waiting.status] == [JobStatus.KILLED] * 2
    assert (here / "order").read_text() == "runs\n"


async def test_a_finished_call_cant_be_killed(make):
    xqute = make()
    job = await xqute.push(add(1, 2))
    async with xqute:
        await job

        assert await job.kill() is False

    assert job.status is JobStatus.FINISHED


async def test_a_call_that_ran_too_long_runs_its_finally_and_has_failed(run_one, here):
    job = await run_one(tasks.sleep_sync("s"), timeout="1s", grace=20)

    assert job.status is JobStatus.FAILED
    assert job.reason.code == "TIMEOUT"
    assert (here / "s.finally").exists()


async def test_a_call_can_see_that_it_is_to_stop(make, here):
    def polite():
        tasks.mark("up")
        try:
            threading.Event().wait(300)
        finally:
            tasks.mark("asked", str(current_job().kill_requested))

    xqute = make()
    job = await xqute.push(polite)
    async with xqute:
        await until((here / "up").exists)
        await job.kill(grace=20)

    assert (here / "asked").read_text() == "True\n"


# While it runs

LINES = 200_000


@pytest.mark.parametrize("count", [tasks.count_lines, tasks.count_lines_sync], ids=["async", "sync"])
async def test_every_line_of_a_commands_output_has_been_seen_when_it_ends(run_one, count):
    job = await run_one(count(f"seq {LINES} & seq {LINES} >&2; wait", LINES))

    assert await job == [LINES, LINES, 1, 1, LINES]
    assert len(job.stdout_file.read_bytes().splitlines()) == LINES
    assert len(job.stderr_file.read_bytes().splitlines()) == LINES


async def test_a_callback_that_raises_ends_the_command_and_fails_the_call(run_one, alive):
    async def watch():
        def see(line):
            if line.startswith("ERROR"):
                raise RuntimeError(line)

        await current_job().run("echo fine; echo ERROR: no light; sleep 300", on_stdout=see)

    job = await run_one(watch)

    assert str(job.reason) == "EXIT 1: RuntimeError: ERROR: no light"
    assert not any("sleep 300" in line for line in alive().values())


async def test_a_command_that_fails_inside_a_call_is_told_with_its_words(run_one):
    async def broken():
        await current_job().run("echo it went wrong >&2; exit 7")

    job = await run_one(broken)

    assert "status 7" in str(job.reason)
    assert "it went wrong" in str(job.exception())


async def test_progress_groups_are_summed_and_may_go_down(run_one):
    def report():
        job = current_job()
        job.progress(1, 10, group=("a", "x"))
        job.progress(3, 10, group=("a", "y"))
        job.progress(5, 20, "b", group=("b",))
        job.progress(9, 10, group=("a", "x"))
        job.progress(2, 10, group=("a", "x"))

    job = await run_one(report)

    assert (job.progress.current, job.progress.total) == (10, 40)
    assert job.progress.children["a"].percent == 25
    assert job.progress.children["b"].message == "b"


async def test_steps_name_the_stage_and_move_the_progress_by_themselves(run_one):
    def first():
        return current_job().metadir

    def second():
        current_job().progress(1, 2)
        raise RuntimeError("in the second")

    def whole():
        for each in current_job().steps(first, second, first):
            each()

    job = await run_one(whole)

    assert job.progress.stage == "second"
    assert job.progress.percent == pytest.approx(100 * 2.5 / 5)


async def test_log_records_come_with_level_place_and_traceback(run_one):
    def work():
        import logging

        log = logging.getLogger("mine")
        log.debug("quiet")
        log.warning("loud %d", 1)
        try:
            int("x")
        except ValueError:
            log.exception("it broke")

    job = await run_one(work)

    lines = await job.logs("WARNING")
    assert [(line.level, line.logger, line.text) for line in lines] == [
        ("WARNING", "mine", "loud 1"),
        ("ERROR", "mine", "it broke"),
    ]
    assert lines[0].file == __file__
    assert "ValueError" in lines[1].error


@pytest.fixture
def events():
    """A plugin that notes what jobs say."""
    heard = []

    class Ear:
        @simplug.impl
        async def on_job_event(self, scheduler, job, event):
            heard.append((job.id, event))

    return Ear(), heard


async def test_a_shell_job_reports_by_plain_echo(run_one, events):
    ear, heard = events
    job = await run_one(
        """echo "stage align" >> "$XQUTE_JOB_EVENTS"
echo "progress 3 10 frame 3" >> "$XQUTE_JOB_EVENTS"
echo "log warning low light" >> "$XQUTE_JOB_EVENTS"
echo "some other words" >> "$XQUTE_JOB_EVENTS"
""",
        options={"plugins": [ear]},
    )

    assert job.status is JobStatus.FINISHED
    assert (job.progress.stage, job.progress.percent, job.progress.message) == ("align", 30, "frame 3")
    logged = [(line.level, line.text) for line in await job.logs()]
    assert logged == [("WARNING", "low light"), ("INFO", "some other words")]
    assert heard[:3] == [(1, "stage align"), (1, "progress 3 10 frame 3"), (1, "log warning low light")]
    assert any("some other words" in event for _, event in heard)


async def test_events_are_heard_while_the_job_runs(make, here, events):
    ear, heard = events
    xqute = make(plugins=[ear])
    line = f"""echo "progress 1 2" >> "$XQUTE_JOB_EVENTS"
until [ -e '{here}/heard' ]; do sleep 0.01; done
echo "progress 2 2" >> "$XQUTE_JOB_EVENTS" """

    async with xqute:
        job = await xqute.push(line)
        await until(lambda: (1, "progress 1 2") in heard)
        assert job.status is JobStatus.RUNNING
        (here / "heard").touch()

    assert [event for _, event in heard] == ["progress 1 2", "progress 2 2"]


@pytest.mark.parametrize("call", ['echo "skip all is new" >> "$XQUTE_JOB_EVENTS"', tasks.skip("all is new")])
async def test_what_has_nothing_to_do_is_skipped_with_its_reason(run_one, call):
    job = await run_one(call)

    assert job.status is JobStatus.SKIPPED
    assert str(job.reason) == "SKIPPED: all is new"
    assert await job is None


async def test_a_shell_job_that_says_skip_and_fails_has_failed(run_one):
    job = await run_one('echo "skip all is new" >> "$XQUTE_JOB_EVENTS"; exit 3')

    assert job.status is JobStatus.FAILED
    assert job.rc == 3


async def test_a_job_that_fills_its_events_with_nonsense_harms_nobody(run_one):
    job = await run_one(
        r"""head -c 100000 /dev/urandom >> "$XQUTE_JOB_EVENTS"
printf 'progress nan inf\nprogress\nprogress x y\n\n\0\nrequire ../../etc/passwd\n%05000d\n' 1 \
    >> "$XQUTE_JOB_EVENTS"; exit 1"""
    )

    assert job.status is JobStatus.FAILED
    assert job.progress.percent >= 0
    assert isinstance(await job.logs(), list)


# Where it runs


@pytest.mark.parametrize(
    ("how", "reason"), [("exit", "EXIT 3"), ("abort", "SIGNAL 6"), ("crash", "SIGNAL 11")]
)
async def test_a_call_that_takes_its_process_down_harms_no_other(make, how, reason):
    xqute = make(scheduler_forks=4)
    bad = await xqute.push(tasks.leave(how))

    good = await xqute.map(add, range(20), [1] * 20)
    worse = await xqute.push(tasks.leave(how))
    more = await xqute.map(add, range(20), [2] * 20)
    await xqute.run_until_complete()

    assert [str(bad.reason).split(":")[0], str(worse.reason).split(":")[0]] == [reason, reason]
    assert [await job for job in good] == list(range(1, 21))
    assert [await job for job in more] == list(range(2, 22))


async def test_calls_of_a_task_that_allows_it_share_a_process_and_fail_one_by_one(make):
    xqute = make(scheduler_forks=2)

    jobs = await xqute.map(tasks.reused, [1, 2, -1, 3, 4, 5, 6])
    await xqute.run_until_complete()

    bad, *good = [jobs[2], *jobs[:2], *jobs[3:]]
    told = [await job for job in good]
    assert str(bad.reason) == "EXIT 1: ValueError: -1 is too small"
    assert len({pid for pid, _, _ in told}) <= 2
    assert max(seen for _, seen, _ in told) > 1
    assert [id_ for _, _, id_ in told] == [job.id for job in good]


async def test_calls_of_any_other_task_have_a_process_each(make):
    def count():
        tasks.SEEN.append(1)
        return os.getpid(), len(tasks.SEEN)

    xqute = make(scheduler_forks=2)
    jobs = [await xqute.push(count) for _ in range(6)]
    lonely = [await xqute.push(tasks.alone()) for _ in range(2)]
    await xqute.run_until_complete()

    told = [await job for job in jobs]
    assert len({pid for pid, _ in told}) == 6
    assert {seen for _, seen in told} == {1}
    assert len({(await job)[0] for job in lonely}) == 2


async def test_what_a_call_does_to_its_environment_is_not_seen_by_the_next(make, tmp_path):
    def spoil():
        os.environ["SPOILT"] = "yes"
        os.chdir("/")
        sys.path.clear()
        sys.stdout.close()

    def look():
        return os.environ.get("SPOILT"), os.getcwd(), bool(sys.path)

    xqute = make()
    await xqute.push_many([spoil, spoil])
    job = await xqute.push(look, cwd=tmp_path)
    await xqute.run_until_complete()

    assert await job == (None, str(tmp_path), True)


async def test_a_call_pushed_by_another_version_of_python_is_refused_clearly(make, metadir):
    xqute = make()
    job = await xqute.push(add(1, 2))
    [place] = (metadir / ".places").glob("*.json")
    told = json.loads(place.read_text())
    told["version"] = [3, 9]
    place.write_text(json.dumps(told))

    await xqute.run_until_complete()

    assert job.status is JobStatus.FAILED
    assert "pushed by Python 3.9" in str(job.reason)


async def test_why_a_call_does_not_run_is_its_reason(make, here):
    xqute = make(scheduler_forks=1)
    runs = await xqute.push(tasks.held("runs"))
    behind = await xqute.push(step("behind"))
    needing = await xqute.push(step("needing", runs))
    before = [job.reason.code for job in (runs, behind, needing)]

    async with xqute:
        await until((here / "order").exists)
        while_it_runs = [job.reason.code for job in (behind, needing)]
        told = str(needing.reason)
        (here / "runs.open").touch()

    assert before == ["ACCEPTED", "ACCEPTED", "NEEDS"]
    assert while_it_runs == ["FORKS", "NEEDS"]
    assert told == f"needs {runs.id}"


# Cleaning up


@pytest.fixture
def undone(here):
    """The names whose cleanup has run."""

    def read() -> list[str]:
        path = here / "undone"
        return path.read_text().split() if path.exists() else []

    return read


async def test_a_call_that_failed_for_good_is_cleaned_up_after_once(make, undone):
    xqute = make(job_error_strategy="retry", job_num_retries=2, retry_delay="10ms")
    job = await xqute.push(tasks.undone("a", "fail"))

    await xqute.run_until_complete()

    assert job.attempt == 3
    assert undone() == ["a"]
    assert await xqute.find(top=True) == [job]


async def test_a_call_that_fails_again_after_a_retry_is_cleaned_up_after_again(make, undone):
    xqute = make()
    job = await xqute.push(tasks.undone("a", "fail"))
    await xqute.run_until_complete()

    await job.retry()
    await xqute.run_until_complete()

    assert job.start == 2
    assert undone() == ["a", "a"]


async def test_a_call_killed_before_it_started_is_cleaned_up_after(make, undone, here):
    xqute = make(scheduler_forks=1)
    blocker = await xqute.push(tasks.held("blocker"))
    job = await xqute.push(tasks.undone("b", "sleep"))

    async with xqute:
        await until((here / "order").exists)
        assert await job.kill()
        (here / "blocker.open").touch()
        await blocker

    assert undone() == ["b"]
    assert not (here / "b.up").exists()


async def test_a_call_killed_while_it_runs_is_cleaned_up_after_its_own_finally(make, undone, here):
    xqute = make()
    job = await xqute.push(tasks.undone("c", "sleep"))

    async with xqute:
        await until((here / "c.up").exists)
        assert await job.kill(grace=20)

    assert (here / "c.finally").exists()
    assert undone() == ["c"]


async def test_a_call_that_ended_well_is_not_cleaned_up_after(make, undone):
    @task
    def fine():
        return 1

    @fine.cleanup
    def undo(job):
        tasks.mark("undone", "fine")

    xqute = make()
    await xqute.push(fine())
    report = await xqute.run_until_complete()

    assert report.counts == {JobStatus.FINISHED: 1}
    assert undone() == []


async def test_a_cleanup_that_fails_is_a_failed_job_of_its_own(make):
    xqute = make()
    job = await xqute.push(tasks.badly_undone())

    report = await xqute.run_until_complete()

    assert "it went wrong" in str(job.reason)
    assert [failure.reason for failure in report.failures] == [
        "EXIT 1: RuntimeError: it went wrong",
        "EXIT 1: RuntimeError: and so did its cleanup",
    ]
    assert report.failures[1].title.startswith("cleanup of 1")


# Deleting


async def test_a_deleted_call_is_cleaned_up_after_and_gone(make, undone):
    xqute = make()
    job, other = await xqute.push(tasks.undone("d", "well")), await xqute.push(add(1, 2))
    await xqute.run_until_complete()
    before = undone()

    await job.delete()

    assert before == []
    assert undone() == ["d"]
    assert not os.path.exists(job.directory)
    with pytest.raises(JobNotFound):
        await xqute.get(job.id)
    assert await other == 3


async def test_a_call_that_was_cleaned_up_after_is_deleted_without_another_cleanup(make, undone):
    xqute = make()
    job = await xqute.push(tasks.undone("e", "fail"))
    await xqute.run_until_complete()

    await job.delete()

    assert undone() == ["e"]
    assert job not in await xqute.find()


async def test_a_call_that_runs_is_deleted_by_force_only(make, undone, here):
    xqute = make()
    job = await xqute.push(tasks.undone("f", "sleep"), grace=20)
    async with xqute:
        await until((here / "f.up").exists)
        with pytest.raises(XquteError, match="has not ended"):
            await job.delete()

        await job.delete(force=True)

    assert (here / "f.finally").exists()
    assert undone() == ["f"]
    assert job not in await xqute.find()


async def test_a_call_that_others_wait_for_is_not_deleted(make, here):
    xqute = make()
    job = await xqute.push(add(1, 2))
    parent = await xqute.push(show(job, tasks.held("other")))
    async with xqute:
        await job
        with pytest.raises(XquteError, match="waits for it"):
            await job.delete()
        (here / "other.open").touch()
        assert await parent == ((3, "other"), {})

        await job.delete()

    assert job not in await xqute.find()
    assert await parent == ((3, "other"), {})


async def test_a_call_whose_cleanup_fails_is_kept(make):
    xqute = make()
    job = await xqute.push(tasks.badly_undone())
    await xqute.run_until_complete()

    with pytest.raises(JobFailed, match="and so did its cleanup"):
        await job.delete()

    assert job in await xqute.find()
    assert os.path.isdir(job.directory)


async def test_what_was_deleted_runs_again_when_its_script_does(make, here):
    first = make()
    job = await first.push(add(1, 2))
    await first.run_until_complete()
    await job.delete()
    await first.run_until_complete()

    second = make(resume=True)
    again = await second.push(add(1, 2))

    assert await again == 3
    assert not again.cached
    assert (here / "add").read_text().splitlines() == ["(1, 2)"] * 2


# Threads, ids and other surroundings


async def test_the_job_knows_itself_inside_and_in_what_it_starts(run_one):
    def know(number, name="x"):
        job = current_job()
        below = job.run_sync([sys.executable, "-c", "from xqute import current_job; print(current_job().id)"])
        return job.id, job.attempt, job.start, str(job.metadir), job.args, job.kwargs, int(below)

    job = await run_one(functools.partial(know, 7, name="y"))

    assert await job == (1, 1, 1, str(job.metadir), (7,), {"name": "y"}, 1)


async def test_outside_of_a_job_there_is_no_current_one(monkeypatch):
    monkeypatch.delenv("XQUTE_JOB_METADIR", raising=False)

    with pytest.raises(LookupError, match="no current job"):
        current_job()


async def test_a_call_may_manage_jobs_of_its_own(run_one, tmp_path):
    async def manager():
        xqute = Xqute(job_metadir=tmp_path / "inner")
        job = await xqute.push(add(20, 1))
        async with xqute:
            return await job, await (await xqute.push(cmd("echo", job)))

    job = await run_one(manager)

    assert await job == (21, "21")
