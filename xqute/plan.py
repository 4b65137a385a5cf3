"""Trees of calls become jobs: flat, in an order in which what a call needs stands before it.

Everything is decided here before anything is stored, so a tree is accepted whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from .calls import Call, as_call
from .errors import CycleError, OptionError
from .levels import Levels
from .names import Names
from .options import JobOptions
from .pickling import (
    Pickled,
    as_text,
    is_call_type,
    is_job_type,
    is_need,
    key_of,
    name_of,
    pickle_args,
    target_of,
)
from .rules.canonical import Canonical, Formless
from .rules.definition import NO_NEEDS, Needs, digest
from .work import Function, Hole, Work, make_work

#: How many sentences are kept about calls that can't be compared.
_SENTENCES = 5
#: How many calls of a cycle are named.
_NAMED = 12


class Node(NamedTuple):
    """One job to be.

    Attributes:
        work: What it does.
        digest: What it is known by when it is pushed again; empty: nothing.
        group: What it needs, a number into `Plan.groups` from 1; 0: nothing.
        tree: The first node of its tree.
        root: It was pushed itself.
        parent: The node that was pushed and needs it; of a root its own.
    """

    work: Work
    digest: str
    group: int
    tree: int
    root: bool
    parent: int


class Plan(NamedTuple):
    """Trees of calls, flat.

    Attributes:
        nodes: In post-order: what a node needs stands before it.
        groups: What nodes need, equal ones once. A member that is negative is the job of that id, any
            other a node. In the order of the ids that they have or get: jobs first.
        roots: The nodes of the calls that were pushed, one for each.
        unmatched: Why some nodes have no digest; a few sentences.
        jobs: Those that nodes need, as they were given; in plain values only their numbers are left.
    """

    nodes: list[Node]
    groups: list[tuple[int, ...]]
    roots: list[int]
    unmatched: Sequence[str] = ()
    jobs: Sequence[Any] = ()

    def as_document(self) -> dict[str, Any]:
        """It in plain values."""
        nodes = [{**node._asdict(), "work": node.work.as_document()} for node in self.nodes]
        groups = [list(members) for members in self.groups]
        return {"nodes": nodes, "groups": groups, "roots": self.roots, "unmatched": list(self.unmatched)}

    def as_json(self) -> str:
        """It as a text."""
        return json.dumps(self.as_document(), separators=(",", ":"))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Plan:
        """The plan of plain values."""
        nodes = [Node(**{**node, "work": Work.from_document(node["work"])}) for node in document["nodes"]]
        groups = [tuple(members) for members in document["groups"]]
        return cls(nodes, groups, list(document["roots"]), tuple(document.get("unmatched", ())))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan of a text."""
        return cls.from_document(json.loads(text))


def plan(
    calls: Iterable[Any],
    base: JobOptions,
    given: Mapping[str, Any] | None = None,
    *,
    place: Callable[[], str],
) -> Plan:
    """Lay out what was pushed, and all it needs.

    Args:
        calls: Whatever can be pushed. A `Call` given twice is one node.
        base: The options of all jobs.
        given: The options given to `push()`; nearer than a task's, farther than a call's own.
        place: Returns the digest of the place; asked once, and only when a Python process is needed.

    Raises:
        OptionError: An option or an argument can't be accepted.
        CycleError: A call needs itself.
    """
    roots = [as_call(each) for each in calls]
    return _Planner(roots, Levels(base, given or {}), place).plan()


def refuse_strangers(jobs: Iterable[Any], token: str) -> None:
    """Raise when one of these jobs is of another store: its number would be that of some other job here.

    Args:
        jobs: As they stand in calls.
        token: Of the store in which what needs them will be; empty: that is not known yet.

    Raises:
        OptionError: One is.
    """
    for job in jobs:
        if token and job.mark != f"{token}-{job.id}":
            raise OptionError(
                f"{job} is a job of another store (see {job.directory}), so nothing here can need it:"
                " await it first, and give its result"
            )


class _Open(NamedTuple):
    """A call on the way down: what it needs comes first.

    Attributes:
        call: The call.
        pickled: Its arguments, when it is a Python call.
        arguments: The needs among its arguments, as they appear.
        left: Needs that were not looked at yet.
    """

    call: Call
    pickled: Pickled | None
    arguments: tuple[Any, ...]
    left: Iterator[Any]


class _Group(NamedTuple):
    """What some calls need: its number in the plan, its members, and what they are known by."""

    number: int
    members: tuple[int, ...]
    needs: Needs

    def order(self) -> dict[int, int]:
        """The number of each need."""
        return {member: number for number, member in enumerate(self.members)}


_NOTHING: Final = _Group(0, (), NO_NEEDS)


class _Planner:
    """One planning: walks down without recursion, and makes nodes on the way up."""

    def __init__(self, roots: list[Call], options: Levels, place: Callable[[], str]) -> None:
        self._roots = roots
        self._pushed = set(roots)
        self._options = options
        self._ask_place = place
        self._place = ""
        self._numbers: dict[Any, int] = {}  # which node a call became
        self._nodes: list[Node] = []
        self._groups: dict[tuple[int, ...], _Group] = {_NOTHING.members: _NOTHING}
        self._after: dict[tuple[Any, ...], tuple[int, ...]] = {}  # needs that were walked as a whole
        self._jobs: dict[Any, None] = {}
        self._names = Names()
        self._targets: dict[int, str | dict[str, str]] = {}  # by the ids of functions
        self._functions: dict[int, str | Formless] = {}  # the same
        self._unmatched: dict[str, None] = {}
        self._canonical = Canonical(_name, self._known_by)

    def plan(self) -> Plan:
        for root in self._roots:
            if root not in self._numbers:
                self._walk(root)
        roots = [self._numbers[root] for root in self._roots]
        return Plan(self._nodes, list(self._groups)[1:], roots, tuple(self._unmatched), tuple(self._jobs))

    def _walk(self, root: Call) -> None:
        first = len(self._nodes)
        stack, opened = [self._open(root)], {root}
        while stack:
            top = stack[-1]
            call = self._next_need(top)
            if call is None:
                stack.pop()
                opened.discard(top.call)
                self._close(top, first)
            elif call in opened:
                raise CycleError(_cycle([each.call for each in stack], call))
            else:
                opened.add(call)
                stack.append(self._open(call))
        own = len(self._nodes) - 1
        for number in range(first, own):
            if not self._nodes[number].root:
                self._nodes[number] = self._nodes[number]._replace(parent=own)

    def _next_need(self, top: _Open) -> Call | None:
        """The next call it needs that has no node yet."""
        for need in top.left:
            if is_call_type(type(need)) and need not in self._numbers:
                return cast("Call", need)
        return None

    def _open(self, call: Call) -> _Open:
        pickled, arguments = None, ()
        if isinstance(call.what, tuple):
            arguments = tuple(item for item in call.what if is_need(item))
        elif not isinstance(call.what, str):
            pickled = pickle_args(call.args, call.kwargs, call)
            arguments = tuple(pickled.needs)
        after = () if call.needs in self._after else call.needs
        return _Open(call, pickled, arguments, iter((*arguments, *after)))

    def _close(self, top: _Open, tree: int) -> None:
        call, number = top.call, len(self._nodes)
        root = call in self._pushed
        group = self._group(top)
        work = self._work(top, group, self._options.of(call, root=root))
        known_by = self._digest(call, work, group.needs)
        known = self._names.known(call.naming, known_by)
        if known is not None:
            self._numbers[call] = known
            return
        work = self._names.give(number, call.naming, known_by, work, group.members)
        self._nodes.append(Node(work, known_by, group.number, tree, root, number))
        self._numbers[call] = number

    def _group(self, top: _Open) -> _Group:
        """What it needs; many calls after the same ones cost no more than one."""
        after = top.call.needs
        if not after and not top.arguments:
            return _NOTHING
        if after and after not in self._after:
            self._after[after] = _sorted({self._member(need) for need in after})
        members = self._after[after] if after else ()
        if top.arguments:
            members = _sorted({*members, *map(self._member, top.arguments)})
        if below := self._names.below(members) - set(members):
            members = _sorted({*members, *below})
        group = self._groups.get(members)
        if group is None:
            needs = Needs.of([self._identity(member) for member in members])
            group = self._groups[members] = _Group(len(self._groups), members, needs)
        return group

    def _member(self, need: Any) -> int:
        if not is_job_type(type(need)):
            return self._numbers[need]
        self._jobs[need] = None
        return -int(need.id)

    def _identity(self, member: int) -> str:
        return self._nodes[member].digest if member >= 0 else _of_job(-member)

    # Works

    def _work(self, top: _Open, group: _Group, options: JobOptions) -> Work:
        call = top.call
        if isinstance(call.what, str):
            return make_work(call.what, options)
        if isinstance(call.what, tuple):
            return self._command(call, group, options)
        task = call.what if hasattr(type(call.what), "__xqute_task__") else None
        function = Function(
            target=self._target(call.what),
            args=as_text(self._arguments(top, group)),
            place=self._where(),
            shown=repr(call),
            task=task.name if task is not None else "",
            reuse=task is not None and task.reuse,
            fork=task is None or task.fork,
            cleanup=task is not None and task.cleanup_fn is not None,
        )
        return Work((), options, function)

    def _command(self, call: Call, group: _Group, options: JobOptions) -> Work:
        if not any(map(is_need, call.what)):
            return make_work(call.what, options)
        order = group.order()
        argv = [Hole(order[self._member(item)]) if is_need(item) else item for item in call.what]
        work = make_work(argv, options)
        return Work(work.cmd, options, place=self._where())

    def _arguments(self, top: _Open, group: _Group) -> bytes:
        """The arguments, in which needs have the numbers of this job."""
        pickled = cast("Pickled", top.pickled)
        if not pickled.needs:
            return pickled.data
        order = group.order()
        numbers = [order[self._member(need)] for need in pickled.needs]
        if numbers == list(range(len(numbers))):
            return pickled.data
        call, keys = top.call, map(key_of, pickled.needs)
        return pickle_args(call.args, call.kwargs, call, dict(zip(keys, numbers, strict=True))).data

    def _target(self, what: Any) -> str | dict[str, str]:
        known = self._targets.get(id(what))
        if known is None:
            known = self._targets[id(what)] = target_of(what)
        return known

    def _where(self) -> str:
        if not self._place:
            self._place = self._ask_place()
        return self._place

    # Definitions

    def _digest(self, call: Call, work: Work, needs: Needs) -> str:
        if not needs.together:
            return ""
        form = ""
        if work.function is not None:
            try:
                form = f"{self._function_form(call.what)}({self._arguments_form(call)})"
            except Formless as error:
                self._say(call, error)
                return ""
        return digest(work, needs, form)

    def _arguments_form(self, call: Call) -> str:
        named = self._canonical.form(dict(call.kwargs)) if call.kwargs else ""
        return self._canonical.form(call.args) + named

    def _function_form(self, what: Any) -> str:
        known = self._functions.get(id(what))
        if known is None:
            try:
                known = self._canonical.function(what)
            except Formless as error:
                known = error
            self._functions[id(what)] = known
        if isinstance(known, Formless):
            raise known
        return known

    def _say(self, call: Call, error: Formless) -> None:
        sentence = f"{error}: what {call.name} did in an earlier run is not found again"
        if len(self._unmatched) < _SENTENCES:
            self._unmatched[sentence] = None

    def _known_by(self, thing: Any) -> str | None:
        """What a need is known by, for its canonical form."""
        if not is_need(thing):
            return None
        if is_job_type(type(thing)):
            return _of_job(thing.id)
        number = self._numbers.get(thing)
        return self._nodes[number].digest if number is not None else ""


def _of_job(id_: int) -> str:
    return f"job {id_}"


def _name(thing: Any) -> str:
    """The name of a function or class as one text; "" when it has none."""
    name = name_of(thing)
    if name is None:
        return ""
    return name if isinstance(name, str) else f"{name['file']}:{name['qualname']}"


def _sorted(members: Collection[int]) -> tuple[int, ...]:
    """In the order of their ids: every job is older than any node."""
    jobs = sorted((member for member in members if member < 0), reverse=True)
    return (*jobs, *sorted(member for member in members if member >= 0))


def _cycle(path: Sequence[Call], again: Call) -> str:
    first = next(position for position, call in enumerate(path) if call is again)
    names = [call.name for call in path[first:]]
    if len(names) > _NAMED:
        names[_NAMED - 1 : -1] = [f"… {len(names) - _NAMED} more …"]
    return f"a call needs itself: {' -> '.join([*names, again.name])}"
