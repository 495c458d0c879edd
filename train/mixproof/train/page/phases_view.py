"""The account of phases that have their own sequence length, rotary base or documents."""

from __future__ import annotations

from mixproof.tokenize.page.palette import Look
from mixproof.tokenize.page.table import Cell, Table, columns, count, decimal, share
from mixproof.train.compare.ranking import Ranking

from .evidence import Evidence


def phases_table(evidence: Evidence, ranking: Ranking, of_source: dict[str, Look], number: int) -> Table | None:
    """One row per mixture, phase and source; None if no mixture has such phases."""
    rows = []
    for row in ranking.rows:
        run = evidence.run(row.runs[0])
        for index, account in enumerate((run.record.phase_accounts if run else None) or ()):
            assert run is not None, "it has an account"
            phase, record = run.record.phases[index], run.record
            for source, one in account.items():
                at = (run.anchor, "phase_accounts", index, source)
                least = (phase.min_tokens or {}).get(source)
                rows.append(
                    (
                        Cell(row.mixture),
                        Cell(str(index + 1), index),
                        Cell(
                            source,
                            color=of_source[source].color,
                            note=None if least is None else f"documents of {least:,} tokens or more",
                        ),
                        count(phase.sequence_length or record.sequence_length),
                        count(phase.rope_base or record.rope_base),
                        share(one.declared, *at, "declared"),
                        count(one.planned, *at, "planned"),
                        count(one.delivered, *at, "delivered"),
                        count(one.available_tokens, *at, "available_tokens"),
                        count(one.also_drawn_tokens, *at, "also_drawn_tokens"),
                        decimal(one.epochs, *at, "epochs", places=3),
                    )
                )
    heads = columns(
        "mixture",
        "phase",
        "source",
        "sequence length",
        "rotary base",
        "declared",
        "planned tokens",
        "delivered tokens",
        "available tokens",
        "of the draw, also drawn by other phases",
        "epochs",
        text=3,
    )
    caption = f"Phases on {ranking.proxy}; all runs are scored at train.sequence_length"
    return Table(f"phases-table-{number}", caption, heads, tuple(rows)) if rows else None
