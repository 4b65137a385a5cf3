"""What a call returned: `job.result`, written whole or not at all, and read only when it is whole.

The first line is `xqute result 1 <BLAKE2b-256 of the rest> <its length>`, the rest a pickle. Neither
side holds a second copy of a large one.
"""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import sys
import types
from _blake2 import blake2b  # not by way of hashlib, which loads OpenSSL: its memory is copied with a process
from collections import ChainMap
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from ..errors import MetadirError, XquteError
from .files import make_new, open_regular, write_all, write_new
from .reprs import shown

RESULT: Final = "job.result"
TEXT: Final = "job.result.txt"

#: How the submitter's main program is called in a job, and how a pickle may call it: as started, as a
#: child of multiprocessing, and in a job.
MAIN: Final = "__xqute_main__"
MAINS: Final = frozenset({"__main__", "__mp_main__", MAIN})

TEXT_MAX_BYTES: Final = 4096

_HEAD: Final = "xqute result 1 {} {:020d}\n"
_HEAD_BYTES: Final = len(_HEAD.format("0" * 64, 0))
_READ_BYTES: Final = 1 << 20
_DIGEST_BYTES: Final = 32


class _Digested:
    """A file for a pickle, which gets its first line when the digest is known."""

    def __init__(self, fd: int) -> None:
        """Nothing is written yet."""
        self._fd = fd
        self._held = b""
        self._digest = blake2b(digest_size=_DIGEST_BYTES)
        self._length = 0

    def write(self, data: Any) -> int:
        """Write a piece; the first, which for most is the only one, waits for the first line."""
        self._digest.update(data)
        if not self._length and isinstance(data, bytes):
            self._held = data
            self._length = len(data)
            return self._length
        self._let_go()
        # Large buffers (of arrays) come as they are, and know their size in bytes only so.
        piece = memoryview(data).cast("B")
        write_all(self._fd, piece)
        self._length += len(piece)
        return len(piece)

    def _let_go(self) -> None:
        if self._held or not self._length:
            write_all(self._fd, _HEAD.format("0" * 64, 0).encode() + self._held)
            self._held = b""

    def end(self) -> None:
        """All is written but the first line."""
        head = _HEAD.format(self._digest.hexdigest(), self._length).encode()
        if self._held:
            write_all(self._fd, head + self._held)
        else:
            os.pwrite(self._fd, head, 0)


def write_result(directory: str, value: Any) -> None:
    """Write what a call returned.

    Raises:
        XquteError: It is nothing that can be kept; the message says what and where its text is.
        OSError: The file can't be written.
    """
    if value is not None:
        _write_text(f"{directory}/{TEXT}", value)
    refuse_running(value)
    path = f"{directory}/{RESULT}"
    part = f"{path}.part"
    fd = make_new(part)
    try:
        _pickle(fd, value)
    except (OSError, MemoryError, XquteError):
        raise
    except Exception as exc:
        sort = f"the result, a {type(value).__qualname__}, can't be pickled"
        raise XquteError(f"{sort}: {type(exc).__name__}: {exc}; its text is in {TEXT}") from exc
    finally:
        os.close(fd)
    os.replace(part, path)


def refuse_running(value: Any) -> None:
    """Raise `XquteError` for what is only worth something in the process that made it."""
    kinds = (types.GeneratorType, types.AsyncGeneratorType, types.CoroutineType)
    if isinstance(value, kinds):
        word = "coroutine" if isinstance(value, types.CoroutineType) else "generator"
        name = getattr(value, "__qualname__", "?")
        if isinstance(value, types.CoroutineType):
            value.close()
        hint = "await it" if word == "coroutine" else f"return list({name}(…)) instead"
        raise XquteError(f"the result is the {word} {name}, which ends with the job's process: {hint}")


def _refuse_call(call: Any) -> Any:
    """In the place of what would pickle a call, wherever it stands in a result."""
    raise XquteError(
        f"the result holds the call {call!r}, which nobody would run: give it to another call, or return"
        " what current_job().require([…]) gives for it"
    )


def _write_text(path: str, value: Any) -> None:
    text = shown(value, TEXT_MAX_BYTES)
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > TEXT_MAX_BYTES:
        data = data[: TEXT_MAX_BYTES - 3].decode("utf-8", "ignore").encode() + "…".encode()
    write_new(path, data)


def _pickle(fd: int, value: Any) -> None:
    for make in (_pickler, _value_pickler):
        file = _Digested(fd)
        try:
            make(file).dump(value)
        except (OSError, MemoryError, RecursionError, XquteError):
            raise
        except Exception:
            if make is _value_pickler:
                raise
            os.ftruncate(fd, 0)
            os.lseek(fd, 0, os.SEEK_SET)
            continue
        file.end()
        return


def _pickler(file: Any) -> Any:
    pickler = pickle.Pickler(file, 5)
    pickler.dispatch_table = {**copyreg.dispatch_table, **_refused()}
    return pickler


def _value_pickler(file: Any) -> Any:
    """Pickles also what has no name to find it by: functions and classes made while running."""
    import cloudpickle

    table = ChainMap(_refused(), cloudpickle.Pickler.dispatch_table)
    return type("ValuePickler", (cloudpickle.Pickler,), {"dispatch_table": table})(file, 5)


def _refused() -> dict[type, Callable[[Any], Any]]:
    """Calls, where their module is loaded; otherwise there is none."""
    calls = sys.modules.get("xqute.calls")
    return {calls.Call: _refuse_call} if calls is not None else {}


class Unpickler(pickle.Unpickler):
    """Reads pickles in which the submitter's main program goes by several names.

    Args:
        file: What to read.
        find_main: Gives the module that this program is here.
        load_need: Gives the result of a need by its number, in arguments.
    """

    def __init__(
        self,
        file: BinaryIO,
        find_main: Callable[[], types.ModuleType] | None = None,
        load_need: Callable[[int], Any] | None = None,
    ) -> None:
        """Where the parts come from that are not in the pickle."""
        super().__init__(file)
        self._find_main = find_main or _own_main
        self._mains = MAINS if find_main else MAINS | {_own_name()}
        self._load_need = load_need

    def find_class(self, module: str, name: str, /) -> Any:
        """The object of this name; one of the main program is looked for where that is here."""
        if module not in self._mains:
            return super().find_class(module, name)
        found: Any = self._find_main()
        for part in name.split("."):
            found = getattr(found, part)
        return found

    def persistent_load(self, pid: Any) -> Any:
        """What stands for a need becomes its result."""
        if self._load_need is None:
            raise pickle.UnpicklingError("a result holds no needs")
        return self._load_need(pid)


def _own_main() -> types.ModuleType:
    return sys.modules["__main__"]


def _own_name() -> str:
    """What other processes call the program that was started here, when it is a module (`python -m`)."""
    spec = getattr(_own_main(), "__spec__", None)
    return getattr(spec, "name", "__main__")


def read_result(path: str, find_main: Callable[[], types.ModuleType] | None = None) -> Any:
    """What a call returned.

    Args:
        path: Of its `job.result`.
        find_main: Gives the submitter's main program; without it, this process's own is taken.

    Raises:
        MetadirError: It is not there, or not whole.
        Exception: Whatever its own classes raise when they are made again.
    """
    file = open_regular(path)
    if file is None:
        raise MetadirError(f"there is no result at {path}")
    with file:
        small = _verify(file, path)
        return Unpickler(io.BytesIO(small) if small is not None else file, find_main).load()


def _verify(file: BinaryIO, path: str) -> bytes | None:
    """Check the digest; a small pickle as a whole, None for one that is to be read from the file."""
    words = file.readline(_HEAD_BYTES + 32).decode("ascii", "replace").split()
    begin = file.tell()
    length = os.fstat(file.fileno()).st_size - begin
    if words[:3] != ["xqute", "result", "1"] or len(words) != 5:  # noqa: PLR2004
        raise MetadirError(f"{path} is no result: its first line is not that of one")
    if words[4].lstrip("0") != (str(length) if length else ""):
        raise MetadirError(f"{path} is not whole: it holds {length} bytes, and should hold {words[4]}")
    digest = blake2b(digest_size=_DIGEST_BYTES)
    while data := file.read(_READ_BYTES):
        digest.update(data)
        if len(data) == length:
            break
    if digest.hexdigest() != words[3]:
        raise MetadirError(f"{path} is damaged: its digest is another than the one in its first line")
    if length and len(data) == length:
        return data
    file.seek(begin)
    return None
