"""What the commands of a toy cluster do; standard library only, see `toycore`."""

from __future__ import annotations

import json
import os
import signal

from . import toyprocs
from .toycore import JOB, Refused, Table, environ_of, mark_of, script_of
from .toysupervisor import launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from .toycore import ToyJob


def submit(
    home: str,
    script: str,
    *,
    lost: bool = False,
    size: int = 0,
    environ: Callable[[ToyJob], dict[str, str]] = lambda job: {},
    **known: Any,
) -> int:
    """Take a script, to be run as it is now and in the environment of this process; returns its number.

    Args:
        home: The cluster.
        script: Its path.
        lost: Forget it at once.
        size: Elements of an array, each a job of its own: `extra` says of which array it is, by the number of
            the first, and which element, from 1.
        environ: What a job has in its environment besides.
        known: What the job is to have.

    Raises:
        Refused: Says why.
    """
    text = read(script)
    with Table(home) as table:
        if table.settings["closed"]:
            raise Refused("the cluster is closed")
        jobs = [table.new(cwd=os.getcwd(), **known) for _ in range(size or 1)]
        for element, job in enumerate(jobs, 1):
            if size:
                job.extra = {**job.extra, "array": jobs[0].id, "element": element}
            if lost:
                del table.jobs[job.id]
            else:
                _spool(home, job.id, text, environ(job))
        ready = table.start()
    launch(home, ready)
    return jobs[0].id


def read(script: str) -> bytes:
    """A script.

    Raises:
        Refused: It is none.
    """
    try:
        with open(script, "rb") as file:
            text = file.read()
    except OSError as exc:
        raise Refused(f"{script}: {exc.strerror}") from exc
    if not text.startswith(b"#!"):
        raise Refused(f"{script}: no script, it does not begin with #!")
    return text


def _spool(home: str, number: int, text: bytes, environ: dict[str, str]) -> None:
    with open(environ_of(home, number), "w", encoding="ascii") as file:
        json.dump({**os.environ, JOB: mark_of(home, number), **environ}, file)
    descriptor = os.open(script_of(home, number), os.O_WRONLY | os.O_CREAT, 0o700)
    with open(descriptor, "wb") as copy:
        copy.write(text)


def cancel(home: str, numbers: Iterable[int]) -> list[int]:
    """Stop jobs: one that waits never runs, one that runs is asked and then forced; returns the unknown."""
    unknown, told = [], []
    with Table(home) as table:
        for number in numbers:
            job = table.jobs.get(number)
            if job is None or not job.live:
                unknown.append(number)
            elif job.state == "PENDING":
                job.finish("CANCELLED")
            elif not job.wanted:
                job.state, job.wanted = "ENDING", "CANCELLED"
                told += [job.supervisor[0]] if job.supervisor is not None else []
    toyprocs.send(told, signal.SIGUSR1)
    return unknown


def wake(home: str) -> Table:
    """Start what can be started; returns the table as it was then."""
    with Table(home) as table:
        ready = table.start()
    launch(home, ready)
    return table
