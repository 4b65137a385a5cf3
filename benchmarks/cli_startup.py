"""What it costs to start the command line, beside a Python that does nothing; medians, interleaved."""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time

from xqute import Xqute

XQUTE = [sys.executable, "-m", "xqute"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="starts of each")
    return parser.parse_args()


async def some_jobs(metadir):
    xq = Xqute(job_metadir=metadir, scheduler_forks=4)
    await xq.push_many(["true"] * 20)
    await xq.run_until_complete()


def milliseconds(command):
    begin = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return 1e3 * (time.perf_counter() - begin)


def main():
    runs = arguments().runs
    with tempfile.TemporaryDirectory() as metadir:
        asyncio.run(some_jobs(metadir))
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "xqute --version": [*XQUTE, "--version"],
            "xqute --help": [*XQUTE, "--help"],
            "xqute ls": [*XQUTE, "ls", "--metadir", metadir],
            "xqute ls --json": [*XQUTE, "ls", "--json", "--metadir", metadir],
            "xqute why 1": [*XQUTE, "why", "1", "--metadir", metadir],
        }
        times = {name: [] for name in commands}
        for command in commands.values():
            milliseconds(command)
        for _ in range(runs):
            for name, command in commands.items():
                times[name].append(milliseconds(command))
    bare = statistics.median(times["python -c pass"])
    for name, found in times.items():
        median = statistics.median(found)
        print(f"{name:<16} {median:6.1f} ms  {median / bare:5.1f} x bare")


if __name__ == "__main__":
    main()
