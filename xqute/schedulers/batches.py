"""The scripts of arrays, in the metadir: they say which element is which job's.

One is written before its submission, and removed when the outcome is known: what a manager that died in
between had submitted is found by the token that is both its name and the name of the jobs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

from .. import metadir
from ..settings import SCRIPT_MAX_BYTES
from .batching import Element, read_elements

_FOLDER: Final = ".batches"


def write(root: str, token: str, text: str) -> str:
    """Write the script of a submission; returns its path.

    Raises:
        OSError: It can't be written now.
    """
    try:
        os.mkdir(f"{root}/{_FOLDER}", 0o700)
    except FileExistsError:
        pass
    path = f"{root}/{_FOLDER}/{token}"
    metadir.write_script(path, text)
    return path


def forget(path: str) -> None:
    """The outcome of the submission is known."""
    try:
        os.unlink(path)
    except OSError:
        return


def read_all(root: str) -> Mapping[str, Sequence[Element]]:
    """The elements of all submissions whose outcome is not known, by token."""
    found: dict[str, Sequence[Element]] = {}
    try:
        tokens = os.listdir(f"{root}/{_FOLDER}")
    except OSError:
        return found
    for token in tokens:
        try:
            content = metadir.read_small(f"{root}/{_FOLDER}/{token}", SCRIPT_MAX_BYTES)
        except OSError:
            continue
        if isinstance(content, bytes):
            found[token] = read_elements(os.fsdecode(content))
    return found
