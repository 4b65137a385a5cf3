"""What every batch scheduler does with its commands, on a scheduler of tables and a runner that acts."""

import asyncio
import logging
import os
import re
import subprocess
import time

import pytest

from tests.unit.schedulers.tables import DOWN, Acting, Tables, jobs_of, mark, seen
from xqute import Answer, BackendFull, BackendUnavailable, OptionError, Presence, SubmitError
from xqute.runners import local
from xqute.runners.local import LocalRunner
from xqute.schedulers import batches, batching
from xqute.schedulers.adapter import Limits
from xqute.schedulers.batching import Element, Rate
from xqute.testing import Bench


@pytest.fixture
def make():
    def make(**options):
        scheduler = Tables(scheduler_rate=None, **options)
        scheduler.runner = Acting()
        return scheduler

    return make


@pytest.fixture
def bench(make, tmp_path):
    return Bench(make(), tmp_path / "bench")


def run_element(shell, script, element):
    """Run the script of an array as the scheduler runs one of its elements."""
    subprocess.run([shell, script], env={"TAB_ID": element, "PATH": os.environ["PATH"]}, check=True)


# Submitting


async def test_jobs_of_one_shape_are_one_submission(bench) -> None:
    bench.scheduler.runner.says("1000", "7")
    jobs = await jobs_of(bench, 3)

    outcomes = await bench.scheduler.submit_jobs(jobs)

    assert outcomes == ["7.1", "7.2", "7.3"]
    conf, [_, name, script, size] = bench.scheduler.runner.ran
    assert (conf, size) == (["conf"], "3")
    assert name == os.path.basename(script)
    assert name.startswith(f"xq-{mark(jobs[0])}-")


async def test_each_shape_is_a_submission_of_its_own_and_a_lonely_job_is_submitted_itself(bench) -> None:
    bench.scheduler.runner.says("1000", "7", "8", "9")
    a, b, c, d, e = [await bench.job(["true"], title=title) for title in "xyxyz"]

    outcomes = await bench.scheduler.submit_jobs([a, b, c, d, e])

    assert outcomes == ["7.1", "8.1", "7.2", "8.2", "9"]
    assert bench.scheduler.runner.ran[-1] == ["sub", f"xq-{mark(e)}-{e.id}.1", e.script(bench.scheduler)]


async def test_the_array_says_its_directives_and_each_element_finds_its_job(bench, monkeypatch) -> None:
    monkeypatch.setattr(batches, "forget", lambda script: None)
    bench.scheduler.runner.says("1000", "7")
    jobs = await jobs_of(bench, 12, title="x")
    await bench.scheduler.submit_jobs(jobs)
    script = bench.scheduler.runner.ran[-1][2]

    for shell in ("sh", "dash", "bash"):
        run_element(shell, script, "11")

    with open(script) as file:  # noqa: ASYNC230
        assert file.read().startswith("#!/bin/sh\n#TAB -l x\nset -- ")
    assert [bench.news(job).rc for job in jobs] == [None] * 10 + [0, None]


async def test_an_element_leaves_when_its_job_has_a_later_start(bench, monkeypatch) -> None:
    monkeypatch.setattr(batches, "forget", lambda script: None)
    bench.scheduler.runner.says("1000", "7")
    jobs = await jobs_of(bench, 2)
    await bench.scheduler.submit_jobs(jobs)
    await bench._write(jobs[0], start=2)

    for element in ("1", "2"):
        script = bench.scheduler.runner.ran[-1][2]
        run_element("sh", script, element)

    assert [bench.news(job).rc for job in jobs] == [None, 0]


async def test_an_array_is_no_larger_than_the_cluster_or_the_user_says(make, tmp_path) -> None:
    for options, sizes in (({}, ["3", "3"]), ({"scheduler_array_limit": 2}, ["2", "2", "2"])):
        bench = Bench(make(**options), tmp_path / f"{len(sizes)}")
        bench.scheduler.runner.says("3", *"789")

        await bench.scheduler.submit_jobs(await jobs_of(bench, 6))

        assert [argv[-1] for argv in bench.scheduler.runner.ran[1:]] == sizes
        assert bench.scheduler.kill_seconds == 30.0


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((1, "never heard of this queue"), SubmitError),
        ((1, "never mind, busy"), BackendUnavailable),
        ((1, "too many jobs"), BackendFull),
        ((1, "whatever"), BackendUnavailable),
        ("no number", BackendUnavailable),
        (DOWN, BackendUnavailable),
    ],
)
@pytest.mark.parametrize("count", [1, 3])
async def test_what_a_failed_submission_means_is_said_by_its_words(bench, answer, kind, count) -> None:
    bench.scheduler._limits = Limits()
    bench.scheduler.runner.says(answer)

    outcomes = await bench.scheduler.submit_jobs(await jobs_of(bench, count))

    assert [type(outcome) for outcome in outcomes] == [kind] * count
    assert len(bench.scheduler.runner.ran) == 1


async def test_without_knowing_the_limits_nothing_is_submitted(bench) -> None:
    bench.scheduler.runner.says(DOWN)

    outcomes = await bench.scheduler.submit_jobs(await jobs_of(bench, 2))

    assert [type(outcome) for outcome in outcomes] == [BackendFull] * 2
    assert bench.scheduler.runner.programs == ["conf"]


async def test_the_trouble_of_a_lonely_job_is_that_of_those_after_it(bench) -> None:
    bench.scheduler._limits = Limits(array=1)
    bench.scheduler.runner.says(*["1", "2", "3", DOWN, "5", "6", "7", "8"])

    outcomes = await bench.scheduler.submit_jobs(await jobs_of(bench, 10))

    assert [outcome if isinstance(outcome, str) else type(outcome) for outcome in outcomes] == [
        *("1", "2", "3", BackendUnavailable, "5", "6", "7", "8"),
        *(BackendFull, BackendFull),
    ]


# Asking


async def asked(bench, *answers, count=2, uids=("7.1", "7.2")):
    jobs = await jobs_of(bench, count)
    for job, uid in zip(jobs, uids, strict=True):
        job.uid = uid
    bench.scheduler._limits = Limits()
    bench.scheduler.runner.says(*(answer.replace("NAME", f"xq-{mark(jobs[0])}-z") for answer in answers))
    found = await bench.scheduler.poll_jobs(jobs)
    return jobs, [found[job] for job in jobs]


async def test_all_are_asked_about_by_one_command(bench) -> None:
    _, answers = await asked(bench, "7.1 RUNNING NAME\n7.2 PENDING NAME\n9 RUNNING other")

    assert [answer.presence for answer in answers] == [Presence.RUNNING, Presence.PENDING]
    assert bench.scheduler.runner.ran == [["ask", "7.1", "7.2"]]


async def test_what_one_answer_misses_may_be_in_the_next(bench) -> None:
    _, answers = await asked(bench, "7.1 RUNNING NAME", "7.2 RUNNING NAME")

    assert [answer.presence for answer in answers] == [Presence.RUNNING] * 2
    assert bench.scheduler.runner.ran[1] == ["ask", "7.2"]


async def test_what_two_answers_miss_is_gone(bench) -> None:
    _, answers = await asked(bench, "7.1 RUNNING NAME", "7.1 RUNNING NAME")

    assert answers == [Answer(Presence.RUNNING), Answer(Presence.GONE)]


async def test_a_number_under_another_name_is_another_job(bench) -> None:
    _, answers = await asked(bench, "7.1 RUNNING NAME\n7.2 RUNNING foreign", "7.2 RUNNING xq-other-z")

    assert [answer.presence for answer in answers] == [Presence.RUNNING, Presence.GONE]


async def test_who_was_never_handed_over_is_gone_without_a_question(bench) -> None:
    _, answers = await asked(bench, count=1, uids=("",))

    assert answers == [Answer(Presence.GONE)]
    assert not bench.scheduler.runner.ran


async def test_a_question_that_fails_answers_nothing_and_is_told_once(bench, caplog) -> None:
    jobs = await jobs_of(bench, 2)
    for job in jobs:
        job.uid = str(job.id)
    bench.scheduler._limits = Limits()
    bench.scheduler.runner.says((1, "whatever"), DOWN, "1 HOLIDAY x", (1, "no such job"), (1, "no such job"))

    with caplog.at_level(logging.WARNING):
        answers = [(await bench.scheduler.poll_jobs(jobs))[jobs[0]] for _ in range(2)]
        with pytest.raises(KeyError):
            await bench.scheduler.poll_jobs(jobs)
        last = await bench.scheduler.poll_jobs(jobs)

    assert [answer.presence for answer in answers] == [Presence.UNKNOWN] * 2
    assert answers[0].reason == answers[1].reason
    assert str(answers[0].reason).startswith("scheduler unreachable since 2")
    assert [answer.presence for answer in last.values()] == [Presence.GONE] * 2
    assert [line.split(":")[0] for line in caplog.messages] == [
        "scheduler 'tables' does not answer",
        "scheduler 'tables' answers again, after 0 s",
    ]


async def test_a_node_that_failed_is_remembered_for_the_job(bench) -> None:
    [one, two], _ = await asked(bench, "7.1 DOWN NAME\n7.2 RUNNING NAME")

    assert bench.scheduler.bad_nodes(one) == ["n1"]
    assert bench.scheduler.directives(one) == ["#TAB -l same", "#TAB -x n1"]
    assert bench.scheduler.bad_nodes(two) == []


async def test_what_was_submitted_is_found_by_its_name(bench) -> None:
    bench.scheduler._limits = Limits()
    bench.scheduler.runner.says(DOWN, DOWN)
    jobs = await jobs_of(bench, 4)
    await bench.scheduler.submit_jobs(jobs[:3])
    await bench.scheduler.submit_jobs(jobs[3:])
    [_, array, *_], [_, alone, _] = bench.scheduler.runner.ran
    foreign = f"xq-{mark(jobs[0])}-none"
    bench.scheduler.runner.says(
        f"7.1 RUNNING {array} 1\n7.3 PENDING pre-{array} 3\n9 RUNNING {alone}\n10 DOWN {alone}\n"
        f"11 RUNNING {foreign}\n12.1 RUNNING {foreign} 1\n13 RUNNING x"
    )

    found = await bench.scheduler.find_jobs(jobs)

    assert found == {jobs[0]: "7.1", jobs[2]: "7.3", jobs[3]: "9"}
    assert len(bench.scheduler.runner.ran) == 3


async def test_another_start_of_a_job_is_not_found(bench) -> None:
    [job] = await jobs_of(bench, 1)
    bench.scheduler.runner.says(f"9 RUNNING xq-{mark(job)}-{job.id}.1")
    job.start = 2

    assert await bench.scheduler.find_jobs([job]) == {}


async def test_looking_up_what_can_not_be_asked_is_no_answer(bench) -> None:
    bench.scheduler.runner.says(DOWN)

    with pytest.raises(BackendUnavailable):
        await bench.scheduler.find_jobs(await jobs_of(bench, 1))


# Killing


async def test_many_are_killed_by_few_commands_whatever_happens_to_one(bench) -> None:
    jobs = await jobs_of(bench, 3)
    seen(bench, jobs, ("7.1", "7.1", "8"))
    bench.scheduler.runner.says((1, "no such job"))

    await bench.scheduler.kill_jobs(jobs)
    assert bench.scheduler.runner.ran == [["del", "7.1", "8"]]

    bench.scheduler.runner.says((1, "whatever"))
    with pytest.raises(BackendUnavailable, match="whatever"):
        await bench.scheduler.kill_jobs(jobs)


async def test_a_kill_goes_out_in_pieces_and_the_trouble_of_one_keeps_none_back(bench, monkeypatch) -> None:
    monkeypatch.setattr("xqute.schedulers.batch.KILL_CHUNK", 2)
    jobs = await jobs_of(bench, 5)
    seen(bench, jobs, "12345")
    bench.scheduler.runner.says("", DOWN, "")

    with pytest.raises(BackendUnavailable):
        await bench.scheduler.kill_jobs(jobs)

    assert bench.scheduler.runner.ran == [["del", "1", "2"], ["del", "3", "4"], ["del", "5"]]


# Options and commands


async def test_commands_do_not_see_variables_that_change_what_they_do(bench, monkeypatch) -> None:
    for name in ("TAB_USER", "TAB_HOME", "OTHER"):
        monkeypatch.setenv(name, "1")

    await bench.scheduler._run(["ask"])

    assert {"TAB_HOME", "OTHER"} <= set(bench.scheduler.runner.env)
    assert "TAB_USER" not in bench.scheduler.runner.env
    assert bench.scheduler.commands == {"ask": 1}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scheduler_rate": "fast"}, "60/1m"),
        ({"scheduler_rate": "0/1m"}, "60/1m"),
        ({"scheduler_poll_interval": "soon"}, "no duration"),
        ({"scheduler_command_timeout": -1}, "no duration"),
        ({"scheduler_array_limit": 0}, "whole number"),
        ({"scheduler_array_limit": True}, "whole number"),
        ({"tab_x": "a\nb"}, "one line"),
        ({"scheduler_rat": "1/1s"}, "did you mean 'scheduler_rate'"),
    ],
)
def test_an_option_that_can_not_be_used_is_refused(options, said) -> None:
    with pytest.raises(OptionError, match=re.escape(said)):
        Tables(**options)


def test_the_interval_of_questions_has_a_floor() -> None:
    assert Tables().poll_seconds == 15.0
    assert Tables(scheduler_poll_interval="1m").poll_seconds == 60.0
    assert Tables(scheduler_poll_interval=0.1).poll_seconds == 2.0


def test_lists_flags_and_nothing_expand() -> None:
    given = {"tab_l": ("a", "b"), "tab_f": True, "tab_n": None, "tab_o": False, "other": 1, "tab_0": 0}

    assert list(batching.expand(given, ("tab_",))) == [("l", "a"), ("l", "b"), ("f", None), ("0", "0")]


def test_no_two_batches_have_one_number() -> None:
    numbers = [batching.new_batch() for _ in range(5000)]

    assert len(set(numbers)) == len(numbers)


def test_names_are_made_of_what_every_scheduler_takes() -> None:
    assert batching.plain_name("a b/c;'é$(id)") == "a_b_c_____id_"


@pytest.mark.parametrize("elements", [[Element(1, 1)], [Element(7, 2), Element(1200, 31)]])
def test_the_script_of_an_array_says_whose_elements_they_are(elements) -> None:
    text = batching.array_text("/a b/m'", "job.wrapped.x", "ID", ["#X -a"], elements)

    assert batching.read_elements(text) == elements
    assert batching.read_elements("#!/bin/sh\nset -- x\n") == []


async def test_a_bucket_lets_so_many_pass_at_once_and_others_later() -> None:
    rate = Rate.of("5/0.5s")
    began = time.monotonic()
    for _ in range(5):
        await rate.take()
    at_once = time.monotonic() - began
    await asyncio.gather(rate.take(), rate.take(), rate.take())

    assert at_once < 0.1
    assert time.monotonic() - began >= 0.25
    assert Rate.of(None) is None


async def test_every_command_takes_from_the_bucket() -> None:
    scheduler = Tables(scheduler_rate="2/0.4s")
    scheduler.runner = Acting()
    began = time.monotonic()

    for _ in range(4):
        await scheduler._run(["ask"])

    assert time.monotonic() - began >= 0.3


# The runner


def sh(line):
    return ["sh", "-c", line]


async def test_a_command_is_run_to_its_end() -> None:
    runner = LocalRunner()

    ran = await runner.run(sh("echo out; printf 'e\\377\\n' >&2; cat; exit 3"), seconds=20)

    assert ran[1:] == (3, "out\n", "e�\n")
    assert (ran.program, ran.said) == ("sh", "e� / out")
    assert runner.commands == {"sh": 1}


async def test_a_line_for_sh_is_told_and_counted_as_the_command_it_was_given() -> None:
    runner = LocalRunner()

    ran = await runner.run(["/bin/sh", "-c", 'echo "$0 $1"', "/opt/bin/qacct", "7"], seconds=20)

    assert (ran.program, ran.said) == ("qacct", "/opt/bin/qacct 7")
    assert runner.commands == {"qacct": 1}


async def test_who_holds_the_pipes_of_a_command_is_not_waited_for() -> None:
    began = time.monotonic()

    ran = await LocalRunner().run(sh("echo out; sleep 5 & exit 0"), seconds=20)

    assert (ran.code, ran.output) == (0, "out\n")
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("how", ["too long", "cancelled", "too much"])
async def test_what_is_given_up_is_ended_with_all_it_started(alive, monkeypatch, how) -> None:
    if how == "too much":
        monkeypatch.setattr(local, "OUTPUT_BYTES", 1000)
    line = {"too much": "sleep 60 & yes"}.get(how, "sleep 60 & sleep 60")
    running = asyncio.create_task(LocalRunner().run(sh(line), seconds=0.3 if how == "too long" else 20))
    if how == "cancelled":
        while len(alive()) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        running.cancel()

    with pytest.raises(asyncio.CancelledError if how == "cancelled" else BackendUnavailable):
        await running

    until = time.monotonic() + 10
    while alive():
        assert time.monotonic() < until
        await asyncio.sleep(0.01)


async def test_a_program_that_is_not_there_is_an_outage() -> None:
    with pytest.raises(BackendUnavailable, match="No such file"):
        await LocalRunner().run(["/nonexistent/sbatch"], seconds=5)


async def test_a_command_has_the_environment_it_is_given() -> None:
    ran = await LocalRunner().run(sh("echo $A"), seconds=20, env={"A": "b", "PATH": os.environ["PATH"]})

    assert ran.output == "b\n"
