"""The door: finds the command, and turns whatever it ended with into a sentence and an exit status."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import rich_click as click
from rich_click import RichCommand, RichContext, RichGroup

from xqute.errors import XquteError
from xqute.printable import printable

from .ends import INTERRUPTED, MISUSED, status_of

#: Each command and what it does. Its file is loaded when it is used, so `xqute --help` loads none.
COMMANDS: Final = {
    "ls": "List runs, and the jobs of one.",
    "show": "Tell everything about one job.",
    "logs": "Print what a job wrote.",
    "why": "Say why a job waits or how it ended, and what to do about it.",
    "kill": "Stop jobs.",
    "resume": "Run what is left of a run.",
    "build": "Bring results of named calls up to date.",
    "status": "Say which results of named calls are up to date.",
    "prune": "Remove jobs that have ended, with their files.",
}

#: For use inside of jobs. It is no command of this library, and `__main__` runs it without loading one.
INSIDE: Final = {"report": "Say from inside a job how far it is, or what it needs first."}


class Commands(RichGroup):
    """The group of all commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order a newcomer needs them."""
        return [*COMMANDS, *INSIDE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """What the help shows of a command: its name and its sentence."""
        told = {**COMMANDS, **INSIDE}.get(cmd_name)
        return None if told is None else RichCommand(name=cmd_name, help=told)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command itself, when it is about to be used."""
        name, known, rest = super().resolve_command(ctx, args)
        return name, known and load(name or ""), rest


def inside(arguments: Sequence[str]) -> int:
    """Run a command that is for use inside of jobs."""
    status: int = import_module(f"xqute.cli.{arguments[0]}").main(arguments)
    return status


def load(name: str) -> click.Command:
    """The command of a name."""
    command: click.Command = import_module(f"xqute.cli.{name}").command
    return command


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        # paragraphs with an empty line between them
        "rich_help_config": {"text_paragraph_linebreaks": "\n\n"},
    },
    epilog="xqute COMMAND --help shows what a command takes, with examples.",
)
@click.version_option(package_name="xqute", prog_name="xqute", message="%(prog)s %(version)s")
@click.pass_context
def group(context: RichContext) -> None:
    """Look at the jobs of a metadir, and do something about them."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(MISUSED)


def main(arguments: Sequence[str]) -> int:
    """Run a command; returns the exit status. Nothing it meets is shown as a traceback."""
    if arguments and arguments[0] in INSIDE:
        return inside(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # bytes of a file's name that are no text must not end it
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(arguments)
    except click.UsageError as error:
        return _misused(error)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        return _closed_pipe()
    except Exception as error:  # noqa: BLE001  a user of a command needs a sentence, whatever it was
        print(f"xqute: {printable(_sentence(error))}", file=sys.stderr)
        return status_of(error)


def _run(arguments: Sequence[str]) -> int:
    try:
        status: Any = group.main(list(arguments), prog_name="xqute", standalone_mode=False)
    except SystemExit as end:
        status = end.code
    sys.stdout.flush()
    return status if isinstance(status, int) else 0


def _sentence(error: Exception) -> str:
    if isinstance(error, XquteError):
        return str(error)
    if isinstance(error, OSError):
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    if os.environ.get("XQUTE_TRACEBACK"):
        traceback.print_exc()
    return f"this is a bug of xqute: {error!r}; XQUTE_TRACEBACK=1 shows where"


def _misused(error: click.UsageError) -> int:
    path = error.ctx.command_path if error.ctx else "xqute"
    told = error.format_message().rstrip(".").replace("\n", " ")
    print(f"xqute: {printable(told)}; see {path} --help", file=sys.stderr)
    return MISUSED


def _closed_pipe() -> int:
    """Nobody reads any more, which is no error: `xqute ls | head`."""
    # what is still in the buffer would complain when the interpreter ends
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
