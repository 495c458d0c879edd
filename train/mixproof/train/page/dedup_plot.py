"""Documents that sources lost to each other in deduplication, as a heat map."""

from __future__ import annotations

from mixproof.tokenize.page.build_evidence import BuildEvidence
from mixproof.tokenize.page.table import amount

from .figure import Figure, Plot, axis, label


def dedup_plot(build: BuildEvidence, number: int) -> Plot | None:
    """The matrix as a heat map; None if nothing was dropped."""
    matrix = {(row.source, row.lost_to): row for row in build.manifest.dedup_matrix}
    if not matrix:
        return None
    names = sorted(build.first_parts)
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
