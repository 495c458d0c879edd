"""A study of results that somebody measured: a predictor a score, predictions, and the mixture that they recommend.

Supply and caps of those sources are not known here, so the recommendation stays inside what was run: no source
above the largest share that it was run with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.places import nearest

from .choose import Choice
from .noise import Noise, measure_noise, refusal
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


def objective_of(observations: Observations, names: Sequence[str]) -> FloatArray:
    """Return the mean [mixtures] of the named scores, or of all where none is named.

    Raises:
        SpecError: when there is no such score.
    """
    for name in names:
        if name not in observations.scores:
            raise SpecError(f"--objective {name}: there is no such score; {nearest(name, observations.scores)}")
    columns = [observations.scores.index(name) for name in names or observations.scores]
    return np.asarray(observations.values[:, columns].mean(axis=1), dtype=np.float64)


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


def recommend_from(mixtures: Mixtures, scores: FloatArray, choice: Choice) -> Recommendation:
    """Recommend the mixture of lowest predicted score, or say why not."""
    noise = measure_noise(mixtures.shares, scores, choice)
    refused = refusal(noise, choice.validation.rank_correlation)
    if refused is not None:
        return Recommendation(noise, refused, None)
    space = space_of_rows(mixtures)
    residual = choice.validation.residual_deviation
    return Recommendation(noise, None, recommend(choice.predictor, space, (mixtures.shares, scores), residual))
