"""Does each call in a copy of this process, which has imported the module of its function.

Copies are made before there is a job for them, so that the manager knows the number of a job's process
when it hands the job over. A copy leads a session of its own and waits for the script of its job; while
this process lives it is their parent, tells how they ended, and writes down the end of those that could
not.
"""

from __future__ import annotations

import gc
import importlib
import mmap
import os
import resource
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NoReturn

from .cloned import first_steps, run_exits
from .handlers import DEFAULT, set_handler
from .killing import KILLING
from .line import ENDED, PACKET, RECORD, SPARE, SPARES, Face, Manager, directory_of
from .loading import Place, read_payload
from .packing import fill_gaps
from .rehearsing import rehearse
from .run import run
from .wrapping import Wrapping, listen, told_for

#: What a copy says of itself, in the memory it shares with this process.
_CLAIMED: Final = 1
_TOLD: Final = 2

#: What the module is to do at the end of its process may take so long.
LEAVE_SECONDS: Final = 5

#: The longest path that can be opened.
_PATH_MAX: Final = 4096

#: A copy that can't even begin: its script can't be read, or something here is wrong.
_NO_SCRIPT: Final = 127
_BUG: Final = 70


class UnfitError(Exception):
    """This process must not be copied."""


def serve(manager: Manager, script: str) -> NoReturn:
    """Import what the job needs, then make copies until the manager closes its side."""
    try:
        face = Face()
        warm(script, face)
    except BaseException as exc:  # noqa: BLE001  whatever an import raises
        manager.refuse(str(exc) if isinstance(exc, UnfitError) else f"{type(exc).__name__}: {exc}")
    else:
        Forking(manager, face).serve()
    # What the module registered is done, and does not keep a process here that nobody needs.
    set_handler(signal.SIGALRM, DEFAULT)
    signal.alarm(LEAVE_SECONDS)
    run_exits()
    os._exit(0)


def warm(script: str, face: Face) -> None:
    """Import what the function of this job's call is in; nothing is called.

    Raises:
        UnfitError: A copy would lack the threads that run here, or could not be recognised.
        Exception: Whatever the import raises.
    """
    payload = read_payload(script)
    os.chdir(payload["wrap"]["cwd"])
    function = payload["work"]["function"]
    place = Place.read(payload["metadir"], function["place"])
    place.enter()
    target = function["target"]
    if isinstance(target, str):
        place.import_module(target.partition(":")[0])
    elif "pickle" in target:
        with suppress(ImportError):
            importlib.import_module("cloudpickle")
    else:
        _ = place.main
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if threading.active_count() > 1 or len(os.listdir("/proc/self/task")) > 1:
        raise UnfitError(
            "it starts threads when it is imported, and a copy would be without them (those of numpy: "
            "OPENBLAS_NUM_THREADS=1 in the environment of this program keeps them away)"
        )
    face.check()
    listen()
    # A fork of this process is none of a call's.
    KILLING._known_to_forks = True  # noqa: SLF001
    # What the module registered to be done at the end is not done now.

    def do(script: str) -> int:
        payload = read_payload(script)
        face.show("", "")
        return _wrapped(script, payload, lambda _: None, lambda: None)

    rehearse(payload, do)
    place.stay()
    gc.collect()
    fill_gaps()
    gc.freeze()


def _wrapped(
    script: str,
    payload: Mapping[str, Any],
    note: Callable[[Wrapping], None],
    leave: Callable[[], None],
) -> int:
    wrapping = Wrapping(directory_of(script), payload["wrap"], note)
    return wrapping.run(lambda: call(script, payload, wrapping, leave))


class Forking:
    """The copies of this process."""

    def __init__(self, manager: Manager, face: Face) -> None:
        """None is made yet."""
        self._manager = manager
        self._face = face
        self._first_steps = first_steps()
        self._spares: dict[int, int] = {}
        self._directories: dict[int, str] = {}
        self._slots: dict[int, int] = {}
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)
        self._free = list(range(mmap.PAGESIZE))
        self._poll = select.epoll()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._before: Any = set_handler(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Until the manager is gone, and then until the last copy is."""
        poll = self._poll
        for fd in (*self._manager.fds, self._woken):
            poll.register(fd, select.EPOLLIN)
        control, _ = self._manager.fds
        wanted = True
        while wanted or self._slots:
            if wanted:
                self._make()
            for fd, _ in poll.poll():
                if fd == self._woken:
                    self._reap()
                elif wanted and not (fd == control and self._hear()):
                    wanted = False
                    for gone in self._manager.fds:
                        poll.unregister(gone)
                    self._dismiss()

    # Copies

    def _make(self) -> None:
        if len(self._spares) >= SPARES:
            return
        made = []
        gc.freeze()  # nothing of this process is looked at by a collection in a copy
        # Several at once: each copy costs this process anew what it writes to until the next.
        while len(self._spares) < 2 * SPARES and self._free:
            ours, theirs = self._free.pop(), os.pipe()
            try:
                pid = os.fork()
            except OSError:  # no process can be made now; the manager goes other ways
                self._free.append(ours)
                os.close(theirs[0])
                os.close(theirs[1])
                break
            if not pid:
                os.close(theirs[1])
                self._be_spare(theirs[0], ours)
            os.close(theirs[0])
            self._spares[pid] = theirs[1]
            self._slots[pid] = ours
            made.append(RECORD.pack(SPARE, pid, 0, 0, 0.0))
        if made:
            self._manager.tell(*made)

    def _be_spare(self, orders: int, slot: int) -> NoReturn:
        """In the copy: wait for a job and do it."""
        code = _BUG
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            set_handler(signal.SIGCHLD, self._before)
            for fd in (*self._spares.values(), self._woken, self._wake):
                os.close(fd)
            self._poll.close()
            self._manager.leave()
            script = os.fsdecode(os.read(orders, _PATH_MAX))
            os.close(orders)
            code = self._do(script, slot) if script else 0
        except BaseException:  # noqa: BLE001  nothing of this process may go on in a copy
            traceback.print_exc()
        finally:
            os._exit(code)

    def _do(self, script: str, slot: int) -> int:
        try:
            payload = read_payload(script)
        except Exception:  # noqa: BLE001  a script that was put away, a directory that is gone
            return _NO_SCRIPT
        for step in self._first_steps:
            step()
        KILLING._known_to_forks = False  # noqa: SLF001
        self._face.show(payload["wrap"]["env"]["XQUTE_JOB"], script)
        if not self._manager.lives():
            return 0
        self._manager.close()
        shared = self._shared

        def note(wrapping: Wrapping) -> None:
            shared[slot] = _TOLD if wrapping.told else _CLAIMED

        return _wrapped(script, payload, note, run_exits)

    def _reap(self) -> None:
        """Tell of copies that ended; nobody else here waits for children."""
        os.read(self._woken, PACKET)
        records = []
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            slot = self._slots.pop(pid, None)
            if slot is None:
                continue
            self._write_end(pid, slot, status)
            orders = self._spares.pop(pid, None)
            if orders is not None:
                os.close(orders)
            cpu = used.ru_utime + used.ru_stime
            # What this process had when it was copied counts as memory of the copy.
            peak = used.ru_maxrss if used.ru_maxrss > own else 0
            records.append(RECORD.pack(ENDED, pid, status, peak, cpu))
        if records:
            self._manager.tell(*records)

    def _write_end(self, pid: int, slot: int, status: int) -> None:
        """Write down the end of a copy that could not do so itself."""
        directory = self._directories.pop(pid, "")
        if self._shared[slot] == _CLAIMED and directory:
            rc = os.waitstatus_to_exitcode(status)
            told_for(directory, pid, rc if rc >= 0 else 128 - rc)
        self._shared[slot] = 0
        self._free.append(slot)

    # The manager

    def _hear(self) -> bool:
        """Hand over what it says to the copies; False: it closed its side."""
        packet = self._manager.read()
        if not packet:
            return False
        number, _, script = packet.partition(b" ")
        orders = self._spares.pop(int(number), None)
        if orders is not None:  # else it ended, and that was told
            self._directories[int(number)] = directory_of(os.fsdecode(script))
            try:
                os.write(orders, script)
            except OSError:  # it has just ended
                pass
            os.close(orders)
        return True

    def _dismiss(self) -> None:
        """Let go who waits for a job."""
        for orders in self._spares.values():
            os.close(orders)
        self._spares.clear()


def call(script: str, payload: Mapping[str, Any], wrapping: Wrapping, leave: Callable[[], None]) -> int:
    """Do the call of a job, and what a program does at its end."""
    rc = run(script, payload)
    leave()
    if KILLING.asked:
        wrapping.asked = wrapping.asked or "TERM"
    return rc
