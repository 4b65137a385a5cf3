"""A small batch system for tests: it really starts processes, and needs neither a daemon nor root."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final, Self

from ..wrapper import quote
from . import toyprocs
from .toycore import CLUSTER, JOB, Table, ToyJob, mark_of, save
from .toyface import Face, Plain, flip, switch_of

#: Runs a command without site-packages, and without importing xqute: it takes few milliseconds.
_BARE: Final = """
import sys
toys = type(sys)("toys")
toys.__path__ = [sys.argv[1]]
sys.modules["toys"] = toys
from toys.toyface import main
home, module, face, program = sys.argv[2:6]
kind = getattr(__import__("toys." + module, fromlist=[face]), face)
sys.exit(main(home, kind, program, sys.argv[6:]))
"""

#: Switches for faults, and what its commands do while one is on.
FAULTS: Final = {
    "fail": "they exit with 1 and this text, having done nothing",
    "hang": "they wait, and do what they were asked when it is switched off",
    "banner": "they print this text before their answer",
    "refuse": "a submission is refused with this text",
    "deny": "a submission is taken, and answered by an error with this text",
    "lose": "a submission gets a number, and is never heard of again",
}

#: Seconds in which what was killed must be gone.
_GONE: Final = 10.0


class SurvivedError(AssertionError):
    """A toy cluster could not end what it had started, or something of it broke."""


class ToyCluster:
    """A batch system in a directory, whose commands are executables in `bin`.

    It runs `slots` jobs at a time, each in a session of its own; what waits starts when others end. A
    cancelled job is asked by TERM to its group of processes, and forced by KILL after `grace`.

        with ToyCluster(tmp_path / "cluster", slots=2) as cluster:
            monkeypatch.setenv("PATH", cluster.path)  # or give a scheduler **cluster.options

    Leaving it ends everything that it had started, and raises when it can't. When the program that made
    it is killed, its jobs end by themselves.

    Attributes:
        home: Its directory.
        bin: Where its commands are: what a face calls them, see `toyface.Plain`.
        faults: The names of the switches for `fault`.
    """

    faults = FAULTS

    def __init__(
        self,
        home: Path,
        *,
        slots: int = 4,
        grace: float = 2.0,
        keep: float = 2.0,
        escaped: bool = False,
        face: type[Face] = Plain,
    ) -> None:
        """Make a cluster in a directory of its own.

        Args:
            home: The directory, which is made.
            slots: Jobs at a time.
            grace: Seconds between asking a job to stop and forcing it.
            keep: Seconds for which the queue shows a job that has ended.
            escaped: A cancelled job is ended with those of its processes that left its group.
            face: How its commands look.
        """
        self.home = Path(home).absolute()
        self.bin = self.home / "bin"
        self._face = face
        self._settings = {
            "slots": slots,
            "grace": grace,
            "keep": keep,
            "escaped": escaped,
            "held": False,
            "closed": False,
            "owner": [os.getpid(), toyprocs.since(os.getpid())],
        }

    def __enter__(self) -> Self:
        """Make its directory and commands."""
        for name in ("bin", "spool", "output", "faults"):
            (self.home / name).mkdir(parents=True)
        save(str(self.home), self._settings, 0, [])
        for program in self._face.programs:
            command = self.bin / program
            command.write_text(self._script(program), "utf-8")
            command.chmod(0o700)
        return self

    def _script(self, program: str) -> str:
        module = self._face.__module__.rpartition(".")[2]
        words = [sys.executable, "-I", "-S", "-c", _BARE, str(Path(__file__).parent), str(self.home)]
        line = " ".join(map(quote, [*words, module, self._face.__name__, program]))
        return f'#!/bin/sh\nunset {JOB}\nexport {CLUSTER}={quote(str(self.home))}\nexec {line} "$@"\n'

    # For schedulers

    @property
    def path(self) -> str:
        """`PATH` with its commands first."""
        return f"{self.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}"

    @property
    def options(self) -> dict[str, str]:
        """The paths of its commands, as options of a scheduler: `toy-submit` is `toy_submit`."""
        return {program.replace("-", "_"): str(self.bin / program) for program in self._face.programs}

    # For tests

    def fault(
        self, name: str, text: str = "", *, verbs: Collection[str] = (), only: str = "", times: int = 0
    ) -> Callable[[], None]:
        """Switch a fault on; returns what switches it off.

        Args:
            name: Of the switch, one of `faults`.
            text: What the commands say.
            verbs: Which commands: `submit`, `queue`, `cancel`; none means all.
            only: Commands of whose arguments one has this text.
            times: How often it works until it is off by itself; 0, and always for `hang`: until it is
                switched off.

        Raises:
            ValueError: There is no such switch.
        """
        if name not in FAULTS:
            raise ValueError(f"{name!r} is no fault: known are {', '.join(FAULTS)}")
        path = switch_of(str(self.home), name)
        flip(path, {"text": text, "verbs": list(verbs), "only": only, "times": times})

        def mend() -> None:
            Path(path).unlink(missing_ok=True)

        return mend

    def hold(self) -> Callable[[], None]:
        """Start no job from now on; returns what lets them start again."""
        self.set(held=True)

        def let_go() -> None:
            self.set(held=False)

        return let_go

    def release(self, number: int | str) -> None:
        """Let a job start that was submitted to be held."""
        with Table(str(self.home)) as table:
            table.jobs[int(number)].held = False
        self._run_wake()

    def set(self, **settings: Any) -> None:
        """Change `slots`, `grace`, `keep` or `escaped` while it runs; what may start then starts."""
        with Table(str(self.home)) as table:
            table.settings.update(settings)
        if not table.settings["held"]:
            self._run_wake()

    def _run_wake(self) -> None:
        # by a process of its own: to fork is not for a program with threads
        code = _BARE.partition("from toys")[0] + "from toys.toyjobs import wake\nwake(sys.argv[2])"
        words = [sys.executable, "-I", "-S", "-c", code, str(Path(__file__).parent), str(self.home)]
        subprocess.run(words, env={**os.environ, CLUSTER: str(self.home)}, check=True)

    def fail_node(self, number: int | str) -> None:
        """End a job at once with what watches it, as when its host goes down: NODE_FAIL."""
        self.strike(number, "NODE_FAIL")

    def strike(self, number: int | str, state: str) -> None:
        """End a job at once with what watches it, and call that so: OUT_OF_MEMORY, PREEMPTED."""
        with Table(str(self.home)) as table:
            job = table.jobs[int(number)]
            watching = job.supervisor if job.live and toyprocs.alive(job.supervisor) else None
            toyprocs.send(watching[:1] if watching else [], signal.SIGKILL)
            if job.live:
                job.finish(state)
        self._kill(int(number))

    def lose(self, number: int | str, *, kill: bool = True) -> None:
        """Know nothing of a job any more, as if it had never been there; by default it ends, too."""
        with Table(str(self.home)) as table:
            if int(number) in table.jobs:
                table.drop(int(number))
        if kill:
            self._kill(int(number))

    def _kill(self, number: int) -> None:
        mark = f"{JOB}={mark_of(str(self.home), number)}"
        toyprocs.send(toyprocs.marked(mark), signal.SIGKILL)

    def jobs(self) -> dict[int, ToyJob]:
        """What its table knows, by number; a copy."""
        with Table(str(self.home)) as table:
            return table.jobs

    def calls(self, program: str = "") -> list[list[str]]:
        """The commands that were run, with their arguments, in order; all, or those of one name."""
        log = self.home / "calls.log"
        lines = log.read_text("utf-8").splitlines() if log.exists() else []
        return [call for call in map(json.loads, lines) if program in {"", call[0]}]

    # The end

    def __exit__(self, *error: object) -> None:
        """End everything that it started.

        Raises:
            SurvivedError: Something lives, or a supervisor broke.
        """
        with Table(str(self.home)) as table:
            table.settings.update(closed=True, held=True)
            sessions = [job.session for job in table.jobs.values() if job.live and job.session]
        until = time.monotonic() + _GONE
        # A second look finds those whose parents ended during the first.
        while left := self._left(sessions) or self._left(sessions):
            if time.monotonic() > until:
                raise SurvivedError(f"{self.home}: KILL did not end the processes {left}")
            toyprocs.send(left, signal.SIGKILL)
            time.sleep(0.005)
        log = self.home / "supervisors.log"
        if log.exists() and (said := log.read_text("utf-8")):
            raise SurvivedError(f"{self.home}: {said}")

    def _left(self, sessions: list[int]) -> list[int]:
        """Who has its mark, also having left its session; and who is in a session, also without the mark."""
        mark = f"{CLUSTER}={self.home}"
        of_sessions = [pid for session in sessions for pid in toyprocs.of_session(session)]
        return sorted({*toyprocs.marked(mark), *of_sessions} - {os.getpid()})
