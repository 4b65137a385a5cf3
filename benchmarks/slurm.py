"""N wrapped `true` through xqute on a real Slurm, beside the floor: one bare array of N trivial scripts.

    eval "$(tests/live/slurm up)"; python benchmarks/slurm.py [--jobs 1000] [--pairs 5]

The pairs are interleaved, xqute first in every other one; the ratio is of the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from xqute import Xqute


def floor(jobs: int, folder: Path) -> float:
    """Seconds of a bare array, from its submission until nothing of it is in the queue."""
    script = folder / "true.sh"
    script.write_text("#!/bin/sh\ntrue\n")
    began = time.monotonic()
    sbatch = ["sbatch", "--parsable", "--output=/dev/null", f"--array=1-{jobs}", str(script)]
    number = subprocess.run(sbatch, check=True, capture_output=True, text=True).stdout.strip()
    queue = ["squeue", "--noheader", "--format=%i", f"--user={os.getuid()}", f"--jobs={number}"]
    while subprocess.run(queue, check=False, capture_output=True, text=True).stdout.strip():
        time.sleep(0.2)
    return time.monotonic() - began


async def through(jobs: int, folder: Path) -> tuple[float, float, dict[str, int]]:
    """Seconds through xqute, milliseconds of its processor per job, and the commands it ran."""
    xqute = Xqute("slurm", scheduler_forks=jobs, job_metadir=folder / "xqute")
    await xqute.push_many([["true"]] * jobs)
    began, used = time.monotonic(), time.process_time()
    report = await xqute.run_until_complete()
    took, cpu = time.monotonic() - began, (time.process_time() - used) * 1000 / jobs
    if not report.ok:
        raise SystemExit(str(report))
    return took, cpu, dict(report.commands)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    bare, ours, cpus, commands = [], [], [], {}
    for pair in range(given.pairs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if pair % 2:
                bare.append(floor(given.jobs, folder))
            took, cpu, commands = asyncio.run(through(given.jobs, folder))
            ours.append(took)
            cpus.append(cpu)
            if not pair % 2:
                bare.append(floor(given.jobs, folder))
        print(f"pair {pair + 1}: bare {bare[-1]:.1f} s, xqute {ours[-1]:.1f} s", flush=True)
    ratio = statistics.median(ours) / statistics.median(bare)
    print(f"{given.jobs} jobs, median of {given.pairs}: bare {statistics.median(bare):.1f} s, ", end="")
    print(f"xqute {statistics.median(ours):.1f} s, ratio {ratio:.2f} (bar 1.3, aim 1.1)")
    print(f"manager: {statistics.median(cpus):.2f} ms of CPU per job (bar 1); commands {commands}")


if __name__ == "__main__":
    main()
