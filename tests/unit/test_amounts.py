"""How much a job takes: as people write it, and as it grows with the attempt."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xqute.amounts import shown, size, told
from xqute.errors import OptionError
from xqute.options import (
    JobOptions,
    apply_options,
    limited,
    needs_text,
    options_as_json,
    options_from_json,
    settle_options,
)

DEFAULTS = JobOptions()
G = 2**30


def options(**given_) -> JobOptions:
    return settle_options(apply_options(DEFAULTS, given_))


@pytest.mark.parametrize(
    ("value", "bytes_"),
    [("8G", 8 * G), ("512M", G / 2), ("1.5GiB", 1.5 * G), ("2 tb", 2048 * G), ("100", 100), (7, 7), ("0", 0)],
)
def test_sizes_read_as_people_write_them(value, bytes_):
    assert size("mem", value) == bytes_


@pytest.mark.parametrize("value", ["", "G", "8X", "-1G", "1e9", -1, True, float("inf"), float("nan"), None])
def test_what_is_no_size_is_refused(value):
    with pytest.raises(OptionError, match="mem="):
        size("mem", value)


@given(st.integers(0, 2**50))
def test_a_size_that_is_shown_reads_as_nearly_the_same(value):
    again = size("mem", shown("mem", float(value)))

    assert abs(again - value) <= value / 1000


def test_amounts_are_told_with_their_names():
    assert told({"cpus": 4.0, "mem": 16.0 * G, "gpus": 0.5}) == "cpus 4, mem 16G, gpus 0.5"


def test_a_job_takes_what_its_options_say():
    takes = options(cpus=4, mem="8G", gpus=1, time="1h30m", resources={"licence": 2})

    assert takes.amounts(1) == {"cpus": 4, "mem": 8 * G, "gpus": 1, "time": 5400, "licence": 2}
    assert DEFAULTS.amounts(1) == {}


def test_a_function_is_asked_for_each_attempt_there_may_be():
    asked = []
    takes = options(mem=lambda attempt: asked.append(attempt) or f"{attempt}G", retries=2)

    assert asked == [1, 2, 3]
    assert [takes.amounts(attempt)["mem"] / G for attempt in (1, 2, 3, 4)] == [1, 2, 3, 3]
    assert takes.grows


def test_without_retries_there_is_one_attempt():
    takes = options(cpus=lambda attempt: attempt)

    assert takes.amounts(5) == {"cpus": 1}
    assert not takes.grows


def test_the_attempts_are_those_of_the_nearest_level():
    far = apply_options(DEFAULTS, {"resources": {"licence": lambda attempt: attempt}})

    near = settle_options(apply_options(far, {"retries": 1}))

    assert [near.amounts(attempt)["licence"] for attempt in (1, 2, 3)] == [1, 2, 2]


def test_resources_are_merged_name_by_name():
    far = apply_options(DEFAULTS, {"resources": {"a": 1, "b": 1}, "mem": "1G"})
    near = apply_options(far, {"resources": {"b": 2}, "mem": None})

    assert near.amounts(1) == {"a": 1, "b": 2}


def test_a_store_keeps_what_a_process_may_run_short_of():
    takes = options(mem=8, cpus=2, time="1h", resources={"a": 0, "b": 1})

    assert json.loads(needs_text(takes, 1)) == {"b": 1, "cpus": 2, "mem": 8}
    assert needs_text(takes, 1) == needs_text(options(cpus=2, mem=8, resources={"b": 1}), 1)
    assert needs_text(options(time=9), 1) == ""


def test_amounts_survive_a_store():
    given_ = options(mem=lambda attempt: attempt, retries=1, resources={"a": 1}, limit=("align", 2), time=5)

    assert options_from_json(json.loads(json.dumps(options_as_json(given_)))) == given_


def test_a_limit_has_the_name_of_the_task_unless_it_has_its_own():
    assert limited(options(limit=2), "align").limit == ("align", 2)
    assert limited(options(limit=("sort", 3)), "align").limit == ("sort", 3)
    assert limited(options(), "align").limit is None
    assert options(limit=None).limit is None


@pytest.mark.parametrize("limit", [0, -1, True, "two", ("a", 0), ("a\n", 1), (1, 1), (), ("a", 1, 2), 1.5])
def test_what_is_no_limit_is_refused(limit):
    with pytest.raises(OptionError, match="limit="):
        options(limit=limit)


@pytest.mark.parametrize(
    "resources", [{"": 1}, {"a b": 1}, {1: 1}, {"a": "many"}, {"cpus": 1}, {"time": 1}, 3]
)
def test_what_are_no_resources_is_refused(resources):
    with pytest.raises(OptionError, match="resources"):
        options(resources=resources)
