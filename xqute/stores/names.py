"""From what a user writes for `store=` to a store.

| written | is |
|---|---|
| nothing | SQLite in `<job_metadir>/xqute.db` |
| `sqlite:///abs/path` | SQLite in that file |
| `sqlite://path` | the same, from the current directory |
| `memory://` | this process's memory |
| another scheme | what an installed package offers for it |

A package offers a store in the entry point group `xqute.stores`: under the name of its scheme, a
callable that gets the whole text and the metadir's `Path` and returns a `Store`.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Final

from xqute.errors import OptionError
from xqute.store import Store

_OWN: Final = frozenset({"memory", "sqlite"})


def make_store(given: str | Store | None, root: Path) -> Store:
    """The store somebody means, not open yet.

    Args:
        given: A store, its address, or None for the one in `root`.
        root: The metadir.

    Raises:
        OptionError: Nothing is known by that address; names what is.
    """
    if isinstance(given, Store):
        return given
    address = f"sqlite://{root / 'xqute.db'}" if given is None else os.fspath(given)
    scheme, sign, rest = address.partition("://")
    if not sign:
        raise OptionError(f"store={given!r} says not what it is: write sqlite://{address}")
    # Loaded when it is chosen: nobody pays for a store he does not use.
    module = import_module(f"xqute.stores.{scheme if scheme in _OWN else 'foreign'}")
    if scheme == "sqlite":
        return _sqlite(module.SqliteStore, rest)
    store: Store = module.MemoryStore() if scheme == "memory" else module.make(address, root, _OWN)
    return store


def _sqlite(make: type[Store], path: str) -> Store:
    if not path:
        raise OptionError("store='sqlite://' names no file: write sqlite:///the/file.db")
    return make(path)  # type: ignore[call-arg]  # the contract does not say how stores are made
