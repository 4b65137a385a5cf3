"""Stores of installed packages: found by their entry points, when nothing of our own will do."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

from xqute.errors import OptionError, StoreError
from xqute.options import unknown
from xqute.store import Store

GROUP = "xqute.stores"


def make(address: str, root: Path, own: frozenset[str]) -> Store:
    """The store of the package that offers the address's scheme.

    Raises:
        OptionError: No package does; names the schemes that exist.
        StoreError: What the package offers makes no store.
    """
    scheme = address.partition("://")[0]
    found = {point.name: point for point in entry_points(group=GROUP)}
    if scheme not in found:
        raise OptionError(unknown("store", f"{scheme}://", (f"{name}://" for name in own | {*found})))
    store = found[scheme].load()(address, root)
    if not isinstance(store, Store):
        raise StoreError(f"{found[scheme].value} made no store for {address!r} but {store!r}")
    return store
