"""Starts a wrapper, and says why it could not be started."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from ...errors import BackendUnavailable, SchedulerError, SubmitError
from ...job import Job
from ...settings import SPARE_DESCRIPTORS

#: What is as a program expects it, whatever this program or its parent ignores: Python ignores PIPE
#: and XFSZ, nohup ignores HUP, a shell's background job ignores INT and QUIT.
_DEFAULTS: Final = [
    getattr(signal, f"SIG{name}")
    for name in (
        *("HUP", "INT", "QUIT", "PIPE", "ALRM", "TERM", "USR1", "USR2", "CHLD"),
        *("TSTP", "TTIN", "TTOU", "XCPU", "XFSZ"),
    )
]

#: Why a start may work later; everything else is refused for good. TXTBSY: another thread of this
#: program forked while the script was being written.
_PASSING: Final = frozenset(
    (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY, errno.EINTR)
)

_HINTS: Final[Mapping[int, str]] = {
    errno.ENOENT: "it, or the interpreter in its first line, is not there",
    errno.EACCES: "it may not be executed, or its file system says noexec",
    errno.ENOEXEC: "its first line must name an interpreter: #!/bin/sh",
    errno.E2BIG: "the environment of this program is too large for another one",
}


class Starting:
    """What starting takes: /dev/null, kept open, as the wrapper's stdin, stdout and stderr."""

    def __init__(self) -> None:
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._streams = [(os.POSIX_SPAWN_DUP2, self._null, fd) for fd in range(3)]

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._null)

    def spawn(
        self, argv: Sequence[str], environ: Mapping[bytes, bytes], more: Mapping[int, int] | None = None
    ) -> int:
        """Start a program in a session of its own; returns its process id.

        Args:
            argv: The program and its arguments.
            environ: Its whole environment.
            more: Descriptors it gets besides its streams: ours, and what it is there.
        """
        streams = self._streams
        if more:
            streams = [*streams, *((os.POSIX_SPAWN_DUP2, ours, theirs) for ours, theirs in more.items())]
        return os.posix_spawn(
            argv[0],
            tuple(argv),
            environ,
            file_actions=streams,
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULTS,
        )

    def newest(self) -> int:
        """The number a new descriptor gets.

        The kernel gives the lowest free one, so it tells how many are in use.
        """
        try:
            fd = os.dup(self._null)
        except OSError:
            return sys.maxsize
        os.close(fd)
        return fd


def snapshot() -> dict[bytes, bytes]:
    """The environment of this program, as it is now."""
    # Through the public mapping it costs 20 microseconds more, and there may be one copy per job.
    return dict(getattr(os.environb, "_data", os.environb))


def descriptor_limit() -> int:
    """The descriptor from which on starts are watched without one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(soft - SPARE_DESCRIPTORS, soft // 2)


def refusal(job: Job, script: str, argv: Sequence[str], exc: OSError) -> SchedulerError:
    """Why a wrapper could not be started: for now, or for good."""
    what = f"{job}: its script {script} can't be started: {exc.strerror}"
    if exc.errno in _PASSING:
        return BackendUnavailable(what, scheduler="local", argv=argv)
    hint = _HINTS.get(exc.errno or 0)
    return SubmitError(f"{what}: {hint}" if hint else what, scheduler="local", argv=argv)
