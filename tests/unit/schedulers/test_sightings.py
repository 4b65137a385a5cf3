"""What is known of jobs by when they were last seen in the queue, and by what is listed without them."""

import time
from pathlib import Path

import pytest

from tests.unit.schedulers.tables import DOWN, Acting, Tables, jobs_of, mark, seen
from xqute import Answer, BackendUnavailable, JobStatus, Presence
from xqute.schedulers.adapter import Limits
from xqute.schedulers.batching import number_of
from xqute.settings import KNOWN_SECONDS
from xqute.testing import Bench

WAITS = JobStatus.SUBMITTED


class Arrays(Tables):
    """Its arrays have numbers of their own, and what ended is listed for a minute."""

    def array_of(self, uid):
        return uid.partition(".")[0] if "." in uid else ""

    def read_limits(self, output):
        return Limits(keep_seconds=float(output or "60"))


@pytest.fixture
def bench(tmp_path):
    scheduler = Arrays(scheduler_rate=None)
    scheduler.runner = Acting()
    return Bench(scheduler, tmp_path / "bench")


def long_ago(bench, job):
    bench.scheduler._sightings.note(job, time.monotonic() - KNOWN_SECONDS - 1)


# Whose number it is


async def test_who_was_seen_lately_is_ended_without_a_look(bench) -> None:
    jobs = await jobs_of(bench, 2)
    bench.scheduler.runner.says("5")
    jobs[0].uid = str(await bench.scheduler.submit_job(jobs[0]))
    jobs[1].uid = "6"
    bench.scheduler.runner.says(f"6 RUNNING xq-{mark(jobs[1])}-z")
    await bench.scheduler.poll_jobs(jobs[1:])

    await bench.scheduler.kill_jobs(jobs)

    assert bench.scheduler.runner.ran[2:] == [["del", "5", "6"]]


@pytest.mark.parametrize("theirs", ["7 RUNNING foreign", "7.1 RUNNING foreign 1\n7.2 PENDING foreign 2"])
async def test_a_number_that_is_a_strangers_by_now_is_not_ended(bench, theirs) -> None:
    jobs = await jobs_of(bench, 3)
    seen(bench, jobs, ("7", "8", "9"))
    long_ago(bench, jobs[0])
    long_ago(bench, jobs[1])
    bench.scheduler.runner.says(f"{theirs}\n8 RUNNING xq-{mark(jobs[1])}-z")

    await bench.scheduler.kill_jobs(jobs)

    assert bench.scheduler.runner.ran == [["ask", "7", "8"], ["del", "8", "9"]]


async def test_who_is_not_listed_is_asked_to_end_all_the_same(bench) -> None:
    """One answer may be incomplete."""
    [job] = await jobs_of(bench, 1)
    job.uid = "7"

    await bench.scheduler.kill_jobs([job])

    assert bench.scheduler.runner.ran == [["ask", "7"], ["del", "7"]]


async def test_nothing_is_ended_while_nobody_can_look_whose_it_is(bench) -> None:
    [job] = await jobs_of(bench, 1)
    job.uid = "7"
    bench.scheduler.runner.says(DOWN)

    with pytest.raises(BackendUnavailable):
        await bench.scheduler.kill_jobs([job])

    assert bench.scheduler.runner.programs == ["ask"]


@pytest.mark.parametrize(("uid", "number"), [("7_3", "7"), ("7.3", "7"), ("7[3].host", "7"), ("x-7", "x-7")])
def test_elements_have_the_number_of_their_array(uid, number) -> None:
    assert number_of(uid) == number


# What was taken out of the queue


async def polled(bench, jobs, rest, keep="60"):
    """What is said of them where both answers list the rest only."""
    text = rest.replace("NAME", f"xq-{mark(jobs[0])}-z")
    bench.scheduler.runner.says(text, keep, text)
    answers = await bench.scheduler.poll_jobs(jobs)
    assert bench.scheduler.runner.programs == ["ask", "conf", "ask"]
    return answers


async def test_an_element_that_left_its_array_without_a_trace_was_taken_out(bench) -> None:
    jobs = await jobs_of(bench, 2)
    seen(bench, jobs, ("7.1", "7.2"))

    answers = await polled(bench, jobs, "7.1 PENDING NAME 1")

    assert answers[jobs[0]] == Answer(Presence.PENDING)
    assert answers[jobs[1]].presence is Presence.GONE
    assert str(answers[jobs[1]].reason) == "KILLED by somebody: taken out of the queue while it waited"


@pytest.mark.parametrize(
    ("rest", "keep", "lately", "status"),
    [
        pytest.param("", "60", True, WAITS, id="the scheduler has lost the whole array"),
        pytest.param("7.1 RUNNING foreign 1", "60", True, WAITS, id="the number is another's"),
        pytest.param("7.1 RUNNING NAME 1", "0", True, WAITS, id="what ended is not listed"),
        pytest.param("7.1 RUNNING NAME 1", "60", False, WAITS, id="it may have ended, and be forgotten"),
        pytest.param("7.1 RUNNING NAME 1", "60", True, JobStatus.RUNNING, id="it had begun"),
    ],
)
async def test_an_absence_that_has_other_causes_proves_nothing(bench, rest, keep, lately, status) -> None:
    [job] = await jobs_of(bench, 1)
    seen(bench, [job], ["7.2"])
    job.status = status
    if not lately:
        long_ago(bench, job)

    assert await polled(bench, [job], rest, keep) == {job: Answer(Presence.GONE)}


# What need not be looked up


async def test_whose_files_say_an_end_of_this_start_is_not_looked_up(bench) -> None:
    jobs = await jobs_of(bench, 3)
    for job in jobs[:2]:
        (Path(job.directory) / "job.status").write_text("RUNNING 1\nFINISHED 0\n")
    jobs[1].start += 1  # the files are of the start before
    (Path(jobs[2].directory) / "job.status").write_text("RUNNING 1\n")
    bench.scheduler.runner.says(f"9 RUNNING xq-{mark(jobs[2])}-{jobs[2].id}.{jobs[2].start}")

    assert await bench.scheduler.find_jobs(jobs) == {jobs[0]: "", jobs[2]: "9"}
    assert await bench.scheduler.find_jobs(jobs[:1]) == {jobs[0]: ""}
    assert bench.scheduler.runner.programs == ["ask"]


# What the accounting has no record of


class Zombies(Tables):
    """Its list of what ended does not say how, and its accounting says of what it has no record."""

    lists_deleted = True

    def account_command(self, uids):
        return ["acct", *uids]

    def read_account(self, output):
        return self.read_poll(output)


async def zombie(tmp_path, account, then, status=WAITS):
    """What is said of a job that ended silently, at once and when its record can't be late any more."""
    scheduler = Zombies(scheduler_rate=None)
    scheduler.runner = Acting()
    bench = Bench(scheduler, tmp_path / "bench")
    [job] = await jobs_of(bench, 1)
    job.status, job.uid = status, "7.1"
    name = f"xq-{mark(job)}-z"
    scheduler.runner.says("1")
    await scheduler.limits()
    answers = []
    for text in (account, then):
        scheduler.runner.says("", f"7.1 GONE {name} 1", text.replace("NAME", name))
        answers.append((await scheduler.poll_jobs([job]))[job])
    return answers


@pytest.mark.parametrize("account", ["7.1 UNKNOWN NAME 1", "7 UNKNOWN NAME 0", "7.2 GONE NAME 2"])
async def test_a_job_that_ended_without_a_record_was_deleted_while_it_waited(tmp_path, monkeypatch, account):
    at_once, _ = await zombie(tmp_path, account, account)
    monkeypatch.setattr("xqute.schedulers.sightings.ACCOUNT_LATE_SECONDS", 0.0)
    later, _ = await zombie(tmp_path / "later", account, account)

    assert at_once == Answer(Presence.UNKNOWN)  # it may be late
    assert later.presence is Presence.GONE
    assert str(later.reason) == "KILLED by somebody: taken out of the queue while it waited"


async def test_a_record_that_comes_late_counts(tmp_path):
    assert await zombie(tmp_path, "7.1 UNKNOWN NAME 1", "7.1 GONE NAME 1") == [
        Answer(Presence.UNKNOWN),
        Answer(Presence.GONE),
    ]


@pytest.mark.parametrize(
    ("account", "status"),
    [
        pytest.param("", WAITS, id="the accounting can't be read"),
        pytest.param("8 UNKNOWN NAME 0", WAITS, id="it was not looked up"),
        pytest.param("7.1 UNKNOWN NAME 1", JobStatus.RUNNING, id="it had begun"),
        pytest.param("7.1 UNKNOWN NAME 1", JobStatus.KILLING, id="we ended it"),
    ],
)
async def test_no_record_for_another_cause_proves_nothing(tmp_path, monkeypatch, account, status):
    monkeypatch.setattr("xqute.schedulers.sightings.ACCOUNT_LATE_SECONDS", 0.0)

    assert await zombie(tmp_path, account, account, status) == [Answer(Presence.GONE)] * 2


# What the accounting says later


class Accounts(Tables):
    """Its list forgets at once what has ended, and its accounting may be a minute late."""

    account_seconds = 60.0
    acct = "acct"

    def account_command(self, uids):
        if not self.acct:
            raise BackendUnavailable("acct is not on PATH")
        return [self.acct, *uids]

    def read_account(self, output):
        return self.read_poll(output)


async def forgotten(tmp_path, account, acct="acct"):
    """What is said of a job that is not listed: at once, and when its record can't be late any more."""
    scheduler = Accounts(scheduler_rate=None)
    scheduler.runner, scheduler.acct = Acting(), acct
    [job] = await jobs_of(Bench(scheduler, tmp_path / "bench"), 1)
    job.status, job.uid = JobStatus.RUNNING, "7"
    scheduler.runner.says("1")
    await scheduler.limits()
    answers = []
    for scheduler.account_seconds in (60.0, 0.0):
        scheduler.runner.says("", "", account.replace("NAME", f"xq-{mark(job)}-z") if acct else "")
        answers.append((await scheduler.poll_jobs([job]))[job])
        scheduler.runner.script.clear()
    return answers


OWED = Answer(Presence.GONE, owed=True)


@pytest.mark.parametrize("account", ["", "7 RUNNING NAME", "7 GONE foreign"])
async def test_how_a_job_ended_is_owed_while_the_accounting_may_be_late(tmp_path, account) -> None:
    assert await forgotten(tmp_path, account) == [OWED, Answer(Presence.GONE)]


async def test_a_record_that_is_there_is_all_that_comes(tmp_path) -> None:
    assert await forgotten(tmp_path, "7 GONE NAME") == [Answer(Presence.GONE)] * 2


async def test_an_accounting_that_can_not_be_asked_now_may_say_it_later(tmp_path) -> None:
    assert await forgotten(tmp_path, "", acct="") == [OWED, Answer(Presence.GONE)]
