"""Functions that are to become calls: which can, and what arguments they take."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import OptionError
from .options import OPTION_NAMES
from .shown import short_name, shown_value


def refuse_as_task(fn: Any) -> None:
    """Raise `OptionError` for what `@task` can't decorate."""
    if hasattr(type(fn), "__xqute_task__"):
        raise OptionError(f"{fn!r} is a task already; call.options(…) gives one call other options")
    if not callable(fn):
        raise OptionError(
            f"@task needs a function, not {shown_value(fn)}; options have names: @task(retries=2)"
        )
    if inspect.isclass(fn):
        raise OptionError(f"@task needs a function, and {fn.__qualname__} is a class")
    refuse_generators(fn)


def refuse_generators(fn: Any) -> None:
    """Raise `OptionError` for a function that returns nothing that could be kept."""
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise OptionError(
            f"{short_name(fn)} is a generator function: what it yields can't be kept;"
            " let it return a list, or make a call per item"
        )


def own_options(fn: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a task itself, with their defaults.

    Raises:
        OptionError: One is not what it should be.
    """
    own = {"name": short_name(fn), "version": "", "reuse": False, "fork": True, **given}
    if not isinstance(own["name"], str) or not own["name"] or not own["name"].isprintable():
        raise OptionError(f"name={own['name']!r}: a task's name is a word to find its jobs by")
    if isinstance(own["version"], bool) or not isinstance(own["version"], (str, int, float)):
        raise OptionError(f"version={own['version']!r}: give a number or a text")
    for name in ("reuse", "fork"):
        if not isinstance(own[name], bool):
            raise OptionError(f"{name}={own[name]!r} must be True or False")
    return {**own, "version": str(own["version"])}


def signature_of(fn: Any) -> inspect.Signature | None:
    """What arguments a function takes; None: it does not tell."""
    try:
        return inspect.signature(fn)
    except (ValueError, TypeError):
        return None  # some builtins do not tell


def bind(signature: inspect.Signature | None, name: str, args: Any, kwargs: Any) -> None:
    """Raise `TypeError`, with the name of the function, where it does not take these arguments."""
    if signature is None:
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}(): {error}") from None


def refuse_arguments(what: Any, more: Sequence[Any], given: Mapping[str, Any]) -> None:
    """Raise `OptionError` for arguments of a function that are given beside it; says where they belong.

    Args:
        what: What is to be pushed or mapped.
        more: What was given beside it without a name.
        given: And by name; those that are options, or that the function does not take, are not judged.
    """
    if callable(what):
        signature = signature_of(what)
        taken = signature.parameters if signature is not None else ()
        named = [name for name in given if name in taken and name not in OPTION_NAMES]
        if more or named:
            shown = ", ".join((*map(shown_value, more), *(f"{name}={given[name]!r}" for name in named)))
            name = short_name(what)
            call = (
                f"{name}({shown})"
                if hasattr(type(what), "__xqute_task__")
                else f"functools.partial({name}, {shown})"
            )
            raise OptionError(f"arguments of {name} go into the call: give {call}")
    elif more:
        raise OptionError(
            f"push() takes one call or command, and options by name, not {shown_value(more[0])} beside it:"
            " a command is one list or one line; push_many() takes several"
        )
