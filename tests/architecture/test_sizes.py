"""Small enough to read: every file, every function, and nine functions of ten much smaller."""

import math

import pytest

from tests.architecture.sources import (
    PACKAGE,
    ROOT,
    FunctionNode,
    Source,
    Sources,
    functions,
    hold,
    package,
)

FILE_LINES = 400
ADAPTER_LINES = 250
BODY_LINES = 40
BODY_LINES_P90 = 20


def body_lines(function: FunctionNode) -> int:
    """Lines from the first statement to the last; neither signature nor docstring count.

    A body that is only a docstring or `...` has none.
    """
    statements = [node for node in function.body if not is_constant(node)]
    if not statements:
        return 0
    first = min([statements[0].lineno, *(d.lineno for d in getattr(statements[0], "decorator_list", []))])
    return (function.end_lineno or first) - first + 1


def is_constant(node) -> bool:
    return type(node).__name__ == "Expr" and type(node.value).__name__ == "Constant"


def percentile_90(sizes: list[int]) -> int:
    """The size that nine of ten do not exceed; bodies of no line are no bodies."""
    bodies = sorted(size for size in sizes if size)
    return bodies[math.ceil(0.9 * len(bodies)) - 1] if bodies else 0


def long_files(sources: Sources) -> list[str]:
    sizes = [(source, len(source.text.splitlines())) for source in sources]
    return [
        source.at(lines, f"a file of {lines} lines, more than {FILE_LINES}")
        for source, lines in sizes
        if lines > FILE_LINES
    ]


def long_bodies(sources: Sources) -> list[str]:
    return [
        source.at(node.lineno, f"{name} has a body of {lines} lines, more than {BODY_LINES}")
        for source in sources
        for name, node in functions(source.tree)
        if (lines := body_lines(node)) > BODY_LINES
    ]


def many_long_bodies(sources: Sources) -> list[str]:
    sizes = {
        source.at(node.lineno, f"{name}: {body_lines(node)} lines"): body_lines(node)
        for source in sources
        for name, node in functions(source.tree)
    }
    p90 = percentile_90(list(sizes.values()))
    if p90 <= BODY_LINES_P90:
        return []
    longest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:10]
    return [f"p90 of the bodies is {p90} lines, more than {BODY_LINES_P90}; the longest:", *longest]


def other_languages() -> Sources:
    """The shell and SQL of the package: they are read as well."""
    return [
        Source(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
        for path in sorted(PACKAGE.rglob("*"))
        if path.suffix in {".sh", ".sql"}
    ]


def test_no_file_is_long() -> None:
    """A file aims at 150 lines and stops at 400.

    Fails, with 400 lines more:

        # xqute/engine/run.py
        first = 1
    """
    hold(long_files(package() + other_languages()))


@pytest.mark.parametrize("name", ["sge", "slurm"])
def test_a_clusters_adapter_is_tables_and_short_answers(name) -> None:
    """What is asked of a cluster and what its texts mean can be read at once: less than 250 lines."""
    lines = (PACKAGE / "schedulers" / f"{name}.py").read_text("utf-8").splitlines()

    assert len(lines) < ADAPTER_LINES


def test_no_body_is_long() -> None:
    """A function whose body passes 40 lines does several things.

    Fails, with 40 lines more:

        # xqute/engine/run.py
        def run(): first = 1
    """
    hold(long_bodies(package()))


def test_most_bodies_are_short() -> None:
    """Over the package, nine bodies of ten stop at 20 lines.

    Fails, when two of its ten functions have 21 lines:

        # xqute/engine/run.py
        def run(): first = 1
    """
    hold(many_long_bodies(package()))


def function_of(lines: int, name: str = "f") -> str:
    body = "\n".join("    a = 1" for _ in range(lines))
    return f'def {name}(\n    a,\n):\n    """Say.\n\n    More.\n    """\n\n{body}\n\n\n'


@pytest.mark.parametrize("lines", [FILE_LINES, FILE_LINES + 1])
def test_a_long_file_is_caught(lines) -> None:
    source = Source("xqute/engine/run.py", "first = 1\n" * lines)

    assert bool(long_files([source])) is (lines > FILE_LINES)


@pytest.mark.parametrize("lines", [BODY_LINES, BODY_LINES + 1])
@pytest.mark.parametrize("inside", ["", "class A:\n", "if True:\n", "async "])
def test_a_long_body_is_caught(lines, inside) -> None:
    text = function_of(lines)
    if inside.endswith("\n"):
        text = inside + "".join(f"    {line}\n" for line in text.splitlines())
    else:
        text = inside + text

    assert bool(long_bodies([Source("xqute/engine/run.py", text)])) is (lines > BODY_LINES)


@pytest.mark.parametrize("long_ones", [1, 2])
def test_many_long_bodies_are_caught(long_ones) -> None:
    bodies = [function_of(BODY_LINES_P90 + 1)] * long_ones + [function_of(1)] * (10 - long_ones)

    assert bool(many_long_bodies([Source("xqute/a.py", "".join(bodies))])) is (long_ones > 1)


def test_a_nested_function_counts_for_the_outer_one_too() -> None:
    inner = "".join(f"    {line}\n" for line in function_of(BODY_LINES - 5).splitlines())
    source = Source("xqute/a.py", f"def outer():\n    @wrapped\n{inner}    return f\n")

    assert long_bodies([source])[0].startswith("xqute/a.py:1: outer")


def test_stubs_do_not_make_the_rest_look_shorter() -> None:
    stubs = 'def stub():\n    """Say."""\n    ...\n\n' * 90
    source = Source("xqute/a.py", stubs + function_of(BODY_LINES_P90 + 1) * 10)

    assert many_long_bodies([source])
