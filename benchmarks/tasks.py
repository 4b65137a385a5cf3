"""The Python calls that benchmarks push; a module of its own, since jobs import it."""

from __future__ import annotations

import time

from xqute import task


@task
def nothing(number):
    return number


@task(reuse=True)
def nothing_again(number):
    return number


@task(fork=False)
def nothing_afresh(number):
    return number


@task
def level(*parents):
    """How many calls stand one below the other down to it, when parents return the same of theirs."""
    return 1 + max(parents, default=0)


@task
def step(number, seconds, burn, *parents):
    """One task of a workflow: its number, its level, and its own clock as it began and ended (ns).

    The level is made of what the parents returned, so it tells whether their results arrived.
    """
    begun = time.time_ns()
    if burn:
        until = time.process_time() + seconds
        while time.process_time() < until:
            pass
    elif seconds:
        time.sleep(seconds)
    level = 1 + max((parent[1] for parent in parents), default=0)
    return number, level, begun, time.time_ns()
