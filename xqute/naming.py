"""What makes a call one of those whose results are kept up to date: its name, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from .errors import OptionError

_NO_USES: Final[Mapping[str, int]] = {}


@dataclass(frozen=True, slots=True)
class Naming:
    """A call's identity in the store, and what people are told of it.

    Attributes:
        name: What its builds are found by.
        title: A label for people, in the place of the option.
        tags: Added to those of the option.
        notes: Whatever is good to know of it.
        protected: What was built is not built again, nor deleted, unless that is forced.
    """

    name: str
    title: str = ""
    tags: tuple[str, ...] = ()
    notes: str = ""
    protected: bool = False

    def __post_init__(self) -> None:
        """Refuse what can't be a name.

        Raises:
            OptionError: It is empty, not a text, or not one line.
        """
        given: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        name = given["name"]
        if not _is_text(name) or not name.strip() or not name.isprintable():
            raise OptionError(f"named({name!r}): a name is a word to find a call's builds by")
        for what in ("title", "notes"):
            if not _is_text(given[what]):
                raise OptionError(f"named({name!r}, {what}={given[what]!r}): give a text")
        if not isinstance(given["tags"], tuple) or not all(map(_is_text, given["tags"])):
            raise OptionError(f"named({name!r}, tags={given['tags']!r}): give a list of words")
        if not isinstance(given["protected"], bool):
            raise OptionError(f"named({name!r}, protected={given['protected']!r}) must be True or False")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


@dataclass(frozen=True, slots=True)
class Named:
    """The same of a job: what a store keeps with its work.

    Attributes:
        name, notes, protected: As the call has them.
        uses: Which of its needs are builds of other named calls: name → its number.
    """

    name: str
    notes: str = ""
    protected: bool = False
    uses: Mapping[str, int] = field(default_factory=lambda: _NO_USES)

    def as_document(self) -> dict[str, Any]:
        """What differs from the defaults, in plain values."""
        document: dict[str, Any] = {"name": self.name}
        if self.notes:
            document["notes"] = self.notes
        if self.protected:
            document["protected"] = True
        if self.uses:
            document["uses"] = dict(self.uses)
        return document
