"""How loss falls with model size and tokens: one scaling law per mixture, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixproof.tokenize.page.palette import MUTED, Look, faded, looks
from mixproof.tokenize.page.table import Cell, Table, amount, columns, decimal
from mixproof.train.record import RunRecord
from mixproof.train.scaling.law import MOST_EPOCHS, Law, NoLaw, Observation, fit_law

from .evidence import Evidence
from .figure import Figure, Plot, Trace, axis, layout, scatter

BEYOND = 10
"""The curves extend to this multiple of the largest token count."""
POINTS = 40


@dataclass(frozen=True)
class ScalingView:
    """The law of one mixture on the page."""

    mixture: str
    sentence: str
    plots: tuple[Plot, ...]
    tables: tuple[Table, ...]


def scaling_views(evidence: Evidence) -> tuple[list[str], list[ScalingView]]:
    """Reasons for missing laws, each with its mixtures, and a view for each mixture with a law."""
    reasons: dict[str, list[str]] = {}
    views: list[ScalingView] = []
    for mixture, runs in _families(evidence).items():
        found = fit_law([observation(run) for run in runs])
        if isinstance(found, NoLaw):
            reasons.setdefault(found.reason, []).append(mixture)
        else:
            views.append(_view(mixture, found, len(views)))
    return [f"{', '.join(mixtures)}: {reason}" for reason, mixtures in reasons.items()], views


def observation(record: RunRecord) -> Observation:
    """A run as input of a law: parameters without the embedding, and nats per held-out token over all sources."""
    scored = sum(score.tokens for score in record.heldout.values())
    loss = sum(score.loss * score.tokens for score in record.heldout.values()) / scored
    unique = sum(min(part.unique_tokens, part.tokens) for part in record.delivered.values())
    return Observation(
        parameters=record.parameters.non_embedding,
        tokens=record.consumed_tokens,
        unique_tokens=unique,
        loss=loss,
    )


def _families(evidence: Evidence) -> dict[str, list[RunRecord]]:
    """Runs that count, by mixture: same name, build, tokenizer and held-out texts, with any size and tokens."""
    excluded = {failed.run for failed in evidence.comparison.failed}
    families: dict[tuple[str, ...], list[RunRecord]] = {}
    for run in evidence.runs:
        record = run.record
        if record.key not in excluded and record.status == "done" and record.heldout:
            texts = [f"{name} {score.texts_sha256}" for name, score in sorted(record.heldout.items())]
            key = (record.mixture, record.build, record.tokenizer.sha256, *texts)
            families.setdefault(key, []).append(record)
    names = [key[0] for key in families]
    return {
        key[0] if names.count(key[0]) == 1 else f"{key[0]} (build {key[1][:8]})": records
        for key, records in families.items()
    }


def _view(mixture: str, law: Law, number: int) -> ScalingView:
    constants = law.constants
    sentence = (
        f"L = {constants['E']:.3g} + {constants['A']:.3g} / N^{constants['a']:.3f} + {constants['B']:.3g} / "
        f"D^{constants['b']:.3f} nats per held-out token, with N parameters (without the embedding) and D effective "
        f"tokens. Fitted to {len(law.observations)} runs; their residuals have a root mean square of {law.scatter:.2%}."
    )
    if law.left_out:
        number_of_runs = "1 more run has" if len(law.left_out) == 1 else f"{len(law.left_out)} more runs have"
        sentence += (
            f" {number_of_runs} over {MOST_EPOCHS:g} epochs and {'is' if len(law.left_out) == 1 else 'are'} left out, "
            "because the value of that many repeats is not known well enough."
        )
    if law.repeated:
        sentence += f" {law.repeated} of the fitted runs repeat text; for these, D is the published estimate."
    return ScalingView(mixture, sentence, (_law_plot(law, number), _residual_plot(law, number)), _tables(law, number))


def _law_plot(law: Law, number: int) -> Plot:
    sizes = sorted({seen.parameters for seen in law.observations})
    of = looks([str(size) for size in sizes])
    tokens = axis("effective tokens", type="log", exponentformat="SI")
    figure = Figure(
        f"scaling-{number}",
        "Held-out loss against effective tokens, one line per model size, with the 95% interval of the law",
        "Points are runs, lines the fitted law, bands its 95% interval. Dashed lines extrapolate beyond the runs.",
        [trace for size in sizes for trace in _size(law, size, of[str(size)])],
        layout(440, tokens, axis("nats per held-out token"), "model size, fitted and measured"),
        {"height": 360},
    )
    return Plot((figure,))


def _size(law: Law, size: float, look: Look) -> list[Trace]:
    """Runs of one size, and the law within and beyond their range."""
    seen = [run.effective_tokens for run in law.observations]
    name = f"{amount(size)} parameters"
    group = {"legendgroup": name}
    traces = []
    for tokens, dash, strength in (
        (np.geomspace(min(seen), max(seen), POINTS), "solid", 0.18),
        (np.geomspace(max(seen), max(seen) * BEYOND, POINTS // 2), "dash", 0.1),
    ):
        x = [float(value) for value in tokens]
        found = [law.predict(size, value) for value in x]
        band = [prediction.high for prediction in found] + [prediction.low for prediction in reversed(found)]
        fill = {"fill": "toself", "fillcolor": faded(look.color, strength), "line": {"width": 0}}
        line = {"color": look.color, "dash": dash, "width": 2}
        hover = "%{y:.4f} at %{x:.3s} tokens<extra>law, " + name + "</extra>"
        traces.append(scatter("lines", name, [*x, *x[::-1]], band, showlegend=False, hoverinfo="skip", **fill, **group))
        y = [prediction.loss for prediction in found]
        traces.append(scatter("lines", name, x, y, line=line, showlegend=False, hovertemplate=hover, **group))
    mine = [run for run in law.observations if run.parameters == size]
    marker = {"color": look.color, "symbol": look.symbol, "size": 9}
    hover = "%{y:.4f} at %{x:.3s} tokens<extra>run, " + name + "</extra>"
    x, y = [run.effective_tokens for run in mine], [run.loss for run in mine]
    return [*traces, scatter("markers", name, x, y, marker=marker, hovertemplate=hover, **group)]


def _residual_plot(law: Law, number: int) -> Plot:
    sizes = [str(seen.parameters) for seen in law.observations]
    of = looks(sorted(set(sizes), key=float))
    marker = {"color": [of[size].color for size in sizes], "symbol": [of[size].symbol for size in sizes], "size": 9}
    points = scatter(
        "markers",
        "residual",
        [seen.effective_tokens for seen in law.observations],
        law.residuals,
        marker=marker,
        text=[f"{amount(float(size))} parameters" for size in sizes],
        hovertemplate="%{text}: %{y:.2%}<extra></extra>",
        showlegend=False,
    )
    tokens = axis("effective tokens", type="log", exponentformat="SI")
    residual = {**axis("residual", tickformat=".1%"), "zeroline": True, "zerolinecolor": MUTED}
    figure = Figure(
        f"residuals-{number}",
        "Residuals of the law against effective tokens; the table below has the numbers",
        "Relative deviation of each run from the law. A pattern means that the form does not fit.",
        [points],
        layout(220, tokens, residual, "model size"),
    )
    return Plot((figure,))


def _tables(law: Law, number: int) -> tuple[Table, ...]:
    constants = tuple(
        (Cell(name), Cell(f"{law.constants[name]:.4g}", law.constants[name]), Cell(f"{low:.4g} to {high:.4g}", low))
        for name, (low, high) in law.intervals.items()
    )
    seen = tuple(
        (
            Cell(amount(run.parameters), run.parameters),
            Cell(f"{run.tokens:,.0f}", run.tokens),
            Cell(f"{run.effective_tokens:,.0f}", run.effective_tokens),
            decimal(run.loss),
            Cell(f"{residual:+.2%}", residual),
        )
        for run, residual in zip(law.observations, law.residuals, strict=True)
    )
    heads = columns("parameters", "tokens", "effective tokens", "loss", "residual", text=0)
    return (
        Table(f"law-table-{number}", "Constants", columns("constant", "value", "95% interval"), constants),
        Table(f"residual-table-{number}", "Fitted runs", heads, seen),
    )
