"""The local scheduler on real processes; every wait is for an event."""

# ruff: noqa: ASYNC220, ASYNC222, ASYNC240  what would block a program is instant here

import asyncio
import errno
import os
import resource
import signal
import subprocess
import sys
import types
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.descriptors import no_descriptor_free
from tests.unit.schedulers.hosting import BOUND, Bare, Host, alive, gone, opened, status
from xqute import metadir
from xqute.errors import BackendUnavailable, SchedulerError, SubmitError
from xqute.schedulers.local import LocalScheduler, ending, processes, starting
from xqute.schedulers.local.exits import OwnPeak, Start
from xqute.settings import SPARE_DESCRIPTORS
from xqute.states import FileState, Presence

# Exits


async def test_the_exit_of_a_job_is_told_when_its_files_are_complete(host) -> None:
    job = await host.start("exit 3")

    await host.end(job)

    assert status(job).state is FileState.FAILED
    assert status(job).rc == 3
    assert host.told == [[job]]


async def test_what_a_job_used_is_known(host) -> None:
    used = "x = bytearray(400 << 20); import time; t = time.process_time\nwhile t() < 0.2: pass"
    job = await host.start([sys.executable, "-c", used])

    await host.end(job)

    assert 0.2 <= job.usage["cpu"] <= 5
    assert 0.2 <= job.usage["wall"] <= BOUND
    assert 400 << 20 <= job.usage["peak"] <= 800 << 20


async def test_the_memory_of_this_program_is_not_told_as_a_peak_of_the_job(host) -> None:
    job = await host.start(["true"])

    await host.end(job)

    assert job.usage.keys() == {"wall", "cpu"}


def test_the_memory_of_this_program_is_asked_only_where_a_job_may_have_had_more(monkeypatch) -> None:
    asked = []
    now = iter([100, 300, 300])

    def getrusage(who):
        asked.append(who)
        return types.SimpleNamespace(ru_maxrss=next(now))

    monkeypatch.setattr("resource.getrusage", getrusage)
    ours = OwnPeak()

    assert [ours.is_below(peak) for peak in (100, 90, 100)] == [False] * 3
    assert len(asked) == 1
    assert not ours.is_below(200)  # it has grown meanwhile
    assert not ours.is_below(300)
    assert len(asked) == 2
    assert ours.is_below(301)


async def test_exits_that_happen_together_are_told_together(host) -> None:
    jobs = [await host.job(["true"]) for _ in range(20)]
    await host.submit(*jobs)
    for job in jobs:
        os.waitid(os.P_PID, int(job.uid), os.WEXITED | os.WNOWAIT)

    await host.end(jobs[-1])

    assert [set(jobs)] == [set(told) for told in host.told]


async def test_a_job_runs_until_it_is_gone(host, news) -> None:
    job = await host.start(f"echo $$ >{news.path}; sleep 60")
    await news.line()
    assert (await host.answer(job)).presence is Presence.RUNNING
    assert await host.scheduler.job_is_running(job)

    await host.scheduler.kill_job(job)

    assert (await host.answer(job)).presence is Presence.GONE
    assert not await host.scheduler.job_is_running(job)


async def test_a_wrapper_that_is_killed_takes_its_payload_along_and_says_so(host, news) -> None:
    job = await host.start(f"echo $$ >{news.path}; sleep 60 & trap '' TERM; wait")
    payload = await news.pid()

    os.kill(int(job.uid), signal.SIGKILL)

    await host.end(job)
    await gone(payload)
    answer = await host.answer(job)
    assert answer.presence is Presence.GONE
    assert answer.reason.code == "SIGNAL"
    assert answer.reason.detail["signal"] == 9
    assert "killed by signal 9 (SIGKILL)" in str(answer.reason)


async def test_a_wrapper_that_left_no_status_is_lost_with_its_rc(host) -> None:
    job = await host.start("#!/bin/sh\nexit 76\n", cls=Bare)

    await host.end(job)

    reason = (await host.answer(job)).reason
    assert reason.code == "LOST"
    assert "exited with 76 and left no status" in str(reason)


async def test_a_wrapper_that_could_not_write_its_status_is_no_failure_of_the_job(host) -> None:
    job = await host.job(["true"])
    Path(job.directory, metadir.STATUS).symlink_to("/nonexistent/status")
    await host.submit(job)

    await host.end(job)

    assert (await host.answer(job)).reason.code == "DISK_FULL"


@pytest.mark.parametrize("name", [metadir.STDOUT, metadir.STDERR])
async def test_a_wrapper_that_could_not_make_its_output_files_is_no_failure_of_the_job(host, name) -> None:
    job = await host.job(["true"])
    Path(job.directory, name).mkdir()
    await host.submit(job)

    await host.end(job)

    assert (await host.answer(job)).reason.code == "DISK_FULL"
    assert status(job).state is FileState.ABSENT


async def test_an_exit_status_that_the_program_took_away_is_an_end(host) -> None:
    job = await host.start(["true"])
    os.waitpid(int(job.uid), 0)

    await host.end(job)

    answer = await host.answer(job)
    assert answer.presence is Presence.GONE
    assert "another part of this program" in str(answer.reason)


async def test_a_question_before_the_news_finds_the_end_too(host) -> None:
    job = await host.start(["true"])
    os.waitid(os.P_PID, int(job.uid), os.WEXITED | os.WNOWAIT)

    answer = await host.answer(job)

    assert answer.presence is Presence.GONE
    assert host.scheduler._running == {}


async def test_hundreds_of_jobs_leave_no_descriptor_and_no_zombie(host) -> None:
    before = len(os.listdir("/proc/self/fd"))
    jobs = [await host.job(["true"]) for _ in range(200)]

    await host.submit(*jobs)
    for job in jobs:
        await host.end(job)

    assert len(os.listdir("/proc/self/fd")) == before
    assert not [job for job in jobs if Path("/proc", job.uid).exists()]
    assert host.scheduler._running == {}


async def test_facts_about_ended_jobs_go_with_the_jobs(host) -> None:
    job = await host.start(["true"])
    await host.end(job)
    assert len(host.scheduler._ends) == 1

    host.told.clear()
    host._ends.clear()
    del job

    assert len(host.scheduler._ends) == 0


async def test_other_children_of_the_program_are_left_alone(host) -> None:
    other = subprocess.Popen(["sleep", "60"])
    ended = subprocess.Popen(["sh", "-c", "exit 7"])
    jobs = [await host.job(["true"]), await host.job(["sleep", "60"])]
    await host.submit(*jobs)

    await host.end(jobs[0])
    await host.scheduler.kill_jobs(jobs)

    assert other.poll() is None
    assert ended.wait() == 7
    other.kill()
    assert other.wait() == -9


# Starting


async def test_a_job_starts_in_a_clean_session(host, tmp_path) -> None:
    seen = tmp_path / "seen"
    told = f"cat /proc/self/stat /proc/self/status >{seen}"
    streams = f'fds=$(readlink /proc/$$/fd/[012]); echo "$fds" >>{seen}'
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        job = await host.start(f"#!/bin/sh\n{told}\n{streams}\n", cls=Bare)
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    await host.end(job)

    text = seen.read_text()
    assert text.split()[4:7] == [job.uid, job.uid, "0"]  # group, session, terminal
    masks = {line.split()[0]: line.split()[1] for line in text.splitlines() if "Sig" in line}
    assert int(masks["SigIgn:"], 16) & 0x7FFFFFFF == 0
    assert int(masks["SigBlk:"], 16) == 0
    assert text.splitlines()[-3:] == ["/dev/null"] * 3


@pytest.mark.parametrize(
    ("text", "mode", "hint"),
    [
        ("", 0o700, "#!/bin/sh"),
        ("#!/bin/sh\n", 0o600, "may not be executed"),
        ("#!/nonexistent/sh\n", 0o700, "interpreter"),
        (None, 0, "is not there"),
    ],
)
async def test_a_script_that_cannot_be_executed_is_refused(host, text, mode, hint) -> None:
    job = await host.job("x", cls=Bare)
    script = Path(job.script(host.scheduler))
    script.unlink()
    if text is not None:
        script.write_text(text)
        script.chmod(mode)

    [outcome] = await host.scheduler.submit_jobs([job])

    assert isinstance(outcome, SubmitError)
    assert str(job) in str(outcome)
    assert str(script) in str(outcome)
    assert hint in str(outcome)


async def test_a_launch_that_raises_is_one_jobs_trouble(host, monkeypatch) -> None:
    jobs = [await host.job(["true"]), await host.job(["true"])]
    argv = host.scheduler.launch(jobs[1])
    monkeypatch.setattr(host.scheduler, "launch", lambda job: argv if job is jobs[1] else 1 / 0)

    raised, pid = await host.scheduler.submit_jobs(jobs)

    assert isinstance(raised, ZeroDivisionError)
    assert isinstance(pid, int)
    await host.end(jobs[1])


async def test_when_no_process_can_be_made_nothing_more_is_tried(host, monkeypatch) -> None:
    jobs = [await host.job(["true"]) for _ in range(3)]
    asked = []

    def fail(*args, **options):
        asked.append(args)
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(starting.os, "posix_spawn", fail)
    outcomes = await host.scheduler.submit_jobs(jobs)

    assert all(isinstance(outcome, BackendUnavailable) for outcome in outcomes)
    assert len(asked) == 1
    with pytest.raises(BackendUnavailable, match="temporarily unavailable"):
        await host.scheduler.submit_job(jobs[0])


async def test_more_jobs_run_than_there_are_descriptors(tmp_path) -> None:
    scheduler = LocalScheduler()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    top = SPARE_DESCRIPTORS + 100
    async with opened(scheduler, tmp_path) as host:
        jobs = [await host.job(["sleep", "0.3"]) for _ in range(150)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (top, limits[1]))
        try:
            outcomes = await scheduler.submit_jobs(jobs)
            spare = top - len(os.listdir("/proc/self/fd"))
            for job in jobs:
                await host.end(job)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert all(isinstance(pid, int) for pid in outcomes)
    assert spare >= SPARE_DESCRIPTORS - 5


async def test_a_program_that_used_up_its_descriptors_still_runs_jobs(host) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    jobs = [await host.job(["true"]) for _ in range(2)]
    taken = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken, limits[1]))
    try:
        pids = await host.scheduler.submit_jobs(jobs)
        for job in jobs:
            await host.end(job)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert all(isinstance(pid, int) for pid in pids)


async def test_nothing_starts_on_a_scheduler_that_is_not_open(tmp_path) -> None:
    scheduler = LocalScheduler()
    job = await Host(scheduler, tmp_path).job(["true"])

    with pytest.raises(BackendUnavailable, match="not open"):
        await scheduler.submit_job(job)


async def test_a_new_start_begins_when_nothing_of_the_old_one_is_left(host, news, go) -> None:
    job = await host.start(
        f"setsid sh -c 'echo $$ >{news.path}; trap \"\" TERM; sleep 60'& read x <{go.path}"
    )
    escaped = await news.pid()
    os.kill(int(job.uid), signal.SIGKILL)
    await host.end(job)
    assert alive(escaped)

    await host.write(job, start=2)
    await host.submit(job)

    assert not alive(escaped)


# Killing

POLITE = "echo $$ >{news}; sleep 60"
STUBBORN = "trap '' TERM; echo $$ >{news}; while :; do sleep 60; done"
ESCAPED = "setsid sh -c 'echo $$ >{news}; sleep 60'"
DAEMON = '(setsid sh -c \'(trap "" TERM; sh -c "echo \\$PPID" >{news}; sleep 60) & exit\')& sleep 60'
STOPPED = "echo $$ >{news}; kill -STOP $$; sleep 60"
GROUP = "set -m; sh -c 'echo $$ >{news}; sleep 60' & wait"


@pytest.mark.parametrize(
    "line",
    [POLITE, STUBBORN, ESCAPED, f"{ESCAPED} & sleep 60", DAEMON, STOPPED, GROUP],
    ids=["polite", "stubborn", "setsid", "setsid in background", "daemon", "stopped", "job control"],
)
async def test_a_kill_ends_everything_of_the_job(host, news, line) -> None:
    job = await host.start(line.format(news=news.path), grace=0.2)
    payload = await news.pid()

    await host.scheduler.kill_jobs([job])

    assert not alive(payload)
    assert not alive(int(job.uid))
    await host.end(job)


async def test_a_payload_is_asked_once_and_has_its_grace(host, news, go) -> None:
    asked = f"echo asked >{news.path}; read x <{go.path}; exit 5"
    line = f"trap '{asked}' TERM; echo up >{news.path}; sleep 60 & wait"
    job = await host.start(line, grace=BOUND)
    await news.line()

    killing = asyncio.create_task(host.scheduler.kill_job(job))
    assert await news.line() == "asked"
    assert alive(int(job.uid))
    go.tell("go")
    await killing

    assert status(job).rc == 5
    with pytest.raises(BlockingIOError):
        os.read(news.fd, 1)


async def test_the_grace_of_a_kill_goes_over_that_of_the_job(host, news) -> None:
    job = await host.start(STUBBORN.format(news=news.path), grace=1000)
    await news.line()
    job.kill_grace = 0.0

    await host.scheduler.kill_job(job)

    assert not alive(int(job.uid))


async def test_an_authors_wrapper_that_dies_first_leaves_its_payload_the_grace(host, news, go) -> None:
    payload = (
        f"trap 'echo asked >{news.path}; read x <{go.path}; echo $x >{news.path}; exit' TERM; "
        f"echo up >{news.path}; while :; do sleep 0.05; done"
    )
    job = await host.start(f"#!/bin/sh\n({payload})\n:\n", cls=Bare, grace=BOUND)
    await news.line()

    killing = asyncio.create_task(host.scheduler.kill_job(job))
    await host.end(job)
    assert await news.line() == "asked"
    go.tell("cleaned")
    await killing

    assert await news.line() == "cleaned"
    assert (await host.answer(job)).reason.detail["signal"] == signal.SIGTERM


async def test_killing_what_has_ended_or_is_being_killed_is_harmless(host, news) -> None:
    ended = await host.start(["true"])
    await host.end(ended)
    job = await host.start(STUBBORN.format(news=news.path), grace=0.2)
    await news.line()

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(host.scheduler.kill_jobs([job, ended, job]))
    await host.scheduler.kill_jobs([job, ended])

    assert not alive(int(job.uid))


async def test_many_are_killed_in_the_time_of_one(host, news) -> None:
    jobs = [await host.job(STUBBORN.format(news=news.path), grace=0.5) for _ in range(20)]
    await host.submit(*jobs)
    for _ in jobs:
        await news.line()
    loop = asyncio.get_running_loop()
    begun = loop.time()

    await host.scheduler.kill_jobs(jobs)

    assert loop.time() - begun < 5
    assert not [job for job in jobs if alive(int(job.uid))]


async def test_a_kill_names_what_it_could_not_end(host, news, monkeypatch) -> None:
    job = await host.start(POLITE.format(news=news.path), grace=0.0)
    payload = await news.pid()
    with monkeypatch.context() as patched:
        patched.setattr(Start, "signal_group", lambda *_: None)
        patched.setattr(processes, "send", lambda *_: None)
        patched.setattr(ending, "KILL_BOUND_SECONDS", 0.1)

        with pytest.raises(SchedulerError) as raised:
            await host.scheduler.kill_jobs([job])

    assert str(job) in str(raised.value)
    assert job.uid in str(raised.value)
    assert str(payload) in str(raised.value)


async def test_a_cancelled_kill_leaves_the_job_watched(host, news) -> None:
    job = await host.start(STUBBORN.format(news=news.path), grace=1000)
    await news.line()
    killing = asyncio.create_task(host.scheduler.kill_job(job))
    await asyncio.sleep(0)

    killing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await killing
    os.kill(int(job.uid), signal.SIGKILL)

    await host.end(job)
    assert (await host.answer(job)).reason.code == "SIGNAL"


# Jobs of another manager


async def test_a_job_of_another_manager_is_seen_and_killed(host, news, tmp_path) -> None:
    job = await host.start(STUBBORN.format(news=news.path), grace=0.2)
    payload = await news.pid()
    other = LocalScheduler()
    assert (await other.poll_jobs([job]))[job].presence is Presence.RUNNING

    await other.kill_jobs([job])

    assert not alive(payload)
    await host.end(job)
    assert (await other.poll_jobs([job]))[job].presence is Presence.GONE


async def test_a_job_of_another_manager_is_not_called_gone_for_want_of_a_descriptor(host, news) -> None:
    job = await host.start(f"echo $$ >{news.path}; exec sleep 60", grace=0.2)
    await news.pid()
    other = LocalScheduler()
    async with AsyncExitStack() as stack:
        await other.open(stack)
        await other.adopt_jobs([job], rebooted=False)
        with no_descriptor_free():
            assert (await other.poll_jobs([job]))[job].presence is Presence.UNKNOWN
            assert not other._adopted[job].reap()
            with pytest.raises(OSError, match="Too many open files"):
                await other.find_jobs([job])

        assert (await other.poll_jobs([job]))[job].presence is Presence.RUNNING
        assert not other._adopted[job].reap()


async def test_a_kill_that_can_not_see_what_is_left_does_not_say_that_it_is_done(
    host, news, monkeypatch
) -> None:
    monkeypatch.setattr(ending, "KILL_BOUND_SECONDS", 0.2)
    job = await host.start(f"setsid sh -c 'echo $$ >{news.path}; exec sleep 60' & wait", grace=0.2)
    escaped = await news.pid()
    with no_descriptor_free(), pytest.raises(SchedulerError, match="no file descriptor free"):
        await host.scheduler.kill_job(job)
    assert alive(escaped)

    await host.scheduler.kill_job(job)

    assert not alive(escaped)


async def test_a_number_that_is_a_strangers_by_now_is_not_the_jobs(host) -> None:
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    job = await host.job(["true"])
    job.uid = str(stranger.pid)

    assert (await host.answer(job)).presence is Presence.GONE
    await host.scheduler.kill_jobs([job])

    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


# What ended jobs leave


async def test_a_process_that_still_writes_has_the_grace(host, news, go, tmp_path) -> None:
    out = tmp_path / "out"
    flush = f"sh -c 'echo $$ >{news.path}; read x <{go.path}; echo $x >{out}'"
    job = await host.start(f"{flush} &", grace=BOUND)
    left = await news.pid()

    await host.end(job)
    assert alive(left)
    go.tell("flushed")
    await gone(left)

    assert out.read_text() == "flushed\n"


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "], ids=["polite", "stubborn"])
async def test_a_process_that_just_stays_is_ended_after_the_grace(host, news, trap) -> None:
    job = await host.start(f"({trap}sh -c 'echo $PPID' >{news.path}; sleep 60; :)& sleep 0", grace=0.1)
    left = await news.pid()

    await host.end(job)
    await gone(left)

    assert status(job).rc == 0


async def test_a_job_that_left_nothing_costs_no_task(host) -> None:
    job = await host.start(["true"])

    await host.end(job)

    assert host.scheduler._leftovers._task is None


async def test_closing_waits_for_what_still_writes(scheduler, tmp_path, news) -> None:
    async with opened(scheduler, tmp_path) as host:
        job = await host.start(f"(sh -c 'echo $PPID' >{news.path}; sleep 0.3; :)& sleep 0")
        left = await news.pid()
        await host.end(job)

    assert not alive(left)


async def test_closing_in_a_hurry_ends_what_is_left(scheduler, tmp_path, news) -> None:
    line = f"(trap '' TERM; sh -c 'echo $PPID' >{news.path}; sleep 60; :)& sleep 0"
    left = []

    async def leave_by_an_exception():
        async with opened(scheduler, tmp_path) as host:
            job = await host.start(line, grace=1000)
            left.append(await news.pid())
            await host.end(job)
            raise KeyError

    with pytest.raises(KeyError):
        await leave_by_an_exception()

    assert not alive(left[0])


# Several sessions


def test_it_opens_again_in_another_loop_and_finds_its_jobs(scheduler, tmp_path, go) -> None:
    async def first():
        async with opened(scheduler, tmp_path) as host:
            return await host.start(f"read x <{go.path}; exit 4")

    async def second(job):
        async with opened(scheduler, tmp_path) as host:
            assert (await host.answer(job)).presence is Presence.RUNNING
            go.tell("on")
            await host.end(job)

    before = len(os.listdir("/proc/self/fd"))
    job = asyncio.run(first())
    asyncio.run(second(job))

    assert status(job).rc == 4
    assert len(os.listdir("/proc/self/fd")) == before
