"""Two calls are the same when they do the same: by their command, environment, directory and input."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xqute.options import JobOptions, apply_options
from xqute.rules.definition import Matching, digest
from xqute.task import Call, make_call

#: What can stand in an argument: any text, and bytes that are none.
words = st.text(
    st.one_of(
        st.characters(exclude_characters="\0", codec="utf-8"),
        st.integers(0xDC80, 0xDCFF).map(chr),
    ),
    max_size=5,
)
commands = st.one_of(
    st.lists(words, min_size=1, max_size=3).filter(lambda argv: argv[0]),
    words.filter(str.strip),
)
paths = st.sampled_from(["/", "/tmp", "/tmp/x"])
doing = st.fixed_dictionaries(
    {},
    optional={
        "env": st.dictionaries(st.sampled_from(["A", "B", "AB"]), words, max_size=3),
        "cwd": paths,
        "stdin": paths,
    },
)
running = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.integers(-5, 5),
        "retries": st.integers(0, 3),
        "retry_delay": st.floats(0, 10),
        "timeout": st.floats(1, 10),
        "grace": st.floats(0, 10),
        "error_strategy": st.sampled_from(["ignore", "retry", "halt"]),
        "title": words,
        "tags": st.lists(st.sampled_from(["x", "y"]), max_size=2),
        "user": st.sampled_from(["ann", "bob"]),
        "stdout": paths,
        "stderr": paths,
    },
)


def call(command, options=None) -> Call:
    return make_call(command, apply_options(JobOptions(), options or {}))


def what_is_done(command, options):
    """The definition, spelled out."""
    kind = "line" if isinstance(command, str) else "argv"
    given_ = [dict(options.get("env", {})), options.get("cwd"), options.get("stdin")]
    return [kind, command, *given_]


@given(commands, doing, commands, doing)
def test_calls_have_equal_digests_exactly_when_they_do_the_same(one, how, other, otherwise):
    same = what_is_done(one, how) == what_is_done(other, otherwise)

    assert (digest(call(one, how)) == digest(call(other, otherwise))) is same


@given(commands, doing, running, running)
def test_how_a_call_is_run_does_not_matter(command, how, one, other):
    assert digest(call(command, {**how, **one})) == digest(call(command, {**how, **other}))


@given(commands, doing, running)
def test_what_a_store_kept_is_the_same_call(command, how, run):
    made = call(command, {**how, **run})

    assert digest(Call.from_json(made.as_json())) == digest(made)


@given(
    st.permutations([("A", "1"), ("B", "2"), ("AB", "3")]),
    st.permutations([("A", "1"), ("B", "2"), ("AB", "3")]),
)
def test_the_order_of_an_environment_does_not_matter(one, other):
    assert digest(call(["true"], {"env": dict(one)})) == digest(call(["true"], {"env": dict(other)}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["a b"], "a b"),
        (["a b"], ["a", "b"]),
        (["a", ""], ["a"]),
        (["bash", "-c", "true"], "true"),
        ('["a"]', ["a"]),
        (["a\n"], ["a"]),
        (["é"], ["e\u0301"]),
        ([os.fsdecode(b"\xff")], ["\\udcff"]),
        ("true", "true "),
    ],
    ids=repr,
)
def test_commands_that_look_alike_are_not_the_same(one, other):
    assert digest(call(one)) != digest(call(other))


def test_arguments_count_by_their_text():
    assert digest(call(["sleep", 1, os.fspath("/x")])) == digest(call(["sleep", "1", b"/x"]))


def test_parts_do_not_run_into_each_other():
    given_ = [{"cwd": "/tmp"}, {"stdin": "/tmp"}, {"env": {"cwd": "/tmp"}}, {"env": {"stdin": "/tmp"}}, {}]

    assert len({digest(call(["true"], options)) for options in given_}) == len(given_)


# Finding again


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abcd"), max_size=15))
def test_the_kth_equal_push_gets_the_kth_job_in_any_order(made, pushed):
    matching = Matching((id_, call([name])) for id_, name in enumerate(made, 1))

    got = [(name, matching.take(call([name]))) for name in pushed]

    for name in "abcd":
        ids = [id_ for id_, its in enumerate(made, 1) if its == name]
        pushes = [id_ for its, id_ in got if its == name]
        assert pushes == [*ids, *[None] * len(pushes)][: len(pushes)]
    assert matching.left == sorted({*range(1, len(made) + 1)} - {id_ for _, id_ in got})


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=8), st.integers(0, 8))
def test_what_is_put_back_is_found_again_in_the_same_order(made, count):
    matching = Matching((id_, call([name])) for id_, name in enumerate(made, 1))
    taken = [(name, matching.take(call([name]))) for name in made[:count]]

    for name, id_ in reversed(taken):
        matching.put_back(call([name]), id_)

    assert [(name, matching.take(call([name]))) for name in made[:count]] == taken
