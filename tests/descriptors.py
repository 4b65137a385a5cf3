"""A program that has no file descriptor left."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def no_descriptor_free() -> Iterator[Callable[[], None]]:
    """Use up all descriptors of this program; yields a call that gives them back before the end."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []

    def give_back() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        while taken:
            os.close(taken.pop())

    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 20, before[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        # what the program itself closes meanwhile is of no use to it
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        yield give_back
    finally:
        give_back()
