"""What builds came to, in sentences: how each call stands, what failed and where, and what to do."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from shlex import quote
from typing import Any, Final, NamedTuple

from xqute.errors import DependencyFailed, MissingDependencies, XquteError
from xqute.job import Job
from xqute.outcome import ended_as
from xqute.printable import LISTED, printable
from xqute.rules.pinning import LEFT, PINNED, PROTECTED
from xqute.rules.remedies import remedy
from xqute.states import JobStatus
from xqute.wanted import PinIgnored, Protected

from .forms import Out, reason_document

#: What keeps one call from being built, and none of the others.
REFUSALS = (Protected, MissingDependencies)

_COMMAND: Final = re.compile("`[^`]*`")
#: Stands for a space at which no line may end.
_HARD_SPACE: Final = "\0"


class Outcome(NamedTuple):
    """What the build of a call came to.

    Attributes:
        name: The call's.
        end: Its job, or why there is none.
        outdated: Why its result is outdated all the same; empty: it is not.
        asked: It was asked for, and is not only here because it depends on what was.
    """

    name: str
    end: Job | XquteError
    outdated: str = ""
    asked: bool = True

    @property
    def well(self) -> bool:
        """Whether its result is there."""
        return isinstance(self.end, Job) and self.end.status.well

    @property
    def kept(self) -> bool:
        """Whether it is protected, and nobody asked for it: it is to stay as it is."""
        return isinstance(self.end, Protected) and not self.asked

    def lines(self, module: str) -> Iterator[str]:
        """How it stands; of what nobody asked for only what is worth a word."""
        end = self.end
        if isinstance(end, DependencyFailed) and isinstance(cause := end.cause, Job):
            yield f"{self.name} was not built: it needs {cause.name or cause.title}, job {cause.id}"
        elif self.kept:
            if self.outdated:  # what it needs may have failed
                again = _again(module, self.name, "--force")
                yield f"{self.name} is protected and left as it is, outdated: {self.outdated}; {again}"
        elif not isinstance(end, Job):
            yield f"{self.name} was not built: {end}"
        elif not end.cached:
            yield from told(end, module, self.outdated)
        elif self.outdated:
            yield f"{self.name} is left as it is, job {end.id}, and is outdated: {self.outdated}"
        elif self.asked:
            yield f"{self.name} is up to date: job {end.id}"

    def refusal(self, module: str) -> str:
        """Why nobody tried to build what was asked for, and what to do; empty: somebody did."""
        if isinstance(self.end, Protected) and self.asked:
            why, again = self.outdated or self.end.why, _again(module, self.name, "--force")
            return f"{self.name} was not built: it is protected, and outdated ({why}); {again}"
        if isinstance(self.end, MissingDependencies):
            missing = ", ".join(self.end.names)
            return (
                f"{self.name} was not built: there is no result of {missing}; "
                "build that first, or give --deps missing"
            )
        return ""

    def document(self) -> dict[str, Any]:
        """The same as JSON."""
        if not isinstance(self.end, Job):
            return {"name": self.name, "job": None, "error": str(self.end)}
        return {
            "name": self.name,
            "job": self.end.id,
            "cached": self.end.cached,
            "status": self.end.status.name.lower(),
            "reason": reason_document(self.end.reason),
            "outdated": self.outdated,
            "used": dict(self.end.used),
            "directory": self.end.directory,
        }


def told(job: Job, module: str, outdated: str = "") -> Iterator[str]:
    """How a job ended; where it did not end well, also where its files are and what to do."""
    more = f"; it is outdated: {outdated}" if outdated else ""
    yield f"{job.name or job.title}: job {job.id}, {ended_as(job)}{more}"
    if not job.status.well:
        killed = job.name and job.status is JobStatus.KILLED
        yield f"  {job.directory}"
        yield f"  → {_again(module, job.name) if killed else remedy(job.status, job.reason, job.id)}"


def _again(module: str, name: str, *options: str) -> str:
    """What builds a call again."""
    return f"`{' '.join(('xqute build', quote(f'{module}:{name}'), *options))}` builds it again"


def pin_ignored(error: PinIgnored, module: str) -> str:
    """Why nothing would be made of a pinned build, and what to do."""
    between, pinned = error.between, f"{error.name}={error.id}"
    command = f"xqute build {quote(f'{module}:{between.name}')} --pin {quote(pinned)}"
    remedy = {
        PINNED: f"pin a build of {between.name} that was made of it, or don't pin that",
        PROTECTED: f"`{command} --force` first",
        LEFT: f"`{command}` first, or give --deps outdated",
    }[between.why]
    return f"--pin {pinned}: {error.told}; {remedy}"


def tell(outcomes: Iterable[Outcome], failed: Mapping[int, Job], module: str) -> None:
    """Say each thing once: other jobs that failed, each call, and on stderr what nobody tried to build."""
    out = Out()
    outcomes = list(outcomes)
    goals = {each.end.id for each in outcomes if isinstance(each.end, Job)}
    others = [job for id_, job in failed.items() if id_ not in goals]
    for job in others[:LISTED]:
        _say(out, told(job, module))
    if len(others) > LISTED:
        out.say(f"and {len(others) - LISTED} more jobs failed: `xqute ls --status failed`")
    refused = [sentence for each in outcomes if (sentence := each.refusal(module))]
    for each in outcomes:
        if not each.refusal(module):
            _say(out, each.lines(module))
    for sentence in refused:
        print(f"xqute: {printable(sentence)}", file=sys.stderr)


def _say(out: Out, lines: Iterable[str]) -> None:
    for line in lines:
        for part in fitted(line, out.width) if out.is_terminal else [line]:
            out.say(part)


def fitted(line: str, width: int) -> list[str]:
    """A sentence on a terminal: broken between words; a command and a directory stay whole, to be copied."""
    if len(line) <= width or os.path.isabs(line.strip()):
        return [line]
    whole = _COMMAND.sub(lambda found: found[0].replace(" ", _HARD_SPACE), line)
    margin = " " * (len(line) - len(line.lstrip()) + 2)
    parts = textwrap.wrap(
        whole, width, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
    )
    return [part.replace(_HARD_SPACE, " ") for part in parts]
