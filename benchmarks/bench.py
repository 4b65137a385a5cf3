"""Measures xqute and prints each figure beside its bar; see docs/benchmarks.md.

Without arguments it measures everything, which takes some ten minutes. `--only spawn,cpu` takes these
topics; `--quick` shows whether it works, with figures that mean little; `--markdown FILE` also writes
the tables between the markers of that page.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sqlite3
import sys
import time
from importlib import import_module
from pathlib import Path
from types import FrameType

import shared

#: What a topic is called, and the module that measures it.
TOPICS = {
    "spawn": "spawn",
    "durable": "durable",
    "latency": "latency",
    "push": "push",
    "calls": "calls",
    "graphs": "graphs",
    "cpu": "cpu",
    "idle": "idle",
    "scale": "scale",
    "files": "files",
    "claims": "claims",
    "import": "imports",
}
BEGIN, END = "<!-- generated: bench -->", "<!-- /generated -->"
HEAD = ["what", "measured", "bar", "aim", "verdict", "from"]


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        return shared.serve(*sys.argv[2:])
    given = arguments()
    signal.signal(signal.SIGTERM, interrupt)
    if not shared.memory_is_there():
        shared.warn("/dev/shm has no room: the metadir is in the temporary folder, figures are lower")
    try:
        tables, broken = measure(given.only, quick=given.quick)
    except KeyboardInterrupt:
        shared.warn("interrupted; nothing of it runs any more")
        return 130
    missed = [row.what for table in tables for row in table.rows if row.verdict == "misses its bar"]
    print(f"{len(missed)} of the figures miss their bars" if missed else "every figure meets its bar")
    if given.markdown:
        write(given.markdown, tables)
    if broken:
        shared.warn(f"not measured: {', '.join(broken)}; see above why")
    return 1 if broken else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure xqute, each figure beside its bar.")
    parser.add_argument("--only", type=names, default=list(TOPICS), metavar="TOPIC,…")
    parser.add_argument("--quick", action="store_true", help="whether it works, in some seconds")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    return parser.parse_args()


def names(text: str) -> list[str]:
    """The topics of a list with commas."""
    given = text.split(",")
    unknown = [name for name in given if name not in TOPICS]
    if unknown:
        message = f"unknown topic {unknown[0]!r}: known are {', '.join(TOPICS)}"
        raise argparse.ArgumentTypeError(message)
    return given


def measure(topics: list[str], *, quick: bool) -> tuple[list[shared.Table], list[str]]:
    """The tables, and the topics that broke: those cost the others nothing."""
    print(f"{machine()}\n", flush=True)
    tables, broken = [], []
    for topic in topics:
        begun = time.monotonic()
        shared.say(f"{topic} …")
        try:
            table = import_module(TOPICS[topic]).measure(quick=quick)
        except (Exception, SystemExit) as exc:  # noqa: BLE001  whatever it is, minutes of others are kept
            shared.warn(f"{topic}: {type(exc).__name__}: {exc}")
            broken.append(topic)
            continue
        shared.say(f"{topic}: {time.monotonic() - begun:.0f} s")
        tables.append(table)
        show(table)
    return tables, broken


def show(table: shared.Table) -> None:
    lines = [HEAD, *(row.cells() for row in table.rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(HEAD))]
    print(table.title)
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print(("  " + "  ".join(padded)).rstrip())
    for remark in table.remarks:
        print(f"  {remark}")
    print(flush=True)


def machine() -> str:
    """What it was measured on."""
    shell = Path("/bin/sh").resolve().name
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{cores()} cores ({model()}), Linux {platform.release()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"/bin/sh is {shell}; load before: {load}"
    )


def cores() -> int:
    return len(os.sched_getaffinity(0))


def model() -> str:
    """The processor's name, as the kernel has it."""
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def write(page: Path, tables: list[shared.Table]) -> None:
    """Replace what is between the markers of a page, or make one that has nothing else."""
    text = page.read_text("utf-8") if page.exists() else f"{BEGIN}\n{END}\n"
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        message = f"{page} must have one line {BEGIN} and, below it, one {END}"
        raise SystemExit(message)
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{markdown(tables)}\n{END}{after}", "utf-8")
    shared.say(f"written to {page}")


def markdown(tables: list[shared.Table]) -> str:
    words = [word for word in sys.argv[1:] if word.startswith("--") or "/" not in word]
    told = " ".join(words).replace("--markdown", "").strip()
    command = f'make bench ARGS="{told}"' if told else "make bench"
    blocks = [f"`{command}` on {time.strftime('%Y-%m-%d', time.gmtime())}: {machine()}."]
    for table in tables:
        lines = [HEAD, ["---"] * len(HEAD), *(row.cells() for row in table.rows)]
        drawn = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        blocks += [f"### {table.title}", drawn, *table.remarks]
    return "\n" + "\n\n".join(blocks) + "\n"


def interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
