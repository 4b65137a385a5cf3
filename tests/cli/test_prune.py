"""`xqute prune`: what may go goes, with its files, and nothing else."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import THEN, dead, living
from xqute.states import JobStatus, Reason


@contextmanager
def asking(place, environment, *options):
    """`xqute prune` with a terminal to ask at, and the other end of that."""
    master, slave = os.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "xqute", "prune", *options],
            env={**environment, "XQUTE_METADIR": str(place.root)},
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            yield process, master
    finally:
        os.close(master)
        os.close(slave)


def left(place):
    """The jobs that have a record, and those that have a directory."""
    rows = place.do(lambda store: store.get(range(1, 20)))
    return [row.id for row in rows], sorted(int(name) for name in os.listdir(place.root) if name.isdecimal())


def test_what_ended_is_removed_with_its_files(some, call) -> None:
    said = call("prune", "--yes")

    assert said.status == 0
    assert said.out.startswith("removed 3 jobs, ")
    assert left(some) == ([], [])


@pytest.mark.parametrize(
    ("options", "remains"),
    [
        (["--status", "failed"], [1, 3]),
        (["--keep", "failed"], [2]),
        (["--status", "failed,killed", "--keep", "killed"], [1, 3]),
        (["--keep", "ended"], [1, 2, 3]),
        (["--run", "run1"], []),
        (["--older", "1h"], []),
        (["--older", "36500d"], [1, 2, 3]),
        (["--dry-run"], [1, 2, 3]),
    ],
)
def test_only_what_was_meant_is_removed(some, call, options, remains) -> None:
    assert call("prune", "--yes", *options).status == 0
    assert left(some) == (remains, remains)


def test_age_counts_from_the_end(place, call) -> None:
    place.run()
    place.job(age=time.time() - 3600)
    place.job(age=time.time() - 60)

    call("prune", "--yes", "--older", "30m")

    assert left(place) == ([2], [2])


def test_what_has_not_ended_is_never_touched(place, call) -> None:
    place.run(owner=dead())
    place.job()
    place.job(JobStatus.RUNNING, reason=Reason("RUNNING"))
    place.job(JobStatus.QUEUED, reason=Reason("ACCEPTED"))

    call("prune", "--yes")
    assert call("prune", "--yes", "--status", "running,queued").out == "nothing to remove\n"

    assert left(place) == ([2, 3], [2])


def test_runs_that_a_living_process_owns_are_left_alone(some, call) -> None:
    some.run("lively", owner=living(), created=THEN + 1)
    some.job(run="lively")

    said = call("prune", "--dry-run")
    assert said.out.endswith("; 1 job of runs that are running is left\n")
    call("prune", "--yes")

    assert left(some) == ([4], [4])


def test_it_says_first_what_it_would_free(some, call) -> None:
    (some.root / "1" / "big").write_bytes(b"x" * 1_000_000)

    said = call("prune", "--dry-run")
    document = call("prune", "--dry-run", "--json").json

    assert said.out.startswith("would remove 3 jobs of 1 run, 1.0 MB")
    assert 1_000_000 < document["bytes"] < 1_100_000
    assert (document["jobs"], document["removed"], document["dry_run"]) == ([1, 2, 3], 0, True)


def test_without_a_terminal_it_needs_yes(some, xqute) -> None:
    said = xqute("prune")

    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("xqute: nothing was removed (3 jobs of 1 run, ")
    assert said.stderr.endswith("): stdin is no terminal, so nobody can be asked; say --yes\n")
    assert left(some)[0] == [1, 2, 3]


@pytest.mark.parametrize("answer", ["n\n", "y\n"])
@pytest.mark.parametrize("what", [[], ["--logs"]], ids=["jobs", "logs"])
def test_an_answer_from_a_pipe_is_nobodys(some, xqute, answer, what) -> None:
    some.job(log=line("INFO", 100))

    said = xqute("prune", *what, stdin=None, input=answer)

    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.endswith("; say --yes\n")
    assert left(some)[0] == [1, 2, 3, 4]
    assert log_of(some, 4)


@pytest.mark.parametrize(("answer", "remains"), [("y\n", []), ("n\n", [1, 2, 3]), ("\n", [1, 2, 3])])
def test_on_a_terminal_it_asks(some, environment, answer, remains) -> None:
    with asking(some, environment) as (process, master):
        os.write(master, answer.encode())
        out, err = process.communicate(timeout=60)

    assert process.returncode == 0
    assert b"remove 3 jobs of 1 run, " in err
    assert (out == b"nothing was removed\n") == bool(remains)
    assert left(some)[0] == remains


def test_a_terminal_that_gives_no_answer_has_nothing_removed(some, environment) -> None:
    with asking(some, environment) as (process, master):
        os.write(master, b"\x04")  # Ctrl-D
        out, err = process.communicate(timeout=60)

    assert (process.returncode, out) == (1, b"")
    assert err.endswith(b"\nxqute: nothing was removed: there was no answer\n")
    assert left(some)[0] == [1, 2, 3]


def test_who_does_not_want_lines_of_logs_to_go_is_told_that_they_stay(place, environment) -> None:
    place.run()
    place.job(log=line("INFO", 100))
    with asking(place, environment, "--logs") as (process, master):
        os.write(master, b"n\n")
        out, _ = process.communicate(timeout=60)

    assert (process.returncode, out) == (0, b"nothing was removed\n")
    assert log_of(place, 1)


def test_the_first_ctrl_c_at_the_question_ends_it_and_removes_nothing(some, environment) -> None:
    with asking(some, environment) as (process, master):
        asked = b""
        while not asked.endswith(b"]: "):
            byte = process.stderr.read(1)
            assert byte, asked
            asked += byte
        # A signal between the question and the read is seen by Python only when the read ends.
        while (Path("/proc") / str(process.pid) / "stat").read_text().rpartition(")")[2].split()[0] != "S":
            pass
        process.send_signal(signal.SIGINT)
        process.wait(30)
        os.write(master, b"y\n")

    assert process.returncode == 130
    assert left(some)[0] == [1, 2, 3]


def test_nothing_outside_of_a_job_is_removed(some, call, tmp_path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (some.root / "1" / "link").symlink_to(precious)
    (some.root / "77").mkdir()  # no job of this store
    (some.root / "notes.txt").touch()

    call("prune", "--yes")

    assert (precious / "file").exists()
    assert (some.root / "77").exists()
    assert (some.root / "notes.txt").exists()


def test_a_directory_that_is_a_link_is_named_and_left(some, call, tmp_path) -> None:
    precious = tmp_path / "precious"
    os.replace(some.root / "1", precious)
    (some.root / "1").symlink_to(precious)

    said = call("prune", "--yes")

    assert said.status == 1
    assert f"{some.root}/1 can't be removed" in said.err
    assert (precious / "job.stdout").exists()


def test_what_a_job_needs_that_is_to_run_yet_is_left(place, call) -> None:
    place.run(owner=dead())
    for _ in range(3):
        place.job()
    place.job(JobStatus.FAILED, needs=[1], reason=Reason("EXIT", {"rc": 1}))
    place.job(JobStatus.WAITING, needs=[2, 4], reason=Reason("NEEDS"))
    place.job(needs=[3])

    said = call("prune", "--dry-run", "--json").json
    kept = call("prune", "--dry-run", "--json", "--keep", "failed").json

    assert (said["jobs"], said["needed"]) == ([1, 3, 6], 2)
    assert (kept["jobs"], kept["needed"]) == ([3, 6], 2)
    assert "2 jobs that others need are left" in call("prune", "--dry-run").out
    assert call("prune", "--yes").out.startswith("removed 3 jobs, ")
    assert left(place)[0] == [2, 4, 5]
    assert call("prune", "--yes").out == "nothing to remove; 2 jobs that others need are left\n"


# What is worth knowing before


def test_what_a_resumed_script_would_run_again_is_said(place, call) -> None:
    place.run("done")
    place.job(run="done")
    place.run("died", owner=dead(), created=THEN + 1)
    for status in (JobStatus.FINISHED, JobStatus.FAILED, JobStatus.SKIPPED):
        place.job(status, run="died", reason=Reason("EXIT"))
    place.job(JobStatus.QUEUED, run="died", reason=Reason("ACCEPTED"))

    said, document = call("prune", "--dry-run").out, call("prune", "--dry-run", "--json").json
    done = call("prune", "--dry-run", "--run", "done")

    assert said.startswith("would remove 4 jobs of 2 runs, ")
    assert said.endswith("; 2 of them ended well in 1 unfinished run, and may run again with resume\n")
    assert (document["unfinished"], document["again"]) == (["died"], [2, 4])
    assert "unfinished" not in done.out


def test_of_jobs_that_go_those_are_counted_that_are_old_builds(place, call) -> None:
    place.run()
    for status in (JobStatus.FINISHED, JobStatus.FINISHED, JobStatus.FAILED, JobStatus.FINISHED):
        place.job(status, name="crawl", reason=Reason("EXIT"))
    place.job()

    said, document = call("prune", "--dry-run").out, call("prune", "--dry-run", "--json").json
    every = call("prune", "--dry-run", "--builds").out

    assert said.startswith("would remove 4 jobs of 1 run, among them 2 old builds, ")
    assert said.endswith("; 1 current build (see --builds) is left\n")
    assert (document["old"], document["current"]) == ([1, 2], [4])
    assert every.startswith("would remove 5 jobs of 1 run, among them 2 old builds and 1 current build, ")


def test_protected_builds_that_are_left_are_counted(place, call) -> None:
    place.run()
    place.job(name="crawl", protected=True)
    place.job(name="crawl", protected=True, age=time.time())

    said, document = call("prune", "--older", "1h"), call("prune", "--json", "--dry-run").json

    assert said.out == "nothing to remove; 1 protected build is left\n"
    assert (document["jobs"], document["protected"]) == ([], 2)


# Runs without jobs


def runs(place):
    return [row.id for row in place.do(lambda store: store.runs())]


def test_a_run_whose_jobs_all_go_goes_with_them_and_one_that_keeps_some_stays(some, call) -> None:
    some.run("run2", created=THEN + 1)
    some.job(run="run2")

    call("prune", "--yes", "--keep", "failed")

    assert runs(some) == ["run1"]


def test_runs_without_jobs_go_unless_a_living_process_owns_them(place, call) -> None:
    place.run("left")
    place.run("crashed", owner=dead())
    place.run("begun", owner=living())

    dry, said = call("prune", "--dry-run"), call("prune", "--yes")

    assert dry.out == "would remove 2 runs without jobs\n"
    assert said.out == "removed 2 runs without jobs\n"
    assert runs(place) == ["begun"]
    assert call("prune", "--yes").out == "nothing to remove\n"


def test_of_runs_without_jobs_only_what_was_meant_goes(place, call) -> None:
    place.run("old")
    place.run("new", created=time.time())
    place.run("other")

    call("prune", "--yes", "--older", "1h", "--run", "old")

    assert runs(place) == ["new", "other"]
    assert call("prune", "--older", "1h", "--dry-run", "--json").json["runs"] == ["other"]


# What Python calls left elsewhere

CLEANED = """
import asyncio
from pathlib import Path
from xqute import Xqute, task

HERE = Path(__file__).parent

@task
def make(name):
    (HERE / name).touch()
    if name == "bad":
        raise ValueError("no more")
    return name

@make.cleanup
def unmake(job):
    with (HERE / "cleaned").open("a") as file:
        print(job.args[0], file=file)
    if job.args[0] == "stuck" and (HERE / "jam").exists():
        raise OSError("it is stuck")
    (HERE / job.args[0]).unlink()

async def main():
    async with Xqute() as xq:
        await asyncio.gather(*await xq.map(make, ["bad", "one", "stuck"]), return_exceptions=True)

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture
def made(place, tmp_path, environment):
    """A folder with what calls made; one of them failed and was cleaned up after, one can't be just now."""
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "jam").touch()
    (folder / "work.py").write_text(CLEANED.replace("Xqute()", f"Xqute(job_metadir={str(place.root)!r})"))
    subprocess.run([sys.executable, folder / "work.py"], check=True, env=environment, capture_output=True)
    assert sorted(os.listdir(folder)) == ["cleaned", "jam", "one", "stuck", "work.py"]
    return folder


def cleaned(folder):
    return sorted((folder / "cleaned").read_text().split())


def test_cleanup_functions_are_called_as_whenever_a_job_is_deleted(made, xqute) -> None:
    dry = xqute("prune", "--dry-run")

    said = xqute("prune", "--yes")

    assert dry.stdout.endswith("; 2 cleanup functions called first\n")
    assert cleaned(made) == ["bad", "one", "stuck"]
    assert said.stdout.startswith("removed 3 jobs, ")  # one of them cleaned up after the one that failed
    assert said.returncode == 1
    assert "job 3 (make('stuck')) is left, because its cleanup function failed: " in said.stderr
    assert "it is stuck" in said.stderr
    listed = json.loads(xqute("ls", "--run", "all", "--json").stdout)["jobs"]
    assert [job["title"] for job in listed] == ["make('stuck')", "cleanup of 3: make('stuck')"]


def test_a_cleanup_that_failed_is_tried_again_and_nothing_is_left_of_one_that_went_well(
    place, made, xqute
) -> None:
    xqute("prune", "--yes")
    (made / "jam").unlink()

    said = xqute("prune", "--yes")

    assert (said.returncode, said.stderr) == (0, "")
    assert cleaned(made) == ["bad", "one", "stuck", "stuck"]
    assert left(place) == ([], [])
    assert runs(place) == []


def test_without_cleanup_no_function_is_called(place, made, xqute) -> None:
    said = xqute("prune", "--yes", "--no-cleanup")

    assert said.stdout.startswith("removed 4 jobs, ")
    assert left(place) == ([], [])
    assert cleaned(made) == ["bad"]


# Logs


def line(level, days, text="said"):
    """A line of a log, so many days old."""
    record = {"date": time.time() - days * 86_400, "level": level, "logger": "x", "text": text}
    return json.dumps(record).encode() + b"\n"


def log_of(place, id_):
    return (place.root / str(id_) / "job.log").read_bytes()


#: For each level a line that goes, and one that stays.
AGED = {"DEBUG": (16, 14), "INFO": (31, 29), "WARNING": (91, 89), "ERROR": (181, 179), "CRITICAL": (181, 179)}


def test_of_logs_the_old_lines_go_and_what_is_worse_stays_longer(place, call) -> None:
    place.run()
    old = [line(level, goes, "old") for level, (goes, _) in AGED.items()]
    young = [line(level, stays, "young") for level, (_, stays) in AGED.items()]
    place.job(log=b"".join(old + young))

    said = call("prune", "--logs", "--yes")

    assert log_of(place, 1) == b"".join(young)
    assert said.out.startswith("removed 5 lines of 1 job, ")
    assert left(place) == ([1], [1])
    assert (place.root / "1" / "job.log").stat().st_mode & 0o777 == 0o600


def test_how_long_lines_stay_can_be_said(place, call) -> None:
    place.run()
    kept, gone = line("INFO", 3), line("ERROR", 3)
    place.job(log=kept + gone)

    call(
        "prune",
        "--logs",
        "--yes",
        "--log-age",
        "error=2d,critical=2d",
        "--log-age",
        "info=1h30m",
        "--log-age",
        "info=4d",
    )

    assert log_of(place, 1) == kept


def test_a_dry_run_says_what_would_go_of_logs_and_changes_nothing(place, call) -> None:
    place.run()
    old = line("INFO", 100)
    content = old + line("INFO", 1)
    place.job(log=content)
    place.job(log=line("INFO", 1))

    said = call("prune", "--logs", "--dry-run")
    document = call("prune", "--logs", "--dry-run", "--json").json

    assert said.out == f"would remove 1 line of 1 job, {len(old)} B\n"
    assert log_of(place, 1) == content
    assert (document["jobs"], document["lines"], document["removed"]) == ([1], 1, 0)
    assert document["dry_run"] is True


def test_a_log_of_which_nothing_stays_goes(place, call) -> None:
    place.run()
    place.job(log=line("INFO", 100))

    call("prune", "--logs", "--yes")

    assert not (place.root / "1" / "job.log").exists()
    assert (place.root / "1" / "job.log.new").exists() is False


def test_logs_of_earlier_starts_are_pruned_too(place, call) -> None:
    place.run()
    place.job(log=line("INFO", 1))
    (place.root / "1" / "job.retry" / "1").mkdir(parents=True)
    earlier = place.root / "1" / "job.retry" / "1" / "job.log"
    earlier.write_bytes(line("INFO", 100) + line("INFO", 1, "kept"))

    call("prune", "--logs", "--yes")

    assert earlier.read_bytes().count(b"\n") == 1
    assert b"kept" in earlier.read_bytes()


def test_what_is_no_line_of_a_log_stays(place, call) -> None:
    place.run()
    content = b"not json\n[1]\n" + json.dumps({"date": 1.0}).encode() + b'\n{"date": 1.0, "level": "INFO'
    place.job(log=content)

    assert call("prune", "--logs", "--yes").out == "nothing to remove\n"
    assert log_of(place, 1) == content


def test_a_level_of_ones_own_counts_as_info(place, call) -> None:
    place.run()
    place.job(log=line("NOTICE", 31) + line("NOTICE", 29, "kept"))

    call("prune", "--logs", "--yes")

    assert b"kept" in log_of(place, 1)
    assert log_of(place, 1).count(b"\n") == 1


def test_logs_of_runs_that_a_living_process_owns_are_left_alone(some, call) -> None:
    some.run("lively", owner=living(), created=THEN + 1)
    some.job(run="lively", log=line("INFO", 100))

    assert (
        call("prune", "--logs", "--yes").out == "nothing to remove; 1 job of runs that are running is left\n"
    )
    assert log_of(some, 4)


def test_a_log_that_is_a_link_is_named_and_left(place, call, tmp_path) -> None:
    place.run()
    place.job()
    precious = tmp_path / "precious"
    precious.write_bytes(line("INFO", 100))
    (place.root / "1" / "job.log").symlink_to(precious)

    said = call("prune", "--logs", "--yes")

    assert said.status == 1
    assert f"{place.root}/1/job.log can't be read or changed" in said.err
    assert precious.read_bytes()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--logs", "--older", "7d"], "--older is about jobs"),
        (["--log-age", "info=7d"], "give --logs, too"),
        (["--logs", "--log-age", "inof=7d"], "did you mean 'info'?"),
        (["--logs", "--log-age", "info=long"], "is no duration"),
    ],
)
def test_wrong_words_about_logs_are_told(some, xqute, options, told) -> None:
    said = xqute("prune", *options)

    assert said.returncode == 2
    assert told in " ".join(said.stderr.split())


def test_long_work_shows_on_a_terminal_how_far_it_is(some, environment) -> None:
    master, slave = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "xqute", "prune", "--yes"],
            env={**environment, "XQUTE_METADIR": str(some.root)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=slave,
            check=True,
        )
        shown = os.read(master, 100_000)
    finally:
        os.close(master)
        os.close(slave)

    assert done.stdout.startswith(b"removed 3 jobs, ")
    assert b"removing" in shown
