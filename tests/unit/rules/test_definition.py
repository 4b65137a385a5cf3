"""Two calls are the same when they do the same: by their command, environment, directory and input."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xqute.options import JobOptions, apply_options
from xqute.rules.definition import Matching, Needs, digest
from xqute.work import Function, Hole, Work, make_work

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


def call(command, options=None) -> Work:
    return make_work(command, apply_options(JobOptions(), options or {}))


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

    assert digest(Work.from_json(made.as_json())) == digest(made)


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


# Digests that stores keep


@pytest.mark.parametrize(
    ("command", "options", "kept"),
    [
        (["sort", "-r", "é\n"], {}, "dce4c191d871c8dd5736ed6e95d82293f34793de70c5b08f2a916cc9b558e63b"),
        ("sort x | uniq", {}, "791db513857dba91ab5993b0274fd683c6c6804c963ca27e6df93d96b9c1a568"),
        (
            ["true"],
            {"env": {"B": "2", "A": "1"}, "cwd": "/tmp", "stdin": "/dev/null"},
            "3d0c2a7555ed5b1dc972052c03de49e84e9cd7e784aede9d1ab4ed0bf6d55114",
        ),
    ],
    ids=["argv", "line", "given"],
)
def test_digests_of_commands_are_those_of_earlier_versions(command, options, kept):
    assert digest(call(command, options)) == kept


# Needs


def needing(*identities: str) -> str:
    return digest(call(["true"]), Needs.of(identities))


def test_what_is_needed_counts_in_any_order_and_once():
    assert needing("a", "b") == needing("b", "a", "b")
    assert len({needing(), needing("a"), needing("b"), needing("a", "b"), needing("ab")}) == 5


def test_without_needs_a_command_is_what_it_was():
    assert needing() == digest(call(["true"])) != ""


def test_what_needs_something_without_a_definition_has_none():
    assert needing("a", "") == needing("") == ""


def test_a_result_in_a_command_counts_by_what_it_is_the_result_of_and_where_it_stands():
    def filled(*argv):
        return digest(make_work(argv, JobOptions()), Needs.of(("one", "two")))

    works = [
        filled("x", Hole(0), Hole(1)),
        filled("x", Hole(1), Hole(0)),
        filled("x", "one", "two"),
        filled("x", Hole(0)),
        digest(make_work(["x", Hole(0)], JobOptions()), Needs.of(("two",))),
        digest(make_work(["x", Hole(0)], JobOptions()), Needs.of(("one",))),
    ]

    assert len({*works}) == len(works)


def test_a_command_with_results_has_no_definition_without_them():
    assert digest(make_work(["x", Hole(0)], JobOptions())) == ""


def test_a_python_call_is_known_by_its_form():
    work = Work((), JobOptions(), Function("m:f", "", "place", "f()"))
    moved = Work((), JobOptions(priority=3), Function("m:f", "args", "elsewhere", "f(…)", reuse=True))

    assert digest(work, form="f(1)") == digest(moved, form="f(1)") != digest(work, form="f(2)")
    assert digest(work) == ""


# Finding again


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abcd"), max_size=15))
def test_the_kth_equal_push_gets_the_kth_job_in_any_order(made, pushed):
    matching = Matching(enumerate(made, 1))

    got = [(name, matching.take(name)) for name in pushed]

    for name in "abcd":
        ids = [id_ for id_, its in enumerate(made, 1) if its == name]
        pushes = [id_ for its, id_ in got if its == name]
        assert pushes == [*ids, *[None] * len(pushes)][: len(pushes)]
    assert matching.left == sorted({*range(1, len(made) + 1)} - {id_ for _, id_ in got})


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=8), st.integers(0, 8))
def test_what_is_put_back_is_found_again_in_the_same_order(made, count):
    matching = Matching(enumerate(made, 1))
    taken = [(name, matching.take(name)) for name in made[:count]]

    for name, id_ in reversed(taken):
        matching.put_back(name, id_)

    assert [(name, matching.take(name)) for name in made[:count]] == taken


def test_what_has_no_definition_is_never_found_and_left():
    matching = Matching([(1, ""), (2, "a")])

    assert matching.take("") is None
    assert matching.take("a") == 2
    assert matching.left == [1]
