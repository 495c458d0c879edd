"""`mixproof diff A B`: the differences between two specs, builds or runs, and what would rerun for B after A."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from mixproof.cli.named import named
from mixproof.cli.options import DEFAULT_STORE, JsonOption, StoreOption, VerboseOption
from mixproof.cli.output import emit_json, stdout, table
from mixproof.ledger.location import locate
from mixproof.ledger.objects.urls import is_remote
from mixproof.train.launch.diff import Diff, Difference
from mixproof.train.launch.diff import diff as diff_paths

SideArgument = Annotated[
    str, typer.Argument(help="Path of a spec, or path or URL of a manifest, a run, or their folder.")
]
VALUE_CHARS = 60
CHECKSUM = re.compile("[0-9a-f]{64}")
MOST_ROWS = 12
"""Up to this many keys with the same first part are all shown; of more keys, only the first `SHOWN_ROWS`."""
SHOWN_ROWS = 3


def diff(
    a: SideArgument,
    b: SideArgument,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Show the differences between A and B, and what would rerun for B when A is finished."""
    sides = [named(side, store) for side in (a, b)]
    found = diff_paths(*(locate(side).fetch() if is_remote(side) else Path(side) for side in sides))
    if as_json:
        emit_json(found.to_json())
    else:
        print_diff(found)


def print_diff(found: Diff) -> None:
    """Print a diff."""
    if not found.differences:
        stdout.print(f"the two {found.kind}s are equal")
    else:
        title = f"{len(found.differences):,} keys differ"
        stdout.print(table(title, ("key", "A", "B"), _rows(found.differences), text_columns=3))
        reruns = [[rerun.what, _some(rerun.because)] for rerun in found.reruns]
        if reruns:
            stdout.print(table("Would run again", ("what", "because of"), reruns, text_columns=2))
        else:
            stdout.print("nothing would run again")
    for note in found.notes:
        stdout.print(escape(note), soft_wrap=True)


def _rows(differences: Sequence[Difference]) -> list[list[str]]:
    """A row per key, grouped by the first part of the key; groups of many keys come last and are shortened."""
    parts: dict[str, list[Difference]] = {}
    for difference in differences:
        parts.setdefault(difference.key.partition(".")[0], []).append(difference)
    rows = []
    for part, own in sorted(parts.items(), key=lambda item: len(item[1]) > MOST_ROWS):
        shown = own if len(own) <= MOST_ROWS else own[:SHOWN_ROWS]
        rows += [_row(difference) for difference in shown]
        if len(shown) < len(own):
            rows.append([f"{part}: {len(own) - len(shown):,} more keys, see --json", "", ""])
    return rows


def _row(difference: Difference) -> list[str]:
    return [
        difference.key,
        "absent" if difference.only == "b" else _short(difference.a),
        "absent" if difference.only == "a" else _short(difference.b),
    ]


def _some(keys: Sequence[str]) -> str:
    shown = keys if len(keys) <= MOST_ROWS else (*keys[:SHOWN_ROWS], f"{len(keys) - SHOWN_ROWS:,} more")
    return ", ".join(shown)


def _short(value: Any) -> str:  # noqa: ANN401  JSON
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if CHECKSUM.fullmatch(text):
        text = f"{text[:16]}…"
    return text if len(text) <= VALUE_CHARS else f"{text[:VALUE_CHARS]}…"
