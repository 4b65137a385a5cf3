"""Writes a job's script into its directory."""

from __future__ import annotations

import inspect
import os
from typing import Any

from .. import metadir
from ..crash import crash_point
from ..errors import MetadirError
from ..job import Job
from ..scheduler import Scheduler
from .room import Live


async def prepare(live: Live, scheduler: Scheduler) -> None:
    """Make the job's directory, and write its script; harmless when that was done.

    Raises:
        MetadirError: The metadir is not there any more.
        OSError: It can't be written now.
        Exception: What the job's own `wrap_cmd` raises.
    """
    if live.prepared:
        return
    job = live.job
    job.begin_attempt()
    await job.settle()
    _make_directory(live, job.script(scheduler))
    crash_point("before a script is written")
    metadir.write_script(job.script(scheduler), await _text(job.wrap_cmd(scheduler)))
    crash_point("after a script is written")
    live.prepared = True


def _make_directory(live: Live, script: str) -> None:
    """Make it, or put the files of earlier starts away, once.

    Before the first start there may be one too: a user asked for it, or it is of an older store.
    """
    job = live.job
    try:
        os.mkdir(job.directory, 0o700)
    except FileExistsError:
        if not live.cleared:
            before = files_start(job, script)
            if before != job.start:  # else they are of this very start, begun by a manager that died
                metadir.put_away(job.directory, before)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise _vanished(exc, job) from exc
    live.cleared = True


def files_start(job: Job, script: str) -> int:
    """Which start the files beside a script are of; the one before, where nothing says."""
    return metadir.read_start(script, job.identity) or job.start - 1


def _vanished(error: OSError, job: Job) -> MetadirError:
    """The sentence for a metadir that was there and is not."""
    root = os.path.dirname(job.directory)
    return MetadirError(
        f"the metadir {root} has vanished or changed while jobs ran ({error.strerror}): the run was stopped"
    )


async def _text(script: Any) -> str:
    """What `wrap_cmd` returned, awaited where it is a coroutine."""
    text = await script if inspect.isawaitable(script) else script
    if not isinstance(text, str):
        raise TypeError(f"wrap_cmd returned {type(text).__name__}: the text of a script is needed")
    return text
