"""The canonical form of a value: equal for equal values, different for others, or none at all."""

import collections
import datetime as dt
import decimal
import enum
import fractions
import functools
import logging
import math
import pathlib
import uuid
import zoneinfo
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xqute.calls import task
from xqute.pickling import find_by_name
from xqute.rules.canonical import Canonical, Formless


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Shot:
    frame: object


@dataclass
class Cut:
    frame: object


Point = collections.namedtuple("Point", "x y")  # noqa: PYI024 - the old form counts too


class Keyed:
    def __init__(self, key):
        self.key = key

    def __xqute_key__(self):
        return self.key


class Need:
    def __init__(self, identity):
        self.identity = identity


def named(thing):
    """What a name leads to goes by it."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    return f"{module}:{name}" if module and name and find_by_name(module, name) is thing else ""


def form(value):
    need = lambda thing: thing.identity if isinstance(thing, Need) else None  # noqa: E731
    return Canonical(named, need).form(value)


plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(max_size=4),
    st.dates(),
    st.decimals(allow_nan=False),
    st.sampled_from(Colour),
)
keys = plain | st.tuples(plain, plain) | st.frozensets(plain, max_size=3)
values = st.recursive(
    keys,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3) | st.builds(Shot, inner)
    ),
    max_leaves=5,
)


def spelled(value):
    """A value with the types of all that it holds: equal where two values are the same in every way."""
    if isinstance(value, (list, tuple)):
        return (type(value), *map(spelled, value))
    if isinstance(value, frozenset):
        return frozenset(map(spelled, value))
    if isinstance(value, dict):
        return (dict, frozenset((spelled(key), spelled(item)) for key, item in value.items()))
    if isinstance(value, Shot):
        return (Shot, spelled(value.frame))
    return (type(value), repr(value))


@settings(deadline=None)  # the machine may be busy
@given(values, values)
def test_forms_are_equal_exactly_when_values_are_the_same(one, other):
    assert (form(one) == form(other)) is (spelled(one) == spelled(other))


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(st.tuples(st.text(max_size=2), keys), max_size=5, unique_by=lambda pair: pair[0]), st.randoms()
)
def test_the_order_of_a_dictionary_does_not_matter(pairs, chance):
    mixed = list(pairs)
    chance.shuffle(mixed)

    assert form(dict(pairs)) == form(dict(mixed))


DIFFERENT = [
    [1, True, 1.0, "1", b"1", bytearray(b"1"), decimal.Decimal(1), fractions.Fraction(1), 1 + 0j, [1], (1,)],
    [{1}, frozenset({1}), {1: 1}, [], (), set(), {}, None, "", b"", ..., range(1), range(2), slice(1)],
    ["a,b", ["a", "b"], ["a,b"], [["a"], "b"], "\udcff", "\\udcff", "é", "e\u0301"],
    [Colour.RED, Colour.BLUE, "RED", Access.READ, Access.READ | Access.WRITE],
    [Shot(1), Cut(1), Shot(2), Shot([1]), Point(1, 2), (1, 2), Point(2, 1), Shot, Cut],
    [pathlib.Path("/a"), pathlib.Path("/b"), "/a", uuid.UUID(int=1), uuid.UUID(int=2)],
    [
        dt.date(2020, 1, 1),
        dt.datetime(2020, 1, 1),  # noqa: DTZ001 - that there is none is the point
        dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC")),
        dt.datetime(2020, 1, 1, fold=1),  # noqa: DTZ001 - the same
        dt.time(1),
        dt.timedelta(1),
        dt.timezone(dt.timedelta(hours=1)),
    ],
    [math, logging, math.sqrt, math.sin, len, [].append, [1].append, [].pop, Shot(1).__eq__],
    [Keyed(1), Keyed(2), Keyed([1]), 1],
    [Need("a"), Need("b"), "a", "need a"],
    [functools.partial(len, 1), functools.partial(len, 2), functools.partial(len, x=1), len],
]


@pytest.mark.parametrize("group", DIFFERENT, ids=lambda group: type(group[-1]).__name__ + str(len(group)))
def test_values_that_differ_have_different_forms(group):
    forms = [form(value) for value in group]

    assert len({*forms}) == len(group)
    assert forms == [form(value) for value in group]


def test_a_key_is_asked_before_anything_else():
    @dataclass
    class Both:
        held: object

        def __xqute_key__(self):
            return "same"

    assert form(Both(object())) == form(Both(1))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (object(), "object objects have no canonical form"),
        ([{"a": (Shot(object()),)}], "object objects have no canonical form"),
        (Keyed(object()), "object objects"),
        (type("Local", (), {"held": object()}), "object objects"),
        (type("Text", (str,), {})("a"), "Text objects"),
        ((x for x in "a"), "generator objects"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else type(value).__name__,
)
def test_what_has_no_form_says_which(value, says):
    with pytest.raises(Formless, match=says):
        form(value)


def test_a_logger_is_its_name():
    assert form(logging.getLogger("x")) == form(logging.getLogger("x")) != form(logging.getLogger("y"))


def test_a_need_without_an_identity_leaves_no_form():
    with pytest.raises(Formless, match=r"^$"):
        form([Need("")])


def test_what_contains_itself_has_no_form():
    held = []
    held.append(held)

    with pytest.raises(Formless, match="a list contains itself"):
        form(held)
    assert form([held[1:], held[1:]])


def test_what_is_nested_too_deeply_has_no_form():
    deep = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(Formless, match="nested too deeply"):
        form(deep)


# Functions by value


def made(source, **space):
    exec(f"def make():\n    {source}\n    return f", space)
    return space["make"]()


CODES = [
    "f = lambda x: x + 1",
    "f = lambda x: x + 2",
    "f = lambda x: x - 1",
    "f = lambda x, y=1: x + 1",
    "f = lambda x, y=2: x + 1",
    "f = lambda x, *, y=2: x + 1",
    "f = lambda x: x.one",
    "f = lambda x: x.two",
    "f = lambda x: x in {'a', 'b'}",
    "f = lambda x: [x + 1 for _ in x]",
    "f = lambda x: [x + 2 for _ in x]",
    "a = 1; f = lambda x: x + a",
    "a = 2; f = lambda x: x + a",
    "a = [1]; f = lambda x: x + a",
    "f = lambda x: len(x)",
    "f = lambda x: max(x)",
]


def test_functions_by_value_differ_as_their_code_constants_names_defaults_and_closures_do():
    forms = [form(made(code)) for code in CODES]

    assert len({*forms}) == len(CODES)
    assert forms == [form(made(code)) for code in CODES]


def test_what_a_function_takes_from_its_module_counts():
    code = "f = lambda x: [limit for _ in x]"

    assert form(made(code, limit=1)) == form(made(code, limit=1)) != form(made(code, limit=2))
    assert form(made(code, limit=1, other=1)) == form(made(code, limit=1, other=2))
    with pytest.raises(Formless, match="object objects"):
        form(made(code, limit=object()))


def test_functions_that_call_each_other_have_a_form():
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    assert form(even) != form(odd)


def test_helpers_that_many_functions_share_are_spelled_out_once():
    space = {}
    for n in range(60):
        exec(f"def f{n}(x): return f{max(n - 1, 0)}(x) + f{max(n - 2, 0)}(x)", space)

    assert len(form(space["f59"])) < 100_000


def test_a_function_that_ran_often_has_the_form_it_had():
    def warm(x):
        return [each + x for each in range(3)]

    before = form(warm)
    for _ in range(1000):
        warm(1)

    assert form(warm) == before


def test_a_name_that_is_not_bound_yet_is_no_value():
    def early():
        return late

    before = form(early)
    late = 1

    assert form(early) != before


def test_the_version_of_a_task_counts_where_it_is_an_argument():
    def inner(): ...

    assert form([task(inner)]) == form([task(priority=1)(inner)]) != form([task(version=2)(inner)])
    assert Canonical(named, lambda thing: None).function(task(version=2)(inner)) != form(inner)


# Classes by value

BODIES = [
    "class C: pass",
    "class D: pass",
    "class C(dict): pass",
    "class C:\n  x = 1",
    "class C:\n  x = 2",
    "class C:\n  def m(self): return 1",
    "class C:\n  def m(self): return 2",
    "class C:\n  @staticmethod\n  def m(self): return 3",
    "class C:\n  @property\n  def m(self): return 1",
    "class C:\n  @property\n  def m(self): return 2",
    "class C:\n  def m(self): return C",
    "class C:\n  __slots__ = ('x',)",
    "@dataclass\nclass C:\n  x: int",
    "@dataclass\nclass C:\n  y: int",
    "@dataclass\nclass C:\n  x: int = 1",
    "@dataclass\nclass C:\n  x: list = field(default_factory=list)",
    "@dataclass\nclass C:\n  x: list = field(default_factory=dict)",
    "@dataclass\nclass C:\n  x: int\n  def m(self): return C(1)",
    "class C(enum.Enum):\n  A = 1",
    "class C(enum.Enum):\n  A = 2",
    "C = namedtuple('C', 'x y')",
    "C = namedtuple('C', 'x z')",
]


def class_of(body):
    space = {"dataclass": dataclass, "field": field, "enum": enum, "namedtuple": collections.namedtuple}  # noqa: PYI024
    exec(body, {"__name__": "__main__", **space}, space)
    return next(value for name, value in space.items() if name in "CD")


def test_classes_by_value_differ_as_their_bodies_do():
    forms = [form(class_of(body)) for body in BODIES]

    assert len({*forms}) == len(BODIES)
    assert forms == [form(class_of(body)) for body in BODIES]
