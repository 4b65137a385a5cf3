"""How a Python call leaves the process: where its function is, and its arguments as bytes.

Functions go by name where a name leads back to them, else by value. Arguments are a pickle in which the
calls and jobs they contain are persistent ids, which are replaced by results where the call runs.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import pickle
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType, MethodType
from typing import Any, Final, NamedTuple

from .errors import OptionError
from .printable import printable

#: The names under which the program itself is a module: as started, as a child of multiprocessing, and
#: where the calls of a script run.
STAND_IN: Final = "__xqute_main__"
MAIN_NAMES: Final = frozenset({"__main__", "__mp_main__", STAND_IN})

#: What the arguments of one call may weigh.
ARGS_LIMIT: Final = 16 * 1024 * 1024

_PROTOCOL: Final = 5
_PLAIN: Final = frozenset({str, int, float, bool, type(None), bytes, tuple, list, dict})
_GIVE_A_LIST: Final = "it would give its items in the job's process, where a call is inert: give a list"
#: What has no items yet, and so none of the calls that are to run first; and what says so.
_NOTHING_YET: Final[Mapping[type, str]] = {
    **dict.fromkeys((map, itertools.starmap, GeneratorType, AsyncGeneratorType), _GIVE_A_LIST),
    **dict.fromkeys((type({}.keys()), type({}.values()), type({}.items())), _GIVE_A_LIST),
    CoroutineType: "await it first, and give what came of it",
}
#: What pickling raises: objects may pickle themselves, so by now it runs strangers' code.
_CAN_NOT_PICKLE: Final = (Exception,)


class Pickled(NamedTuple):
    """Arguments as bytes.

    Attributes:
        data: The pickle; the k-th need in it is the persistent id k, or what it was to be.
        needs: The calls and jobs in it, in the order of their first appearance.
    """

    data: bytes
    needs: Sequence[Any]


def pickle_args(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], shown: object, numbers: Mapping[int, int] | None = None
) -> Pickled:
    """Pickle (args, kwargs), with the calls and jobs anywhere inside as persistent ids.

    A need is known by `key_of(need)`. Without `numbers` they are counted as they appear.

    Args:
        args: The arguments without a name.
        kwargs: Those with one.
        shown: The call as people read it, for the errors.
        numbers: Which number each need has.

    Raises:
        OptionError: They can't be pickled, or weigh more than 16 MiB.
    """
    whole = (args, dict(kwargs))
    try:
        pickled = _pickle(whole, numbers)
    except _CAN_NOT_PICKLE as error:
        raise OptionError(
            f"can't push {_text(shown)}: {_culprit(args, kwargs)}: {_sentence(error)}"
        ) from error
    _refuse_large(shown, "its arguments", pickled)
    return pickled


def _refuse_large(shown: object, part: str, pickled: Pickled) -> None:
    if len(pickled.data) > ARGS_LIMIT:
        raise OptionError(
            f"can't push {_text(shown)}: {part} are {len(pickled.data) >> 20} MiB pickled,"
            f" more than {ARGS_LIMIT >> 20}: put them in a file and give its path"
        )


def _text(shown: object) -> str:
    return shown if isinstance(shown, str) else repr(shown)


def as_text(data: bytes) -> str:
    """Bytes as they stand in a work: base64."""
    return base64.b64encode(data).decode("ascii")


def is_need(thing: Any) -> bool:
    """Whether it is a call or a job."""
    kind = type(thing)
    return kind not in _PLAIN and (is_call_type(kind) or is_job_type(kind))


def is_call_type(kind: type) -> bool:
    """Whether things of this type are calls."""
    return getattr(kind, "__xqute_call__", False) is True


def is_job_type(kind: type) -> bool:
    """Whether things of this type are jobs; jobs are recognised without knowing their class."""
    return getattr(kind, "__xqute_job__", False) is True


def key_of(need: Any) -> int:
    """One number per call (its identity) and per job (negative: its id)."""
    return -int(need.id) if is_job_type(type(need)) else id(need)


# Pickling


def _pickle(thing: Any, numbers: Mapping[int, int] | None = None) -> Pickled:
    try:
        pickled = _pickle_with(_plain_pickler(), thing, numbers)
    except _CAN_NOT_PICKLE:
        pickled = None
    if pickled is None or (b"__main__" in pickled.data and main_of() is None):
        # a notebook's own classes are nowhere to be imported from: they go by value
        pickled = _pickle_with(_value_pickler(), thing, numbers)
    return pickled


def _pickle_with(pickler_class: Any, thing: Any, numbers: Mapping[int, int] | None) -> Pickled:
    file = io.BytesIO()
    pickler = pickler_class(file, protocol=_PROTOCOL)
    pickler.numbers = {} if numbers is None else numbers
    pickler.needs = []
    pickler.counts = numbers is None
    pickler.dump(thing)
    return Pickled(file.getvalue(), pickler.needs)


class _Needs:
    """The part of a pickler that numbers calls and jobs."""

    numbers: dict[int, int]
    needs: list[Any]
    counts: bool

    def persistent_id(self, thing: Any) -> int | None:
        """The number of a need; None for everything else. Called for every object in a pickle."""
        kind = type(thing)
        if kind in _PLAIN or not (is_call_type(kind) or is_job_type(kind)):
            if kind in _NOTHING_YET:
                raise pickle.PicklingError(_NOTHING_YET[kind])
            return None
        key = key_of(thing)
        number = self.numbers.get(key)
        if number is None:
            if not self.counts:
                raise pickle.PicklingError("a call in it is made anew whenever it is pickled")
            number = self.numbers[key] = len(self.needs)
            self.needs.append(thing)
        return number


@cache
def _plain_pickler() -> type:
    return type("PlainPickler", (_Needs, pickle.Pickler), {})


@cache
def _value_pickler() -> type:
    import cloudpickle

    class ValuePickler(_Needs, cloudpickle.Pickler):  # type: ignore[misc]
        """By value, but for what the job's process finds by name: a script's classes stay the same."""

        def reducer_override(self, thing: Any) -> Any:
            if isinstance(thing, (type, FunctionType)) and thing.__module__ in MAIN_NAMES:
                found = find_by_name(thing.__module__, thing.__qualname__)
                if found is thing and main_of() is not None:
                    return NotImplemented
            return super().reducer_override(thing)

    return ValuePickler


def _culprit(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Which argument can't be pickled."""
    named = [(f"argument {position}", value) for position, value in enumerate(args, 1)]
    for name, value in (*named, *kwargs.items()):
        try:
            _pickle(value)
        except _CAN_NOT_PICKLE:
            return f"{name} ({type(value).__name__}) can't be pickled"
    return "its arguments can't be pickled"


def _held_by_method(what: Any) -> str:
    """What keeps a method from being pushed: its object goes along; empty when it is not that."""
    holds = getattr(what.__self__, "__dict__", {}) if isinstance(what, MethodType) else {}
    for name, value in holds.items():
        try:
            _pickle(value)
        except _CAN_NOT_PICKLE:
            return (
                f"a method takes its object along, and self.{name} ({type(value).__name__}) can't be "
                "pickled: push a function, and give it what it needs"
            )
    return ""


def _sentence(error: BaseException) -> str:
    lines = str(error).splitlines()
    return printable(lines[0])[:300] if lines else type(error).__name__


# Where a function is


def target_of(what: Any) -> str | dict[str, str]:
    """Where the job's process finds a function: by a name, or in these bytes.

    "module:qualname" when that name leads back to it (a task found there counts as its function),
    {"file": path, "qualname": name} for one of the script that was started, {"pickle": base64} for
    lambdas, closures, functions of a notebook, bound methods and other callables.

    Raises:
        OptionError: It has no name and can't be pickled, or it holds a call.
    """
    name = name_of(what)
    if name is not None:
        return name
    try:
        pickled = _pickle(what)
    except _CAN_NOT_PICKLE as error:
        told = _held_by_method(what) or f"the function can't be pickled: {_sentence(error)}"
        raise OptionError(f"can't push {what!r}: {told}") from error
    if pickled.needs:
        raise OptionError(f"can't push {what!r}: the function holds a call or a job: give it as an argument")
    _refuse_large(repr(what), "the function and what it holds", pickled)
    return {"pickle": as_text(pickled.data)}


def name_of(what: Any) -> str | dict[str, str] | None:
    """The target of a function, a class or a task that has a name; None: there is no way but by value."""
    module, qualname = getattr(what, "__module__", None), getattr(what, "__qualname__", None)
    if (
        not isinstance(module, str)
        or not isinstance(qualname, str)
        or not _leads_back(module, qualname, what)
    ):
        return None
    if module not in MAIN_NAMES:
        return f"{module}:{qualname}"
    main = main_of()
    if main is None:
        return None
    return (
        f"{main['module']}:{qualname}" if "module" in main else {"file": main["file"], "qualname": qualname}
    )


def find_by_name(module: str, qualname: str) -> Any:
    """What stands at a name in the modules that are loaded; None: nothing does."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def _leads_back(module: str, qualname: str, what: Any) -> bool:
    found = find_by_name(module, qualname)
    if found is what:
        return True
    # `fast = task(render)`: the name leads to the function, and `found` may be another task of it.
    fn = getattr(what, "fn", what) if hasattr(type(what), "__xqute_task__") else what
    other = getattr(found, "fn", found) if hasattr(type(found), "__xqute_task__") else found
    cleanup = getattr(what, "cleanup_fn", None)
    return (
        other is fn and fn is not None and (cleanup is None or cleanup is getattr(found, "cleanup_fn", None))
    )


# The place


def main_of() -> dict[str, str] | None:
    """The program that was started: {"file": path}, {"module": name}, or None where none can be imported."""
    main = sys.modules.get(STAND_IN) or sys.modules.get("__main__")
    if main is None or getattr(main, "__xqute_start__", False):
        return None
    name = getattr(getattr(main, "__spec__", None), "name", "__main__")
    if name not in MAIN_NAMES:
        return {"module": name}
    file = getattr(main, "__file__", None)
    return {"file": os.path.abspath(file)} if file and os.path.isfile(file) else None


def place() -> dict[str, Any]:
    """Where and with what Python the calls of this process run: what a job's process needs to be alike."""
    path = [os.path.abspath(entry) for entry in map(str, sys.path)]
    return {
        "python": sys.executable,
        "version": list(sys.version_info[:2]),
        "path": list(dict.fromkeys(path)),
        "root": os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        "main": main_of(),
    }


def digest_of_place(place: Mapping[str, Any]) -> str:
    """The name of a place."""
    import hashlib  # OpenSSL: not in the process of a call, where nobody asks

    text = json.dumps(place, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def write_place(root: str | os.PathLike[str], place: Mapping[str, Any]) -> str:
    """Keep a place in the metadir `root`, where jobs find it by the digest that is returned.

    Raises:
        OSError: It can't be written.
    """
    digest = digest_of_place(place)
    folder = os.path.join(root, ".places")
    path = os.path.join(folder, f"{digest}.json")
    if os.path.exists(path):
        return digest
    os.makedirs(folder, mode=0o700, exist_ok=True)
    part = f"{path}.{os.urandom(4).hex()}"  # another process may be writing the same one
    try:
        with open(part, "w", encoding="ascii", opener=_private) as file:
            json.dump(place, file, indent=1)
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)
    return digest


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
