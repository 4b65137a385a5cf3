"""What is shown: the numbers of a run at one moment, and what became of its jobs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from rich.text import Text

from ...job import Job
from ...states import JobStatus

#: The rate is that of the ends within so long, where there are enough of them.
WINDOW_SECONDS: Final = 20.0
WINDOW_ENDS: Final = 5


class Told(NamedTuple):
    """A failure as it was when it happened."""

    job: Job
    reason: str
    again: bool
    said: str


class Pace:
    """How fast jobs end. The time between engine sessions does not count."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing has begun."""
        self._clock = clock
        self._before = 0.0
        self._samples: deque[tuple[float, int]] = deque()
        self._first = (0.0, 0)
        self._last = (0.0, 0)

    def begin(self, ended: int) -> None:
        """A session starts; so many jobs had ended before."""
        self._first = self._last = (self._clock(), ended)
        self._samples = deque([self._first])

    def look(self, ended: int) -> None:
        """So many have ended by now."""
        self._last = (self._clock(), ended)
        self._samples.append(self._last)
        while self._samples[0][0] < self._last[0] - WINDOW_SECONDS:
            self._samples.popleft()

    def end(self) -> None:
        """The session is over."""
        self._before = self.seconds
        self._first = self._last

    @property
    def seconds(self) -> float:
        """In all sessions."""
        return self._before + self._last[0] - self._first[0]

    @property
    def now(self) -> float:
        """Jobs per second of late; of the whole session, when few ended of late."""
        late = self._samples[0] if self._samples else self._first
        few = self._last[1] - late[1] < WINDOW_ENDS
        start = self._first if few else late
        lasted = self._last[0] - start[0]
        return max(0, self._last[1] - start[1]) / lasted if lasted else 0.0


class Moment:
    """A run at one moment, in the words of the display.

    Args:
        counts: Its jobs by status.
        retries: How often a job is or was tried again.
        pace: How fast they end.
        reused: How many of those that ended had done so in an earlier session.
        over: Nothing goes on by itself any more: who waits now waits for what failed.
    """

    def __init__(
        self,
        counts: Mapping[JobStatus, int],
        retries: int,
        pace: Pace,
        reused: int = 0,
        *,
        over: bool = False,
    ) -> None:
        """Count the statuses together that mean one thing to people."""
        self.counts = counts
        self.jobs = sum(counts.values())
        self.ended = sum(count for status, count in counts.items() if status.final)
        running = sum(count for status, count in counts.items() if status.live)
        self.seconds = pace.seconds
        self.rate = pace.now
        self.total_rate = (self.ended - reused) / self.seconds if self.seconds else 0.0
        open_jobs = self.jobs - self.ended
        waiting = counts.get(JobStatus.WAITING, 0)
        self.left = open_jobs / self.rate if self.rate and open_jobs else None
        self._groups = [
            ("blocked", waiting, "yellow") if over else ("waiting", waiting, "cyan"),
            ("queued", open_jobs - running - waiting, "cyan"),
            ("running", running, "blue"),
            ("finished", counts.get(JobStatus.FINISHED, 0), "green"),
            ("skipped", counts.get(JobStatus.SKIPPED, 0), "green"),
            ("of them reused", reused, "green"),  # a bare number would read as one to add
            ("failed", self.failed, "bold red"),
            ("killed", counts.get(JobStatus.KILLED, 0), "magenta"),
            ("retries", retries, "yellow"),
        ]

    def groups(self, *always: str) -> list[tuple[str, int, str]]:
        """Name, number and style of what there is; these also when there is none."""
        return [group for group in self._groups if group[1] or group[0] in always]

    @property
    def failed(self) -> int:
        """Jobs that failed."""
        return self.counts.get(JobStatus.FAILED, 0)

    @property
    def speed(self) -> str:
        """How fast it goes, and how long that will take."""
        left = "" if self.left is None else f", about {_clock(self.left)} left"
        return f"{self.rate:.1f} jobs/s, {_clock(self.seconds)}{left}"

    def sentence(self) -> Text:
        """What there is, on one line."""
        text = Text(no_wrap=True, overflow="ellipsis")
        for name, count, style in self.groups():
            shown = "retry" if (count, name) == (1, "retries") else name
            text.append(" · " if text else "").append(f"{count} {shown}", style)
        return text


@dataclass(frozen=True, slots=True)
class Closing:
    """What is said at the end of a session."""

    moment: Moment
    failed: Sequence[Told]
    stopped: str
    metadir: str


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
