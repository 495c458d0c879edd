"""The command line: `mixproof COMMAND`, or `python -m mixproof.cli COMMAND`.

Exit codes: 0 done; 1 a check failed; 2 the request is wrong. An error that is meant for the user is
printed without a traceback; any other exception is a fault of mixproof's own and keeps its traceback.
"""

from __future__ import annotations

import sys

import typer
from rich.markup import escape

from mixproof.ledger.errors import MixproofError
from mixproof.mixtures.errors import SpecError

from .audit import audit
from .build import build
from .compare import compare
from .demo import demo
from .output import stderr
from .plan import plan
from .proxies import proxies
from .run import run
from .schema import schema
from .train import train

app = typer.Typer(
    name="mixproof",
    help="Corpora and a mixture spec in; audited Megatron datasets, trained proxies and a ranking out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (plan, build, audit, train, compare, run, proxies, schema, demo):
    app.command()(command)


def main() -> None:
    """Run one command and end with its exit code."""
    try:
        app()
    except (MixproofError, SpecError) as error:
        stderr.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        for note in getattr(error, "__notes__", ()):
            stderr.print(escape(note), soft_wrap=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
