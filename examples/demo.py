"""Compress and checksum the standard library of Python as jobs, and show what became of them.

Some jobs are made to fail at their first attempt; one, whose module does not exist, fails for good.
"""

import argparse
import asyncio
import gzip
import hashlib
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from xqute import JobStatus, Xqute

# What each job runs. Its output, the checksum, is its result.
COMPRESS = 'gzip -9 -c -- "$1" > "$XQUTE_JOB_METADIR/module.gz" && sha256sum < "$1"'

# Put before it: fails at the first attempt.
STUMBLE = """[ "$XQUTE_JOB_ATTEMPT" -gt 1 ] || { echo "I stumble once" >&2; exit 3; }; """

STUMBLING = 5
MISSING = "no/such/module.py"
NOT_OURS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
MARK = "made-by-the-demo"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--forks", type=int, help="jobs at a time; by default what suits the scheduler")
    add("--limit", type=int, help="so many modules; by default all")
    add("--metadir", type=Path, default=Path(".xqute-demo"), help="where the jobs' files go")
    add("--scheduler", default="local", help="where the jobs run")
    given = parser.parse_args()
    if given.forks is None and given.scheduler == "local":
        given.forks = 2 * (os.cpu_count() or 1)
    return given


def standard_library(limit):
    """The modules and their names, without tests and what was installed later."""
    root = Path(sysconfig.get_path("stdlib"))
    names = [path.relative_to(root) for path in sorted(root.rglob("*.py"))]
    names = [name for name in names if not NOT_OURS & set(name.parts)]
    return {str(name): root / name for name in names[:limit]}


def clear(metadir):
    """Remove what an earlier demo left; nothing else is ever removed."""
    if (metadir / MARK).exists():
        print(f"removing {metadir} of the demo before")
        shutil.rmtree(metadir)
    elif metadir.exists() and any(metadir.iterdir()):
        sys.exit(f"demo: {metadir} is not empty and not of an earlier demo; choose another --metadir")
    metadir.mkdir(parents=True, exist_ok=True)
    (metadir / MARK).touch()


async def compress(modules, args):
    """Push a job per module, and run them all."""
    xqute = Xqute(
        args.scheduler,
        scheduler_forks=args.forks,
        job_metadir=args.metadir,
        job_error_strategy="retry",
        job_num_retries=2,
        retry_delay="200ms",
        progress=True,
    )
    await xqute.push(["sh", "-c", COMPRESS, "sh", MISSING], title=MISSING)
    for place, (name, path) in enumerate(modules.items()):
        script = STUMBLE + COMPRESS if place < STUMBLING else COMPRESS
        await xqute.push(["sh", "-c", script, "sh", path], title=name)
    return xqute.jobs, await xqute.run_until_complete()


def trouble(jobs, modules):
    """What is not as designed: one failure for good, some retries, and every module intact."""
    missing, *compressed = jobs
    if missing.status is not JobStatus.FAILED:
        yield f"{missing} should have failed"
    for place, job in enumerate(compressed):
        if job.status is not JobStatus.FINISHED:
            yield f"{job} ended {job.status.name}: {job.reason}"
        elif place < STUMBLING and job.attempt != 2:
            yield f"{job} had {job.attempt} attempts instead of 2"
        elif not intact(job, modules[job.title]):
            yield f"{job} lost something"


def intact(job, module):
    """Whether what the job compressed is its module, with the checksum it printed."""
    content = gzip.decompress((job.metadir / "module.gz").read_bytes())
    checksum = hashlib.sha256(content).hexdigest()
    return content == module.read_bytes() and job.result().split()[0] == checksum


def seconds(job):
    """How long a job ran; where nobody measured it, as it was noticed."""
    return job.usage.get("wall", job.ended - job.started)


def show(jobs, modules, report, metadir):
    """The table at the end."""
    finished = [job for job in jobs if job.status is JobStatus.FINISHED]
    before = sum(modules[job.title].stat().st_size for job in finished)
    after = sum((job.metadir / "module.gz").stat().st_size for job in finished)
    slowest = sorted(finished, key=seconds, reverse=True)[:5]
    table = Table(title="the standard library, compressed", box=box.ROUNDED, show_header=False)
    table.add_column(style="bold")
    table.add_row("jobs", f"{len(jobs):,}")
    table.add_row("failures", f"{len(report.failures):,}")
    table.add_row("retries", f"{sum(job.attempt - 1 for job in jobs):,}")
    table.add_row("time", f"{report.seconds:.1f} s")
    table.add_row("jobs/s", f"{len(jobs) / report.seconds:,.1f}")
    if report.commands:
        table.add_row("commands", ", ".join(f"{count} {name}" for name, count in report.commands.items()))
    table.add_row("bytes", f"{before:,} → {after:,}", end_section=True)
    for place, job in enumerate(slowest):
        label = "" if place else "the five slowest"
        table.add_row(label, f"{1000 * seconds(job):6,.0f} ms  {job.title}")
    table.add_section()
    table.add_row("job directories", f"{metadir}/<job>")
    Console().print(table)


async def main():
    args = arguments()
    for tool in ("gzip", "sha256sum"):
        if shutil.which(tool) is None:
            sys.exit(f"demo: {tool} is needed, and not on the PATH")
    modules = standard_library(args.limit)
    clear(args.metadir)
    library, how = sysconfig.get_path("stdlib"), f"{args.forks} at a time" if args.forks else "in its queue"
    print(f"compressing {len(modules)} modules of {library} with the scheduler {args.scheduler}, {how}")
    jobs, report = await compress(modules, args)
    wrong = list(trouble(jobs, modules))
    show(jobs, modules, report, args.metadir)
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit("demo: stopped")
