"""Documents that sources lost to each other in deduplication."""

from __future__ import annotations

from .build_evidence import BuildEvidence
from .palette import Look
from .table import Cell, Table, columns, count, percent


def dedup_table(build: BuildEvidence, of_source: dict[str, Look], number: int) -> Table:
    """One row per pair of sources that share documents."""
    rows, part_of = [], build.first_parts
    looks = {name: of_source[part] for name, part in part_of.items()}
    for index, row in enumerate(build.manifest.dedup_matrix):
        read = build.manifest.sources[part_of[row.source]].ledger[0].bytes_out
        at = (build.anchor, "dedup_matrix", index)
        rows.append(
            (
                Cell(row.source, color=looks[row.source].color),
                Cell("itself" if row.source == row.lost_to else row.lost_to, color=looks[row.lost_to].color),
                count(row.documents, *at, "documents"),
                count(row.bytes, *at, "bytes"),
                Cell(percent(row.bytes / read if read else 0.0), row.bytes / read if read else 0.0),
            )
        )
    heads = columns("source", "lost to", "documents", "bytes", "% of source bytes", text=2)
    return Table(f"dedup-table-{number}", "Duplicates by source", heads, tuple(rows))


def dedup_sentence(build: BuildEvidence) -> str:
    """Summarize deduplication within and across sources."""
    rows = build.manifest.dedup_matrix
    stages = {row.stage for source in build.manifest.sources.values() for row in source.ledger}
    shorter = [word for stage, word in (("paragraphs", "line"), ("substrings", "passage")) if stage in stages]
    one, many = " or ".join(["document", *shorter]), " and ".join([f"{word}s" for word in ("document", *shorter)])
    if not rows:
        return f"No {one} was dropped as a duplicate: there are none, or deduplication is off."
    if all(row.source == row.lost_to for row in rows):
        return f"Only duplicates within a source were dropped; no {one} occurs in two sources."
    return (
        f"A {one} that occurs in several sources is kept in one of them. A mixture without that source does not "
        f"contain the {one} at all. If {many} were lost in this way, the ranking table gives their bytes."
    )
