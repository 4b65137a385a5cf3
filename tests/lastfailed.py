"""Joins what failed in several runs of pytest, for `--lf`: each of them writes a cache of its own.

    python tests/lastfailed.py CACHE PART...

Standard library only. Of a part that did not come to write down what failed, nothing is known.
"""

import json
import sys
from pathlib import Path

FAILED = "v/cache/lastfailed"


def main(cache: str, *parts: str) -> None:
    """Write to a cache what failed in these."""
    failed: dict[str, bool] = {}
    for part in parts:
        path = Path(part, FAILED)
        failed |= json.loads(path.read_text()) if path.exists() else {}
    joined = Path(cache, FAILED)
    joined.parent.mkdir(parents=True, exist_ok=True)
    joined.write_text(json.dumps(failed))


if __name__ == "__main__":
    main(*sys.argv[1:])
