"""What runs the jobs of a toy cluster, a process for each slot; standard library only, see `toycore`."""

from __future__ import annotations

import json
import os
import signal
import time

from . import toyprocs
from .toycore import JOB, Table, environ_of, mark_of, script_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .toycore import ToyJob

#: Between two looks at processes that are nobody's children.
_LOOK = 0.01

_NEVER = float("inf")

#: Between two looks at whether the program lives that made the cluster, in seconds.
_OWNER = 1.0

#: A supervisor learns that its job has ended, and that it is to be stopped.
_WATCHED = (signal.SIGCHLD, signal.SIGUSR1)

#: What a job has as it is after boot, whatever its submitter ignored.
_DEFAULT = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM, signal.SIGXFSZ)


def launch(home: str, numbers: Iterable[int]) -> None:
    """Give each of these jobs a supervisor, which is nobody's child."""
    for number in numbers:
        between = os.fork()
        if between:
            os.waitpid(between, 0)
            continue
        try:
            if os.fork() == 0:
                _detach(home)
                _supervise(home, number)
        finally:
            os._exit(0)


def _detach(home: str) -> None:
    # Blocked before anybody can know this process: none is lost.
    signal.pthread_sigmask(signal.SIG_SETMASK, _WATCHED)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(f"{home}/supervisors.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, descriptor in enumerate((null, null, log)):
        os.dup2(descriptor, number)
    os.closerange(3, 256)
    os.chdir("/")


def _supervise(home: str, number: int) -> None:
    """Run a job, and then whatever its slot is given to."""
    ready = [number]
    try:
        while ready:
            launch(home, ready[1:])
            ready = Supervisor(home, ready[0]).run()
    except BaseException as exc:  # noqa: BLE001  the cluster reads the log when it is closed
        os.write(2, f"supervisor of job {ready[0]}: {exc!r}, line {_line(exc)}\n".encode())


def _line(exc: BaseException) -> int:
    """Of the function that raised."""
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_lineno if trace is not None else 0


class Supervisor:
    """Watches one job, from its start until nothing of it is left."""

    def __init__(self, home: str, number: int) -> None:
        """Watch this job."""
        self.home = home
        self.number = number
        self.child = 0
        self.grace = 0.0
        self.escaped = False
        self.asks = "SIGTERM"
        self.owner: list[int] | None = None
        self.wanted = ""
        self.limit = self.force = _NEVER

    def run(self) -> list[int]:
        """Run it to its end; returns the jobs to be run next."""
        with Table(self.home) as table:
            job = table.jobs.get(self.number)
            if job is None or job.wanted:
                if job is not None:
                    job.finish(job.wanted)
                return table.start()
            self.grace, self.escaped = table.settings["grace"], table.settings["escaped"]
            self.owner = table.settings["owner"]
            self.asks = job.extra.get("asks", self.asks)
            told = self._begin(job)
        trouble = _read_all(told)
        self._watch()
        self._clear()
        code = os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
        with Table(self.home) as table:
            if job := table.jobs.get(self.number):
                job.trouble = trouble
                meant = job.extra.get("codes", {}).get(str(code), "")
                if meant and not self.wanted:
                    job.again(stuck=meant == "error")
                else:
                    job.finish(self.wanted or ("FAILED" if code else "DONE"), code)
            return table.start()

    def _begin(self, job: ToyJob) -> int:
        """Start its script; returns a pipe that says why that failed, and ends when it has begun."""
        ready, told = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            try:
                self._become(job)
            except BaseException as exc:  # noqa: BLE001  told by the pipe
                os.write(told, str(exc).encode())
            finally:
                os._exit(1)
        os.close(told)
        job.supervisor, job.session = [os.getpid(), toyprocs.since(os.getpid())], self.child
        if job.walltime:
            self.limit = time.monotonic() + job.walltime
        return ready

    def _become(self, job: ToyJob) -> None:
        """Be the script of the job from now on."""
        os.setsid()
        output = os.open(job.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        with open(environ_of(self.home, self.number), encoding="ascii") as file:
            environ = json.load(file)
        os.chdir(job.cwd)
        for number in _DEFAULT:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        script = script_of(self.home, self.number)
        os.execve(script, [script], environ)

    def _watch(self) -> None:
        """Return when the script has ended, asked and forced to where it must be."""
        # It is left unreaped as long as its number is used: it can't be another's.
        while os.waitid(os.P_PID, self.child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            now = time.monotonic()
            if now >= self.limit and not self.wanted:
                self._ask("TIMEOUT")
            if now >= self.force:
                self._signal(signal.SIGKILL)
                self.force = _NEVER
            next_step = self.force if self.wanted else self.limit
            news = signal.sigtimedwait(_WATCHED, min(max(next_step - now, 0.0), _OWNER))
            if not self.wanted and not toyprocs.alive(self.owner):
                self._close()
            if news is not None and news.si_signo == signal.SIGUSR1 and not self.wanted:
                self._read_wanted()

    def _close(self) -> None:
        """Nobody will leave the cluster any more: end with it."""
        with Table(self.home) as table:
            table.settings.update(closed=True, held=True)
        self.wanted, self.force = "CANCELLED", 0.0

    def _read_wanted(self) -> None:
        with Table(self.home) as table:
            job = table.jobs.get(self.number)
            wanted = "" if job is None else job.wanted
        if wanted:  # else it was meant for the job before
            self._ask(wanted)

    def _ask(self, wanted: str) -> None:
        self.wanted = wanted
        if self.asks:
            self._signal(signal.Signals[self.asks])
        self.force = time.monotonic() + (self.grace if self.asks else 0)

    def _clear(self) -> None:
        """What outlives the script has the rest of the grace when it was asked, and none otherwise."""
        while self._others():
            if not self.wanted or time.monotonic() >= self.force:
                self._signal(signal.SIGKILL)
            time.sleep(_LOOK)

    def _others(self) -> list[int]:
        if self.escaped:
            return toyprocs.marked(f"{JOB}={mark_of(self.home, self.number)}")
        return toyprocs.of_group(self.child)

    def _signal(self, number: signal.Signals) -> None:
        if self.escaped:
            toyprocs.send(self._others(), number)
        try:
            os.killpg(self.child, number)
        except ProcessLookupError:
            return


def _read_all(descriptor: int) -> str:
    """All that is written to a pipe until nobody has its other end."""
    with open(descriptor, encoding="utf-8") as file:
        return file.read()
