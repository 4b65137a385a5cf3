"""The arguments of `Xqute`, checked."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral
from typing import Any, Final

from .amounts import named, number, size
from .engine.ownership import Wish
from .engine.sharing import Sharing
from .errors import NoEventLoop, OptionError, XquteError
from .options import limit_key, seconds, unknown, whole
from .pickling import is_job_type
from .rules.verdict import FailureBudget
from .scheduler import Scheduler
from .shown import short_name, shown_value
from .states import JobStatus
from .store import Query

#: Which job directories may stay when their jobs have ended.
KEEP: Final = ("all", "failed", "none")


def need_loop() -> asyncio.AbstractEventLoop:
    """The event loop that runs here.

    Raises:
        NoEventLoop: None runs.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        msg = (
            "Xqute needs a running event loop: make it inside `async def main()`, "
            "and call `asyncio.run(main())`"
        )
        raise NoEventLoop(msg) from None


def refuse_while_imported() -> None:
    """Raise when a script makes an `Xqute` while the process of one of its jobs imports it.

    Raises:
        XquteError: It has no guard, and would push its jobs once more in each of them.
    """
    loading = sys.modules.get("xqute.inside.loading")
    if loading is not None and loading.importing_main:
        msg = (
            "this script makes an Xqute while it is imported for one of its functions: put what it does at "
            'its top level below `if __name__ == "__main__":`'
        )
        raise XquteError(msg)


def runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this is the event loop that runs in this thread."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def need_same_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Raise `NoEventLoop` when this is not the event loop an `Xqute` was made in."""
    if need_loop() is not loop:
        msg = (
            "this Xqute was made in another event loop (or thread), and works only there: make one here, "
            "or hand the call over with asyncio.run_coroutine_threadsafe(xqute.push(…), loop)"
        )
        raise NoEventLoop(msg)


def need_directory() -> None:
    """Raise `OptionError` where the program is in no directory any more."""
    try:
        os.getcwd()
    except FileNotFoundError:
        msg = "the directory this program is in was removed: change to one that is there, with os.chdir()"
        raise OptionError(msg) from None


def several(name: str, given: Any) -> list[Any]:
    """A list of whatever there is of it."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise OptionError(f"{name}={given!r} must be a list, also of one: {name}=[…]")
    return list(given)


def job_id(given: Any) -> int:
    """The number of a job."""
    if isinstance(given, bool) or not isinstance(given, Integral):
        hint = ": give job.id" if is_job_type(type(given)) else ""
        raise OptionError(f"get() takes the id of a job, a whole number, not {shown_value(given)}{hint}")
    return int(given)


def settle(scheduler: Scheduler, forks: Any, on_interrupt: Any, **texts: Any) -> None:
    """Tell a scheduler how many jobs run at a time, what becomes of them, and the texts around them.

    Args:
        scheduler: Is told.
        forks: Jobs at a time; None: as many as it says itself.
        on_interrupt: Whether running jobs are left alone when the run is interrupted.
        **texts: Its `prescript`, `postscript` and `jobprefix`.

    Raises:
        OptionError: One is not what it should be.
    """
    scheduler.forks = _forks(forks, scheduler)
    scheduler.leaves_running = _leaves(on_interrupt)
    for name, given in texts.items():
        if not isinstance(given, str) or "\0" in given:
            raise OptionError(f"scheduler_{name}={given!r} must be a str without NUL, also for several lines")
        setattr(scheduler, name, given)


def _forks(given: Any, scheduler: Scheduler) -> int:
    count = scheduler.default_forks if given is None else given
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise OptionError(f"scheduler_forks={given!r} must be a whole number of at least 1")
    return count


def _leaves(on_interrupt: Any) -> bool:
    if on_interrupt not in ("kill", "detach"):
        raise OptionError(unknown("on_interrupt", str(on_interrupt), ("kill", "detach")))
    return bool(on_interrupt == "detach")


def kept(keep: Any) -> str:
    """Which job directories stay."""
    if keep not in KEEP:
        raise OptionError(unknown("keep", str(keep), KEEP))
    return str(keep)


def refuse_unknown(method: Callable[..., Any], given: Iterable[str]) -> None:
    """Name the nearest of a method's keyword arguments, where others were given."""
    signature = inspect.signature(method).parameters.values()
    known = [each.name for each in signature if each.kind is each.KEYWORD_ONLY]
    for name in given:
        raise OptionError(unknown("argument", name, known))


def make_wish(resume: Any, run: str | None) -> Wish:
    """Which run is meant."""
    if not isinstance(resume, bool) and resume not in ("wait", "all"):
        raise OptionError(f"resume={resume!r} must be True, False, 'wait' or 'all'")
    if run and not resume:
        raise OptionError(f"run={run!r} names a run to go on with: give resume=True too")
    script = os.path.abspath(sys.argv[0]) if sys.argv and sys.argv[0] else ""
    if os.environ.get("XQUTE_JOB"):  # a call of that script, which makes runs of its own
        script = f"{script} in job {os.environ['XQUTE_JOB']}"
    return Wish(bool(resume), resume == "wait", resume == "all", run or "", script, os.getcwd())


def failure_budget(given: Any) -> FailureBudget:
    """How many failures a run bears: a number, or a share such as "5%"."""
    if given is None:
        return FailureBudget()
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return FailureBudget(most=given)
    number = str(given).removesuffix("%")
    whole, _, part = number.partition(".")
    if str(given).endswith("%") and whole.isdecimal() and (part or "0").isdecimal():
        share = float(number) / 100
        if 0 < share <= 1:
            return FailureBudget(share=share)
    msg = f'max_failures={given!r} must be a whole number above 0 or a share such as "5%"'
    raise OptionError(msg)


def make_sharing(given: Mapping[str, Any] | None, limits: Mapping[str, Any] | None, max_wait: Any) -> Sharing:
    """What jobs share."""
    return Sharing(_resources(given), _limits(limits), seconds("max_wait", max_wait))


def a_limit(name: str, most: Any) -> tuple[str, int | None]:
    """A name and a number for `set_limit`."""
    return limit_key("set_limit()", name), None if most is None else whole("most", most)


def _resources(given: Mapping[str, Any] | None) -> dict[str, float]:
    """What there is of each resource."""
    checks = {"mem": size}
    return {
        name: checks.get(name, number)(f"resources[{name!r}]", value)
        for name, value in named("resources", given or {}).items()
    }


def _limits(given: Mapping[str, Any] | None) -> dict[str, int | None]:
    """How many jobs may run at once, by the names of tasks and limits."""
    if given is not None and not isinstance(given, Mapping):
        raise OptionError(f'limits={given!r} must be a mapping of names to numbers, such as {{"align": 2}}')
    return {
        limit_key("limits", key): None if most is None else whole(f"limits[{key!r}]", most)
        for key, most in (given or {}).items()
    }


def make_query(limit: Any, status: Any, flags: Mapping[str, Any], **words: Any) -> Query:
    """What `find` looks for.

    Args:
        limit: At most so many.
        status: One or several, by name or member.
        flags: Of the query, as they are.
        **words: Texts to find jobs by; None: any.

    Raises:
        OptionError: One is not what it should be.
    """
    for name, value in words.items():
        if value is not None and not isinstance(value, str):
            hint = f": its name, {short_name(value)!r}" if callable(value) else ""
            raise OptionError(f"{name}={value!r} must be a str{hint}")
    return Query(statuses=_statuses(status), limit=whole("limit", limit), **words, **flags)


def _statuses(given: JobStatus | str | Iterable[JobStatus | str] | None) -> list[int]:
    if given is None:
        return []
    wanted = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    return [int(_status(item)) for item in wanted]


def _status(item: JobStatus | str) -> JobStatus:
    if isinstance(item, JobStatus):
        return item
    if str(item).upper() in JobStatus.__members__:
        return JobStatus[item.upper()]
    raise OptionError(unknown("status", str(item), (status.name.lower() for status in JobStatus)))
