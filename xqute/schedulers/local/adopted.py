"""Wrappers that another process started: seen by their number, start time and mark."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Final

from ... import metadir
from ...errors import XquteError
from ...handing import read_place
from ...job import Job
from ...states import FileState
from . import processes
from .exits import Start
from .processes import Process

#: What takes the place of an exit status that only a parent gets.
ADOPTED: Final = -2

#: Processes read without letting the event loop breathe: some milliseconds.
_BATCH: Final = 100


class Adopted(Start):
    """A wrapper that runs and is nobody's child here; it has no exit status."""

    __slots__ = ("_process",)

    def __init__(self, job: Job, process: Process) -> None:
        super().__init__(job, process.pid)
        self._process = process

    def reap(self) -> bool:
        """Whether it has ended, as far as can be seen now."""
        if self.exit is not None:
            return True
        try:
            if processes.read(self.pid) == self._process:
                return False
        except OSError:
            return False
        self.exit = ADOPTED
        self.until = processes.ticks_now()
        return True


def wrapper_of(job: Job) -> Process | None:
    """The wrapper of a job that another process started, when it runs.

    Raises:
        OSError: That can't be seen now.
    """
    return process_of(job, int(job.uid)) if job.uid.isdecimal() else None


def process_of(job: Job, pid: int) -> Process | None:
    """The process with this number, when it runs and is the job's.

    Raises:
        OSError: That can't be seen now.
    """
    process = processes.read(pid)
    if process is None:
        return None
    ours = processes.mark_of(process.pid) == job.mark.encode()
    return process if ours or (_runs_python(job, pid) and _has_the_claim(process, job)) else None


def _runs_python(job: Job, pid: int) -> bool:
    """Whether the job may have no shell above it, and this process is its Python."""
    if job.call.function is None:
        return False
    try:
        place = read_place(os.path.dirname(job.directory), job.call.function.place)
        return os.readlink(f"/proc/{pid}/exe") == os.path.realpath(str(place["python"]))
    except (OSError, XquteError):
        return False


def _has_the_claim(process: Process, job: Job) -> bool:
    """Whether it claimed the start, and has written over its mark since (`setproctitle`).

    Who got its number after it started later than the claim was made.
    """
    claimed = metadir.claimed_at(job.directory)
    if process.session != process.pid or claimed is None or processes.started(process) > claimed:
        return False
    try:
        news = metadir.read_news(job.directory)
    except OSError:
        return False
    return news.state is FileState.RUNNING and news.pid == process.pid


async def find_wrappers(jobs: Sequence[Job], scripts: Mapping[Job, str]) -> dict[Job, int]:
    """Wrappers of jobs whose number nobody kept: what leads a session, has the mark and runs the script.

    Raises:
        OSError: Not all processes can be seen now.
    """
    marks = {job.mark.encode(): job for job in jobs}
    found: dict[Job, int] = {}
    for place, pid in enumerate(processes.pids(), 1):
        job = marks.get(processes.mark_of(pid))
        if job is not None and _runs(pid, scripts[job]):
            found[job] = pid
        if place % _BATCH == 0:
            await asyncio.sleep(0)
    return found


def _runs(pid: int, script: str) -> bool:
    """Whether this process leads a session and runs the script."""
    process = processes.read(pid)
    return process is not None and process.session == pid and os.fsencode(script) in processes.arguments(pid)
