"""What mixtures were fed: declared, planned and delivered, per source."""

from __future__ import annotations

from itertools import accumulate

from mixproof.train.compare.ranking import Ranking, Row

from .evidence import Evidence
from .figure import Figure, Plot, Trace, axis, label, layout, names_axis, scatter, short_names
from .palette import INK, PAPER, Look
from .table import Cell, Table, columns, count, percent, proof, share

BAR_HEIGHT = 40
LEAST_LABELLED = 0.06
"""Smallest share whose bar has room for its number."""


def fed_table(evidence: Evidence, ranking: Ranking, of_source: dict[str, Look], number: int) -> Table:
    """Shares, tokens and epochs of every source of every mixture; seeds change the order, not the amounts."""
    rows = []
    for row in ranking.rows:
        run = evidence.run(row.runs[0])
        total = sum(part["tokens"] for part in row.delivered.values())
        for name, part in row.delivered.items():
            at = (run.anchor if run else None, "delivered", name)
            off = part["tokens"] - part["planned"]
            rows.append(
                (
                    Cell(row.mixture),
                    Cell(name, color=of_source[name].color),
                    share(part["declared"], *at, "declared"),
                    count(part["planned"], *at, "planned"),
                    count(part["tokens"], *at, "tokens"),
                    Cell(f"{off:+,.0f}" if off else "0", off),
                    Cell(percent(part["tokens"] / total if total else 0.0), part["tokens"] / total if total else 0.0),
                    Cell(
                        f"{part['epochs']:.3f}",
                        part["epochs"],
                        proof(run.anchor, "delivered", name, "epochs") if run else None,
                    ),
                )
            )
    heads = columns(
        "mixture",
        "source",
        "declared",
        "planned tokens",
        "delivered tokens",
        "delivered − planned",
        "delivered share",
        "epochs",
        text=2,
    )
    caption = f"Declared, planned, delivered on {ranking.proxy}"
    return Table(f"fed-table-{number}", caption, heads, tuple(rows))


def fed_sentence(ranking: Ranking) -> str:
    """Say whether every mixture got what was planned, and how far rounding to whole samples moved the shares."""
    parts = [part for row in ranking.rows for part in row.delivered.values()]
    off = [part for part in parts if part["tokens"] != part["planned"]]
    moved = 0.0
    for row in ranking.rows:
        total = sum(part["tokens"] for part in row.delivered.values())
        for part in row.delivered.values():
            moved = max(moved, abs(part["tokens"] / total - part["declared"]) if total else 0.0)
    exact = (
        "Every mixture was delivered exactly the tokens that were planned, source by source"
        if not off
        else f"{len(off)} of {len(parts)} amounts differ from the plan"
    )
    if moved < 1e-9:
        return f"{exact}, and the shares are exactly the declared ones."
    return f"{exact}. No share is more than {percent(moved)} away from the declared one: only whole samples are dealt."


def fed_plot(ranking: Ranking, of_source: dict[str, Look], number: int) -> Plot:
    """Delivered shares as bars, the declared ones as marks on them."""
    rows = list(reversed(ranking.rows))
    names = [label(row.mixture) for row in rows]
    traces = []
    for source, look in of_source.items():
        values = [_delivered_share(row, source) for row in rows]
        if any(values):
            traces.append(_bars(label(source), values, names, look))
    edges = [(edge, name) for name, row in zip(names, rows, strict=True) for edge in _edges(row, of_source)]
    marks = {"symbol": "line-ns-open", "size": 34, "color": INK, "line": {"width": 2}}
    hover = "declared edge %{x:.2%}<extra></extra>"
    x, y = [edge[0] for edge in edges], [edge[1] for edge in edges]
    traces.append(scatter("markers", "declared", x, y, marker=marks, hovertemplate=hover))
    shares = axis(tickformat=".0%", range=[0, 1.005], showgrid=False)
    height = BAR_HEIGHT * len(rows)
    figure = Figure(
        f"fed-{number}",
        "Delivered shares of tokens by mixture and source, with the declared shares as marks",
        "Bars: delivered share of tokens. Upright marks: where the declared shares put the edges.",
        traces,
        layout(96 + height, shares, names_axis(names), barmode="stack"),
        {**short_names([row.mixture for row in rows]), "height": 150 + height},
    )
    return Plot((figure,))


def _bars(name: str, values: list[float], places: list[str], look: Look) -> Trace:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "x": values,
        "y": places,
        "width": 0.62,
        "marker": {"color": look.color, "line": {"color": PAPER, "width": 1.5}},
        "text": [f"{value:.0%}" if value >= LEAST_LABELLED else "" for value in values],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "hovertemplate": "%{y}: %{x:.2%}<extra>" + name + "</extra>",
    }


def _edges(row: Row, of_source: dict[str, Look]) -> list[float]:
    """Where the declared shares, laid end to end in the order of the bars, meet."""
    declared = [row.delivered[source]["declared"] for source in of_source if source in row.delivered]
    edges = accumulate(part for part in declared if part)
    return [edge for edge in edges if edge < 1 - 1e-9]


def _delivered_share(row: Row, source: str) -> float:
    total = sum(part["tokens"] for part in row.delivered.values())
    part = row.delivered.get(source)
    return part["tokens"] / total if part is not None and total else 0.0
