"""Workflows as data: read from WfCommons' WfFormat, or made in the shape of Montage at any size.

WfFormat (https://github.com/wfcommons/WfFormat) is a JSON file with the tasks of a real or a generated
workflow, who waits for whom, and how long each took. Its versions differ in where they keep that: since
1.5 the graph is in `specification` and the times in `execution`, before both were in one list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

#: Where a task's time was kept, by version: 1.4 and newer, older.
SECONDS = ("runtimeInSeconds", "runtime")

#: Seconds that each kind of task of `montage` takes, in about the proportions of recorded ones.
MONTAGE = {
    "mProject": 8.0,
    "mDiffFit": 2.0,
    "mConcatFit": 1.0,
    "mBgModel": 5.0,
    "mBackground": 2.0,
    "mImgtbl": 1.0,
    "mAdd": 10.0,
    "mViewer": 5.0,
}
MONTAGE_LEAST = 20


@dataclass(frozen=True, slots=True)
class Task:
    """One task; its parents are numbers of tasks that stand before it.

    Attributes:
        id: Its own, in its workflow; kind: of which there are many.
        seconds: It took so long when it was recorded.
    """

    id: str
    kind: str
    seconds: float
    parents: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Workflow:
    """Tasks in an order in which they could run one by one."""

    name: str
    tasks: tuple[Task, ...]

    @property
    def edges(self) -> int:
        """How often a task waits for another."""
        return sum(len(task.parents) for task in self.tasks)

    @property
    def ends(self) -> list[int]:
        """The tasks that nobody waits for."""
        needed = {parent for task in self.tasks for parent in task.parents}
        return [number for number in range(len(self.tasks)) if number not in needed]

    def levels(self) -> list[int]:
        """For each task, how many stand one below the other down to it, itself counted."""
        found: list[int] = []
        for task in self.tasks:
            found.append(1 + max((found[parent] for parent in task.parents), default=0))
        return found

    def critical(self) -> float:
        """Seconds that it takes at least, however many tasks may run at once."""
        found: list[float] = []
        for task in self.tasks:
            found.append(task.seconds + max((found[parent] for parent in task.parents), default=0.0))
        return max(found)

    def scaled(self, scale: float) -> Workflow:
        """The same with other times."""
        tasks = (Task(task.id, task.kind, task.seconds * scale, task.parents) for task in self.tasks)
        return Workflow(self.name, tuple(tasks))


def read(path: Path) -> Workflow:
    """The workflow of a WfFormat file, of any version from 1.2 to 1.6.

    Raises:
        ValueError: It is none, or waits for itself; says what is wrong.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
        given = document["workflow"]
        graph = given.get("specification", given)
        listed = graph["tasks"] if "tasks" in graph else graph["jobs"]
        seconds = {task["id"]: task for task in given.get("execution", {}).get("tasks", ())}
        return Workflow(document.get("name", path.stem), _ordered(listed, seconds))
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no WfFormat: {type(error).__name__}: {error}") from None


def _ordered(listed: Sequence[dict[str, Any]], seconds: dict[str, dict[str, Any]]) -> tuple[Task, ...]:
    """The tasks, each after its parents, else in the order of the file."""
    needs = _needs(listed)
    place: dict[int, int] = {}
    for number in _after_needs(needs):
        place[number] = len(place)
    tasks = []
    for number in place:
        task = listed[number]
        name = task.get("id", task["name"])
        taken = _seconds(seconds.get(name, task))
        tasks.append(Task(name, _kind(task), taken, tuple(sorted(place[need] for need in needs[number]))))
    return tuple(tasks)


def _needs(listed: Sequence[dict[str, Any]]) -> list[list[int]]:
    """For each task the numbers of those it waits for: either end may say so, by id or by name."""
    known: dict[str, int] = {}
    for word in ("name", "id"):  # an id is unique and outweighs a name
        known.update((task[word], number) for number, task in enumerate(listed) if word in task)
    needs: list[dict[int, None]] = [{} for _ in listed]
    for number, task in enumerate(listed):
        for parent in task.get("parents", ()):
            needs[number][_known(known, parent, task)] = None
        for child in task.get("children", ()):
            needs[_known(known, child, task)][number] = None
    return [list(found) for found in needs]


def _known(known: dict[str, int], name: str, task: dict[str, Any]) -> int:
    if name not in known:
        raise ValueError(f"task {task['name']!r} names {name!r}, which is no task")
    return known[name]


def _after_needs(needs: Sequence[Sequence[int]]) -> Iterator[int]:
    """The numbers so that each comes after those it needs."""
    missing = [len(found) for found in needs]
    waiting: list[list[int]] = [[] for _ in needs]
    for number, found in enumerate(needs):
        for need in found:
            waiting[need].append(number)
    ready = [number for number, count in enumerate(missing) if count == 0]
    for number in ready:  # which grows meanwhile
        yield number
        for waiter in waiting[number]:
            missing[waiter] -= 1
            if missing[waiter] == 0:
                ready.append(waiter)
    if len(ready) < len(needs):
        raise ValueError(f"{len(needs) - len(ready)} tasks wait for each other in a circle, or behind one")


def _seconds(task: dict[str, Any]) -> float:
    return float(next((task[word] for word in SECONDS if word in task), 0))


def _kind(task: dict[str, Any]) -> str:
    """What it is one of many of; older versions have the number in the name."""
    kind: str = task.get("category") or task["name"].split("_ID")[0]
    return kind


def montage(size: int) -> Workflow:
    """So many tasks in the shape of Montage, which makes a mosaic of images of the sky.

    Each image is projected; each pair that overlaps is compared; one task gathers all comparisons, one
    models the background, which is taken from each image; three more make the mosaic and show it.

    Raises:
        ValueError: It would be too small to have that shape.
    """
    if size < MONTAGE_LEAST:
        raise ValueError(f"a Montage has at least {MONTAGE_LEAST} tasks")
    images = _images(size)
    pairs = islice(_pairs(images), size - 5 - 2 * images)
    tasks = [_montage("mProject", number) for number in range(images)]
    tasks += [_montage("mDiffFit", number, *pair) for number, pair in enumerate(pairs)]
    tasks.append(_montage("mConcatFit", 0, *range(images, len(tasks))))
    tasks.append(_montage("mBgModel", 0, len(tasks) - 1))
    model = len(tasks) - 1
    tasks += [_montage("mBackground", number, number, model) for number in range(images)]
    for kind, parents in (("mImgtbl", range(model + 1, model + 1 + images)), ("mAdd", ()), ("mViewer", ())):
        tasks.append(_montage(kind, 0, *(parents or [len(tasks) - 1])))
    return Workflow(f"montage of {size}", tuple(tasks))


def _montage(kind: str, number: int, *parents: int) -> Task:
    return Task(f"{kind}_{number}", kind, MONTAGE[kind], parents)


def _images(size: int) -> int:
    """With about four comparisons for each image, as many as make up for the size."""
    images = (size - 5) // 6
    while images * (images - 1) // 2 < size - 5 - 2 * images:
        images += 1
    return images


def _pairs(images: int) -> Iterator[tuple[int, int]]:
    """Images that overlap, nearest first: they lie in rows, as many in each as there are rows."""
    row = max(2, round(images**0.5))
    steps = dict.fromkeys(chain((1, row, row + 1, row - 1), range(2, images)))
    return ((first, first + step) for step in steps for first in range(images - step))
