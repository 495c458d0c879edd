"""The final choice of a study: the recommended finalist, its gain over the anchor, and the region around it.

An optimum that was not run is recommended only if its corrected prediction is below the estimate of the best measured
mixture by more than the margin, 1.645 standard deviations of this difference (95% one-sided). Otherwise the best
measured mixture is recommended. The recommended mixture is called better than the anchor if the 95% interval of the
difference is above 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixproof.mixtures.blocks.search import FINALISTS
from mixproof.mixtures.search.choose import Validation
from mixproof.mixtures.search.noise import Gain, Noise
from mixproof.mixtures.search.optimum import find_optimum
from mixproof.mixtures.search.predictors.predictor import FloatArray, Predictor
from mixproof.mixtures.search.prior import WithPrior
from mixproof.mixtures.search.space import Space, shares_of

from .calibration import Calibration, calibrate
from .estimate import quantile
from .finalists import Finalist, Study, nominate
from .region import Bootstrap, Ranges, bootstrap, optimum_ranges, region_of


@dataclass(frozen=True)
class FinalChoice:
    """What a study chooses."""

    finalists: tuple[Finalist, ...]
    """The recommended one first, the others by their estimates."""
    calibration: Calibration
    margin: float | None
    """How much lower than the best measured mixture an optimum that was not run must be; None if it was run."""
    gain: Gain | None
    """How much lower the recommended mixture's score is than the anchor's; None if it is the anchor, or
    the anchor has no score."""
    space: Space
    replicates: Bootstrap
    """Predictions of refitted predictors, the finalists first."""
    optimum: tuple[int, ...]
    """The mixture with the lowest prediction, in units of the space."""

    @property
    def recommended(self) -> Finalist:
        """The finalist that is recommended."""
        return self.finalists[0]

    @property
    def better_than_anchor(self) -> bool:
        """Whether the recommended mixture is better than the anchor beyond the noise."""
        return self.gain is not None and self.gain.low > 0

    @property
    def optimum_ranges(self) -> Ranges:
        """Range of each share over the optima of refitted predictors."""
        return self._by_source(optimum_ranges(self.replicates))

    def region(self, finalist: Finalist | None = None) -> Ranges:
        """Range of each share over the mixtures that are as good as a finalist, by default the recommended one."""
        return self._by_source(region_of(self.replicates, 0 if finalist is None else self.finalists.index(finalist)))

    def mixture(self, finalist: Finalist) -> dict[str, float]:
        """Shares of all sources of a finalist, also those that are fixed."""
        return self.space.by_source(finalist.shares)

    def _by_source(self, ends: tuple[FloatArray, FloatArray]) -> Ranges:
        lows, highs = (self.space.by_source(end.tolist()) for end in ends)
        return {name: (low, highs[name]) for name, low in lows.items()}


def choose_finally(
    predictor: Predictor,
    rows: tuple[FloatArray, FloatArray],
    measured: tuple[FloatArray, Validation, Noise],
    space: Space,
    anchor: int | None,
    *seed: str | int,
    count: int = FINALISTS,
    prior: float = 0.0,
    allowed: NDArray[np.bool_] | None = None,
) -> FinalChoice:
    """Nominate finalists and recommend one.

    Args:
        predictor: fitted to the rows.
        rows: shares [mixtures, sources] that were run, and their scores, as `predictor.refit` takes them.
        measured: the objective of every row, its K-fold validation and its noise.
        space: the mixtures to consider.
        anchor: row of the anchor; None if it has no score.
        seed: names that seed the draws.
        count: number of best measured mixtures among the finalists.
        prior: score that a divergence of one nat from the center of the space costs the optimum.
        allowed: [mixtures] which of the rows may be recommended; None if all may.
    """
    center, counts = space.prior
    judge = WithPrior(predictor, center, prior, counts) if prior else predictor
    optimum = find_optimum(judge, space, np.unique(space.project(rows[0]), axis=0), *seed)
    shares = shares_of([optimum])
    calibration = calibrate(predictor, rows, measured, space, optimum, *seed)
    study = Study(rows[0], measured[0], measured[1].predicted, allowed)
    found = nominate(study, anchor, (shares[0], float(predictor.predict(shares)[0])), calibration, count)
    chosen, margin = recommend(found)
    ordered = (found[chosen], *sorted(_without(found, chosen), key=lambda one: one.estimate.value))
    replicates = bootstrap(predictor, rows, space, np.array([one.shares for one in ordered]), *seed, allowed=allowed)
    return FinalChoice(
        finalists=ordered,
        calibration=calibration,
        margin=margin,
        gain=_gain(ordered),
        space=space,
        replicates=replicates,
        optimum=optimum,
    )


def recommend(finalists: tuple[Finalist, ...]) -> tuple[int, float | None]:
    """Index of the recommended finalist, and the margin that an optimum that was not run must exceed.

    Args:
        finalists: in the order of `nominate`, so the first measured one is the best measured mixture.
    """
    best = next(index for index, one in enumerate(finalists) if one.kind != "optimum")
    if finalists[0].kind != "optimum":
        return best, None
    optimum, other = finalists[0].estimate, finalists[best].estimate
    margin = quantile(two_sided=False) * float(np.hypot(optimum.deviation, other.deviation))
    return (0 if other.value - optimum.value > margin else best), margin


def _without(finalists: tuple[Finalist, ...], index: int) -> list[Finalist]:
    return [one for number, one in enumerate(finalists) if number != index]


def _gain(finalists: tuple[Finalist, ...]) -> Gain | None:
    anchor = next((one for one in finalists if one.kind == "anchor"), None)
    return None if anchor is None or anchor is finalists[0] else Gain(*finalists[0].estimate.below(anchor.estimate))
