"""A process that is warm: it has imported a module, and serves calls of its functions.

```
start.py --serve fork SCRIPT …     forking.py: a copy of the process does each call
start.py --serve reuse SCRIPT …    reusing.py: the process itself does one call after the other
```

`line.py` is how its manager, the local scheduler, talks to it.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from . import forking, reusing
from .line import MARK, Manager


def main(arguments: list[str]) -> NoReturn:
    """Serve until nobody wants it any more; does not return.

    Args:
        arguments: What stands behind `--serve`: how to serve, and the script of a first job.
    """
    how, script = arguments[:2]
    manager = Manager()
    os.environ.pop(MARK, None)
    sys.argv[1:] = [script]
    serve = reusing.serve if how == "reuse" else forking.serve
    serve(manager, script)
