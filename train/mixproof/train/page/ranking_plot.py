"""The figure of a ranking: means over seeds with 95% intervals, and the single seeds."""

from __future__ import annotations

from mixproof.tokenize.page.palette import INK, MUTED, PAPER, Look
from mixproof.train.compare.ranking import Ranking
from mixproof.train.compare.rows import Row

from .evidence import Evidence
from .figure import Figure, Plot, Trace, axis, label, layout, names_axis, scatter, short_names

ROW_HEIGHT = 46
"""Pixels per mixture."""


def ranking_plot(evidence: Evidence, ranking: Ranking, of: dict[str, Look], number: int) -> Plot:
    """One row per mixture, the best on top; `of` gives each mixture's look."""
    rows = list(reversed(ranking.rows))
    names = [label(row.mixture) for row in rows]
    traces = _intervals(rows, names)
    if len(ranking.seeds) > 1:
        traces.append(_single_seeds(rows, names))
    traces.append(_means(rows, names, of))
    height = ROW_HEIGHT * len(rows)
    figure = Figure(
        f"ranking-{number}",
        f"Ranking of {len(rows)} mixtures on {ranking.proxy}, best first: "
        + "; ".join(f"{row.mixture} {row.mean:.4f}" for row in ranking.rows),
        _caption(evidence, ranking),
        traces,
        layout(130 + height, axis(ranking.unit, range=_range(rows)), names_axis(names), "marks"),
        {**short_names([row.mixture for row in rows]), "xaxis.nticks": 5, "height": 170 + height},
    )
    return Plot((figure,))


def _intervals(rows: list[Row], names: list[str]) -> list[Trace]:
    """A thin line for both components and a broad one for seeds alone; none with one seed."""
    traces = []
    for part, name, look, opacity in (
        ("total", "95% interval: seeds and documents", {"color": INK, "width": 3}, 1.0),
        ("seeds", "95% interval: seeds alone", {"color": MUTED, "width": 9}, 0.35),
    ):
        x: list[float | None] = []
        y: list[str | None] = []
        for mixture, row in zip(names, rows, strict=True):
            if row.interval is not None:
                half = row.interval.total if part == "total" else row.interval.seeds
                x += [row.mean - half, row.mean + half, None]
                y += [mixture, mixture, None]
        if x:
            traces.append(scatter("lines", name, x, y, line=look, opacity=opacity, hoverinfo="skip"))
    return traces


def _single_seeds(rows: list[Row], names: list[str]) -> Trace:
    points = [(value, name) for name, row in zip(names, rows, strict=True) for value in row.by_seed]
    ticks = {"symbol": "line-ns-open", "size": 16, "color": INK, "line": {"width": 1.5}}
    hover = "%{x:.4f}<extra>one seed</extra>"
    x, y = [point[0] for point in points], [point[1] for point in points]
    return scatter("markers", "one seed", x, y, marker=ticks, hovertemplate=hover)


def _means(rows: list[Row], names: list[str], of: dict[str, Look]) -> Trace:
    marker = {
        "size": 11,
        "color": [of[row.mixture].color for row in rows],
        "symbol": [of[row.mixture].symbol for row in rows],
        "line": {"width": 1.5, "color": PAPER},
    }
    hover = "%{y}: %{x:.4f}<extra></extra>"
    x = [row.mean for row in rows]
    return scatter("markers", "mean over seeds", x, names, marker=marker, hovertemplate=hover)


def _caption(evidence: Evidence, ranking: Ranking) -> str:
    objective = evidence.comparison.objective
    intervals = (
        "Thin line: 95% interval of the mixture's own mean. Broad line: the part of it that comes from seeds."
        if ranking.variance.degrees_of_freedom
        else "With one seed per mixture the variation between seeds is unknown, so there are no intervals."
    )
    direction = "higher" if ranking.score.higher_is_better else "lower"
    in_words = objective.removesuffix(", higher is better")
    return f"{in_words[0].upper()}{in_words[1:]}; {direction} is better. {intervals}"


def _range(rows: list[Row]) -> list[float]:
    """From the lowest to the highest value drawn, with a small margin."""
    half = [row.interval.total if row.interval else 0.0 for row in rows]
    low = min(min(row.mean - width, *row.by_seed) for row, width in zip(rows, half, strict=True))
    high = max(max(row.mean + width, *row.by_seed) for row, width in zip(rows, half, strict=True))
    margin = 0.04 * (high - low) or 0.01
    return [low - margin, high + margin]
