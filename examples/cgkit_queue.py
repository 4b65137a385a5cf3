"""A queue of renderings in a folder: cgkit's job queue, on top of xqute.

`submit` queues two trees of jobs and ends; `work` runs what is queued; `list` shows how it stands, as
cgkit's JobQueue does. Without a word, all three happen, one after the other. A shadow map is rendered
first, then the shots that use it, each frame of which is progress, then the movie made of them; a
younger tree is begun when an older one leaves a fork unused. Where a scene is missing, its tree waits:
put it there and `work` again.

A few lines of shell stand in for the renderer; `--blender blender` takes the real one.
"""

import argparse
import asyncio
import re
import sys
from pathlib import Path

from xqute import Xqute, cmd, current_job, task

# What it prints looks like Blender's output, also when a scene can't be opened.
STAND_IN = """#!/bin/sh
[ -e "$2" ] || { echo "ERROR: cannot open $2"; exit 0; }
frame=$4
while [ "$frame" -le "$6" ]; do
    echo "frame $frame of $2" > "$(printf %04d "$frame").png"
    echo "Fra:$frame Mem:20M"
    frame=$((frame + 1))
done
"""


@task
async def blender(program, scene, first=1, last=1):
    """Render some frames of a scene."""
    job = current_job()

    def watch(line):
        if found := re.match(r"Fra:(\d+)", line):
            job.progress(int(found[1]) - first + 1, last - first + 1, line)
        if line.startswith("ERROR:"):
            raise RuntimeError(line)

    await job.run([program, "-b", scene, "-s", first, "-e", last, "-a"], on_stdout=watch)


def movie(program):
    """A tree: the movie needs its shots, and each shot the shadow map, which is rendered once."""
    shadow = blender(program, "shadow_map.blend", 0, 0)
    shots = [
        blender(program, "shot.blend", first, first + 9).after(shadow).options(title=f"shot {first}")
        for first in range(1, 40, 10)
    ]
    return cmd("sh", "-c", "cat 00[0-4]?.png > movie.mp4").after(*shots).options(title="movie")


def still(program):
    """Another tree, of one job."""
    return blender(program, "still.blend", 50, 50).options(title="still")


async def submit(xqute, args):
    """Make the scenes, and queue what is to be rendered; nothing runs."""
    args.folder.mkdir(parents=True, exist_ok=True)
    for scene in args.scenes.split():
        (args.folder / f"{scene}.blend").touch()
    program = args.blender
    if program is None:
        stand_in = args.folder / "blender"
        stand_in.write_text(STAND_IN)
        stand_in.chmod(0o755)
        program = "./blender"
    jobs = await xqute.push_many([movie(program), still(program)], cwd=args.folder)
    print(f"queued {' and '.join(map(str, jobs))}")


async def work(xqute, args):
    """Run everything that is queued."""
    print(await xqute.run_until_complete())


async def show(xqute, args):
    """The trees of the queue, and the jobs that they wait for."""
    for root in await xqute.find(top=True):
        print(line(root))
        for job in [await xqute.get(id_) for id_ in root.needs]:
            print(f"    {line(job)}")


def line(job):
    """How a job stands, in a line."""
    progress = job.progress
    done = f"{progress.percent:3.0f} % " if progress.percent else "      "
    return f"{job.status.name:9} {done} {job}: {progress.message or job.reason}"


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("what", nargs="?", choices=["submit", "work", "list"], help="by default all three")
    add("--folder", type=Path, default=Path("cgkit-queue"), help="where everything is")
    add("--forks", type=int, default=2, help="jobs at a time")
    add("--scenes", default="shadow_map shot still", help="the scenes that are there")
    add("--blender", help="the renderer; by default a stand-in")
    return parser.parse_args()


async def main():
    args = arguments()
    xqute = Xqute(job_metadir=args.folder / "queue", scheduler_forks=args.forks, resume="all")
    for name, do in {"submit": submit, "work": work, "list": show}.items():
        if args.what in (None, name):
            await do(xqute, args)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit("cgkit_queue: stopped")
