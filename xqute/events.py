"""What a job says while it runs: the lines of `job.events`, and the progress they add up to.

```
progress 3 10 frame 3        current, total (100 when left out), message
progress@a/b 1 4 message     the same for one of nested bars
stage align                  what it does now
stage@2/5 align              the same, as the second of five stages
stage@2/5@1763728802.512 …   the same, with the time when it began (UTC seconds)
skip nothing new             it had nothing to do
log warning text             a line for the log
require 4f1c                 it needs the calls in job.call.4f1c first
```

One event is one line and one write of at most 4 096 bytes, so that processes may append to one file
without a lock. Whatever else stands there is kept as a log line.
"""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

#: Longest line, with its newline: what the kernel appends in one piece everywhere.
LINE_MAX_BYTES: Final = 4096

#: A progress without a total counts percents.
TOTAL: Final = 100.0

LEVELS: Final = ("debug", "info", "warning", "error", "critical")

#: Nested bars of one job, and their depth; what goes beyond is left out.
BARS_MAX: Final = 1000
DEPTH_MAX: Final = 16

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOBODY: Final = {errno.ENOENT, errno.ELOOP, errno.ENXIO}  # nothing, a link, a socket


class Event(NamedTuple):
    """One thing that a job said.

    Attributes:
        word: "progress", "stage", "skip", "log" or "require".
        text: The message, the stage's name, the reason, the log text, the name of the calls.
        current, total: Of a progress; of a stage, its number and how many there are (0: not told).
        group: Which of nested bars; () for the job's own.
        level: Of a log line.
        date: Of a stage: when it began; UTC seconds, 0: not told.
    """

    word: str
    text: str = ""
    current: float = 0.0
    total: float = 0.0
    group: tuple[str, ...] = ()
    level: str = ""
    date: float = 0.0


def format_event(event: Event) -> bytes:
    """The line of an event, with its newline; a long text is cut."""
    match event.word:
        case "progress":
            path = "/".join(_escape(name) for name in event.group)
            head = f"progress{'@' if path else ''}{path} {event.current:.12g} {event.total:.12g}"
        case "stage":
            number = f"@{event.current:.0f}/{event.total:.0f}" if event.total else ""
            head = f"stage{number}{f'@{event.date:.3f}' if event.date else ''}"
        case "log":
            head = f"log {event.level or 'info'}"
        case word:
            head = word
    line = f"{head} {event.text}".rstrip() if event.text else head
    one = "".join(" " if char in _BREAKS else char for char in line) if _breaks(line) else line
    return _cut(one.encode("utf-8", "replace"), LINE_MAX_BYTES - 1) + b"\n"


_BREAKS: Final = frozenset("\0\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029")


def _breaks(line: str) -> bool:
    return not line.isprintable() and any(char in _BREAKS for char in line)


def _cut(data: bytes, room: int) -> bytes:
    """The beginning of an utf-8 text that fits, without half a character at its end."""
    return data if len(data) <= room else data[:room].decode("utf-8", "ignore").encode()


def _escape(name: str) -> str:
    """The name of a bar as part of a word: what would end it is written as in a URL."""
    return "".join(f"%{ord(char):02X}" if char in _NO_NAME else char for char in name)


_NO_NAME: Final = frozenset("%/ \t\n\r\0")


def _unescape(name: str) -> str:
    if "%" not in name:
        return name
    first, *rest = name.split("%")
    return first + "".join(_unescaped.get(part[:2].upper(), f"%{part[:2]}") + part[2:] for part in rest)


_unescaped: Final = {f"{ord(char):02X}": char for char in _NO_NAME}


def parse_event(line: bytes | str) -> Event | None:
    """The event of a line; a log line when it has no form that is known, None when it is blank."""
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    text = text.strip()
    if not text:
        return None
    word, _, rest = text.partition(" ")
    word, _, path = word.partition("@")
    rest = rest.strip()
    event: Event | None = None
    match word:
        case "progress":
            event = _progress(path, rest)
        case "stage":
            event = _stage(path, rest)
        case "skip" if not path:
            event = Event("skip", rest)
        case "require" if not path and rest:
            event = Event("require", rest)
        case "log" if not path:
            event = _log(rest)
    return event or Event("log", text, level="info")


def _progress(path: str, rest: str) -> Event | None:
    group = tuple(_unescape(name) for name in path.split("/") if name)
    words = rest.split(None, 1)
    current = _number(words[0]) if words else None
    if current is None:
        return None
    message = words[1] if len(words) > 1 else ""
    total, (_, _, after) = _number(message.split(" ", 1)[0]), message.partition(" ")
    if total is None:
        return Event("progress", message, current, TOTAL, group)
    return Event("progress", after.strip(), current, total, group)


def _stage(path: str, name: str) -> Event | None:
    event = Event("stage", name)
    for part in path.split("@") if path else ():
        number, _, count = part.partition("/")
        date = _number(part) if "." in part else None
        if _counts(number) and _counts(count):
            event = event._replace(current=float(number), total=float(count))
        elif date is not None and date > 0:
            event = event._replace(date=date)
        else:
            return None
    return event


def _counts(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) > 0  # noqa: PLR2004


def _log(rest: str) -> Event:
    level, _, text = rest.partition(" ")
    if level.lower() in LEVELS:
        return Event("log", text.strip(), level=level.lower())
    return Event("log", rest, level="info")


def _number(word: str) -> float | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read_events(path: str, offset: int, cap: int = 1 << 20) -> tuple[list[Event], int]:
    """The events that were appended to a file since it was read to `offset`.

    Complete lines only, and at most `cap` bytes of them: call it again until the offset stays. A line
    longer than that is left out. A file that is shorter than it was is read from its beginning.

    Returns:
        The events, and the offset to go on from. Neither changes where no regular file is.

    Raises:
        OSError: It could not be read this time.
    """
    try:
        fd = os.open(path, _FLAGS)
    except OSError as exc:
        if exc.errno in _NOBODY:
            return [], offset
        raise
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            return [], offset
        begin = offset if offset <= info.st_size else 0
        content = os.pread(fd, cap, begin)
    finally:
        os.close(fd)
    end = content.rfind(b"\n") + 1
    if not end and len(content) == cap:
        end = cap  # no line of ours is that long; its rest is a log line
        content = b""
    events = [event for line in content[:end].split(b"\n") if (event := parse_event(line)) is not None]
    return events, begin + end


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job says it is.

    Attributes:
        current, total: In its own unit. A level that said nothing itself is the sum of its children.
        percent: 0 to 100.
        message: What it said with it.
        stage: What it does now.
        children: Nested bars by name, in the order in which they appeared.
    """

    current: float = 0.0
    total: float = TOTAL
    message: str = ""
    stage: str = ""
    children: Mapping[str, Progress] = field(default_factory=dict)

    @property
    def percent(self) -> float:
        """How much of it is done; it may go down."""
        return max(0.0, min(100.0, 100.0 * self.current / self.total)) if self.total > 0 else 0.0


class _Bar:
    """One level of nested bars."""

    __slots__ = ("children", "message", "said")

    def __init__(self) -> None:
        self.said: tuple[float, float] | None = None
        self.message = ""
        self.children: dict[str, _Bar] = {}

    def seen(self) -> Progress:
        children = {name: bar.seen() for name, bar in self.children.items()}
        current, total = self.said or (0.0, TOTAL)
        if self.said is None and children:
            current = sum(child.current for child in children.values())
            total = sum(child.total for child in children.values())
        return Progress(current, total, self.message, "", children)


class Story:
    """Adds up the events of one start of a job.

    With numbered stages the whole moves by itself: of n stages, the k-th begins at k / (n + 2), since
    getting ready and tidying up count as one each; what is said inside a stage is its fraction.
    """

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._bar = _Bar()
        self._bars = 1
        self._stage = ""
        self._number = 0.0
        self._stages = 0.0

    def add(self, event: Event) -> bool:
        """Take one event; whether the progress may look different now."""
        if event.word == "stage":
            self._enter(event)
            return True
        bar = self._find(event.group) if event.word == "progress" else None
        if bar is None:
            return False
        bar.said = (event.current, event.total)
        bar.message = event.text
        return True

    def tell(self, events: Iterable[Event]) -> Progress:
        """Take some events; the progress after them."""
        for event in events:
            self.add(event)
        return self.progress

    def _enter(self, event: Event) -> None:
        self._stage = event.text
        if event.total:
            self._number, self._stages = event.current, event.total
            self._bar, self._bars = _Bar(), 1

    def _find(self, group: tuple[str, ...]) -> _Bar | None:
        if len(group) > DEPTH_MAX:
            return None
        bar = self._bar
        for name in group:
            child = bar.children.get(name)
            if child is None:
                if self._bars >= BARS_MAX:
                    return None
                self._bars += 1
                child = bar.children[name] = _Bar()
            bar = child
        return bar

    @property
    def progress(self) -> Progress:
        """How far the job is, by what it said so far."""
        own = self._bar.seen()
        current, total = own.current, own.total
        if self._stages:
            current, total = self._number + own.percent / 100, self._stages + 2
        return Progress(current, total, own.message, self._stage, own.children)
