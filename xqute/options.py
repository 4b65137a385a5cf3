"""What may be said about how a job is to run: names, forms and defaults, checked in one place.

The same names are options of `Xqute(…)` (for all jobs) and of `push(…)` (for one); the nearest wins.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from numbers import Integral, Number
from typing import Any, Final

from .amounts import OWN, Amount, amount, at, named, number, settled, size
from .errors import OptionError
from .settings import KILL_GRACE_SECONDS, NUM_RETRIES, RETRY_DELAY_SECONDS
from .states import JobErrorStrategy

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NATIVE: Final = re.compile(r"(?:slurm|sbatch|sge|qsub)_(\w+)").fullmatch
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How one job is to run. One object serves all jobs pushed with the same options.

    Attributes:
        priority: Higher first.
        error_strategy: What its failure means.
        retries: How many attempts may follow the first.
        retry_delay: Seconds before the first retry; later ones wait longer.
        timeout: Seconds it may run; None: as long as it likes.
        grace: Seconds between the polite signal and the firm one.
        env: Added to the environment of the scheduler's processes.
        cwd: Where it runs; None: where the program was that pushed it.
        stdin, stdout, stderr: Files of the user's own; None: nothing, and the job's own files.
        title: A label for people.
        user: Whose job it is; None: nobody said.
        tags: Words to find it by.
        cpus, mem, gpus: What it takes, as `amounts.Amount`; mem in bytes.
        time: How long a batch scheduler is told that it may run; seconds.
        resources: Whatever else it takes, by name.
        limit: Of which kind it is, and how many of that kind may run at once in the whole store: a name
            and a number; the name is empty where the task's is meant, the number 0 where only the
            store's counts. None: it is not limited.
    """

    priority: int = 0
    error_strategy: JobErrorStrategy = JobErrorStrategy.IGNORE
    retries: int = NUM_RETRIES
    retry_delay: float = RETRY_DELAY_SECONDS
    timeout: float | None = None
    grace: float = KILL_GRACE_SECONDS
    env: tuple[tuple[str, str], ...] = ()
    cwd: str | None = None
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    title: str = ""
    user: str = ""
    tags: tuple[str, ...] = ()
    cpus: Amount = ()
    mem: Amount = ()
    gpus: Amount = ()
    time: Amount = ()
    resources: tuple[tuple[str, Amount], ...] = ()
    limit: tuple[str, int] | None = None

    def amounts(self, attempt: int) -> Mapping[str, float]:
        """What an attempt (from 1) takes, by name, with `time`; what was not said is left out."""
        own = ((name, getattr(self, name)) for name in OWN)
        return {name: at(given, attempt) for name, given in (*own, *self.resources) if given}

    @property
    def takes(self) -> Sequence[str]:
        """The names of what it takes, with `time`, as far as it was said."""
        own = ((name, getattr(self, name)) for name in OWN)
        return [name for name, given in (*own, *self.resources) if given]

    @property
    def grows(self) -> bool:
        """Whether it takes something else in another attempt."""
        longest = max(len(self.cpus), len(self.mem), len(self.gpus))
        return longest > 1 or any(len(item) > 1 for _, item in self.resources)


OPTION_NAMES: Final = frozenset(field.name for field in fields(JobOptions))
_DEFAULTS: Final = JobOptions()


#: What a call says itself.
_OF_CALLS: Final = {"after": "cmd(…).after(job) or fn(…).after(job)", "name": 'fn(…).named("…")'}


def apply_options(base: JobOptions, given: Mapping[str, Any]) -> JobOptions:
    """The options of `base` with those given put over them.

    Raises:
        OptionError: A name or a value is not known; names the nearest.
    """
    if not given:
        return base
    _refuse_misplaced(given)
    refuse_unknown(given, OPTION_NAMES, "push option")
    values = {name: _CHECKS[name](name, value) for name, value in given.items()}
    if "env" in values:
        values["env"] = tuple({**dict(base.env), **dict(values["env"])}.items())
    if "resources" in values:
        values["resources"] = tuple({**dict(base.resources), **dict(values["resources"])}.items())
    if "retries" in values and "error_strategy" not in values:
        # `retries=` nearer than a strategy means: retry this one
        values["error_strategy"] = JobErrorStrategy.RETRY
    return replace(base, **values)


def settle_options(options: JobOptions) -> JobOptions:
    """The same, with each function of the attempt replaced by its numbers: no level is nearer now.

    Raises:
        OptionError: Such a function raised, or returned no amount.
    """
    given = [(name, getattr(options, name)) for name in OWN]
    if not any(item and callable(item[0]) for _, item in (*given, *options.resources)):
        return options
    attempts = options.retries + 1 if options.error_strategy is JobErrorStrategy.RETRY else 1
    own: dict[str, Any] = {name: settled(name, item, attempts, _SIZES[name]) for name, item in given}
    resources = tuple((name, settled(name, item, attempts, number)) for name, item in options.resources)
    return replace(options, **own, resources=resources)


def limited(options: JobOptions, task: str = "") -> JobOptions:
    """The same, where the limit of a call of a task has the task's name.

    Raises:
        OptionError: The limit has no name, and there is no task.
    """
    if options.limit is None or options.limit[0]:
        return options
    if not task:
        most = options.limit[1]
        raise OptionError(f'limit={most} of what is no task needs a name: limit=("align", {most})')
    return replace(options, limit=(task, options.limit[1]))


@lru_cache(maxsize=64)
def needs_text(options: JobOptions, attempt: int) -> str:
    """What an attempt takes of what a process may run short of, as stores keep it; empty: nothing."""
    needs = {name: given for name, given in options.amounts(attempt).items() if given and name != "time"}
    return json.dumps(needs, sort_keys=True, separators=(",", ":")) if needs else ""


@lru_cache(maxsize=64)
def options_as_json(options: JobOptions) -> Mapping[str, Any]:
    """What differs from the defaults, in plain values; many jobs share it."""
    names = (field.name for field in fields(JobOptions))
    pairs = ((name, getattr(options, name)) for name in names)
    return {name: value for name, value in pairs if value != getattr(_DEFAULTS, name)}


def options_from_json(given: Mapping[str, Any]) -> JobOptions:
    """The options a store kept."""
    if not given:
        return _DEFAULTS
    values = dict(given)
    if "env" in values:
        values["env"] = tuple((key, value) for key, value in values["env"])
    if "tags" in values:
        values["tags"] = tuple(values["tags"])
    if "error_strategy" in values:
        values["error_strategy"] = JobErrorStrategy(values["error_strategy"])
    for name in {*OWN, "limit"} & values.keys():
        values[name] = tuple(values[name])
    if "resources" in values:
        values["resources"] = tuple((name, tuple(given)) for name, given in values["resources"])
    return JobOptions(**values)


def _refuse_misplaced(given: Iterable[str]) -> None:
    """Raise `OptionError` for what is said elsewhere, or of a batch scheduler; says what is right."""
    for name in given:
        if name in _OF_CALLS:
            raise OptionError(f"{name!r} is no option: say {_OF_CALLS[name]}, and push that")
        if found := _NATIVE(name):
            own = f"{found[1]}=" if found[1] in OWN else "cpus=, mem=, gpus= or time="
            raise OptionError(
                f"{name!r} is an option of Xqute(…), for all jobs that its scheduler is given; "
                f"for one job or task say {own}, which holds at every scheduler"
            )


def refuse_unknown(given: Iterable[str], known: Iterable[str], kind: str) -> None:
    """Raise `OptionError` for the first name that is not known, naming the nearest."""
    known = sorted(known)
    for name in given:
        if name not in known:
            raise OptionError(unknown(kind, name, known))


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The sentence for an unknown name."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1) or [word for word in known if name in word]
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}: {hint}known are {', '.join(known)}"


def seconds(name: str, value: Any) -> float:
    """A duration in seconds: a number, or as people write it ("90s", "1h30m")."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    text = str(value).replace(" ", "").lower()
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    msg = f'{name}={value!r} is no duration: give seconds, or a text like "90s" or "1h30m"'
    raise OptionError(msg)


def whole(name: str, value: Any) -> int:
    """A whole number of at least 0 (any, for a priority)."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        msg = f"{name}={value!r} must be a whole number"
        raise OptionError(msg)
    number = int(value)
    if number < 0 and name != "priority":
        msg = f"{name}={value!r} must not be negative"
        raise OptionError(msg)
    if not -_MOST <= number < _MOST:
        raise OptionError(f"{name}={value!r} is out of bounds: give one of less than 2**63")
    return number


#: What a store can keep.
_MOST: Final = 2**63


def text(name: str, value: Any) -> str:
    """A text without NUL, which no command and no environment can carry; numbers and paths are texts."""
    _refuse_result(name, value)
    if not isinstance(value, (str, bytes, os.PathLike, Number)):
        nothing = "; leave it out to set nothing" if value is None else ""
        raise OptionError(f"{name}={value!r} is no text: give a str, bytes, a number or a path{nothing}")
    shown = os.fsdecode(value) if isinstance(value, (bytes, os.PathLike)) else str(value)
    if "\0" in shown:
        msg = f"{name} contains a NUL character, which no program can be given"
        raise OptionError(msg)
    return shown


def _refuse_result(name: str, value: Any) -> None:
    if getattr(type(value), "__xqute_call__", False) or getattr(type(value), "__xqute_job__", False):
        msg = f"{name} can't be a call or a job: results are given to arguments of calls and of cmd() only"
        raise OptionError(msg)


def strategy(name: str, value: Any) -> JobErrorStrategy:
    """An error strategy by its name."""
    try:
        return JobErrorStrategy(value)
    except ValueError:
        known = [item.value for item in JobErrorStrategy]
        raise OptionError(unknown(name, str(value), known)) from None


def _optional_seconds(name: str, value: Any) -> float | None:
    return None if value is None else seconds(name, value)


def _path(name: str, value: Any) -> str | None:
    if value is None:
        return None
    _refuse_result(name, value)
    if callable(getattr(value, "fileno", None)):
        path = getattr(value, "name", None)
        named = f", {path!r}" if isinstance(path, str) and os.path.isfile(path) else ""
        raise OptionError(
            f"{name} can't be an open file: give its path{named}; the job opens it itself, where it runs"
        )
    if not isinstance(value, (str, bytes, os.PathLike)):
        raise OptionError(f"{name}={value!r} must be a path: a str, bytes or a Path{_INSTEAD.get(name, '')}")
    return os.path.abspath(text(name, value))


#: What takes the place of what `subprocess` can be told.
_INSTEAD: Final[Mapping[str, str]] = {
    "stdin": "; a job reads nothing unless it is given the path of a file",
    "stdout": "; what a job prints is kept anyway: `await job`, job.stdout_file",
    "stderr": "; what a job says there is kept anyway: job.stderr_file",
}


def _env(name: str, value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        msg = f"{name}={value!r} must be a mapping of names to values"
        raise OptionError(msg)
    pairs = tuple((text(name, key), text(f"{name}[{key!r}]", item)) for key, item in value.items())
    for key, _ in pairs:
        if not _ENV_NAME.fullmatch(key):
            msg = f"{name}: {key!r} is no name of an environment variable"
            raise OptionError(msg)
    return pairs


_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _tags(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, Iterable):
        raise OptionError(f"{name}={value!r}: give one text, or several")
    tags = (value,) if isinstance(value, str) else tuple(value)
    if any("\n" in str(tag) for tag in tags):
        raise OptionError(f"{name}={value!r}: a tag is one line")
    return tuple(text(name, tag) for tag in tags)


def _own_amount(name: str, value: Any) -> Amount:
    return amount(name, value, _SIZES[name])


def _resources(name: str, value: Any) -> tuple[tuple[str, Amount], ...]:
    given = named(name, value)
    for key in given:
        if key in OWN:
            raise OptionError(f"{name}: {key!r} is an option of its own: {key}={given[key]!r}")
    return tuple((key, amount(f"{name}[{key!r}]", given[key], number)) for key in sorted(given))


def _limit(name: str, value: Any) -> tuple[str, int] | None:
    if value is None:
        return None
    kind, most = value if isinstance(value, (tuple, list)) and len(value) == 2 else ("", value)  # noqa: PLR2004
    if isinstance(most, bool) or not isinstance(most, int) or most < 1 or not _is_key(kind):
        msg = f'{name}={value!r} must be a whole number above 0, or a pair like ("align", 2)'
        raise OptionError(msg)
    return kind, most


def limit_key(name: str, value: Any) -> str:
    """The name of what is limited: printable, and not empty."""
    if not value or not _is_key(value):
        raise OptionError(f"{name}: {value!r} is no name of a task, or of a limit given with limit=")
    return str(value)


def _is_key(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


_SIZES: Final = {"cpus": number, "mem": size, "gpus": number, "time": seconds}
_CHECKS: Final[Mapping[str, Any]] = {
    "priority": whole,
    "error_strategy": strategy,
    "retries": whole,
    "retry_delay": seconds,
    "timeout": _optional_seconds,
    "grace": seconds,
    "env": _env,
    "cwd": _path,
    "stdin": _path,
    "stdout": _path,
    "stderr": _path,
    "title": text,
    "user": text,
    "tags": _tags,
    "cpus": _own_amount,
    "mem": _own_amount,
    "gpus": _own_amount,
    "time": _own_amount,
    "resources": _resources,
    "limit": _limit,
}
