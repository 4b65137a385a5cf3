"""The package as source text, so that a rule can be tried on code that breaks it."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "xqute"

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One file of the package."""

    #: from the checkout, with slashes: "xqute/engine/run.py"
    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @property
    def inner_path(self) -> str:
        """The path inside the package: "engine/run.py"."""
        return self.path.removeprefix("xqute/")

    @property
    def module(self) -> str:
        """The name it is imported by: "xqute.engine.run"."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def is_package(self) -> bool:
        return self.path.endswith("/__init__.py")

    def at(self, line: int, words: str) -> str:
        return f"{self.path}:{line}: {words}"


Sources = list[Source]
Rule = Callable[[Sources], list[str]]


@cache
def package() -> Sources:
    """Every Python file of xqute, as it is on disk."""
    return [
        Source(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, FunctionNode]]:
    """Every function with its qualified name, methods and nested ones included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, FunctionNode):
            yield prefix + node.name, node
            yield from functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")
        else:
            yield from functions(node, prefix)


def hold(violations: list[str]) -> None:
    """Fail with one line per violation."""
    if violations:
        pytest.fail("\n".join(violations), pytrace=False)


def failing_example(test: Callable[..., None]) -> Sources:
    """The code below "Fails:" in the docstring of a test, one source per `# xqute/….py` line."""
    example = inspect.cleandoc(test.__doc__ or "").partition("Fails:")[2]
    files = re.split(r"^    # (xqute/\S+\.py)$", example, flags=re.MULTILINE)[1:]
    return [
        Source(path, inspect.cleandoc(text) + "\n")
        for path, text in zip(files[::2], files[1::2], strict=True)
    ]
