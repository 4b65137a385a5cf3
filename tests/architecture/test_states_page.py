"""The page of states is the table of states."""

from importlib import import_module

import pytest

from tests.architecture.sources import ROOT, hold

PAGE = ROOT / "docs" / "states.md"
OPENING = "<!-- generated: states -->"
CLOSING = "<!-- /generated -->"


def generated_block(page: str) -> str | None:
    """What stands between the two markers, each of them there once; None without them."""
    if page.count(OPENING) != 1 or page.count(CLOSING) != 1:
        return None
    block, closing, _ = page.partition(OPENING)[2].partition(CLOSING)
    return block if closing else None


def differences(page: str, rendered: str) -> list[str]:
    """Why the page does not show the table; blank lines around the block do not matter."""
    block = generated_block(page)
    if block is None:
        return [f"docs/states.md: needs one {OPENING} and, after it, one {CLOSING}"]
    if block.strip() == rendered.strip():
        return []
    shown, table = block.strip().splitlines(), rendered.strip().splitlines()
    return [
        "docs/states.md: put between its markers what `python -m xqute.states` prints",
        *(f"  page only:  {line}" for line in shown if line not in table),
        *(f"  table only: {line}" for line in table if line not in shown),
    ]


@pytest.fixture
def rendered() -> str:
    return import_module("xqute.states_page").render()


def test_the_page_shows_the_table(rendered) -> None:
    """The generated block of docs/states.md is what the table of transitions renders to.

    Fails, when the table says FINISHED:

        <!-- generated: states -->
        | RUNNING | succeeded | FAILED |
        <!-- /generated -->
    """
    page = PAGE.read_text("utf-8") if PAGE.exists() else ""

    hold(differences(page, rendered))


def test_the_table_names_every_status(rendered) -> None:
    for status in import_module("xqute.states").JobStatus:
        assert status.name in rendered


RENDERED = "| RUNNING | succeeded | FINISHED |"


def test_a_page_that_shows_it_is_let_through() -> None:
    assert not differences(f"# States\n\n{OPENING}\n\n{RENDERED}\n{CLOSING}\nmore", RENDERED)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(f"{OPENING}\n| RUNNING | succeeded | FAILED |\n{CLOSING}", id="example"),
        pytest.param("", id="no page"),
        pytest.param(RENDERED, id="no markers"),
        pytest.param(f"{OPENING}\n{RENDERED}", id="not closed"),
        pytest.param(f"{CLOSING}\n{RENDERED}\n{OPENING}", id="wrong way round"),
        pytest.param(f"{OPENING}\n{RENDERED}\n{CLOSING}" * 2, id="twice"),
        pytest.param(f"{OPENING}\n{CLOSING}\n{RENDERED}", id="outside"),
        pytest.param(f"{OPENING}\n{RENDERED}\n{RENDERED}\n{CLOSING}", id="a row twice"),
    ],
)
def test_a_page_that_differs_is_caught(page) -> None:
    assert differences(page, RENDERED)
