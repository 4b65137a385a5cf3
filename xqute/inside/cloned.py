"""What a copy of a warm process must not share with it, and how it ends as a program of its own does."""

from __future__ import annotations

import atexit
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

#: The handlers of `logging` that need no shutting down: the last resort and the job's own.
_QUIET_HANDLERS: Final = 2


def first_steps() -> list[Callable[[], object]]:
    """What a copy of this process has to do first, as far as what is imported here asks for it.

    A copy forgets what the copied process is to do at its end, and draws other random numbers than it
    would. What a module registered when it was imported is of the process that imported it: a temporary
    directory that is deleted at the end is deleted once, and not by the first of its copies.
    """
    steps: list[Callable[[], object]] = [atexit._clear]  # noqa: SLF001  no other way is there
    if weakref.finalize._registered_with_atexit:  # type: ignore[attr-defined]  # noqa: SLF001
        steps.append(_forget_finalizers)
    pools: Any = sys.modules.get("multiprocessing.util")
    if pools is not None:
        steps.append(partial(atexit.register, pools._exit_function))  # noqa: SLF001
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is not None:  # the standard library's own does so by itself
        steps.append(numpy_random.seed)
    return steps


def _forget_finalizers() -> None:
    finalize: Any = weakref.finalize
    for info in list(finalize._registry.values()):  # noqa: SLF001  as multiprocessing does
        info.atexit = False
    finalize._registered_with_atexit = False  # noqa: SLF001


def wait_for_threads() -> None:
    """Wait for the threads that a program is not ended before."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()


def run_exits() -> None:
    """What a program does at its end, without ending."""
    if threading.active_count() > 1:
        wait_for_threads()
    logging: Any = sys.modules.get("logging")
    if logging is not None and len(logging._handlerList) > _QUIET_HANDLERS:  # noqa: SLF001
        logging.shutdown()
    if atexit._ncallbacks():  # noqa: SLF001
        with suppress(Exception):  # Python has said what it was
            atexit._run_exitfuncs()  # noqa: SLF001
