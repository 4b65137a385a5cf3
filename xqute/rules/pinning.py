"""Whether older builds are used as somebody wants them to be, and what is in between where they are not."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from .freshness import Build, Decision, Definition, below, latest, standing

PINNED, PROTECTED, LEFT = "pinned", "protected", "left"

#: What is between a goal and a pin: where one of these is to be blamed, then the first of them.
_BLAMED: Final = (PINNED, PROTECTED, LEFT)


class Between(NamedTuple):
    """A build that is used, and was made of something else than the pinned one.

    Attributes:
        name: Of its call.
        id: Its job's.
        used: Which build of the pinned call it used itself; 0: none.
        why: Why it is not built anew: its call is `pinned` itself, or `protected`, or was `left` as it is
            by the wish of who builds.
    """

    name: str
    id: int
    used: int
    why: str


def made_of(
    builds: Mapping[str, Sequence[Build]], older: Mapping[int, Mapping[str, int]]
) -> dict[int, Mapping[str, int]]:
    """What each build used; the newest good one of a call what it was confirmed for."""
    made = dict(older)
    for some in builds.values():
        made |= {build.id: build.used for build in some}
        last, confirmed = latest(some), standing(some)
        if last is not None and confirmed is not None:
            made[last.id] = confirmed.used
    return made


def ignored_pins(
    decision: Decision,
    definitions: Sequence[Definition],
    made: Mapping[int, Mapping[str, int]],
    pin: Mapping[str, int],
) -> dict[str, Between]:
    """The pins that nothing would be made of that was asked for, and why not.

    A pin is used where a new build of a root needs it, or where any build that is used was made of it, by
    whatever ways. Of roots that are refused nothing is made.

    Args:
        decision: What a build comes to.
        definitions: The calls.
        made: Of which builds each was made.
        pin: The builds that are to be used, by the names of their calls.
    """
    needs = {each.name: each.needs for each in definitions}
    roots = [root for root in decision.roots if root not in decision.refused]
    seen: dict[tuple[str, int], None] = {}
    left = deque((root, decision.uses.get(root, 0)) for root in roots)
    served = set()
    while left:
        name, id_ = left.popleft()
        if (name, id_) not in seen:
            seen[name, id_] = None
            used = _used(name, id_, decision, needs, made)
            served |= {need for need in used if pin.get(need) == used[need]}
            left.extend(used.items())
    wanted = pin.keys() & set(below(roots, needs)) - served
    found = {}
    for name in sorted(wanted):
        between = [
            Between(other, id_, made.get(id_, {}).get(name, 0), _why(other, decision, pin))
            for other, id_ in seen
            if id_ and other != name and name in below([other], needs)
        ]
        if between:
            found[name] = min(between, key=lambda one: (_BLAMED.index(one.why), one.name in roots))
    return found


def _used(
    name: str,
    id: int,
    decision: Decision,
    needs: Mapping[str, Sequence[str]],
    made: Mapping[int, Mapping[str, int]],
) -> Mapping[str, int]:
    """Of which builds one is made, or will be."""
    return made.get(id, {}) if id else {need: decision.uses.get(need, 0) for need in needs.get(name, ())}


def _why(name: str, decision: Decision, pin: Mapping[str, int]) -> str:
    return PINNED if name in pin else PROTECTED if name in decision.refused else LEFT
