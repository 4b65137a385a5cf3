"""Prints the tables of the documentation's page of states from the tables of the code.

`python -m xqute.states_page docs/states.md` puts them between the page's markers.
"""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path

from .states import SENTENCES, TRANSITIONS, EndReason, JobStatus, WaitReason

BEGIN = "<!-- generated: states -->"
END = "<!-- /generated -->"


def render() -> str:
    """The generated part of the page, in Markdown."""
    return "\n".join([_statuses(), _transitions(), _reasons("wait", WaitReason), _reasons("end", EndReason)])


def _statuses() -> str:
    said = _comments("states.py", "JobStatus")
    rows = [f"| {s.value} | `{s.name}` | {said[s.name]} | {'yes' if s.final else ''} |" for s in JobStatus]
    head = "## Statuses\n\n| number | status | meaning | final |\n|---|---|---|---|"
    return "\n".join([head, *rows, ""])


def _transitions() -> str:
    rows = [
        f"| `{status.name}` | {event.value} | `{to.name}` | `{hook}` |"
        for (status, event), (to, hook) in sorted(TRANSITIONS.items(), key=_order)
    ]
    head = "## Transitions\n\n| status | event | next | hook |\n|---|---|---|---|"
    return "\n".join([head, *rows, ""])


def _order(item: tuple[tuple[JobStatus, Enum], object]) -> tuple[int, str]:
    return item[0][0].value, str(item[0][1])


def _reasons(what: str, codes: type[WaitReason | EndReason]) -> str:
    said = _comments("states.py", codes.__name__)
    rows = [f"| `{code}` | {said[code.name]} | {SENTENCES[code]} |" for code in codes]
    head = f"## Reasons to {what}\n\n| code | meaning | reads as |\n|---|---|---|"
    return "\n".join([head, *rows, ""])


def _comments(file: str, name: str) -> dict[str, str]:
    """The `#:` sentence above each member of an enum."""
    lines = Path(__file__).with_name(file).read_text("utf-8").splitlines()
    begin = next(place for place, line in enumerate(lines) if line.startswith(f"class {name}("))
    found: dict[str, str] = {}
    said = ""
    for line in lines[begin + 1 :]:
        text = line.strip()
        if line and not line.startswith(" "):
            break
        if text.startswith("#:"):
            said = text.removeprefix("#:").strip()
        elif " = " in text and said:
            found[text.split(" = ")[0]] = said
            said = ""
    return found


def main(page: Path) -> None:
    """Put the tables between the page's markers."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{render()}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
