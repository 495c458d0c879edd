"""A study of existing results: the mixture that they recommend.

Supply and caps of the sources are unknown here, so the recommendation stays within what was run (`phases.spanned`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from mixproof.mixtures.blocks.search import FINALISTS
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.key_positions import nearest
from mixproof.mixtures.search.choice.final_choice import FinalChoice, choose_finally
from mixproof.mixtures.search.choice.finalists import find_anchor
from mixproof.mixtures.search.predictors.predictor import FloatArray

from .joint.carry import carry
from .joint.process import Rows
from .noise import Noise, measure_noise, refusal
from .objective import FittedObjective
from .observations import Mixtures, Observations, spell_index
from .phases.spanned import spanned_space, within_caps
from .space import MOST_SOURCES

LEAST_ROWS = 5
"""Fewer rows cannot be divided into useful folds."""
MOST_ROWS = 4000
"""Memory grows with the square of the rows, time with the cube: more take hours."""


@dataclass(frozen=True)
class Recommendation:
    """The result of a study for one score."""

    noise: Noise
    refused: str | None
    """Why no mixture is recommended; None when one is."""
    choice: FinalChoice | None


def check_size(observations: Observations) -> None:
    """Reject tables with too few mixtures, too many rows or too many sources for a predictor.

    Raises:
        SpecError: naming the number of mixtures, rows or sources.
    """
    sources = len(observations.mixtures.columns)
    if sources > MOST_SOURCES:
        raise SpecError(
            f"{sources:,} sources are too many for a predictor; at most {MOST_SOURCES} are possible; add up the shares "
            "of sources that belong together"
        )
    rows = len(observations.mixtures.shares)
    if rows > MOST_ROWS:
        raise SpecError(
            f"{rows:,} runs are too many for a predictor; at most {MOST_ROWS:,} are possible; keep a random sample"
        )
    different = len(np.unique(observations.mixtures.shares, axis=0))
    if different < LEAST_ROWS:
        raise SpecError(f"{different} distinct mixtures are too few for a predictor; provide at least {LEAST_ROWS}")


def objective_weights(observations: Observations, names: Sequence[str]) -> dict[str, float]:
    """Equal weights for the named scores, or for all scores when none is named.

    Raises:
        SpecError: when there is no such score.
    """
    for name in names:
        if name not in observations.scores:
            raise SpecError(f"--objective {name}: no such score; {nearest(name, observations.scores)}")
    minimized = dict.fromkeys(names or observations.scores)
    return dict.fromkeys(minimized, 1 / len(minimized))


def anchor_of(observations: Observations, index: str | None, caps: Mapping[str, Fraction] | None = None) -> int:
    """Row of the anchor: the first row with this index, or the one found by `find_anchor` within the caps.

    Raises:
        SpecError: when no mixture has this index, it exceeds a cap, or all do.
    """
    mixtures = observations.mixtures
    allowed = within_caps(mixtures.sources, mixtures.shares, mixtures.phases, caps or {})
    if index is None:
        return _find_anchor(mixtures.shares, allowed)
    spelled = spell_index(index)
    if spelled not in observations.index:
        raise SpecError(f"--anchor {index}: no mixture has this index; {nearest(spelled, observations.index)}")
    row = observations.index.index(spelled)
    if not allowed[row]:
        raise SpecError(f"--anchor {index}: this mixture exceeds a cap; name one within the caps")
    return row


def _find_anchor(shares: FloatArray, allowed: NDArray[np.bool_]) -> int:
    rows = np.flatnonzero(allowed)
    return int(rows[find_anchor(shares[rows])])


def carried_to(observations: Observations, target: FloatArray) -> Observations:
    """Carry all scores to a target size [names of sizes] by a joint law of mixture and size, one for each score.

    Args:
        observations: with sizes.
        target: see above.
    """
    sizes, shares = observations.sizes, observations.mixtures.shares
    assert sizes is not None, "only runs with sizes can be carried to another one"
    values = np.stack([carry(Rows(shares, sizes, scores), target) for scores in observations.values.T], axis=1)
    return replace(observations, values=values)


def recommend_from(
    mixtures: Mixtures,
    scores: FloatArray,
    objective: FittedObjective,
    anchor: int | None = None,
    count: int = FINALISTS,
    prior: float = 0.0,
    caps: Mapping[str, Fraction] | None = None,
) -> Recommendation:
    """Recommend the mixture with the lowest predicted objective, or say why not.

    Args:
        mixtures: the mixtures that were run.
        scores: [mixtures, scores], the scores of the objective, in its order.
        objective: the objective fitted to them.
        anchor: row of the mixture that the recommended one is compared with; None to find it by `find_anchor`.
        count: number of best measured mixtures among the finalists.
        prior: score that a divergence of one nat from the mean mixture costs the optimum.
        caps: largest shares of the whole run, by source; mixtures that exceed one are learned from, not recommended.

    Raises:
        SpecError: when no mixture is within the caps.
    """
    objectives = np.asarray(scores @ objective.predictor.weights, dtype=np.float64)
    noise = measure_noise(mixtures.shares, objectives, objective.validation)
    refused = refusal(noise, objective.validation.rank_correlation)
    if refused is not None:
        return Recommendation(noise, refused, None)
    allowed = within_caps(mixtures.sources, mixtures.shares, mixtures.phases, caps or {})
    choice = choose_finally(
        objective.predictor,
        (mixtures.shares, scores),
        (objectives, objective.validation, noise),
        spanned_space(mixtures.sources, mixtures.shares, mixtures.phases, caps or {}),
        _find_anchor(mixtures.shares, allowed) if anchor is None else anchor,
        count=count,
        prior=prior,
        allowed=allowed,
    )
    return Recommendation(noise, None, choice)
