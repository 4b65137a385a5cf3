"""A disk-based queue of job trees: cgkit's story on one host, without its faults."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance import tasks
from tests.acceptance.conftest import run_as_user, until
from tests.acceptance.tasks import step
from xqute import DependencyFailed, Job, JobStatus, cmd, current_job, simplug, task

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/cgkit_queue.py"

pytestmark = pytest.mark.usefixtures("here")


# The example: submitted by one process, worked on by another, looked at by a third


@pytest.fixture
def queue(tmp_path):
    """Run the example in a folder of its own, as a user would; what it printed."""

    def run(*arguments) -> list[str]:
        ended = run_as_user(EXAMPLE, *arguments, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.splitlines()

    return run


ALL_DONE = [
    "FINISHED         job 6 (movie): EXIT 0",
    "    FINISHED  100 %  job 2 (shot 1): Fra:10 Mem:20M",
    "    FINISHED  100 %  job 3 (shot 11): Fra:20 Mem:20M",
    "    FINISHED  100 %  job 4 (shot 21): Fra:30 Mem:20M",
    "    FINISHED  100 %  job 5 (shot 31): Fra:40 Mem:20M",
    "FINISHED  100 %  job 7 (still): Fra:50 Mem:20M",
]


def test_the_example_submits_works_and_lists_in_one_go(queue, tmp_path):
    said = queue()

    assert said[0] == "queued job 6 (movie) and job 7 (still)"
    assert said[1].startswith("7 finished in ")
    assert said[2:] == ALL_DONE
    movie = (tmp_path / "cgkit-queue/movie.mp4").read_text().splitlines()
    assert movie == [
        "frame 0 of shadow_map.blend",
        *(f"frame {number} of shot.blend" for number in range(1, 41)),
    ]


def test_what_one_process_submitted_waits_on_disk_until_another_works(queue, tmp_path):
    queue("submit")

    waiting = queue("list")
    rendered = list(tmp_path.glob("cgkit-queue/*.png"))
    worked = queue("work")

    assert rendered == []
    assert [line.split()[0] for line in waiting] == ["WAITING"] * 5 + ["QUEUED"]
    assert worked[0].startswith("7 finished in ")
    assert queue("list") == ALL_DONE


def test_a_missing_scene_holds_its_tree_until_it_is_there_and_nothing_else(queue, tmp_path):
    queue("submit", "--scenes", "shadow_map still")

    first = queue("work")
    listed = queue("list")
    (tmp_path / "cgkit-queue/shot.blend").touch()
    second = queue("work")

    assert first[0].startswith("1 waiting, 2 finished, 4 failed in ")
    assert re.match(r"WAITING          job 6 \(movie\): blocked: [2345].* failed", listed[0])
    assert "EXIT 1: RuntimeError: ERROR: cannot open shot.blend" in listed[1]
    assert listed[-1] == ALL_DONE[-1]
    assert second[0].startswith("7 finished in ")
    assert queue("list") == ALL_DONE


# The story, with the parts of cgkit by name

RENDERER = """#!/bin/bash
# blender -b FILE -s FIRST -e LAST -a
first=$4 last=$6
for ((n = first; n <= last; n++)); do
    [ "$n.$2" != "$(cat broken 2> /dev/null)" ] || { echo "ERROR: no camera in $2"; sleep 300; }
    echo "Fra:$n"
    echo "frame $n" > "$n.png"
done
"""


@pytest.fixture
def studio(tmp_path, monkeypatch):
    """A folder with a renderer that is found by its name."""
    folder = tmp_path / "studio"
    folder.mkdir()
    tool = folder / "blender"
    tool.write_text(RENDERER)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@task
async def blender(file, frames=(1, 1)):
    """A job procedure: its output is watched for progress and errors."""
    job = current_job()
    tasks.mark("order", f"{file}:{frames[0]}")

    def watch(line):
        if found := re.match(r"Fra:(\d+)", line):
            job.progress(int(found[1]) - frames[0] + 1, frames[1] - frames[0] + 1, line)
        if line.startswith("ERROR:"):
            raise RuntimeError(line)

    await job.run(["blender", "-b", file, "-s", frames[0], "-e", frames[1], "-a"], on_stdout=watch)
    return frames


def movie():
    shadow = blender("shadow_map.blend")
    shots = [blender("shot.blend", (n, n + 4)).after(shadow) for n in range(1, 15, 5)]
    return cmd("sh", "-c", "cat ?.png ??.png").after(*shots)


@pytest.fixture
def order(here):
    def read() -> list[str]:
        return (here / "order").read_text().split()

    return read


async def test_a_tree_is_rendered_depth_first_and_before_a_younger_one(make, studio, order):
    xqute = make(cwd=studio)
    whole = await xqute.push(movie(), title="the movie")
    await xqute.push(blender("still.blend"))

    async with xqute:
        frames = (await whole).splitlines()

    assert frames == [f"frame {n}" for n in range(1, 16)]
    shots = [f"shot.blend:{n}" for n in (1, 6, 11)]
    assert order() == ["shadow_map.blend:1", *shots, "still.blend:1"]


async def test_an_error_line_of_the_renderer_fails_its_shot_at_once(make, studio, alive, order):
    (studio / "broken").write_text("8.shot.blend")
    xqute = make(cwd=studio, scheduler_forks=2)
    whole = await xqute.push(movie())
    other = await xqute.push(blender("still.blend"))

    async with asyncio.timeout(60):
        await xqute.run_until_complete()

    [shot] = await xqute.find(status="FAILED")
    assert str(shot.reason) == "EXIT 1: RuntimeError: ERROR: no camera in shot.blend"
    assert (shot.progress.current, shot.progress.total, shot.progress.message) == (2, 5, "Fra:7")
    assert whole.reason.code == "BLOCKED"
    assert other.status is JobStatus.FINISHED
    assert not any("sleep 300" in line for line in alive().values())


async def test_a_mended_shot_is_rendered_again_by_itself_and_the_movie_follows(make, studio, order):
    (studio / "broken").write_text("8.shot.blend")
    xqute = make(cwd=studio)
    whole = await xqute.push(movie())
    await xqute.run_until_complete()
    [shot] = await xqute.find(status="FAILED")

    (studio / "broken").unlink()
    await shot.retry()
    report = await xqute.run_until_complete()

    assert report.ok
    assert len((await whole).splitlines()) == 15
    assert order().count("shot.blend:6") == 2
    assert len(order()) == 5


async def test_progress_and_status_line_are_heard_frame_by_frame(make, studio):
    heard = []

    class Display:
        @simplug.impl
        async def on_job_event(self, scheduler, job: Job, event: str):
            heard.append(event)

    xqute = make(cwd=studio, plugins=[Display()])
    job = await xqute.push(blender("shot.blend", (1, 10)))
    await xqute.run_until_complete()

    assert heard[-1] == "progress 10 10 Fra:10"
    assert all(re.fullmatch(r"progress (\d+) 10 Fra:\1", event) for event in heard)
    assert job.progress.percent == 100


async def test_everything_about_a_job_can_be_read_with_ls_and_cat(make, studio):
    (studio / "broken").write_text("1.bad.blend")
    xqute = make(cwd=studio)
    good = await xqute.push(blender("shot.blend", (1, 2)))
    bad = await xqute.push(blender("bad.blend"))
    await xqute.run_until_complete()

    def read(job: Job, name: str) -> str:
        return (job.metadir / name).read_text()

    assert read(good, "job.rc") == "0\n"
    assert read(good, "job.stdout") == "Fra:1\nFra:2\n"
    assert read(good, "job.result.txt") == "(1, 2)"
    assert "progress 2 2 Fra:2" in read(good, "job.events").splitlines()
    assert read(bad, "job.rc") == "1\n"
    assert "ERROR: no camera" in read(bad, "job.stdout")
    assert json.loads(read(bad, "job.error"))["message"] == "ERROR: no camera in bad.blend"
    assert "RuntimeError: ERROR: no camera" in read(bad, "job.stderr")


async def test_an_unknown_job_type_fails_alone_and_the_worker_lives(make, studio, tmp_path, monkeypatch):
    types = tmp_path / "types"
    types.mkdir()
    monkeypatch.syspath_prepend(str(types))
    (types / "maya_of_these_tests.py").write_text("def maya():\n    return 'rendered'\n")
    import maya_of_these_tests

    xqute = make(cwd=studio)
    lost = await xqute.push(step("parent").after(await xqute.push(maya_of_these_tests.maya)))
    good = await xqute.push(blender("still.blend"))
    (types / "maya_of_these_tests.py").unlink()

    report = await xqute.run_until_complete()
    sys.modules.pop("maya_of_these_tests")

    assert good.status is JobStatus.FINISHED
    assert report.counts == {JobStatus.WAITING: 1, JobStatus.FAILED: 1, JobStatus.FINISHED: 1}
    with pytest.raises(DependencyFailed, match="maya_of_these_tests"):
        await lost


async def test_a_stray_folder_in_the_queue_harms_nobody(make, studio, metadir):
    xqute = make(cwd=studio)
    first = await xqute.push(blender("a.blend"))
    (metadir / "jobfoo").mkdir()
    (metadir / "2").mkdir()
    (metadir / "2/job.status").write_text("garbage")

    second = await xqute.push(blender("b.blend"))
    report = await xqute.run_until_complete()

    assert (first.id, second.id) == (1, 2)
    assert report.ok


async def test_every_job_runs_in_its_own_process_and_directory(make, tmp_path):
    xqute = make(scheduler_forks=3)
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()

    jobs = [await xqute.push(where, cwd=folder) for folder in folders]
    await xqute.run_until_complete()

    assert [Path((await job)[0]) for job in jobs] == folders
    assert len({(await job)[1] for job in jobs}) == 3


def where():
    return os.getcwd(), os.getpid()


async def test_a_crashed_worker_does_not_leave_its_job_running_for_ever(make, here):
    xqute = make()
    job = await xqute.push(step("parent", step("child").after(crash())))

    async with asyncio.timeout(60):
        report = await xqute.run_until_complete()

    [crashed] = await xqute.find(status="FAILED")
    assert crashed.reason.code == "SIGNAL"
    assert report.blocked == {crashed.id: 2}
    assert job.status is JobStatus.WAITING


@task
def crash():
    os.kill(os.getpid(), 9)


async def test_a_manager_that_is_killed_leaves_a_queue_that_another_one_finishes(tmp_path, here, alive):
    program = tmp_path / "manage.py"
    program.write_text(MANAGE)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, program, tmp_path / "queue"]

    first = await asyncio.to_thread(subprocess.Popen, command, env=environ)
    await until(lambda: (here / "order").exists() and "waits" in (here / "order").read_text())
    first.kill()
    first.wait()
    (here / "waits.open").touch()
    second = await asyncio.to_thread(
        subprocess.run, command, env=environ, capture_output=True, text=True, timeout=60, check=False
    )

    assert second.returncode == 0, second.stderr
    assert second.stdout.split() == ["4", "finished"]
    assert sorted((here / "order").read_text().split()) == ["first", "second", "third", "waits"]


MANAGE = """
import asyncio, os, sys
from tests.acceptance.tasks import held, step
from xqute import Xqute

async def main():
    xqute = Xqute(job_metadir=sys.argv[1], resume="all")
    if not await xqute.find():
        await xqute.push(step("third", held("waits", step("first"))).options(tags=["tree"]))
        await xqute.push(step("second"))
    report = await xqute.run_until_complete()
    print(str(report).split(" in ")[0])

if __name__ == "__main__":
    asyncio.run(main())
"""
