"""How soon `await job` returns after a job's end.

The command is `date`: printing the clock is the last it does. What follows counts: its exit, the
wrapper's two files and exit, the news, the store, and reading the result. The time stamps of files
would be nearer to the wrapper's exit, but they are of the kernel's coarse clock: 4 ms on many hosts.

Under load all processes of the host share its cores, so a part of the time is nobody's fault. It is
measured beside: while `xargs` runs the very same scripts with as many at a time, a process that does
nothing else starts one more, waits for it and reads the clock it printed. What xqute takes beyond
that is its own.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

from shared import Row, Table, child, ending, percentile, say, scratch
from spawn import WRITTEN

CLOCK = ["date", "+%s%N"]
FORKS = 64
ALONE = 200
JOBS = 2500
PROBES = 150
BAR, AIM = 20, 5

LOADS = {
    "64 in flight that end at once": CLOCK,
    "64 in flight of 0.1 s": ["sh", "-c", f"sleep 0.1; exec {' '.join(CLOCK)}"],
}


def measure(*, quick: bool) -> Table:
    table = Table("From a job's end to `await job` (`latency`)")
    rounds = 1 if quick else 3
    ours, plain = alone(rounds, 50 if quick else ALONE)
    note = f"a plain wait: {percentile(plain, 0.95):.2f} ms"
    table.rows += [
        Row("alone, p50", percentile(ours, 0.5), "ms"),
        Row("alone, p95", percentile(ours, 0.95), "ms", bar=BAR, aim=AIM, note=note),
    ]
    for name, command in LOADS.items():
        ours, plain = loaded(command, rounds, 900 if quick else JOBS)
        say(f"{name}: {len(ours)} jobs, {len(plain)} plain waits")
        table.rows += compared(name, ours, plain)
    return table


def compared(name: str, ours: list[float], plain: list[float]) -> list[Row]:
    rows = []
    for share in (0.5, 0.95):
        mine, other = percentile(ours, share), percentile(plain, share)
        what = f"{name}, p{share * 100:.0f}, beyond a plain wait under xargs"
        note = f"{mine:.1f} ms, {other:.1f} ms"
        bars = (BAR, AIM) if share > 0.9 else (None, None)
        rows.append(Row(what, mine - other, "ms", *bars, note=note))
    return rows


def alone(rounds: int, jobs: int) -> tuple[list[float], list[float]]:
    """One job at a time: milliseconds of xqute, and of a plain wait for the same scripts."""
    ours, plain = [], []
    for turn in range(rounds):
        with scratch() as root:
            ours += child("latency:one_by_one", directory=str(root / "x"), jobs=jobs)
            plain += child("latency:probe", scripts=again(root / "x"))
        say(f"alone, round {turn + 1} of {rounds}")
    return ours, plain


def loaded(command: list[str], rounds: int, jobs: int) -> tuple[list[float], list[float]]:
    """Many at a time: xqute, plain, plain, xqute in each round."""
    ours: list[float] = []
    plain: list[float] = []
    for turn in range(rounds):
        with scratch() as root:
            xqute = {"jobs": jobs, "command": command, "forks": FORKS}
            ours += child("latency:together", directory=str(root / "1"), **xqute)
            plain += under_xargs(root / "1")
            plain += under_xargs(root / "1")
            ours += child("latency:together", directory=str(root / "2"), **xqute)
        say(f"{command[0]}, round {turn + 1} of {rounds}")
    return ours, plain


def under_xargs(directory: Path) -> list[float]:
    """Plain waits while xargs runs the others of these scripts, at most until it is through."""
    scripts = again(directory)
    listed = directory / "scripts.txt"
    listed.write_text("".join(f"{script}\n" for script in scripts[PROBES:]))
    argv = ["xargs", f"-P{FORKS}", "-n1", "/bin/sh"]
    with listed.open("rb") as source:
        load = subprocess.Popen(argv, stdin=source, stderr=subprocess.DEVNULL)
    with ending(load):
        return child("latency:probe", scripts=scripts[:PROBES], load=load.pid)


def again(directory: Path) -> list[str]:
    """The scripts below, ready to run once more."""
    scripts = sorted(directory.glob("*/job.wrapped.local"))
    for script in scripts:
        for name in WRITTEN:
            (script.parent / name).unlink(missing_ok=True)
    return [str(script) for script in scripts]


# In fresh processes


async def one_by_one(directory: str, jobs: int) -> list[float]:
    from xqute import Xqute

    async with Xqute(job_metadir=directory) as xq:
        await (await xq.push(CLOCK))
        return [since(await (await xq.push(CLOCK))) for _ in range(jobs)]


async def together(directory: str, jobs: int, command: list[str], forks: int) -> list[float]:
    from xqute import Job, Xqute

    async def one(job: Job) -> float:
        return since(await job)

    xq = Xqute(job_metadir=directory, scheduler_forks=forks)
    pushed = await xq.push_many([command] * jobs)
    taken = await asyncio.gather(*map(one, pushed))
    await xq.run_until_complete()
    return taken


def probe(scripts: list[str], load: int = 0) -> list[float]:
    """Run one after the other as long as the load runs; the first gets it warm."""
    if load:
        time.sleep(0.2)  # all forks are in use then
    taken: list[float] = []
    null = os.open(os.devnull, os.O_RDWR)
    streams = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in range(3)]
    for script in scripts:
        if load and not runs(load):
            break
        argv = ["/bin/sh", script]
        pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=streams, setsid=True)
        os.waitpid(pid, 0)
        taken.append(since(Path(script).with_name("job.stdout").read_text()))
    return taken[1:]


def runs(pid: int) -> bool:
    """Whether it is there and no zombie."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def since(stamp: str) -> float:
    """Milliseconds since a clock was printed."""
    return (time.time_ns() - int(stamp)) / 1e6
