"""The page of promises names, for each of them, where it ends and tests that exist."""

import ast
import re
from functools import cache

import pytest

from tests.architecture.sources import ROOT, FunctionNode, functions, hold

PAGE = ROOT / "docs" / "concepts" / "promises.md"
README = ROOT / "README.md"
SHOWN = re.compile(r"`((?:tests|xqute)/[\w/]+\.py)::(\w+)`")


@cache
def names_in(path: str) -> frozenset[str]:
    """The tests of a file; none when there is no such file."""
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    tree = ast.parse(file.read_text("utf-8"), path)
    return frozenset(node.name for _, node in functions(tree) if isinstance(node, FunctionNode))


def sections(page: str) -> dict[str, str]:
    """The text below each heading of the second level."""
    pieces = re.split(r"^## (.+)$", page, flags=re.MULTILINE)[1:]
    return {heading.strip(): text for heading, text in zip(pieces[::2], pieces[1::2], strict=True)}


def unproved(page: str) -> list[str]:
    """The promises that name no test, no limit or nothing that holds them, and tests that are not there."""
    found = []
    for heading, text in sections(page).items():
        found += [
            f"{heading}: does not say *{word}:*"
            for word in ("Ends at", "Shown by")
            if f"*{word}:*" not in text
        ]
        shown = SHOWN.findall(text.partition("*Shown by:*")[2])
        if not shown:
            found.append(f"{heading}: names no test")
        found += [
            f"{heading}: there is no {path}::{name}" for path, name in shown if name not in names_in(path)
        ]
        lines = [line for line in text.partition("*Shown by:*")[2].splitlines() if line.startswith("- ")]
        if len(lines) != len(shown):
            found.append(f"{heading}: {len(lines)} lines, but {len(shown)} tests can be read")
    return found


def promised(readme: str) -> list[str]:
    """The sentences of the README's chapter on promises that are in bold."""
    chapter = sections(readme)["What it promises"]
    return [words.rstrip(".") for words in re.findall(r"^- \*\*(.+?)\*\*", chapter, flags=re.MULTILINE)]


def test_each_promise_names_where_it_ends_and_tests_that_exist() -> None:
    hold(unproved(PAGE.read_text("utf-8")))


def test_each_promise_of_the_readme_has_its_chapter() -> None:
    sentences = promised(README.read_text("utf-8"))

    assert len(sentences) >= 6
    assert [words for words in sentences if words not in sections(PAGE.read_text("utf-8"))] == []


GOOD = "## A\n\nfine\n\n*Ends at:*\nb\n\n*Shown by:*\n\n- `tests/architecture/test_promises.py::promised`\n"


def test_a_page_that_keeps_the_rule_is_let_through() -> None:
    assert unproved(GOOD) == []


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (GOOD.replace("::promised", "::test_promised"), "there is no"),
        (GOOD.replace("architecture/", "nowhere/"), "there is no"),
        (GOOD.replace("*Ends at:*", ""), "does not say *Ends at:*"),
        (GOOD.replace("*Shown by:*", ""), "does not say *Shown by:*"),
        (GOOD.partition("- `")[0], "names no test"),
        (GOOD + "- `tests/x.py`\n", "2 lines, but 1"),
    ],
    ids=["no such test", "no such file", "no limit", "no tests", "none named", "not readable"],
)
def test_a_page_that_breaks_the_rule_is_caught(page, words) -> None:
    assert words in "\n".join(unproved(page))
