"""A manager that dies at random, again and again, until its work is done; then every job is counted.

A round is one metadir with hundreds of jobs. Sessions of the same program work on it, and each is ended
after 0.05 to 3 seconds: by SIGKILL, at a random crash point, or by SIGTERM or Ctrl-C that leave the jobs
running. The last session is left in peace. Then nothing may be lost, and nothing may have run twice.
Some of the jobs are trees, and some of those turn out to need others while they run.

`--scheduler slurm` or `sge` has the jobs run at the cluster that tests/live started here, all of whose hosts
are this one; in every third session its controller goes, and comes back after the manager was killed.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from tests.crash.keeping import KILLED, ROOT, processes_of, stored
from xqute import Call, Job, JobStatus, Scheduler, Xqute, cmd, current_job, simplug, task
from xqute.store import Row
from xqute.work import Work

#: One line per execution and one per good end, told by the job itself; so is a second one at the same time.
JOB = """
exec 9>"$1/locks/$XQUTE_JOB_ID"; flock -n 9 || echo "$XQUTE_JOB_ID $2" >>"$1/overlaps"
echo "$XQUTE_JOB_ID $2 $XQUTE_JOB_START" >>"$1/executions"
sleep "$3" 9>&-
[ "$4" != flaky ] || [ "$(grep -c "^$XQUTE_JOB_ID " "$1/executions")" != 1 ] || exit 3
[ "$4" != fails ] || exit 4
echo "$XQUTE_JOB_ID $2" >>"$1/good"
"""

#: How often a job of a kind is executed at most: one that asks for others starts again when they are there.
MOST = {"good": 1, "flaky": 2, "asks": 2}

PARTS = 3
INTERRUPTED = 130
#: How long a session that was asked to end, or one that nobody disturbs, may take.
LEAVE_SECONDS = 30.0
PEACE_SECONDS = 120.0


@dataclass(frozen=True)
class Site:
    """Where the jobs run.

    Attributes:
        forks: How many of them at a time.
        options: What a session says to the scheduler besides.
        stop, start: The words of its script in tests/live for its controller; empty: it has none.
        patience: How many times as long as on this host the work may take.
    """

    forks: int = 8
    options: Mapping[str, Any] = field(default_factory=dict)
    stop: str = ""
    start: str = ""
    patience: int = 1


#: What was asked for too early is asked for again soon, so that a session of three seconds sees it.
SOON = {"scheduler_rate": None, "scheduler_poll_interval": 2}
SITES = {
    "local": Site(),
    "slurm": Site(40, SOON, "ctld-stop", "ctld-start", patience=3),
    "sge": Site(40, SOON, "qmaster-stop", "qmaster-start", patience=3),
}


# What the jobs do that are Python calls


def trace(directory: Path, file: str, name: str) -> None:
    with (directory / file).open("a") as out:
        out.write(f"{os.environ['XQUTE_JOB_ID']} {name} {os.environ['XQUTE_JOB_START']}\n")


def begin(directory: Path, name: str) -> TextIO:
    """As the script of the commands does; the lock is held until the file is closed."""
    lock = (directory / "locks" / os.environ["XQUTE_JOB_ID"]).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        trace(directory, "overlaps", name)
    trace(directory, "executions", name)
    return lock


@task
def part(directory: Path, name: str) -> str:
    with begin(directory, name):
        trace(directory, "good", name)
        return name


@task
def asks(directory: Path, name: str, before: str) -> list[str]:
    with begin(directory, name):
        assert name in before
        parts = current_job().require(
            part(directory, f"{name}.{n}").options(title=f"{name}.{n}") for n in range(PARTS)
        )
        trace(directory, "good", name)
        return parts


def tree(directory: Path, name: str) -> Call:
    """Two commands of which one needs the other, and a call that takes its output and asks for more."""
    first = cmd("sh", "-c", JOB, "job", directory, f"{name}.first", 0.05, "good")
    then = cmd("sh", "-c", JOB + 'echo "$2"', "job", directory, f"{name}.then", 0.0, "good").after(first)
    return asks(directory, name, then).options(title=name)


def names_of_tree(name: str) -> list[str]:
    return [name, f"{name}.first", f"{name}.then", *(f"{name}.{n}" for n in range(PARTS))]


# The program that dies


def manage(directory: Path, scheduler: str, seed: int, *, everything: bool) -> int:
    """One session: push the work in an order of its own, and run it."""
    try:
        (directory / "up").touch()
        asyncio.run(work(directory, scheduler, random.Random(seed), everything=everything))
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


async def work(directory: Path, scheduler: str, chance: random.Random, *, everything: bool) -> None:
    """Push in pieces, some of them while jobs run already."""
    plan = json.loads((directory / "plan").read_text())
    extra = plan["extra"]
    some = len(extra) if everything else chance.randint(0, len(extra))
    jobs = [*plan["jobs"], *chance.sample(extra, some)]
    chance.shuffle(jobs)
    early = chance.randint(0, len(jobs))
    trees = chance.sample(plan["trees"], len(plan["trees"]))

    class Told:
        @simplug.impl
        async def on_job_succeeded(self, scheduler: Scheduler, job: Job) -> None:
            with (directory / "told").open("a") as file:
                file.write(f"{job.id}\n")

    xqute = Xqute(
        scheduler,
        job_metadir=directory / "meta",
        scheduler_forks=SITES[scheduler].forks,
        resume=True,
        on_interrupt="detach",
        retry_delay=0.05,
        plugins=[Told()],
        **SITES[scheduler].options,
    )
    await push(xqute, directory, jobs[:early], chance)
    await xqute.push_many(tree(directory, name) for name in trees[:1])
    async with xqute:
        await push(xqute, directory, jobs[early:], chance)
        await xqute.push_many(tree(directory, name) for name in trees[1:])


async def push(xqute: Xqute, directory: Path, jobs: list, chance: random.Random) -> None:
    """Some together, some one by one; how they are run differs from session to session."""
    while jobs:
        together = chance.choice([1, 1, 20, 200])
        piece, jobs = jobs[:together], jobs[together:]
        priority = chance.randint(-1, 1)
        for retries, kinds in ((0, ("good",)), (2, ("flaky",)), (1, ("fails",))):
            calls = [["sh", "-c", JOB, "job", directory, *job] for job in piece if job[2] in kinds]
            await xqute.push_many(calls, retries=retries, priority=priority)


# What it has to do


def plan_of(chance: random.Random, jobs: int) -> dict[str, list]:
    """Names, seconds and kinds: mostly short ones, some long, some that fail, some pushed twice."""

    def job(name: str) -> list:
        long = chance.random() < 0.04
        kind = chance.choices(["good", "flaky", "fails"], [92, 6, 2])[0]
        seconds = chance.uniform(2, 5) if long else chance.uniform(0, 0.3)
        return [name, round(seconds, 2), kind]

    extra = max(1, jobs // 10)
    some = [job(f"job{number}") for number in range(jobs - extra)]
    twins = chance.sample(some, max(1, jobs // 50))
    some[-len(twins) :] = twins
    trees = [f"tree{number}" for number in range(max(2, jobs // 100))]
    return {"trees": trees, "jobs": some, "extra": [job(f"extra{number}") for number in range(extra)]}


@dataclass
class Tally:
    """What is counted over all rounds, and what was broken."""

    sessions: int = 0
    kills: int = 0
    outages: int = 0
    jobs: int = 0
    executions: int = 0
    lost: int = 0
    overlaps: int = 0
    hangs: int = 0
    repeated: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """The closing line."""
        done = f"{self.sessions} sessions, {self.kills} kills, "
        done += f"{self.outages} outages, " if self.outages else ""
        done += f"{self.jobs} jobs, {self.executions} executions"
        broken = f"lost {self.lost}, overlapping starts {self.overlaps}, hangs {self.hangs}"
        return f"{done}; {broken}, repeated good executions {self.repeated}, other {len(self.wrong)}"

    @property
    def broken(self) -> bool:
        return bool(self.lost or self.overlaps or self.hangs or self.repeated or self.wrong)


class Round:
    """One metadir, from its first session to the last."""

    def __init__(
        self, seed: int, jobs: int, tally: Tally, points: list[str], scheduler: str = "local"
    ) -> None:
        self.chance = random.Random(seed)
        self.scheduler = scheduler
        self.site = SITES[scheduler]
        self.tally = tally
        self.points = points
        self.directory = Path(tempfile.mkdtemp(prefix=f"xqute-chaos-{seed}-"))
        (self.directory / "locks").mkdir()
        self.plan = plan_of(self.chance, jobs)
        (self.directory / "plan").write_text(json.dumps(self.plan))
        self.wanted = Counter(name for name, _, _ in self.plan["jobs"] + self.plan["extra"])
        of_trees = [name for tree in self.plan["trees"] for name in names_of_tree(tree)]
        self.wanted.update(of_trees)
        self.kinds = dict.fromkeys(of_trees, "good") | dict.fromkeys(self.plan["trees"], "asks")
        self.kinds |= {name: kind for name, _, kind in self.plan["jobs"] + self.plan["extra"]}
        self.quick = 0

    def run(self, until: float) -> None:
        """Disturb sessions until the work is done or the time is over; then let one end, and count."""
        while time.monotonic() < until and not self.tally.hangs and not self.disturbed():
            pass
        self.peace()
        before = self.counted("good")
        self.peace()
        self.tally.repeated += (self.counted("good") - before).total()
        if not self.tally.hangs:
            self.check()

    # Sessions

    def start(self, *, crash: str = "", everything: bool = False) -> subprocess.Popen:
        self.tally.sessions += 1
        (self.directory / "up").unlink(missing_ok=True)
        with (self.directory / "log").open("a") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.crash.chaos", "--manage", self.directory),
                    *("--seed", str(self.chance.randrange(2**32)), "--scheduler", self.scheduler),
                    *(["--everything"] if everything else []),
                ],
                cwd=ROOT,
                env={**os.environ, "XQUTE_CRASH_AT": crash},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def disturbed(self) -> bool:
        """One session that is ended in some way; whether it had done its work before."""
        if self.site.stop and self.tally.sessions % 3 == 1:
            return self.outage()
        ways = [self.kill, self.crash, self.interrupt]
        way = self.kill if self.quick else self.chance.choices(ways, [5, 3, 2])[0]
        return way()

    def kill(self) -> bool:
        """SIGKILL; sometimes the next one follows soon."""
        seconds = self.chance.uniform(0.05, 0.6 if self.quick else 3)
        self.quick = self.quick - 1 if self.quick else self.chance.choice([0, 0, 0, 2])
        return self.ended(self.start(), signal.SIGKILL, seconds)

    def crash(self) -> bool:
        """It dies at a crash point; when it does not come there, by SIGKILL."""
        point = f"{self.chance.choice(self.points)}:{self.chance.choice([1, 1, 2, 5, 20, 50])}"
        return self.ended(self.start(crash=point), signal.SIGKILL, 3, point)

    def outage(self) -> bool:
        """SIGKILL while the controller of the cluster is away; the next session begins when it is back."""
        self.tally.outages += 1
        script, process = ROOT / "tests" / "live" / self.scheduler, self.start()
        with suppress(subprocess.TimeoutExpired):
            process.wait(self.chance.uniform(0.4, 3))
        try:
            subprocess.run([script, self.site.stop], check=True, capture_output=True)
            return self.ended(process, signal.SIGKILL, self.chance.uniform(0.05, 1))
        finally:
            subprocess.run([script, self.site.start], check=True, capture_output=True)

    def interrupt(self) -> bool:
        """A signal that it winds down for, leaving its jobs running."""
        number = self.chance.choice([signal.SIGTERM, signal.SIGINT])
        process = self.start()
        # before that Ctrl-C is Python's own business, which calls it a fatal error
        becomes((self.directory / "up").exists)
        return self.ended(process, number, self.chance.uniform(0.05, 3))

    def ended(self, process: subprocess.Popen, number: int, seconds: float, point: str = "") -> bool:
        """Signal it after so many seconds; whether it had done its work before."""
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            code = self.left(process, LEAVE_SECONDS)
        done = code == 0
        self.tally.kills += not done
        allowed = {0, KILLED, INTERRUPTED, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}
        if code not in allowed:
            self.tally.wrong.append(f"session {self.tally.sessions} ended with {code}: see log")
        how = f"died {point!r}" if code == KILLED else f"{signal.Signals(number).name} after {seconds:.2f} s"
        how = "its work is done" if done else how
        good, all_ = self.counted("good").total(), self.wanted.total()
        print(f"session {self.tally.sessions}: {how}; {good} of {all_} jobs ended well", flush=True)
        return done

    def left(self, process: subprocess.Popen, seconds: float) -> int:
        """The exit status, within so many seconds; else it hangs, and its stack is lost with it."""
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.tally.hangs += 1
            process.kill()
            return process.wait()

    def peace(self) -> None:
        """A session that pushes everything and that nobody disturbs."""
        process = self.start(everything=True)
        code = self.left(process, PEACE_SECONDS * self.site.patience)
        if code:
            self.tally.wrong.append(f"the session left in peace ended with {code}: see log")

    # Counting

    def counted(self, file: str) -> Counter[str]:
        """How often each job's id stands in a file that jobs write."""
        with suppress(FileNotFoundError):
            return Counter(line.split()[0] for line in (self.directory / file).read_text().splitlines())
        return Counter()

    def check(self) -> None:
        """Nothing was lost, nothing ran twice, and what is told is what happened."""
        tally = self.tally
        token, rows = stored(self.directory / "meta")
        good, ran = self.counted("good"), self.counted("executions")
        tally.jobs += self.wanted.total()
        tally.executions += ran.total()
        tally.overlaps += self.counted("overlaps").total()
        tally.repeated += sum(count - 1 for count in good.values())
        made = Counter(name_of(row) for row in rows)
        tally.repeated += (made - self.wanted).total()
        tally.lost += (self.wanted - made).total()
        for row in rows:
            self.check_one(row, good[str(row.id)], ran[str(row.id)])
        tally.wrong += [f"no hook told of the end of job {id_}" for id_ in good.keys() - self.counted("told")]
        if not becomes(lambda: not processes_of(token)):
            tally.wrong.append("processes of ended jobs are left")

    def check_one(self, row: Row, good: int, ran: int) -> None:
        """One job by what it wrote about itself and what the store says."""
        kind = self.kinds[name_of(row)]
        wanted = JobStatus.FAILED if kind == "fails" else JobStatus.FINISHED
        if row.status != wanted:
            told = json.loads(row.document)["reason"]
            self.tally.wrong.append(f"job {row.id} ({kind}) is {JobStatus(row.status).name}: {told}")
        if kind == "fails":
            return
        self.tally.lost += not good
        if ran > MOST[kind]:
            walked = json.loads(row.document)["history"]
            self.tally.wrong.append(f"job {row.id} ({kind}) ran {ran} times: {walked}")


def name_of(row: Row) -> str:
    work = Work.from_json(row.call)
    return work.options.title if work.function else str(work.cmd[5])


def becomes(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether it comes true within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def chaos(scheduler: str, seconds: float, jobs: int, seed: int) -> int:
    """Rounds until the time is over; 1 when something is broken."""
    # the sweep knows the crash points; it needs pytest, which a session does without
    from tests.crash.test_sweep import points

    until = time.monotonic() + seconds
    tally = Tally()
    for number in itertools.count(seed):
        print(f"seed {number}: --seed {number} --jobs {jobs} does the same again", flush=True)
        round_ = Round(number, jobs, tally, points(), scheduler)
        round_.run(until)
        if tally.broken:
            print(*tally.wrong, f"everything is left in {round_.directory}", sep="\n")
        else:
            shutil.rmtree(round_.directory)
        if tally.broken or time.monotonic() >= until:
            break
    print(tally)
    return int(tally.broken)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.chaos", description=__doc__)
    parser.add_argument("--scheduler", choices=SITES, default="local", help="where the jobs run")
    parser.add_argument("--seconds", type=float, default=300, help="disturb so long (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=500, help="jobs of a round (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of the first round (default: a fresh one)")
    parser.add_argument("--manage", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--everything", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    if given.manage:
        return manage(given.manage, given.scheduler, seed, everything=given.everything)
    return chaos(given.scheduler, given.seconds, given.jobs, seed)


if __name__ == "__main__":
    sys.exit(main())
