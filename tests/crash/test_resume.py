"""The same script once more: what is pushed again is found again, whatever became of the sessions before."""

import asyncio
import re
import shutil
import time

import pytest

from tests.waiting import wait_for
from xqute import JobStatus, OptionError, Xqute

REPORTS = "report = await xqute.run_until_complete(); tell(reused=report.reused, left=report.left_alone)"


# What a push finds again


def test_jobs_pushed_in_another_order_are_found_again(sessions):
    sessions.facts(f"""
xqute = make()
jobs = await xqute.push_many([job(name, f"echo {{name}} ended") for name in "abc"])
{REPORTS}""")

    told = sessions.facts(f"""
xqute = make(resume=True)
jobs = await xqute.push_many([job(name, f"echo {{name}} ended") for name in "cab"])
{REPORTS}
tell(ids=[job.id for job in jobs], cached=[job.cached for job in jobs])
tell(results=[await job for job in jobs])""")

    assert told["ids"] == [3, 1, 2]
    assert told["cached"] == [True] * 3
    assert told["results"] == ["c ended", "a ended", "b ended"]
    assert (told["reused"], told["left"]) == (3, 0)
    assert sessions.ran == {"a": 1, "b": 1, "c": 1}


def test_more_pushes_run_beside_what_is_reused(sessions):
    sessions.facts(f"xqute = make(); await xqute.push(job('a')); {REPORTS}")

    told = sessions.facts(f"""
xqute = make(resume=True)
jobs = [await xqute.push(job(name)) for name in ("new", "a", "newer")]
{REPORTS}
tell(cached=[job.cached for job in jobs], counts={{key.name: count for key, count in report.counts.items()}})
""")

    assert told["cached"] == [False, True, False]
    assert told["counts"] == {"FINISHED": 3}
    assert told["reused"] == 1
    assert sessions.ran == {"a": 1, "new": 1, "newer": 1}


UNFINISHED = """
xqute = make(resume=True, scheduler_forks=2)
await (await xqute.push(job("ended")))
await xqute.push_many([hold("runs"), hold("runs_too"), job("waits"), job("waits_too")])
await xqute.run_until_complete()
"""


def test_what_is_not_pushed_again_is_left_alone_and_told(sessions):
    sessions.killed(UNFINISHED, "ended", "runs", "runs_too")

    told = sessions.facts(f"""
xqute = make(resume=True)
await xqute.push_many([job("ended"), job("new")])
{REPORTS}
tell(said=str(report), ok=report.ok)""")

    assert (told["reused"], told["left"]) == (1, 4)
    assert "4 jobs of an earlier session were not pushed again and left alone" in told["said"]
    assert told["ok"]
    assert sessions.ran == {"ended": 1, "runs": 1, "runs_too": 1, "new": 1}


def test_what_was_left_alone_runs_when_it_is_pushed_later(sessions):
    sessions.killed(UNFINISHED, "ended", "runs", "runs_too")
    sessions.facts(f"xqute = make(resume=True); await xqute.push(job('ended')); {REPORTS}")
    sessions.go("runs", "runs_too")

    sessions.facts(UNFINISHED)

    assert [job.status for job in sessions.jobs()] == [JobStatus.FINISHED] * 5
    assert [job.start for job in sessions.jobs()] == [1] * 5


def test_everything_can_be_finished_without_pushing_it_again(sessions):
    sessions.killed(UNFINISHED, "ended", "runs", "runs_too")
    sessions.go("runs", "runs_too")

    told = sessions.facts(f"xqute = make(resume='all'); {REPORTS}; tell(ok=report.ok)")

    assert told == {"reused": 1, "left": 0, "ok": True}
    assert [(job.status, job.start) for job in sessions.jobs()] == [(JobStatus.FINISHED, 1)] * 5


def test_the_kth_equal_push_gets_the_kth_job(sessions):
    same = """
xqute = make(resume=True)
jobs = await xqute.push_many([["sh", "-c", "echo $XQUTE_JOB_ID"]] * {})
await xqute.run_until_complete()
tell(ids=[job.id for job in jobs], cached=[job.cached for job in jobs])
tell(results=[await job for job in jobs])
"""
    sessions.facts(same.format(2))

    told = sessions.facts(same.format(3))

    assert told["ids"] == [1, 2, 3]
    assert told["cached"] == [True, True, False]
    assert told["results"] == ["1", "2", "3"]


def test_equal_jobs_of_which_one_ended_keep_their_places(sessions):
    twice = """
xqute = make(resume=True)
twin = ["sh", "-c", 'echo x >>"$HERE/ran"; [ $XQUTE_JOB_ID != 2 ] || '
        '{ touch "$HERE/up.second"; until [ -e "$HERE/go.second" ]; do sleep 0.02; done; }; '
        'echo $XQUTE_JOB_ID']
jobs = await xqute.push_many([twin, twin])
await jobs[0]
await xqute.run_until_complete()
tell(cached=[job.cached for job in jobs], results=[await job for job in jobs])
"""
    first = sessions.start(twice)
    sessions.wait_up(first, "second")
    wait_for(lambda: sessions.jobs()[0].status is JobStatus.FINISHED)
    first.kill()
    first.communicate()
    sessions.go("second")

    told = sessions.facts(twice)

    assert told == {"cached": [True, False], "results": ["1", "2"]}
    assert sessions.ran == {"x": 2}


def test_a_failed_job_gets_a_new_start_with_all_its_retries(sessions):
    text = "xqute = make(resume=True); a = await xqute.push(job('a', 'exit 3'), retries=1); "
    text += "await xqute.run_until_complete(); tell(status=a.status.name, start=a.start, attempt=a.attempt)"

    assert sessions.facts(text) == {"status": "FAILED", "start": 2, "attempt": 2}
    assert sessions.facts(text) == {"status": "FAILED", "start": 4, "attempt": 2}
    assert sessions.ran == {"a": 4}


def test_a_killed_job_gets_a_new_start(sessions):
    text = """
xqute = make(resume=True)
held = await xqute.push(hold("a", "echo done"))
async with xqute:
    await until(lambda: (HERE / "up.a").exists())
    {}
tell(status=held.status.name, start=held.start, cached=held.cached)
"""
    assert sessions.facts(text.format("await held.kill()"))["status"] == "KILLED"
    sessions.go("a")

    told = sessions.facts(text.format("await held"))

    assert told == {"status": "FINISHED", "start": 2, "cached": False}


@pytest.mark.parametrize(
    "other",
    ["env={'A': '2'}", "cwd='/'", "stdin='/etc/passwd'", "env={'A': '1', 'B': '1'}"],
)
def test_another_environment_directory_or_input_is_another_job(sessions, other):
    (sessions.here / "input").touch()
    given = f"env={{'A': '1'}}, cwd='{sessions.here}', stdin='{sessions.here}/input'"
    text = "xqute = make(resume=True); a = await xqute.push(job('a'), **{}); await a; "
    text += "tell(id=a.id, cached=a.cached)"
    first = sessions.facts(text.format(f"dict({given})"))

    told = sessions.facts(text.format(f"{{**dict({given}), **dict({other})}}"))

    assert first == {"id": 1, "cached": False}
    assert told == {"id": 2, "cached": False}
    assert sessions.ran == {"a": 2}


def test_how_a_job_is_run_does_not_make_it_another(sessions):
    text = "xqute = make(resume=True); a = await xqute.push(job('a'), {}); await a; "
    text += "tell(id=a.id, cached=a.cached)"
    sessions.facts(text.format("priority=1"))

    for other in ("priority=2", "retries=7", "timeout=60, title='x', tags=['y']", "grace=1, retry_delay=3"):
        assert sessions.facts(text.format(other)) == {"id": 1, "cached": True}
    assert sessions.ran == {"a": 1}


def test_how_a_waiting_job_is_run_is_as_it_was_pushed_last(sessions):
    assert sessions.run("xqute = make(); await xqute.push(job('a', 'exit 1'))").code == 0

    told = sessions.facts("""
xqute = make(resume=True)
a = await xqute.push(job("a", "exit 1"), retries=2)
await xqute.run_until_complete()
tell(attempt=a.attempt)""")

    assert told == {"attempt": 3}
    assert sessions.ran == {"a": 3}


def test_a_job_whose_directory_was_removed_runs_again(sessions):
    text = "xqute = make(resume=True); jobs = await xqute.push_many([job('a', 'echo A'), job('b')]); "
    text += "await xqute.run_until_complete(); tell(cached=[job.cached for job in jobs], a=await jobs[0])"
    sessions.facts(text)
    shutil.rmtree(sessions.meta / "1")

    told = sessions.facts(text)

    assert told == {"cached": [False, True], "a": "A"}
    assert sessions.ran == {"a": 2, "b": 1}


def test_a_push_that_fails_takes_no_job(sessions):
    sessions.facts(f"xqute = make(); await xqute.push_many([job('a')] * 2); {REPORTS}")

    told = sessions.facts("""
xqute = make(resume=True)
accept = xqute._store.accept
async def full(*args):
    raise XquteError("the disk is full")
xqute._store.accept = full
try:
    await xqute.push_many([job("a"), job("new"), job("a")])
except XquteError as exc:
    tell(said=str(exc), jobs=len(xqute.jobs))
xqute._store.accept = accept
jobs = await xqute.push_many([job("a"), job("new"), job("a")])
await xqute.run_until_complete()
tell(ids=[job.id for job in jobs], cached=[job.cached for job in jobs])""")

    assert (told["said"], told["jobs"]) == ("the disk is full", 0)
    assert told["ids"] == [1, 3, 2]
    assert told["cached"] == [True, False, True]


def test_resumed_from_elsewhere_jobs_run_where_they_were_pushed(sessions, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    text = "xqute = make(resume=True); jobs = await xqute.push_many([['pwd', '-P']{}]); "
    sessions.facts(text.format(""))  # pushed and never run

    told = sessions.facts(
        text.format(", ['sh', '-c', 'pwd -P']") + "tell(where=[await job for job in jobs])", cwd=elsewhere
    )
    again = sessions.facts(
        text.format("") + "tell(where=await jobs[0], cached=jobs[0].cached)", cwd=elsewhere
    )

    assert told["where"] == [str(sessions.here.resolve()), str(elsewhere.resolve())]
    assert again == {"where": str(sessions.here.resolve()), "cached": True}


def test_a_new_push_from_elsewhere_that_is_run_later_runs_there(sessions, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    sessions.facts("xqute = make(); await (await xqute.push(['true']))")
    text = "xqute = make(resume=True); there = await xqute.push(['pwd', '-P']); "
    sessions.facts(text, cwd=elsewhere)

    told = sessions.facts(text + "tell(where=await there, id=there.id)")

    assert told == {"where": str(elsewhere.resolve()), "id": 2}


# Which run


def test_another_run_is_resumed_by_its_id(sessions):
    text = "xqute = make({}); job_ = await xqute.push(job('a')); await job_; "
    text += "tell(run=xqute.run, id=job_.id, cached=job_.cached)"
    first = sessions.facts(text.format(""))
    second = sessions.facts(text.format(""))

    newest = sessions.facts(text.format("resume=True"))
    named = sessions.facts(text.format(f"resume=True, run={first['run']!r}"))

    assert newest == {"run": second["run"], "id": 2, "cached": True}
    assert named == {"run": first["run"], "id": 1, "cached": True}


def test_an_unknown_run_is_an_error_that_names_it(sessions):
    said = sessions.run("xqute = make(resume=True, run='nobody')\nawait xqute.push(['true'])")

    assert said.code == 1
    assert "RunNotFound: there is no run 'nobody' here" in said.err


@pytest.mark.parametrize("options", [{"run": "some"}, {"resume": "maybe"}, {"resume": 1}], ids=str)
async def test_a_run_without_resume_or_a_strange_resume_is_refused(options, tmp_path):
    with pytest.raises(OptionError, match="resume"):
        Xqute(job_metadir=tmp_path / "meta", **options)


def test_the_first_session_may_resume_too(sessions):
    told = sessions.facts(f"xqute = make(resume=True); await xqute.push(job('a')); {REPORTS}")

    assert told == {"reused": 0, "left": 0}


def test_a_new_run_says_once_that_an_unfinished_one_is_there_and_how_to_go_on(sessions):
    sessions.facts("xqute = make(); await xqute.push_many([job('a'), job('b')])")
    [run] = sessions.runs()

    said = sessions.run("xqute = make()\nfor name in 'cd':\n    await (await xqute.push(job(name)))")

    assert said.code == 0
    assert (
        len(re.findall(rf"run {run} of this script.* was not finished: 2 of 2 jobs are left", said.err)) == 1
    )
    assert f'Xqute(resume=True, run="{run}") or `xqute resume {run}`' in said.err
    assert sessions.ran == {"c": 1, "d": 1}


def test_a_finished_run_is_no_news(sessions):
    sessions.facts("xqute = make(); await (await xqute.push(job('a')))")

    said = sessions.run("xqute = make(); await (await xqute.push(job('b')))")

    assert (said.code, said.err) == (0, "")


def test_a_run_that_somebody_works_on_is_no_news(sessions):
    first = sessions.start("xqute = make(); await (await xqute.push(hold('a')))")
    sessions.wait_up(first, "a")

    said = sessions.run("xqute = make(); await (await xqute.push(job('b')))")
    sessions.go("a")

    assert (said.code, said.err) == (0, "")
    assert sessions.end(first).code == 0


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("xqute = make(); await xqute.find(); await xqute.stats()", id="looks"),
        pytest.param("async with make() as xqute: await xqute.find()", id="enters"),
        pytest.param("await make().run_until_complete()", id="runs nothing"),
        pytest.param("await make(resume=True).run_until_complete()", id="resumes nothing"),
        pytest.param("xqute = make(); (await xqute.get(1)).rc; await xqute.run_until_complete()", id="gets"),
        pytest.param("await (await make().get(1)).archive()", id="archives"),
        pytest.param("await (await make().get(1)).delete()", id="deletes"),
    ],
)
def test_who_accepts_no_job_begins_no_run(sessions, text):
    run = sessions.facts("xqute = make(); await (await xqute.push(job('a'))); tell(run=xqute.run)")["run"]
    assert sessions.runs() == [run]

    sessions.facts(text)

    assert sessions.runs() == [run]


def test_a_run_begins_with_its_first_job_and_all_later_ones_are_of_it(sessions):
    told = sessions.facts("""
xqute = make()
async with xqute:
    before = xqute.run
    jobs = await asyncio.gather(*(xqute.push(job(name)) for name in "abc"))
    run = xqute.run
    await jobs[0]
await xqute.run_until_complete()
later = await xqute.push(job("later"))
await later
tell(before=before, run=run, after=xqute.run, found=len(await xqute.find(run=run, status="finished")))
""")

    assert told["before"] == ""
    assert sessions.runs() == [told["run"]] == [told["after"]]
    assert told["found"] == 4


@pytest.mark.parametrize("crash", ["after a run is owned", "before jobs are accepted"])
def test_a_run_whose_process_died_before_it_pushed_anything_hides_no_unfinished_one(sessions, crash):
    sessions.killed("xqute = make(); await xqute.push(hold('a')); await xqute.run_until_complete()", "a")
    sessions.run("xqute = make(); await xqute.push(job('b'))", crash=crash)
    assert len(sessions.runs()) == 2
    sessions.go("a")

    told = sessions.facts("""
xqute = make(resume=True)
a = await xqute.push(hold("a"))
await a
tell(run=xqute.run, id=a.id)
""")

    assert told == {"run": sessions.runs()[-1], "id": 1}
    assert sessions.ran == {"a": 1}


def test_a_run_that_a_living_process_has_just_begun_is_not_passed_over(sessions):
    sessions.facts("xqute = make(); await (await xqute.push(job('a')))")
    text = """
xqute = make()
original = xqute._store.accept
async def slow(*args):
    (HERE / "up.accepting").touch()
    await until((HERE / "go.accepting").exists)
    return await original(*args)
xqute._store.accept = slow
await xqute.push(job("b"))
"""
    begun = sessions.start(text)
    sessions.wait_up(begun, "accepting")

    told = sessions.facts("""
try:
    await make(resume=True).push(job("a"))
except RunOwned as error:
    tell(error=str(error))
""")

    assert "is owned by process" in told["error"]
    sessions.go("accepting")
    assert sessions.end(begun).code == 0


# What is told


def test_the_history_of_a_job_tells_the_whole_story_over_three_sessions(sessions):
    text = """
xqute = make(resume=True)
held = await xqute.push(hold("a", 'test -e "$HERE/good"'), retries=1)
async with xqute:
    await until(lambda: "taken over" in str(held.reason) or (HERE / "go.a").exists())
    (HERE / "go.a").touch()
"""
    first = sessions.start(text)
    sessions.wait_up(first, "a")
    wait_for(lambda: sessions.jobs()[0].status is JobStatus.RUNNING)
    first.kill()
    first.communicate()
    sessions.facts(text)  # the adopted start fails, and so does its retry
    (sessions.here / "good").touch()
    sessions.facts(text)

    [job] = sessions.jobs()
    history = asyncio.run(job.history())

    print(*history, sep="\n")
    assert (job.status, job.start, job.attempt) == (JobStatus.FINISHED, 3, 1)
    assert [line.date for line in history] == sorted(line.date for line in history)
    assert [line.start for line in history] == sorted(line.start for line in history)
    assert [str(line.reason) for line in history if "taken over" in str(line.reason)]
    begun = [(line.start, line.attempt) for line in history if line.state is JobStatus.SUBMITTED]
    assert begun == [(1, 1), (2, 2), (3, 1)]
    ends = [(line.state.name, line.start, line.attempt) for line in history if line.reason.code == "EXIT"]
    assert ends == [("FAILED", 2, 2), ("FINISHED", 3, 1)]
    assert sessions.ran == {"a": 3}


TELLS = """
class Tells:
    @simplug.impl
    async def on_job_succeeded(self, scheduler, job):
        import sqlite3
        with sqlite3.connect(f"{META}/xqute.db") as db:
            [[status]] = db.execute("SELECT status FROM job WHERE id = ?", [job.id]).fetchall()
        with (HERE / "told").open("a") as file:
            file.write(f"{job.id} {status}\\n")

xqute = make(resume=True, plugins=[Tells()])
await xqute.push(job("a"))
await xqute.run_until_complete()
"""


@pytest.mark.parametrize("count", range(1, 7))
def test_hooks_fire_at_least_once_and_only_after_the_change_is_durable(sessions, count):
    first = sessions.run(TELLS, crash=f"after a change is recorded:{count}")
    sessions.facts(TELLS)

    told = (sessions.here / "told").read_text().splitlines()
    assert told in (["1 6"], ["1 6", "1 6"] if first.code else ["1 6"])
    assert sessions.ran == {"a": 1}


def test_a_hook_that_was_told_is_not_told_again(sessions):
    sessions.facts(TELLS)
    sessions.facts(TELLS)

    assert (sessions.here / "told").read_text() == "1 6\n"


# Jobs that were not pushed again


def test_a_failure_that_was_left_alone_is_no_failure_of_this_session(sessions):
    sessions.facts(
        f"xqute = make(); await xqute.push_many([job('a', 'exit 1'), job('b', 'exit 1')]); {REPORTS}"
    )

    told = sessions.facts(f"""
xqute = make(resume=True)
await xqute.push(job("new", "exit 1"))
{REPORTS}
tell(failures=[failure.id for failure in report.failures], counted=sum(report.counts.values()))""")

    assert told == {"reused": 0, "left": 2, "failures": [3], "counted": 1}


@pytest.mark.parametrize("first", ["", "await xqute.push(job('other'))"], ids=["at once", "after a push"])
def test_a_job_of_an_earlier_session_that_was_got_first_can_be_changed(sessions, first):
    sessions.facts(f"xqute = make(); await xqute.push(job('a', 'test -e \"$HERE/good\"')); {REPORTS}")
    (sessions.here / "good").touch()

    told = sessions.facts(f"""
xqute = make(resume=True)
{first}
a = await xqute.get(1)
await a.retry()
{REPORTS}
tell(status=a.status.name, start=a.start)""")

    assert told == {"reused": 0, "left": 0, "status": "FINISHED", "start": 2}


def test_a_job_that_runs_and_is_not_pushed_again_can_be_killed(sessions, alive):
    sessions.killed("xqute = make(); await (await xqute.push(hold('a')))", "a")

    told = sessions.facts("""
xqute = make(resume=True)
async with xqute:
    await xqute.push(job("other"))
    a = await xqute.get(1)
    tell(killed=await a.kill(), status=a.status.name)""")

    assert told == {"killed": True, "status": "KILLED"}
    assert alive() == {}


def test_a_job_that_was_being_killed_before_it_began_is_killed_and_the_next_session_ends(sessions):
    text = """
xqute = make(resume=True)
a, b = await xqute.push("echo a"), await xqute.push("echo b")
if not a.done():
    await a.kill()
await xqute.run_until_complete()
tell(b=b.status.name, history=[line.state.name for line in await a.history()])
"""
    sessions.run(text, crash="before a change is recorded:2")
    assert [job.status for job in sessions.jobs()] == [JobStatus.KILLING, JobStatus.QUEUED]

    told = sessions.facts(text)

    assert told["b"] == "FINISHED"
    assert told["history"][:3] == ["QUEUED", "KILLING", "KILLED"]


def test_everything_that_is_left_runs_and_what_is_pushed_again_is_found(sessions):
    first = """
xqute = make(resume=True)
await xqute.push_many([job("a"), job("b"), job("b")])
await xqute.run_until_complete()
await xqute.push(job("c"))
"""
    sessions.facts(first)

    told = sessions.facts("""
xqute = make(resume="all")
jobs = await xqute.push_many([job("a"), job("b"), job("d")])
await xqute.run_until_complete()
tell(ids=[item.id for item in jobs], cached=[item.cached for item in jobs])
""")

    assert told == {"ids": [1, 2, 5], "cached": [True, True, False]}
    assert sessions.ran == {"a": 1, "b": 2, "c": 1, "d": 1}


def test_a_job_that_ended_while_nobody_watched_ended_when_it_ended(sessions):
    text = """
xqute = make(resume=True)
a = await xqute.push(hold("a"))
await xqute.run_until_complete()
tell(ran=a.ended - a.started)
"""
    sessions.killed(text, "a")
    sessions.go("a")
    status = sessions.meta / "1" / "job.status"
    wait_for(lambda: "FINISHED" in status.read_text())
    long_ago = status.stat().st_mtime
    wait_for(lambda: time.time() > long_ago + 1.5)

    assert sessions.facts(text)["ran"] < 1.4


def test_the_newest_run_is_taken_and_an_older_one_that_is_unfinished_is_told(sessions):
    push = "xqute = make({})\nawait xqute.push(job('a'))\n"
    older = sessions.facts(push.format("") + "tell(run=xqute.run)")["run"]
    sessions.facts(push.format("") + "await xqute.run_until_complete()")

    again = sessions.run(push.format("resume=True") + "await xqute.run_until_complete()")

    assert f'Xqute(resume=True, run="{older}")' in again.err
    assert sessions.ran == {"a": 1}


def test_a_job_that_was_killed_with_its_session_begins_anew_in_the_next(sessions, alive):
    text = """
xqute = make(resume=True)
a = await xqute.push(job("a", "[ $XQUTE_JOB_START != 1 ] || sleep 600"))
if not a.start:
    asyncio.get_running_loop().call_later(1, xqute.request_stop, "enough")
await xqute.run_until_complete()
tell(status=a.status.name, start=a.start, attempt=a.attempt)
"""
    sessions.run(text, crash="after a change is recorded:3")
    assert [job.status for job in sessions.jobs()] == [JobStatus.KILLING]

    told = sessions.facts(text)

    assert told == {"status": "FINISHED", "start": 2, "attempt": 1}
    assert alive() == {}


def test_builds_that_were_claimed_when_their_manager_died_are_left_alone_where_there_are_younger_ones(
    sessions,
):
    head = """
from xqute import cmd
xqute = make(scheduler_forks=1, HOW)
builds = [xqute.build(cmd(*hold(name)).named(name)) for name in NAMES]
jobs = await asyncio.gather(*builds)
tell(run=xqute.run, ids=[job.id for job in jobs])
"""
    first = sessions.start(head.replace("HOW", "").replace("NAMES", '"abc"'))
    sessions.wait_up(first, "a")
    wait_for(lambda: [job.start for job in sessions.jobs()] == [1, 1, 1])
    sessions.end_by_force(first)
    [left] = sessions.runs()
    sessions.go("a", "b", "c")
    younger = sessions.facts(head.replace("HOW", "").replace("NAMES", '"b"'))
    assert younger["ids"] == [4]

    said = sessions.run(f"""
xqute = make(resume="all", run={left!r})
await xqute.run_until_complete()
""")

    assert said.code == 0, said.err
    assert sessions.ran == {"a": 1, "b": 1, "c": 1}
    assert "younger builds: job 2 (b)" in said.err
    stands = {job.id: job.status for job in sessions.jobs()}
    assert [stands[id_] for id_ in (1, 3, 4)] == [JobStatus.FINISHED] * 3
