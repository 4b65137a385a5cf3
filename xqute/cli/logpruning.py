"""Removes lines of logs that are older than their level deserves; for `xqute prune --logs`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import rich_click as click

from xqute.inside.files import make_new
from xqute.metadir import LOG, RETRY
from xqute.options import unknown
from xqute.states import JobStatus

from .forms import counting, jobs, print_json, size
from .options import SEVERAL, duration
from .place import Place
from .removing import agreed, counted, ended_jobs, left_out

_DAY: Final = 86_400.0

#: How long a line stays, by its level. Of what went wrong more is asked, and later.
AGES: Final[Mapping[str, float]] = {
    "debug": 15 * _DAY,
    "info": 30 * _DAY,
    "warning": 90 * _DAY,
    "error": 180 * _DAY,
    "critical": 180 * _DAY,
}

#: Of lines whose level is none of these.
_OTHER: Final = "info"

_FLAGS: Final = os.O_NOFOLLOW | os.O_CLOEXEC


def ages(given: Sequence[str]) -> dict[str, float]:
    """How long lines stay, by level: what was given as `level=duration`, else as usual."""
    found = dict(AGES)
    for pairs in given:
        for pair in pairs.split(","):
            level, _, age = pair.partition("=")
            name = level.strip().lower()
            if name not in AGES:
                raise click.BadParameter(unknown("level", name, AGES), param_hint="--log-age")
            found[name] = duration(age.strip())
    return found


@dataclass
class Trimming:
    """What is to be removed of logs, or was.

    Attributes:
        ages: How long lines stay, by level. now: UTC seconds.
        ids: The jobs with such lines.
        lines, held: How many, and their bytes.
        errors: What could not be done.
    """

    ages: Mapping[str, float]
    now: float
    ids: list[int] = field(default_factory=list)
    lines: int = 0
    held: int = 0
    errors: list[str] = field(default_factory=list)

    def look(self, id: int, directory: str) -> None:
        """Count the lines of a job's logs that are too old."""
        before = self.lines
        for path in _logs(directory):
            self._try(path, change=False)
        if self.lines > before:
            self.ids.append(id)

    def trim(self, id: int, directory: str) -> None:
        """Remove them."""
        self.ids.append(id)
        for path in _logs(directory):
            self._try(path, change=True)

    def _try(self, path: str, *, change: bool) -> None:
        try:
            self._read(path, change=change)
        except FileNotFoundError:
            return
        except OSError as error:
            self.errors.append(f"{path} can't be read or changed: {error.strerror or error}")

    def _read(self, path: str, *, change: bool) -> None:
        with open(os.open(path, os.O_RDONLY | _FLAGS), "rb") as log:
            old = [line for line in log if self._is_old(line)]
            if not old:
                return
            if change:
                log.seek(0)
                _replace(path, (line for line in log if not self._is_old(line)))
        self.lines += len(old)
        self.held += sum(map(len, old))

    def _is_old(self, line: bytes) -> bool:
        """Whether a line has stayed as long as its level deserves; what is no record of a log stays."""
        try:
            record = json.loads(line)
            date, level = float(record["date"]), str(record["level"]).lower()
        except (ValueError, KeyError, TypeError):
            return False
        return date < self.now - self.ages.get(level, self.ages[_OTHER])


def _logs(directory: str) -> Iterator[str]:
    """The logs of a job's starts."""
    yield f"{directory}/{LOG}"
    try:
        starts = os.listdir(f"{directory}/{RETRY}")
    except OSError:
        return
    for start in sorted(starts):
        yield f"{directory}/{RETRY}/{start}/{LOG}"


def _replace(path: str, lines: Iterator[bytes]) -> None:
    """Put a file with these lines in the place of another, in one step."""
    new = f"{path}.new"
    with open(make_new(new), "wb") as file:
        file.writelines(lines)
        empty = file.tell() == 0
    if empty:
        os.unlink(path)
        os.unlink(new)
    else:
        os.replace(new, path)


def prune_logs(
    place: Place,
    ages: Mapping[str, float],
    *,
    as_json: bool,
    status: Sequence[JobStatus],
    keep: Sequence[JobStatus],
    run: str | None,
    dry_run: bool,
    yes: bool,
) -> int:
    """Remove old lines of logs; returns the exit status."""
    ended = [item for item in status or SEVERAL["ended"] if item.final and item not in keep]
    ids, owned = asyncio.run(_with_logs(place, ended, run))
    plan, done = Trimming(ages, time.time()), Trimming(ages, time.time())
    for id_ in counted(ids, "reading logs"):
        plan.look(id_, f"{place.root}/{id_}")
    left = left_out(owned, f"{jobs(owned)} of runs that are running")
    what = f"{counting(plan.lines, 'line')} of {jobs(len(plan.ids))}, {size(plan.held)}{left}"
    if plan.ids and not dry_run and (yes or agreed(what)):
        for id_ in counted(plan.ids, "removing"):
            done.trim(id_, f"{place.root}/{id_}")
    errors = plan.errors + [error for error in done.errors if error not in plan.errors]
    if as_json:
        found = {"metadir": place.root, "jobs": plan.ids, "lines": plan.lines, "bytes": plan.held}
        did = {"owned": owned, "dry_run": dry_run, "removed": done.lines, "freed": done.held}
        print_json({**found, **did, "errors": errors})
    elif not plan.ids:
        print(f"nothing to remove{left}")
    elif dry_run:
        print(f"would remove {what}")
    elif not done.ids:
        print("nothing was removed")
    else:
        print(f"removed {counting(done.lines, 'line')} of {jobs(len(done.ids))}, {size(done.held)}")
    for error in errors:
        print(f"xqute: {error}", file=sys.stderr)
    return 1 if errors else 0


async def _with_logs(place: Place, ended: Sequence[JobStatus], run: str | None) -> tuple[list[int], int]:
    """The jobs whose logs may be changed, and how many are left because their run is running."""
    ids, left = [], 0
    async with place.reading() as store:
        async for row, _, owned in ended_jobs(place, store, ended, run):
            if owned:
                left += 1
            else:
                ids.append(row.id)
    return ids, left
