"""Several stores in one program: a number means a job of one of them only, and so does a directory."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.tasks import add, require_of_another_store, show
from xqute import JobFailed, OptionError, Xqute, cmd
from xqute.engine.belonging import Mark, _write, newest
from xqute.owner import Owner
from xqute.settings import LEASE_SECONDS

pytestmark = pytest.mark.usefixtures("here")


# Jobs of another store


@pytest.fixture
async def both(tmp_path):
    """Two Xqutes that have nothing to do with each other."""
    return Xqute(job_metadir=tmp_path / "a"), Xqute(job_metadir=tmp_path / "b")


@pytest.mark.parametrize(
    "needing",
    [
        lambda job: cmd("echo", "got:", job),
        lambda job: ["echo", job],
        lambda job: add(job, 1),
        lambda job: show([{"deep": job}]),
        lambda job: cmd("true").after(job),
        lambda job: show(add(job, 1)),
    ],
    ids=["cmd", "list", "task", "deep", "after", "nested"],
)
@pytest.mark.parametrize("opened", [True, False], ids=["in use", "new"])
async def test_a_job_of_another_store_is_refused_by_name_and_nothing_is_stored(both, needing, opened):
    one, other = both
    job = await one.push("echo from one")
    if opened:
        await other.push("echo unrelated")

    with pytest.raises(OptionError) as info:
        await other.push(needing(job))

    told = str(info.value)
    assert told.startswith("job 1 (echo from one) is a job of another store")
    assert "await it" in told
    assert job.directory in told
    assert len(await other.find()) == len(other.jobs) == opened


async def test_a_job_that_was_looked_up_there_is_of_another_store_too(both):
    one, other = both
    await one.push("echo from one")
    await one.run_until_complete()

    for job in (await one.get(1), *await one.find()):
        with pytest.raises(OptionError, match="of another store"):
            await other.push(add(job, 1))


async def test_named_calls_with_a_job_of_another_store_are_neither_built_nor_told_of(both):
    one, other = both
    call = add(await one.push(add(1, 1)), 1).named("sum")

    with pytest.raises(OptionError, match="of another store"):
        await other.build(call)
    with pytest.raises(OptionError, match="of another store"):
        await other.status(call)
    assert await other.find() == []


async def test_the_result_of_a_job_of_another_store_can_be_given(both):
    one, other = both
    async with one, other:
        job = await one.push(add(1, 2))
        assert await (await other.push(add(await job, 1))) == 4


async def test_a_job_of_another_xqute_of_the_same_store_is_an_argument(make):
    one, other = make(), make()
    async with one, other:
        job = await one.push(add(1, 2))
        async with asyncio.timeout(30):
            assert await (await other.push(add(job, 1))) == 4


async def test_the_same_store_by_another_path_is_the_same_store(make, metadir, tmp_path):
    metadir.mkdir()
    (tmp_path / "link").symlink_to(metadir)
    one, other = make(), make(job_metadir=tmp_path / "link")
    async with one, other:
        job = await one.push(add(1, 2))
        async with asyncio.timeout(30):
            assert await (await other.push(add(job, 1))) == 4


async def test_what_a_job_requires_can_not_need_a_job_of_another_store(run_one, tmp_path):
    job = await run_one(require_of_another_store(str(tmp_path / "inner")))

    error = job.exception()
    assert isinstance(error, JobFailed)
    assert "is a job of another store" in str(error.__cause__)
    assert isinstance(error.__cause__, OptionError)


async def test_as_completed_waits_for_jobs_of_several_stores(both):
    one, other = both
    async with one, other:
        jobs = [await one.push("echo one"), await other.push("echo other")]
        async with asyncio.timeout(30):
            ended = [job async for job in other.as_completed(jobs)]
    assert sorted(job.result() for job in ended) == ["one", "other"]


# One metadir, one store


async def ran(xqute, text):
    """Run a command that prints this; its job."""
    job = await xqute.push(["echo", text])
    async with asyncio.timeout(30):
        await xqute.run_until_complete()
    return job


async def test_a_store_in_memory_does_not_take_the_directories_of_a_durable_one(make):
    await ran(make(), "durable")

    throwaway = make(store="memory://")
    with pytest.raises(OptionError) as info:
        await throwaway.push("echo THROWAWAY")

    told = str(info.value)
    assert "xqute.db" in told
    assert "memory://" in told
    assert "job_metadir=" in told
    with pytest.raises(OptionError):
        await throwaway.run_until_complete()
    again = make(resume=True)
    assert await (await again.push(["echo", "durable"])) == "durable"
    assert again.jobs[0].cached


async def test_the_directories_of_an_earlier_xqute_are_not_taken_either(make, metadir):
    await ran(make(), "durable")
    shutil.rmtree(metadir / ".store")

    with pytest.raises(OptionError, match=r"xqute\.db"):
        await make(store="memory://").push("echo THROWAWAY")
    assert (await ran(make(), "more")).result() == "more"
    assert os.listdir(metadir / ".store") == ["1"]


async def test_two_files_can_not_share_a_metadir(make, tmp_path):
    one, two = (f"sqlite://{tmp_path}/s{number}.db" for number in (1, 2))
    await ran(make(store=one), "one")

    with pytest.raises(OptionError) as info:
        await make(store=two).push("echo two")

    assert "s1.db" in str(info.value)
    assert "s2.db" in str(info.value)
    assert (await ran(make(store=one), "more")).result() == "more"


async def test_a_metadir_whose_store_was_deleted_is_free(make, metadir, tmp_path):
    await ran(make(store=f"sqlite://{tmp_path}/s1.db"), "one")
    (tmp_path / "s1.db").unlink()

    assert (await ran(make(), "two")).result() == "two"
    for path in metadir.glob("xqute.db*"):
        path.unlink()
    assert (await ran(make(), "three")).result() == "three"
    for path in metadir.glob("xqute.db*"):
        path.unlink()
    assert (await ran(make(store="memory://"), "four")).result() == "four"


def test_of_several_that_begin_at_the_same_time_one_has_the_metadir(tmp_path):
    program = f"""
import asyncio, sys
from xqute import OptionError, Xqute
async def main():
    xqute = Xqute(job_metadir={str(tmp_path / "meta")!r}, store=sys.argv[1])
    try:
        await xqute.push("echo here")
    except OptionError as error:
        print("refused" if "are those of" in str(error) else error)
    else:
        print("has it", flush=True)
        sys.stdin.read()
asyncio.run(main())
"""
    stores = ["memory://"] * 2 + [f"sqlite://{tmp_path}/s{number}.db" for number in (1, 2)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, store], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for store in stores
    ]
    with contextlib.ExitStack() as stack:
        for process in running:
            stack.callback(process.communicate)
        said = [process.stdout.readline().strip() for process in running]
    assert sorted(said) == ["has it", "refused", "refused", "refused"]


async def test_many_that_begin_at_the_same_time_agree_on_one(tmp_path):
    """Each finds a mark of somebody who has ended, and makes the next one."""
    _write(str(tmp_path), 1, Mark("old", "", lasting=False, owner=""))

    def claim(number):
        token = f"store {number}"
        while (found := newest(str(tmp_path)))[1].token == "old":
            _write(str(tmp_path), found[0] + 1, Mark(token, "", lasting=True, owner=""))
        return found[1].token

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(claim, range(64)))) == 1
    assert os.listdir(tmp_path / ".store") == ["2"]


SCRIPT = """
import asyncio, sys
from xqute import Xqute
async def main():
    xqute = Xqute(job_metadir=sys.argv[1], store="memory://")
    job = await xqute.push("echo this time")
    print(await job, flush=True)
    if len(sys.argv) > 2:
        await xqute.push("echo held")
        print("ready", flush=True)
        sys.stdin.read()
asyncio.run(main())
"""


def test_a_script_with_a_store_in_memory_can_be_run_again(metadir):
    for _ in range(2):
        said = subprocess.check_output([sys.executable, "-c", SCRIPT, metadir], text=True, timeout=60)
        assert said == "this time\n"


async def test_what_a_killed_program_had_in_memory_holds_nobody_up(metadir, make):
    with killed(metadir):
        with pytest.raises(OptionError, match=r"in the memory of process \d+"):
            await make(store="memory://").push("echo two")
        with pytest.raises(OptionError, match=r"in the memory of process \d+"):
            await make().push("echo durable")
    assert (await ran(make(store="memory://"), "memory")).result() == "memory"
    assert (await ran(make(), "durable")).result() == "durable"


@contextlib.contextmanager
def killed(metadir):
    """A program whose store in memory has a job; it is killed in the end."""
    command = [sys.executable, "-c", SCRIPT, metadir, "wait"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "this time\n"
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


async def test_a_store_in_the_memory_of_a_host_out_of_sight_is_believed_to_live_for_its_lease(make, metadir):
    metadir.mkdir()
    far = Owner.here()._replace(host="far-away")
    _write(str(metadir), 7, Mark("token", "", lasting=False, owner=str(far)))

    with pytest.raises(OptionError, match="on far-away"):
        await make(store="memory://").push("true")
    old = time.time() - LEASE_SECONDS - 1
    os.utime(metadir / ".store" / "7", (old, old))
    assert (await ran(make(store="memory://"), "here")).result() == "here"


async def test_two_stores_in_memory_have_a_metadir_one_after_the_other_and_keep_their_results(make):
    one, two = make(store="memory://"), make(store="memory://")
    async with one:
        job = await one.push("echo one")
        with pytest.raises(OptionError, match="in the memory of process"):
            await two.push("echo two")
    three = make(store="memory://")
    other = await ran(three, "three")

    assert (job.result(), other.result()) == ("one", "three")
    with pytest.raises(OptionError, match="given to another store meanwhile"):
        await one.push("echo more")


async def test_a_store_in_memory_that_nobody_holds_any_more_holds_nobody_up(make):
    await make(store="memory://").push("echo never")

    assert (await ran(make(store="memory://"), "two")).result() == "two"


async def test_one_store_has_one_metadir(make, metadir, tmp_path):
    store = f"sqlite://{tmp_path}/s.db"
    await ran(make(store=store), "one")

    with pytest.raises(OptionError) as info:
        await make(store=store, job_metadir=tmp_path / "other").find()

    assert f"give job_metadir={str(metadir)!r}" in str(info.value)
    assert str(tmp_path / "other") in str(info.value)
    assert (await ran(make(job_metadir=tmp_path / "other"), "two")).result() == "two"


async def test_the_default_store_belongs_to_the_metadir_it_is_in(make, metadir, tmp_path):
    await ran(make(), "one")

    with pytest.raises(OptionError, match="give job_metadir="):
        await make(job_metadir=tmp_path / "other", store=f"sqlite://{metadir}/xqute.db").find()


async def test_a_metadir_that_was_copied_or_moved_goes_on_there(make, metadir, tmp_path):
    await ran(make(), "one")
    shutil.copytree(metadir, tmp_path / "copy")
    copy = make(job_metadir=tmp_path / "copy")
    assert (await copy.get(1)).result() == "one"
    assert (await ran(copy, "in the copy")).id == 2
    assert (await ran(make(), "in the first")).id == 2

    metadir.rename(tmp_path / "moved")
    moved = make(job_metadir=tmp_path / "moved")
    assert (await moved.get(1)).result() == "one"
    assert (await ran(moved, "moved")).id == 3


async def test_a_metadir_that_was_moved_from_its_store_is_found_again(make, metadir, tmp_path):
    store = f"sqlite://{tmp_path}/s.db"
    await ran(make(store=store), "one")
    metadir.rename(tmp_path / "moved")

    moved = make(store=store, job_metadir=tmp_path / "moved")
    assert (await moved.get(1)).result() == "one"
    assert (await ran(moved, "moved")).result() == "moved"
    with pytest.raises(OptionError, match="moved"):
        await make(store=store).find()


def xqute(*words):
    """What a command says."""
    command = [sys.executable, "-m", "xqute", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


async def test_nothing_is_pruned_or_killed_of_a_metadir_that_is_another_stores(make, metadir, tmp_path):
    store = f"sqlite://{tmp_path}/s.db"
    job = await ran(make(), "durable")
    await ran(make(store=store, job_metadir=tmp_path / "its own"), "other")

    said = xqute("prune", "--yes", "--metadir", metadir, "--store", store)

    assert said.returncode == 1
    assert "are those of the store" in said.stderr
    assert job.result() == "durable"
