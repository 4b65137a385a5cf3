"""A set of calls, as a module: A → B → C → D, with traces of what ran. Light: jobs import it."""

import logging
import os
import time
from pathlib import Path
from typing import Any

from xqute import Skip, cmd, current_job, task


def trace(name: str) -> Path:
    """A file in the folder where jobs leave their traces."""
    return Path(os.environ["HERE"], name)


@task
def make(name: str, *needs: Any) -> list[Any]:
    """Give back what it is made of; fails, skips or waits as long as a file says so."""
    with trace("ran").open("a") as file:
        file.write(f"{name}\n")
    if trace(f"{name}.fails").exists():
        raise ValueError(f"{name} fails")
    if trace(f"{name}.skips").exists():
        raise Skip("nothing new")
    while trace(f"{name}.waits").exists():
        time.sleep(0.01)
    current_job().progress(1, 2, f"making {name}")
    logging.getLogger("jobs").warning("making %s", name)
    return [name, current_job().id, *needs]


@make.cleanup
def unmake(job: Any) -> None:
    """Note what was cleaned up."""
    with trace("unmade").open("a") as file:
        file.write(f"{job.args[0]}\n")


@task
def ask(name: str, *, by_way_of: bool = False) -> list[Any]:
    """Find out while it runs that X is needed."""
    with trace("ran").open("a") as file:
        file.write(f"{name}\n")
    x = make("X").named("X")
    [got] = current_job().require([hand_on(x) if by_way_of else x])
    return [name, got]


@task
def hand_on(what: Any) -> Any:
    """A step without a name between two that have one."""
    return what


@task
def text_of(result: list[Any]) -> str:
    """What a command can show."""
    return f"the text of {result[0]}"


A = make("A").named("A", title="The first", tags=["pages", "crawl"], notes="Takes *long*.")
B = make("B", {"deep": [A]}).named("B")
C = make("C", hand_on(B)).named("C")
D = make("D").after(C).named("D", tags=["pages"])
SHOWN = {"shown": cmd("echo", text_of(A)).named("shown")}
CALLS = [A, B, C, D]
