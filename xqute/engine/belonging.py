"""Whose job directories a metadir holds: those of one store, which the metadir names.

Two stores over one metadir would give the same numbers, and so the same directories, to different jobs.
`<metadir>/.store/<n>` says which store has it. The highest n counts, and none is ever changed: whoever is
to have it next makes the next one, which only one process can.

The store knows its metadir in turn, so that nobody looks for its jobs' directories in another one.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import secrets
from contextlib import suppress
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

from ..errors import MetadirError, OptionError, StoreUnavailable
from ..inside.files import write_new
from ..metadir import read_small
from ..owner import Owner, presence_of
from ..settings import LEASE_SECONDS
from ..store import Store
from .room import Room

_FOLDER: Final = ".store"
_MARK_MAX_BYTES: Final = 64 * 1024
_METADIR: Final = "metadir"  # the setting of the store

#: Some file systems know no second name of a file.
_NO_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class Mark(NamedTuple):
    """Which store it is.

    Attributes:
        token: The store's.
        path: Its file, relative to the metadir; empty: it is in none.
        lasting: Whether it outlives its process.
        owner: Which process has it, where it does not last; empty: none any more.
    """

    token: str
    path: str
    lasting: bool
    owner: str

    @classmethod
    def of(cls, store: Store, root: str, me: Owner) -> Mark:
        """That of an open store."""
        path = os.path.relpath(os.path.realpath(store.path), os.path.realpath(root)) if store.path else ""
        return cls(store.token, path, store.lasting, "" if store.lasting else str(me))

    def lives(self, root: str, told: float, now: float) -> bool:
        """Whether its jobs may still be asked for.

        Args:
            root: The metadir.
            told: When its process said so last; UTC seconds.
            now: UTC seconds.
        """
        if not self.lasting:
            presence = presence_of(self.owner, told + LEASE_SECONDS, now)
            return presence is not None and presence.may_live
        file = self._file(root)
        return not (file and os.path.isdir(os.path.dirname(file)) and not os.path.lexists(file))

    def shown(self, root: str) -> str:
        """The store, as a sentence names it."""
        if self.path:
            return f"the store {self._file(root)}"
        owner = Owner.parse(self.owner)
        return "another store" if owner is None else f"a store in the memory of {owner.told}"

    def _file(self, root: str) -> str:
        return os.path.normpath(os.path.join(os.path.realpath(root), self.path)) if self.path else ""


class Belonging:
    """One producer's part in it: its store has the metadir, or it is refused."""

    #: Who has a store in this process's memory, by its token.
    _here: Final[WeakValueDictionary[str, Belonging]] = WeakValueDictionary()

    def __init__(self, room: Room, me: Owner) -> None:
        """Nothing is looked at yet."""
        self._room = room
        self._me = me
        self._mark: Mark | None = None
        self._number = 0
        self.loop = asyncio.get_running_loop()

    async def claim(self) -> None:
        """See to it that the metadir is the open store's, and the store's the metadir.

        Raises:
            OptionError: It is another store's, or the store has another; says what to do.
            MetadirError: The metadir can't be read or written.
        """
        root, store = self._room.root, self._room.store
        place = _place(store, root)
        known = await store.setting(_METADIR)
        if known is not None and known != place:
            _refuse_place(store, root, known)
        try:
            self._take(Mark.of(store, root, self._me))
        except OSError as exc:
            raise MetadirError(f"whose the metadir {root} is can't be kept: {exc.strerror or exc}") from exc
        if known != place:
            with suppress(StoreUnavailable):  # the next who opens it says it
                await store.setting(_METADIR, place)

    def release(self) -> None:
        """A store that does not last is not needed any more: another may have the metadir."""
        if self._mark is None or self._mark.lasting:
            return
        with suppress(OSError):
            if newest(self._room.root) == (self._number, self._mark):
                _write(self._room.root, self._number + 1, self._mark._replace(owner=""))

    def renew(self) -> None:
        """Say that a store that does not last is in use, for those who can't look at this process."""
        if self._mark is not None and not self._mark.lasting:
            with suppress(OSError):
                os.utime(_path(self._room.root, self._number))

    def _take(self, mine: Mark) -> None:
        root, now = self._room.root, self._room.now()
        while (found := newest(root))[1] != mine:
            number, other = found
            if other is None or other.token != mine.token:
                if self._mark is not None:
                    raise OptionError(f"the job directories in {root} were given to another store meanwhile")
                self._refuse_other(mine, other, number, now)
                self._go_on_from(other)
            _write(root, number + 1, mine)
        self._number, self._mark = found[0], mine
        self._here[mine.token] = self

    def _refuse_other(self, mine: Mark, other: Mark | None, number: int, now: float) -> None:
        root = self._room.root
        if other is None:  # of an earlier xqute, or nobody's yet
            if mine.lasting or not os.path.exists(f"{root}/xqute.db"):
                return
            other = Mark("", "xqute.db", lasting=True, owner="")
        replaced = bool(mine.path) and mine.path == other.path
        if replaced or not other.lives(root, _told(root, number), now) or self._is_forgotten(other):
            return
        raise OptionError(
            f"the job directories in {root} are those of {other.shown(root)}, and this Xqute has"
            f" {_named(self._room.store)}, whose jobs would get the same ones: give it a metadir of its own with"
            f" job_metadir=, or that store with store= (if that is gone for good, remove {root}/{_FOLDER})"
        )

    def _is_forgotten(self, other: Mark) -> bool:
        """Whether it was in the memory of this process, and nobody can have it any more."""
        if not self._was_here(other):
            return False
        if other.token not in self._here:
            return True
        gc.collect()  # an Xqute that nobody holds still holds itself
        user = self._here.get(other.token)
        return user is None or user.loop.is_closed()

    def _was_here(self, other: Mark) -> bool:
        owner = Owner.parse(other.owner)
        return owner is not None and owner[:-1] == self._me[:-1]

    def _go_on_from(self, other: Mark | None) -> None:
        """Somebody in this process may still hold jobs of the store before, and read their files."""
        if other is not None and not self._room.store.lasting and other.token in self._here:
            numbers = [int(name) for name in os.listdir(self._room.root) if name.isdecimal()]
            self._room.store.begin_after(max(numbers, default=0))


def newest(root: str) -> tuple[int, Mark | None]:
    """The mark that counts, and its number; None: there is none that can be read.

    Raises:
        OSError: It can't be read now.
    """
    while True:
        try:
            names = os.listdir(f"{root}/{_FOLDER}")
        except FileNotFoundError:
            return 0, None
        number = max((int(name) for name in names if name.isdecimal()), default=0)
        if not number:
            return 0, None
        try:
            return number, _parsed(read_small(_path(root, number), _MARK_MAX_BYTES))
        except FileNotFoundError:
            continue  # there is a newer one by now


def refuse_other(store: Store, root: str, now: float) -> None:
    """Raise when the metadir is another store's, which may need what is there.

    Raises:
        OptionError: It is.
    """
    number, mark = newest(root)
    if mark is not None and mark.token != store.token and mark.lives(root, _told(root, number), now):
        raise OptionError(
            f"the job directories in {root} are those of {mark.shown(root)}, not of {_named(store)}"
        )


def _place(store: Store, root: str) -> str:
    """Where the metadir is, seen from the store: it stays true when both are moved."""
    return os.path.relpath(os.path.realpath(root), _base(store))


def _base(store: Store) -> str:
    return os.path.realpath(os.path.dirname(store.path)) if store.path else "/"


def _refuse_place(store: Store, root: str, known: str) -> None:
    """Raise when the store's job directories are in another metadir."""
    other = os.path.normpath(os.path.join(_base(store), known))
    with suppress(OSError):
        mark = newest(other)[1]
        if mark is not None and mark.token == store.token:
            raise OptionError(
                f"the job directories of {_named(store)} are in {other}, and not in {root}:"
                f" give job_metadir={other!r}, or another store with store="
            )


def _named(store: Store) -> str:
    if store.path:
        return f"the store {store.path}"
    return f"a {type(store).__name__}" if store.lasting else "one in this process's memory (memory://)"


def _path(root: str, number: int) -> str:
    return f"{root}/{_FOLDER}/{number}"


def _told(root: str, number: int) -> float:
    try:
        return os.stat(_path(root, number)).st_mtime
    except OSError:
        return 0.0


def _parsed(content: bytes | str) -> Mark | None:
    try:
        known = json.loads(content)
        return Mark(str(known["token"]), str(known["path"]), bool(known["lasting"]), str(known["owner"]))
    except (ValueError, KeyError, TypeError):
        return None


def _write(root: str, number: int, mark: Mark) -> None:
    """Make the next mark, whole; where somebody else was faster, that one stays."""
    folder = f"{root}/{_FOLDER}"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    part = f"{folder}/{secrets.token_hex(4)}.part"
    write_new(part, f"{json.dumps(mark._asdict())}\n".encode())
    try:
        with suppress(FileExistsError):
            _give_name(part, _path(root, number))
    finally:
        with suppress(FileNotFoundError):
            os.unlink(part)
    for name in os.listdir(folder):
        if name.isdecimal() and int(name) < number:
            with suppress(OSError):
                os.unlink(f"{folder}/{name}")


def _give_name(part: str, path: str) -> None:
    try:
        os.link(part, path)
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "somebody else was faster", path) from exc
        os.replace(part, path)
