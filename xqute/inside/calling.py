"""The call that this process is there for, for whoever asks in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .killing import Killing
from .loading import Loaded, Needs, Place


class Leave(BaseException):
    """Ends a call that is to begin again later; no `except Exception` of the user's stops it.

    Attributes:
        name: Of what it needs first: `job.call.<name>`.
    """

    def __init__(self, name: str) -> None:
        """Keep what is asked for."""
        super().__init__(name)
        self.name = name


class Calling:
    """One call under way.

    Attributes:
        directory: The job's, where its files are.
        root: The metadir.
        payload: What its script says.
        place: Where it was pushed.
        needs: The results it was given.
        killing: Whether it was asked to stop.
        loaded: Its function and arguments, once they are there.
    """

    def __init__(
        self, directory: str, payload: Mapping[str, Any], place: Place, needs: Needs, killing: Killing
    ) -> None:
        """It begins."""
        self.directory = directory
        self.root = str(payload["metadir"])
        self.payload = payload
        self.place = place
        self.needs = needs
        self.killing = killing
        self.loaded: Loaded | None = None
        self._pid = os.getpid()

    @property
    def here(self) -> bool:
        """Whether this process is the call's own, and no fork of it."""
        return os.getpid() == self._pid


#: The call of this process; None in one that is there for none. Not an attribute of its class: Python
#: learns anew about a class that changes.
now: Calling | None = None
