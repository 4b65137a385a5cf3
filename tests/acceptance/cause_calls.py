"""Calls that end in many ways, or wait for it. Light: jobs import it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from xqute import Skip, current_job, task


def trace(name: str) -> Path:
    """A file in the folder where jobs leave their traces."""
    return Path(os.environ["HERE"], name)


@task
def ends_by(how: str) -> Any:
    """Say that it is there, and end in this way when it may."""
    trace("job.up").touch()
    while not trace("go").exists():
        time.sleep(0.01)
    if how == "raising":
        raise ValueError("there is no sequence")
    if how == "leaving":
        os._exit(0)
    if how == "skipping":
        raise Skip("nothing new")
    if how == "asking for itself":
        current_job().require([ends_by(how)])
    return threading.Lock()


@task
def asks_for_others() -> Any:
    """Ask for a job that stays."""
    return current_job().require([stays()])


@task
def stays() -> None:
    trace("job.up").touch()
    while not trace("go").exists():
        time.sleep(0.01)
