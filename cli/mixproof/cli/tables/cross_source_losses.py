"""Text that each mixture lost in deduplication to sources outside the mixture.

With `scope: all`, a document found in two sources stays in only one of them. A mixture without that source then has
neither copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from mixproof.cli.output import count, table
from mixproof.ledger.manifest import Manifest, MatrixRow
from mixproof.mixtures.arithmetic.budget import RunBudget

Lost = dict[str, tuple[MatrixRow, ...]]
"""By mixture: rows of the manifest's `dedup_matrix` whose `lost_to` is not in the mixture."""


def lost_by_mixture(manifest: Manifest | None, budgets: Mapping[tuple[str, str], RunBudget]) -> Lost:
    """Look up what each mixture lost to sources outside it; empty before a build."""
    held: dict[str, set[str]] = {}
    for (mixture, _), budget in budgets.items():
        held.setdefault(mixture, set()).update(name for name, share in budget.declared.items() if share > 0)
    return {} if manifest is None else {mixture: manifest.lost_outside(names) for mixture, names in held.items()}


def lost_json(lost: Mapping[str, Sequence[MatrixRow]]) -> dict[str, object]:
    """The JSON form: by mixture the sum of bytes, and the rows."""
    return {
        mixture: {"bytes": sum(row.bytes for row in rows), "rows": [row.model_dump() for row in rows]}
        for mixture, rows in lost.items()
    }


def lost_table(lost: Mapping[str, Sequence[MatrixRow]]) -> Table:
    """The rows as a table."""
    rows = [
        (mixture, row.source, row.lost_to, count(row.documents), count(row.bytes))
        for mixture, rows in lost.items()
        for row in rows
    ]
    columns = ("mixture", "source", "lost to", "documents", "bytes")
    return table("Lost in deduplication to sources outside the mixture", columns, rows, text_columns=3)
