"""Jobs per second of a command that does nothing, beside what else would run it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared import Row, Table, child, median, own_cpu, say, scratch, timed

FORKS = (2, 8, 64)
SECONDS = 1.3
TRIAL = 200

#: What the wrapper wrote; without them its script runs again.
WRITTEN = ("job.status", "job.rc", "job.stdout", "job.stderr")


def measure(*, quick: bool) -> Table:
    table = Table("Wrapped `true`: jobs per second (`spawn`)")
    for forks in (8,) if quick else FORKS:
        with scratch() as root:
            table.rows += Contest(root, forks, SECONDS / (8 if quick else 1)).rows(1 if quick else 5)
    if not shutil.which("parallel"):
        table.remarks.append("GNU parallel is not installed here; its rows are left out.")
    return table


class Contest:
    """xqute and the others with the same forks, in turn, each with jobs for about the same time."""

    def __init__(self, root: Path, forks: int, seconds: float) -> None:
        self.root = root
        self.forks = forks
        self.scripts: list[Path] = []
        self.ways: dict[str, Callable[[int], float]] = {
            "xqute": self.xqute,
            "true": self.bare,
            "scripts": self.wrapped,
        }
        if shutil.which("parallel"):
            self.ways["parallel"] = self.parallel
        self.keep_scripts(TRIAL)
        self.jobs = {
            name: max(TRIAL, round(seconds * TRIAL / way(TRIAL), -2)) for name, way in self.ways.items()
        }
        self.keep_scripts(int(self.jobs["scripts"]))

    def rows(self, rounds: int) -> list[Row]:
        """Rounds of A B C D D C B A; a ratio is made in its round, and the median of them told."""
        rates: dict[str, list[float]] = {name: [] for name in self.ways}
        for turn in range(rounds):
            seconds = dict.fromkeys(self.ways, 0.0)
            for name in [*self.ways, *reversed(self.ways)]:
                seconds[name] += self.ways[name](int(self.jobs[name]))
            for name, taken in seconds.items():
                rates[name].append(2 * self.jobs[name] / taken)
            told = ", ".join(f"{name} {values[-1]:.0f}/s" for name, values in rates.items())
            say(f"forks {self.forks}, round {turn + 1} of {rounds}: {told}")
        return self.compared(rates)

    def compared(self, rates: dict[str, list[float]]) -> list[Row]:
        """The rates of all rounds, as rows."""
        against = {
            "true": ("`xargs -P` of `/bin/true`", 0.25, 0.4),
            "scripts": ("`xargs -P` of the same scripts", 0.7, 0.85),
            "parallel": ("GNU parallel `--joblog --results`", 1.3, 2.0),
        }
        ours = median(rates["xqute"])
        rows = [Row(f"forks {self.forks}", ours, "jobs/s", more=True)]
        for name, (what, bar, aim) in against.items():
            if name not in rates:
                continue
            pairs = zip(rates["xqute"], rates[name], strict=True)
            ratio = median([mine / other for mine, other in pairs])
            note = f"{ours:.0f}/s, {median(rates[name]):.0f}/s"
            what = f"forks {self.forks}, against {what}"  # noqa: PLW2901
            rows.append(Row(what, ratio, "x", bar=bar, aim=aim, more=True, note=note))
        return rows

    # The ways to run them; each returns the seconds

    def xqute(self, jobs: int) -> float:
        """From `run_until_complete` to its end; the jobs were pushed before."""
        directory = self.root / "xqute"
        seconds: float = child("spawn:run", directory=str(directory), jobs=jobs, forks=self.forks)["wall"]
        shutil.rmtree(directory)
        return seconds

    def bare(self, jobs: int) -> float:
        """The command itself: nothing is written, nothing is known of how it ended."""
        return timed(["xargs", *self._xargs(), "/bin/true"], stdin=self._numbers(jobs))

    def wrapped(self, jobs: int) -> float:
        """The very scripts that xqute wrote, started as it starts them."""
        for script in self.scripts:
            for name in WRITTEN:
                (script.parent / name).unlink(missing_ok=True)
        listed = self.root / "scripts.txt"
        listed.write_text("".join(f"{script}\n" for script in self.scripts[:jobs]))
        return timed(["xargs", *self._xargs(), "/bin/sh"], stdin=listed)

    def parallel(self, jobs: int) -> float:
        """It runs each command by $SHELL: the quickest there is."""
        results = self.root / "parallel"
        kept = [f"--joblog={results}.log", f"--results={results}"]
        argv = ["parallel", f"-j{self.forks}", *kept, "/bin/true", "{}"]
        seconds = timed(argv, stdin=self._numbers(jobs), SHELL="/bin/sh")
        shutil.rmtree(results)
        return seconds

    def _xargs(self) -> list[str]:
        return [f"-P{self.forks}", "-n1"]

    def _numbers(self, jobs: int) -> Path:
        path = self.root / "numbers.txt"
        path.write_text("".join(f"{index}\n" for index in range(jobs)))
        return path

    def keep_scripts(self, jobs: int) -> None:
        """Have xqute write as many scripts, and keep them for the others."""
        directory = self.root / "kept"
        shutil.rmtree(directory, ignore_errors=True)
        child("spawn:run", directory=str(directory), jobs=jobs, forks=self.forks)
        self.scripts = sorted(directory.glob("*/job.wrapped.local"))


async def run(directory: str, jobs: int, forks: int, command: list[str] | None = None) -> dict[str, Any]:
    """Run jobs that were pushed before the clock starts; seconds of the clock and of this process."""
    from xqute import JobStatus, Xqute

    xq = Xqute(job_metadir=directory, scheduler_forks=forks)
    await xq.push_many([command or ["true"]] * jobs)
    before, begun = own_cpu(), time.perf_counter()
    report = await xq.run_until_complete()
    wall, after = time.perf_counter() - begun, own_cpu()
    if report.counts != {JobStatus.FINISHED: jobs}:
        message = f"not all jobs finished: {report}"
        raise SystemExit(message)
    return {"wall": wall, "user": after[0] - before[0], "system": after[1] - before[1]}
