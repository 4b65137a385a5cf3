"""Tasks and calls: what users write is checked where it is written, and runs nothing."""

import copy
import functools
import inspect
import pickle
import subprocess
import sys
from dataclasses import dataclass

import pytest

from xqute.calls import Call, as_call, calls_of, cmd, task
from xqute.errors import OptionError


@task
def render(scene, frame, light=None):
    """Render one frame."""
    return scene, frame, light


@task(retries=2, timeout="1h", name="movie", version=3, reuse=True, fork=False)
async def encode(frames, out="out.mp4"):
    return frames, out


@dataclass
class Shot:
    scene: object
    frame: int


class PushedJob:
    """What a job is recognised by."""

    __xqute_job__ = True

    def __init__(self, id_):
        self.id = id_


# Tasks


def test_calling_a_task_runs_nothing():
    ran = []

    @task
    def note(text):
        ran.append(text)

    call = note("x")

    assert isinstance(call, Call)
    assert ran == []


def test_the_function_of_a_task_runs_here():
    assert render.fn("a.blend", 3) == ("a.blend", 3, None)


def test_a_task_looks_like_its_function():
    assert (render.__name__, render.__doc__) == ("render", "Render one frame.")
    assert str(inspect.signature(render)) == "(scene, frame, light=None)"


def test_a_task_keeps_its_options():
    assert encode.options == {"retries": 2, "timeout": "1h"}
    assert (encode.name, encode.version, encode.reuse, encode.fork) == ("movie", "3", True, False)


def test_without_options_a_task_is_named_like_its_function():
    @task
    def inner(): ...

    assert (inner.name, inner.version, inner.reuse, inner.fork) == ("inner", "", False, True)


def test_a_task_of_a_module_is_pickled_by_its_name():
    assert pickle.loads(pickle.dumps(render)) is render


def test_a_task_made_of_another_function_keeps_its_options_when_pickled():
    fast = task(priority=3, name="fast")(subprocess.list2cmdline)

    again = pickle.loads(pickle.dumps(fast))

    assert (again.fn, again.name, again.options) == (subprocess.list2cmdline, "fast", {"priority": 3})
    assert again(["a"]).args == (["a"],)


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        (("a",), {}, r"render\(\): missing a required argument: 'frame'"),
        (("a", 1, 2, 3), {}, r"render\(\): too many positional arguments"),
        (("a", 1), {"lihgt": 1}, r"render\(\): got an unexpected keyword argument 'lihgt'"),
    ],
)
def test_wrong_arguments_are_refused_at_once(args, kwargs, says):
    with pytest.raises(TypeError, match=says):
        render(*args, **kwargs)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"retires": 1}, "unknown task option 'retires': did you mean 'retries'"),
        ({"vresion": 1}, "did you mean 'version'"),
        ({"timeout": "soon"}, "no duration"),
        ({"reuse": 1}, "reuse=1 must be True or False"),
        ({"fork": "no"}, "fork='no' must be True or False"),
        ({"name": ""}, "a task's name is a word"),
        ({"name": "a\nb"}, "a task's name is a word"),
        ({"version": None}, "give a number or a text"),
    ],
)
def test_options_of_a_task_are_checked_where_it_is_made(options, says):
    with pytest.raises(OptionError, match=says):
        task(**options)(print)


def generator():
    yield 1


async def async_generator():
    yield 1


@pytest.mark.parametrize("fn", [generator, async_generator])
def test_generators_are_refused_with_a_sentence(fn):
    for make in (task, as_call, calls_of, lambda fn: as_call(functools.partial(fn))):
        with pytest.raises(OptionError, match="is a generator function: what it yields can't be kept"):
            make(fn)


@pytest.mark.parametrize(
    ("fn", "says"),
    [
        ("name", "@task needs a function, not 'name'; options have names"),
        (Shot, "Shot is a class"),
        (render, "<task render> is a task already"),
    ],
)
def test_what_is_no_function_can_not_be_a_task(fn, says):
    with pytest.raises(OptionError, match=says):
        task(fn)


class Scene:
    @task
    def method(self): ...

    @staticmethod
    @task
    def static(frame): ...

    renderer = render


def test_a_task_is_no_method():
    with pytest.raises(TypeError, match=r"Scene\.method is a task inside a class: a task can't be a method"):
        Scene().method()


def test_a_task_may_be_held_by_a_class():
    assert Scene.renderer is Scene().renderer is render
    assert Scene().static(1).args == (1,)


def test_a_cleanup_function_stays_a_function():
    @task
    def build(path): ...

    @build.cleanup
    def remove(job):
        return job

    assert build.cleanup_fn is remove
    assert remove(7) == 7


# Calls


def test_a_call_reads_like_the_call():
    assert repr(render("a.blend", 3)) == "render('a.blend', 3)"
    assert repr(encode([render("a", 1)], out="x")) == "movie([render], out='x')"
    assert repr(cmd("ffmpeg", "-i", render("a", 1), 2.5, PushedJob(7))) == (
        "cmd('ffmpeg', '-i', render, 2.5, job 7)"
    )
    assert repr(as_call("sort x | uniq")) == "Call('sort x | uniq')"


def test_a_named_call_is_shown_by_its_name_where_it_is_needed():
    assert repr(encode(encode(1).named("the film"), [cmd("ls").named("files")])) == "movie(the film, [files])"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (list(range(100)), "[0, 1, 2, 3, 4, 5, … 100 in all]"),
        ({"a": {1}}, "{'a': {1}}"),
        ((1,), "(1,)"),
        (Shot(None, 3), "Shot(scene=None, frame=3)"),
        (object(), "<object>"),
        (len, "len"),
        (render, "render"),
        ([[[[1]]]], "[[[[…]]]]"),
        ("\x1b[31mred\n", r"'\x1b[31mred\n'"),
    ],
    ids=repr,
)
def test_arguments_are_shown_briefly(value, shown):
    assert repr(encode(value)) == f"movie({shown})"


def test_a_call_is_shown_on_one_line_of_200_characters():
    class Odd:
        def __repr__(self):
            return "a\nb" * 1000

    class Broken:
        def __repr__(self):
            raise RuntimeError

    assert repr(encode("x" * 1000)) == "movie('" + "x" * 192 + "…"
    assert len(repr(encode([Odd()] * 3))) == 200
    assert "\n" not in repr(encode(Odd()))
    assert repr(encode(Broken())) == "movie(<Broken>)"


def test_a_call_shown_says_nothing_about_the_calls_within():
    call = encode(1)
    for _ in range(5000):
        call = encode(Shot(call, 1))

    assert repr(call) == "movie(Shot(scene=movie, frame=1))"


def test_a_call_shows_those_within_by_the_names_they_were_given():
    named = encode(1).named("scene one")

    assert repr(encode(named)) == "movie(scene one)"
    assert repr(encode([Shot(named, 1), encode(2)])) == "movie([Shot(scene=scene one, frame=1), movie])"
    assert repr(cmd("echo", named)) == "cmd('echo', scene one)"
    assert repr(named) == "movie(1)"


async def test_a_call_that_is_awaited_says_what_to_do():
    with pytest.raises(TypeError, match=r"a call is inert: push it: job = await xq\.push\(render\(…\)\)"):
        await render("a", 1)


def test_a_call_has_no_items_and_no_truth():
    with pytest.raises(TypeError, match="a call is inert and has no items"):
        list(render("a", 1))
    with pytest.raises(TypeError, match="neither true nor false"):
        assert render("a", 1)


def test_a_call_can_not_be_changed():
    call = render("a", 1)

    with pytest.raises(AttributeError):
        call.args = ()


def test_calls_are_the_same_only_when_they_are_one_object():
    call = render("a", 1)

    assert call == call  # noqa: PLR0124 - that is the point
    assert call != render("a", 1)
    assert copy.copy(call) != call


def test_after_and_options_return_new_calls():
    call, job = render("a", 1), PushedJob(3)

    later = call.after(job).after(call).options(priority=2)

    assert (later.needs, later.given, later.args) == ((job, call), {"priority": 2}, ("a", 1))
    assert (call.needs, call.given) == ((), {})


def test_the_nearest_options_of_a_call_win_and_environments_are_merged():
    call = render("a", 1).options(priority=1, env={"A": "1", "B": "1"}).options(priority=2, env={"B": "2"})

    assert call.given == {"priority": 2, "env": {"A": "1", "B": "2"}}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"prioriti": 1}, "did you mean 'priority'"),
        ({"reuse": True}, "unknown push option 'reuse'"),
        ({"retries": -1}, "must not be negative"),
    ],
)
def test_options_of_a_call_are_checked_at_once(options, says):
    with pytest.raises(OptionError, match=says):
        render("a", 1).options(**options)


@pytest.mark.parametrize(
    ("need", "says"),
    [
        (3, "not 3$"),
        (render, r"not render: call it: render\(…\)"),
        ([cmd("a")], r"not \[a\]: put a \* before it"),
        ((cmd("a") for _ in "a"), "put a \\* before it"),
    ],
    ids=["number", "task", "list", "generator"],
)
def test_after_takes_calls_and_jobs_only(need, says):
    with pytest.raises(OptionError, match=says):
        cmd("x").after(need)


def generatorless():
    return None


# Commands and what else can be pushed


@pytest.mark.parametrize(
    "nested",
    [["a"], ("a",), {"a"}, {"a": 1}, map(str, "a"), (render(n) for n in "a")],
    ids="list tuple set dict map generator".split(),
)
def test_lists_in_a_command_are_refused_with_a_sentence(nested):
    with pytest.raises(OptionError, match=r"argument 1 of cmd\(\) is a \w+, .*put a \* before it"):
        cmd("sort", nested)


def test_a_command_needs_a_program_and_called_tasks():
    with pytest.raises(OptionError, match="needs a program"):
        cmd()
    with pytest.raises(OptionError, match=r"argument 1 of cmd\(\) is <task render>: call it"):
        cmd("ffmpeg", render)


def test_whatever_can_be_pushed_becomes_a_call():
    call = render("a", 1)

    assert as_call(call) is call
    assert as_call(["echo", 1]).what == as_call(("echo", 1)).what == ("echo", 1)
    assert as_call(iter(["echo"])).what == ("echo",)
    assert as_call("echo 1").what == "echo 1"
    assert as_call(dict).what is dict
    assert as_call(generatorless).what is generatorless
    assert as_call(task(generatorless)).what.fn is generatorless


def test_a_partial_becomes_a_call_of_its_function():
    call = as_call(functools.partial(functools.partial(render.fn, "a"), frame=2))
    of_task = as_call(functools.partial(render, "a", 2))

    assert (call.what, call.args, call.kwargs) == (render.fn, ("a",), {"frame": 2})
    assert (of_task.what, of_task.args) == (render, ("a", 2))


@pytest.mark.parametrize("thing", [render, render.fn, functools.partial(render, "a")], ids=repr)
def test_a_function_that_needs_arguments_is_not_pushed_without(thing):
    with pytest.raises(TypeError, match=r"render\(\): missing a required argument"):
        as_call(thing)


@pytest.mark.parametrize("thing", [3, None, b"echo", {"a": 1}], ids=repr)
def test_other_things_can_not_be_pushed(thing):
    with pytest.raises(OptionError, match=r"can't push .*: give a list of arguments, a shell line as a str"):
        as_call(thing)


def test_a_job_can_not_be_pushed_again():
    with pytest.raises(OptionError, match=r"job 7 was pushed already: await it"):
        as_call(PushedJob(7))


@pytest.mark.parametrize("fn", [render, render.fn, functools.partial(render.fn, light=1)], ids=repr)
def test_calls_of_makes_one_call_per_item(fn):
    calls = calls_of(fn, "ab", [1, 2, 3])

    assert [call.args for call in calls] == [("a", 1), ("b", 2)]
    with pytest.raises(TypeError, match="missing a required argument"):
        calls_of(fn, "ab")


def test_tasks_cost_no_event_loop_and_no_cloudpickle():
    code = "import sys, xqute.calls; print([n for n in ('asyncio', 'cloudpickle') if n in sys.modules])"

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout == "[]\n"
