"""A job that finds out what must run first: DepQueue's worker, on top of xqute.

`PROGRAM train FOLDER` needs a signature of each image in the folder. Only `PROGRAM check FOLDER` knows
which are missing: it prints their images, one per line. So the job asks it, requires one job
`PROGRAM one IMAGE` for each, and is started again when they are there.

Without a command, a small program of that kind and some images are made in the folder `wndchrm`, and
trained. With one, that is queued: `python examples/depqueue.py wndchrm train my-images`.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from xqute import JobFailed, Xqute, current_job, simplug, task

# Checksums instead of features: enough to see what needs what.
PROGRAM = """#!/bin/sh
case $1 in
check) for image in "$2"/*.img; do [ -s "$image.sig" ] || [ ! -e "$image" ] || echo "$image"; done ;;
one) sha256sum < "$2" > "$2.part" && mv "$2.part" "$2.sig" ;;
train) cat "$2"/*.sig > "$2/classifier" && echo "trained with $(wc -l < "$2/classifier") images" ;;
*) echo "usage: $0 check|one|train PATH" >&2; exit 2 ;;
esac
"""


@task(retries=3, retry_delay="1s")
async def wndchrm(*argv):
    """Run a command of the program, after what it needs."""
    job = current_job()
    program, verb, *paths = argv
    if verb not in ("check", "one"):
        missing = await job.run([program, "check", *paths])
        await job.require(
            wndchrm(program, "one", image).options(title=f"one {Path(image).name}")
            for image in missing.splitlines()
        )
    return await job.run(argv)


class Diary:
    """Prints what happens."""

    @simplug.impl
    async def on_job_started(self, scheduler, job):
        """A process of the job runs."""
        print(f"{job} starts" if job.start == 1 else f"{job} starts again")

    @simplug.impl
    async def on_job_event(self, scheduler, job, event):
        """It said something, or something was said of it."""
        if event == "required":
            print(f"{job} needs the jobs {', '.join(map(str, job.needs))} first")

    @simplug.impl
    async def on_job_succeeded(self, scheduler, job):
        """It ended well."""
        print(f"{job} is done")

    @simplug.impl
    async def on_job_failed(self, scheduler, job):
        """An attempt failed, perhaps the last."""
        print(f"{job} failed: {job.reason}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--forks", type=int, default=4, help="jobs at a time")
    add("--images", type=int, default=6, help="how many are made, without a command")
    add("--metadir", type=Path, default=Path(".xqute-depqueue"), help="where the jobs' files go")
    add("command", nargs=argparse.REMAINDER, help="the program, its verb, and a folder")
    return parser.parse_args()


def make_example(count):
    """A program, images, and the command that trains with them."""
    folder = Path("wndchrm")
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    program = folder / "program"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    for number in range(count):
        (images / f"{number:03}.img").write_text(f"image {number}")
    return [f"./{program}", "train", images]


async def main():
    args = arguments()
    command = [str(word) for word in args.command or make_example(args.images)]
    xqute = Xqute(scheduler_forks=args.forks, job_metadir=args.metadir, plugins=[Diary()])
    job = await xqute.push(wndchrm(*command), title=" ".join(command[1:]))
    print(await xqute.run_until_complete())
    try:
        print(await job)
    except JobFailed as exc:
        sys.exit(f"depqueue: {exc}")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit("depqueue: stopped")
