"""Imports go down: the engine has never heard of Slurm, a backend has never heard of the engine."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import product

import pytest

from tests.architecture.sources import (
    FunctionNode,
    Rule,
    Source,
    Sources,
    failing_example,
    hold,
    package,
)

#: Lowest first. A name is a module or a folder right below xqute/. It may import from every floor
#: below its own, and on its own floor from what stands left of it.
FLOORS = (
    ("printable", "errors", "settings", "states", "states_page", "owner", "crash", "events"),  # words
    # what to run
    (
        "amounts",
        "options",
        "wrapper",
        "pickling",
        "shown",
        "naming",
        "work",
        "functions",
        "calls",
        "levels",
        "names",
    ),
    ("rules",),
    ("plan",),  # a tree of calls becomes jobs
    ("inside",),  # what runs in the job's own process: the floors below and the standard library
    ("metadir", "told", "outcome", "handing", "keeping", "jobstate", "job", "report"),  # the job
    ("runner", "scheduler", "store", "broker", "hooking", "plugin"),  # contracts
    ("runners", "schedulers", "stores", "brokers", "plugins"),  # implementations
    ("engine",),
    # what users hold, and what it is made of
    (
        "arguments",
        "completing",
        "heritage",
        "inputs",
        "keeper",
        "missing",
        "pusher",
        "elsewhere",
        "wanted",
        "builder",
        "standing",
        "wiring",
        "producer",
    ),
    ("cli", "web", "__main__"),  # doors
    ("testing",),  # aside: may use all of it, nothing uses it
    ("__init__",),  # the public names, fetched when asked for
)
IMPLEMENTATIONS = next(names for names in FLOORS if "schedulers" in names)

#: One implementation may build on another kind only where it says why.
SIDEWAYS = {
    ("schedulers", "runners"): "where a backend's commands run unless its user says otherwise",
}

#: Pairs that do not know each other in either direction, not even as types.
WALLS = {
    (a, b) for a, b in product((*IMPLEMENTATIONS, "engine"), repeat=2) if a != b and (a, b) not in SIDEWAYS
}

#: Functions that import when they are called, and why: "xqute/file.py::function".
#: `__getattr__` of a package (PEP 562) needs no entry.
LAZY: dict[str, str] = {
    "xqute/__main__.py::_load": "it is an extra, and says so; and Ctrl-C while it loads is no traceback",
    "xqute/pickling.py::_value_pickler": "only those need cloudpickle who push what has no name",
    "xqute/pickling.py::digest_of_place": "OpenSSL would be copied with every copy of a warm process",
    "xqute/inside/forking.py::warm": "only those need cloudpickle whose function has no name",
    "xqute/inside/results.py::_value_pickler": "the same, of results",
    "xqute/inside/run.py::_call": "only asynchronous calls pay for asyncio",
    "xqute/inside/run.py::_tell": "only calls that report something pay for dataclasses",
    "xqute/inside/current.py::CurrentJob.run": "only those who run commands pay for subprocess and asyncio",
    "xqute/inside/current.py::CurrentJob.run_sync": "the same",
    "xqute/inside/current.py::CurrentJob.require": "only those who require calls pay for planning them",
    "xqute/inside/loading.py::_load_cleanup": "only jobs that clean up pay for pathlib",
    "xqute/inside/loading.py::_is_guarded": "only a call whose function is not there pays for ast",
    "xqute/inside/wrapping.py::_open_new": "a directory in the place of a file is rare, and shutil is large",
    "xqute/cli/report.py::_require": "what plans calls takes longer to load than all the rest of a report",
    "xqute/wiring.py::progress_plugins": "rich is only paid for by those who look",
}

#: Floors whose modules need nothing but the standard library, and cloudpickle for what has no name.
BARE = tuple(name for names in FLOORS[:5] for name in names)


@dataclass(frozen=True)
class Import:
    """One module imported by another."""

    source: Source
    line: int
    target: str
    #: the function it stands in, "" at the top of the module
    function: str
    #: below `if TYPE_CHECKING:`, never executed
    for_types: bool
    #: its name is put together when the program runs
    computed: bool = False

    @property
    def importer_unit(self) -> str:
        return unit(self.source.module)

    @property
    def target_unit(self) -> str:
        return unit(self.target)

    @property
    def inner(self) -> bool:
        return self.target.split(".")[0] == "xqute"

    def says(self, words: str) -> str:
        return self.source.at(self.line, f"imports {self.target}: {words}")


def unit(module: str) -> str:
    """What stands in FLOORS for a module: "xqute.engine.run" → "engine"."""
    return [*module.split("."), "__init__"][1]


def floor(name: str) -> int:
    return next(number for number, names in enumerate(FLOORS) if name in names)


def known(name: str) -> bool:
    return any(name in names for names in FLOORS)


class ImportReader(ast.NodeVisitor):
    """Collects the imports of one file, however they are written."""

    def __init__(self, source: Source, modules: set[str]) -> None:
        self.source = source
        self.modules = modules
        self.found: list[Import] = []
        self.scopes: list[str] = []
        self.in_function = False
        self.for_types = False

    def add(self, node: ast.AST, target: str, *, computed: bool = False) -> None:
        function = ".".join(self.scopes) if self.in_function else ""
        self.found.append(Import(self.source, node.lineno, target, function, self.for_types, computed))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            # Without `as`, `import xqute.states` binds the root.
            binds_root = alias.name.startswith("xqute.") and alias.asname is None
            self.add(node, "xqute" if binds_root else alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parts = self.source.module.split(".")
            drop = node.level - self.source.is_package
            parts = parts[: len(parts) - drop]
            base = ".".join([*parts, *([base] if base else [])])
        for alias in node.names:
            target = f"{base}.{alias.name}"
            is_module = target in self.modules or (base == "xqute" and known(alias.name))
            self.add(node, target if is_module else base)

    def visit_Call(self, node: ast.Call) -> None:
        name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
        if name in {"import_module", "__import__"} and node.args:
            match node.args[0]:
                case ast.Constant(value=str(target)):
                    self.add(node, target)
                case ast.JoinedStr(values=[ast.Constant(value=str(start)), *_]):
                    self.add(node, start.rpartition(".")[0], computed=True)
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        name = getattr(node.test, "attr", None) or getattr(node.test, "id", None)
        before, self.for_types = self.for_types, self.for_types or name == "TYPE_CHECKING"
        for child in node.body:
            self.visit(child)
        self.for_types = before
        for child in node.orelse:
            self.visit(child)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scopes.append(node.name)
        self.generic_visit(node)
        self.scopes.pop()

    def visit_FunctionDef(self, node: FunctionNode) -> None:
        before, self.in_function = self.in_function, True
        self.scopes.append(node.name)
        self.generic_visit(node)
        self.scopes.pop()
        self.in_function = before

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)


def imports(sources: Sources) -> Iterator[Import]:
    modules = {source.module for source in sources}
    for source in sources:
        reader = ImportReader(source, modules)
        reader.visit(source.tree)
        yield from reader.found


def inner_imports(sources: Sources) -> Iterator[Import]:
    """What one part of xqute imports of another part, where both stand in FLOORS."""
    for found in imports(sources):
        names = (found.importer_unit, found.target_unit)
        if found.inner and names[0] != names[1] and all(map(known, names)):
            yield found


def modules_without_floor(sources: Sources) -> list[str]:
    strays = [source for source in sources if not known(unit(source.module))]
    return [source.at(1, "stands on no floor: give it one in FLOORS") for source in strays]


def imports_going_up(sources: Sources) -> list[str]:
    return [
        found.says(f"{found.importer_unit} stands below {found.target_unit}")
        for found in inner_imports(sources)
        if not found.for_types and floor(found.target_unit) > floor(found.importer_unit)
    ]


def imports_going_sideways(sources: Sources) -> list[str]:
    violations = []
    for found in inner_imports(sources):
        names = FLOORS[floor(found.importer_unit)]
        if found.for_types or found.target_unit not in names or names is IMPLEMENTATIONS:
            continue
        if names.index(found.target_unit) > names.index(found.importer_unit):
            violations.append(found.says(f"on their floor, {found.target_unit} comes later"))
    return violations


def imports_through_walls(sources: Sources) -> list[str]:
    return [
        found.says(f"{found.importer_unit} and {found.target_unit} do not know each other")
        for found in inner_imports(sources)
        if (found.importer_unit, found.target_unit) in WALLS
    ]


def imports_of_the_root(sources: Sources) -> list[str]:
    return [
        found.says("the root is for users; inside, name the module")
        for found in imports(sources)
        if found.target == "xqute" and found.source.path != "xqute/__main__.py"
    ]


def imports_in_functions(sources: Sources) -> list[str]:
    return [
        found.says(f"inside {found.function}(): to the top of the file, or into LAZY with a reason")
        for found in imports(sources)
        if found.function
        and not found.computed
        and not (found.source.is_package and found.function == "__getattr__")
        and f"{found.source.path}::{found.function}" not in LAZY
    ]


def import_cycles(sources: Sources) -> list[str]:
    modules = {source.module for source in sources}
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for found in imports(sources):
        at_import_time = not found.function and not found.for_types
        if at_import_time and found.target in modules and found.target != found.source.module:
            graph[found.source.module].add(found.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return ["a cycle of imports: " + " → ".join(reversed(error.args[1]))]
    return []


def foreign_imports(sources: Sources) -> list[str]:
    return [
        found.says(f"{found.importer_unit} needs nothing but the standard library")
        for found in imports(sources)
        if found.importer_unit in BARE
        and not found.inner
        and found.target.split(".")[0] not in sys.stdlib_module_names
        and not (found.target == "cloudpickle" and f"{found.source.path}::{found.function}" in LAZY)
    ]


def test_every_module_has_a_floor() -> None:
    """A new module or folder is given its place before it is used.

    Fails:

        # xqute/utils.py
        def shorten(text): ...
    """
    hold(modules_without_floor(package()))


def test_imports_go_down() -> None:
    """What a module imports when it is loaded stands on a lower floor.

    Types may be named upwards: `if TYPE_CHECKING:` is never executed.

    Fails:

        # xqute/rules/limits.py
        from xqute.engine.claimer import Claimer
    """
    hold(imports_going_up(package()))


def test_floors_have_an_order() -> None:
    """On one floor, imports go to the left in FLOORS.

    Fails:

        # xqute/jobstate.py
        from .job import Job
    """
    hold(imports_going_sideways(package()))


def test_engine_and_implementations_do_not_know_each_other() -> None:
    """No backend names the engine, the engine names no backend; not even as a type.

    Fails:

        # xqute/engine/submitter.py
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from xqute.schedulers.slurm import SlurmScheduler
    """
    hold(imports_through_walls(package()))


def test_nobody_inside_imports_from_the_root() -> None:
    """`from xqute import …` is for users.

    Fails:

        # xqute/schedulers/local.py
        from xqute import Job
    """
    hold(imports_of_the_root(package()))


def test_no_import_hides_in_a_function() -> None:
    """An import inside a function hides a cycle or a cost.

    Fails:

        # xqute/job.py
        class Job:
            def kill(self):
                from xqute.producer import Xqute
    """
    hold(imports_in_functions(package()))


def test_nothing_is_imported_in_a_circle() -> None:
    """Two modules of one folder may import each other in one direction.

    Fails:

        # xqute/engine/run.py
        from xqute.engine.watcher import Watcher

        # xqute/engine/watcher.py
        from xqute.engine.run import Run
    """
    hold(import_cycles(package()))


def test_words_and_inside_need_only_the_standard_library() -> None:
    """A job's own process starts without xqute's dependencies.

    Fails:

        # xqute/inside/runner.py
        import cloudpickle
    """
    hold(foreign_imports(package()))


def test_every_lazy_import_is_still_there() -> None:
    lazy = {f"{found.source.path}::{found.function}" for found in imports(package())}

    assert not LAZY.keys() - lazy


RULES: dict[object, Rule] = {
    test_every_module_has_a_floor: modules_without_floor,
    test_imports_go_down: imports_going_up,
    test_floors_have_an_order: imports_going_sideways,
    test_engine_and_implementations_do_not_know_each_other: imports_through_walls,
    test_nobody_inside_imports_from_the_root: imports_of_the_root,
    test_no_import_hides_in_a_function: imports_in_functions,
    test_nothing_is_imported_in_a_circle: import_cycles,
    test_words_and_inside_need_only_the_standard_library: foreign_imports,
}

OTHER_WAYS_TO_BREAK_A_RULE = [
    ("relative", imports_going_up, "xqute/rules/limits.py", "from ..engine import run"),
    ("relative twice", imports_going_up, "xqute/rules/a/b.py", "from ...producer import Xqute"),
    ("package relative", imports_going_up, "xqute/rules/__init__.py", "from ..engine import run"),
    ("module of the root", imports_going_up, "xqute/job.py", "from . import producer"),
    ("import as", imports_going_up, "xqute/job.py", "import xqute.producer as producer"),
    ("by name", imports_going_up, "xqute/job.py", "import_module('xqute.producer')"),
    ("in a try", imports_going_up, "xqute/job.py", "try:\n import xqute.cli as c\nfinally: pass"),
    ("else of types", imports_going_up, "xqute/job.py", "if TYPE_CHECKING: pass\nelse: import xqute.cli as c"),
    ("nobody uses testing", imports_going_up, "xqute/cli/run.py", "from xqute.testing import x"),
    ("backend to engine", imports_through_walls, "xqute/stores/sqlite.py", "from xqute.engine.run import Run"),
    ("between backends", imports_through_walls, "xqute/stores/sqlite.py", "from ..brokers import b"),
    ("runner to scheduler", imports_through_walls, "xqute/runners/ssh.py", "from ..schedulers import local"),
    ("computed", imports_through_walls, "xqute/engine/run.py", "import_module(f'xqute.schedulers.{name}')"),
    ("root relative", imports_of_the_root, "xqute/engine/run.py", "from .. import Job"),
    ("root bound", imports_of_the_root, "xqute/engine/run.py", "import xqute.job"),
    ("root as type", imports_of_the_root, "xqute/job.py", "if TYPE_CHECKING:\n from xqute import Xqute"),
    ("async function", imports_in_functions, "xqute/job.py", "async def f():\n import os"),
    ("getattr of a module", imports_in_functions, "xqute/job.py", "def __getattr__(n):\n import os"),
    ("getattr of a class", imports_in_functions, "xqute/engine/__init__.py", "class A:\n def __getattr__(s, n):\n  import os"),
    ("by name in a function", imports_in_functions, "xqute/job.py", "def f():\n import_module('os')"),
]  # fmt: skip

RIGHT = [
    ("down", "xqute/engine/run.py", "from xqute.rules.limits import free\nfrom ..job import Job"),
    ("left", "xqute/job.py", "from .metadir import Metadir\nfrom . import jobstate"),
    ("up as a type", "xqute/job.py", "if TYPE_CHECKING:\n from .scheduler import Scheduler"),
    ("same folder", "xqute/schedulers/slurm.py", "from .batch import BatchScheduler"),
    ("its runner", "xqute/schedulers/batch.py", "from xqute.runners.local import LocalRunner"),
    ("pep 562", "xqute/__init__.py", "def __getattr__(name):\n from xqute.job import Job"),
    ("the wiring", "xqute/producer.py", "from xqute.engine.run import Run\nfrom .stores import x"),
    ("resolve", "xqute/schedulers/__init__.py", "def f(n):\n return import_module(f'xqute.schedulers.{n}')"),
    ("the world", "xqute/engine/run.py", "import asyncio, rich\nfrom os import path"),
]  # fmt: skip


@pytest.mark.parametrize("test", RULES, ids=lambda test: test.__name__)
def test_the_example_of_a_rule_breaks_it(test) -> None:
    assert RULES[test](failing_example(test))


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [pytest.param(*case[1:], id=case[0]) for case in OTHER_WAYS_TO_BREAK_A_RULE],
)
def test_a_rule_is_not_evaded(rule: Rule, path: str, text: str) -> None:
    assert rule([Source(path, text)])


@pytest.mark.parametrize(("path", "text"), [pytest.param(*case[1:], id=case[0]) for case in RIGHT])
def test_what_is_right_is_let_through(path: str, text: str) -> None:
    assert not [line for rule in RULES.values() for line in rule([Source(path, text)])]
