"""What jobs say while they run, where they run, and what they know of themselves."""

import functools
import json
import os
import sys

import pytest

from tests.acceptance import tasks
from tests.acceptance.conftest import until
from tests.acceptance.tasks import add, step
from xqute import (
    JobStatus,
    Xqute,
    cmd,
    current_job,
    simplug,
)

pytestmark = pytest.mark.usefixtures("here")


# While it runs

LINES = 200_000


@pytest.mark.parametrize("count", [tasks.count_lines, tasks.count_lines_sync], ids=["async", "sync"])
async def test_every_line_of_a_commands_output_has_been_seen_when_it_ends(run_one, count):
    job = await run_one(count(f"seq {LINES} & seq {LINES} >&2; wait", LINES))

    assert await job == [LINES, LINES, 1, 1, LINES]
    assert len(job.stdout_file.read_bytes().splitlines()) == LINES
    assert len(job.stderr_file.read_bytes().splitlines()) == LINES


async def test_a_callback_that_raises_ends_the_command_and_fails_the_call(run_one, alive):
    async def watch():
        def see(line):
            if line.startswith("ERROR"):
                raise RuntimeError(line)

        await current_job().run("echo fine; echo ERROR: no light; sleep 300", on_stdout=see)

    job = await run_one(watch)

    assert str(job.reason) == "EXIT 1: RuntimeError: ERROR: no light"
    assert not any("sleep 300" in line for line in alive().values())


async def test_a_command_that_fails_inside_a_call_is_told_with_its_words(run_one):
    async def broken():
        await current_job().run("echo it went wrong >&2; exit 7")

    job = await run_one(broken)

    assert "status 7" in str(job.reason)
    assert "it went wrong" in str(job.exception())


async def test_progress_groups_are_summed_and_may_go_down(run_one):
    def report():
        job = current_job()
        job.progress(1, 10, group=("a", "x"))
        job.progress(3, 10, group=("a", "y"))
        job.progress(5, 20, "b", group=("b",))
        job.progress(9, 10, group=("a", "x"))
        job.progress(2, 10, group=("a", "x"))

    job = await run_one(report)

    assert (job.progress.current, job.progress.total) == (10, 40)
    assert job.progress.children["a"].percent == 25
    assert job.progress.children["b"].message == "b"


async def test_steps_name_the_stage_and_move_the_progress_by_themselves(run_one):
    def first():
        return current_job().metadir

    def second():
        current_job().progress(1, 2)
        raise RuntimeError("in the second")

    def whole():
        for each in current_job().steps(first, second, first):
            each()

    job = await run_one(whole)

    assert job.progress.stage == "second"
    assert job.progress.percent == pytest.approx(100 * 2.5 / 5)


async def test_log_records_come_with_level_place_and_traceback(run_one):
    def work():
        import logging

        log = logging.getLogger("mine")
        log.debug("quiet")
        log.warning("loud %d", 1)
        try:
            int("x")
        except ValueError:
            log.exception("it broke")

    job = await run_one(work)

    lines = await job.logs("WARNING")
    assert [(line.level, line.logger, line.text) for line in lines] == [
        ("WARNING", "mine", "loud 1"),
        ("ERROR", "mine", "it broke"),
    ]
    assert lines[0].file == __file__
    assert "ValueError" in lines[1].error


@pytest.fixture
def events():
    """A plugin that notes what jobs say."""
    heard = []

    class Ear:
        @simplug.impl
        async def on_job_event(self, scheduler, job, event):
            heard.append((job.id, event))

    return Ear(), heard


async def test_a_shell_job_reports_by_plain_echo(run_one, events):
    ear, heard = events
    job = await run_one(
        """echo "stage align" >> "$XQUTE_JOB_EVENTS"
echo "progress 3 10 frame 3" >> "$XQUTE_JOB_EVENTS"
echo "log warning low light" >> "$XQUTE_JOB_EVENTS"
echo "some other words" >> "$XQUTE_JOB_EVENTS"
""",
        options={"plugins": [ear]},
    )

    assert job.status is JobStatus.FINISHED
    assert (job.progress.stage, job.progress.percent, job.progress.message) == ("align", 30, "frame 3")
    logged = [(line.level, line.text) for line in await job.logs()]
    assert logged == [("WARNING", "low light"), ("INFO", "some other words")]
    assert heard[:3] == [(1, "stage align"), (1, "progress 3 10 frame 3"), (1, "log warning low light")]
    assert any("some other words" in event for _, event in heard)


async def test_events_are_heard_while_the_job_runs(make, here, events):
    ear, heard = events
    xqute = make(plugins=[ear])
    line = f"""echo "progress 1 2" >> "$XQUTE_JOB_EVENTS"
until [ -e '{here}/heard' ]; do sleep 0.01; done
echo "progress 2 2" >> "$XQUTE_JOB_EVENTS" """

    async with xqute:
        job = await xqute.push(line)
        await until(lambda: (1, "progress 1 2") in heard)
        assert job.status is JobStatus.RUNNING
        (here / "heard").touch()

    assert [event for _, event in heard] == ["progress 1 2", "progress 2 2"]


@pytest.mark.parametrize("call", ['echo "skip all is new" >> "$XQUTE_JOB_EVENTS"', tasks.skip("all is new")])
async def test_what_has_nothing_to_do_is_skipped_with_its_reason(run_one, call):
    job = await run_one(call)

    assert job.status is JobStatus.SKIPPED
    assert str(job.reason) == "SKIPPED: all is new"
    assert await job is None


async def test_a_shell_job_that_says_skip_and_fails_has_failed(run_one):
    job = await run_one('echo "skip all is new" >> "$XQUTE_JOB_EVENTS"; exit 3')

    assert job.status is JobStatus.FAILED
    assert job.rc == 3


async def test_a_job_that_fills_its_events_with_nonsense_harms_nobody(run_one):
    job = await run_one(
        r"""head -c 100000 /dev/urandom >> "$XQUTE_JOB_EVENTS"
printf 'progress nan inf\nprogress\nprogress x y\n\n\0\nrequire ../../etc/passwd\n%05000d\n' 1 \
    >> "$XQUTE_JOB_EVENTS"; exit 1"""
    )

    assert job.status is JobStatus.FAILED
    assert job.progress.percent >= 0
    assert isinstance(await job.logs(), list)


# Where it runs


@pytest.mark.parametrize(
    ("how", "reason"), [("exit", "EXIT 3"), ("abort", "SIGNAL 6"), ("crash", "SIGNAL 11")]
)
async def test_a_call_that_takes_its_process_down_harms_no_other(make, how, reason):
    xqute = make(scheduler_forks=4)
    bad = await xqute.push(tasks.leave(how))

    good = await xqute.map(add, range(20), [1] * 20)
    worse = await xqute.push(tasks.leave(how))
    more = await xqute.map(add, range(20), [2] * 20)
    await xqute.run_until_complete()

    assert [str(bad.reason).split(":")[0], str(worse.reason).split(":")[0]] == [reason, reason]
    assert [await job for job in good] == list(range(1, 21))
    assert [await job for job in more] == list(range(2, 22))


async def test_calls_of_a_task_that_allows_it_share_a_process_and_fail_one_by_one(make):
    xqute = make(scheduler_forks=2)

    jobs = await xqute.map(tasks.reused, [1, 2, -1, 3, 4, 5, 6])
    await xqute.run_until_complete()

    bad, *good = [jobs[2], *jobs[:2], *jobs[3:]]
    told = [await job for job in good]
    assert str(bad.reason) == "EXIT 1: ValueError: -1 is too small"
    assert len({pid for pid, _, _ in told}) < len(good)
    assert max(seen for _, seen, _ in told) > 1
    assert [id_ for _, _, id_ in told] == [job.id for job in good]


async def test_calls_of_any_other_task_have_a_process_each(make):
    def count():
        tasks.SEEN.append(1)
        return os.getpid(), len(tasks.SEEN)

    xqute = make(scheduler_forks=2)
    jobs = [await xqute.push(count) for _ in range(6)]
    lonely = [await xqute.push(tasks.alone()) for _ in range(2)]
    await xqute.run_until_complete()

    told = [await job for job in jobs]
    assert len({pid for pid, _ in told}) == 6
    assert {seen for _, seen in told} == {1}
    assert len({(await job)[0] for job in lonely}) == 2


async def test_what_a_call_does_to_its_environment_is_not_seen_by_the_next(make, tmp_path):
    def spoil():
        os.environ["SPOILT"] = "yes"
        os.chdir("/")
        sys.path.clear()
        sys.stdout.close()

    def look():
        return os.environ.get("SPOILT"), os.getcwd(), bool(sys.path)

    xqute = make()
    await xqute.push_many([spoil, spoil])
    job = await xqute.push(look, cwd=tmp_path)
    await xqute.run_until_complete()

    assert await job == (None, str(tmp_path), True)


async def test_a_call_pushed_by_another_version_of_python_is_refused_clearly(make, metadir):
    xqute = make()
    job = await xqute.push(add(1, 2))
    [place] = (metadir / ".places").glob("*.json")
    told = json.loads(place.read_text())
    told["version"] = [3, 9]
    place.write_text(json.dumps(told))

    await xqute.run_until_complete()

    assert job.status is JobStatus.FAILED
    assert "pushed by Python 3.9" in str(job.reason)


async def test_why_a_call_does_not_run_is_its_reason(make, here):
    xqute = make(scheduler_forks=1)
    runs = await xqute.push(tasks.held("runs"))
    behind = await xqute.push(step("behind"))
    needing = await xqute.push(step("needing", runs))
    before = [job.reason.code for job in (runs, behind, needing)]

    async with xqute:
        await until((here / "order").exists)
        while_it_runs = [job.reason.code for job in (behind, needing)]
        told = str(needing.reason)
        (here / "runs.open").touch()

    assert before == ["ACCEPTED", "ACCEPTED", "NEEDS"]
    assert while_it_runs == ["FORKS", "NEEDS"]
    assert told == f"needs {runs.id}"


# What they know of themselves


async def test_the_job_knows_itself_inside_and_in_what_it_starts(run_one):
    def know(number, name="x"):
        job = current_job()
        below = job.run_sync([sys.executable, "-c", "from xqute import current_job; print(current_job().id)"])
        return job.id, job.attempt, job.start, str(job.metadir), job.args, job.kwargs, int(below)

    job = await run_one(functools.partial(know, 7, name="y"))

    assert await job == (1, 1, 1, str(job.metadir), (7,), {"name": "y"}, 1)


async def test_outside_of_a_job_there_is_no_current_one(monkeypatch):
    monkeypatch.delenv("XQUTE_JOB_METADIR", raising=False)

    with pytest.raises(LookupError, match="no current job"):
        current_job()


async def test_a_call_may_manage_jobs_of_its_own(run_one, tmp_path):
    async def manager():
        xqute = Xqute(job_metadir=tmp_path / "inner")
        job = await xqute.push(add(20, 1))
        async with xqute:
            return await job, await (await xqute.push(cmd("echo", job)))

    job = await run_one(manager)

    assert await job == (21, "21")
