"""What the jobs of these tests call. Light: each of their processes imports it."""

import asyncio
import collections
import ctypes
import itertools
import os
import pickle
import resource
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xqute import Skip, current_job, task


def trace(name: str) -> Path:
    """A file in the folder where jobs leave their traces."""
    return Path(os.environ["HERE"], name)


def mark(name: str, text: str = "") -> None:
    """Leave a trace: a line in a file."""
    with trace(name).open("a") as file:
        file.write(f"{text}\n")


@task
def step(name: str, *needs: Any) -> str:
    """Note in which order the steps run."""
    mark("order", name)
    return name


@task
def add(*numbers: Any) -> Any:
    mark("add", repr(numbers))
    return sum(numbers)


@task
def show(*args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
    return args, kwargs


@task
def same(one: Any, many: list[Any]) -> bool:
    return one is many[0]


@task
def gated(name: str, *needs: Any) -> str:
    """Fails until somebody opens the gate, a file of that name."""
    mark("order", name)
    if not trace(f"{name}.open").exists():
        raise RuntimeError(f"the gate of {name} is shut")
    return name


@task
def held(name: str, *needs: Any) -> str:
    """Runs until somebody opens the gate."""
    mark("order", name)
    while not trace(f"{name}.open").exists():
        time.sleep(0.01)
    return name


@task
def fail(message: str = "on purpose", *needs: Any) -> None:
    raise ValueError(message)


@task
def skip(reason: str = "nothing new") -> None:
    raise Skip(reason)


@dataclass
class Shot:
    """An argument with calls somewhere inside."""

    name: str
    frames: Any
    more: list[Any] = field(default_factory=list)


# How calls end that are killed


@contextmanager
def last_will(name: str):
    """Leave a trace when it begins, and one at the end, whatever ends it."""
    try:
        # In here: whoever sees the first trace may kill at once.
        mark(f"{name}.up", str(os.getpid()))
        yield
    finally:
        mark(f"{name}.finally")


@task
def sleep_sync(name: str) -> None:
    with last_will(name):
        time.sleep(300)


@task
async def sleep_async(name: str) -> None:
    with last_will(name):
        await asyncio.sleep(300)


@task
def deaf(name: str) -> None:
    """In C code that looks at no signal; a thread leaves the trace, for nothing else runs later."""
    with last_will(name):
        collections.deque(itertools.repeat(0), maxlen=0)


@task
def stubborn(name: str) -> None:
    """Catches what it is asked with, and goes on."""
    with last_will(name):
        while True:
            try:
                time.sleep(300)
            except BaseException:  # noqa: BLE001  that is what it is about
                mark(f"{name}.asked")


@task
def parent_of_sleepers(name: str) -> None:
    """Starts processes that would live on."""
    with last_will(name):
        current_job().run_sync("setsid sleep 300 & sleep 300 & wait")


# What calls return and raise


class Unsendable(Exception):
    """Can't be pickled."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


@task
def return_a_lock() -> Any:
    return threading.Lock()


@task
def return_a_generator() -> Any:
    return (number for number in range(3))


@task
def raise_unsendable() -> None:
    raise Unsendable("it holds a lock")


@task
def raise_from() -> None:
    try:
        {}["missing"]
    except KeyError as exc:
        raise ValueError("nothing of that name") from exc


@task
def raise_with_locals() -> None:
    wanted = {"frame": 17}
    long = "x" * 100_000
    raise LookupError(f"{len(wanted)} {len(long)}")


@task
def many_bytes(size: int) -> bytes:
    return os.urandom(1 << 16) * (size >> 16)


@task
def digest_of(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


@task
async def count_lines(command: str, expected: int) -> list[int]:
    """Run a command whose callbacks get every line, on both outputs."""
    out: list[str] = []
    err: list[str] = []
    text = await current_job().run(command, on_stdout=out.append, on_stderr=err.append)
    wanted = [str(number) for number in range(1, expected + 1)]
    return [len(out), len(err), int(out == wanted), int(err == wanted), len(text.splitlines())]


@task
def count_lines_sync(command: str, expected: int) -> list[int]:
    out: list[str] = []
    err: list[str] = []
    text = current_job().run_sync(command, on_stdout=out.append, on_stderr=err.append)
    wanted = [str(number) for number in range(1, expected + 1)]
    return [len(out), len(err), int(out == wanted), int(err == wanted), len(text.splitlines())]


@task
def too_large_for_the_disk() -> bytes:
    """Its result can't be written: as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    return bytes(5 << 20)


@task
def leave(how: str) -> None:
    """End the process without a word to anybody."""
    if how == "exit":
        os._exit(3)
    if how == "abort":
        os.abort()
    ctypes.string_at(0)


@task(reuse=True)
def reused(number: int) -> tuple[int, int, int]:
    """In a process that serves many calls; what it leaves behind is there for the next."""
    SEEN.append(number)
    if number < 0:
        raise ValueError(f"{number} is too small")
    return os.getpid(), len(SEEN), current_job().id


SEEN: list[int] = []


@task(fork=False)
def alone() -> tuple[int, int]:
    return os.getpid(), os.getppid()


# Dependencies found while running


@task
def leaf(number: int) -> int:
    mark("leaf", str(number))
    return number * 10


@task
def middle(number: int) -> int:
    mark("middle", f"{number} {current_job().id} {current_job().start} {current_job().attempt}")
    return sum(current_job().require([leaf(number), leaf(number + 1)]))


@task
async def top() -> list[int]:
    job = current_job()
    mark("top", f"{job.id} {job.start} {job.attempt}")
    return await job.require([middle(1), middle(2)])


@task
def overlapping() -> list[int]:
    """What it needs next depends on what came of the first, and is in part the same."""
    job = current_job()
    mark("top", f"{job.id} {job.start} {job.attempt}")
    first = job.require([leaf(1), leaf(2)])
    return [*first, *job.require([leaf(2), leaf(first[0])]), *job.require([leaf(1), leaf(1)])]


@task
def need_gated(name: str) -> list[str]:
    mark("order", f"need {name}")
    return current_job().require([gated(name)])


@task
def ping(depth: int = 0) -> Any:
    return current_job().require([pong(depth)])


@task
def pong(depth: int = 0) -> Any:
    return current_job().require([ping(depth)])


@task
def need_myself() -> Any:
    return current_job().require([need_myself()])


@task
def need_under_limit(most: int) -> Any:
    from xqute import cmd

    return current_job().require([cmd("true").options(limit=("align", most))])


@task
def never_content() -> None:
    from xqute import cmd

    mark("rounds")
    current_job().require([cmd("true", current_job().start)])


@task
def need_a_lock() -> Any:
    return current_job().require([show(threading.Lock())])


@task
def undone(name: str, how: str) -> None:
    with last_will(name):
        if how == "fail":
            raise RuntimeError("it went wrong")
        time.sleep(300 if how == "sleep" else 0)


@task
def badly_undone() -> None:
    raise RuntimeError("it went wrong")


@badly_undone.cleanup
def undo_badly(job: Any) -> None:
    raise RuntimeError("and so did its cleanup")


@undone.cleanup
def undo(job: Any) -> None:
    mark("undone", job.args[0])


@task
def buffer(size: int) -> dict:
    """As an array has it: its bytes are not copied into the pickle, but written behind it."""
    return {"data": pickle.PickleBuffer(bytearray(size))}


@task
def returns_call():
    return buffer(1)


@task
async def require_of_another_store(metadir: str) -> Any:
    from xqute import Xqute

    xqute = Xqute(job_metadir=metadir)
    return await current_job().require([show(await xqute.push("echo of an inner store"))])
