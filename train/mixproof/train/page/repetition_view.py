"""How often sources were repeated, and an estimate of what the repeated tokens are worth."""

from __future__ import annotations

from collections.abc import Mapping

from mixproof.mixtures.arithmetic.repetition import R_STAR, effective_tokens
from mixproof.tokenize.page.palette import MUTED, Look
from mixproof.tokenize.page.table import Cell, Table, columns, count, decimal, percent
from mixproof.train.compare.ranking import Ranking

from .evidence import Evidence, RunEvidence
from .figure import Figure, Plot, Trace, axis, label, layout, scatter

CURVE_POINTS = 60
COLUMNS = (
    "mixture",
    "source",
    "epochs",
    "tokens",
    "unique tokens",
    "effective tokens (estimate)",
    "effective / tokens",
)


def repetition_table(evidence: Evidence, ranking: Ranking, of_source: Mapping[str, Look], number: int) -> Table:
    """One row per mixture and source: epochs, unique tokens, and effective tokens."""
    targets = _targets(evidence)
    rows = []
    for row in ranking.rows:
        run = evidence.run(row.runs[0])
        for name, part in sorted(run.record.delivered.items()) if run else ():
            if run is None or not part.tokens:
                continue
            names = (Cell(row.mixture), Cell(name, color=of_source[name].color))
            at_target = (_epochs_at_target(evidence, run, name, targets),) if targets else ()
            rows.append((*names, *_amounts(run, name), *at_target))
    heads = columns(*COLUMNS, *(("epochs in the target run",) if targets else ()), text=2)
    return Table(f"repetition-table-{number}", f"Repetition on {ranking.proxy}", heads, tuple(rows))


def _amounts(run: RunEvidence, source: str) -> tuple[Cell, ...]:
    """Epochs, tokens, unique tokens, effective tokens, and the latter as a share of tokens."""
    part, at = run.record.delivered[source], (run.anchor, "delivered", source)
    effective = effective_of(part.tokens, part.unique_tokens)
    return (
        decimal(part.epochs, *at, "epochs", places=3),
        count(part.tokens, *at, "tokens"),
        count(part.unique_tokens, *at, "unique_tokens"),
        count(round(effective)),
        Cell(percent(effective / part.tokens), effective / part.tokens),
    )


def effective_of(tokens: int, unique_tokens: int) -> float:
    """Estimate how many new tokens are worth as much as `tokens`, of which `unique_tokens` are different."""
    unique = min(unique_tokens, tokens)
    return effective_tokens(unique, tokens / unique) if unique else 0.0


def repetition_sentence(ranking: Ranking) -> str:
    """The source that was repeated most."""
    most = max(
        ((part["epochs"], row.mixture, name) for row in ranking.rows for name, part in row.delivered.items()),
        default=(0.0, "", ""),
    )
    if most[0] <= 1:
        return (
            f"No source was repeated on {ranking.proxy}. The maximum is {most[0]:.3f} epochs "
            f"({most[2]} in {most[1]}), so every token counts in full."
        )
    return f"The maximum on {ranking.proxy} is {most[0]:.2f} epochs: {most[2]} in {most[1]}."


def repetition_plot(evidence: Evidence, ranking: Ranking, of_source: Mapping[str, Look], number: int) -> Plot | None:
    """Sources on the curve of effective against actual epochs; None if nothing was repeated."""
    epochs_of = _epochs_of(evidence, ranking)
    most = max((epochs for found in epochs_of.values() for epochs, _ in found), default=0.0)
    if most <= 1.0:
        return None
    traces = [*_curves(max(most * 1.3, 4.0))]
    traces += [_points(name, found, of_source[name]) for name, found in sorted(epochs_of.items())]
    figure = Figure(
        f"repetition-{number}",
        "Effective epochs against epochs, by the published estimate, with the sources of these runs as points",
        f"An estimate, not a measurement: U·(1 + R*·(1 − e^(−R/R*))) with R* = {R_STAR} (Muennighoff et al. 2023), "
        "R = epochs after the first.",
        traces,
        layout(360, axis("epochs"), axis("effective epochs, in new text"), "lines, and points of each source"),
    )
    return Plot((figure,))


def _curves(most: float) -> list[Trace]:
    """The estimate, and the line of no loss, up to `most` epochs."""
    epochs = [1 + (most - 1) * step / CURVE_POINTS for step in range(CURVE_POINTS + 1)]
    effective = [effective_tokens(1.0, value) for value in epochs]
    hover = "%{x:.2f} epochs are worth %{y:.2f}<extra>estimate</extra>"
    dotted = {"color": MUTED, "width": 1, "dash": "dot"}
    return [
        scatter("lines", "estimate", epochs, effective, line={"color": MUTED, "width": 2}, hovertemplate=hover),
        scatter("lines", "if repeats were new text", [1, most], [1, most], line=dotted, hoverinfo="skip"),
    ]


def _points(source: str, found: list[tuple[float, str]], look: Look) -> Trace:
    return scatter(
        "markers",
        label(source),
        [epochs for epochs, _ in found],
        [effective_tokens(1.0, epochs) for epochs, _ in found],
        text=[label(mixture) for _, mixture in found],
        marker={"color": look.color, "symbol": look.symbol, "size": 11},
        hovertemplate="%{text}: %{x:.2f} epochs, worth %{y:.2f}<extra>" + label(source) + "</extra>",
    )


def _epochs_of(evidence: Evidence, ranking: Ranking) -> dict[str, list[tuple[float, str]]]:
    """By source: passes over the text that each mixture reads of it, with the mixture."""
    found: dict[str, list[tuple[float, str]]] = {}
    for row in ranking.rows:
        run = evidence.run(row.runs[0])
        for name, part in run.record.delivered.items() if run else ():
            if part.tokens:
                epochs = part.tokens / min(part.unique_tokens, part.tokens)
                found.setdefault(name, []).append((epochs, row.mixture))
    return found


def _targets(evidence: Evidence) -> dict[str, int]:
    return {spec.name: spec.target_tokens for spec in evidence.specs if spec.target_tokens is not None}


def _epochs_at_target(evidence: Evidence, run: RunEvidence, source: str, targets: Mapping[str, int]) -> Cell:
    build, target = evidence.build(run.record.build), targets.get(run.record.spec_name)
    train = build.manifest.sources[source].train.tokens if build and source in build.manifest.sources else 0
    if target is None or not train:
        return Cell("–", -1.0)
    epochs = run.record.delivered[source].declared * target / train
    return Cell(f"{epochs:.2f}", epochs)
