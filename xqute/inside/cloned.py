"""What a copy of a warm process must not share with it, and how it ends as a program of its own does."""

from __future__ import annotations

import atexit
import sys
import threading
import weakref
from contextlib import suppress
from typing import Any


def be_yourself() -> None:
    """Forget what the copied process is to do at its end, and draw other random numbers than it would.

    What a module registered when it was imported is of the process that imported it: a temporary
    directory that is deleted at the end is deleted once, and not by the first of its copies.
    """
    atexit._clear()  # noqa: SLF001  no other way is there
    _forget_finalizers()
    pools: Any = sys.modules.get("multiprocessing.util")
    if pools is not None:
        atexit.register(pools._exit_function)  # noqa: SLF001
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is not None:  # the standard library's own does so by itself
        numpy_random.seed()


def _forget_finalizers() -> None:
    finalize: Any = weakref.finalize
    if not finalize._registered_with_atexit:  # noqa: SLF001
        return
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
    if logging is not None and len(logging._handlerList) > 1:  # noqa: SLF001  the first is the last resort
        logging.shutdown()
    if atexit._ncallbacks():  # noqa: SLF001
        with suppress(Exception):  # Python has said what it was
            atexit._run_exitfuncs()  # noqa: SLF001
