"""Whatever a job does, a kill ends all of it, and nothing else."""

import asyncio
import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.programs import DAEMON, PYTHON, ROOT, recorded
from tests.waiting import until, wait_for
from xqute import JobKilled, JobStatus, XquteError, keeper, simplug
from xqute.schedulers.local import ending, processes
from xqute.schedulers.local.scheduler import LocalScheduler


async def end(job) -> None:
    """Wait for the job, whatever becomes of it."""
    async with asyncio.timeout(30):
        await asyncio.wait([job.as_task()])
    job.as_task().exception()


COMET = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.setsid()
open(sys.argv[1], "w").close()
while True:
    time.sleep(0.05)
    if os.fork(): os._exit(0)
    os.setsid()
"""

#: What a job starts that a signal to its process would miss; each writes "$HERE/up" when it is there.
ESCAPES = {
    "a job that ignores TERM": 'trap "" TERM; touch "$HERE/up"; while :; do sleep 1; done',
    "grandchildren": '(sh -c "sleep 300 & sleep 301 & touch $HERE/up; wait" & wait) & wait',
    "grandchildren that ignore TERM": (
        '(trap "" TERM; sh -c "sleep 300 & sleep 301 & touch $HERE/up; wait" & wait) & wait'
    ),
    "a child in its own session": 'setsid sh -c "touch $HERE/up; sleep 300" & wait',
    "one that also ignores TERM": (
        "setsid sh -c 'trap \"\" TERM; touch $HERE/up; while :; do sleep 1; done' & wait"
    ),
    "an orphan in its own session": '(setsid sh -c "touch $HERE/up; sleep 300" &) ; sleep 300',
    "a daemon that forked twice": f"{PYTHON} -c '{DAEMON}' $HERE/up; sleep 300",
    "a process that changes its number and session all the time": (
        f"{PYTHON} -c '{COMET}' $HERE/up & sleep 300"
    ),
    "processes that keep forking": (
        'trap "" TERM; storm() { while :; do (sleep 30) & (setsid sleep 30) & sleep 0.02; done; }; '
        "storm & storm & (setsid sh -c \"trap '' TERM; while :; do sleep 30 & sleep 0.02; done\" &); "
        'touch "$HERE/up"; storm'
    ),
    "a stopped job": 'touch "$HERE/up"; sleep 300 & kill -STOP $! $$',
}


@pytest.mark.parametrize("line", ESCAPES.values(), ids=ESCAPES.keys())
async def test_a_kill_ends_everything_that_a_job_started(make, here, alive, line):
    async with make() as xqute:
        job = await xqute.push(line)
        await until((here / "up").exists)
        assert alive()

        assert await job.kill()
        left = alive()

    assert left == {}
    assert job.status is JobStatus.KILLED
    with pytest.raises(JobKilled):
        await job


@pytest.mark.parametrize("line", list(ESCAPES.values())[::3], ids=list(ESCAPES)[::3])
async def test_leaving_the_block_by_an_exception_ends_everything_that_a_job_started(make, here, alive, line):
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  what raises is the last line
        async with make() as xqute:
            job = await xqute.push(line)
            await until((here / "up").exists)
            _ = 1 / 0

    assert alive() == {}
    assert job.status is JobStatus.KILLED


async def test_who_ignores_the_polite_signal_has_the_whole_grace_and_not_more(make, here, alive):
    async with make() as xqute:
        job = await xqute.push('trap "" TERM; touch "$HERE/up"; while :; do sleep 1; done')
        await until((here / "up").exists)
        began = time.monotonic()
        await job.kill(grace=0.6)
        took = time.monotonic() - began

    assert 0.6 <= took < 3
    assert alive() == {}


@pytest.mark.parametrize("trap", ["", 'trap "" TERM; '], ids=["polite job", "job that ignores TERM"])
async def test_a_timeout_ends_everything_also_what_ignores_it_in_a_session_of_its_own(
    make, here, alive, trap
):
    xqute = make()
    job = await xqute.push(
        f"""setsid sh -c 'trap "" TERM; touch $HERE/up; while :; do sleep 1; done' &
        {trap}while :; do sleep 0.1; done""",
        timeout=0.5,
    )
    report = await xqute.run_until_complete()

    assert (here / "up").exists()
    assert alive() == {}
    assert job.status is JobStatus.FAILED
    assert job.reason.code == "TIMEOUT"
    assert not report.ok


async def test_a_job_counts_as_killed_only_when_nothing_of_it_runs(make, here, alive):
    seen = []

    class Look:
        @simplug.impl
        async def on_job_killed(self, scheduler, job):
            seen.append(alive())

    xqute = make(plugins=[Look()])
    async with xqute:
        job = await xqute.push(ESCAPES["one that also ignores TERM"])
        await until((here / "up").exists)
        killing = asyncio.create_task(job.kill())
        await end(job)
        seen.append(alive())
        await killing

    assert seen == [{}, {}]


async def test_a_command_that_tidies_up_at_its_timeout_keeps_what_it_wrote(make):
    xqute = make(grace=5)
    job = await xqute.push(
        "echo before; trap 'echo tidied up; echo to stderr >&2; exit 3' TERM; sleep 300 & wait", timeout=0.5
    )
    await xqute.run_until_complete()

    assert job.reason.code == "TIMEOUT"
    assert job.stdout_file.read_text() == "before\ntidied up\n"
    assert "to stderr" in job.stderr_file.read_text()
    assert job.rc == 3


async def test_nothing_of_the_old_start_lives_when_the_new_one_begins(make, here, alive):
    line = f"""
    if [ -e "$HERE/up" ]; then cat "$HERE"/pid.* | while read -r pid; do
      ! grep -qs "FAULT_TEST=$FAULT_TEST" "/proc/$pid/environ" || echo "$pid" >> "$HERE/lives"; done
      exit 0
    fi
    sleep 300 & echo $! > "$HERE/pid.1"
    setsid sh -c 'trap "" TERM; echo $$ > "$HERE/pid.2"; while :; do sleep 1; done' &
    {PYTHON} -c '{DAEMON}' "$HERE/up" & echo $! > "$HERE/pid.3"
    while ! [ -e "$HERE/up" ] || ! [ -s "$HERE/pid.2" ]; do sleep 0.01; done
    exit 1
    """
    xqute = make(job_error_strategy="retry", job_num_retries=1, retry_delay=0)
    job = await xqute.push(line)
    await xqute.run_until_complete()

    assert job.status is JobStatus.FINISHED
    assert job.start == 2
    assert not (here / "lives").exists()
    assert alive() == {}


async def test_the_new_start_waits_until_a_killed_one_has_ended(make, here, alive):
    """A wrapper that dies leaves its start open: the next one may not overlap with it."""
    line = """
    mkdir "$HERE/busy" || { echo overlap >> "$HERE/overlaps"; exit 9; }
    echo x >> "$HERE/starts"
    [ $(wc -l < "$HERE/starts") -ge 2 ] && exit 0
    setsid sh -c 'trap "rmdir $HERE/busy; exit 0" TERM; touch $HERE/up; while :; do sleep 0.05; done' &
    while :; do sleep 0.1; done
    """
    async with make(job_error_strategy="retry", job_num_retries=1, retry_delay=0) as xqute:
        job = await xqute.push(line)
        await until((here / "up").exists)
        os.killpg(int(job.uid), signal.SIGKILL)
        await end(job)

    assert job.status is JobStatus.FINISHED
    assert not (here / "overlaps").exists()
    assert alive() == {}


# What a kill must not reach


def start_stranger(argv) -> subprocess.Popen:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(argv, start_new_session=True, stdout=quiet, stderr=quiet)


async def test_a_process_that_got_the_number_of_a_job_is_never_signalled(make, tmp_path, alive):
    """Another manager finds the number of a job in the store: by now it is a stranger's."""
    xqute = make()
    job = await xqute.push(["true"])
    script = str(job.script(xqute.scheduler))
    argvs = ["sleep", "300"], ["tail", "-f", "/dev/null", script]
    strangers = [start_stranger(argv) for argv in argvs]
    try:
        for stranger in strangers:
            scheduler = LocalScheduler()
            job.uid = str(stranger.pid)
            job.lock_file.parent.mkdir(exist_ok=True)
            job.lock_file.write_text(job.uid)
            await scheduler.kill_jobs([job])
        assert [stranger.poll() for stranger in strangers] == [None, None]
    finally:
        for stranger in strangers:
            stranger.kill()
            stranger.wait()


REUSE = """
import asyncio, json, os, signal, subprocess, sys
from xqute import Xqute, simplug

strangers = []

def take(pid):
    "A process with this number, in a session of this number."
    for _ in range(50):
        with open("/proc/sys/kernel/ns_last_pid", "w") as file:
            file.write(str(pid - 1))
        stranger = subprocess.Popen(["sleep", "300"], start_new_session=True)
        strangers.append(stranger)
        if stranger.pid == pid:
            return True
    return False

class Plant:
    @simplug.impl
    async def on_job_failed(self, scheduler, job):
        taken.append(take(int(job.uid)))

taken = []

async def main():
    xqute = Xqute(job_metadir=sys.argv[1], plugins=[Plant()], job_error_strategy="retry",
                  job_num_retries=1, retry_delay=0, grace=0.2)
    job = await xqute.push("test $XQUTE_JOB_START = 2 && sleep 300; exit 1", timeout=1)
    await xqute.run_until_complete()
    killed = await xqute.push(["true"])
    await xqute.run_until_complete()
    take(int(killed.uid))
    await xqute.scheduler.kill_jobs([job, killed])
    lives = all(stranger.poll() is None for stranger in strangers)
    print(json.dumps({"taken": taken, "lives": lives, "start": job.start, "strangers": len(strangers)}))
    for stranger in strangers:
        stranger.kill()

asyncio.run(main())
"""


NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc")

#: The first process of a namespace gets its orphans. A shell takes their statuses; the program would not,
#: and their session's number would stay taken.
FIRST = ("sh", "-c", '"$@"; exit "$?"', "sh")


def can_make_namespaces() -> bool:
    try:
        made = subprocess.run(
            [*NAMESPACE, "test", "-w", "/proc/sys/kernel/ns_last_pid"],
            capture_output=True,
            timeout=20,
            check=False,
        )
    except OSError:
        return False
    return made.returncode == 0


@pytest.mark.skipif(not can_make_namespaces(), reason="needs a pid namespace and the right to choose pids")
def test_the_kernel_gives_the_number_of_an_ended_start_to_a_stranger_who_is_never_signalled(tmp_path, alive):
    done = subprocess.run(
        [*NAMESPACE, "--kill-child", *FIRST, PYTHON, "-c", REUSE, tmp_path / "m"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["start"] == 2
    assert told["taken"]
    assert all(told["taken"])
    assert told["lives"]


# What a kill can't reach, or is not meant to


async def test_a_process_that_can_not_be_killed_is_named(make, here, alive, monkeypatch, caplog):
    """In uninterruptible sleep no signal arrives; here it is not sent."""
    monkeypatch.setattr(ending, "KILL_BOUND_SECONDS", 0.3)
    monkeypatch.setattr(keeper, "KILL_BOUND_SECONDS", 0.6)
    monkeypatch.setattr(processes, "send", lambda *_: None)
    xqute = make()
    async with xqute:
        job = await xqute.push("setsid sh -c 'echo $$ > $HERE/pid; sleep 300' & sleep 300")
        await until(lambda: (here / "pid").exists() and (here / "pid").read_text())
        stuck = (here / "pid").read_text().strip()
        named = ""
        with caplog.at_level(logging.ERROR):
            try:
                await job.kill()
            except XquteError as exc:
                named = str(exc)  # also a way to name it
        named += caplog.text
        monkeypatch.undo()
        os.kill(int(stuck), signal.SIGKILL)

    assert stuck in named
    assert str(job) in named


async def test_a_process_that_left_its_session_and_cleared_its_environment_is_not_found(make, here, alive):
    """A documented limit: nothing proves any more that it is the job's."""
    async with make() as xqute:
        job = await xqute.push(
            'setsid env -i sh -c \'echo $$ > "$1"; exec sleep 300\' sh "$HERE/pid" & sleep 300'
        )
        await until(lambda: (here / "pid").exists() and (here / "pid").read_text())
        pid = int((here / "pid").read_text())
        await job.kill()

    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)
    assert job.status is JobStatus.KILLED


async def test_a_background_child_of_an_ended_job_has_the_grace_and_is_ended_then(make, here, alive):
    xqute = make(grace=0.5)
    job = await xqute.push(
        "(trap 'echo asked > $HERE/asked; exit' TERM; while :; do sleep 0.05; done) & true"
    )
    began = time.monotonic()
    await xqute.run_until_complete()

    assert time.monotonic() - began >= 0.5
    assert alive() == {}
    assert (here / "asked").read_text() == "asked\n"
    assert job.status is JobStatus.FINISHED


async def test_a_background_child_that_ends_by_itself_in_the_grace_is_not_disturbed(make, here, alive):
    xqute = make(grace=5)
    await xqute.push("(trap 'touch $HERE/asked' TERM; sleep 0.5; touch $HERE/done) & true")
    await xqute.run_until_complete()

    assert (here / "done").exists()
    assert not (here / "asked").exists()
    assert alive() == {}


async def test_a_daemon_that_an_ended_job_started_lives_on(make, here, alive):
    """That is how a command starts a service: it left the group of a job that ended by itself."""
    xqute = make()
    await xqute.push(
        "setsid sh -c 'touch $HERE/up; exec sleep 300' & while ! [ -e $HERE/up ]; do sleep 0.01; done"
    )
    await xqute.run_until_complete()

    assert len(alive()) == 1


# Memory


async def test_a_payload_that_the_kernel_killed_is_signal_9_with_its_peak_as_a_hint(make, alive):
    """What the kernel does to one without memory, done by its own hand: no group of memory is needed."""
    xqute = make()
    more_than_ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + 200_000_000
    job = await xqute.push([PYTHON, "-c", f"import os; x = b'x' * {more_than_ours}; os.kill(os.getpid(), 9)"])
    await xqute.run_until_complete()

    assert job.status is JobStatus.FAILED
    assert job.rc == 137
    assert job.reason.code == "SIGNAL"
    assert job.reason.detail["signal"] == 9
    assert "memory" in str(job.reason)
    assert "MiB" in str(job.reason)


async def test_a_payload_that_may_not_have_more_memory_fails_by_its_own_words(make):
    xqute = make()
    job = await xqute.push(f"ulimit -v 200000; {PYTHON} -c \"x = b'x' * 400_000_000\"")
    await xqute.run_until_complete()

    assert job.status is JobStatus.FAILED
    assert job.reason.code == "EXIT"
    assert any("MemoryError" in line for line in job.stderr_tail())


# Programs that are signalled while their jobs run

THREE = """
line = '''setsid sh -c 'touch "$HERE/s.$0"; sleep 300' $XQUTE_JOB_ID & sleep 300 &
touch "$HERE/c.$XQUTE_JOB_ID"; wait'''
async def main():
    xqute = Xqute(job_metadir=META, scheduler_forks=3, grace=0.5)
    await xqute.push_many([line] * 3)
    await xqute.run_until_complete()
asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_of_three_jobs_with_a_child_and_a_child_in_another_session_each_none_survives_a_signal(
    tmp_path, here, alive, start, number
):
    program = start(THREE)
    wait_for(lambda: len(list(here.iterdir())) == 6)
    assert len(alive()) > 9
    program.process.send_signal(number)
    code, said = program.ended()

    assert alive() == {}
    assert code == -number, said
    assert recorded(tmp_path / "meta") == [JobStatus.KILLED] * 3
    assert not list((tmp_path / "meta").rglob("job.lock"))


EIGHT = """
async def main():
    xqute = Xqute(job_metadir=META, scheduler_forks=8, grace=0.5)
    await xqute.push_many(['touch "$HERE/began.$XQUTE_JOB_ID"; sleep 300; touch "$HERE/done"'] * 8)
    print("pushed", flush=True)
    await xqute.run_until_complete()
asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "milliseconds", [0, 60, *(pytest.param(more, marks=pytest.mark.soak) for more in (10, 20, 40, 100, 200))]
)
def test_a_signal_while_eight_jobs_are_in_submission_lets_none_of_them_run_on(
    tmp_path, here, alive, start, number, milliseconds
):
    program = start(EIGHT)
    assert program.process.stdout.readline() == b"pushed\n"
    time.sleep(milliseconds / 1000)  # the fault itself: at another moment each time
    program.process.send_signal(number)
    code, said = program.ended()

    assert alive() == {}
    assert code == -number, said
    statuses = recorded(tmp_path / "meta")
    assert len(statuses) == 8
    assert set(statuses) <= {JobStatus.KILLED, JobStatus.QUEUED}
    # what began is never recorded as one that did not
    assert statuses.count(JobStatus.KILLED) >= len(list(here.glob("began.*")))


# Litter


async def test_killed_jobs_leave_nothing_outside_of_the_metadir(make, tmp_path, here, alive, monkeypatch):
    work, temporary = tmp_path / "work", tmp_path / "tmp"
    work.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("TMPDIR", str(temporary))
    before = set(os.listdir("/tmp")), set(os.listdir("/dev/shm")), set(os.listdir(Path.home()))
    xqute = make(scheduler_forks=4)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  what raises is the last line
        async with xqute:
            await xqute.push_many(["touch $HERE/up.$XQUTE_JOB_ID; sleep 300"] * 4)
            await xqute.push('trap "" TERM; sleep 300', timeout=0.1)
            await until(lambda: len(list(here.iterdir())) == 4)
            _ = 1 / 0
    mine = {str(os.getpid()), "xqute"}
    after = set(os.listdir("/tmp")), set(os.listdir("/dev/shm")), set(os.listdir(Path.home()))
    fresh = [name for old, new in zip(before, after, strict=True) for name in new - old]

    assert list(work.iterdir()) == []
    assert list(temporary.iterdir()) == []
    assert [name for name in fresh if any(word in name for word in mine)] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meta", "tmp", "traces", "work"]
    assert not list((tmp_path / "meta").rglob("job.lock"))
    shutil.rmtree(tmp_path / "meta")
    assert alive() == {}
