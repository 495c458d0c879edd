"""A study of results that somebody measured: the mixture that they recommend.

Supply and caps of those sources are not known here, so the recommendation stays inside what was run: no source
above the largest share that it was run with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.key_positions import nearest

from .noise import Noise, measure_noise, refusal
from .objective import FittedObjective
from .observations import Mixtures, Observations
from .optimum import Optimum, recommend
from .predictor import FloatArray
from .space import UNITS, Space, rounded_center

LEAST_ROWS = 5
"""Fewer cannot be divided into folds that a predictor could learn from."""
LEAST_SHARE = Fraction(1, 1000)
PARTS = 10**9
"""Of a whole, into which mean shares are cut so that they are exact."""


@dataclass(frozen=True)
class Recommendation:
    """What a study says about one score."""

    noise: Noise
    refused: str | None
    """Why no mixture is recommended; None where one is."""
    optimum: Optimum | None


def check_size(observations: Observations) -> None:
    """Refuse what no predictor can be fitted to.

    Raises:
        SpecError: saying how many mixtures there are.
    """
    different = len(np.unique(observations.mixtures.shares, axis=0))
    if different < LEAST_ROWS:
        raise SpecError(f"{different} different mixtures are too few for a predictor; give at least {LEAST_ROWS}")


def objective_weights(observations: Observations, names: Sequence[str]) -> dict[str, float]:
    """Weigh the named scores alike, or all where none is named.

    Raises:
        SpecError: when there is no such score.
    """
    for name in names:
        if name not in observations.scores:
            raise SpecError(f"--objective {name}: there is no such score; {nearest(name, observations.scores)}")
    minimized = dict.fromkeys(names or observations.scores)
    return dict.fromkeys(minimized, 1 / len(minimized))


def space_of_rows(mixtures: Mixtures) -> Space:
    """Return the space that mixtures span: centered on their mean, no source above its largest share."""
    mean = {
        name: round(PARTS * share) for name, share in zip(mixtures.sources, mixtures.shares.mean(axis=0), strict=True)
    }
    most = {
        name: Fraction(-(-round(PARTS * share) * UNITS // PARTS), UNITS)
        for name, share in zip(mixtures.sources, mixtures.shares.max(axis=0), strict=True)
    }
    return Space.of(rounded_center(mean), most, LEAST_SHARE)


def recommend_from(mixtures: Mixtures, scores: FloatArray, objective: FittedObjective) -> Recommendation:
    """Recommend the mixture of lowest predicted objective, or say why not.

    Args:
        mixtures: that were run.
        scores: [mixtures, scores] those of the objective, in its order.
        objective: fitted to them.
    """
    noise = measure_noise(mixtures.shares, scores @ objective.predictor.weights, objective.validation)
    refused = refusal(noise, objective.validation.rank_correlation)
    if refused is not None:
        return Recommendation(noise, refused, None)
    space = space_of_rows(mixtures)
    residual = objective.validation.residual_deviation
    return Recommendation(noise, None, recommend(objective.predictor, space, (mixtures.shares, scores), residual))
