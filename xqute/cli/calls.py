"""A set of calls, as a Python module names them: `calls.py:publish`."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from xqute.calls import Call
from xqute.errors import OptionError, XquteError
from xqute.options import unknown

from .options import METADIR
from .place import Place

log = logging.getLogger("xqute")


class CallSet(NamedTuple):
    """The named calls of a module.

    Attributes:
        file: Where the module is.
        calls: All of them by name, as they stand there.
        chosen: Those that were asked for; all of them, where no name was given.
    """

    file: str
    calls: Mapping[str, Call]
    chosen: Mapping[str, Call]

    @classmethod
    def of(cls, target: str) -> CallSet:
        """The calls that `path.py[:name,…]` or `package.module[:name,…]` names.

        A name is that of the call, or of the variable that holds it, alone or with others.

        Raises:
            XquteError: The module can't be imported; says where it fails.
            OptionError: There is no such call in it.
        """
        path, _, names = target.partition(":")
        module = _import(path)
        variables = {name: dict(_named(value)) for name, value in vars(module).items()}
        calls: dict[str, Call] = {}
        for found in variables.values():
            for name, call in found.items():
                if calls.setdefault(name, call) is not call:
                    raise OptionError(
                        f"{path} has two calls named {name!r}, {calls[name]!r} and {call!r}: "
                        "a name stands for one"
                    )
        if not calls:
            raise OptionError(f"{path} names no call: give one a name: publish = send().named('publish')")
        known = {**variables, **{name: {name: call} for name, call in calls.items()}}
        chosen: dict[str, Call] = {}
        for name in filter(None, map(str.strip, names.split(","))):
            if name not in known:
                raise OptionError(unknown("call", name, sorted(calls)))
            if not known[name]:
                raise OptionError(f"{name} has no call with a name: give it one with .named('…')")
            chosen.update(known[name])
        return cls(os.path.abspath(module.__file__ or path), calls, chosen or calls)


def _named(value: Any) -> Iterator[tuple[str, Call]]:
    """The named calls that a variable holds, with their names: itself, or in a list or a dictionary."""
    if isinstance(value, Call):
        if value.naming is not None:
            yield value.naming.name, value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _named(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _named(each)


def _import(path: str) -> ModuleType:
    """The module; a job finds it by the same name, since it looks where this process does."""
    if not path.endswith(".py"):
        _refuse_no_module(path)
        sys.path.insert(0, os.getcwd())
        return _imported(path, path)
    file = os.path.abspath(path)
    if not os.path.isfile(file):
        raise OptionError(f"there is no file {path} to take calls from")
    folder, name = os.path.split(file.removesuffix(".py"))
    if not name.isidentifier():
        raise OptionError(f"{path} can't be imported: {name!r} is no name of a module")
    sys.path.insert(0, folder)
    module = _imported(name, path)
    found = os.path.abspath(module.__file__ or "")
    if not os.path.exists(found) or not os.path.samefile(found, file):
        raise OptionError(f"{path} can't be imported: another module is called {name}; rename the file")
    return module


def _refuse_no_module(path: str) -> None:
    """Say what is wrong with a name that Python can't import."""
    imported = all(map(str.isidentifier, path.split(".")))
    if os.path.isdir(path) and not (imported and os.path.exists(f"{path}/__init__.py")):
        files = sorted(name for name in os.listdir(path) if name.endswith(".py"))
        example = "calls.py" if "calls.py" in files else next(iter(files), "calls.py")
        raise OptionError(f"{path} is a directory: name a file of it, such as {path.rstrip('/')}/{example}")
    if not imported:
        hint = f"did you mean {path}.py?" if os.path.isfile(f"{path}.py") else "give one, such as calls.py"
        raise OptionError(f"{path!r} is neither a Python file nor the name of a module: {hint}")


def _imported(name: str, path: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        told = str(error)
        if isinstance(error, SyntaxError):
            told = f"{error.msg}, at {error.filename}:{error.lineno}: {(error.text or '').strip()}"
        elif frames := [each for each in traceback.extract_tb(error.__traceback__) if _is_theirs(each)]:
            told += f", at {frames[-1].filename}:{frames[-1].lineno}"
        raise XquteError(f"{path} can't be imported: {type(error).__name__}: {told}") from error


def _is_theirs(frame: traceback.FrameSummary) -> bool:
    """Whether it is neither of the import itself nor of this module."""
    return not frame.filename.startswith("<frozen") and frame.filename not in {__file__, importlib.__file__}


def mention_other(place: Place, file: str) -> None:
    """Nothing is known here: say so where results are beside the module, which a user may mean."""
    there = os.path.relpath(os.path.join(os.path.dirname(file), METADIR))
    if place == Place.of(METADIR, None) and os.path.exists(os.path.join(there, "xqute.db")):
        log.warning("there is nothing in %s yet, but in %s: --metadir %s means that", METADIR, there, there)
