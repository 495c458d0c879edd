"""The command line: `mixproof COMMAND`, or `python -m mixproof.cli COMMAND`.

Exit codes: 0 done; 1 a check failed; 2 the request is wrong. An error that is meant for the user is
printed without a traceback; any other exception is a fault of mixproof's own and keeps its traceback.

Only the module of the command that is called is imported: torch and Megatron take seconds to load, and
`plan` needs neither.
"""

from __future__ import annotations

import sys
from importlib import import_module

import typer
from rich.markup import escape

from mixproof.ledger.errors import MixproofError
from mixproof.mixtures.errors import SpecError

from .output import stderr

COMMANDS = (
    "plan",
    "inspect",
    "build",
    "audit",
    "train",
    "compare",
    "run",
    "search",
    "trace",
    "diff",
    "store",
    "export",
    "proxies",
    "schema",
    "demo",
)
"""Each a module of this room with a function of the same name."""


def make_app(called: str | None) -> typer.Typer:
    """Make the application with the command `called`, or with all of them where it is none of them."""
    app = typer.Typer(
        name="mixproof",
        help="Corpora and a mixture spec in; audited Megatron datasets, trained proxies and a ranking out.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)  # keeps the command's name in the call when there is only one
    for name in (called,) if called in COMMANDS else COMMANDS:
        app.command(name)(getattr(import_module(f"{__package__}.{name}"), name))
    return app


def main() -> None:
    """Run one command and end with its exit code."""
    try:
        make_app(sys.argv[1] if len(sys.argv) > 1 else None)()
    except (MixproofError, SpecError) as error:
        stderr.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        for note in getattr(error, "__notes__", ()):
            stderr.print(escape(note), soft_wrap=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
