"""Loss while training, of the whole batch and of each source in it, and held-out scores at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mixproof.train.compare.ranking import Ranking

from .evidence import Evidence, RunEvidence
from .figure import Figure, Plot, Trace, axis, label, layout, legend_height, names_axis, scatter, short_names
from .palette import Look

MOST_POINTS = 60_000
"""In all curves of a figure together: about a megabyte."""
MOST_OF_ONE = 400
FEWEST_OF_ONE = 40
START = 0.04
"""Share of a run whose losses the axis leaves out, because they would flatten the rest."""
LEVELS = (
    "Loss on the text each mixture trains on, so levels differ with the text, not only with the model: "
    "compare held-out scores, not these."
)


class Step(NamedTuple):
    """One point of a curve."""

    tokens: int
    """Of the run so far."""
    loss: float
    weight: int
    """With which it enters a mean."""


def curve_plot(evidence: Evidence, ranking: Ranking, of: dict[str, Look], number: int) -> Plot | None:
    """Training loss of every run of a ranking, all sources together and each alone; None where no metrics are there."""
    found = [(row.mixture, run) for row in ranking.rows for key in row.runs if (run := evidence.run(key))]
    runs = [(mixture, run) for mixture, run in found if run.metrics]
    if not runs:
        return None
    sources = sorted({name for _, run in runs for step in run.metrics for name in step.loss_of})
    points = points_each(len(runs) * (1 + len(sources)))
    whole = [(mixture, run, [Step(step.tokens, step.loss, 1) for step in run.metrics]) for mixture, run in runs]
    views = [("all sources", whole, LEVELS)]
    for source in sources:
        mine = [(mixture, run, steps) for mixture, run in runs if (steps := _steps_of(run, source))]
        views.append(
            (source, mine, f"Loss on {source} alone. Each run meets its own part of that text in its own order.")
        )
    figures = [_view(number, ranking, of, name, curves, caption, points) for name, curves, caption in views]
    return Plot(tuple(figures), "Loss on") if sources else Plot((replace(figures[0], view=""),))


def _steps_of(run: RunEvidence, source: str) -> list[Step]:
    """The steps whose batch held targets of a source."""
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
    """One figure: the runs' losses on what `name` says."""
    traces: list[Trace] = []
    late: list[float] = []
    each = 1
    for mixture, run, steps in curves:
        tokens, losses, stretch = thin(steps, points)
        each = max(each, stretch)
        late += losses[int(len(losses) * START) :]
        first = all(trace["legendgroup"] != mixture for trace in traces)
        traces.append(_curve(mixture, run, tokens, losses, of[mixture], first))
    low, high = min(late), max(late)
    above = any(loss > high for trace in traces for loss in trace["y"])
    room = high - low
    losses_axis = axis("nats per token", range=[low - 0.04 * room, high + 0.04 * room])
    mixtures = len({mixture for mixture, _, _ in curves})
    return Figure(
        f"curves-{number}",
        f"Training loss of {len(curves)} runs on {ranking.proxy} against tokens: {name}",
        f"{caption} "
        + (f"Each point is the mean of {each} steps." if each > 1 else "One point a step.")
        + (" The first steps lie above the axis." if above else ""),
        traces,
        layout(360 + legend_height(mixtures), axis("tokens", tickformat="~s", rangemode="tozero"), losses_axis),
        {"height": 310 + legend_height(mixtures, 2), "xaxis.nticks": 5},
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
    """Bits per byte of every held-out set, one symbol a mixture."""
    sources = sorted({name for row in ranking.rows for name in row.heldout}, reverse=True)
    traces = []
    for row in ranking.rows:
        look, name = of[row.mixture], label(row.mixture)
        here = [source for source in sources if source in row.heldout]
        traces.append(
            scatter(
                "markers",
                name,
                [row.heldout[source]["bits_per_byte"] for source in here],
                [label(source) for source in here],
                marker={"color": look.color, "symbol": look.symbol, "size": 11},
                hovertemplate="%{y}: %{x:.4f}<extra>" + name + "</extra>",
            )
        )
    height = 40 * len(sources)
    figure = Figure(
        f"heldout-{number}",
        "Held-out bits per byte of every source by mixture; the ranking table holds the numbers",
        "Bits per byte of each held-out set after the last step, mean over seeds; lower is better.",
        traces,
        layout(
            90 + legend_height(len(ranking.rows)) + height,
            axis("bits per byte"),
            {**names_axis(sources), "showgrid": True},
        ),
        {**short_names(sources), "xaxis.nticks": 5, "height": 90 + legend_height(len(ranking.rows), 2) + height},
    )
    return Plot((figure,))


def points_each(runs: int) -> int:
    """How many points a curve may have where so many curves share a figure."""
    return int(min(MOST_OF_ONE, max(FEWEST_OF_ONE, MOST_POINTS // max(runs, 1))))


def thin(steps: Sequence[Step], most: int) -> tuple[list[int], list[float], int]:
    """Mean losses over equal numbers of steps, so that at most `most` points are left.

    Returns:
        Tokens at the end of each stretch, the mean loss of the stretch, and steps a stretch.
    """
    each = -(-len(steps) // most)
    stretches = [steps[start : start + each] for start in range(0, len(steps), each)]
    losses = [
        round(float(np.average([step.loss for step in stretch], weights=[step.weight for step in stretch])), 5)
        for stretch in stretches
    ]
    return [stretch[-1].tokens for stretch in stretches], losses, each
