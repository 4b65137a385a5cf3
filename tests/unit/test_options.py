"""Options are checked where they are given, and a mistake names what was meant."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xqute.errors import OptionError
from xqute.options import (
    OPTION_NAMES,
    JobOptions,
    apply_options,
    options_as_json,
    options_from_json,
    seconds,
)
from xqute.states import JobErrorStrategy

DEFAULTS = JobOptions()


def test_nothing_given_changes_nothing():
    assert apply_options(DEFAULTS, {}) is DEFAULTS


def test_the_nearest_wins():
    far = apply_options(DEFAULTS, {"priority": 1, "timeout": 60})
    near = apply_options(far, {"priority": 2})

    assert (near.priority, near.timeout) == (2, 60)


def test_environments_are_merged_name_by_name():
    far = apply_options(DEFAULTS, {"env": {"A": "1", "B": "1"}})
    near = apply_options(far, {"env": {"B": "2", "C": 3}})

    assert dict(near.env) == {"A": "1", "B": "2", "C": "3"}


def test_retries_nearer_than_a_strategy_mean_retry():
    assert apply_options(DEFAULTS, {"retries": 1}).error_strategy is JobErrorStrategy.RETRY


def test_a_strategy_given_with_retries_stands():
    given_ = {"retries": 1, "error_strategy": "halt"}

    assert apply_options(DEFAULTS, given_).error_strategy is JobErrorStrategy.HALT


@pytest.mark.parametrize(
    ("value", "is_"),
    [
        (0, 0),
        (1.5, 1.5),
        ("90", None),
        ("90s", 90),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("500ms", 0.5),
        ("2d", 172_800),
        ("1 h 30 m", 5400),
        ("1H", 3600),
        ("", None),
        ("soon", None),
        ("-1s", None),
        (-1, None),
        (True, None),
        (None, None),
        (float("inf"), None),
        (float("nan"), None),
        ("1h30", None),
        ("1hh", None),
    ],
    ids=repr,
)
def test_durations_read_as_people_write_them(value, is_):
    if is_ is None:
        with pytest.raises(OptionError, match=r'"1h30m"'):
            seconds("timeout", value)
    else:
        assert seconds("timeout", value) == is_


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("priorty", "priority"), ("time_out", "timeout"), ("retry", "retries"), ("envs", "env")],
)
def test_a_misspelt_option_names_the_nearest(name, nearest):
    with pytest.raises(OptionError, match=f"did you mean '{nearest}'"):
        apply_options(DEFAULTS, {name: 1})


@pytest.mark.parametrize(("name", "says"), [("after", r"cmd(…).after(job)"), ("name", r'.named("…")')])
def test_what_a_call_says_itself_is_no_option_and_the_error_shows_how(name, says):
    with pytest.raises(OptionError, match=re.escape(says)):
        apply_options(DEFAULTS, {name: 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("priority", 1.5),
        ("priority", "high"),
        ("priority", True),
        ("retries", -1),
        ("retries", None),
        ("retry_delay", "soon"),
        ("timeout", -1),
        ("grace", None),
        ("env", ["A=1"]),
        ("env", {"A B": "1"}),
        ("env", {"A=": "1"}),
        ("env", {"": "1"}),
        ("env", {"A": "nul\0"}),
        ("error_strategy", "ignor"),
        ("cwd", "nul\0"),
        ("title", "nul\0"),
    ],
)
def test_a_wrong_value_is_refused_and_named(name, value):
    with pytest.raises(OptionError, match=name):
        apply_options(DEFAULTS, {name: value})


@pytest.mark.parametrize("value", [-1, True, 1.5, ["a"], object()], ids=repr)
@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr", "cwd"])
def test_what_is_no_path_is_refused(name, value):
    with pytest.raises(OptionError, match=f"{name}=.* must be a path: a str, bytes or a Path"):
        apply_options(DEFAULTS, {name: value})


def test_an_open_file_is_refused_where_its_path_would_do(tmp_path):
    path = tmp_path / "in"
    with path.open("w") as file, pytest.raises(OptionError) as raised:
        apply_options(DEFAULTS, {"stdin": file})

    assert str(raised.value) == (
        f"stdin can't be an open file: give its path, {str(path)!r}; the job opens it itself, where it runs"
    )


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("stdin", "a job reads nothing unless it is given the path of a file"),
        ("stdout", "what a job prints is kept anyway: `await job`, job.stdout_file"),
        ("stderr", "what a job says there is kept anyway: job.stderr_file"),
    ],
)
@pytest.mark.parametrize("value", [subprocess.PIPE, subprocess.DEVNULL], ids=["PIPE", "DEVNULL"])
def test_what_subprocess_takes_is_refused_with_what_there_is(name, value, says):
    with pytest.raises(OptionError, match=re.escape(says)):
        apply_options(DEFAULTS, {name: value})


@pytest.mark.parametrize("value", [None, ["a"], {"a": 1}, object()], ids=["None", "list", "dict", "object"])
@pytest.mark.parametrize("name", ["env", "title", "user", "tags"])
def test_what_is_no_text_is_not_made_one(name, value):
    given_ = {"env": {"A": value}, "tags": [value]}.get(name, value)

    with pytest.raises(OptionError, match=r"is no text: give a str, bytes, a number or a path"):
        apply_options(DEFAULTS, {name: given_})


def test_no_variable_is_set_to_none():
    with pytest.raises(OptionError, match=r"env\['A'\]=None is no text: .*; leave it out to set nothing"):
        apply_options(DEFAULTS, {"env": {"A": None}})


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_a_priority_that_no_store_could_keep_is_refused(value):
    with pytest.raises(OptionError, match=r"priority=.* is out of bounds: give one of less than 2\*\*63"):
        apply_options(DEFAULTS, {"priority": value})


def test_paths_are_made_absolute_at_once(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    options = apply_options(DEFAULTS, {"cwd": "a", "stdout": Path("b"), "stdin": b"c"})

    assert options.cwd == str(tmp_path / "a")
    assert options.stdout == str(tmp_path / "b")
    assert options.stdin == str(tmp_path / "c")


def test_one_tag_may_be_a_plain_text():
    assert apply_options(DEFAULTS, {"tags": "one"}).tags == ("one",)
    assert apply_options(DEFAULTS, {"tags": ["one", "two"]}).tags == ("one", "two")


def test_every_option_is_checked():
    for name in OPTION_NAMES:
        with pytest.raises(OptionError):
            apply_options(DEFAULTS, {name: ["nul\0"] if name == "tags" else "nul\0"})


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=20)
given_options = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.integers(-(2**31), 2**31),
        "retries": st.integers(0, 1000),
        "retry_delay": st.floats(0, 1e6),
        "timeout": st.none() | st.floats(0, 1e6),
        "grace": st.floats(0, 1e6),
        "error_strategy": st.sampled_from(["ignore", "retry", "halt"]),
        "env": st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True), texts),
        "cwd": st.none() | texts,
        "title": texts,
        "user": texts,
        "tags": st.lists(texts.filter(lambda tag: "\n" not in tag)),
    },
)


@given(given_options)
def test_options_come_back_from_a_store_as_they_were(given_):
    options = apply_options(DEFAULTS, given_)

    assert options_from_json(json.loads(json.dumps(options_as_json(options)))) == options


def test_defaults_cost_nothing_in_a_store():
    assert options_as_json(JobOptions()) == {}
