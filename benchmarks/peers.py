"""Runs the same jobs with xqute and with what else one would take; see docs/benchmarks.md.

The jobs are commands; for the peers that have them, Python calls too, and trees of such calls. Each peer
is installed from PyPI into an environment of its own, below `.peers/`, or by apt-get when this is root's; it
is driven by benchmarks/peers/drivers.py and ended with all that it started. `--only parallel,dask` takes
these peers, `--work calls` this work, `--jobs 50` is quicker and means less, `--markdown FILE` also writes
the tables between the markers of that page.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import bench
from shared import HERE, STOP_SECONDS, environment, median, number, say, scratch, warn

BEGIN, END = "<!-- generated: peers -->", "<!-- /generated: peers -->"
DRIVERS = HERE / "peers" / "drivers.py"
FORKS = (2, 8)
COMMANDS, CALLS, TREES = "commands", "calls", "trees"

#: What is run, and how its table begins; of the functions in drivers.py those of commands have no ending.
WORKS = {
    COMMANDS: "{jobs} times `true` each",
    CALLS: "{jobs} Python calls that do nothing",
    TREES: "A tree of {jobs} Python calls that do nothing, in the shape of Montage",
}
ROUNDS = 3
INSTALL_SECONDS = 300

Result = TypeVar("Result")

#: Every process of a peer has it in its environment, and so is found wherever it went.
MARK = ("XQUTE_PEER", uuid.uuid4().hex)

#: The jobs of `survives`, how long one waits for them to start, and then for whether they run on.
LONG = ["sleep", "61"]
START_SECONDS = 40
ORPHANED_SECONDS = 5


class Failed(Exception):
    """A peer could not be installed or run; says why in one line."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What runs the jobs.

    Attributes:
        name: For `--only`, and of its function in drivers.py.
        what: What exactly runs one job.
        keeps: What is there of a job afterwards.
        calls: What exactly runs one Python call, where it has them; trees: and one that needs others.
        package: On PyPI, pinned; program: of Debian, and its package.
        fewer: At most so many jobs for each one at a time, because they take so long.
        forks: How many jobs at a time it is measured with; unlimited: it cannot be told.
        manager: How the command line begins of what manages its jobs, where that is not its driver.
    """

    name: str
    title: str
    what: str
    keeps: str
    calls: str = ""
    trees: str = ""
    package: str = ""
    program: tuple[str, str] = ("", "")
    fewer: int = 0
    forks: tuple[int, ...] = FORKS
    unlimited: bool = False
    manager: tuple[str, ...] = ()

    @property
    def works(self) -> list[str]:
        """What it can be given."""
        has = {COMMANDS: self.what, CALLS: self.calls, TREES: self.trees}
        return [work for work, how in has.items() if how]

    @property
    def is_ours(self) -> bool:
        """Whether it is this checkout: there is nothing to install."""
        return not self.package and not self.program[0]

    def function(self, work: str) -> str:
        """What drivers.py calls it."""
        name = self.name.replace("-", "_")
        return name if work == COMMANDS else f"{name}_{work}"

    def jobs(self, jobs: int, forks: int) -> int:
        """How many of so many it is given."""
        return min(jobs, self.fewer * forks) if self.fewer else jobs


OURS = Peer(
    "xqute",
    "xqute",
    "`push_many`, `run_until_complete`: the wrapper under `/bin/sh`, in a session of its own",
    "return code and both outputs in files, state and reason in SQLite on disk since its push",
    "a call of a `@task`: a process of its own, forked off one that has imported the module",
    "one push; results of parents from their files",
)
PEERS = (
    Peer(
        "xqute-reuse",
        "xqute, `@task(reuse=True)`",
        "",
        "",
        "a process of a few, each of which serves many calls",
    ),
    Peer(
        "parsl",
        "Parsl",
        "a `bash_app` on `HighThroughputExecutor` with so many workers",
        "both outputs in files; a return code that is not 0 as the future's exception, in memory",
        "a `python_app` on `HighThroughputExecutor`: in a worker that serves many",
        "futures of the parents as arguments",
        package="parsl==2026.10.26",
    ),
    Peer(
        "dask",
        "Dask",
        '`client.map` of `subprocess.run(["true"])` on a `LocalCluster` of so many worker processes',
        "what the function returns, in the memory of the workers",
        "`client.map` on a `LocalCluster`: in a worker that serves many",
        "`dask.delayed`, computed as one graph",
        package="distributed==2026.8.0",
    ),
    Peer(
        "hyperqueue",
        "HyperQueue",
        "one job of so many program tasks, by the wheel's `LocalCluster` and a worker of so many cores",
        "both outputs in files, states in the server's memory; its waiting goes in steps of 1 s",
        package="hyperqueue==0.27.0",
    ),
    Peer(
        "submitit",
        "submitit",
        "`LocalExecutor.submit` of a `CommandFunction`: a Python process per job, all started at once",
        "the output as a pickled result, logs in files",
        package="submitit==1.5.4",
        fewer=2,
        forks=(8,),
        unlimited=True,
    ),
    Peer(
        "executorlib",
        "executorlib",
        '`SingleNodeExecutor(block_allocation=True)` with so many workers, `subprocess.run(["true"])`',
        "what the function returns, in memory",
        package="executorlib==1.11.0",
    ),
    Peer(
        "xqute2",
        "xqute 2 (the older one)",
        "`feed`, `run_until_complete` with so many forks",
        "return code and both outputs in files",
        package="xqute==2.2.1",
        fewer=2,
    ),
    Peer(
        "parallel",
        "GNU parallel",
        "`parallel -j --joblog --results`",
        "return code and times in one log, both outputs in files; `--resume` goes by the log",
        program=("parallel", "parallel"),
        manager=("parallel",),
    ),
    Peer(
        "task-spooler",
        "task-spooler",
        "`tsp true` in a loop of sh, `tsp -S` with so many slots",
        "both outputs in one file, return code in the memory of its server",
        program=("tsp", "task-spooler"),
        manager=("tsp", "-S"),
    ),
)


#: What is run, and how many at a time.
Load = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: `cpu` is what its own process computed after the clock started, in seconds."""

    jobs: int
    seconds: float
    setup: float
    cpu: float
    commands: dict[str, int]

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.seconds


@dataclass(slots=True)
class Found:
    """What came out for one peer; samples and ratios by what was run and jobs at a time."""

    peer: Peer
    python: str = sys.executable
    version: str = ""
    samples: dict[Load, list[Sample]] = field(default_factory=dict)
    beside: dict[Load, list[float]] = field(default_factory=dict)
    ratios: dict[Load, list[float]] = field(default_factory=dict)
    left: int = 0
    error: str = ""
    survives: str = ""


def main() -> int:
    given = arguments()
    for wish in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(wish, bench.interrupt)
    if given.markdown:
        split(given.markdown, BEGIN, END)
    begun = time.monotonic()
    machine = bench.machine()
    try:
        with scratch() as root, swept():
            contest = Contest(root, given)
            contest.run()
    except KeyboardInterrupt:
        warn("interrupted; nothing of it runs any more")
        return 130
    except Failed as error:
        warn(f"xqute itself: {error}")
        return 1
    minutes = (time.monotonic() - begun) / 60
    told = (
        f"`{command()}` on {time.strftime('%Y-%m-%d', time.gmtime())}, in {minutes:.0f} minutes: {machine}."
    )
    tables = contest.tables()
    print(f"{told}\n\n{tables}")
    if given.markdown:
        write(given.markdown, f"{told}\n\n{tables}", BEGIN, END)
    return 0


def arguments() -> argparse.Namespace:
    known = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(description="Run the same jobs with xqute and with its peers.")
    parser.add_argument("--only", type=lambda text: text.split(","), default=known, metavar="PEER,…")
    parser.add_argument("--work", type=lambda text: text.split(","), default=list(WORKS), metavar="WORK,…")
    parser.add_argument("--jobs", type=int, default=1000, help="jobs of each run (1000)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"runs of each, for the median ({ROUNDS})")
    parser.add_argument("--timeout", type=float, default=120, metavar="SECONDS", help="for each run (120)")
    parser.add_argument("--cache", type=Path, default=HERE.parent / ".peers", help="environments (.peers)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    given = parser.parse_args()
    for what, names, of in (("peer", given.only, known), ("work", given.work, WORKS)):
        unknown = [name for name in names if name not in of]
        if unknown:
            parser.error(f"unknown {what} {unknown[0]!r}: known are {', '.join(of)}")
    given.cache = given.cache.resolve()
    return given


def command() -> str:
    """How it was called, without the page."""
    words = [word for word in sys.argv[1:] if word != "--markdown" and not word.endswith(".md")]
    return f'make peers ARGS="{" ".join(words)}"' if words else "make peers"


class Contest:
    """The peers and xqute, in turn."""

    def __init__(self, root: Path, given: argparse.Namespace) -> None:
        self.root = root
        self.given = given
        self.ours = Found(OURS, version="this checkout")
        self.found = [Found(peer) for peer in PEERS if peer.name in given.only]

    def run(self) -> None:
        """All of it; what came out is in `tables`."""
        for found in self.found:
            self.attempt(found, "set up", self.install)
        for work in self.given.work:
            for forks in FORKS:
                for turn in range(self.given.rounds):
                    self.round((work, forks), turn)
        for found in [self.ours, *self.found] if COMMANDS in self.given.work else []:
            if not found.error and COMMANDS in found.peer.works:
                self.attempt(found, "killed", self.orphan)

    def round(self, load: Load, turn: int) -> None:
        """Forth, and back in the next: xqute before, between and after the peers; a ratio is to both."""
        work, forks = load
        able = [found for found in self.found if work in found.peer.works and not found.error]
        taking_part = [found for found in able if forks in found.peer.forks]
        where = f"{work}, {forks} at a time, round {turn + 1} of {self.given.rounds}"
        if not taking_part:
            return
        before = self.sample(self.ours, load)
        say(f"{where}: xqute {before.rate:.0f}/s")
        for found in taking_part if turn % 2 == 0 else reversed(taking_part):
            sample = self.attempt(found, where, partial(self.sample, load=load))
            after = self.sample(self.ours, load)
            if sample:
                rate = 2 / (1 / before.rate + 1 / after.rate)
                found.samples.setdefault(load, []).append(sample)
                found.beside.setdefault(load, []).append(rate)
                found.ratios.setdefault(load, []).append(rate / sample.rate)
                say(f"{where}: {found.peer.name} {number(sample.rate)}/s, xqute {after.rate:.0f}/s")
            before = after

    def attempt(self, found: Found, where: str, work: Callable[[Found], Result]) -> Result | None:
        """Do it; a peer that fails has a row that says so, and is left alone from then on."""
        try:
            return work(found)
        except Failed as error:
            found.error = str(error)
            warn(f"{found.peer.name}, {where}: {error}")
            return None

    def install(self, found: Found) -> None:
        """Its environment, made once; or its program, by apt-get where that is possible."""
        if found.peer.is_ours:
            found.version = self.ours.version
        elif found.peer.package:
            found.version = found.peer.package.partition("==")[2]
            found.python = str(self.environment(found.peer))
        else:
            found.version = debian(*found.peer.program)

    def environment(self, peer: Peer) -> Path:
        """The Python of its virtual environment."""
        cache: Path = self.given.cache
        path = cache / peer.package.replace("==", "-")
        python, stamp = path / "bin" / "python", path / "installed"
        if not stamp.exists():
            say(f"installing {peer.package}")
            cache.mkdir(parents=True, exist_ok=True)
            (cache / ".gitignore").write_text("*\n", "utf-8")
            shutil.rmtree(path, ignore_errors=True)
            install([sys.executable, "-m", "venv", str(path)], cache)
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            install([*pip, peer.package], cache)
            stamp.touch()
        return python

    def sample(self, found: Found, load: Load) -> Sample:
        """One run in an empty directory, and the end of all that it started."""
        jobs = found.peer.jobs(self.given.jobs, load[1])
        with self.directory() as directory:
            process = self.start(found, directory, jobs, load, ["true"])
            try:
                rc = process.wait(self.given.timeout)
            except subprocess.TimeoutExpired:
                raise Failed(f"did not end within {self.given.timeout:.0f} s") from None
            finally:
                ended = process.poll() is not None
                left = sweep(patience=3 if ended else 0)
                process.wait()
            found.left = max(found.left, left)
            if rc:
                raise Failed(last_line(directory / "log") or f"ended with {rc}")
            told = json.loads((directory / "result.json").read_text("utf-8"))
        return Sample(jobs, **told)

    def orphan(self, found: Found) -> None:
        """Whether a job runs on when what manages it is killed and can do nothing."""
        with self.directory() as directory:
            process = self.start(found, directory, 2, (COMMANDS, 2), LONG)
            try:
                until = time.monotonic() + START_SECONDS
                while not running(LONG):
                    if time.monotonic() > until or process.poll() is not None:
                        found.survives = "not known: its job did not start"
                        return
                    time.sleep(0.2)
                for pid in [process.pid, *managing(found.peer.manager)]:
                    os.kill(pid, signal.SIGKILL)
                process.wait()
                time.sleep(ORPHANED_SECONDS)
                found.survives = "runs on" if running(LONG) else "is gone"
                say(f"{found.peer.name}: when its manager is killed, a job {found.survives}")
            finally:
                sweep()
                process.wait()

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """An empty one for one run."""
        path = self.root / "run"
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def start(
        self, found: Found, directory: Path, jobs: int, load: Load, words: Sequence[str]
    ) -> subprocess.Popen[bytes]:
        """Start its driver; only ours sees this checkout."""
        work, forks = load
        argv = [found.python, str(DRIVERS), found.peer.function(work), str(jobs), str(forks), *words]
        home = self.root / "home"
        home.mkdir(exist_ok=True)
        variables = {"HOME": str(home), "TMPDIR": str(directory), "SHELL": "/bin/sh"}
        if found.peer.is_ours:
            variables["PYTHONPATH"] = environment()["PYTHONPATH"]
        else:
            programs = str(Path(found.python).parent)
            variables["PATH"] = os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])
        _homes.add(str(directory))
        return start(argv, directory / "log", cwd=directory, **variables)

    def tables(self) -> str:
        """What is printed and written: the figures of each work, and what they were made of."""
        blocks = [block for work in self.given.work for block in self.figures(work)]
        for work in self.given.work:
            blocks += self.kinds(work)
        blocks += [
            f"{found.peer.title}: up to {found.left} processes were left after its own stop, and ended here."
            for found in [self.ours, *self.found]
            if found.left
        ]
        few = [found.peer.title for found in self.found if found.peer.fewer]
        if few and COMMANDS in self.given.work:
            blocks.append(f"Run with fewer jobs, because they take so long: {', '.join(few)}.")
        return "\n\n".join(blocks)

    def figures(self, work: str) -> list[str]:
        """The head and the table of one work."""
        able = [found for found in self.found if work in found.peer.works]
        lines = [
            ["peer", "at a time", "jobs", "seconds", "jobs/s", "xqute beside it", "xqute is", "set-up"],
            *(
                cells(found, (work, forks))
                for forks in FORKS
                for found in able
                if (work, forks) in found.samples
            ),
        ]
        for found in able:
            if found.error:
                why = "failed" if found.samples else "not available here"
                lines.append([found.peer.title, *[""] * 6, f"{why}: {found.error}"])
        head = WORKS[work].format(jobs=self.given.jobs)
        return [f"{head}, median of {self.given.rounds}:", drawn(lines)] if able else []

    def kinds(self, work: str) -> list[str]:
        """What one job of this work is; what is said of calls is said of their trees as well."""
        able = [found for found in [self.ours, *self.found] if work in found.peer.works]
        if work == COMMANDS:
            head = ["one job is", "what is there of it afterwards", "its manager killed, a job"]
            lines = [[found.peer.what, found.peer.keeps, found.survives] for found in able]
        elif work == CALLS:
            head = ["one call is", "one that needs others"]
            lines = [[found.peer.calls, found.peer.trees] for found in able]
        else:
            return []
        rows = [[found.peer.title, found.version, *line] for found, line in zip(able, lines, strict=True)]
        return [drawn([["peer", "version", *head], *([*map(plain, row)] for row in rows)])]


def cells(found: Found, load: Load) -> list[str]:
    """The row of one peer with so many jobs at a time."""
    samples = found.samples[load]
    return [
        found.peer.title,
        "all" if found.peer.unlimited else str(load[1]),
        str(samples[0].jobs),
        number(median([sample.seconds for sample in samples])),
        number(median([sample.rate for sample in samples])),
        f"{number(median(found.beside[load]))}/s",
        f"{number(median(found.ratios[load]))} x",
        f"{median([sample.setup for sample in samples]):.1f} s",
    ]


def plain(text: str) -> str:
    return text.replace("|", "\\|")


def drawn(lines: list[list[str]]) -> str:
    head, *rows = lines
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])


def split(page: Path, begin: str, end: str) -> tuple[str, str]:
    """What is before and after the markers of a page; one without is refused before anything runs."""
    text = page.read_text("utf-8")
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise SystemExit(f"{page} must have one line {begin} and, below it, one {end}")
    before, _, rest = text.partition(begin)
    return before, rest.partition(end)[2]


def write(page: Path, tables: str, begin: str, end: str) -> None:
    """Replace what is between the markers of a page."""
    before, after = split(page, begin, end)
    page.write_text(f"{before}{begin}\n\n{tables}\n\n{end}{after}", "utf-8")
    say(f"written to {page}")


# Installing


def debian(program: str, package: str) -> str:
    """The version of a program; as root it is installed when it is not there."""
    if not shutil.which(program):
        if os.geteuid() or not shutil.which("apt-get"):
            raise Failed(f"no program {program}: install the package {package}")
        say(f"installing {package}")
        apt = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", package]
        with scratch() as directory:
            try:
                install(apt, directory)
            except Failed:
                install(["apt-get", "update", "--quiet"], directory)
                install(apt, directory)
    asked = ["dpkg-query", "--show", "--showformat=${Version}", package]
    if not shutil.which(asked[0]):
        return ""
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def install(argv: Sequence[str], directory: Path) -> None:
    log = directory / "install.log"
    process = start(argv, log, cwd=directory, DEBIAN_FRONTEND="noninteractive")
    try:
        rc = process.wait(INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise Failed(f"was not installed within {INSTALL_SECONDS} s") from None
    finally:
        sweep()
        process.wait()
    if rc:
        raise Failed(last_line(log) or f"{Path(argv[0]).name} ended with {rc}")


def last_line(log: Path) -> str:
    """What was said last, without the paths of this machine."""
    lines = re.split(r"[\r\n]+", log.read_text("utf-8", "replace").strip())
    return plain(re.sub(r"(?:/[^\s/:'\"]+)+/", "…/", lines[-1]))[:200]


# Processes


def start(argv: Sequence[str], log: Path, *, cwd: Path, **variables: str) -> subprocess.Popen[bytes]:
    """A marked process in a session of its own: Ctrl-C is for this program, which ends the others."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "XQUTE_", "TS_"))
    }
    with log.open("wb") as out:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=cwd,
            env={**kept, **variables, MARK[0]: MARK[1]},
            start_new_session=True,
        )


#: Directories that measured programs were started in: of this run alone, and nobody else's.
_homes: set[str] = set()


def marked() -> list[int]:
    """The processes that carry the mark, wherever they went.

    One that wrote a title over its environment carries none: it is known by where it was started.
    """
    sign = "=".join(MARK).encode()
    return [pid for pid in pids() if sign in read(pid, "environ").split(b"\0") or at_home(pid)]


def at_home(pid: int) -> bool:
    """Whether it is in a directory that a measured program was started in."""
    try:
        where = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return False
    return any(f"{where.removesuffix(' (deleted)')}/".startswith(f"{home}/") for home in _homes)


def running(words: Sequence[str]) -> bool:
    """Whether a marked process runs this command."""
    wanted = [word.encode() for word in words]
    lines = (read(pid, "cmdline").split(b"\0") for pid in marked())
    return any([os.path.basename(line[0]), *line[1 : len(wanted)]] == wanted for line in lines)


def managing(words: Sequence[str]) -> list[int]:
    """The marked processes that run this, by themselves or as the script of an interpreter."""
    if not words:
        return []
    wanted = [word.encode() for word in words]
    lines = {pid: list(map(os.path.basename, read(pid, "cmdline").split(b"\0"))) for pid in marked()}
    return [pid for pid, line in lines.items() if wanted in (line[: len(wanted)], line[1 : len(wanted) + 1])]


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def read(pid: int, name: str) -> bytes:
    """A file of a process; empty when it is gone, or waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def sweep(patience: float = 0) -> int:
    """End every marked process: by patience, SIGTERM, SIGKILL; how many had to be told."""
    await_none(patience)
    told = marked()
    for number_, seconds in ((signal.SIGTERM, 3), (signal.SIGKILL, STOP_SECONDS)):
        for pid in marked():
            try:
                os.kill(pid, number_)
            except ProcessLookupError:
                pass
        await_none(seconds)
    left = marked()
    if left:
        warn(f"still running: {left}")
    return len(told)


def await_none(seconds: float) -> None:
    until = time.monotonic() + seconds
    while marked() and time.monotonic() < until:
        time.sleep(0.05)


@contextmanager
def swept() -> Iterator[None]:
    """Whatever happens, nothing marked runs afterwards; another Ctrl-C does not keep it from that."""
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sweep()
        signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    sys.exit(main())
