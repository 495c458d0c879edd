"""The command line: `mixproof COMMAND`, or `python -m mixproof.cli COMMAND`.

Exit codes: 0 done; 1 a check failed; 2 the request is wrong; 130 stopped by Ctrl-C. Errors for the user are printed
without a traceback, and so is a missing extra. Any other exception is a bug in mixproof and keeps its traceback.

Only the module of the command in use is imported: torch and Megatron take seconds to load, and `plan` needs neither.
The list of commands takes its descriptions from the source, without importing them.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from mixproof.ledger.disk_errors import storage_error
from mixproof.ledger.errors import MixproofError, RequestError
from mixproof.ledger.shown_text import redacted, visible
from mixproof.ledger.version import VERSION
from mixproof.mixtures.errors import SpecError

from .command_list import COMMANDS, first_line
from .machine.extras import extra_of, install_line
from .output import stderr

RESUMABLE = frozenset({"build", "train", "run", "search", "ladder", "demo"})
INTERRUPTED = 130
"""Exit code of a command that Ctrl-C stopped: 128 + SIGINT, as shells count it."""


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"mixproof {VERSION}\n")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
]


def root(version: VersionOption = False) -> None:
    """Corpora and a mixture spec in; audited Megatron datasets, trained proxies and a ranking out."""


def make_app(called: str | None) -> typer.Typer:
    """Make the application with the command `called` alone, or with all commands if there is no such command."""
    app = typer.Typer(
        name="mixproof",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(root)
    if called in COMMANDS:
        app.command(called)(_interruptible(called, getattr(import_module(f"mixproof.cli.commands.{called}"), called)))
        return app
    for name in COMMANDS:
        app.command(name, help=first_line(name))(lambda: None)
    return app


def _interruptible(name: str, command: Callable[..., None]) -> Callable[..., None]:
    """The command, which Ctrl-C ends with a sentence; click itself would print `Aborted!`."""

    @functools.wraps(command)
    def call(*arguments: object, **options: object) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt:
            stderr.print("stopped; run the same command to resume" if name in RESUMABLE else "stopped")
            raise typer.Exit(INTERRUPTED) from None

    return call


def main() -> None:
    """Run one command and end with its exit code."""
    try:
        make_app(sys.argv[1] if len(sys.argv) > 1 else None)()
    except (MixproofError, SpecError) as error:
        _end(error)
    except KeyboardInterrupt:
        stderr.print("stopped")
        sys.exit(INTERRUPTED)
    except ModuleNotFoundError as error:
        if (extra := extra_of(error.name or "")) is None:
            raise
        _end(RequestError(f"this needs the package {error.name}, which is not installed: {install_line(extra)}"))
    except Exception as error:  # noqa: BLE001  shown, with exit code 1
        if (shown := storage_error(error)) is None:
            sys.stderr.write(traceback_of(error))
            sys.exit(1)
        _end(shown)


def traceback_of(error: BaseException) -> str:
    """The traceback of a bug, without credentials: the errors of clients in it may name signed URLs."""
    return visible(redacted("".join(traceback.format_exception(error))))


def _end(error: MixproofError | SpecError) -> NoReturn:
    text = str(error).replace("\n", "\n  ")  # a file's name cannot pretend to be a line of output
    stderr.print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True)
    for note in getattr(error, "__notes__", ()):
        stderr.print(escape(note), soft_wrap=True)
    if isinstance(error, MixproofError) and error.leaves_threads:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(error.exit_code)  # a thread of Ray that still waits crashes the process while Python ends
    sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
