"""What is to be built, and what a user may say of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .calls import Call
from .engine.room import Room
from .errors import OptionError, XquteError
from .keeper import JobKeeper
from .options import unknown
from .printable import listed
from .rules.freshness import Build, Decision, Definition
from .rules.pinning import LEFT, PINNED, PROTECTED, Between, ignored_pins, made_of
from .shown import shown_value
from .states import JobStatus
from .store import Query

#: Builds that are named where one is to be chosen.
_OFFERED = 5


class Wanted(NamedTuple):
    """What is to be built, and how.

    Attributes:
        calls: The goals.
        deps, pin, force: As in `rules.freshness.decide`.
        dependents: Calls that are brought up to date too, where they depend on what is built.
    """

    calls: Sequence[Call]
    deps: str | None = "outdated"
    dependents: Sequence[Call] = ()
    pin: Mapping[str, int] | None = None
    force: bool = False


class Protected(XquteError):
    """A goal is outdated, and may not be built again.

    Attributes:
        why: What makes it outdated.
    """

    def __init__(self, goal: str, why: str) -> None:
        """Say what to do about it."""
        super().__init__(f"{goal} is protected, and is outdated ({why}): build it with force=True")
        self.why = why


class PinIgnored(OptionError):
    """Nothing would be made of a pinned build.

    Attributes:
        name: Of its call.
        id: Its job's.
        between: What is used in its place.
    """

    def __init__(self, name: str, id: int, between: Between) -> None:
        """Say what is in between, and what to do about it."""
        remedies = {
            PINNED: f"pin a build of {between.name} that was made of it, or don't pin that",
            PROTECTED: f"build {between.name} first, with that pin and force=True",
            LEFT: f"build {between.name} first, with that pin, or give deps='outdated'",
        }
        self.name, self.id, self.between = name, id, between
        super().__init__(f"pin={{{name!r}: {id}}}: {self.told}; {remedies[between.why]}")

    @property
    def told(self) -> str:
        """What is in between."""
        _, id_, used, why = self.between
        left = "left as it is,"
        stands = {PINNED: "pinned to", PROTECTED: f"protected and {left}", LEFT: left}[why]
        instead = f"used job {used} of {self.name}" if used else f"was not made of job {self.id}"
        return f"nothing would use it: {self.between.name} is {stands} job {id_}, which {instead}"


class Pins:
    """Looks whether older builds can be used as a user says."""

    def __init__(self, room: Room, keeper: JobKeeper) -> None:
        """Nothing was looked at."""
        self._room = room
        self._keeper = keeper

    async def check(self, pin: Any, names: Iterable[str]) -> None:
        """Refuse what is no dictionary of `names` and ids of good builds.

        Raises:
            OptionError: It says what it may be.
        """
        if not isinstance(pin or {}, Mapping):
            raise OptionError(f"pin={pin!r}: it is a dictionary, of names of calls and ids of their builds")
        known = sorted(set(names)) if pin else []
        for name, id_ in (pin or {}).items():
            if not known:
                raise OptionError(f"pin={{{name!r}: {shown_value(id_)}}}: no other named call is needed here")
            if name not in known:
                raise OptionError(unknown("pin", str(name), known))
            trouble = await self._trouble(name, id_)
            if trouble:
                offered = await self._offered(name)
                raise OptionError(f"pin={{{name!r}: {shown_value(id_)}}}: {trouble}; {offered}")

    async def refuse_ignored(
        self,
        pin: Mapping[str, int] | None,
        decision: Decision,
        definitions: Sequence[Definition],
        builds: Mapping[str, Sequence[Build]],
    ) -> None:
        """Refuse pins that nothing would be made of.

        Raises:
            PinIgnored: It says why not, and what to do.
        """
        if not pin:
            return
        older: dict[int, Mapping[str, int]] = {}
        left = {*decision.uses.values()}
        while left:
            rows = await self._room.store.get(sorted(left))
            older |= {id_: {} for id_ in left}  # also where one is not there any more
            older |= {job.id: job.used for job in await self._keeper.load_all(rows)}
            left = {id_ for used in older.values() for id_ in used.values()} - older.keys()
        for name, between in ignored_pins(decision, definitions, made_of(builds, older), pin).items():
            raise PinIgnored(name, pin[name], between)

    async def _trouble(self, name: str, id: Any) -> str:
        if isinstance(id, bool) or not isinstance(id, int) or not 0 < id < 1 << 63:
            return "that is no id of a job"
        rows = await self._room.store.get([id])
        if not rows:
            return f"there is no job {id} in {self._keeper.root}"
        [job] = await self._keeper.load_all(rows)
        if job.name == name and job.status is JobStatus.FINISHED:
            return ""
        what = f"a build of {job.name}" if job.name else "no build of a named call"
        return f"{job} is {what}, and {job.status.name}"

    async def _offered(self, name: str) -> str:
        """Which ids there are."""
        good = Query(name=name, statuses=[JobStatus.FINISHED], newest=True, limit=_OFFERED)
        ids = [row.id for row in await self._room.store.page(good)]
        return f"good builds of {name} are {listed(ids)}" if ids else f"there is no good build of {name} yet"


def name_of(call: Any) -> str:
    """The name of a call.

    Raises:
        OptionError: It has none.
    """
    if not isinstance(call, Call):
        raise OptionError(f"only calls can be built: {shown_value(call)} is none")
    if call.naming is None:
        raise OptionError(f"{call!r} has no name to find its builds by: give it one with .named('…')")
    return call.naming.name


def dependents_of(wanted: bool | Iterable[Call], calls: Sequence[Call]) -> Sequence[Call]:  # noqa: FBT001
    """The calls that may be rebuilt because others were.

    Raises:
        OptionError: They are wanted, and nobody said which calls there are.
    """
    if wanted is True:
        if not calls:
            raise OptionError(
                "dependents=True needs to know which calls there are: give them as Xqute(calls=[…]),"
                " or those that are meant as dependents=[…]"
            )
        return calls
    return [] if wanted is False else list(wanted)
