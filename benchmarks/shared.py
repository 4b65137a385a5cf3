"""What all topics share: fresh processes, scratch directories, medians, tables."""

from __future__ import annotations

import inspect
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from asyncio import run as run_async
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

HERE = Path(__file__).resolve().parent
MEMORY = Path("/dev/shm")

#: The largest topic makes 10^5 job directories with two files of a page each, and a store.
MEMORY_NEEDS = 2 * 1024**3

#: What a process may take to end what it started.
STOP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Row:
    """One figure beside its bar.

    Attributes:
        what: What was measured.
        value: The figure; unit: of it and of its bar.
        bar: What it must reach; aim: what it should. None: it is for information.
        more: More is better; else less is.
        note: What it was made of.
    """

    what: str
    value: float
    unit: str = ""
    bar: float | None = None
    aim: float | None = None
    more: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """What the figure is to its bar; empty without one."""
        if self.bar is None:
            return ""
        if not self._reaches(self.bar):
            return "misses its bar"
        return "meets its bar" if self.aim is None or not self._reaches(self.aim) else "meets its aim"

    def _reaches(self, limit: float) -> bool:
        return self.value >= limit if self.more else self.value <= limit

    def cells(self) -> list[str]:
        """The row as it is shown."""
        sign = "≥" if self.more else "≤"
        limits = [
            "" if limit is None else f"{sign} {number(limit)} {self.unit}".strip()
            for limit in (self.bar, self.aim)
        ]
        return [self.what, f"{number(self.value)} {self.unit}".strip(), *limits, self.verdict, self.note]


@dataclass(slots=True)
class Table:
    """The rows of one topic; remarks are sentences below it."""

    title: str
    rows: list[Row] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def number(value: float) -> str:
    """A figure with three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so many of the values are not above."""
    return sorted(values)[max(0, -(-len(values) * int(share * 100) // 100) - 1)]


# What is shown while it runs


def say(text: str) -> None:
    """Progress; on stderr, so that the tables can be redirected."""
    print(f"    {text}", file=sys.stderr, flush=True)


def warn(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def own_cpu() -> tuple[float, float]:
    """Seconds that this process has computed: its own code, and the kernel for it. No children."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime, used.ru_stime


# Where it runs


@contextmanager
def scratch(*, disk: bool = False) -> Iterator[Path]:
    """An empty directory, in memory if there is room and `disk` is not asked for; removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="xqute-bench-", dir=disk_root() if disk else memory_root()))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def memory_root() -> Path:
    """Where files cost no disk: /dev/shm, else the temporary folder."""
    return MEMORY if memory_is_there() else Path(tempfile.gettempdir())


def memory_is_there() -> bool:
    return MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_NEEDS


def disk_root() -> Path:
    """A folder that is not in memory, as far as one knows: /var/tmp survives a reboot."""
    return Path("/var/tmp") if os.access("/var/tmp", os.W_OK) else Path(tempfile.gettempdir())


# Fresh processes


def child(function: str, /, **arguments: Any) -> Any:
    """What `topic:function` returns in a fresh interpreter; CPU and memory there are only its own."""
    process = start_child(function, **arguments)
    return answer(process, function)


def start_child(function: str, /, **arguments: Any) -> subprocess.Popen[str]:
    argv = [sys.executable, str(HERE / "bench.py"), "--child", function, json.dumps(arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, env=environment())


def answer(process: subprocess.Popen[str], function: str) -> Any:
    """Wait for a child; what it printed last is what its function returned."""
    with ending(process):
        printed, _ = process.communicate()
    if process.returncode:
        message = f"{function} ended with {process.returncode}"
        raise SystemExit(message)
    return json.loads(printed.splitlines()[-1])


def timed(argv: Sequence[str], *, stdin: Path, **variables: str) -> float:
    """The seconds that a program takes that must succeed, from before its start to its end."""
    null = subprocess.DEVNULL
    with stdin.open("rb") as source:
        begun = perf_counter()
        process = subprocess.Popen(
            argv, stdin=source, stdout=null, stderr=null, env={**os.environ, **variables}
        )
        with ending(process):
            rc = process.wait()
        seconds = perf_counter() - begun
    if rc:
        message = f"{' '.join(argv)} ended with {rc}"
        raise SystemExit(message)
    return seconds


@contextmanager
def ending(*processes: subprocess.Popen[Any]) -> Iterator[None]:
    """Whatever happens, the processes have ended afterwards.

    xqute takes the signal as a wish to stop, and ends its jobs first.
    """
    try:
        yield
    finally:
        left = [process for process in processes if process.poll() is None]
        for process in left:
            process.send_signal(signal.SIGTERM)
        for process in left:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def environment() -> dict[str, str]:
    """The environment of a child: this checkout first, and no progress on the terminal."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("XQUTE_")}
    paths = [str(HERE.parent), *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}


def serve(name: str, arguments: str) -> int:
    """Be a child: call the function, print what it returned."""
    module, _, function = name.partition(":")
    work: Callable[..., Any] = getattr(import_module(module), function)
    try:
        result = work(**json.loads(arguments))
        if inspect.iscoroutine(result):
            result = run_async(result)
    except KeyboardInterrupt:
        return 130
    print(json.dumps(result))
    return 0
