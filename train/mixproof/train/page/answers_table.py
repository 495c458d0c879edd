"""The table of held-out answers: scores of pairs and of rated attributes by mixture, means over seeds.

After preference optimization it also has the conversations, by their divergence from the start.
"""

from __future__ import annotations

from collections.abc import Mapping

from mixproof.tokenize.page.table import Cell, Column, Table
from mixproof.train.compare.ranking import Ranking
from mixproof.train.compare.rows import KL_ENDS

from .ranking_tables import NOTHING

OF_PAIRS = {
    "pair_accuracy": "pair accuracy",
    "margin": "margin",
    "kl": "KL",
    "loss": "nats per token of (chosen) answers",
    "calibration_error": "calibration error",
}
OF_ATTRIBUTES = {
    "mean_squared_error": "squared error",
    "mean_absolute_error": "absolute error",
    "rank_correlation": "rank correlation",
    "calibration_slope": "calibration slope",
}


def answers_table(ranking: Ranking, number: int) -> Table | None:
    """One row per mixture and held-out set, or per attribute; None if runs are not scored on pairs or ratings."""
    rows: list[tuple[str, str, dict[str, float]]] = []
    for row in ranking.rows:
        for source, scores in row.heldout.items():
            if "pair_accuracy" in scores or "kl" in scores:
                known = {key: value for key, value in scores.items() if key != "loss" or "bits_per_byte" in scores}
                rows.append((row.mixture, source, known))
            rows += [(row.mixture, f"{source}: {name}", own) for name, own in _attributes(scores).items()]
    names = OF_PAIRS if any(scores.keys() & OF_PAIRS.keys() for _, _, scores in rows) else OF_ATTRIBUTES
    shown = [name for name in names if any(name in scores for _, _, scores in rows)]
    heads = (
        Column("mixture", number=False, head=True),
        Column("held-out set", number=False, head=True),
        *(Column(names[name]) for name in shown),
    )
    cells = tuple(
        (
            Cell(mixture),
            Cell(source),
            *(_cell(scores, name) for name in shown),
        )
        for mixture, source, scores in rows
    )
    caption = f"Held-out answers on {ranking.proxy}, means over seeds"
    return Table(f"answers-{number}", caption, heads, cells) if rows else None


def _cell(scores: Mapping[str, float], name: str) -> Cell:
    """A score; the divergence has its interval over prompts, with the means over seeds of both ends."""
    if name not in scores:
        return NOTHING
    ends = [f"{scores[end]:.4f}" for end in KL_ENDS if name == "kl" and end in scores]
    return Cell(f"{scores[name]:.4f}", scores[name], note=" to ".join(ends) or None)


def _attributes(scores: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return the scores of each attribute, from keys `NAME.SCORE`."""
    found: dict[str, dict[str, float]] = {}
    for key, value in scores.items():
        name, dot, score = key.rpartition(".")
        if dot:
            found.setdefault(name, {})[score] = value
    return found
