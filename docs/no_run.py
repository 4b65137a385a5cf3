"""Lets mkdocs render blocks that the tests only compile: "```python no-run" → "```python"."""

import re
from typing import Any

NO_RUN = re.compile(r"^( *(?:`{3,}|~{3,}) *\w+) no-run *$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs with each page before it is rendered."""
    return NO_RUN.sub(r"\1", markdown)
