"""The canonical form of a value: the same text for equal values, in every process; or none at all."""

from __future__ import annotations

import dis
import json
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

_quote: Final = json.encoder.encode_basestring_ascii

#: Values that their repr tells apart, and nothing else of them matters.
_BY_REPR: Final = frozenset(
    {
        *(f"builtins:{name}" for name in ("complex", "range", "slice", "ellipsis")),
        *(f"datetime:{name}" for name in ("date", "timedelta", "timezone")),
        *("zoneinfo:ZoneInfo", "decimal:Decimal", "fractions:Fraction", "uuid:UUID"),
        *(f"numpy:{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)),
        *("numpy:bool", "numpy:bool_"),
    }
)
#: The same, with a time zone, which has to be one of them.
_TIMES: Final = frozenset({"datetime:datetime", "datetime:time"})
_LOGGERS: Final = frozenset({"logging:Logger", "logging:RootLogger"})
#: What the interpreter puts into classes, and what `dataclass` does.
_DESCRIPTORS: Final = frozenset({"member_descriptor", "getset_descriptor", "_tuplegetter"})
_DATACLASS_MAKES: Final = frozenset(
    {
        *("__init__", "__repr__", "__eq__", "__hash__", "__lt__", "__le__", "__gt__", "__ge__"),
        *("__setattr__", "__delattr__", "__getstate__", "__setstate__", "__replace__"),
    }
)
_CONTAINERS: Final = frozenset({list, tuple, dict, set, frozenset})
_MAIN_NAMES: Final = frozenset({"__main__", "__mp_main__", "__xqute_main__"})


class Formless(Exception):
    """A value has no canonical form; the message says which, and why. Empty: its call has none."""


class Canonical:
    """Makes canonical forms.

    Args:
        name: The name under which a function or class is found in every process; "" when there is none.
        need: The identity of a call or job; None for everything else, "" where the call has none.
    """

    def __init__(self, name: Callable[[Any], str], need: Callable[[Any], str | None]) -> None:
        """Nothing is remembered between two values."""
        self._name = name
        self._need = need
        self._within: list[int] = []
        self._met: dict[int, int] = {}

    def form(self, value: Any) -> str:
        """The canonical form.

        Raises:
            Formless: There is none.
        """
        try:
            return self._form(value)
        except RecursionError:
            raise Formless("it is nested too deeply") from None
        finally:
            self._within.clear()

    def function(self, what: Any) -> str:
        """The canonical form of a function or a task.

        Raises:
            Formless: It has no name, and no form by its code.
        """
        is_task = hasattr(type(what), "__xqute_task__")
        name = self._name(what)
        form = f"named {_quote(name)}" if name else self.form(what.fn if is_task else what)
        return f"{form} {_quote(what.version)}" if is_task and what.version else form

    def _form(self, value: Any) -> str:
        kind = type(value)
        if kind is str:
            return _quote(value)
        if value is None or kind is int or kind is bool or kind is float:
            return repr(value)
        if kind is bytes or kind is bytearray:
            return f"{kind.__name__} {value.hex()}"
        need = self._need(value) if kind not in _CONTAINERS else None
        if need is not None:
            if not need:
                raise Formless
            return f"need {_quote(need)}"
        if id(value) in self._within and not isinstance(value, (FunctionType, type)):
            raise Formless(f"a {kind.__name__} contains itself")
        self._within.append(id(value))
        form = self._nested(value, kind)
        self._within.pop()
        return form

    def _nested(self, value: Any, kind: type) -> str:
        if kind is list or kind is tuple:
            return f"{kind.__name__}({self._forms(value)})"
        if kind is dict:
            pairs = sorted(f"{self._form(key)}:{self._form(item)}" for key, item in value.items())
            return f"dict({','.join(pairs)})"
        if kind is set or kind is frozenset:
            return f"{kind.__name__}({','.join(sorted(map(self._form, value)))})"
        if callable(getattr(kind, "__xqute_key__", None)):
            return f"key {self._type(kind)}({self._form(value.__xqute_key__())})"
        return self._typed(value, kind)

    def _forms(self, values: Iterable[Any]) -> str:
        return ",".join(map(self._form, values))

    def _typed(self, value: Any, kind: type) -> str:
        if isinstance(value, Enum):
            return f"enum {self._type(kind)} {_quote(str(value.name))}"
        if isinstance(value, PurePath):
            return f"path {_quote(str(value))}"
        if is_dataclass(value) and not isinstance(value, type):
            parts = [f"{each.name}={self._form(getattr(value, each.name))}" for each in fields(value)]
            return f"{self._type(kind)}({','.join(parts)})"
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return f"{self._type(kind)}({self._forms(value)})"
        return self._known(value, f"{kind.__module__}:{kind.__qualname__}")

    def _known(self, value: Any, name: str) -> str:
        if name in _BY_REPR:
            return f"{name} {_quote(repr(value))}"
        if name in _LOGGERS:  # as pickle has it: a logger is its name
            return f"logger {_quote(value.name)}"
        if name in _TIMES:
            bare = value.replace(tzinfo=None)
            return f"{name}({_quote(repr(bare))},{self._form(value.tzinfo)})"
        return self._callable(value)

    def _type(self, kind: type) -> str:
        module = "__main__" if kind.__module__ in _MAIN_NAMES else kind.__module__
        return self._name(kind) or f"{module}:{kind.__qualname__}"

    # Functions

    def _callable(self, value: Any) -> str:
        if hasattr(type(value), "__xqute_task__"):
            return f"{self._form(value.fn)} {_quote(value.version)}"
        if hasattr(value, "__qualname__") and (name := self._name(value)):
            return f"named {_quote(name)}"
        if isinstance(value, FunctionType):
            return self._once(value, self._function)
        return self._built(value)

    def _built(self, value: Any) -> str:
        if isinstance(value, ModuleType):
            return f"module {value.__name__}"
        if isinstance(value, (MethodType, BuiltinFunctionType)):
            return f"method({self._forms((value.__self__, getattr(value, '__func__', value.__name__)))})"
        if type(value) is partial:
            return f"partial({self._forms((value.func, value.args, value.keywords))})"
        if isinstance(value, type):
            return self._once(value, self._class)
        raise Formless(
            f"{type(value).__name__} objects have no canonical form; the class may define __xqute_key__()"
        )

    def _once(self, thing: Any, make: Callable[[Any], str]) -> str:
        """Functions and classes use each other, and themselves: each is spelled out where it is first met."""
        number = self._met.get(id(thing))
        if number is not None:
            return f"again {number}"
        outermost = not self._met
        self._met[id(thing)] = len(self._met)
        try:
            return make(thing)
        finally:
            if outermost:
                self._met.clear()

    def _class(self, kind: type) -> str:
        """A class that no name leads to, by what its body holds."""
        members = [
            f"{name}={self._member(value)}"
            for name, value in sorted(vars(kind).items())
            if not _is_made(name, value, kind)
        ]
        if is_dataclass(kind):
            makers = ((each.name, each.default_factory) for each in fields(kind))
            members += [f"{name}:{self._form(make) if callable(make) else ''}" for name, make in makers]
        if issubclass(kind, Enum):
            members += [f"{each.name}:{self._form(each.value)}" for each in kind]
        return f"class {kind.__qualname__}([{self._forms(kind.__bases__)}],[{','.join(members)}])"

    def _member(self, value: Any) -> str:
        if isinstance(value, property):
            return self._forms((value.fget, value.fset, value.fdel))
        return self._form(getattr(value, "__func__", value))

    def _function(self, function: FunctionType) -> str:
        held = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        cells = [self._cell(name, cell) for name, cell in held]
        names = sorted(set(_global_names(function.__code__)) & function.__globals__.keys())
        used = [f"{name}={self._form(function.__globals__[name])}" for name in names]
        defaults = self._forms((function.__defaults__, function.__kwdefaults__))
        code = self._code(function.__code__)
        return f"function({code},{defaults},[{','.join(cells)}],[{','.join(used)}])"

    def _cell(self, name: str, cell: Any) -> str:
        try:
            return f"{name}={self._form(cell.cell_contents)}"
        except ValueError:
            return f"{name}="  # not assigned yet

    def _code(self, code: CodeType) -> str:
        consts = [
            self._code(each) if isinstance(each, CodeType) else self._form(each) for each in code.co_consts
        ]
        names = self._forms((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))
        numbers = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        raw = code.co_code.hex() + code.co_exceptiontable.hex()
        return f"code({raw},[{','.join(consts)}],{names},{numbers})"


def _is_made(name: str, value: Any, kind: type) -> bool:
    """Whether a member of a class was not written in its body, but made from it."""
    if isinstance(value, FunctionType):
        made = value.__code__.co_filename.endswith(("<string>", "/dataclasses.py"))
        return made and is_dataclass(kind) and name in _DATACLASS_MAKES
    if type(value).__name__ in _DESCRIPTORS or name.startswith("_abc_"):
        return True
    if issubclass(kind, Enum):
        return not isinstance(value, (staticmethod, classmethod)) and type(value) is not property
    return (
        name.startswith("__") and name != "__slots__" and not isinstance(value, (staticmethod, classmethod))
    )


def _global_names(code: CodeType) -> Iterable[str]:
    """The names that a function, and the functions in it, take from their module."""
    for step in dis.get_instructions(code):
        if step.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
            yield str(step.argval)
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _global_names(each)
