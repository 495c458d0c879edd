"""Noise that depends on the mixture: what a search's intervals cover with and without repeats across the space.

    python benchmarks/mixture_noise.py [--replays 200] [--ratio 25]

Made-up studies: five sources in Zipf proportions, 64 mixtures around them, losses of known form (mixing laws plus
powers of single shares). The standard deviation of a run grows with the share of one source, `ratio` times from the
anchor to the mixture that is only this source. The same studies are judged three times, with as many runs each:

  equal     the anchor has four runs and 8 mixtures more are run; one noise for all
  repeats   8 of the mixtures, the farthest from each other, have a second run instead; still one noise for all
  modelled  the same runs, with the noise as a function of the mixture, as the search does it

Printed: coverage of the truth by the 95% intervals of all measured mixtures, of the quarter with the least and with the
most noise, and of the recommended mixture; the median width of the intervals of the first quarter; how far the
recommended mixture's truth is above that of the best measured mixture, in spreads between mixtures; how often 'better
than the anchor' is wrong; the error of the predictor on other mixtures, in spreads.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from mixproof.mixtures.search.blas import one_blas_thread
from mixproof.mixtures.search.candidates import draw, select_farthest
from mixproof.mixtures.search.choice.final_choice import choose_finally
from mixproof.mixtures.search.choose import choose
from mixproof.mixtures.search.noise import Noise, measure_noise
from mixproof.mixtures.search.objective import combine, fit_objective
from mixproof.mixtures.search.predictors.families import TREES, families
from mixproof.mixtures.search.predictors.predictor import FloatArray
from mixproof.mixtures.search.space import Space, rounded_center, shares_of

SOURCES, MIXTURES, REPEATED, ANCHOR_RUNS, TESTED = 5, 64, 8, 4, 200
QUIET = (0.02, 0.1, 0.3)
"""Noise of a run of the anchor, in spreads between mixtures."""
WAYS = ("equal", "repeats", "modelled")
COLUMNS = ("all", "quiet quarter", "noisy quarter", "recommended", "width", "above best", "wrongly better", "error")


@dataclass(frozen=True)
class Study:
    """A made-up study."""

    space: Space
    slopes: FloatArray
    power: FloatArray
    own: NDArray[np.int64]
    """[losses]: the source of each loss."""
    noisy: int
    """The source whose share makes runs noisy."""

    def truth(self, shares: FloatArray) -> FloatArray:
        """True losses [mixtures]."""
        losses = np.exp(-shares @ self.slopes) + 0.3 * (shares[:, self.own] + 0.01) ** -self.power
        return np.asarray(losses.mean(axis=1), np.float64)

    def growth(self, shares: FloatArray, ratio: float) -> FloatArray:
        """Standard deviation [mixtures] of a run, relative to the anchor."""
        anchor = shares_of([self.space.anchor])[0, self.noisy]
        return np.asarray(ratio ** ((shares[:, self.noisy] - anchor) / (1 - anchor)), np.float64)


def main() -> None:
    """Replay and print one table for each noise of the anchor."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--ratio", type=float, default=25)
    options = parser.parse_args()
    print(f"noise {options.ratio:g} times as large where one source has the whole share; {options.replays} studies")
    print(f"| anchor's noise | judged | {' | '.join(COLUMNS)} |")
    print(f"|--:|---|{'--:|' * len(COLUMNS)}")
    with ProcessPoolExecutor() as pool:
        for quiet in QUIET:
            count = options.replays
            found = list(pool.map(replay, range(count), [quiet] * count, [options.ratio] * count))
            for way, rows in zip(WAYS, np.nanmean(np.array(found), axis=0), strict=True):
                print(f"| {quiet:g} | {way} | {' | '.join(f'{value:.3f}' for value in rows)} |", flush=True)


def replay(number: int, quiet: float, ratio: float) -> list[list[float]]:
    """One study, judged in every way."""
    random = np.random.default_rng(number)
    study = _make(random)
    units = draw(study.space, MIXTURES + REPEATED, random)
    anchor = np.array([study.space.anchor])
    far = select_farthest(units[:MIXTURES], anchor, REPEATED)
    spread = float(study.truth(shares_of(units)).std())
    scatter = random.normal(size=MIXTURES + REPEATED + ANCHOR_RUNS)
    found = []
    for way in WAYS:
        more = units[MIXTURES:] if way == "equal" else far
        shares = shares_of(np.vstack([np.repeat(anchor, ANCHOR_RUNS, axis=0), units[:MIXTURES], more]))
        truth = study.truth(shares)
        scores = truth + quiet * spread * study.growth(shares, ratio) * scatter
        found.append(_judged(study, shares, scores, truth, spread, ratio, random, modelled=way == "modelled"))
    return found


def _judged(
    study: Study,
    shares: FloatArray,
    scores: FloatArray,
    truth: FloatArray,
    spread: float,
    ratio: float,
    random: np.random.Generator,
    *,
    modelled: bool,
) -> list[float]:
    fits = {name: fit for name, fit in families().items() if name != TREES}
    with one_blas_thread():
        weights, column = {"loss": 1.0}, scores[:, None]
        if modelled:
            objective = fit_objective(fits, shares, column, weights)
            noise = measure_noise(shares, scores, objective.validation)
        else:
            objective = combine({"loss": choose(fits, shares, scores)}, column, weights)
            noise = _one_noise(shares, scores)
        rows, measured = (shares, column), (scores, objective.validation, noise)
        choice = choose_finally(objective.predictor, rows, measured, study.space, 0, count=len(scores))
        tested = shares_of(draw(study.space, TESTED, random))
        error = objective.predictor.predict(tested) - study.truth(tested)
    measured_ones = [one for one in choice.finalists if one.row is not None]
    own = np.array([truth[one.row] for one in measured_ones])
    low, high = np.array([one.estimate.interval for one in measured_ones]).T
    covered = (low <= own) & (own <= high)
    growth = study.growth(np.array([one.shares for one in measured_ones]), ratio)
    quiet, noisy = growth <= np.quantile(growth, 0.25), growth >= np.quantile(growth, 0.75)
    chosen = choice.recommended
    its_truth = float(study.truth(np.array([chosen.shares]))[0])
    its_low, its_high = chosen.estimate.interval
    best = truth[int(scores.argmin())]
    wrong = choice.better_than_anchor and its_truth >= truth[0]
    return [
        float(covered.mean()),
        float(covered[quiet].mean()),
        float(covered[noisy].mean()),
        float(its_low <= its_truth <= its_high),
        float(np.median((high - low)[quiet]) / spread),
        (its_truth - best) / spread,
        float(wrong),
        float(np.sqrt(np.mean(error**2)) / spread),
    ]


def _one_noise(shares: FloatArray, scores: FloatArray) -> Noise:
    """The noise of one run, pooled over all repeats."""
    mixture = np.unique(shares, axis=0, return_inverse=True)[1].ravel()
    means = np.bincount(mixture, weights=scores) / np.bincount(mixture)
    degrees = len(scores) - len(means)
    squares = float(((scores - means[mixture]) ** 2).sum())
    return Noise(float(means.std(ddof=1)), len(means), float(np.sqrt(squares / degrees)), degrees, "repeats")


def _make(random: np.random.Generator) -> Study:
    names = tuple(f"source-{number}" for number in range(SOURCES))
    proportions = rounded_center({name: 10**6 // (rank + 1) for rank, name in enumerate(names)})
    return Study(
        space=Space.of(proportions, dict.fromkeys(names, Fraction(1))),
        slopes=random.normal(size=(SOURCES, 3)),
        power=random.uniform(0.1, 0.5, size=3),
        own=random.integers(SOURCES, size=3),
        noisy=int(random.integers(SOURCES)),
    )


if __name__ == "__main__":
    main()
