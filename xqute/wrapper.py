"""Fill the shell script that every job runs in; quoting happens here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

_HOLE: Final = re.compile(r"@([A-Z]+)@")
_SAFE: Final = re.compile(r"[A-Za-z0-9_%+:,./-][A-Za-z0-9_%+=:,./-]*", re.ASCII).fullmatch

#: How the last line of a script begins that carries a Python call.
PAYLOAD: Final = "#xqute call "

#: What the claim of a start says that was given back: no complete line, and so no news.
RETURNED: Final = "RETURNED"


@dataclass(frozen=True, slots=True)
class Script:
    """What differs between two jobs' scripts.

    Attributes:
        directory: The job's directory, absolute.
        start, whose: Which start of which job; who comes later reads it there (`metadir.read_start`).
        argv: What to execute.
        cwd: Where.
        exports: Environment variables for the payload, over what the scheduler gives.
        stdin, stdout, stderr: Files; absolute.
        directives: Lines for the scheduler, at the top.
        prescript: Shell text before the command, in its shell; a failing line fails the job.
        postscript: Shell text after it, always run.
        exit_with: The shell word the wrapper exits with; `$1` is the rc.
        asked_by: Signals that ask the job to stop besides TERM, and reach all its processes as TERM.
        ignored: Signals that mean nothing to the job.
        payload: One line for the program that the script starts, behind its end; empty: none.
    """

    directory: str
    argv: Sequence[str]
    cwd: str
    exports: Mapping[str, str]
    start: int = 1
    whose: str = ""
    stdin: str = "/dev/null"
    stdout: str = ""
    stderr: str = ""
    directives: Iterable[str] = ()
    prescript: str = ""
    postscript: str = ""
    exit_with: str = '"$1"'
    asked_by: Sequence[str] = ()
    ignored: Sequence[str] = ()
    payload: str = ""


def quote(word: str) -> str:
    """One shell word that means exactly this text, in every POSIX shell.

    No line of it begins with `#`: some schedulers obey directives wherever they stand.
    """
    if _SAFE(word):
        return word
    return "'" + word.replace("'", "'\\''").replace("\n#", "\n'\\#'") + "'"


def fill(script: Script) -> str:
    """The script of one job."""
    d = script.directory
    holes = {
        "DIRECTIVES": "\n".join(script.directives),
        "START": str(script.start),
        "WHOSE": script.whose,
        "DIR": quote(d),
        "ARGV": _argv(script.argv),
        "CWD": quote(script.cwd),
        "EXPORTS": _exports(script.exports),
        "STDIN": quote(script.stdin),
        "STDOUT": f"|{quote(script.stdout)}" if script.stdout else "&5",
        "STDERR": f"|{quote(script.stderr)}" if script.stderr else "&4",
        "OUTPUTS": _outputs(script) + _herald(script),
        "RETURNED": RETURNED,
        "PRESCRIPT": _deaf(script) + _prescript(script.prescript),
        "POSTSCRIPT": _dismissal(script) + _postscript(script.postscript, script.exports),
        "EXIT": script.exit_with,
    }
    pieces = list(_template())
    pieces[1::2] = [holes[name] for name in pieces[1::2]]
    # behind `end`, which exits: no shell reads so far
    return "".join([*pieces, PAYLOAD, script.payload, "\n"] if script.payload else pieces)


@cache
def _template() -> tuple[str, ...]:
    """The text, cut at its holes: text, name, text, name, …, text."""
    source = files(__package__).joinpath("wrapper.sh").read_text("utf-8")
    lines = [line.strip() for line in source.splitlines() if not line.lstrip().startswith("##")]
    return tuple(_HOLE.split("\n".join(lines) + "\n"))


def _argv(argv: Sequence[str]) -> str:
    words = [quote(word) for word in argv]
    # A name with a leading dash would be an option of exec in some shells, and "exec --" fails in others.
    return " ".join(["env", "--", *words] if argv[0].startswith("-") else words)


def _prescript(text: str) -> str:
    """Run it in the payload's shell, so that `export`, `cd` and `ulimit` count.

    Its output goes to the job's stderr: stdout is the result. Under `set -e`, so that a `cd` that
    fails doesn't leave the command running somewhere else. As one word, so that an open quote in it
    ends with it, and not in the middle of the command.
    """
    if not text.strip():
        return ""
    told = f"trap 'echo \"{PRESCRIPT_FAILED} $?\" >&2' EXIT"
    return f"exec 4>&1 >&2\n{told}\nset -e\neval {quote(text)}\nset +e\ntrap - EXIT\nexec >&4 4>&-"


#: What the wrapper says in the job's stderr when the prescript failed; the rc follows.
PRESCRIPT_FAILED: Final = "xqute: the prescript failed with exit status"


def _outputs(script: Script) -> str:
    """Open job.stderr as 4 and job.stdout as 5, where they are used; without them nothing can run.

    Files of the user's own are opened by the payload's shell: that they can't be is the job's failure.
    """
    opened = [
        f'{fd}>|"$d/job.{name}"'
        for fd, name, wanted in (
            (4, "stderr", not script.stderr or script.postscript.strip()),
            (5, "stdout", not script.stdout),
        )
        if wanted
    ]
    return f"command exec {' '.join(opened)} || give_back" if opened else ""


def _herald(script: Script) -> str:
    """A process beside the payload that hears how the scheduler asks, and says TERM to all instead.

    The wrapper's own shell can't: it runs no trap as long as the payload runs. The payload must be
    `_deaf` meanwhile, or it would end by the signal before it hears the word. ALRM sends it away: the
    wrapper has no trap for that, so that it counts from the first moment. What left the group of the
    payload is found by its mark: no scheduler that asks like this looks for it.
    """
    if not script.asked_by:
        return ""
    deaf = " ".join(["TERM", *script.ignored])
    mark = quote(f"XQUTE_JOB={script.exports.get('XQUTE_JOB', '')}")
    return f"""
sweep() {{
kill -s $1 $(grep -lzxF {mark} /proc/[0-9]*/environ | cut -d / -f 3)
}}
(
trap - EXIT
trap '' {deaf}
trap 'kill -s KILL $!; exit' ALRM
trap 'kill -s TERM 0; sweep TERM' {" ".join(script.asked_by)}
exec </dev/null >/dev/null 3>&- 4>&- 5>&-
while :; do sleep 9999 & wait; done
) &
herald=$!"""


def _deaf(script: Script) -> str:
    words = " ".join([*script.asked_by, *script.ignored])
    return f"trap '' {words}\n" if words else ""


def _dismissal(script: Script) -> str:
    return 'kill -s ALRM $herald\n[ -z "$sig" ] || sweep KILL\n' if script.asked_by else ""


def _exports(exports: Mapping[str, str]) -> str:
    return " ".join(f"{key}={quote(value)}" for key, value in exports.items())


def _postscript(text: str, exports: Mapping[str, str]) -> str:
    if not text.strip():
        return ""
    told = f"export {_exports(exports)} XQUTE_RC=$1"
    return f"(\n{told}\neval {quote(text)}\n) </dev/null >&4 2>&4 3>&- 4>&- 5>&-"
