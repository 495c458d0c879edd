"""Declared, planned and delivered tokens of every mixture, by source."""

from __future__ import annotations

from itertools import accumulate

from mixproof.tokenize.page.palette import INK, PAPER, Look
from mixproof.tokenize.page.table import Cell, Table, columns, count, decimal, percent, share
from mixproof.train.compare.ranking import Ranking
from mixproof.train.compare.rows import Row, delivered_key, is_supervised

from .evidence import Evidence, RunEvidence
from .figure import Figure, Plot, Trace, axis, label, layout, names_axis, scatter, short_names

BAR_HEIGHT = 40
LABEL_FROM = 0.06
"""Smallest share whose bar is wide enough for a label."""


def delivered_table(evidence: Evidence, ranking: Ranking, of_source: dict[str, Look], number: int) -> Table:
    """One row per mixture and source: shares, tokens and epochs; these do not depend on the seed."""
    rows = []
    for row in ranking.rows:
        run = evidence.run(row.runs[0])
        for name in row.delivered:
            rows.append((Cell(row.mixture), Cell(name, color=of_source[name].color), *_amounts(row, name, run)))
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
    counted = ": supervised tokens of the first seed" if is_supervised(ranking.rows) else ""
    caption = f"Declared, planned, delivered on {ranking.proxy}{counted}"
    return Table(f"delivered-table-{number}", caption, heads, tuple(rows))


def _amounts(row: Row, source: str, run: RunEvidence | None) -> tuple[Cell, ...]:
    """Declared share, planned and delivered tokens, their difference, delivered share, and epochs."""
    part, delivered_share = row.delivered[source], _delivered_share(row, source)
    at = (run.anchor if run else None, "delivered", source)
    key = delivered_key(part)
    difference = part[key] - part["planned"]
    return (
        share(part["declared"], *at, "declared"),
        count(part["planned"], *at, "planned"),
        count(part[key], *at, key),
        Cell(f"{difference:+,.0f}" if difference else "0", difference),
        Cell(percent(delivered_share), delivered_share),
        decimal(part["epochs"], *at, "epochs", places=3),
    )


def delivered_sentence(ranking: Ranking) -> str:
    """Whether delivered equals planned for every mixture and source, and how far rounding moved the shares."""
    parts = [part for row in ranking.rows for part in row.delivered.values()]
    different = [part for part in parts if part[delivered_key(part)] != part["planned"]]
    moved = max(
        abs(_delivered_share(row, name) - part["declared"])
        for row in ranking.rows
        for name, part in row.delivered.items()
    )
    exact = (
        "Delivered tokens equal planned tokens for every mixture and source"
        if not different
        else f"{len(different)} of {len(parts)} token counts differ from the plan"
    )
    if moved < 1e-9:
        return f"{exact}, and all shares equal the declared ones."
    return f"{exact}. Shares differ from the declared ones by at most {percent(moved)}, because samples are whole."


def delivered_plot(ranking: Ranking, of_source: dict[str, Look], number: int) -> Plot:
    """Delivered shares as bars, declared shares as marks on them."""
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
        f"delivered-{number}",
        "Delivered shares of tokens by mixture and source, with the declared shares as marks",
        "Bars: delivered share of tokens. Vertical marks: bar edges according to the declared shares.",
        traces,
        layout(116 + height, shares, names_axis(names), "bars: delivered share of each source", barmode="stack"),
        {**short_names([row.mixture for row in rows]), "height": 170 + height},
    )
    return Plot((figure,))


def _bars(name: str, values: list[float], mixtures: list[str], look: Look) -> Trace:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "x": values,
        "y": mixtures,
        "width": 0.62,
        "marker": {"color": look.color, "line": {"color": PAPER, "width": 1.5}},
        "text": [f"{value:.0%}" if value >= LABEL_FROM else "" for value in values],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "hovertemplate": "%{y}: %{x:.2%}<extra>" + name + "</extra>",
    }


def _edges(row: Row, of_source: dict[str, Look]) -> list[float]:
    """Cumulative declared shares, in the order of the bars."""
    declared = [row.delivered[source]["declared"] for source in of_source if source in row.delivered]
    edges = accumulate(part for part in declared if part)
    return [edge for edge in edges if edge < 1 - 1e-9]


def _delivered_share(row: Row, source: str) -> float:
    total = sum(part[delivered_key(part)] for part in row.delivered.values())
    part = row.delivered.get(source)
    return part[delivered_key(part)] / total if part is not None and total else 0.0
