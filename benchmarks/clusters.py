"""The same jobs at a real Slurm and a real Grid Engine: through xqute, bare, and by what else one would take.

Each cluster is started on this machine by its script in tests/live, as root, and left running. In pairs
that take turns to be first: xqute, and one bare array of a script that keeps nothing. In the first rounds
the peers come after them. Every clock stops when nothing is in the queue. `--only sge` takes this cluster,
`--rounds 1 --jobs 100` is quicker and means less, `--markdown FILE` also writes the tables into that page.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import bench
from peers import Contest, Failed, Found, Peer, Sample, drawn, split, swept, write
from shared import HERE, Row, median, number, say, scratch, warn

BEGIN, END = "<!-- generated: clusters -->", "<!-- /generated: clusters -->"
LIVE = HERE.parent / "tests" / "live"

OURS = Peer(
    "xqute",
    "xqute",
    "`push_many`, `run_until_complete`: an element of an array that runs the job's wrapper",
    "return code and both outputs in files, state and reason in SQLite on disk since its push",
)
BARE = Peer("bare", "a bare array", "an element that runs `true`", "nothing")
PEERS = {
    "slurm": (
        Peer(
            "submitit",
            "submitit",
            "`AutoExecutor.map_array` of a `CommandFunction`: an element that is a Python process",
            "the output as a pickled result, logs in files",
            package="submitit==1.5.4",
        ),
        Peer(
            "psij",
            "PSI/J",
            "`JobExecutor.submit`: an `sbatch` and a script of its own",
            "return code in a file until it was read, state in memory; Slurm asked every 2 s",
            package="psij-python==0.9.11",
        ),
    ),
    "sge": (),
}

TITLES = {"slurm": "Slurm", "sge": "Grid Engine"}
VERSIONS = {"slurm": ["sinfo", "--version"], "sge": ["qstat", "-help"]}

#: What ends the jobs that a driver left in the queue.
CLEARED = {"slurm": ["scancel", f"--user={os.getuid()}"], "sge": ["qdel", "-u", "*"]}

HEAD = ["what", "measured", "bar", "aim", "verdict", "from"]


def main() -> int:
    given = arguments()
    for wish in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(wish, bench.interrupt)
    if given.markdown:
        split(given.markdown, BEGIN, END)
    begun, machine, blocks = time.monotonic(), bench.machine(), []
    try:
        with scratch() as root, swept():
            for name in given.clusters:
                blocks += Cluster(name, root, given).measured()
    except KeyboardInterrupt:
        warn("interrupted; nothing of it runs any more, and the cluster is left up")
        return 130
    except Failed as error:
        warn(str(error))
        return 1
    minutes = (time.monotonic() - begun) / 60
    told = (
        f"`{command()}` on {time.strftime('%Y-%m-%d', time.gmtime())}, in {minutes:.0f} minutes: {machine}."
    )
    tables = "\n\n".join([told, *blocks])
    print(tables)
    if given.markdown:
        write(given.markdown, tables, BEGIN, END)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Run the same jobs at real clusters, with and without xqute."
    )
    add = parser.add_argument
    add("--only", choices=PEERS, help="this cluster; both without")
    add("--jobs", type=int, default=1000, help="jobs of each run (1000)")
    add("--rounds", type=int, default=5, help="pairs, for the median (5)")
    add("--peers", type=int, default=3, metavar="ROUNDS", help="rounds with the peers in them (3)")
    add("--timeout", type=float, default=900, metavar="SECONDS", help="for each run (900)")
    add("--cache", type=Path, default=HERE.parent / ".peers", help="environments (.peers)")
    add("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    given = parser.parse_args()
    given.clusters = [given.only] if given.only else list(PEERS)
    given.cache, given.only = given.cache.resolve(), []
    return given


def command() -> str:
    """How it was called, without the page."""
    words = [word for word in sys.argv[1:] if word != "--markdown" and not word.endswith(".md")]
    return f'make clusters ARGS="{" ".join(words)}"' if words else "make clusters"


class Cluster:
    """One of them, and all that is measured there."""

    def __init__(self, name: str, root: Path, given: argparse.Namespace) -> None:
        self.name = name
        self.given = given
        self.contest = Contest(root, given)
        self.load = (name, given.jobs)
        self.ours, self.bare = Found(OURS, version="this checkout"), Found(BARE)
        self.peers = [Found(peer) for peer in PEERS[name] if given.peers]

    def measured(self) -> list[str]:
        """Heads and tables."""
        self.join()
        for found in self.peers:
            self.contest.attempt(found, "set up", self.contest.install)
        try:
            for turn in range(self.given.rounds):
                self.round(turn)
        finally:
            subprocess.run(CLEARED[self.name], check=False, capture_output=True)
        said = subprocess.run(VERSIONS[self.name], check=False, capture_output=True, text=True).stdout
        head = f"{TITLES[self.name]} ({said.splitlines()[0]}), {self.given.jobs} times `true`, all at once"
        blocks = [f"{head}, median of {self.given.rounds}:", self.bars()]
        return [*blocks, self.beside()] if self.peers else blocks

    def join(self) -> None:
        """Start it; from here on its commands are found."""
        script = f'started=$("{LIVE / self.name}" up) && eval "$started" && env -0'
        done = subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
            raise Failed(f"{LIVE / self.name} up: {lines[-1]}")
        os.environ.update(line.split("=", 1) for line in done.stdout.split("\0") if line)

    def round(self, turn: int) -> None:
        """A pair, the other way round in every second one; then the peers."""
        pair = [self.bare, self.ours] if turn % 2 else [self.ours, self.bare]
        for found in pair:
            self.note(found, self.contest.sample(found, self.load), turn)
        for found in self.peers if turn < self.given.peers else []:
            if not found.error:
                where = f"{self.name}, round {turn + 1}"
                sample = self.contest.attempt(found, where, partial(self.contest.sample, load=self.load))
                if sample:
                    self.note(found, sample, turn)

    def note(self, found: Found, sample: Sample, turn: int) -> None:
        """Keep it, and tell."""
        found.samples.setdefault(self.load, []).append(sample)
        say(
            f"{self.name}, round {turn + 1} of {self.given.rounds}: {found.peer.title} {sample.seconds:.1f} s"
        )

    def seconds(self, found: Found) -> float:
        """The median of a run."""
        return median([sample.seconds for sample in found.samples[self.load]])

    def cpu(self, found: Found) -> float:
        """Milliseconds of the manager for each job."""
        return median([sample.cpu * 1000 / sample.jobs for sample in found.samples[self.load]])

    def bars(self) -> str:
        """What xqute must reach."""
        ours, bare = self.seconds(self.ours), self.seconds(self.bare)
        told = self.ours.samples[self.load][-1].commands
        issued = ", ".join(f"`{name}` {count}" for name, count in told.items())
        rows = [
            Row(
                "seconds, against a bare array",
                ours / bare,
                "x",
                1.3,
                1.1,
                note=f"{ours:.1f} s, {bare:.1f} s",
            ),
            Row("CPU of the manager for each job", self.cpu(self.ours), "ms", 1.0),
            Row("commands of the cluster", sum(told.values()), note=issued),
        ]
        return drawn([HEAD, *(row.cells() for row in rows)])

    def beside(self) -> str:
        """What others take."""
        head = [
            "peer",
            "version",
            "seconds",
            "jobs/s",
            "CPU of the manager",
            "one job is",
            "what is there of it",
        ]
        lines = []
        for found in [self.ours, self.bare, *self.peers]:
            if found.error:
                figures = [f"failed: {found.error}", "", ""]
            else:
                seconds = self.seconds(found)
                figures = [
                    number(seconds),
                    number(self.given.jobs / seconds),
                    f"{number(self.cpu(found))} ms",
                ]
            lines.append([found.peer.title, found.version, *figures, found.peer.what, found.peer.keeps])
        return drawn([head, *lines])


if __name__ == "__main__":
    sys.exit(main())
