"""What each mixture lost in deduplication to sources that it does not hold: text that it could have had and has not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from mixproof.ledger.manifest import Manifest, MatrixRow
from mixproof.mixtures.arithmetic.budget import RunBudget

from .output import count, table

Lost = dict[str, tuple[MatrixRow, ...]]
"""By mixture the rows of the manifest's `dedup_matrix` that it is the poorer for."""


def lost_by_mixture(manifest: Manifest | None, budgets: Mapping[tuple[str, str], RunBudget]) -> Lost:
    """Look up what the sources of each mixture lost to others; nothing is known before a build."""
    held: dict[str, set[str]] = {}
    for (mixture, _), budget in budgets.items():
        held.setdefault(mixture, set()).update(name for name, share in budget.declared.items() if share > 0)
    return {} if manifest is None else {mixture: manifest.lost_outside(names) for mixture, names in held.items()}


def lost_json(lost: Mapping[str, Sequence[MatrixRow]]) -> dict[str, object]:
    """Give the JSON form: by mixture the sum of bytes, and the rows."""
    return {
        mixture: {"bytes": sum(row.bytes for row in rows), "rows": [row.model_dump() for row in rows]}
        for mixture, rows in lost.items()
    }


def lost_table(lost: Mapping[str, Sequence[MatrixRow]]) -> Table:
    """Lay out the rows for a person."""
    rows = [
        (mixture, row.source, row.lost_to, count(row.documents), count(row.bytes))
        for mixture, rows in lost.items()
        for row in rows
    ]
    columns = ("mixture", "source", "lost to", "documents", "bytes")
    return table("Lost in deduplication to sources outside the mixture", columns, rows, text_columns=3)
