"""What sources lost to each other in deduplication."""

from __future__ import annotations

from .evidence import BuildEvidence
from .figure import Figure, Plot, axis, label
from .palette import Look
from .table import Cell, Table, amount, columns, count, percent


def dedup_table(build: BuildEvidence, of_source: dict[str, Look], number: int) -> Table:
    """One row a pair of sources that shared documents."""
    rows = []
    for place, row in enumerate(build.manifest.dedup_matrix):
        read = build.manifest.sources[row.source].ledger[0].bytes_out
        at = (build.anchor, "dedup_matrix", place)
        rows.append(
            (
                Cell(row.source, color=of_source[row.source].color),
                Cell("itself" if row.source == row.lost_to else row.lost_to, color=of_source[row.lost_to].color),
                count(row.documents, *at, "documents"),
                count(row.bytes, *at, "bytes"),
                Cell(percent(row.bytes / read if read else 0.0), row.bytes / read if read else 0.0),
            )
        )
    heads = columns("source", "lost to", "documents", "bytes", "of its bytes", text=2)
    return Table(f"dedup-table-{number}", "What sources lost to each other", heads, tuple(rows))


def dedup_sentence(build: BuildEvidence) -> str:
    """Say what deduplication did between sources."""
    rows = build.manifest.dedup_matrix
    stages = {row.stage for source in build.manifest.sources.values() for row in source.ledger}
    one, many = ("document or line", "documents and lines") if "paragraphs" in stages else ("document", "documents")
    if not rows:
        return f"No source lost a {one} to another, or to itself: nothing was equal, or deduplication was off."
    if all(row.source == row.lost_to for row in rows):
        return f"Sources lost copies of their own {many} only; no {one} was in two sources."
    return (
        f"A {one} that several sources share stays in one of them. A mixture that leaves that one out does not hold "
        f"the {one} at all; the ranking says how many bytes that is, where it is any."
    )


def dedup_plot(build: BuildEvidence, number: int) -> Plot | None:
    """The matrix; None where nothing was lost."""
    matrix = {(row.source, row.lost_to): row for row in build.manifest.dedup_matrix}
    if not matrix:
        return None
    names = sorted(build.manifest.sources)
    shown = [[matrix.get((source, other)) for other in names] for source in names]
    figure = Figure(
        f"dedup-{number}",
        "Matrix of documents that sources lost to each other in deduplication; the table below holds the numbers",
        "Row: the source that lost documents. Column: the source that kept them. Diagonal: a source's own copies.",
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
