"""What a call is, found again in its job's process: the payload, the place, the function, the arguments."""

from __future__ import annotations

import binascii
import importlib
import io
import json
import os
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from ..errors import MetadirError, ResultTooLarge, XquteError
from ..settings import RESULT_MAX_BYTES
from .files import open_regular, read_all
from .results import MAIN, RESULT, Unpickler, read_result

#: Begins the last line of a script; the payload follows.
MARK: Final = b"#xqute call "

PLACES: Final = ".places"

#: Used without what `json.loads` does around it, each piece of which costs a fresh copy of a process a page.
_DECODER: Final = json.JSONDecoder()

#: The submitter's main program is being imported: what it does at its top level, without a guard, would
#: be done once per job. `Xqute(…)` refuses to be made meanwhile.
importing_main = False

#: The place where this process is, where nothing can have led it away since.
_entered: Place | None = None


def read_payload(script: str) -> dict[str, Any]:
    """What the last line of a job's script says.

    Raises:
        XquteError: It says nothing of a call.
        OSError: It can't be read.
    """
    content = read_all(script).rstrip(b"\n")
    line = content[content.rfind(b"\n") + 1 :]
    if not line.startswith(MARK):
        raise XquteError(f"{script} is no script of a Python call: its last line holds none")
    payload: dict[str, Any] = _DECODER.raw_decode(line[len(MARK) :].decode())[0]
    return payload


class Place:
    """Where the call was pushed: which Python, which modules, which main program."""

    #: Those that were read in this process, by their paths.
    _known: ClassVar[dict[str, Place]] = {}

    def __init__(self, document: Mapping[str, Any]) -> None:
        """The place as it was written at push."""
        self._document = document
        self._main: types.ModuleType | None = None

    @classmethod
    def read(cls, root: str, digest: str) -> Place:
        """The place of this digest.

        Raises:
            MetadirError: It is not there.
        """
        path = f"{root}/{PLACES}/{digest}.json"
        if path in cls._known:
            return cls._known[path]
        try:
            with open(path, encoding="utf-8") as file:
                place = cls._known[path] = cls(json.load(file))
                return place
        except (OSError, ValueError) as exc:
            sort = exc.strerror if isinstance(exc, OSError) else exc
            msg = f"the place this call was pushed in is not known any more: {path}: {sort}; push it again"
            raise MetadirError(msg) from exc

    def enter(self) -> None:
        """Look for modules where the submitter did; what it was started with is its own.

        Raises:
            XquteError: This is another version of Python: what was pickled there can't be read here.
        """
        global _entered  # noqa: PLW0603  where a process is, all of it is
        if _entered is self:
            return
        _entered = None
        there, here = tuple(self._document["version"]), sys.version_info[:2]
        if there != here:
            wanted, ours = ".".join(map(str, there)), ".".join(map(str, here))
            raise XquteError(
                f"the call was pushed by Python {wanted}, and this is Python {ours} ({sys.executable}): "
                f"install Python {wanted} here, or push from Python {ours}"
            )
        path = [str(entry) for entry in self._document["path"]]
        known = set(path)
        sys.argv[:] = [(self._document.get("main") or {}).get("file", "")]
        sys.path[:] = [*path, *(entry for entry in sys.path if entry not in known)]

    def stay(self) -> None:
        """Whoever is copied from this process need not enter again."""
        global _entered  # noqa: PLW0603
        self.enter()
        _entered = self

    @property
    def main(self) -> types.ModuleType:
        """The submitter's main program, imported when it is first asked for.

        Raises:
            XquteError: There is none that could be imported.
            Exception: Whatever it raises.
        """
        if self._main is None:
            self._main = self._import_main()
        return self._main

    def _import_main(self) -> types.ModuleType:
        main = self._document.get("main") or {}
        if not main:
            raise XquteError("the call was pushed from no script or module, and refers to one")
        if "module" in main:
            name = main["module"]
            module = sys.modules.get(name)
            module = module or _import_guarded(name, lambda: importlib.import_module(name))
            sys.modules[MAIN] = module
            return module
        file = main["file"]
        module = sys.modules.get(MAIN)
        if module is not None and module.__file__ == file:
            return module
        return _import_guarded(file, lambda: import_file(file))

    def is_main(self, module: str) -> bool:
        """Whether a module is the submitter's main program (`python -m`)."""
        return module == (self._document.get("main") or {}).get("module")

    def import_module(self, name: str) -> types.ModuleType:
        """Import a module by its name."""
        return self.main if self.is_main(name) else sys.modules.get(name) or importlib.import_module(name)


def _import_guarded(shown: str, load: Callable[[], types.ModuleType]) -> types.ModuleType:
    """Import a main program, whose guard protects it; say so where it has none."""
    global importing_main  # noqa: PLW0603  it is read by whoever is imported
    importing_main = True
    try:
        return load()
    except SystemExit as exc:
        msg = (
            f"importing {shown} for one of its functions ended the process ({exc!r}): "
            'put what it does at its top level below `if __name__ == "__main__":`'
        )
        raise XquteError(msg) from exc
    finally:
        importing_main = False


def import_file(path: str) -> types.ModuleType:
    """Import a script under a name that its guard does not answer to.

    Raises:
        XquteError: It is gone.
    """
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as exc:
        msg = f"the script {path}, which the function is of, can't be read: {exc.strerror}"
        raise XquteError(msg) from exc
    module = types.ModuleType(MAIN)
    module.__file__ = path
    sys.modules[MAIN] = module
    try:
        # Not cached as modules are: a folder full of scripts stays as it is.
        exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    except BaseException:
        del sys.modules[MAIN]
        raise
    return module


class Needs:
    """The results of the jobs that a call needs; each is read once, so that identity is kept.

    Args:
        root: The metadir.
        needs: The id of each, and how its result is kept: "result", "skipped", or the file that a
            command wrote its output to.
        place: Where their classes are looked for.
    """

    def __init__(self, root: str, needs: Sequence[Sequence[Any]], place: Place) -> None:
        """Nothing is read yet."""
        self.root = root
        self._needs = needs
        self._place = place
        self._read: dict[int, Any] = {}

    def id(self, number: int) -> int:
        """Which job the need of this number is."""
        return int(self._needs[number][0])

    def load(self, number: int) -> Any:
        """The result of the need of this number.

        Raises:
            XquteError: It can't be had any more.
        """
        id, how = self._needs[number]
        return self.fetch(id, how)

    def fetch(self, id: int, how: str) -> Any:
        """The result of a job.

        Raises:
            XquteError: It can't be had any more.
        """
        if id not in self._read:
            self._read[id] = self._fetch(id, how)
        return self._read[id]

    def _fetch(self, id: int, how: str) -> Any:
        if how == "skipped":
            return None
        if how != "result":
            return read_text(how, id)
        return read_result(f"{self.root}/{id}/{RESULT}", lambda: self._place.main)


def read_text(path: str, id: int) -> str:
    """What a command printed, without the newlines at its end.

    Raises:
        MetadirError: The file is gone.
        ResultTooLarge: It is more than a result may be.
    """
    file = open_regular(path, follow=True)  # it may be a file of the user's own
    if file is None:
        if os.path.exists(path):
            return ""
        raise MetadirError(f"the output of job {id}, which this one needs, is not at {path} any more")
    with file:
        content = file.read(RESULT_MAX_BYTES + 1)
    if len(content) > RESULT_MAX_BYTES:
        sort = f"the output of job {id} is more than {RESULT_MAX_BYTES} bytes"
        raise ResultTooLarge(f"{sort}: read it from {path} instead")
    return content.decode("utf-8", "surrogateescape").rstrip("\n")


class Loaded:
    """A function and its arguments."""

    __slots__ = ("args", "function", "kwargs")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """As they are called."""
        self.function = function
        self.args = args
        self.kwargs = kwargs


def load(function: Mapping[str, Any], place: Place, needs: Needs) -> Loaded:
    """Find a function and make its arguments.

    Raises:
        XquteError: They can't be found.
        Exception: Whatever their modules raise.
    """
    found = find(function["target"], place)
    if function.get("undoes"):
        return _load_cleanup(found, function, place, needs.root)
    args, kwargs = unpickle(function["args"], place, needs.load)
    # The name of a decorated function leads to its task.
    return Loaded(found.fn if _is_task(found) else found, args, kwargs)


def _load_cleanup(found: Any, function: Mapping[str, Any], place: Place, root: str) -> Loaded:
    """The cleanup function of a task, for a job that is over."""
    from .undone import Undone

    cleanup = found.cleanup_fn if _is_task(found) else None
    if cleanup is None:
        raise XquteError(f"{function['task'] or found} has no cleanup function any more")
    # What it needed may never have been there.
    args, kwargs = unpickle(function["args"], place, lambda _: None)
    return Loaded(cleanup, (Undone.of(function["undoes"], root, args, kwargs),), {})


def _is_task(found: Any) -> bool:
    return hasattr(type(found), "__xqute_task__")


def find(target: str | Mapping[str, str], place: Place) -> Any:
    """The function or task that a call names, or brings with it.

    Raises:
        XquteError: It is not there any more.
        Exception: Whatever its module raises.
    """
    if isinstance(target, str):
        module, _, name = target.partition(":")
        found: Any = place.import_module(module)
    elif "pickle" in target:
        return unpickle(target["pickle"], place)
    else:
        module, name = target["file"], target["qualname"]
        found = place.main
    try:
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError as exc:
        if _is_guarded(place, module, name):
            told = f'{module} has {name} below `if __name__ == "__main__":`, where a job does not find it'
            raise XquteError(f"{told}: define it above that line") from exc
        msg = f"{module} has no {name} any more: it was renamed or removed since the push"
        raise XquteError(msg) from exc
    return found


def _is_guarded(place: Place, module: str, name: str) -> bool:
    """Whether a name is one of those that the main program has only when it is started itself."""
    file = place.main.__file__ if place.is_main(module) else module
    if file is None or not os.path.isfile(file):
        return False
    import ast

    with open(file, "rb") as source:
        nodes = ast.parse(source.read()).body
    guards = (node for node in nodes if isinstance(node, ast.If) and "__name__" in ast.dump(node.test))
    return any(
        name.partition(".")[0] in (getattr(node, "name", None), getattr(node, "id", None))
        for guard in guards
        for node in ast.walk(guard)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    )


def unpickle(text: str, place: Place, load_need: Callable[[int], Any] | None = None) -> Any:
    """Read a pickle that stands in a payload."""
    return Unpickler(io.BytesIO(binascii.a2b_base64(text)), lambda: place.main, load_need).load()
