"""How often sources were repeated, and what that is worth: an estimate."""

from __future__ import annotations

from collections.abc import Mapping

from mixproof.mixtures.arithmetic.repetition import R_STAR, effective_tokens
from mixproof.train.compare.ranking import Ranking

from .evidence import Evidence, RunEvidence
from .figure import Figure, Plot, axis, label, layout, scatter
from .palette import MUTED, Look
from .table import Cell, Table, columns, count, percent, proof

CURVE_POINTS = 60


def repetition_table(evidence: Evidence, ranking: Ranking, of_source: Mapping[str, Look], number: int) -> Table:
    """Epochs, unique tokens and what they are worth, by mixture and source."""
    targets = _targets(evidence)
    rows = []
    for row in ranking.rows:
        run = evidence.run(row.runs[0])
        if run is None:
            continue
        for name, part in sorted(run.record.delivered.items()):
            if not part.tokens:
                continue
            worth = worth_of(part.tokens, part.unique_tokens)
            at = (run.anchor, "delivered", name)
            cells = [
                Cell(row.mixture),
                Cell(name, color=of_source[name].color),
                Cell(f"{part.epochs:.3f}", part.epochs, proof(*at, "epochs")),
                count(part.tokens, *at, "tokens"),
                count(part.unique_tokens, *at, "unique_tokens"),
                count(round(worth)),
                Cell(percent(worth / part.tokens), worth / part.tokens),
            ]
            if targets:
                cells.append(_at_target(evidence, run, name, targets))
            rows.append(tuple(cells))
    names = [
        "mixture",
        "source",
        "epochs",
        "tokens",
        "unique tokens",
        "worth in new tokens (estimate)",
        "of its tokens",
    ]
    heads = columns(*names, *(("epochs in the target run",) if targets else ()), text=2)
    return Table(f"repetition-table-{number}", f"Repetition on {ranking.proxy}", heads, tuple(rows))


def worth_of(tokens: int, unique_tokens: int) -> float:
    """Estimate how many new tokens are worth as much as `tokens`, of which `unique_tokens` are different."""
    unique = min(unique_tokens, tokens)
    return effective_tokens(unique, tokens / unique) if unique else 0.0


def repetition_sentence(ranking: Ranking) -> str:
    """Say how far repetition went."""
    most = max(
        ((part["epochs"], row.mixture, name) for row in ranking.rows for name, part in row.delivered.items()),
        default=(0.0, "", ""),
    )
    if most[0] <= 1:
        return (
            f"Nothing was repeated on {ranking.proxy}: no source was read more than once "
            f"(most: {most[0]:.3f} epochs, {most[2]} in {most[1]}), so every token counts in full."
        )
    return f"Read most often on {ranking.proxy}: {most[2]} in {most[1]}, {most[0]:.2f} times."


def repetition_plot(evidence: Evidence, ranking: Ranking, of_source: Mapping[str, Look], number: int) -> Plot | None:
    """Where sources lie on the curve of what repetition is worth; None where nothing was repeated."""
    places = _places(evidence, ranking)
    most = max((ratio for found in places.values() for ratio, _ in found), default=0.0)
    if most <= 1.0:
        return None
    far = max(most * 1.3, 4.0)
    steps = [1 + (far - 1) * step / CURVE_POINTS for step in range(CURVE_POINTS + 1)]
    worth = [effective_tokens(1.0, step) for step in steps]
    hover = "%{x:.2f} times is worth %{y:.2f}<extra>estimate</extra>"
    dotted = {"color": MUTED, "width": 1, "dash": "dot"}
    traces = [
        scatter("lines", "estimate", steps, worth, line={"color": MUTED, "width": 2}, hovertemplate=hover),
        scatter("lines", "if repeats were new text", [1, far], [1, far], line=dotted, hoverinfo="skip"),
    ]
    for name, found in sorted(places.items()):
        look = of_source[name]
        traces.append(
            scatter(
                "markers",
                label(name),
                [ratio for ratio, _ in found],
                [effective_tokens(1.0, ratio) for ratio, _ in found],
                text=[label(mixture) for _, mixture in found],
                marker={"color": look.color, "symbol": look.symbol, "size": 11},
                hovertemplate="%{text}: read %{x:.2f} times, worth %{y:.2f}<extra>" + label(name) + "</extra>",
            )
        )
    figure = Figure(
        f"repetition-{number}",
        "What reading a text several times is worth, by the published estimate, with the sources of these runs on it",
        f"An estimate, not a measurement: U·(1 + R*·(1 − e^(−R/R*))) with R* = {R_STAR} (Muennighoff et al. 2023), "
        "R = repeats after the first reading.",
        traces,
        layout(340, axis("times read"), axis("worth, in readings of new text")),
    )
    return Plot((figure,))


def _places(evidence: Evidence, ranking: Ranking) -> dict[str, list[tuple[float, str]]]:
    """By source, how often each mixture read the text that it read, with the mixture."""
    places: dict[str, list[tuple[float, str]]] = {}
    for row in ranking.rows:
        run = evidence.run(row.runs[0])
        for name, part in run.record.delivered.items() if run else ():
            if part.tokens:
                ratio = part.tokens / min(part.unique_tokens, part.tokens)
                places.setdefault(name, []).append((ratio, row.mixture))
    return places


def _targets(evidence: Evidence) -> dict[str, int]:
    return {spec.name: spec.target_tokens for spec in evidence.specs if spec.target_tokens is not None}


def _at_target(evidence: Evidence, run: RunEvidence, source: str, targets: Mapping[str, int]) -> Cell:
    build, target = evidence.build(run.record.build), targets.get(run.record.spec_name)
    train = build.manifest.sources[source].train.tokens if build and source in build.manifest.sources else 0
    if target is None or not train:
        return Cell("–", -1.0)
    epochs = run.record.delivered[source].declared * target / train
    return Cell(f"{epochs:.2f}", epochs)
