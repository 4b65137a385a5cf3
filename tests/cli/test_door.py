"""The door: what every command has in common, whatever it does."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import THEN, dead, living
from xqute.cli import app
from xqute.errors import XquteError
from xqute.events import Event, format_event
from xqute.states import JobStatus, Reason

READERS = [["ls"], ["ls", "--run", "all"], ["show", "1"], ["why", "1"], ["logs", "1"], ["prune", "--dry-run"]]


def tree(root):
    """Everything below a folder: names, sizes, dates and contents."""
    found = {}
    for path in sorted(root.rglob("*")):
        info = path.stat()
        found[str(path.relative_to(root))] = (
            info.st_size,
            info.st_mtime_ns,
            path.is_dir() or path.read_bytes(),
        )
    return found


@pytest.mark.parametrize("name", app.COMMANDS)
def test_the_list_of_commands_says_of_each_what_it_says_itself(name) -> None:
    first = (app.load(name).help or "").splitlines()[0]

    assert first.startswith(app.COMMANDS[name].rstrip("."))


@pytest.mark.parametrize("name", app.COMMANDS)
def test_the_help_of_each_command_teaches_by_an_example(xqute, name) -> None:
    said = xqute(name, "--help")

    assert said.returncode == 0
    assert "Examples:" in said.stdout
    assert f"  xqute {name}" in said.stdout
    assert "--metadir" in said.stdout
    assert "--json" in said.stdout


def test_help_names_every_command_and_version_is_that_of_the_package(xqute) -> None:
    told = xqute("--help").stdout

    assert all(f" {name} " in told for name in (*app.COMMANDS, *app.INSIDE))
    assert xqute("--version").stdout == "xqute 0.1.0\n"


def test_help_loads_no_command() -> None:
    probe = "import sys; from xqute.cli import app; app.main(['--help']); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = said.stdout.splitlines()[-1].split()

    assert "xqute.cli.app" in loaded
    assert not {f"xqute.cli.{name}" for name in app.COMMANDS} & {*loaded}
    assert "asyncio" not in loaded
    assert "sqlite3" not in loaded


def test_importing_xqute_loads_no_part_of_the_command_line() -> None:
    probe = "import sys, xqute; xqute.Xqute; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert not {"rich_click", "click", "xqute.cli"} & {*said.stdout.split()}


def test_without_its_library_the_command_says_what_to_install(tmp_path, environment) -> None:
    (tmp_path / "rich_click.py").write_text("raise ModuleNotFoundError('no', name='rich_click')\n")
    variables = {**environment, "PYTHONPATH": str(tmp_path)}
    said = subprocess.run(
        [sys.executable, "-m", "xqute", "ls"], capture_output=True, text=True, check=False, env=variables
    )

    assert said.returncode == 1
    assert said.stderr == "xqute: the command line needs another package: pip install 'xqute[cli]'\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["lss"],
        ["show"],
        ["show", "one"],
        ["show", "0"],
        ["ls", "--no-such-option"],
        ["ls", "--status", "broken"],
        ["prune", "--older", "yesterday"],
        ["kill"],
        ["kill", "1", "--all"],
        ["logs", "1", "--json", "--follow"],
        ["prune", "--store", "sqlite:///tmp/x.db"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_2(call, arguments, monkeypatch) -> None:
    monkeypatch.delenv("XQUTE_METADIR")
    said = call(*arguments)

    assert (said.status, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert said.err.endswith(" --help\n")


def test_no_command_at_all_shows_the_help(call) -> None:
    said = call()

    assert said.status == 2
    assert "Usage: xqute" in said.out


@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_where_there_is_no_metadir_a_command_says_so_and_makes_none(tmp_path, xqute, arguments) -> None:
    said = xqute(*arguments, metadir=None, cwd=tmp_path)

    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == (
        f"xqute: there is no metadir {tmp_path}/.xqute: go where the script was started, "
        "or name it with --metadir\n"
    )
    assert os.listdir(tmp_path) == ["meta dir"]


def test_a_metadir_without_a_store_is_a_sentence(place, call) -> None:
    said = call("ls")

    assert said.status == 1
    assert said.err == (
        f"xqute: the metadir {place.root} has no store: nothing was pushed there, "
        "or its jobs are remembered elsewhere (--store)\n"
    )
    assert os.listdir(place.root) == []


@pytest.mark.parametrize("url", ["memory://", "nosuch://x", "no-scheme"])
def test_a_store_that_can_not_be_seen_is_a_sentence(call, url) -> None:
    said = call("ls", "--store", url)

    assert said.status == 2
    assert said.err.startswith("xqute: ")
    assert said.err.count("\n") == 1


def test_a_store_elsewhere_is_read_by_its_url(some, call, tmp_path) -> None:
    moved = tmp_path / "elsewhere.db"
    os.replace(some.url, moved)

    assert len(call("ls", "--store", f"sqlite://{moved}", "--json").json["jobs"]) == 3


def test_a_store_that_is_no_database_is_a_sentence(place, call) -> None:
    (place.root / "xqute.db").write_bytes(b"not a database, but long enough to be read as one" * 100)

    said = call("ls")

    assert said.status == 1
    assert "is not a database" in said.err


def test_reading_changes_nothing(some, xqute) -> None:
    before = tree(some.root)

    for arguments in READERS:
        assert xqute(*arguments).returncode == 0

    assert tree(some.root) == before


def test_reading_works_while_a_manager_is_writing(some, xqute) -> None:
    some.run("busy", owner=living(), created=THEN + 9)

    async def work(store):
        # the manager's connection stays open, with what it wrote still in the log
        return [xqute(*arguments) for arguments in READERS]

    for said in some.do(work):
        assert (said.returncode, said.stderr) == (0, "")


def test_a_closed_pipe_is_silent(place, environment) -> None:
    place.run()
    place.job(out=b"x" * 99 + b"\n" + b"y\n" * 200_000)
    for command in ("logs 1", "logs 1 --raw", "ls --json", "ls"):
        line = f"{sys.executable} -m xqute {command} | head -c 1"
        said = subprocess.run(
            ["bash", "-c", line],
            env={**environment, "XQUTE_METADIR": str(place.root)},
            capture_output=True,
            text=True,
            check=False,
        )

        assert (len(said.stdout), said.stderr) == (1, "")


def test_ctrl_c_is_silent_and_130(place, begin) -> None:
    place.run(owner=living())
    place.job(JobStatus.RUNNING, reason=Reason("RUNNING"), out=b"begun\n")
    process = begin("logs", 1, "--follow")
    assert process.stdout.readline() == b"begun\n"

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert err.strip() == b""


@pytest.mark.parametrize(
    "error", [XquteError("a sentence"), OSError(13, "Permission denied", "/x"), ValueError(3)]
)
def test_no_error_is_a_traceback(some, call, monkeypatch, error) -> None:
    async def fail(*_):
        raise error

    monkeypatch.delenv("XQUTE_TRACEBACK")
    monkeypatch.setattr("xqute.cli.place.Place.find", fail)

    said = call("show", 1)

    assert (said.status, said.out) == (1, "")
    assert said.err in {
        "xqute: a sentence\n",
        "xqute: /x: Permission denied\n",
        "xqute: this is a bug of xqute: ValueError(3); XQUTE_TRACEBACK=1 shows where\n",
    }


def on_a_terminal(arguments, variables, columns=100):
    """What a command shows on a terminal of its own."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-m", "xqute", *arguments], variables)
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            block = os.read(fd, 65536)
        except OSError:  # Linux's way to say that nobody has it open any more
            break
        shown += block
    os.close(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return shown.decode()


def test_on_a_terminal_there_are_colours_and_no_line_is_wider(some, environment) -> None:
    some.job(command="echo " + "long " * 100)
    variables = {**environment, "XQUTE_METADIR": str(some.root), "COLUMNS": "60"}

    shown = on_a_terminal(["ls"], variables)

    assert "\x1b[" in shown
    bare = app.printable(shown.replace("\r\n", "\0"))
    assert max(len(line) for line in bare.split("�")) <= 60


@pytest.mark.parametrize(
    "arguments", [["ls"], ["show", 2], ["why", 2], ["logs", 2], ["kill", 2], ["prune", "--dry-run"]]
)
def test_every_key_of_a_json_document_is_in_the_page_about_the_commands(some, call, arguments) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    document = call(*arguments, "--json").json
    entries = [entry for value in document.values() if isinstance(value, list) for entry in value]

    names = {name for each in (document, *entries) if isinstance(each, dict) for name in each}

    assert {name for name in names if f"`{name}`" not in page and f'"{name}"' not in page} == set()


SENTENCE = "EXIT 127: command not found: samtols, which is neither in /opt/tools/bin nor anywhere else"


def shown_in(columns, some, environment, *arguments):
    """The lines of a command on a terminal of this width, without colours."""
    variables = {**environment, "XQUTE_METADIR": str(some.root), "COLUMNS": str(columns), "NO_COLOR": "1"}
    return re.sub(r"\x1b\[[0-9;]*m", "", on_a_terminal([*arguments], variables)).splitlines()


@pytest.mark.parametrize("columns", [60, 80, 100])
@pytest.mark.parametrize("command", [("ls",), ("show", "4")])
def test_on_a_narrow_terminal_reasons_are_whole(some, environment, columns, command) -> None:
    reason = Reason("EXIT", {"rc": 127, "message": SENTENCE.removeprefix("EXIT 127: ")})
    some.job(JobStatus.FAILED, "samtols " + "index " * 20, reason=reason)

    shown = shown_in(columns, some, environment, *command)

    first = next(n for n, line in enumerate(shown) if "EXIT 127" in line and not line.startswith("reason"))
    column = shown[first].index("EXIT 127")
    lines = [line[column:] for line in shown[first : first + 6]]
    assert SENTENCE in " ".join(line.strip() for line in lines)
    assert max(map(len, lines)) <= columns - column


@pytest.mark.parametrize("columns", [60, 80])
def test_on_a_narrow_terminal_runs_are_told_with_their_ids_states_and_scripts(
    some, environment, columns
) -> None:
    some.run("0af6826f", owner=dead(), created=THEN + 1, script="/home/somebody/with/a/long/path/align.py")
    some.job(JobStatus.QUEUED, run="0af6826f", reason=Reason("ACCEPTED"))

    shown = shown_in(columns, some, environment, "ls")

    row = next(n for n, line in enumerate(shown) if line.startswith("0af6826f"))
    assert "align.py" in shown[row]
    assert "…" not in shown[row]
    column = shown[row].index("unfinished")
    words = " ".join(shown[row + n][column:].split("  ")[0] for n in range(3))
    assert "unfinished (its manager ended)" in words


def test_on_a_narrow_terminal_titles_are_told_on_two_lines(some, environment) -> None:
    some.job(title="align reads of sample seven", reason=Reason("EXIT", {"rc": 127, "message": SENTENCE}))
    some.job(title="align reads of sample eight and of all that come after it", retries=1, starts=2)

    shown = shown_in(60, some, environment, "ls")

    row = next(n for n, line in enumerate(shown) if line.startswith("4 "))
    column = shown[row].index("align")
    first, second = (line[column:].split("  ")[0].strip() for line in shown[row : row + 2])
    assert second.endswith("…")
    assert "align reads of sample seven".startswith(f"{first} {second[:-1]}")
    assert max(map(len, shown)) <= 60


def test_on_a_narrow_terminal_what_happened_on_one_day_is_told_by_its_times(some, environment) -> None:
    some.job(JobStatus.FAILED, reason=Reason("EXIT", {"rc": 127, "message": SENTENCE}))
    shown = shown_in(60, some, environment, "show", "4")
    wide = shown_in(200, some, environment, "show", "4")

    assert [line for line in wide if line.startswith("2026-03-01 12:00:0")]
    assert [line for line in shown if line.startswith("12:00:0")]


def test_on_a_narrow_terminal_ids_and_statuses_are_whole_however_many_columns_there_are(
    some, environment
) -> None:
    some.run("lively", owner=living(), created=THEN + 1)
    said = b"".join(format_event(Event("progress", "aligning all reads", 3.0, 10.0)) for _ in range(2))
    some.job(
        JobStatus.SUBMITTED, "samtools index", run="lively", reason=Reason("PENDING"), events=said, starts=2
    )

    shown = shown_in(60, some, environment, "ls", "--run", "all")

    assert [line for line in shown if line.startswith("4   lively  SUBMITTED")]
    assert [line for line in shown if line.startswith("2   run1    FAILED")]
    assert max(map(len, shown)) <= 60


def test_piped_there_are_no_colours_and_nothing_is_cut(some, xqute) -> None:
    some.job(command="echo " + "x" * 50)
    said = xqute("ls").stdout

    assert "\x1b" not in said
    assert "x" * 50 in said
    assert not [line for line in said.splitlines() if line != line.rstrip()]
