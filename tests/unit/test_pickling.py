"""How calls leave the process: functions by name or value, arguments with holes for results, the place."""

import base64
import functools
import io
import itertools
import json
import math
import os
import pickle
import stat
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field

import pytest

from xqute.calls import cmd, task
from xqute.errors import OptionError
from xqute.pickling import digest_of_place, main_of, name_of, pickle_args, place, target_of, write_place


class Result(str):
    """What stands where a need was."""

    __slots__ = ()


class Reader(pickle.Unpickler):
    def persistent_load(self, number):
        return Result(f"result {number}")


class PushedJob:
    """What a job is recognised by."""

    __xqute_job__ = True

    def __init__(self, id_):
        self.id = id_


class Plain:
    def __init__(self, held):
        self.held = held


@dataclass(frozen=True)
class Shot:
    scene: object
    frames: tuple = ()
    extra: dict = field(default_factory=dict)


@task
def render(*args, **kwargs):
    return args, kwargs


def plain(x):
    return x


fast = task(priority=1)(plain)


def dumped(*args, **kwargs):
    pickled = pickle_args(args, kwargs, "call()")
    return Reader(io.BytesIO(pickled.data)).load(), list(pickled.needs)


# Arguments


def test_plain_arguments_come_back():
    arguments = (1, "a", None, [2.5, {"b": b"c"}]), {"named": {1, 2}}

    assert dumped(*arguments[0], **arguments[1]) == (arguments, [])


@pytest.mark.parametrize(
    ("holding", "there"),
    [
        (lambda need: [need], lambda got: got[0]),
        (lambda need: (1, need), lambda got: got[1]),
        (lambda need: {"key": [need]}, lambda got: got["key"][0]),
        (lambda need: {need: 1}, lambda got: next(iter(got))),
        (lambda need: {need}, lambda got: next(iter(got))),
        (Shot, lambda got: got.scene),
        (lambda need: Shot(1, (need,)), lambda got: got.frames[0]),
        (lambda need: Plain([Plain(need)]), lambda got: got.held[0].held),
        (lambda need: functools.partial(plain, need), lambda got: got()),
        (lambda need: lambda: need, lambda got: got()),
    ],
    ids="list tuple dict key set dataclass nested plain partial closure".split(),
)
def test_a_need_is_found_wherever_it_stands(holding, there):
    for need in (render(1), cmd("true"), PushedJob(7)):
        (args, _), needs = dumped(holding(need))

        assert there(args[0]) == Result("result 0")
        assert needs == [need]


def test_needs_are_counted_as_they_appear_and_once():
    a, b, job = render("a"), render("b"), PushedJob(3)

    (args, kwargs), needs = dumped([b, a], b, named=[PushedJob(3), a, job])

    assert needs[:2] == [b, a]
    assert [need.id for need in needs[2:]] == [3]
    assert args == (["result 0", "result 1"], "result 0")
    assert kwargs == {"named": ["result 2", "result 1", "result 2"]}


def test_needs_take_the_numbers_they_are_given():
    a, b = render("a"), render("b")

    pickled = pickle_args((a, b), {}, "call()", {id(a): 5, id(b): 2})

    assert Reader(io.BytesIO(pickled.data)).load() == (("result 5", "result 2"), {})


def test_arguments_without_a_name_go_by_value():
    class Local:
        def __init__(self, x):
            self.x = x

    (args, _), _ = dumped(lambda x: x + 1, Local(3))

    assert (args[0](1), args[1].x) == (2, 3)


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((1, (x for x in "a")), {}, r"argument 2 \(generator\) can't be pickled: it would .*: give a list$"),
        ((), {"file": sys.stdout}, r"file \(\w+\) can't be pickled"),
    ],
    ids=["generator", "file"],
)
def test_what_can_not_be_pickled_is_named(args, kwargs, says):
    with pytest.raises(OptionError, match=rf"can't push call\(\): {says}"):
        pickle_args(args, kwargs, "call()")


@pytest.mark.parametrize(
    "make",
    [
        lambda: map(render, [1, 2]),
        lambda: itertools.starmap(render, [(1,)]),
        lambda: (render(n) for n in (1, 2)),
        {"a": render(1)}.values,
        lambda: [{"deep": map(render, [1])}],
    ],
    ids=["map", "starmap", "generator", "view", "deep"],
)
def test_what_would_give_its_calls_in_the_job_only_is_refused(make):
    with pytest.raises(
        OptionError, match=r"it would give its items in the job.* call is inert: give a list$"
    ):
        pickle_args((make(),), {}, "call()")


def test_iterators_over_what_is_there_hold_its_calls():
    call = render(1)

    _, needs = dumped(iter([call]), zip([1], [call], strict=True))

    assert needs == [call]


def test_a_coroutine_is_to_be_awaited():
    async def later(): ...

    coroutine = later()
    with pytest.raises(OptionError, match=r"argument 1 \(coroutine\) can't be pickled: await it first"):
        pickle_args((coroutine,), {}, "call()")
    coroutine.close()


def test_what_refuses_to_be_pickled_is_named():
    class Stubborn:
        def __reduce__(self):
            raise RuntimeError("not me")

    with pytest.raises(OptionError, match=r"argument 1 \(Stubborn\) can't be pickled: not me"):
        pickle_args((Stubborn(),), {}, "call()")


def test_calls_that_are_made_while_pickling_can_not_be_numbered():
    class Maker:
        def __reduce__(self):
            return list, ([render()],)

    with pytest.raises(OptionError, match="a call in it is made anew whenever it is pickled"):
        pickle_args((Maker(),), {}, "call()", {1: 0})


def test_deep_arguments_are_refused_with_a_sentence():
    deep = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(OptionError, match=r"argument 1 \(list\) can't be pickled: .*recursion"):
        pickle_args((deep,), {}, "call()")


def test_arguments_that_are_too_large_are_refused():
    assert pickle_args((b"x" * (16 * 1024 * 1024 - 1000),), {}, "call()").needs == []
    with pytest.raises(OptionError, match="arguments are 16 MiB pickled, more than 16: put them in a file"):
        pickle_args((b"x" * 16 * 1024 * 1024,), {}, "call()")


# Functions


@pytest.mark.parametrize(
    ("what", "target"),
    [
        (plain, f"{__name__}:plain"),
        (render, f"{__name__}:render"),
        (render.fn, f"{__name__}:render"),
        (fast, f"{__name__}:plain"),
        (Shot, f"{__name__}:Shot"),
        (math.sqrt, "math:sqrt"),
        (len, "builtins:len"),
        (json.JSONEncoder.encode, "json.encoder:JSONEncoder.encode"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value)[:20],
)
def test_a_function_with_a_name_goes_by_it(what, target):
    assert target_of(what) == target


def loaded(what):
    return pickle.loads(base64.b64decode(target_of(what)["pickle"]))


def test_functions_without_a_name_go_by_value():
    held = 3

    def closure(x):
        return x + held

    assert loaded(closure)(1) == 4
    assert loaded(lambda x: x * 2)(4) == 8
    assert loaded([1, 2].count)(2) == 1
    assert loaded(Plain(5).__init__)(6) is None
    assert loaded(functools.partial(plain, 3))() == 3


def test_a_local_task_takes_its_cleanup_along():
    @task(retries=1)
    def local(x):
        return [local.name, x]

    @local.cleanup
    def remove(job):
        return f"removed {job}"

    again = loaded(local)

    assert (again.options, again.name, again.fn(2)) == ({"retries": 1}, "local", ["local", 2])
    assert again.cleanup_fn(7) == "removed 7"


def test_a_cleanup_is_not_lost_where_the_name_leads_to_the_function_only():
    other = task()(plain)
    other.cleanup(plain)

    assert loaded(other).cleanup_fn is plain


def test_a_function_that_hides_a_call_is_refused():
    call = render(1)

    with pytest.raises(OptionError, match="the function holds a call or a job: give it as an argument"):
        target_of(lambda: call)


def test_a_function_that_holds_too_much_is_refused():
    held = bytes(16 * 1024 * 1024)

    with pytest.raises(OptionError, match="the function and what it holds are 16 MiB pickled"):
        target_of(lambda: held)


def test_a_function_that_can_not_be_pickled_is_refused():
    stream = sys.stdout

    with pytest.raises(OptionError, match="the function can't be pickled"):
        target_of(lambda: stream.buffer)


class App:
    def __init__(self):
        self.name = "app"
        self.out = sys.stdout

    def work(self):
        """Needs nothing of it."""


def test_a_method_whose_object_can_not_be_pickled_says_what_it_holds():
    told = (
        r"a method takes its object along, and self\.out \(\w+\) can't be pickled: push a function, and give"
    )

    with pytest.raises(OptionError, match=told):
        target_of(App().work)


@pytest.mark.parametrize("what", [lambda: 1, 3, Plain(1), Plain(1).__init__, functools.partial(plain)])
def test_other_things_have_no_name(what):
    assert name_of(what) is None


# The program itself

PROGRAM = """
import json, sys
from dataclasses import dataclass
from xqute.pickling import main_of, pickle_args, place, target_of
from xqute.calls import task

@dataclass
class Shot:
    frame: int

@task
def render(shot): ...

def plain(): ...

def show():
    inner = lambda shot: Shot(1)
    data = pickle_args((Shot(1),), {}, "x").data
    mixed = pickle_args((lambda: Shot(2),), {}, "x").data
    by = lambda target: target if "pickle" not in target else "value"
    print(json.dumps({
        "main": main_of(),
        "targets": [by(target_of(each)) for each in (render, plain, inner)],
        "rebuilt": b"_make_skeleton_class" in data or b"_make_skeleton_class" in mixed,
        "cloudpickle": "cloudpickle" in sys.modules,
    }))

if __name__ == "__main__":
    show()
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/__init__.py").write_text("")
    (tmp_path / "pkg/mod.py").write_text(PROGRAM)
    (tmp_path / "script.py").write_text(PROGRAM)
    (tmp_path / "noext").write_text(PROGRAM)
    return tmp_path


def run(folder, *argv, stdin=""):
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, *argv], input=stdin, capture_output=True, text=True, check=True, cwd=folder, env=env
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["script.py", "noext"])
def test_functions_of_a_script_go_by_its_file(folder, name):
    told = run(folder, name)

    file = str(folder / name)
    assert told["main"] == {"file": file}
    assert told["targets"] == [
        {"file": file, "qualname": "render"},
        {"file": file, "qualname": "plain"},
        "value",
    ]
    assert not told["rebuilt"]


def test_functions_of_a_module_that_was_started_go_by_its_name(folder):
    told = run(folder, "-m", "pkg.mod")

    assert told["main"] == {"module": "pkg.mod"}
    assert told["targets"] == ["pkg.mod:render", "pkg.mod:plain", "value"]
    assert not told["rebuilt"]


@pytest.mark.parametrize("how", ["-c", "stdin"])
def test_where_no_program_can_be_imported_all_of_it_goes_by_value(folder, how):
    told = run(folder, "-c", PROGRAM) if how == "-c" else run(folder, "-", stdin=PROGRAM)

    assert told["main"] is None
    assert told["targets"] == ["value"] * 3
    assert told["rebuilt"]


def test_a_task_of_a_notebook_that_calls_itself_comes_back(folder):
    program = """
    import base64, json, pickle, sys
    from xqute.pickling import target_of
    from xqute.calls import task

    @task
    def down(n):
        return n and down.fn(n - 1) + 1

    print(json.dumps(target_of(down)))
    """
    target = run(folder, "-c", textwrap.dedent(program))

    assert pickle.loads(base64.b64decode(target["pickle"])).fn(5) == 5


def test_in_a_job_the_program_is_known_by_its_other_name(folder, monkeypatch):
    program = f"""
    import importlib.util, sys, json
    spec = importlib.util.spec_from_file_location("__xqute_main__", {str(folder / "script.py")!r})
    module = sys.modules["__xqute_main__"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.show()
    """

    told = run(folder, "-c", textwrap.dedent(program))

    file = str(folder / "script.py")
    assert told["main"] == {"file": file}
    assert told["targets"][:2] == [{"file": file, "qualname": name} for name in ("render", "plain")]


# The place


def test_a_place_tells_how_to_run_alike():
    here = place()

    assert here["python"] == sys.executable
    assert here["version"] == list(sys.version_info[:2])
    assert os.path.isfile(os.path.join(here["root"], "xqute/pickling.py"))
    assert here["main"] == main_of()


def test_relative_entries_of_the_path_become_absolute(monkeypatch):
    monkeypatch.setattr(sys, "path", ["", "lib", "/x"])

    assert place()["path"] == [os.getcwd(), os.path.abspath("lib"), "/x"]


def test_a_place_is_kept_once_and_for_its_owner_only(tmp_path):
    here = place()

    digest = write_place(tmp_path, here)
    path = tmp_path / f".places/{digest}.json"
    before = path.stat()

    assert write_place(tmp_path, json.loads(json.dumps(here))) == digest == digest_of_place(here)
    assert path.stat().st_ino == before.st_ino
    assert json.loads(path.read_text()) == here
    assert os.listdir(path.parent) == [path.name]
    assert (stat.S_IMODE(before.st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    assert len(digest) == 16


def test_places_that_differ_have_different_names():
    here = place()

    assert digest_of_place(here) != digest_of_place({**here, "path": [*here["path"], "/x"]})


def test_a_place_that_can_not_be_kept_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)

    with pytest.raises(OSError, match="No space left"):
        write_place(tmp_path, place())
    assert os.listdir(tmp_path / ".places") == []
