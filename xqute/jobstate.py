"""Where a job stands, and how a store keeps that: no files, no scheduler, nothing to wait for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from .states import JobStatus, Reason

_encode: Final = json.JSONEncoder(separators=(",", ":"), default=str).encode
_ACCEPTED: Final = Reason("ACCEPTED")
_NOTHING: Final[Mapping[str, float]] = {}
_NO_NEEDS: Final[Mapping[str, Sequence[int]]] = {}
_NO_STAND_INS: Final[Mapping[int, int]] = {}
_NOTHING_FOUND: Final[Mapping[str, int]] = {}


class KeptRow(Protocol):
    """What a store keeps of a job, as far as its state goes; `store.Row` is one."""

    @property
    def status(self) -> int: ...  # noqa: D102
    @property
    def start(self) -> int: ...  # noqa: D102
    @property
    def attempt(self) -> int: ...  # noqa: D102
    @property
    def after(self) -> float: ...  # noqa: D102
    @property
    def uid(self) -> str: ...  # noqa: D102
    @property
    def document(self) -> str: ...  # noqa: D102
    @property
    def tree(self) -> int: ...  # noqa: D102
    @property
    def depth(self) -> int: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102
    @property
    def group(self) -> int: ...  # noqa: D102


class JobState:
    """The part of a job that outlives its process; `Job` says what each attribute is.

    Attributes:
        kept_reason: The reason that is in the store.
        after: May not start before this time; UTC seconds.
        resubmits: How often the newest start was handed over again.
        kill_grace: Seconds of the kill under way, where they were given.
        pushed_at: The directory it was pushed in, where that is not the one of its run.
        renewed: Its next attempt is the first of a full set.
        untold: Hooks (name, what it said) that plugins have not been told yet.
        tree, depth: Which tree it belongs to, and how deep in a chain of requirements it was found:
            an older tree goes first, and in a tree what others turned out to need.
        digest: Of its definition; empty when there is no comparing it.
        group: The store's number of what it needs; 0: nothing.
        given_needs: The ids of those, in the order in which its work numbers them.
        required: What it turned out to need while it ran: digest → ids.
        rounds: How often it asked for others.
        cleaned: The id of the job that cleans up after it; 0: none does.
        archived: Somebody put it away.
        removed: Its directory was removed after it had ended, as `keep=` says.
        found: Which builds of named calls it uses that nobody knew of before it ran: name → id.
        stand_ins: Whose results its newest start took in the place of those of needs that were SKIPPED.
    """

    __slots__ = (
        "_history",
        "after",
        "archived",
        "attempt",
        "cached",
        "cleaned",
        "created",
        "depth",
        "digest",
        "ended",
        "found",
        "given_needs",
        "group",
        "id",
        "kept_reason",
        "kill_grace",
        "pushed_at",
        "rc",
        "removed",
        "renewed",
        "required",
        "resubmits",
        "rounds",
        "stand_ins",
        "start",
        "started",
        "status",
        "submitted",
        "tree",
        "uid",
        "untold",
        "usage",
        "will_retry",
    )

    def __init__(self, id: int, created: float) -> None:
        """Not accepted yet."""
        self.id = id
        self.status = JobStatus.INIT
        self.kept_reason = _ACCEPTED
        self.rc: int | None = None
        self.attempt = 1
        self.start = 0
        self.resubmits = 0
        self.kill_grace: float | None = None
        self.will_retry = False
        self.renewed = False
        self.cached = False
        self.created = created
        self.submitted: float | None = None
        self.started: float | None = None
        self.ended: float | None = None
        self.uid = ""
        self.after = 0.0
        self.usage: Mapping[str, float] = _NOTHING
        self.pushed_at = ""
        self.tree = self.depth = self.group = 0
        self.digest = ""
        self.given_needs: tuple[int, ...] = ()
        self.required: Mapping[str, Sequence[int]] = _NO_NEEDS
        self.rounds = 0
        self.cleaned = 0
        self.archived = self.removed = False
        self.stand_ins: Mapping[int, int] = _NO_STAND_INS
        self.found: Mapping[str, int] = _NOTHING_FOUND
        self.untold: tuple[tuple[str, ...], ...] = ()
        self._history: tuple[list[Any], ...] = ()

    @property
    def needs(self) -> tuple[int, ...]:
        """The ids of the jobs it needs: those it was pushed with, then those it asked for while it ran."""
        return tuple(dict.fromkeys([*self.given_needs, *self.asked])) if self.required else self.given_needs

    @property
    def asked(self) -> list[int]:
        """The ids of the jobs that it asked for while it ran."""
        return [id_ for ids in self.required.values() for id_ in ids]

    @property
    def order(self) -> tuple[int, int, int]:
        """Where it stands among jobs of its priority: less goes first."""
        return self.tree or self.id, -self.depth, self.id

    @property
    def kept_history(self) -> Sequence[Sequence[Any]]:
        """What happened to it, oldest first, as `Status.of` reads it."""
        return self._history

    def like(self, other: JobState) -> None:
        """Become what a job is that was drafted together with it."""
        self.status = other.status
        self.kept_reason = other.kept_reason
        self.pushed_at = other.pushed_at
        self.untold = other.untold
        self._history = other._history

    @property
    def next_attempt(self) -> int:
        """The attempt of its newest start, or of the next where that is announced."""
        if not self.will_retry:
            return self.attempt
        return 1 if self.renewed else self.attempt + 1

    def begin_attempt(self) -> None:
        """The attempt that was announced by `will_retry` is the one that begins."""
        self.attempt = self.next_attempt
        self.will_retry = self.renewed = False

    def note(self, date: float) -> None:
        """Add where it stands to its history."""
        code, detail = self.kept_reason.as_json()
        line = [date, int(self.status), self.start, self.attempt, code, detail]
        # jobs pushed together share their first line, so it is replaced, not appended to
        self._history = (*self._history, line)

    def document(self) -> str:
        """What a store keeps of it, beside the columns."""
        times = [self.created, self.submitted, self.started, self.ended]
        kept: dict[str, Any] = {"times": times, "history": self._history}
        if self.rc is not None:
            kept["rc"] = self.rc
        if self.usage:
            kept["usage"] = self.usage
        if self.resubmits:
            kept["resubmits"] = self.resubmits
        if self.will_retry:
            kept["will_retry"] = True
        if self.renewed:
            kept["renewed"] = True
        if self.pushed_at:
            kept["pushed_at"] = self.pushed_at
        if self.untold:
            kept["untold"] = self.untold
        kept |= self._kept_of_others()
        kept["reason"] = self.kept_reason.as_json()
        return _encode(kept)

    def _kept_of_others(self) -> dict[str, Any]:
        """What other jobs have to do with it, and people."""
        kept: dict[str, Any] = {}
        if self.required:
            kept |= {"required": self.required, "rounds": self.rounds}
        if self.cleaned:
            kept["cleaned"] = self.cleaned
        if self.archived:
            kept["archived"] = True
        if self.removed:
            kept["removed"] = True
        if self.stand_ins:
            kept["stand_ins"] = [*self.stand_ins.items()]
        if self.found:
            kept["found"] = self.found
        return kept

    def restore(self, row: KeptRow) -> None:
        """Become what a store kept."""
        kept = json.loads(row.document)
        self.status = JobStatus(row.status)
        self.start = row.start
        self.attempt = row.attempt
        self.uid = row.uid
        self.after = row.after
        self.tree = row.tree
        self.depth = row.depth
        self.digest = row.digest
        self.group = row.group
        self.created, self.submitted, self.started, self.ended = kept["times"]
        self._history = tuple(kept["history"])
        self.rc = kept.get("rc")
        self.usage = kept.get("usage", _NOTHING)
        self.resubmits = kept.get("resubmits", 0)
        self.will_retry = kept.get("will_retry", False)
        self.renewed = kept.get("renewed", False)
        self.pushed_at = kept.get("pushed_at", "")
        self.untold = tuple(tuple(hook) for hook in kept.get("untold", ()))
        self.required = kept.get("required", _NO_NEEDS)
        self.rounds = kept.get("rounds", 0)
        self.cleaned = kept.get("cleaned", 0)
        self.archived = kept.get("archived", False)
        self.removed = kept.get("removed", False)
        self.stand_ins = dict(kept.get("stand_ins", ()))
        self.found = kept.get("found", _NOTHING_FOUND)
        self.kept_reason = Reason(*kept["reason"])
