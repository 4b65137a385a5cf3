"""Calls that are found to be needed while a call runs."""

import json

import pytest

from xqute.options import JobOptions
from xqute.plan import Plan, plan

HEAD = "from xqute import cmd, current_job, task\n"

ONE = """
@task
def one(n):
    return n

"""


def asked(job) -> list[Plan]:
    """What the job asked for, as whoever watches it reads it."""
    names = [event.split()[1] for event in job.events if event.startswith("require ")]
    return [Plan.from_json(job.text(f"job.call.{name}")) for name in names]


def digests(job) -> list[str]:
    """What the calls are known by that the job asked for."""
    [laid] = asked(job)
    return [laid.nodes[number].digest for number in laid.roots]


@pytest.fixture
def begin(host):
    def begin(text: str, required=None, **more):
        host.module(HEAD + ONE + text)
        return host.call("work", required=required, **more)

    return begin


WORK = "def work(): return current_job().require(one(n) for n in (1, 2))"
ASYNC = "async def work(): return await current_job().require([one(1), one(2)])"


@pytest.mark.parametrize("text", [WORK, ASYNC], ids=["sync", "async"])
def test_first_the_calls_are_asked_for_and_then_their_results_are_returned(host, begin, text):
    first = begin(text)

    assert first.rc == 0
    assert not first.has_result
    assert first.stderr == ""
    assert [node.work.function.target for node in asked(first)[0].nodes] == ["work:one"] * 2
    known = digests(first)

    second = begin(text, {known[0]: [host.result(3, "a")], known[1]: [host.result(4, "b")]})

    assert second.result == ["a", "b"]
    assert second.events == []


def test_only_what_is_missing_is_asked_for(host, begin):
    known = digests(begin(WORK))

    job = begin(WORK, {known[0]: [host.result(3, "a")]})

    assert digests(job) == known[1:]


def test_commands_are_required_as_well(host, begin):
    text = "def work(): return current_job().require([cmd('echo', 1), 'echo 2'])"
    known = digests(begin(text))

    job = begin(text, {known[0]: [host.output(3, b"1\n")], known[1]: [[4, "skipped"]]})

    assert job.result == ["1", None]


def test_calls_may_hold_calls(begin):
    [laid] = asked(begin("def work(): return current_job().require([one([one(1), one(2)])])"))

    assert len(laid.nodes) == 3
    assert laid.roots == [2]
    assert laid.groups == [(0, 1)]


def test_what_the_job_was_given_is_given_on(begin):
    options = {"priority": 5, "title": "mine", "env": [["A", "b"]], "timeout": 60, "stdout": "/dev/null"}

    job = begin(WORK, options=options)

    given = asked(job)[0].nodes[0].work.options
    assert given == JobOptions(priority=5, env=(("A", "b"),))


def test_the_same_call_is_one_job_however_often_it_is_required(host, begin):
    text = """
CALL = one(1)
def work():
    job = current_job()
    [a, b] = job.require([CALL, CALL])
    [c] = job.require([CALL])
    return a is b is c
"""
    [known] = digests(begin(text))

    assert begin(text, {known: [host.result(3, ["a"])]}).result is True


def test_equal_calls_are_one_job_each_in_their_order(host, begin):
    text = "def work(): return current_job().require([one(1), one(1)])"
    known = digests(begin(text))
    assert known[0] == known[1]

    job = begin(text, {known[0]: [host.result(3, "a"), host.result(4, "b")]})

    assert job.result == ["a", "b"]


def test_an_equal_call_of_a_later_require_is_the_job_that_it_was_before(host, begin):
    text = """
def work():
    job = current_job()
    return job.require([one(1), one(2)]) + job.require([one(2), one(3)])
"""
    known = digests(begin(text))
    required = {known[0]: [host.result(3, 1)], known[1]: [host.result(4, 2)]}
    [more] = digests(begin(text, required))

    job = begin(text, {**required, more: [host.result(5, 3)]})

    assert job.result == [1, 2, 2, 3]


def test_a_later_require_of_more_equal_calls_than_there_are_jobs_asks_for_all_of_them(host, begin):
    """Of equal calls the tree gives the first ones the jobs that it has: one alone would get the old one."""
    text = """
def work():
    job = current_job()
    return job.require([one(1)]), job.require([one(1), one(2), one(1)])
"""
    [known] = digests(begin(text))
    asked_then = digests(begin(text, {known: [host.result(3, "a")]}))
    assert asked_then.count(known) == 2

    [other] = set(asked_then) - {known}
    required = {known: [host.result(3, "a"), host.result(4, "b")], other: [host.result(5, "c")]}

    assert begin(text, required).result == (["a"], ["a", "c", "b"])


def test_equal_calls_of_one_name_are_one_build(host, begin):
    text = """
def work():
    job = current_job()
    named = [one(1).named("n"), one(1).named("n")]
    return job.require(named) + job.require([*named, one(1).named("n")])
"""
    known = digests(begin(text))
    assert known[0] == known[1]

    assert begin(text, {known[0]: [host.result(3, "a")]}).result == ["a"] * 5


def test_tasks_of_an_asynchronous_call_share_the_job_of_an_equal_call(host, begin):
    text = """
import asyncio
async def work():
    return await asyncio.gather(one_of(), one_of())
async def one_of():
    return await current_job().require([one(1)])
"""
    known = digests(begin(text))[0]

    assert begin(text, {known: [host.result(3, "a")]}).result == [["a"], ["a"]]


def test_a_second_round_follows_the_first(host, begin):
    text = """
def work():
    job = current_job()
    [n] = job.require([one(1)])
    return job.require([one(n + 1)])
"""
    known = digests(begin(text))
    required = {known[0]: [host.result(3, 1)]}
    more = digests(begin(text, required))

    job = begin(text, {**required, more[0]: [host.result(4, 2)]})

    assert job.result == [2]


def test_tasks_of_an_asynchronous_call_may_require_side_by_side(begin):
    text = """
import asyncio
async def work():
    async with asyncio.TaskGroup() as group:
        for n in range(2):
            group.create_task(one_of(n))
async def one_of(n):
    return await current_job().require([one(n)])
"""

    job = begin(text)

    assert job.rc == 0
    assert 1 <= len(asked(job)) <= 2


def test_no_except_of_an_exception_stops_it(begin):
    text = """
def work():
    try:
        current_job().require([one(1)])
    except Exception:
        return "stopped"
"""

    job = begin(text)

    assert not job.has_result
    assert len(asked(job)) == 1


def test_nothing_is_asked_for_by_a_call_that_goes_on(begin):
    text = """
def work():
    try:
        current_job().require([one(1)])
    except BaseException:
        return "went on"
"""

    job = begin(text)

    assert job.result == "went on"
    assert job.events == []


def test_what_can_not_be_known_again_is_refused(begin):
    job = begin("def work(): current_job().require([one(object())])")

    assert job.rc == 1
    assert job.error["type"] == "OptionError"
    assert "would not be known again" in job.error["message"]


def test_calls_that_need_each_other_are_refused(begin):
    text = """
def work():
    inner = []
    outer = one(inner)
    inner.append(one(outer))
    current_job().require([outer])
"""

    assert begin(text).error["type"] == "CycleError"


def test_a_child_process_can_not_require(host):
    host.module(
        HEAD
        + ONE
        + """
import multiprocessing

def child(queue):
    try:
        current_job().require([one(1)])
    except Exception as exc:
        queue.put(str(exc))

def work():
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    process.join()
    return queue.get()
"""
    )

    assert "only the own process of a Python call knows" in host.call("work").result


@pytest.mark.parametrize(
    ("given", "shown", "remedy"),
    [
        ("'echo hi'", "'echo hi'", "['echo hi']"),
        ("one(1)", "one", "[one(1)]"),
        ("one", "one", "[…]"),
        ("5", "5", "[…]"),
    ],
)
def test_what_is_required_is_several(begin, given, shown, remedy):
    job = begin(f"def work(): return current_job().require({given})")

    assert job.error["message"] == (
        f"require() takes several calls, not {shown}: give a list of them: {remedy}"
    )


def test_an_unknown_word_for_ok_is_refused(begin):
    job = begin("def work(): current_job().require([one(1)], ok='some')")

    assert job.error["message"] == "unknown ok='some': known is 'all'"


def test_what_is_asked_for_is_the_plan_that_a_push_would_make(begin):
    job = begin("def work(): current_job().require([cmd('echo', 1)])")
    [name] = [event.split()[1] for event in job.events]

    laid = plan([["echo", "1"]], JobOptions(), place=lambda: "")

    assert json.loads(job.text(f"job.call.{name}")) == json.loads(laid.as_json())
