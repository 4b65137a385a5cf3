"""Python calls: where their functions are found, what they return, and what they raise."""

import asyncio
import functools
import hashlib
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance import tasks
from tests.acceptance.conftest import until
from tests.acceptance.tasks import add, show
from xqute import (
    JobFailed,
    JobStatus,
    MetadirError,
    OptionError,
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


async def test_a_large_buffer_comes_back_as_it_was(run_one):
    job = await run_one(tasks.buffer(200_000))

    assert bytes(job.result()["data"]) == bytes(200_000)


async def test_a_call_that_returns_a_call_is_told_what_to_do_instead(run_one):
    job = await run_one(tasks.returns_call())

    assert job.status is JobStatus.FAILED
    assert "current_job().require" in str(job.reason)
