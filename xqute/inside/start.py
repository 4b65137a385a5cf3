"""The file that Python is given: `python .../xqute/inside/start.py SCRIPT`.

With `--serve HOW SCRIPT` it is a process that serves many calls; see `serve.py`.
"""

import os
import sys

if __name__ == "__main__":
    __xqute_start__ = True  # this is nobody's own program: what a call pushes itself has another main
    _here = os.path.dirname(os.path.realpath(__file__))
    _root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # Python put the folder of this file first (not so with -P): its modules are nobody else's.
    if sys.path and os.path.realpath(sys.path[0]) == _here:
        del sys.path[0]
    if _root not in sys.path:
        sys.path.insert(0, _root)

    if sys.argv[1] == "--serve":
        from xqute.inside.serve import main

        main(sys.argv[2:])
    else:
        from xqute.inside.run import run

        sys.exit(run(sys.argv[1]))
