"""The core of a toy cluster: a table of jobs in a directory, and who may change it.

There is no daemon: whoever has the lock of the directory is the cluster for that moment. The commands
that submit, ask and cancel have it shortly, and so has the supervisor of each running job when that
job has ended: it starts what is next (see `toysupervisor`). How arguments are read and answers are printed
is the business of a face (see `toyface`).

Runs in a bare interpreter (`python -I -S`), where a command must be cheap: of the standard library it
takes little, and of xqute nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import time

from . import toyprocs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

#: In the environment of every process of a cluster: its directory.
CLUSTER = "XQUTE_TOY_CLUSTER"
#: In that of the processes of a job, besides: the mark of the job.
JOB = "XQUTE_TOY_JOB"

#: States of a job that has not ended; PENDING has no process.
LIVE = ("PENDING", "RUNNING", "ENDING")

#: Seconds a supervisor may take to say that it is there.
_LATE = 30.0


class Refused(Exception):
    """The cluster does not take this job, and would not the next time."""


class ToyJob:
    """A job as the table knows it.

    Attributes:
        id: Its number; never given twice.
        name: Its name, without blanks.
        state: PENDING, RUNNING, ENDING (asked to stop), then DONE, FAILED, CANCELLED, TIMEOUT or NODE_FAIL.
        held: It waits until it is released.
        code: What its script returned, or the negative number of a signal.
        cwd: Where its script runs.
        output: The file of its stdout and stderr.
        walltime: Seconds it may run; 0: as long as it likes.
        submitted, started, ended: UTC seconds, 0 before.
        wanted: The state it shall end in, when it was asked to stop.
        supervisor: Pid and start of the process that watches it.
        session: The session of its processes.
        trouble: Why its script could not be started.
        extra: What a face keeps with it.
    """

    def __init__(self, **known: Any) -> None:
        """Make it of what the table says."""
        self.id = 0
        self.name = ""
        self.state = "PENDING"
        self.held = False
        self.code: int | None = None
        self.cwd = ""
        self.output = ""
        self.walltime = 0.0
        self.submitted = 0.0
        self.started = 0.0
        self.ended = 0.0
        self.wanted = ""
        self.supervisor: list[int] | None = None
        self.session = 0
        self.trouble = ""
        self.extra: dict[str, Any] = {}
        vars(self).update(known)

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.state in LIVE

    @property
    def reason(self) -> str:
        """Why it waits, or how it ended."""
        if self.state == "PENDING":
            return "held" if self.held else "slots"
        if self.trouble or self.code is None:
            return self.trouble
        return f"rc={self.code}" if self.code >= 0 else f"signal={-self.code}"

    def again(self, *, stuck: bool) -> None:
        """It waits as before it ran; stuck: in error, until somebody looks at it."""
        self.state, self.held, self.started = "PENDING", stuck, 0.0
        self.supervisor, self.session = None, 0
        self.extra = {**self.extra, "error": stuck}

    def finish(self, state: str, code: int | None = None) -> None:
        """It has ended."""
        self.state, self.code, self.ended = state, code, time.time()


class Table:
    """The jobs and settings of a cluster, locked while it is entered, and written when it is left."""

    def __init__(self, home: str) -> None:
        """Of the cluster in this directory."""
        self.home = home
        self.settings: dict[str, Any] = {}
        self.jobs: dict[int, ToyJob] = {}
        self.last = 0
        self._lock = -1
        self._before = ""

    def __enter__(self) -> Self:
        """Take the lock and read."""
        self._lock = os.open(f"{self.home}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        with open(f"{self.home}/table.json", encoding="utf-8") as file:
            self._before = file.read()
        known = json.loads(self._before)
        self.settings, self.last = known["settings"], known["last"]
        self.jobs = {job["id"]: ToyJob(**job) for job in known["jobs"]}
        self._tidy()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Write, unless an error came; let go."""
        try:
            if kind is None:
                save(self.home, self.settings, self.last, self.jobs.values(), self._before)
        finally:
            # a process forked meanwhile has the descriptor, too: closing it would not unlock
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            os.close(self._lock)

    def new(self, **known: Any) -> ToyJob:
        """One more job."""
        self.last += 1
        job = ToyJob(id=self.last, submitted=time.time(), **known)
        job.output = job.output or f"{self.home}/output/{job.id}"
        self.jobs[job.id] = job
        return job

    def start(self) -> list[int]:
        """Give free slots to what waits longest; the caller has to run these jobs."""
        if self.settings["held"]:
            return []
        free = self.settings["slots"] - sum(job.state in {"RUNNING", "ENDING"} for job in self.jobs.values())
        ready = [job for job in self.jobs.values() if job.state == "PENDING" and not job.held]
        chosen = ready[: max(free, 0)]
        for job in chosen:
            job.state, job.started = "RUNNING", time.time()
        return [job.id for job in chosen]

    def _tidy(self) -> None:
        """Drop what ended long ago; what lost its supervisor has ended."""
        now = time.time()
        for job in list(self.jobs.values()):
            if not job.live and now - job.ended > self.settings["keep"]:
                self.drop(job.id)
            elif job.state in {"RUNNING", "ENDING"} and self._abandoned(job, now):
                job.finish("NODE_FAIL")

    def _abandoned(self, job: ToyJob, now: float) -> bool:
        known = job.supervisor is not None
        return not toyprocs.alive(job.supervisor) if known else now - job.started > _LATE

    def drop(self, number: int) -> None:
        """Know nothing of a job any more; its output stays."""
        del self.jobs[number]
        for path in (script_of(self.home, number), environ_of(self.home, number)):
            if os.path.exists(path):
                os.unlink(path)


def save(home: str, settings: dict[str, Any], last: int, jobs: Any, before: str = "") -> None:
    """Write a table, whole or not at all, if it has changed."""
    text = json.dumps({"settings": settings, "last": last, "jobs": [vars(job) for job in jobs]})
    if text != before:
        with open(f"{home}/table.new", "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(f"{home}/table.new", f"{home}/table.json")


def script_of(home: str, number: int) -> str:
    """The cluster's own copy of a job's script."""
    return f"{home}/spool/{number}"


def environ_of(home: str, number: int) -> str:
    """The environment a job was submitted in."""
    return f"{home}/spool/{number}.json"


def mark_of(home: str, number: int) -> str:
    """What the processes of a job have in their environment."""
    return f"{home}:{number}"
