"""Documents that sources lost to each other in deduplication."""

from __future__ import annotations

from .evidence import BuildEvidence
from .figure import Figure, Plot, axis, label
from .palette import Look
from .table import Cell, Table, amount, columns, count, percent


def dedup_table(build: BuildEvidence, of_source: dict[str, Look], number: int) -> Table:
    """One row per pair of sources that share documents."""
    rows = []
    for index, row in enumerate(build.manifest.dedup_matrix):
        read = build.manifest.sources[row.source].ledger[0].bytes_out
        at = (build.anchor, "dedup_matrix", index)
        rows.append(
            (
                Cell(row.source, color=of_source[row.source].color),
                Cell("itself" if row.source == row.lost_to else row.lost_to, color=of_source[row.lost_to].color),
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
    one, many = ("document or line", "documents and lines") if "paragraphs" in stages else ("document", "documents")
    if not rows:
        return f"No {one} was dropped as a duplicate: there are none, or deduplication is off."
    if all(row.source == row.lost_to for row in rows):
        return f"Only duplicates within a source were dropped; no {one} occurs in two sources."
    return (
        f"A {one} that occurs in several sources is kept in one of them. A mixture without that source does not "
        f"contain the {one} at all. If {many} were lost in this way, the ranking table gives their bytes."
    )


def dedup_plot(build: BuildEvidence, number: int) -> Plot | None:
    """The matrix as a heat map; None if nothing was dropped."""
    matrix = {(row.source, row.lost_to): row for row in build.manifest.dedup_matrix}
    if not matrix:
        return None
    names = sorted(build.manifest.sources)
    shown = [[matrix.get((source, other)) for other in names] for source in names]
    figure = Figure(
        f"dedup-{number}",
        "Matrix of documents that sources lost to each other in deduplication; the table below has the numbers",
        "Row: source that lost documents. Column: source that kept them. Diagonal: duplicates within a source.",
        [
            {
                "type": "heatmap",
                "x": [label(name, 16) for name in names],
                "y": [label(name, 16) for name in names],
                "z": [[None if cell is None else cell.documents for cell in row] for row in shown],
                "text": [
                    ["" if cell is None else f"{amount(cell.documents)}<br>{amount(cell.bytes)}B" for cell in row]
                    for row in shown
                ],
                "texttemplate": "%{text}",
                "hovertemplate": "%{y} lost %{z:,d} documents to %{x}<extra></extra>",
                "colorscale": "Cividis",
                "showscale": False,
                "xgap": 2,
                "ygap": 2,
            }
        ],
        {
            "height": 120 + 46 * len(names),
            "xaxis": axis("kept by", type="category", showgrid=False, side="top"),
            "yaxis": axis("lost by", type="category", showgrid=False, autorange="reversed"),
            "margin": {"t": 60, "b": 8, "l": 8, "r": 8},
        },
        {"xaxis.tickangle": -40, "height": 150 + 42 * len(names)},
    )
    return Plot((figure,))
