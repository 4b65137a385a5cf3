"""Values as people read them, never longer than there is room for."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

_BRACKETS: Final[dict[type, tuple[str, str]]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}
#: Deeper ones are left to repr.
_DEPTH: Final = 8


def shown(value: Any, room: int) -> str:
    """The repr of a value, cut to `room` characters; of a large one, no more is made than is kept."""
    text = _shown(value, room, _DEPTH)
    return text if len(text) <= room else text[: room - 1] + "…"


def _shown(value: Any, room: int, depth: int) -> str:
    kind = type(value)
    if kind in {str, bytes, bytearray}:
        return repr(value if len(value) <= room else value[:room])
    if kind in _BRACKETS and value and depth:
        begin, end = _BRACKETS[kind]
        if kind is tuple and len(value) == 1:
            end = ",)"
        return begin + _joined((_shown(item, room, depth - 1) for item in _some(value, room)), room) + end
    if kind is dict and depth:
        pairs = (
            f"{_shown(key, room, depth - 1)}: {_shown(item, room, depth - 1)}"
            for key, item in _some(value.items(), room)
        )
        return "{" + _joined(pairs, room) + "}"
    try:
        return repr(value)
    except Exception as exc:  # noqa: BLE001  a repr is the user's own code
        return f"<{kind.__qualname__}, whose repr raised {type(exc).__qualname__}>"


def _some(items: Iterable[Any], room: int) -> Iterable[Any]:
    # Each item takes a character and a comma at least.
    return islice(items, room // 2 + 1)


def _joined(pieces: Iterable[str], room: int) -> str:
    taken: list[str] = []
    for piece in pieces:
        if room < 0:
            break
        taken.append(piece)
        room -= len(piece) + 2
    return ", ".join(taken)
