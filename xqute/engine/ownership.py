"""Which run a producer works on, and that nobody else does meanwhile."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

from ..crash import crash_point
from ..errors import OptionError, RunNotFound, RunOwned
from ..owner import Owner, OwnerPresence
from ..printable import listed
from ..settings import LEASE_SECONDS, REQUESTS_SECONDS
from ..states import JobStatus
from ..store import Query, RunRow, every_row
from .belonging import Belonging
from .room import Room
from .ways import kept

log = logging.getLogger("xqute.engine")

#: Earlier runs of a script that are looked at for one that was not finished.
_LOOKED_AT = 10


#: Rows read at a time.
_ROWS = 1000

_UNFINISHED = [status for status in JobStatus if not status.final]


class Hold(Enum):
    """What another `Xqute` of this process has to do with its run."""

    #: nothing: it let go of it
    NONE = auto()
    #: it works on it, and that will end
    WORKS = auto()
    #: it ends only after whoever asks
    NEVER_ENDS = auto()


#: Who owns runs in this process, by how stores name them.
_here: Final[WeakValueDictionary[str, Ownership]] = WeakValueDictionary()


class Wish(NamedTuple):
    """Which run a user wants.

    Attributes:
        resume: Go on with an earlier one; wait: until its owner ended; everything: also with the jobs
            that nobody pushes again.
        run: Its id; empty: the newest of this script.
        script: What program pushes: the path of the script.
        cwd: Where this program is.
    """

    resume: bool
    wait: bool
    everything: bool
    run: str
    script: str
    cwd: str


class Ownership:
    """One producer's hold on its run: taken before anything is changed, given back when it leaves.

    A new run is begun with its first jobs: who only looks leaves none behind.

    Attributes:
        cwd: Where the run's jobs were pushed, unless one says otherwise.
        rebooted: The host of the owner before was booted again since.
        loop: In which it lives.
        let_go: Lets go of the run for another `Xqute` of this process, unless somebody works on it.
        belonging: The metadir is the store's.
    """

    def __init__(self, room: Room, me: Owner, wish: Wish) -> None:
        """Nothing is owned yet."""
        self._room = room
        self._me = me
        self._wish = wish
        self.belonging = Belonging(room, me)
        self._row: RunRow | None = None
        self._owned = False
        self._looked = False  # whether there is an earlier run to go on with
        self.cwd = wish.cwd
        self.rebooted = False
        self.let_go: Callable[[], Awaitable[Hold]] = _works
        self.loop = asyncio.get_running_loop()
        _here[str(me)] = self

    async def take(self) -> bool:
        """Own the run where there is one; True when it is an earlier one, taken over just now.

        Raises:
            RunOwned: A living process owns it.
            RunNotFound: There is no such run.
        """
        if self._row is not None and not self._owned:
            await self._take_again(self._row)
        if self._looked:
            return False
        row = await self._earlier() if self._wish.resume else None
        if not self._wish.run:
            await self._mention_unfinished("" if row is None else row.id)
        self._looked = True
        if row is not None:
            self._room.run = row.id
        return row is not None

    async def begin(self) -> None:
        """Own a run that jobs can be accepted for; where there is none, a new one.

        Raises:
            RunOwned: A living process owns it.
        """
        if self._row is None:
            await self._begin()
        elif not self._owned:
            await self._take_again(self._row)

    async def give_back(self) -> None:
        """Whoever wants may go on with the run."""
        if self._owned and self._row is not None:
            self._owned = False
            crash_point("before a run is given back")
            closed = self._row._replace(state="closed", owner="", lease=0.0)
            if await self._room.store.own(closed, self._row.owner):
                self._row = closed

    async def renew(self) -> bool:
        """Say that this owner lives, where nobody can look at it; False: the run was taken over."""
        self.belonging.renew()
        if self._row is None or not self._owned:
            return True
        lease = self._room.now() + LEASE_SECONDS
        if await self._room.store.own(self._row._replace(lease=lease), self._row.owner):
            return True
        self._owned = False
        return False

    async def _begin(self) -> None:
        """A new run."""
        document = json.dumps({"cwd": self._wish.cwd, **self._how()})
        new = RunRow(secrets.token_hex(4), self._wish.script, "closed", "", self._room.now(), document)
        self._room.run = new.id
        await self._own(new)

    def _how(self) -> dict[str, Any]:
        """What is known of a run besides, for those who look at it and go on with it."""
        return {"last": str(self._me), **kept(self._room)}

    async def _take_again(self, row: RunRow) -> None:
        if not await self._own(row):
            raise RunOwned(
                f"run {row.id} was taken over by another process, or another Xqute, while this one was away"
            )

    async def _own(self, row: RunRow) -> bool:
        """Take a run from whom the row names; False: somebody else was faster."""
        mine = row._replace(state="owned", owner=str(self._me), lease=self._room.now() + LEASE_SECONDS)
        crash_point("before a run is owned")
        self._owned = await self._room.store.own(mine, row.owner)
        crash_point("after a run is owned")
        if self._owned:
            self._row = mine
        return self._owned

    # Earlier runs

    async def _earlier(self) -> RunRow | None:
        """The run to go on with, owned; None: there is none yet."""
        told = False
        while True:
            row = await self._find()
            if row is None:
                return None
            living = self._living_owner(row)
            hold = Hold.NONE if living is None else await self._hold_here(row)
            if hold is Hold.NONE:
                await self._refuse_other_scheduler(row)
                if await self._inherit(row):
                    return row
                continue
            if hold is Hold.NEVER_ENDS or not self._wish.wait:
                raise self._owned_by(living, row, hold)
            if not told:
                log.warning("run %s is owned by %s: waiting until that ends", row.id, living)
                told = True
            await asyncio.sleep(REQUESTS_SECONDS)

    def _owned_by(self, living: str | None, row: RunRow, hold: Hold) -> RunOwned:
        """What to do about an owner that lives."""
        if hold is Hold.NEVER_ENDS:
            return RunOwned(
                f"run {row.id} is owned by {living}, and this is inside its block or hook, which that would "
                f"wait for: push to that one, or make this one after it"
            )
        how = "works on it" if self._is_here(row) else "lives"
        return RunOwned(
            f"run {row.id} is owned by {living}, which {how}: wait until that ends "
            f"(resume='wait' does), or let it do the work"
        )

    async def _hold_here(self, row: RunRow) -> Hold:
        """What its owner has to do with it; one of this process that has nothing to do lets go of it."""
        if not self._is_here(row):
            return Hold.WORKS
        other = _here.get(row.owner)
        if other is None or other.loop.is_closed():
            return Hold.NONE
        if other.loop is not self.loop:
            return Hold.WORKS
        hold = await other.let_go()
        await self._room.store.open()  # it may be the same object, which the other has closed
        return hold

    def _is_here(self, row: RunRow) -> bool:
        """Whether its owner is of this process."""
        owner = Owner.parse(row.owner)
        return owner is not None and owner[:-1] == self._me[:-1]

    async def _refuse_other_scheduler(self, row: RunRow) -> None:
        """What runs at one scheduler can't be watched or ended by another, and would run once more there.

        Raises:
            OptionError: Jobs of the run may run at another scheduler.
        """
        there = json.loads(row.document).get("scheduler")
        if there in {None, self._room.scheduler.name}:
            return
        query = Query(row.id, _UNFINISHED, limit=_ROWS)
        if claimed := [job.id async for job in every_row(self._room.store, query) if job.owner]:
            raise OptionError(
                f"run {row.id} has {len(claimed)} job(s) that {there} was given, and that only {there} can "
                f"tell of: {listed(claimed)}; go on with Xqute({there!r}, …), or end them first: "
                f"`xqute kill --run {row.id}`"
            )

    async def _find(self) -> RunRow | None:
        wanted = self._wish.run
        rows = await self._room.store.runs(None if wanted else self._wish.script)
        if not wanted:
            return await self._newest(rows)
        found = next((row for row in rows if row.id == wanted), None)
        if found is None:
            raise RunNotFound(f"there is no run {wanted!r} here; `xqute ls` shows which there are")
        return found

    async def _newest(self, rows: Sequence[RunRow]) -> RunRow | None:
        """The newest run, but for those whose process died before it pushed anything: they hide none."""
        for row in rows:
            if self._living_owner(row) is not None or await self._room.store.page(Query(row.id, limit=1)):
                return row
        return None

    def _living_owner(self, row: RunRow) -> str | None:
        """The owner as a sentence names it; None when the run may be taken."""
        owner = Owner.parse(row.owner)
        presence = row.presence(self._room.now())
        if owner is None or presence is None or not presence.may_live:
            return None
        if presence is OwnerPresence.ELSEWHERE:
            return f"{owner.told} (it can't be seen from here; its lease ends {_told(row.lease)})"
        return "another Xqute of this process" if self._is_here(row) else owner.told

    async def _inherit(self, row: RunRow) -> bool:
        known = json.loads(row.document)
        last = Owner.parse(known.get("last", ""))
        document = json.dumps({**known, **self._how()})
        if not await self._own(row._replace(document=document)):
            return False
        self.cwd = known.get("cwd", self.cwd)
        self.rebooted = last is not None and last.presence is OwnerPresence.REBOOTED
        return True

    async def _mention_unfinished(self, mine: str) -> None:
        """Say once that another run of this script can be finished: the newest of the last few."""
        store = self._room.store
        for row in (await store.runs(self._wish.script))[:_LOOKED_AT]:
            if row.id == mine or self._living_owner(row) is not None:
                continue
            counts = await store.counts(row.id)
            left = sum(count for status, count in counts.items() if not JobStatus(status).final)
            if left:
                log.warning(
                    "run %s of this script, begun %s, was not finished: %s of %s jobs are left, and are left "
                    'alone; Xqute(resume=True, run="%s") or `xqute resume %s` goes on with it',
                    *(row.id, _told(row.created), left, sum(counts.values()), row.id, row.id),
                )
                return


async def _works() -> Hold:
    return Hold.WORKS


def _told(moment: float) -> str:
    """A time as people read it."""
    return datetime.fromtimestamp(moment).isoformat(" ", "seconds")  # noqa: DTZ006  on the user's own clock
