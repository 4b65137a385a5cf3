"""Who owns a run: a process that can be told from every other, and seen to live or be dead.

A number of a process is given again, also after a reboot and in every container. So an owner is known
by its host, boot, pid namespace, number and start time together; the nonce tells two owners of one
process apart.
"""

from __future__ import annotations

import os
import secrets
import socket
from enum import Enum
from typing import Final, NamedTuple

_BOOT: Final = "/proc/sys/kernel/random/boot_id"
_NAMESPACE: Final = "/proc/self/ns/pid"


class OwnerPresence(Enum):
    """What can be said about an owner from here."""

    #: it lives; a stopped or sleeping process does
    ALIVE = "alive"
    #: it has ended
    DEAD = "dead"
    #: it has ended with everything that ran on its host, which was booted again
    REBOOTED = "rebooted"
    #: it is where this process can't look, or not now: only its lease tells
    ELSEWHERE = "elsewhere"

    @property
    def may_live(self) -> bool:
        """Whether nobody else may take what it owns: it lives, or can't be said not to."""
        return self in {OwnerPresence.ALIVE, OwnerPresence.ELSEWHERE}


class Owner(NamedTuple):
    """A process that owns runs, or did.

    Attributes:
        host, boot, namespace: Where it is; empty where the system does not tell.
        pid, since: Its number there, and when it started, in clock ticks since the boot.
        nonce: Which of the owners in this process.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    since: int
    nonce: str

    @classmethod
    def here(cls) -> Owner:
        """A new owner in this process.

        Raises:
            OSError: What this process is can't be read now.
        """
        host, boot, namespace = _place()
        return cls(host, boot, namespace, os.getpid(), _since(os.getpid()) or 0, secrets.token_hex(4))

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """The owner of its text; None when nobody is named, or nobody that can be found."""
        fields = text.split(" ")
        if len(fields) != len(cls._fields) or not all(map(str.isdecimal, fields[3:5])):
            return None
        host, boot, namespace, pid, since, nonce = fields
        return cls(host, boot, namespace, int(pid), int(since), nonce)

    def __str__(self) -> str:
        """The form kept in stores: `parse` reads it."""
        return " ".join(map(str, self))

    @property
    def told(self) -> str:
        """Which process, as a sentence names it."""
        return f"process {self.pid} on {self.host}"

    @property
    def presence(self) -> OwnerPresence:
        """Whether it lives, as far as this process can see."""
        try:
            return self._seen()
        except OSError:  # no descriptor is free, or it is another user's
            return OwnerPresence.ELSEWHERE

    def _seen(self) -> OwnerPresence:
        """What can be seen of it.

        Raises:
            OSError: That can't be said now.
        """
        host, boot, namespace = _place()
        if self.host != host:
            return OwnerPresence.ELSEWHERE
        if self.boot != boot:
            return OwnerPresence.REBOOTED
        if self.namespace != namespace:
            return OwnerPresence.ELSEWHERE
        since = _since(self.pid)
        return OwnerPresence.DEAD if since is None or since != self.since else OwnerPresence.ALIVE


def presence_of(owner: str, lease: float, now: float) -> OwnerPresence | None:
    """Whether the owner of a run lives; None: nobody owns it.

    Args:
        owner: As text.
        lease: Until when one that can't be looked at is believed to live; UTC seconds.
        now: UTC seconds.
    """
    known = Owner.parse(owner)
    if known is None:
        return None
    presence = known.presence
    return OwnerPresence.DEAD if presence is OwnerPresence.ELSEWHERE and lease <= now else presence


def _place() -> tuple[str, str, str]:
    """The host, the boot and the pid namespace of this process, without blanks."""
    host = socket.gethostname().replace(" ", "-") or "localhost"
    try:
        with open(_BOOT, encoding="ascii") as file:
            boot = file.read().strip()
        namespace = os.readlink(_NAMESPACE)
    except (FileNotFoundError, PermissionError):  # no Linux: numbers and start times have to do
        return host, "-", "-"
    return host, boot, namespace


def _since(pid: int) -> int | None:
    """When this process started; None when there is none, or only its exit status is left."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return _there(pid)
    except ProcessLookupError:  # it ended while it was read
        return None
    # The second field is the program's name in parentheses, and may hold blanks and parentheses.
    fields = content[content.rfind(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _there(pid: int) -> int | None:
    """The same where /proc does not tell: 0 for a process that is there, whenever it started."""
    if os.path.exists("/proc/self/stat"):
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        return 0
    return 0
