"""A value that can't be meant is refused where it is given, and the error says what can be."""

import functools
from pathlib import Path

import pytest

from tests.acceptance.conftest import run_as_user
from tests.acceptance.tasks import add
from xqute import OptionError


def plain(a, b=2): ...


TEXT = "must be a str without NUL, also for several lines"


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        *(
            (f"scheduler_{which}", value, f"scheduler_{which}={value!r} {TEXT}")
            for which in ("prescript", "postscript", "jobprefix")
            for value in (["module load x"], 5, b"true", Path("/bin/true"), "a\0b", None)
        ),
        ("job_metadir", None, "job_metadir=None must be a path: a str, bytes or a Path"),
        ("job_metadir", 5, "job_metadir=5 must be a path: a str, bytes or a Path"),
        ("plugins", 5, "plugins=5 must be a list, also of one: plugins=[…]"),
        ("plugins", "x", "plugins='x' must be a list, also of one: plugins=[…]"),
        ("plugins", None, "plugins=None must be a list, also of one: plugins=[…]"),
        ("calls", 5, "calls= takes several calls, not 5: give a list of them: […]"),
        ("calls", add(1), "calls= takes several calls, not add: give a list of them: [add(1)]"),
    ],
)
async def test_a_wrong_argument_of_xqute_is_named_with_the_right_form(make, option, value, says):
    with pytest.raises(OptionError) as raised:
        make(**{option: value})

    assert str(raised.value) == says


async def test_a_function_is_no_list_of_plugins(make):
    with pytest.raises(OptionError, match=r"plugins=<built-in function print> must be a list, also of one"):
        make(plugins=print)


GONE = """
import asyncio, os
from xqute import OptionError, Xqute

async def main():
    os.mkdir("gone")
    os.chdir("gone")
    os.rmdir("../gone")
    for metadir in ("m", "/tmp"):
        try:
            Xqute(job_metadir=metadir)
        except OptionError as error:
            print(error)

asyncio.run(main())
"""


def test_a_program_whose_directory_was_removed_is_told(tmp_path):
    (tmp_path / "main.py").write_text(GONE)

    ended = run_as_user("main.py", cwd=tmp_path)

    sentence = "the directory this program is in was removed: change to one that is there, with os.chdir()"
    assert ended.stdout.splitlines() == [sentence] * 2, ended.stderr


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tag": 5}, "tag=5 must be a str"),
        ({"user": ["a"]}, "user=['a'] must be a str"),
        ({"name": b"a"}, "name=b'a' must be a str"),
        ({"run": 1}, "run=1 must be a str"),
        ({"task": add}, "task=<task add> must be a str: its name, 'add'"),
        ({"limit": "a"}, "limit='a' must be a whole number"),
        ({"limit": -1}, "limit=-1 must not be negative"),
        ({"limit": None}, "limit=None must be a whole number"),
        ({"status": 5}, "unknown status '5'"),
        ({"status": [5]}, "unknown status '5'"),
    ],
    ids=repr,
)
async def test_find_says_what_it_looks_for(make, given, says):
    with pytest.raises(OptionError) as raised:
        await make().find(**given)

    assert str(raised.value).partition(": known")[0] == says


@pytest.mark.parametrize("given", ["1", None, 1.0, True], ids=repr)
async def test_get_takes_a_number(make, given):
    with pytest.raises(OptionError, match=r"get\(\) takes the id of a job, a whole number, not "):
        await make().get(given)


async def test_get_takes_the_number_of_a_job_and_not_the_job(make):
    xqute = make()
    job = await xqute.push(["true"])

    with pytest.raises(OptionError, match=r"get\(\) takes the id of a job.*: give job\.id"):
        await xqute.get(job)
    assert await xqute.get(job.id) is job
    await xqute.run_until_complete()


async def test_as_completed_takes_jobs_that_were_pushed(make):
    xqute = make()
    job = await xqute.push(["true"])

    async def first(jobs):
        return await anext(xqute.as_completed(jobs))

    several = "as_completed() takes several jobs, not "
    for given, says in [
        (job, f"{several}job 1: give a list of them"),
        (None, f"{several}None: give a list of them"),
        ([job, xqute.push(["true"])], f"{several}a coroutine: await what pushes it"),
        ([add(1)], f"{several}add: push it first"),
        (["true"], f"{several}'true': push it first"),
    ]:
        with pytest.raises(OptionError) as raised:
            await first(given)
        assert str(raised.value).startswith(says)

    assert job.awaited == 0
    assert await first([job]) is job


@pytest.mark.parametrize(
    ("push", "says"),
    [
        (
            lambda xqute: xqute.push(plain, 1, "b"),
            "plain go into the call: give functools.partial(plain, 1, 'b')",
        ),
        (lambda xqute: xqute.push(plain, a=1), "plain go into the call: give functools.partial(plain, a=1)"),
        (lambda xqute: xqute.push(add, 1, 2), "add go into the call: give add(1, 2)"),
        (
            lambda xqute: xqute.map(plain, [1], b=3),
            "plain go into the call: give functools.partial(plain, b=3)",
        ),
    ],
    ids=["positions", "names", "task", "map"],
)
async def test_arguments_beside_a_function_go_into_its_call(make, push, says):
    with pytest.raises(OptionError) as raised:
        await push(make())

    assert str(raised.value) == f"arguments of {says}"


async def test_arguments_of_a_function_may_be_called_as_options_are(make):
    def titled(title="none"):
        return title

    assert await (await make().push(titled, title="of the job")) == "none"
    assert await (await make().push(functools.partial(titled, title="given"), title="of the job")) == "given"


async def test_several_commands_are_no_command(make):
    with pytest.raises(
        OptionError, match=r"push\(\) takes one call or command, .* not 'b' beside it: .*push_many"
    ):
        await make().push("echo", "b")


@pytest.mark.parametrize("given", ["true", b"true", add(1), add, 5], ids=repr)
async def test_push_many_takes_several(make, given):
    with pytest.raises(
        OptionError, match=r"push_many\(\) takes several calls, not .*: give a list of them: \["
    ):
        await make().push_many(given)
