"""Table of the parts of an objective that has tasks: weight, signal-to-noise ratio, and the score of each mixture."""

from __future__ import annotations

from mixproof.cli.output import percent, stdout, table
from mixproof.train.compare.parts import Part
from mixproof.train.compare.ranking import Ranking
from mixproof.train.compare.task_scores import PREFIX

MOST_MIXTURES = 4
"""Side by side."""


def print_parts(ranking: Ranking) -> None:
    """Print the parts of the objective; nothing if all of them are held-out sets."""
    if not any(part.name.startswith(PREFIX) for part in ranking.parts):
        return
    best = ranking.rows[:MOST_MIXTURES]
    of = f", of the best {len(best)} of {len(ranking.rows)} mixtures" if len(best) < len(ranking.rows) else ""
    rows = [
        (part.name, percent(part.weight), _ratio(part), *(f"{row.parts[part.name]:.4f}" for row in best))
        for part in ranking.parts
    ]
    columns = ("part", "weight", "signal / noise", *(row.mixture for row in best))
    stdout.print(table(f"{ranking.proxy}: parts of the objective, lower is better{of}", columns, rows))


def _ratio(part: Part) -> str:
    return "unknown" if part.found.ratio is None else f"{part.found.ratio:.2f}"
