"""Racing: after each rung of a growing token budget, mixtures that are not the best with the declared confidence stop.

At a rung, all mixtures that are left have runs of the same length with the same seeds. For each mixture, the
hypothesis that it is the best is tested. Its p value is the probability that a mixture as good as all others would be
as far behind the leader as it is (Gupta 1965: selecting a subset that contains the best). It stops if

  - its p value is below the error that this rung may spend. All rungs together spend one minus the declared confidence,
    each in proportion to the tokens added since the rung before, because early scores say less about final ones. So the
    mixture that is the best at all rungs is stopped at none of them with the declared confidence, and
  - it is in the worse half (successive halving, Jamieson and Talwalkar 2016).

The noise of each mixture is that of `moderated_noise`, with what was known at the rung before: the few mixtures that
are left at a late rung could not show it alone.

Curves may cross. The score of a mixture at a part p of the tokens is taken to change until the end, against the others,
by a deviation of `DRIFT` · (p^-0.35 - 1) of the spread between mixtures: losses fall by a power of tokens whose
exponent is about 0.35, and mixtures differ in its factor. This is an assumption, and the worse half a guard; neither is
proof. `benchmarks/racing.py` measures how often the race has the winner of the full ablation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mixproof.mixtures.search.predictors.predictor import FloatArray

from .moderated_noise import RungNoise, moderated

RUNGS = (Fraction(1, 10), Fraction(1, 5), Fraction(2, 5))
"""Parts of the full budget after which mixtures are stopped."""
CONFIDENCE = Fraction(95, 100)
DRIFT = 0.3
EXPONENT = 0.35
POINTS = 300
"""Of the quadrature over each mixture's distribution."""


@dataclass(frozen=True)
class Stop:
    """A mixture that was stopped; the fields are keys of `race.stopped` in `run --race --json`."""

    rung: int
    """Number of the rung, from 1."""
    best: str
    """The best mixture there."""
    difference: float
    """By how much it was worse."""
    p_value: float
    """Of the hypothesis that it is the best."""


def stopped_at(
    scores: Mapping[str, Sequence[float]],
    rung: int,
    parts: Sequence[Fraction],
    confidence: Fraction = CONFIDENCE,
    before: RungNoise | None = None,
) -> tuple[dict[str, Stop], RungNoise | None]:
    """Decide which mixtures stop at a rung.

    Args:
        scores: objectives of the mixtures that are left, one for each of at least two seeds; lower is better.
        rung: its number, from 1.
        parts: of the full budget, at all rungs at which mixtures may be stopped.
        confidence: over all rungs together.
        before: the noise at the rung before.

    Returns:
        The mixtures that stop, and the noise at this rung.
    """
    table = np.array(list(scores.values()), np.float64)
    if len(table) < 2:
        return {}, before
    names, means, noise = list(scores), table.mean(axis=1), moderated(table, before)
    found = worst_rejected(
        means, noise.variances / table.shape[1], noise.degrees, np.arange(len(names)), (rung, parts, confidence)
    )
    best = int(means.argmin())
    stops = {names[row]: Stop(rung, names[best], float(means[row] - means[best]), value) for row, value in found}
    return stops, RungNoise(float(noise.variances.mean()), noise.degrees)


def worst_rejected(
    means: FloatArray,
    variances: FloatArray,
    degrees: float,
    racing: NDArray[np.int64],
    at: tuple[int, Sequence[Fraction], Fraction],
) -> list[tuple[int, float]]:
    """Find the mixtures in the worse half that are not the best with the declared confidence.

    Args:
        means: [mixtures] scores at this rung, of all mixtures that can be compared.
        variances: [mixtures] of these means.
        degrees: degrees of freedom of the variances.
        racing: rows of the mixtures that may stop; half of them at most do.
        at: number of the rung, from 1; parts of the full budget at all rungs; confidence over all rungs together.

    Returns:
        Rows and p values, the worst first.
    """
    rung, parts, confidence = at
    drift = DRIFT * float(means.std(ddof=1)) * (float(parts[rung - 1]) ** -EXPONENT - 1)
    p_values = best_p_values(means, variances, drift**2, degrees)
    error = (1 - confidence) * (parts[rung - 1] - (parts[rung - 2] if rung > 1 else 0)) / parts[-1]
    worse = racing[np.argsort(-means[racing], kind="stable")[: len(racing) // 2]]
    return [(int(row), float(p_values[row])) for row in worse if p_values[row] < error]


def best_p_values(means: FloatArray, variances: FloatArray, drift: float, degrees: float) -> FloatArray:
    """P values [mixtures] of the hypotheses that each mixture is the best.

    Args:
        means: [mixtures] scores.
        variances: [mixtures] of these means, estimated.
        drift: further variance of each score, assumed.
        degrees: degrees of freedom of `variances`.
    """
    total, behind = variances + drift, means - means.min()
    deviations = np.sqrt(total)
    effective = degrees * (total / np.maximum(variances, np.finfo(float).tiny)) ** 2
    quantiles = stats.t.ppf((np.arange(POINTS) + 0.5) / POINTS, effective[:, None])
    at = deviations[:, None] * quantiles - behind[:, None]
    above = np.asarray(stats.t.sf(at[:, :, None] / deviations, effective), np.float64)  # [mixtures, points, others]
    own = np.arange(len(means))
    above[own, :, own] = 1.0
    return np.asarray(1 - above.prod(axis=2).mean(axis=1), np.float64)
