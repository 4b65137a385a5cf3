"""Managers of batch schedulers that die around a submission: with real processes, on toy clusters."""

import re
import signal
import subprocess

import pytest

from tests.batches import SGE, SLURM
from tests.waiting import wait_for
from xqute.testing import toyprocs

DONE = {"ok": True, "results": list("abcd"), "starts": [1] * 4}


@pytest.fixture(params=[SLURM, SGE], ids=lambda batch: batch.name)
def batch(request):
    return request.param


@pytest.fixture
def four(batch):
    """A session of four jobs that hold."""
    return f"""
xqute = make(scheduler="{batch.name}", scheduler_rate=None, resume=True)
xqute.scheduler.poll_seconds = xqute.scheduler.grace_seconds = 0.5
jobs = await xqute.push_many([hold(name, f"echo {{name}}; exit 0") for name in "abcd"], retries=2)
(HERE / "pushed").touch()
report = await xqute.run_until_complete()
tell(ok=report.ok, results=[await job for job in jobs], starts=[job.start for job in jobs])
"""


@pytest.fixture
def cluster(batch, tmp_path, monkeypatch):
    with batch.toy(tmp_path / "cluster", grace=0.3) as cluster:
        monkeypatch.setenv("PATH", cluster.path)
        yield cluster


@pytest.fixture
def deadly(batch, cluster, tmp_path, monkeypatch):
    """Submissions end the manager that asks for them, once: before or after they are done."""

    def deadly(*, before):
        folder = tmp_path / "deadly"
        folder.mkdir()
        shim = folder / batch.submit
        kill = f"mkdir '{folder}/done' 2>/dev/null && kill -9 $PPID"
        submit = f"'{cluster.bin}/{batch.submit}' \"$@\""
        lines = [kill + " && exit 1", submit] if before else [submit, kill]
        shim.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        shim.chmod(0o700)
        monkeypatch.setenv("PATH", f"{folder}:{cluster.path}")

    return deadly


@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
def test_a_manager_that_dies_around_a_submission_repeats_and_loses_nothing(
    sessions, four, batch, cluster, deadly, before
):
    deadly(before=before)
    first = sessions.start(four)
    sessions.end(first)
    sessions.go(*"abcd")

    assert sessions.facts(four) == DONE
    assert sessions.ran == dict.fromkeys("abcd", 1)
    assert len(cluster.calls(batch.submit)) == 1


def test_what_waits_in_the_queue_is_found_there_by_its_name(sessions, four, batch, cluster, deadly):
    deadly(before=False)
    let_go = cluster.hold()
    sessions.end(sessions.start(four))
    (sessions.here / "pushed").unlink()

    second = sessions.start(four)
    wait_for((sessions.here / "pushed").exists)
    wait_for(lambda: len(cluster.calls(batch.ask)) >= 2)
    let_go()
    sessions.go(*"abcd")
    said = sessions.end(second)

    assert said.code == 0, said.err
    assert said.facts == DONE
    assert len(cluster.calls(batch.submit)) == 1
    assert {re.split("[._]", job.uid)[0] for job in sessions.jobs()} == {"1"}


def test_what_was_submitted_is_not_submitted_again_while_the_scheduler_can_not_be_asked(
    sessions, four, batch, cluster, deadly
):
    deadly(before=False)
    sessions.end(sessions.start(four))
    mend = cluster.fault("fail")
    (sessions.here / "pushed").unlink()

    second = sessions.start(four)
    wait_for(lambda: len(cluster.calls(batch.ask)) >= 2)
    mend()
    sessions.go(*"abcd")
    said = sessions.end(second)

    assert said.code == 0, said.err
    assert said.facts == DONE
    assert sessions.ran == dict.fromkeys("abcd", 1)
    assert len(cluster.calls(batch.submit)) == 1


def test_the_next_manager_goes_on_with_the_jobs_of_one_that_was_killed(sessions, four, batch, cluster):
    sessions.killed(four, *"abcd")
    sessions.go(*"abcd")

    assert sessions.facts(four) == DONE
    assert sessions.ran == dict.fromkeys("abcd", 1)
    assert len(cluster.calls(batch.submit)) == 1


def test_what_the_queue_has_forgotten_meanwhile_is_known_by_its_files(sessions, four, batch, cluster):
    sessions.killed(four, *"abcd")
    sessions.go(*"abcd")
    wait_for(lambda: not any(job.live for job in cluster.jobs().values()))
    cluster.set(keep=0)
    wait_for(lambda: not cluster.jobs())

    assert sessions.facts(four) == DONE
    assert sessions.ran == dict.fromkeys("abcd", 1)


@pytest.mark.parametrize(
    ("batch", "array"),
    [(SLURM, ["--array=1-4"]), (SGE, ["-t", "1-4"])],
    ids=["slurm", "sge"],
)
def test_a_number_that_another_job_got_meanwhile_is_not_taken_for_ours(
    sessions, four, batch, cluster, tmp_path, array
):
    first = sessions.start(four)
    sessions.wait_up(first, *"abcd")
    wait_for(lambda: len(list(sessions.meta.glob("*/job.lock"))) == 4)  # it knows their numbers
    sessions.end_by_force(first)
    watching = [job.supervisor for job in cluster.jobs().values()]
    for number in list(cluster.jobs()):
        cluster.lose(number)
    wait_for(lambda: not any(map(toyprocs.alive, watching)))  # they would tell of ends by these numbers
    other = tmp_path / "other.sh"
    other.write_text("#!/bin/sh\nsleep 60\n")
    with (cluster.home / "table.json").open("r+") as file:
        text = file.read().replace('"last": 4', '"last": 0')
        file.seek(0)
        file.write(text)
    subprocess.run([cluster.bin / batch.submit, *array, other], check=True, capture_output=True)
    sessions.go(*"abcd")

    facts = sessions.facts(four)

    assert facts["results"] == list("abcd")
    assert sessions.ran == dict.fromkeys("abcd", 2)
    assert all(job.live for job in cluster.jobs().values() if job.name == "other.sh")


def live(cluster):
    return [job for job in cluster.jobs().values() if job.live]


def test_an_interrupt_cancels_all_by_one_command_and_waits_for_their_end(sessions, four, batch, cluster):
    session = sessions.start(four)
    sessions.wait_up(session, *"abcd")

    session.send_signal(signal.SIGINT)
    said = sessions.end(session)

    assert said.code == -signal.SIGINT, said.err
    assert not live(cluster)
    assert len(cluster.calls(batch.cancel)) == 1


def test_jobs_that_an_interrupt_left_running_are_taken_over(sessions, four, batch, cluster):
    detaching = four.replace("resume=True", 'resume=True, on_interrupt="detach"')
    session = sessions.start(detaching)
    sessions.wait_up(session, *"abcd")

    session.send_signal(signal.SIGINT)
    sessions.end(session)
    assert len(live(cluster)) == 4
    sessions.go(*"abcd")

    assert sessions.facts(detaching) == DONE
    assert sessions.ran == dict.fromkeys("abcd", 1)
    assert not cluster.calls(batch.cancel)


def test_what_a_dead_manager_left_in_the_queue_is_killed_there(sessions, four, batch, cluster):
    sessions.killed(four, *"abcd")

    killed = sessions.command("kill", "--all")

    assert killed.count("KILLED by request") == 4
    wait_for(lambda: not live(cluster))
    assert {job.status.name for job in sessions.jobs()} == {"KILLED"}


def test_what_a_dead_manager_left_at_a_cluster_is_not_taken_over_by_another_scheduler(
    sessions, four, batch, cluster
):
    here = four.replace(f'scheduler="{batch.name}", scheduler_rate=None, ', "")
    sessions.killed(four, *"abcd")

    refused = sessions.run(here)
    [kept] = sessions.kept()

    assert refused.code == 1
    assert f"4 job(s) that {batch.name} was given" in refused.err
    assert f"1, 2, 3, 4; go on with Xqute('{batch.name}', …), or end them first: `xqute kill" in refused.err
    assert kept["scheduler"] == batch.name
    sessions.go(*"abcd")
    assert sessions.facts(four) == DONE
    assert sessions.ran == dict.fromkeys("abcd", 1)


def test_what_runs_on_this_host_is_not_taken_over_by_a_cluster(sessions, four, batch, cluster):
    here = four.replace(f'scheduler="{batch.name}", scheduler_rate=None, ', "")
    sessions.killed(here, *"abcd")

    refused = sessions.run(four)

    assert refused.code == 1
    assert "4 job(s) that local was given" in refused.err
    assert not cluster.calls(batch.submit)
    sessions.command("kill", "--all")
    assert {job.status.name for job in sessions.jobs()} == {"KILLED"}


def test_a_run_of_which_nothing_runs_goes_on_at_another_scheduler(sessions, four, batch, cluster):
    here = four.replace(f'scheduler="{batch.name}", scheduler_rate=None, ', "")
    only_pushed, _, _ = here.partition("report = ")
    sessions.run(only_pushed)
    sessions.go(*"abcd")

    assert sessions.facts(four) == DONE
    assert len(cluster.calls(batch.submit)) == 1


def test_what_its_script_gave_a_run_is_kept_when_its_jobs_are_killed(sessions, four, batch, cluster):
    sessions.killed(
        four.replace("rate=None", "rate=None, scheduler_poll_interval='2m', scheduler_forks=3"), *"abc"
    )

    sessions.command("kill", "--all")

    [kept] = sessions.kept()
    assert (kept["scheduler"], kept["forks"]) == (batch.name, 3)
    assert kept["options"] == {"scheduler_rate": None, "scheduler_poll_interval": "2m"}
