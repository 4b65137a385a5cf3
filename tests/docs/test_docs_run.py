"""Every Python block of README.md and of the documentation does what it says: it runs.

The blocks of a page are one program: they run in order, in one namespace, which is `__main__`, and
in one empty folder. A block that calls `asyncio.run()` runs as it stands; any other runs inside the
event loop of its page, and may use `await` at its top level. A block opened by
"```python no-run" is only compiled: it needs a cluster, or shows how not to do it.
"""

import ast
import asyncio
import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if path.is_file())

#: Longer than any example should make a reader wait.
BLOCK_SECONDS = 60

OPENING_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}) *(?P<info>[^`]*)$")


@dataclass(frozen=True)
class Block:
    """One fenced block of Python."""

    page: Path
    #: of its first line of code, in the page
    line: int
    text: str
    runs: bool

    @property
    def owns_its_loop(self) -> bool:
        return "asyncio.run(" in self.text

    def compiled(self) -> CodeType:
        """The block as code whose tracebacks show lines of the page."""
        padding = "\n" * (self.line - 1)
        flags = 0 if self.owns_its_loop else ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        return compile(padding + self.text, str(self.page), "exec", flags, dont_inherit=True)


def blocks(page: Path) -> Iterator[Block]:
    """The Python blocks of a page, in order; other languages and plain text are passed over."""
    lines = iter(enumerate(page.read_text("utf-8").splitlines(), start=1))
    for number, line in lines:
        opening = OPENING_FENCE.match(line)
        if not opening:
            continue
        indent, fence = len(opening["indent"]), opening["fence"]
        body = []
        for _, inner in lines:
            if re.fullmatch(rf" *{re.escape(fence[0])}{{{len(fence)},}} *", inner):
                break
            body.append(inner[min(indent, len(inner) - len(inner.lstrip(" "))) :])
        language, *words = re.split(r"[\s{}.]+", opening["info"].strip(" {}.")) or [""]
        if language in {"python", "py"}:
            yield Block(page, number + 1, "\n".join(body) + "\n", runs="no-run" not in words)


def where(block: Block, error: BaseException) -> str:
    """The place in the page where an error came from: "docs/index.md:12"."""
    line = block.line
    if isinstance(error, SyntaxError) and error.filename == str(block.page) and error.lineno:
        line = error.lineno
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(block.page) and frame.lineno:
            line = frame.lineno
    path = block.page.relative_to(ROOT) if block.page.is_relative_to(ROOT) else block.page
    return f"{path}:{line}"


def run_block(block: Block, namespace: dict[str, object], runner: asyncio.Runner) -> None:
    code = block.compiled()
    if not block.runs:
        return

    async def inside_the_loop() -> None:
        async with asyncio.timeout(BLOCK_SECONDS):
            result = eval(code, namespace)
            if inspect.iscoroutine(result):
                await result

    if block.owns_its_loop:
        exec(code, namespace)
    else:
        runner.run(inside_the_loop())


def run_page(page: Path) -> None:
    """Run the blocks of a page; the first that raises fails, by file and line."""
    namespace = sys.modules["__main__"].__dict__
    with asyncio.Runner() as runner:
        for block in blocks(page):
            try:
                run_block(block, namespace, runner)
            except (Exception, SystemExit) as error:  # noqa: BLE001  shown with its place
                shown = "".join(traceback.format_exception(error))
                pytest.fail(f"{where(block, error)}: {error!r}\n\n{shown}", pytrace=False)


@pytest.fixture
def clean_program(tmp_path, monkeypatch):
    """An empty folder and an empty `__main__`, as for a script of its own."""
    monkeypatch.chdir(tmp_path)
    program = ModuleType("__main__")
    program.__file__ = str(tmp_path / "example.py")
    monkeypatch.setitem(sys.modules, "__main__", program)
    monkeypatch.setattr(sys, "argv", [program.__file__])
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page, clean_program) -> None:
    run_page(page)


@pytest.fixture
def run(clean_program):
    """Run a page given as text."""

    def run(text):
        page = clean_program / "page.md"
        page.write_text(text)
        run_page(page)

    return run


def fenced(code, info="python"):
    return f"Some words.\n\n```{info}\n{code}\n```\n\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(fenced("a = 1\n1 / 0"), 5, id="raises"),
        pytest.param(fenced("a = 1") + fenced("a / 0"), 10, id="second block"),
        pytest.param(fenced("def f():\n    1 / 0\nf()"), 5, id="in a function"),
        pytest.param(fenced("import asyncio\nawait asyncio.sleep(0)\n1 / 0"), 6, id="after await"),
        pytest.param(fenced("a = 1\na = = 1"), 5, id="syntax"),
        pytest.param(fenced("a = = 1", "python no-run"), 4, id="syntax of no-run"),
        pytest.param(fenced("raise SystemExit(1)"), 4, id="exit"),
        pytest.param("- x\n\n    ```python\n    if True:\n        1 / 0\n    ```\n", 5, id="indented"),
        pytest.param('~~~py title="a.py"\n1 / 0\n~~~\n', 2, id="tildes and title"),
        pytest.param("``` { .python .annotate }\n1 / 0\n```\n", 2, id="braces"),
        pytest.param(fenced("import asyncio\nasync def f():\n    1 / 0\nasyncio.run(f())"), 6, id="own loop"),
    ],
)
def test_a_failing_block_is_named_by_file_and_line(run, text, line) -> None:
    with pytest.raises(pytest.fail.Exception, match=rf"page\.md:{line}: "):
        run(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(fenced("1 / 0", "python no-run"), id="no-run"),
        pytest.param(fenced("1 / 0", "{ .python .no-run }"), id="no-run in braces"),
        pytest.param(fenced("await nothing", "python no-run"), id="await in no-run"),
        pytest.param(fenced("1 / 0", "sh") + fenced("1 / 0", "") + fenced("1 / 0", "pycon"), id="sh"),
        pytest.param("````md\n```python\n1 / 0\n```\n````\n", id="a fence in a fence"),
        pytest.param(fenced("a = 1") + fenced("assert a == 1"), id="one namespace"),
        pytest.param(fenced("import asyncio\nasyncio.get_running_loop()"), id="a loop runs"),
        pytest.param(fenced("if __name__ != '__main__': 1 / 0"), id="main"),
        pytest.param(fenced("import os\nassert not set(os.listdir()) - {'page.md'}"), id="own folder"),
        pytest.param(
            fenced("import asyncio\nasync def f(): return 7")
            + fenced("assert await f() == 7\ntask = asyncio.create_task(f())")
            + fenced("if __name__ == '__main__':\n    asyncio.run(f())")
            + fenced("assert await task == 7"),
            id="one loop",
        ),
    ],
)
def test_what_is_right_is_let_through(run, text) -> None:
    run(text)


def test_a_block_that_hangs_is_named(run, monkeypatch) -> None:
    monkeypatch.setitem(globals(), "BLOCK_SECONDS", 0.01)

    with pytest.raises(pytest.fail.Exception, match=r"page\.md:\d+: TimeoutError"):
        run(fenced("import asyncio\nawait asyncio.Event().wait()"))


def test_there_are_pages() -> None:
    assert ROOT / "README.md" in PAGES
