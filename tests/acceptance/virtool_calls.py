"""What Virtool's jobs do, played by steps that leave traces and obey files. Light: jobs import it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from xqute import current_job, task


def trace(name: str) -> Path:
    """A file in the folder where jobs leave their traces."""
    return Path(os.environ["HERE"], name)


def mark(name: str, text: str) -> None:
    """Leave a trace: a line in a file."""
    with trace(name).open("a") as file:
        file.write(f"{text}\n")


def _step(name: str, host: str) -> None:
    """Note that it began; wait, or fail, as long as a file says so."""
    mark("steps", f"{host} {name}")
    while trace(f"{host}.waits in {name}").exists():
        time.sleep(0.01)
    if trace(f"{host}.fails in {name}").exists():
        raise ValueError(f"{name} found no sequence in {host}")


def mk_host_dir(host: str, file: str) -> None:
    trace(f"host {host}").mkdir(exist_ok=True)
    _step("mk_host_dir", host)


def stats(host: str, file: str) -> None:
    _step("stats", host)


def bowtie_build(host: str, file: str) -> None:
    current_job().progress(1, 2)
    _step("bowtie_build", host)


def snap_build(host: str, file: str) -> None:
    _step("snap_build", host)


def update_db(host: str, file: str) -> None:
    _step("update_db", host)
    mark("db", host)


@task(cpus=1, mem="4G", limit=2)
def add_host(host: str, file: str) -> str:
    """Make the indexes of a host's genome."""
    mark("there", f"+{host}")
    try:
        for step in current_job().steps(mk_host_dir, stats, bowtie_build, snap_build, update_db):
            step(host, file)
    finally:
        mark("there", f"-{host}")
    return f"{host} of {file}"


@add_host.cleanup
def remove_host(job: Any) -> None:
    """Undo what was begun: it failed, was cancelled, or is deleted."""
    host = job.args[0]
    if trace(f"host {host}").exists():
        trace(f"host {host}").rmdir()
    mark("removed", host)


@task(cpus=2, mem="12G", limit=1)
def rebuild_index(host: str = "all") -> str:
    mark("there", f"+{host}")
    _step("rebuild_index", host)
    mark("there", f"-{host}")
    return "built"
