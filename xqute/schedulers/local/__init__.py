"""The scheduler `local`: every job is a process of this host, in a session of its own.

- `scheduler`: what the engine asks for.
- `exits`: starts that this process is the parent of; an exit is an event, never found by asking.
- `ending`: ends everything of a job, or what its wrapper left behind: politely, then firmly.
- `warm`: which Python calls a process serves that has imported their module already; with `runners`,
  `helpers` and `served`.
- `processes`: what /proc says, and signals that can't meet a stranger.

A process id may be given to a stranger as soon as its owner was waited for and its group is empty.
So a signal goes to a group only while its leader has not been waited for, and to single processes
only through a descriptor of theirs, checked against their start time.
"""

from __future__ import annotations

from .scheduler import LocalScheduler

__all__ = ["LocalScheduler"]
