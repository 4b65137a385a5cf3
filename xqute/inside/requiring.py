"""Calls that a call finds it needs: their results, or a new beginning when they are there."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from ..calls import Call, as_call, as_calls
from ..errors import OptionError
from ..options import options_from_json
from ..plan import Plan, plan, refuse_strangers
from .calling import Calling, Leave
from .files import write_whole

#: What is asked for: `job.call.<name>`, a plan as JSON.
CALL: Final = "job.call."


def require(calling: Calling, calls: Iterable[Any], ok: str) -> list[Any] | Awaitable[list[Any]]:
    """The results, at once or to be awaited; see `CurrentJob.require`."""
    if ok != "all":
        raise OptionError(f"unknown ok={ok!r}: known is 'all'")
    asked = [as_call(each) for each in as_calls(calls, "require()")]
    return _awaited(calling, asked) if _in_a_loop() else _results(calling, asked)


def _in_a_loop() -> bool:
    """Whether an asynchronous function asks; one that is not need not load asyncio for the question."""
    if (asyncio := sys.modules.get("asyncio")) is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _awaited(calling: Calling, asked: Sequence[Call]) -> list[Any]:
    return _results(calling, asked)


def _results(calling: Calling, asked: Sequence[Call]) -> list[Any]:
    jobs, missing = _look_up(calling, list(dict.fromkeys(asked)))
    if missing:
        raise Leave(_ask(calling.directory, _plan(calling, missing)))
    return [calling.needs.fetch(*jobs[call]) for call in asked]


def _look_up(calling: Calling, calls: Sequence[Call]) -> tuple[dict[Call, Sequence[Any]], list[Call]]:
    """Find the jobs of these calls among those that ended well for this one; and what is to be asked for.

    The k-th of equal calls is the k-th job that was given for them: in each `require` alike, as in what
    is asked for. So where one job is missing, all calls that are equal are asked for, or it would be the
    first of them, which is there.
    """
    laid = _plan(calling, calls)
    given, digests = calling.payload["required"], _digests(laid, calls)
    jobs: dict[Call, Sequence[Any]] = {}
    counted: Counter[str] = Counter()
    short = set()
    for call, digest in zip(calls, digests, strict=True):
        k, there = counted[digest], given.get(digest, ())
        if call.naming is not None:
            k = 0  # however often it is required, it is one build
        else:
            counted[digest] += 1
        if k < len(there):
            jobs[call] = there[k]
        else:
            short.add(digest)
    return jobs, [call for call, digest in zip(calls, digests, strict=True) if digest in short]


def _digests(laid: Plan, calls: Sequence[Call]) -> list[str]:
    """What the calls are known by.

    Raises:
        OptionError: One is known by nothing.
    """
    digests = [laid.nodes[number].digest for number in laid.roots]
    for call, digest in zip(calls, digests, strict=True):
        if not digest:
            why = "; ".join(laid.unmatched) or "it needs something that can't be compared"
            raise OptionError(f"can't require {call!r}, which would not be known again: {why}")
    return digests


def _plan(calling: Calling, calls: Sequence[Call]) -> Plan:
    work = calling.payload["work"]
    # What the job was given, but for what is its own.
    base = replace(
        options_from_json(work.get("options", {})),
        title="",
        stdin=None,
        stdout=None,
        stderr=None,
        timeout=None,
        cpus=(),
        mem=(),
        gpus=(),
        time=(),
        resources=(),
        limit=None,
    )
    laid = plan(calls, base, place=lambda: work["function"]["place"])
    refuse_strangers(laid.jobs, os.environ.get("XQUTE_JOB", "").rpartition("-")[0])
    return laid


def _ask(directory: str, laid: Plan) -> str:
    """Write what is needed; its name."""
    text = laid.as_json().encode()
    name = hashlib.sha256(text).hexdigest()[:12]
    write_whole(f"{directory}/{CALL}{name}", text)
    return name
