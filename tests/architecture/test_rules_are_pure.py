"""`rules/` decides: plain functions without await, clock, disk or chance."""

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.sources import Rule, Source, Sources, failing_example, hold, package

#: Modules that wait, ask the clock, roll dice or touch the world. Of `pathlib` the Pure… half is
#: a way to write strings.
WORLDLY_MODULES = frozenset(
    "aiofiles asyncio builtins concurrent fcntl glob importlib io logging multiprocessing os"
    " pathlib posix random secrets select shutil signal socket sqlite3 subprocess sys tempfile"
    " threading time uuid".split()
)
PURE_NAMES = frozenset({"pathlib.PurePath", "pathlib.PurePosixPath"})

WORLDLY_FUNCTIONS = frozenset({"open", "input", "print", "exec", "eval", "__import__"})

#: Of a path or of a clock, whoever handed it in.
WORLDLY_METHODS = frozenset(
    "read_text read_bytes write_text write_bytes exists is_file is_dir is_symlink stat lstat"
    " iterdir glob rglob mkdir rmdir unlink touch chmod symlink_to hardlink_to readlink resolve"
    " now today utcnow".split()
)

ASYNC_NODES = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)


def in_rules(sources: Sources) -> Iterator[tuple[Source, ast.AST]]:
    for source in sources:
        if source.inner_path.startswith("rules/"):
            for node in ast.walk(source.tree):
                yield source, node


def waiting(sources: Sources) -> list[str]:
    return [
        source.at(getattr(node, "lineno", 1), "a rule does not wait: give it what it needs to know")
        for source, node in in_rules(sources)
        if isinstance(node, ASYNC_NODES) or (isinstance(node, ast.comprehension) and node.is_async)
    ]


def imported_names(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), names=names, level=0):
            return [f"{module}.{alias.name}" for alias in names]
        case _:
            return []


def worldly_imports(sources: Sources) -> list[str]:
    return [
        source.at(node.lineno, f"imports {name}: a rule is told what it needs to know")
        for source, node in in_rules(sources)
        for name in imported_names(node)
        if name.split(".")[0] in WORLDLY_MODULES and name not in PURE_NAMES
    ]


def worldly_calls(sources: Sources) -> list[str]:
    violations = []
    for source, node in in_rules(sources):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in WORLDLY_FUNCTIONS:
                violations.append(source.at(node.lineno, f"calls {name}()"))
            case ast.Call(func=ast.Attribute(attr=name)) if name in WORLDLY_METHODS:
                violations.append(source.at(node.lineno, f"calls .{name}()"))
    return violations


def memory(sources: Sources) -> list[str]:
    return [
        source.at(node.lineno, "a rule remembers nothing between two calls")
        for source, node in in_rules(sources)
        if isinstance(node, ast.Global)
    ]


def test_rules_do_not_wait() -> None:
    """No async function, no await.

    Fails:

        # xqute/rules/verdict.py
        async def verdict(job):
            return await job.history()
    """
    hold(waiting(package()))


def test_rules_import_nothing_of_the_world() -> None:
    """No asyncio, os, time, random: a rule is told what it needs to know.

    Fails:

        # xqute/rules/evidence.py
        import time
    """
    hold(worldly_imports(package()))


def test_rules_touch_nothing() -> None:
    """No open(), no method of a path that asks the disk, no datetime.now().

    Fails:

        # xqute/rules/evidence.py
        def evidence(metadir):
            return (metadir / "job.rc").read_text()
    """
    hold(worldly_calls(package()))


def test_rules_remember_nothing() -> None:
    """No `global`.

    Fails:

        # xqute/rules/limits.py
        running = 0
        def start():
            global running
            running += 1
    """
    hold(memory(package()))


RULES: dict[object, Rule] = {
    test_rules_do_not_wait: waiting,
    test_rules_import_nothing_of_the_world: worldly_imports,
    test_rules_touch_nothing: worldly_calls,
    test_rules_remember_nothing: memory,
}

OTHER_WAYS_TO_BREAK_A_RULE = [
    ("async for", waiting, "x = lambda: [a async for a in b]"),
    ("async with", waiting, "async def f():\n async with a: pass"),
    ("from", worldly_imports, "from os import environ"),
    ("part of a module", worldly_imports, "import os.path as p"),
    ("in a function", worldly_imports, "def f():\n import time"),
    ("a path that can read", worldly_imports, "from pathlib import Path"),
    ("open", worldly_calls, "def f(p):\n return open(p)"),
    ("clock", worldly_calls, "from datetime import datetime\nx = datetime.now()"),
]

RIGHT = [
    ("plain", "xqute/rules/limits.py", "def free(used, limit): return limit - used"),
    ("types", "xqute/rules/limits.py", "from datetime import timedelta\nimport math, re, hashlib"),
    ("pure path", "xqute/rules/limits.py", "from pathlib import PurePosixPath"),
    ("elsewhere", "xqute/engine/run.py", "import os, time\nasync def f():\n await g(open('a'))"),
]


@pytest.mark.parametrize("test", RULES, ids=lambda test: test.__name__)
def test_the_example_of_a_rule_breaks_it(test) -> None:
    assert RULES[test](failing_example(test))


@pytest.mark.parametrize(
    ("rule", "text"), [pytest.param(*case[1:], id=case[0]) for case in OTHER_WAYS_TO_BREAK_A_RULE]
)
def test_a_rule_is_not_evaded(rule: Rule, text: str) -> None:
    assert rule([Source("xqute/rules/new.py", text)])


@pytest.mark.parametrize(("path", "text"), [pytest.param(*case[1:], id=case[0]) for case in RIGHT])
def test_what_is_right_is_let_through(path: str, text: str) -> None:
    assert not [line for rule in RULES.values() for line in rule([Source(path, text)])]
