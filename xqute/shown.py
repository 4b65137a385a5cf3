"""Calls and their arguments as people read them: short, on one line, whatever they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any, Final

from .pickling import is_call_type, is_job_type
from .printable import printable

#: How long a call may be.
_SHOWN: Final = 200
_ITEMS: Final = 6
_PLAIN: Final = frozenset({int, float, bool, type(None)})
_BRACKETS: Final[Mapping[type, tuple[str, str]]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    dict: ("{", "}"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def shown_call(name: str, args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
    """A call with its arguments, as in "render('a.blend', 3)"; 200 characters at most."""
    return _cut(f"{name}({_shown_arguments(args, kwargs)})")


def short_name(fn: Any) -> str:
    """The name of a function without the functions around it."""
    if hasattr(type(fn), "__xqute_task__"):
        return str(fn.name)
    name = getattr(fn, "__qualname__", None)
    return name.rpartition("<locals>.")[2] if isinstance(name, str) else type(fn).__name__


def _shown_arguments(args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
    shown, room = [], _SHOWN
    for name, value in (*(("", value) for value in args), *kwargs.items()):
        text = f"{name}={shown_value(value)}" if name else shown_value(value)
        shown.append(text)
        room -= len(text)
        if room < 0:
            break
    return ", ".join(shown)


def shown_value(value: Any, depth: int = 3) -> str:
    """A value in a few words; calls and jobs in it by their names."""
    kind = type(value)
    if kind is str:
        return repr(value[:_SHOWN])
    if kind in _PLAIN:
        return repr(value)
    if is_call_type(kind):
        return str(value.name if value.naming is None else value.naming.name)
    if is_job_type(kind):
        return f"job {value.id}"
    return _shown_whole(value, depth - 1) if depth else _shown_other(value)


def _shown_whole(value: Any, depth: int) -> str:
    kind = type(value)
    if kind in _BRACKETS:
        return _shown_container(value, depth)
    if is_dataclass(value) and not isinstance(value, type):
        names = [each.name for each in islice(fields(value), _ITEMS)]
        parts = [f"{name}={shown_value(getattr(value, name, None), depth)}" for name in names]
        return f"{kind.__name__}({', '.join(parts)})"
    return _shown_other(value)


def _shown_other(value: Any) -> str:
    kind = type(value)
    if hasattr(value, "__qualname__") or hasattr(kind, "__xqute_task__"):
        return short_name(value)
    if kind in _BRACKETS:
        return "…".join(_BRACKETS[kind])
    if _bare(kind) or is_dataclass(value):
        return f"<{kind.__name__}>"
    try:
        return repr(value)[:_SHOWN]
    except Exception:  # noqa: BLE001 - a repr is a stranger's code, and only for people to read
        return f"<{kind.__name__}>"


def _bare(kind: Any) -> bool:
    """Whether its repr would only tell an address."""
    return kind.__repr__ is object.__repr__


def _shown_container(value: Any, depth: int) -> str:
    opening, closing = _BRACKETS[type(value)]
    if isinstance(value, dict):
        pairs = islice(value.items(), _ITEMS)
        shown = [f"{shown_value(key, depth)}: {shown_value(item, depth)}" for key, item in pairs]
    else:
        shown = [shown_value(item, depth) for item in islice(value, _ITEMS)]
    more = [f"… {len(value)} in all"] if len(value) > _ITEMS else []
    comma = "," if type(value) is tuple and len(value) == 1 else ""
    return f"{opening}{', '.join([*shown, *more])}{comma}{closing}"


def _cut(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"
