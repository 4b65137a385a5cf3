"""What the documentation and the help show is what the commands understand."""

import json
import re
import shlex
from pathlib import Path

import pytest

from xqute.cli import app, report

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def shown_on_the_page() -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def shown_by_the_help() -> list[str]:
    helps = [*(app.load(name).help or "" for name in app.COMMANDS), report.make_parser().format_help()]
    return [line.strip() for text in helps for line in text.splitlines() if line.startswith("  xqute")]


def parsed(line: str) -> dict[str, object]:
    """The options of a command line, without running it."""
    bare = re.split(r"\s{2,}| [|>] ", line)[0]
    program, name, *arguments = shlex.split(bare)
    assert program == "xqute"
    if name == "report":
        return vars(report.make_parser().parse_args(arguments))
    with app.load(name).make_context(name, arguments) as context:
        return context.params


@pytest.mark.parametrize("line", shown_on_the_page())
def test_each_command_on_the_page_is_understood(line) -> None:
    assert parsed(line)


@pytest.mark.parametrize("line", shown_by_the_help())
def test_each_example_of_the_help_is_understood(line) -> None:
    assert parsed(line)


def test_page_and_help_show_every_command() -> None:
    for lines in (shown_on_the_page(), shown_by_the_help()):
        assert {line.split()[1] for line in lines} == {*app.COMMANDS, *app.INSIDE}


def test_the_page_names_every_option() -> None:
    page = PAGE.read_text("utf-8")
    for name in app.COMMANDS:
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        common = page.split("\n## For all commands")[1].split("\n## ")[0]
        for parameter in app.load(name).params:
            for option in [item for item in parameter.opts if item.startswith("--")]:
                assert option in section + common, f"{name} {option}"


def test_the_json_on_the_page_has_the_keys_of_the_command(some, call) -> None:
    block = re.findall(r"^```json\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)[0]
    shown, said = json.loads(block), call("ls", "--json").json

    assert list(shown) == list(said)
    assert list(shown["runs"][0]) == list(said["runs"][0])
    assert list(shown["jobs"][0]) == list(said["jobs"][0])


def test_an_example_that_is_wrong_is_caught() -> None:
    with pytest.raises(app.click.UsageError):
        parsed("xqute ls --colour")


def test_page_and_help_show_every_word_of_a_report() -> None:
    words = {"progress", "stage", "log", "skip", "require"}
    for lines in (shown_on_the_page(), shown_by_the_help()):
        assert {line.split()[2] for line in lines if line.startswith("xqute report")} == words


def test_a_report_that_is_wrong_is_caught() -> None:
    with pytest.raises(SystemExit):
        parsed("xqute report progres 3")
