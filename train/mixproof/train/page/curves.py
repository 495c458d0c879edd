"""Training loss, of the whole batch and of each source in it, and held-out scores after training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mixproof.tokenize.page.palette import Look
from mixproof.train.compare.ranking import Ranking

from .evidence import Evidence, RunEvidence
from .figure import Figure, Plot, Trace, axis, label, layout, legend_height, names_axis, scatter, short_names

MAX_POINTS = 60_000
"""In all curves of a figure together: about a megabyte."""
MAX_POINTS_OF_CURVE = 400
MIN_POINTS_OF_CURVE = 40
START = 0.04
"""Fraction of a run whose losses do not affect the range of the axis, because they would flatten the rest."""
CAVEAT = (
    "Training loss depends on the text that a mixture contains, not only on the model: "
    "compare mixtures by their held-out scores, not by these curves."
)


class Step(NamedTuple):
    """One point of a curve."""

    tokens: int
    """Consumed so far by the run."""
    loss: float
    weight: int
    """Weight of the step in a mean."""


def curve_plot(evidence: Evidence, ranking: Ranking, of: dict[str, Look], number: int) -> Plot | None:
    """Training loss of every run of a ranking, over all sources and by source; None if there are no metrics."""
    found = [(row.mixture, run) for row in ranking.rows for key in row.runs if (run := evidence.run(key))]
    runs = [(mixture, run) for mixture, run in found if run.metrics]
    if not runs:
        return None
    sources = sorted({name for _, run in runs for step in run.metrics for name in step.loss_of})
    points = points_each(len(runs) * (1 + len(sources)))
    whole = [(mixture, run, [Step(step.tokens, step.loss, 1) for step in run.metrics]) for mixture, run in runs]
    views = [("all sources", whole, CAVEAT)]
    for source in sources:
        mine = [(mixture, run, steps) for mixture, run in runs if (steps := _steps_of(run, source))]
        views.append(
            (source, mine, f"Loss on {source} only. Runs read different parts of this source in different orders.")
        )
    figures = [_view(number, ranking, of, name, curves, caption, points) for name, curves, caption in views]
    return Plot(tuple(figures), "Loss on") if sources else Plot((replace(figures[0], view=""),))


def _steps_of(run: RunEvidence, source: str) -> list[Step]:
    """The steps whose batch contained targets of a source."""
    return [
        Step(step.tokens, step.loss_of[source], step.targets_of[source])
        for step in run.metrics
        if source in step.loss_of
    ]


def _view(
    number: int,
    ranking: Ranking,
    of: dict[str, Look],
    name: str,
    curves: list[tuple[str, RunEvidence, list[Step]]],
    caption: str,
    points: int,
) -> Figure:
    """One figure: the runs' losses on all sources or on one; `name` says which."""
    traces: list[Trace] = []
    late: list[float] = []
    steps_per_point = 1
    for mixture, run, steps in curves:
        tokens, losses, averaged = thin(steps, points)
        steps_per_point = max(steps_per_point, averaged)
        late += losses[int(len(losses) * START) :]
        first = all(trace["legendgroup"] != mixture for trace in traces)
        traces.append(_curve(mixture, run, tokens, losses, of[mixture], first))
    low, high = min(late), max(late)
    above = any(loss > high for trace in traces for loss in trace["y"])
    margin = 0.04 * (high - low)
    tokens_axis = axis("tokens", tickformat="~s", rangemode="tozero")
    losses_axis = axis("nats per token", range=[low - margin, high + margin])
    mixtures = len({mixture for mixture, _, _ in curves})
    return Figure(
        f"curves-{number}",
        f"Training loss of {len(curves)} runs on {ranking.proxy} against tokens: {name}",
        f"{caption} "
        + (f"Each point is the mean of {steps_per_point} steps." if steps_per_point > 1 else "One point per step.")
        + (" The first steps are above the visible range." if above else ""),
        traces,
        layout(380 + legend_height(mixtures), tokens_axis, losses_axis, "mixture"),
        {"height": 330 + legend_height(mixtures, 2), "xaxis.nticks": 5},
        view=name,
    )


def _curve(mixture: str, run: RunEvidence, x: list[int], y: list[float], look: Look, first: bool) -> Trace:
    name = label(mixture)
    return scatter(
        "lines",
        name,
        x,
        y,
        legendgroup=mixture,
        showlegend=first,
        line={"color": look.color, "dash": look.dash, "width": 1.6},
        hovertemplate=f"%{{y:.4f}} at %{{x:.4s}} tokens<extra>{name}, seed {run.record.seed}</extra>",
    )


def heldout_plot(ranking: Ranking, of: dict[str, Look], number: int) -> Plot:
    """The ranking's score of every held-out set, one symbol per mixture."""
    sources = sorted({name for row in ranking.rows for name in row.scores}, reverse=True)
    unit, direction = ranking.unit, "higher" if ranking.score.higher_is_better else "lower"
    traces = []
    for row in ranking.rows:
        look, name = of[row.mixture], label(row.mixture)
        scored = [source for source in sources if source in row.scores]
        traces.append(
            scatter(
                "markers",
                name,
                [row.scores[source] for source in scored],
                [label(source) for source in scored],
                marker={"color": look.color, "symbol": look.symbol, "size": 11},
                hovertemplate="%{y}: %{x:.4f}<extra>" + name + "</extra>",
            )
        )
    height = 40 * len(sources)
    figure = Figure(
        f"heldout-{number}",
        f"Held-out {unit} of every source by mixture; the ranking table has the numbers",
        f"{unit.capitalize()} of each held-out set after the last step, mean over seeds; {direction} is better.",
        traces,
        layout(
            110 + legend_height(len(ranking.rows)) + height,
            axis(unit),
            {**names_axis(sources), "showgrid": True},
            "mixture",
        ),
        {**short_names(sources), "xaxis.nticks": 5, "height": 110 + legend_height(len(ranking.rows), 2) + height},
    )
    return Plot((figure,))


def points_each(runs: int) -> int:
    """Maximum points per curve if `runs` curves share a figure."""
    return int(min(MAX_POINTS_OF_CURVE, max(MIN_POINTS_OF_CURVE, MAX_POINTS // max(runs, 1))))


def thin(steps: Sequence[Step], most: int) -> tuple[list[int], list[float], int]:
    """Average losses over groups of consecutive steps, so that at most `most` points remain.

    Returns:
        Tokens at the end of each group, mean loss of the group, and steps per group.
    """
    size = -(-len(steps) // most)
    groups = [steps[start : start + size] for start in range(0, len(steps), size)]
    losses = [
        round(float(np.average([step.loss for step in group], weights=[step.weight for step in group])), 5)
        for group in groups
    ]
    return [group[-1].tokens for group in groups], losses, size
