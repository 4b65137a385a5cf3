"""A set of calls, as a Python module names them: `calls.py:publish`."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

from xqute.calls import Call
from xqute.errors import OptionError, XquteError
from xqute.options import unknown


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

        A name is that of the call, or of the variable that holds it.

        Raises:
            XquteError: The module can't be imported; says where it fails.
            OptionError: There is no such call in it.
        """
        path, _, names = target.partition(":")
        module = _import(path)
        calls: dict[str, Call] = {}
        variables: dict[str, Call] = {}
        for variable, value in vars(module).items():
            for call in _named(value):
                name = str(call.naming and call.naming.name)
                if calls.setdefault(name, call) is not call:
                    raise OptionError(
                        f"{path} has two calls named {name!r}, {calls[name]!r} and {call!r}: "
                        "a name stands for one"
                    )
                if value is call:
                    variables[variable] = call
        if not calls:
            raise OptionError(f"{path} names no call: give one a name: publish = send().named('publish')")
        known = {**variables, **calls}
        wanted = [name.strip() for name in names.split(",") if name.strip()]
        for name in wanted:
            if name not in known:
                raise OptionError(unknown("call", name, sorted(calls)))
        chosen = [known[name] for name in wanted] or list(calls.values())
        file = os.path.abspath(module.__file__ or path)
        return cls(file, calls, {str(call.naming and call.naming.name): call for call in chosen})


def _named(value: Any) -> Iterator[Call]:
    """The named calls that a variable holds: itself, or in a list or a dictionary."""
    if isinstance(value, Call):
        if value.naming is not None:
            yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _named(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _named(each)


def _import(path: str) -> ModuleType:
    """The module; a job finds it by the same name, since it looks where this process does."""
    if not path.endswith(".py"):
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


def _imported(name: str, path: str) -> ModuleType:
    try:
        return import_module(name)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = f", at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        raise XquteError(f"{path} can't be imported: {type(error).__name__}: {error}{where}") from error
