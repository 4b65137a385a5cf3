"""The toy cluster does what real ones do, breaks as it is told to, and leaves nothing behind."""

import ast
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from shlex import quote

import pytest

from tests.waiting import wait_for
from xqute.testing import SurvivedError, ToyCluster, toycluster, toyprocs
from xqute.testing.toycluster import FAULTS

SECONDS = 30


@pytest.fixture
def cluster(tmp_path):
    with ToyCluster(tmp_path / "a cluster", slots=2, grace=0.2, keep=60) as cluster:
        yield cluster


@pytest.fixture
def run(cluster):
    """Run a command; returns its words, and raises when it says that it failed."""

    def run(program, *arguments, **options):
        command = [cluster.bin / f"toy-{program}", *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False, **options
        )
        assert bool(done.returncode) is bool(done.stderr)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return done.stdout

    return run


@pytest.fixture
def script(tmp_path):
    def script(*lines):
        path = tmp_path / f"job {len(list(tmp_path.glob('job *')))}.sh"
        path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        return path

    return script


@pytest.fixture
def submit(run, script):
    """Submit lines of shell; returns the number of the job."""

    def submit(*lines, options=(), **more):
        return int(run("submit", *options, script(*lines), **more))

    return submit


@pytest.fixture
def ended(cluster):
    """Wait for the end of a job; returns what the queue says of it: its state and why."""

    def ended(number):
        wait_for(lambda: not cluster.jobs()[number].live, f"job {number} never ended")
        job = cluster.jobs()[number]
        return f"{job.state} {job.reason}".strip()

    return ended


def output(cluster, number):
    return Path(cluster.jobs()[number].output).read_text()


def states(cluster):
    return [job.state for job in cluster.jobs().values()]


def note(path):
    """Shell that writes its pid down, at once as a whole."""
    return f"echo $$ >'{path}.part'; mv '{path}.part' '{path}'"


def sleeper(path):
    """Shell that runs a shell, which writes its pid down and stays."""
    return f"sh -c {quote(f'{note(path)}; sleep 60; :')}"


def pid_in(path):
    wait_for(path.exists, f"no job wrote {path.name}")
    return int(path.read_text())


# Jobs


def test_a_job_runs_where_and_with_what_it_was_submitted(cluster, submit, ended, tmp_path) -> None:
    where = tmp_path / "some where"
    where.mkdir()

    number = submit(
        "pwd; echo $WORD; ps -o sid= -p $$ | tr -d ' '; echo $$; exit 3",
        cwd=where,
        env={**os.environ, "WORD": "é 'x'"},
    )

    assert ended(number) == "FAILED rc=3"
    cwd, word, session, pid = output(cluster, number).splitlines()
    assert (cwd, word, session) == (str(where.resolve()), "é 'x'", pid)


def test_a_job_ignores_no_signal_that_its_submitter_ignored(submit, ended) -> None:
    number = submit("trap 'exit 7' INT; kill -INT $$; exit 8", preexec_fn=ignore_interrupts)

    assert ended(number) == "FAILED rc=7"


def ignore_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_numbers_grow_and_the_script_is_the_one_that_was_submitted(cluster, run, script, ended) -> None:
    let_go, path = cluster.hold(), script("echo first")
    first = int(run("submit", path, "a-name"))
    path.write_text("#!/bin/sh\necho second\n")
    second = int(run("submit", path))

    assert run("queue") == f"{first} a-name PENDING slots\n{second} job_0.sh PENDING slots\n"
    let_go()
    assert [ended(first), ended(second)] == ["DONE rc=0", "DONE rc=0"]
    assert [output(cluster, first), output(cluster, second)] == ["first\n", "second\n"]
    assert second == first + 1


def test_the_queue_forgets_what_ended_long_ago(cluster, run, submit, ended) -> None:
    number = submit("exit 0")
    ended(number)
    assert run("queue") == f"{number} job_0.sh DONE rc=0\n"

    cluster.set(keep=0)

    assert run("queue") == ""
    assert os.listdir(cluster.home / "spool") == []


def test_no_more_than_the_slots_run_and_the_next_starts_when_one_ends(
    cluster, submit, ended, tmp_path
) -> None:
    go = [tmp_path / f"go {number}" for number in range(4)]
    jobs = [submit(f"until [ -e '{path}' ]; do sleep 0.01; done") for path in go]
    assert states(cluster) == ["RUNNING", "RUNNING", "PENDING", "PENDING"]

    go[0].touch()
    ended(jobs[0])

    assert states(cluster) == ["DONE", "RUNNING", "RUNNING", "PENDING"]
    for path in go:
        path.touch()
    assert [ended(job) for job in jobs] == ["DONE rc=0"] * 4


def test_many_jobs_go_through_one_slot_in_order(cluster, submit, ended, tmp_path) -> None:
    cluster.set(slots=1)
    jobs = [submit(f"echo {number} >>'{tmp_path}/seen'") for number in range(20)]

    ended(jobs[-1])

    assert (tmp_path / "seen").read_text().split() == [str(number) for number in range(20)]


def test_more_slots_start_more_jobs(cluster, submit) -> None:
    for _ in range(6):
        submit("sleep 60")
    assert states(cluster).count("RUNNING") == 2

    cluster.set(slots=5)

    assert states(cluster).count("RUNNING") == 5


def test_a_held_job_waits_until_it_is_released(cluster, run, submit, ended) -> None:
    number = submit("exit 0", options=["-H"])
    assert run("queue") == f"{number} job_0.sh PENDING held\n"

    cluster.release(number)

    assert ended(number) == "DONE rc=0"


def test_a_script_that_can_not_be_started_has_failed_and_says_why(submit, script, run, ended) -> None:
    path = script()
    path.write_text("#!/no/such/shell\n")

    assert "No such file" in ended(int(run("submit", path)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/no/such/file"], "refused: /no/such/file: No such file"),
        (["/dev/null"], "refused: /dev/null: no script"),
        (["/dev/null", "two words"], "refused: 'two words' is no name"),
        ([], "usage: toy-submit"),
        (["-t", "soon", "/dev/null"], "usage: toy-submit"),
    ],
)
def test_what_is_no_job_is_refused(cluster, run, arguments, words) -> None:
    with pytest.raises(RuntimeError, match=words):
        run("submit", *arguments)
    assert cluster.jobs() == {}


# Ends


def test_a_cancelled_job_that_waits_never_runs(cluster, run, submit, ended, tmp_path) -> None:
    let_go = cluster.hold()
    number = submit(f"touch '{tmp_path}/ran'")

    run("cancel", number)
    let_go()

    assert ended(submit("exit 0")) == "DONE rc=0"
    assert ended(number) == "CANCELLED"
    assert not (tmp_path / "ran").exists()


def test_a_cancelled_job_is_asked_and_may_tidy_up(run, submit, ended, tmp_path) -> None:
    number = submit("trap 'exit 5' TERM", note(tmp_path / "pid"), "sleep 60 & wait")
    pid_in(tmp_path / "pid")

    run("cancel", number)

    assert ended(number) == "CANCELLED rc=5"


@pytest.mark.parametrize("escaped", [False, True])
def test_a_cancelled_job_is_forced_with_its_group(cluster, run, submit, ended, tmp_path, escaped) -> None:
    cluster.set(escaped=escaped)
    deaf, away = tmp_path / "deaf", tmp_path / "away"
    number = submit(
        f"(trap '' TERM; {sleeper(deaf)}) &",
        f"setsid {sleeper(away)} &",
        "wait",
    )
    pids = [pid_in(deaf), pid_in(away)]

    run("cancel", number)

    assert ended(number).startswith("CANCELLED signal=15")
    assert [bool(toyprocs.since(pid)) for pid in pids] == [False, not escaped]


def test_what_a_script_leaves_in_its_group_ends_with_it(submit, ended, tmp_path) -> None:
    number = submit(f"{sleeper(tmp_path / 'left')} &", f"until [ -e '{tmp_path}/left' ]; do :; done")

    assert ended(number) == "DONE rc=0"
    assert not toyprocs.since(pid_in(tmp_path / "left"))


def test_an_unknown_job_is_an_error_and_the_others_are_cancelled(run, submit, ended) -> None:
    number = submit("sleep 60")

    with pytest.raises(RuntimeError, match="no such job: 77"):
        run("cancel", 77, number)

    assert ended(number).startswith("CANCELLED")
    with pytest.raises(RuntimeError, match=f"no such job: {number}"):
        run("cancel", number)


def test_a_job_ends_with_its_walltime(submit, ended) -> None:
    assert ended(submit("sleep 60", options=["-t", 0.1])) == "TIMEOUT signal=15"


def test_a_job_of_a_failed_node_ends_without_a_word(cluster, submit, ended, tmp_path) -> None:
    number = submit(f"trap 'touch \"{tmp_path}/asked\"' TERM", note(tmp_path / "pid"), "sleep 60; :")
    pid = pid_in(tmp_path / "pid")

    cluster.fail_node(number)

    assert ended(number) == "NODE_FAIL"
    wait_for(lambda: not toyprocs.since(pid))
    assert not (tmp_path / "asked").exists()


def test_a_job_whose_supervisor_was_killed_has_lost_its_node(cluster, submit, ended) -> None:
    number = submit("sleep 60")
    supervisor = wait_for(lambda: cluster.jobs()[number].supervisor)

    os.kill(supervisor[0], signal.SIGKILL)

    assert ended(number) == "NODE_FAIL"


# Faults


def test_commands_fail_while_the_switch_is_on(cluster, run) -> None:
    mend = cluster.fault("fail")
    for command in (["queue"], ["submit", "/dev/null"], ["cancel", 1]):
        with pytest.raises(RuntimeError, match="cannot reach the cluster"):
            run(*command)

    mend()

    assert run("queue") == ""


def test_commands_hang_until_the_switch_is_off(cluster, script) -> None:
    mend = cluster.fault("hang")
    hanging = subprocess.Popen(
        [cluster.bin / "toy-submit", script("exit 0")], stdout=subprocess.PIPE, text=True
    )
    wait_for(cluster.calls)
    with pytest.raises(subprocess.TimeoutExpired):
        hanging.communicate(timeout=0.1)
    assert cluster.jobs() == {}

    mend()

    assert hanging.communicate(timeout=SECONDS)[0] == "1\n"


def test_a_banner_stands_before_the_answer(cluster, submit, run) -> None:
    submit("sleep 60")
    cluster.fault("banner", "Welcome", verbs=["queue"])

    assert run("queue") == "Welcome\n1 job_0.sh RUNNING\n"


def test_a_refused_submission_says_so_and_others_are_taken(cluster, submit, run, script) -> None:
    bad = script("exit 0")
    cluster.fault("refuse", "no such account", only=str(bad))

    with pytest.raises(RuntimeError, match="refused: no such account"):
        run("submit", bad)

    assert submit("exit 0") == 1


def test_a_denied_submission_is_taken_all_the_same(cluster, submit, ended) -> None:
    cluster.fault("deny", times=1)

    with pytest.raises(RuntimeError, match="cannot reach the cluster"):
        submit("exit 0")

    assert ended(1) == "DONE rc=0"
    assert submit("exit 0") == 2


def test_a_lost_submission_has_a_number_and_is_not_there(cluster, submit, run, tmp_path) -> None:
    cluster.fault("lose", times=2)

    assert [submit(f"touch '{tmp_path}/ran'") for _ in range(2)] == [1, 2]
    assert run("queue") == ""
    assert submit("exit 0") == 3
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kill", [True, False])
def test_a_running_job_can_be_lost(cluster, submit, run, tmp_path, kill) -> None:
    number = submit(note(tmp_path / "pid"), "sleep 60; :")
    pid = pid_in(tmp_path / "pid")

    cluster.lose(number, kill=kill)

    assert run("queue") == ""
    assert wait_for(lambda: bool(toyprocs.since(pid)) is not kill)


def test_a_fault_that_nobody_knows_is_an_error(cluster) -> None:
    with pytest.raises(ValueError, match="known are fail, hang"):
        cluster.fault("explode")
    assert sorted(FAULTS) == sorted(cluster.faults)


def test_commands_are_written_down(cluster, run, submit) -> None:
    submit("exit 0")
    run("queue")

    assert [call[0] for call in cluster.calls()] == ["toy-submit", "toy-queue"]
    assert cluster.calls("toy-queue") == [["toy-queue"]]


def test_a_command_loads_little() -> None:
    """What it loads is most of what it costs."""
    code = f"import sys; sys.path.append({str(Path(toycluster.__file__).parent)!r})\n"
    bare = toycluster._BARE.partition("home, module")[0]
    command = [sys.executable, "-I", "-S", "-c", f"{code}{bare}print(sorted(sys.modules))"]
    told = subprocess.run(
        [*command, str(Path(toycluster.__file__).parent)], capture_output=True, text=True, check=True
    ).stdout

    heavy = {"xqute", "asyncio", "subprocess", "typing", "dataclasses", "inspect", "pathlib", "tempfile"}
    assert set(ast.literal_eval(told)) & heavy == set()


# The end


def test_leaving_it_ends_everything(tmp_path) -> None:
    with ToyCluster(tmp_path / "cluster") as cluster:
        notes = [tmp_path / name for name in ("plain", "deaf", "away")]
        (tmp_path / "job.sh").write_text(
            f"#!/bin/sh\ntrap '' TERM HUP\n{sleeper(notes[1])} &\n"
            f"setsid {sleeper(notes[2])} &\n{note(notes[0])}\nsleep 60; :\n"
        )
        subprocess.run([cluster.bin / "toy-submit", tmp_path / "job.sh"], check=True, capture_output=True)
        pids = [pid_in(path) for path in notes]
        supervisor = cluster.jobs()[1].supervisor[0]
        cluster.fault("hang")
        command = subprocess.Popen([cluster.bin / "toy-queue"])

    assert not any(map(toyprocs.since, [*pids, supervisor]))
    assert command.wait(SECONDS) == -signal.SIGKILL


def test_leaving_it_fails_when_something_survives(tmp_path, monkeypatch) -> None:
    marked = {**os.environ, "XQUTE_TOY_CLUSTER": str(tmp_path / "cluster")}
    survivor = subprocess.Popen(["sleep", "60"], env=marked)
    monkeypatch.setattr(toycluster, "_GONE", 0.05)
    monkeypatch.setattr(toyprocs, "send", lambda pids, number: None)
    try:
        with pytest.raises(SurvivedError, match=str(survivor.pid)), ToyCluster(tmp_path / "cluster"):
            pass
    finally:
        survivor.kill()
        survivor.wait()


def test_leaving_it_fails_when_a_supervisor_broke(tmp_path) -> None:
    script, cluster = tmp_path / "job.sh", ToyCluster(tmp_path / "cluster")
    script.write_text("#!/bin/sh\nsleep 60\n")
    cluster.__enter__()
    subprocess.run([cluster.bin / "toy-submit", script], check=True, capture_output=True)
    session = wait_for(lambda: cluster.jobs()[1].session)
    table = cluster.home / "table.json"
    good = table.read_text()
    table.write_text("")
    with suppress(ProcessLookupError):  # the supervisor may have looked at its table already, and ended it
        os.killpg(session, signal.SIGKILL)
    wait_for((cluster.home / "supervisors.log").read_text)
    table.write_text(good)

    with pytest.raises(SurvivedError, match="supervisor of job 1"):
        cluster.__exit__()


KILLED = """
import os, signal, subprocess, sys, time
from pathlib import Path
from xqute.testing import ToyCluster

with ToyCluster(Path(sys.argv[1])) as cluster:
    subprocess.run([cluster.bin / "toy-submit", sys.argv[2]], check=True)
    while not os.path.exists(sys.argv[3]):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_jobs_end_with_the_program_that_was_killed(tmp_path) -> None:
    home, script, told = tmp_path / "cluster", tmp_path / "job.sh", tmp_path / "pid"
    script.write_text(f"#!/bin/sh\n{note(told)}\nsleep 60; :\n")

    subprocess.run([sys.executable, "-c", KILLED, home, script, told], check=False, capture_output=True)

    wait_for(lambda: not toyprocs.since(pid_in(told)), "the job lives")
    wait_for(lambda: not toyprocs.marked(f"XQUTE_TOY_CLUSTER={home}"), "its supervisor lives")


def test_a_closed_cluster_takes_no_job(tmp_path) -> None:
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\n")
    with ToyCluster(tmp_path / "cluster") as cluster:
        pass

    done = subprocess.run([cluster.bin / "toy-submit", script], capture_output=True, text=True, check=False)

    assert "the cluster is closed" in done.stderr
