"""Trees of calls become jobs: in order, each once, with what they need; or nothing at all."""

import base64
import functools
import io
import json
import os
import pickle
import subprocess
import sys
import textwrap
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xqute.calls import cmd, task
from xqute.errors import CycleError, OptionError
from xqute.options import JobOptions
from xqute.plan import Plan, plan
from xqute.work import Hole, Work


@task
def shot(*args, **kwargs): ...


@task(priority=5, retries=1, env={"A": "task", "B": "task"}, version=2, reuse=True)
def tuned(*args): ...


def plain(*args): ...


class PushedJob:
    """What a job is recognised by."""

    __xqute_job__ = True

    def __init__(self, id_):
        self.id = id_


class Keyed:
    def __init__(self, key):
        self.key = key

    def __xqute_key__(self):
        return self.key


def planned(*calls, base=None, **given_):
    return plan(calls, base or JobOptions(), given_, place=lambda: "placed")


def names(made):
    """The first arguments of the calls of `shot`, or the programs of commands."""
    return [arguments(node)[0][0] if node.work.function else node.work.cmd[0] for node in made.nodes]


class Reader(pickle.Unpickler):
    def persistent_load(self, number):
        return Hole(number)


def arguments(node):
    return Reader(io.BytesIO(base64.b64decode(node.work.function.args))).load()


def needs_of(made, number):
    group = made.nodes[number].group
    return made.groups[group - 1] if group else ()


# Order


def test_what_a_call_needs_stands_before_it_tree_by_tree():
    shadow = shot("shadow")
    f1, f2, g1 = shot("f1").after(shadow), shot("f2").after(shadow), shot("g1")
    first, second = cmd("R1").after(f1, f2), cmd("R2", g1)

    made = planned(first, second)

    assert names(made) == ["shadow", "f1", "f2", "R1", "g1", "R2"]
    assert made.roots == [3, 5]
    assert [node.tree for node in made.nodes] == [0, 0, 0, 0, 4, 4]
    assert [node.parent for node in made.nodes] == [3, 3, 3, 3, 5, 5]
    assert [node.root for node in made.nodes] == [False, False, False, True, False, True]
    assert [needs_of(made, number) for number in range(6)] == [(), (0,), (0,), (1, 2), (), (4,)]


def test_arguments_come_in_their_order_and_before_what_is_only_waited_for():
    a, b, c, d = (shot(name) for name in "abcd")

    made = planned(shot("root", [b, {"x": a}], named=c).after(d))

    assert names(made) == ["b", "a", "c", "d", "root"]


def test_a_call_used_twice_is_one_node_and_equal_calls_are_two():
    one = shot("one")

    assert len(planned(shot("a", one, [one]), shot("b").after(one)).nodes) == 3
    assert len(planned(shot("a", shot("one"), shot("one"))).nodes) == 3


def test_a_call_pushed_twice_is_one_node_and_a_list_pushed_twice_is_two():
    call, argv = shot("x"), ["echo"]

    assert planned(call, call).roots == [0, 0]
    assert planned(argv, argv).roots == [0, 1]


def test_what_two_trees_share_belongs_to_the_first():
    shared = shot("shared")

    made = planned(shot("a", shared), shot("b", shared, shot("own")))

    assert names(made) == ["shared", "a", "own", "b"]
    assert [node.tree for node in made.nodes] == [0, 0, 2, 2]
    assert [node.parent for node in made.nodes] == [1, 1, 3, 3]


def test_a_call_that_is_pushed_and_needed_is_a_root_of_its_own():
    inner = shot("inner")

    made = planned(shot("outer", inner), inner)
    turned = planned(inner, shot("outer", inner))

    assert [(node.root, node.tree, node.parent) for node in made.nodes] == [(True, 0, 0), (True, 0, 1)]
    assert [(node.root, node.tree, node.parent) for node in turned.nodes] == [(True, 0, 0), (True, 1, 1)]
    assert made.roots == [1, 0]


shapes = st.lists(st.lists(st.integers(0, 100), max_size=4), min_size=1, max_size=12)


@settings(deadline=None)  # the machine may be busy
@given(shapes, st.lists(st.integers(0, 100), min_size=1, max_size=4), st.randoms())
def test_every_call_that_is_reachable_is_planned_once_after_what_it_needs(shape, pushed, chance):
    calls = []
    for number, wanted in enumerate(shape):
        needs = [calls[each % number] for each in wanted] if number else []
        cut = chance.randint(0, len(needs))
        calls.append(shot(number, needs[:cut]).after(*needs[cut:]))
    roots = [calls[each % len(calls)] for each in pushed]

    made = planned(*roots)

    order = names(made)
    position = {number: place for place, number in enumerate(order)}
    assert len(position) == len(order)
    assert [order[root] for root in made.roots] == [calls.index(root) for root in roots]
    for place, number in enumerate(order):
        wanted = {each % number for each in shape[number]} if number else set()
        assert {order[member] for member in needs_of(made, place)} == wanted
        assert all(member < place for member in needs_of(made, place))
        (_, held), _ = arguments(made.nodes[place])
        members = needs_of(made, place)
        written = calls[number].args[1]
        assert [members[hole.need] for hole in held] == [position[calls.index(each)] for each in written]
    reachable = {calls.index(root) for root in roots}
    for number in range(len(calls) - 1, 0, -1):
        if number in reachable:
            reachable |= {each % number for each in shape[number]}
    assert reachable == set(order)


# Groups and jobs


def test_equal_needs_are_one_group():
    a, b = shot("a"), shot("b")

    made = planned(shot("x", a, b), shot("y").after(b, a), shot("z", b).after(a), shot("w", a))

    assert made.groups == [(0, 1), (0,)]
    assert [node.group for node in made.nodes] == [0, 0, 1, 1, 1, 2]


def test_jobs_come_before_new_nodes_by_their_ids():
    a = shot("a")

    made = planned(shot("x", a, PushedJob(12), PushedJob(3)).after(PushedJob(7)), cmd("y", PushedJob(7), a))

    assert made.groups == [(-3, -7, -12, 0), (-7, 0)]
    assert arguments(made.nodes[1])[0] == ("x", Hole(3), Hole(2), Hole(0))
    assert made.nodes[2].work.cmd == ("y", Hole(0), Hole(1))


def test_two_objects_of_one_job_are_one_need():
    made = planned(shot("x", PushedJob(3), [PushedJob(3)]))

    assert made.groups == [(-3,)]
    assert arguments(made.nodes[0])[0] == ("x", Hole(0), [Hole(0)])


def test_a_command_takes_results_where_they_stand():
    made = planned(cmd("ffmpeg", "-i", shot("a"), 3, shot("b")), ["cat", shot("c")])

    assert made.nodes[2].work.cmd == ("ffmpeg", "-i", Hole(0), "3", Hole(1))
    assert made.nodes[2].work.place == "placed"
    assert made.nodes[2].work.inside
    assert made.nodes[4].work.cmd == ("cat", Hole(0))


def test_a_command_that_only_waits_stays_a_plain_command():
    work = planned(cmd("x").after(cmd("y"))).nodes[1].work

    assert work == Work(("x",), JobOptions())
    assert not work.inside


# Works


def test_a_python_call_tells_where_it_is_and_what_it_is_called():
    work = planned(tuned("a", 3)).nodes[0].work

    function = work.function
    assert (function.target, function.place, function.shown) == (
        f"{__name__}:tuned",
        "placed",
        "tuned('a', 3)",
    )
    assert (function.task, function.reuse, function.fork, function.cleanup) == ("tuned", True, True, False)
    assert work.cmd == ()


def test_any_function_can_be_pushed():
    made = planned(plain, functools.partial(plain, 1), functools.partial(tuned, 2), lambda: 3)

    assert [arguments(node) for node in made.nodes] == [((), {}), ((1,), {}), ((2,), {}), ((), {})]
    assert [node.work.function.task for node in made.nodes] == ["", "", "tuned", ""]
    assert [type(node.work.function.target) for node in made.nodes] == [str, str, str, dict]


def test_the_place_is_asked_for_once_and_only_where_python_runs():
    asked = []

    def where():
        asked.append(1)
        return "here"

    plan([["echo"], "true", cmd("a").after(cmd("b"))], JobOptions(), {}, place=where)
    assert asked == []
    made = plan([shot(1), shot(2), cmd("x", shot(3))], JobOptions(), {}, place=where)

    assert asked == [1]
    assert made.nodes[3].work.place == "here"


def test_a_plan_survives_as_json():
    made = planned(cmd("x", shot("a", PushedJob(3)), 2).after(tuned(1)), "a | b", shot(object()), title="t")

    again = Plan.from_json(made.as_json())

    assert again == made._replace(jobs=())
    assert len(made.jobs) == 1
    assert any(-3 in members for members in again.groups)
    assert again.unmatched


# Options


def test_the_nearest_option_wins():
    base = JobOptions(priority=1, timeout=1.0, env=(("A", "base"), ("C", "base")))

    made = planned(
        tuned(1), tuned(2).options(priority=9, env={"A": "call"}), base=base, timeout=2, priority=7
    )

    first, second = (node.work.options for node in made.nodes)
    assert (first.priority, first.timeout, first.retries) == (7, 2.0, 1)
    assert dict(first.env) == {"A": "task", "B": "task", "C": "base"}
    assert (second.priority, dict(second.env)["A"]) == (9, "call")


def test_options_given_at_push_hold_for_what_is_needed_too_but_for_those_of_the_root():
    made = planned(
        shot("root", shot("need")), priority=3, title="t", stdin="/in", stdout="/out", stderr="/err"
    )

    need, root = (node.work.options for node in made.nodes)
    assert (root.priority, root.title, root.stdin, root.stdout, root.stderr) == (
        3,
        "t",
        "/in",
        "/out",
        "/err",
    )
    assert need == JobOptions(priority=3)


def test_jobs_with_the_same_options_share_them():
    made = planned(*[shot(n) for n in range(3)], priority=3)

    assert len({id(node.work.options) for node in made.nodes}) == 1


@pytest.mark.parametrize(
    ("calls", "options", "says"),
    [
        ([], {"prioriti": 1}, "did you mean 'priority'"),
        (["true"], {"timeout": "soon"}, "no duration"),
        ([[]], {}, "the first element must name a program"),
        ([["a", ["b"]]], {}, r"argument 1 is \['b'\]"),
        ([3], {}, "can't push 3"),
        (
            [["echo"], shot(x for x in "a")],
            {},
            r"can't push shot\(<genexpr>\): argument 1 .*can't be pickled",
        ),
    ],
    ids=repr,
)
def test_what_can_not_be_accepted_is_refused_as_a_whole(calls, options, says):
    with pytest.raises(OptionError, match=says):
        planned(*calls, **options)


# Cycles


def cycle_of(*words):
    held = []
    call = first = task(name=words[0])(plain)(held)
    for word in words[1:]:
        call = task(name=word)(plain)([call])
    held.append(call)
    return first


def test_a_cycle_is_named():
    with pytest.raises(CycleError, match=r"^a call needs itself: a -> c -> b -> a$"):
        planned(task(name="top")(plain)(cycle_of("a", "b", "c")))
    with pytest.raises(CycleError, match=r"^a call needs itself: a -> a$"):
        planned(cycle_of("a"))


def test_a_long_cycle_is_named_in_part():
    with pytest.raises(
        CycleError, match=r"^a call needs itself: n0 -> n4999 -> .* more … -> n1 -> n0$"
    ) as said:
        planned(cycle_of(*[f"n{number}" for number in range(5000)]))

    assert len(str(said.value)) < 300


# Size


def test_a_chain_of_100_000_calls_is_planned():
    call = shot(0)
    for number in range(1, 100_000):
        call = shot(number, call)
    began = time.process_time()

    made = planned(call)

    assert (len(made.nodes), len(made.groups), made.roots) == (100_000, 99_999, [99_999])
    assert made.nodes[-1].digest
    assert time.process_time() - began < 30


def test_a_fan_in_of_10_000_costs_one_group_however_many_wait():
    leaves = [shot(number) for number in range(10_000)]
    began = time.process_time()

    made = planned(shot("all", leaves), *[cmd("x").after(*leaves) for _ in range(300)])

    assert len(made.groups) == 1
    assert made.groups[0] == tuple(range(10_000))
    assert time.process_time() - began < 10


# Digests


def digests(*calls, **options):
    return [node.digest for node in planned(*calls, **options).nodes]


def digest_of(call, **options):
    return digests(call, **options)[-1]


def test_equal_calls_have_equal_digests():
    assert len({*digests(shot(1, "a", k=[2]), shot(1, "a", k=[2]))}) == 1


@pytest.mark.parametrize(
    "other",
    [
        shot(1, "b", k=[2]),
        shot(1, "a", k=[3]),
        shot(1, "a", [2]),
        shot(1, "a", k=(2,)),
        shot(True, "a", k=[2]),
        tuned(1, "a"),
        shot(1, "a", k=[2]).options(env={"A": "1"}),
        shot(1, "a", k=[2]).options(cwd="/"),
        shot(1, "a", k=[2]).after(shot(3)),
        shot(1, "a", k=[2]).after(PushedJob(3)),
        cmd("shot", "1", "a"),
    ],
    ids="text list position tuple bool task env cwd after job command".split(),
)
def test_calls_that_do_something_else_have_other_digests(other):
    assert digest_of(other) != digest_of(shot(1, "a", k=[2]))
    assert digest_of(other)


def test_how_a_call_is_run_does_not_matter():
    call = shot(1)

    assert digest_of(call) == digest_of(call, priority=2, retries=1, timeout=3, title="x", tags=["y"])
    assert digest_of(call) == digest_of(functools.partial(shot.fn, 1))


def test_needs_count_by_what_they_do():
    assert digest_of(shot(shot(1))) == digest_of(shot(shot(1)))
    assert digest_of(shot(shot(1))) != digest_of(shot(shot(2)))
    assert digest_of(shot(PushedJob(1))) != digest_of(shot(PushedJob(2)))
    assert digest_of(cmd("x", shot(1))) != digest_of(cmd("x", shot(2)))
    assert digest_of(cmd("x", shot(1))) != digest_of(cmd("x").after(shot(1)))


def test_a_version_makes_another_call():
    one, two = (task(version=version)(plain)(1) for version in (1, 2))

    assert len({digest_of(one), digest_of(two), digest_of(task(plain)(1)), ""}) == 4
    assert digest_of(task(plain)(1)) == digest_of(functools.partial(plain, 1))


def test_a_key_stands_for_an_object():
    assert digest_of(shot(Keyed("a"))) == digest_of(shot(Keyed("a"))) != digest_of(shot(Keyed("b")))


def test_a_need_that_a_key_hides_counts_all_the_same():
    class Holder(Keyed):
        pass

    def holding(call):
        holder = Holder("same")
        holder.call = call
        return shot(holder)

    assert digest_of(holding(shot(1))) != digest_of(holding(shot(2)))


def by_value(constant):
    space = {}
    exec(f"def f(x, y=2):\n    return [x + {constant} for _ in range(3)], LIMIT\nLIMIT = 1", space)
    return space["f"]


def test_a_function_by_value_counts_by_its_code_and_constants():
    one, same, other = (functools.partial(by_value(constant), 0) for constant in (1, 1, 2))

    assert digest_of(one) == digest_of(same) != ""
    assert digest_of(one) != digest_of(other)


def test_what_has_no_definition_is_told_once_and_nothing_above_it_has_one():
    hidden = shot(object())

    made = planned(shot("top", hidden), cmd("x", hidden), cmd("y").after(hidden), shot(object()), shot(1))

    assert [bool(node.digest) for node in made.nodes] == [False, False, False, False, False, True]
    sentence = (
        "object objects have no canonical form; the class may define __xqute_key__():"
        " what shot did in an earlier run is not found again"
    )
    assert made.unmatched == (sentence,)


def test_at_most_five_sentences_tell_what_has_no_definition():
    made = planned(*[task(name=f"t{number}")(plain)(object()) for number in range(20)])

    assert len(made.unmatched) == 5


PROGRAM = """
import enum, json, pathlib
from dataclasses import dataclass
from xqute.calls import cmd, task
from xqute.options import JobOptions
from xqute.plan import plan

class Colour(enum.Enum):
    RED = 1

@dataclass
class Shot:
    tags: set
    colour: Colour

@task
def render(*args): ...

def show():
    held = {"a", "b", "c", "d"}
    calls = [
        render({"x", "y", "z", 1, 2.5}, {"b": 1, "a": {"k", "l"}}),
        render(Shot({"p", "q", "r"}, Colour.RED), pathlib.Path("/x"), render, Shot),
        cmd("x", render(frozenset("abcdef"))),
        (lambda x: x in {"one", "two", "three"}).__get__(Colour.RED),
        lambda: (held, Colour, render),
    ]
    made = plan(calls, JobOptions(), {}, place=lambda: "p")
    assert not made.unmatched, made.unmatched
    print(json.dumps([node.digest for node in made.nodes]))

if __name__ == "__main__":
    show()
"""


def told(folder, *argv, seed):
    env = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, check=True, cwd=folder, env=env
    )
    return json.loads(done.stdout)


def test_digests_are_the_same_in_every_process(tmp_path):
    (tmp_path / "script.py").write_text(PROGRAM)

    first = told(tmp_path, "script.py", seed="1")

    assert first == told(tmp_path, "script.py", seed="2")
    assert len({*first, ""}) == 7


def test_inside_a_job_digests_are_those_of_outside(tmp_path):
    (tmp_path / "script.py").write_text(PROGRAM)
    inside = f"""
    import importlib.util, sys
    spec = importlib.util.spec_from_file_location("__xqute_main__", {str(tmp_path / "script.py")!r})
    module = sys.modules["__xqute_main__"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.show()
    """

    assert told(tmp_path, "-c", textwrap.dedent(inside), seed="3") == told(tmp_path, "script.py", seed="4")


def test_calls_made_while_arguments_are_pickled_are_not_taken_for_others():
    class Maker:
        def __reduce__(self):
            return list, ([shot("made")],)

    made = planned(shot("a", Maker(), Maker(), Maker()))

    assert names(made) == ["made", "made", "made", "a"]
