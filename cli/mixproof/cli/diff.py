"""`mixproof diff A B`: what differs between two specs, builds or runs, and what B would do again after A."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.markup import escape

from mixproof.ledger.objects import is_remote
from mixproof.ledger.place import place_of
from mixproof.train.diff import Diff
from mixproof.train.diff import diff as diff_paths

from .options import JsonOption
from .output import emit_json, stdout, table

SideArgument = Annotated[str, typer.Argument(help="Path of a spec; path or URL of a manifest, a run, or its folder.")]
VALUE_CHARS = 60


def diff(a: SideArgument, b: SideArgument, as_json: JsonOption = False) -> None:
    """Say what differs between A and B, and what would rerun for B where A is done."""
    found = diff_paths(*(place_of(side).fetch() if is_remote(side) else Path(side) for side in (a, b)))
    if as_json:
        emit_json(found.to_json())
    else:
        print_diff(found)


def print_diff(found: Diff) -> None:
    """Write a diff for a person."""
    if not found.differences:
        stdout.print(f"the two {found.kind}s say the same")
    else:
        rows = [
            [
                difference.key,
                "not there" if difference.only == "b" else _short(difference.a),
                "not there" if difference.only == "a" else _short(difference.b),
            ]
            for difference in found.differences
        ]
        stdout.print(table(f"{len(rows)} keys differ", ("key", "A", "B"), rows, text_columns=3))
        reruns = [[escape(rerun.what), escape(", ".join(rerun.because))] for rerun in found.reruns]
        if reruns:
            stdout.print(table("Would rerun", ("what", "because of"), reruns, text_columns=2))
        else:
            stdout.print("nothing would rerun")
    for note in found.notes:
        stdout.print(escape(note), soft_wrap=True)


def _short(value: Any) -> str:  # noqa: ANN401  JSON
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return escape(text if len(text) <= VALUE_CHARS else f"{text[:VALUE_CHARS]}…")
