"""Whether the final choice of a search survives noise: replays of a published study, or of made-up ones.

    python benchmarks/final_choice.py FOLDER [--replays 1000] [--unequal RATIO]
    python benchmarks/final_choice.py --sources N [--replays 1000] [--unequal RATIO]

FOLDER is as for `benchmarks/search.py`. A replay draws some of the published mixtures and one of the losses, adds
normal noise, repeats the anchor or nothing, and lets the search choose. The truth of a published mixture is its
published loss; that of any other mixture comes from a predictor fitted to all published mixtures, a Gaussian process in
one half of the replays and LightGBM in the other. With `--sources` each replay has N sources and a law of its own, from
which every truth is known; no predictor has its form. The search uses all predictors but LightGBM, which takes most of
the time.

With `--unequal RATIO` the noise grows with the distance from the anchor: by RATIO where all of the share has moved. Its
root mean square over the mixtures stays the stated noise, so repeats of the anchor show too little of it.

Printed by noise (its deviation relative to the spread of the losses): how often nothing is recommended, how often an
optimum that was not run, by how much the recommended mixture's truth is above that of the best measured one (in
spreads; below 0 is better), how often "better than the anchor" is said, and wrongly, and how often the 95% interval
covers the truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np

from mixproof.mixtures.search.blas import one_blas_thread
from mixproof.mixtures.search.candidates import draw
from mixproof.mixtures.search.choice.finalists import find_anchor
from mixproof.mixtures.search.objective import fit_objective
from mixproof.mixtures.search.observations import Mixtures, Observations, read_observations
from mixproof.mixtures.search.predictors.families import TREES, families
from mixproof.mixtures.search.predictors.gaussian_process import fit_gaussian_process
from mixproof.mixtures.search.predictors.predictor import FloatArray, Predictor
from mixproof.mixtures.search.predictors.trees import fit_trees
from mixproof.mixtures.search.space import Space, rounded_center, shares_of
from mixproof.mixtures.search.study import recommend_from

NOISE = (0.0, 0.1, 0.25, 0.5, 1.0)
MIXTURES = (32, 64, 112)
REPEATS = (0, 3)
"""Further runs of the anchor."""
ROUNDING = 1e-9
ONE = Fraction(1)
LOSSES = 3
"""Of a made-up study."""
COLUMNS = ("noise", "replays", "refused", "optimum", "regret", "± se", "said better", "wrongly", "covered")


@dataclass(frozen=True)
class Replay:
    """What one replay chose; differences are in spreads of the true losses."""

    noise: float
    refused: bool
    optimum: bool = False
    regret: float = 0.0
    claimed: bool = False
    wrong: bool = False
    covered: bool = True


@dataclass(frozen=True)
class Case:
    """What is replayed."""

    folder: Path | None
    """Of a published study; None for made-up ones."""
    sources: int
    """Of a made-up study."""
    unequal: float
    """Noise of a mixture that shares nothing with the anchor, relative to the anchor's."""


@dataclass(frozen=True)
class Study:
    """Mixtures of one study and their true scores."""

    sources: tuple[str, ...]
    shares: FloatArray
    """[mixtures, sources]"""
    truth: FloatArray
    """[mixtures]"""
    true_score: Callable[[tuple[float, ...]], float]
    """Of any mixture that is not among them."""


def main() -> None:
    """Replay and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--sources", type=int)
    parser.add_argument("--replays", type=int, default=1000)
    parser.add_argument("--unequal", type=float, default=1.0)
    options = parser.parse_args()
    if (options.folder is None) == (options.sources is None):
        parser.error("give either FOLDER or --sources")
    case = Case(options.folder, options.sources or 0, options.unequal)
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(replay, [case] * options.replays, range(options.replays), chunksize=5))
    print(" ".join(f"{name:>11}" for name in COLUMNS))
    found.sort(key=lambda one: one.noise)
    for noise, group in groupby(found, key=lambda one: one.noise):
        _print_row(f"{noise:g}", list(group))
    _print_row("all", found)


def replay(case: Case, number: int) -> Replay:
    """Draw a study, let the search choose, and compare the choice with the truth."""
    random = np.random.default_rng(number)
    noise, count, repeats = NOISE[number % 5], MIXTURES[number // 5 % 3], REPEATS[number // 15 % 2]
    study = _made_up(case.sources, count, random) if case.folder is None else _drawn(case.folder, count, number, random)
    anchor = find_anchor(study.shares)
    rows = np.concatenate([np.arange(count), np.repeat(anchor, repeats)])
    shares, truth, spread = study.shares[rows], study.truth[rows], float(study.truth.std())
    moved = np.abs(study.shares - study.shares[anchor]).sum(axis=1) / 2
    growth = case.unequal**moved
    deviation = (noise * spread * growth / np.sqrt(np.mean(growth**2)))[rows]
    measured = truth + deviation * random.normal(size=len(rows))
    fits = {name: fit for name, fit in families().items() if name != TREES}
    with one_blas_thread():
        objective = fit_objective(fits, shares, measured[:, None], {"loss": 1.0})
        choice = recommend_from(Mixtures(study.sources, shares), measured[:, None], objective).choice
    if choice is None:
        return Replay(noise, refused=True)
    chosen = choice.recommended
    best = float(truth[int(measured[:count].argmin())])
    own = float(truth[chosen.row]) if chosen.row is not None else study.true_score(chosen.shares)
    low, high = chosen.estimate.interval
    return Replay(
        noise=noise,
        refused=False,
        optimum=chosen.kind == "optimum",
        regret=(own - best) / spread,
        claimed=choice.better_than_anchor,
        wrong=choice.better_than_anchor and own >= truth[find_anchor(shares)],
        covered=low - ROUNDING <= own <= high + ROUNDING,
    )


def _print_row(label: str, replays: Sequence[Replay]) -> None:
    chosen = [one for one in replays if not one.refused]
    regret = np.array([one.regret for one in chosen])
    numbers = [
        1 - len(chosen) / len(replays),
        np.mean([one.optimum for one in chosen]),
        regret.mean(),
        regret.std() / np.sqrt(len(regret)),
        np.mean([one.claimed for one in chosen]),
        np.mean([one.wrong for one in chosen]),
        np.mean([one.covered for one in chosen]),
    ]
    print(" ".join(f"{cell:>11}" for cell in (label, str(len(replays)), *(f"{number:.3f}" for number in numbers))))


def _drawn(folder: Path, count: int, number: int, random: np.random.Generator) -> Study:
    """Some mixtures of the published study, with one of its losses."""
    published = published_studies(folder)
    score = int(random.integers(len(published.scores)))
    rows = random.permutation(len(published.values))[:count]

    def true_score(shares: tuple[float, ...]) -> float:
        return float(published_truth(folder, score, number // 30 % 2 == 0).predict(np.array([shares]))[0])

    return Study(published.mixtures.sources, published.mixtures.shares[rows], published.values[rows, score], true_score)


def _made_up(count_of_sources: int, count: int, random: np.random.Generator) -> Study:
    """Mixtures around proportions that follow Zipf's law, and the mean of three losses.

    Each loss is a mixing law plus a power of the share of one source.
    """
    sources = tuple(f"source-{number}" for number in range(count_of_sources))
    space = Space.of(
        rounded_center({name: 10**6 // (rank + 1) for rank, name in enumerate(sources)}), dict.fromkeys(sources, ONE)
    )
    slopes = random.normal(size=(count_of_sources, LOSSES))
    own = random.integers(count_of_sources, size=LOSSES)
    power = random.uniform(0.1, 0.5, size=LOSSES)

    def true_scores(shares: FloatArray) -> FloatArray:
        losses = np.exp(-shares @ slopes) + 0.3 * (shares[:, own] + 0.01) ** -power
        return np.asarray(losses.mean(axis=1), dtype=np.float64)

    shares = shares_of(draw(space, count, random))
    return Study(sources, shares, true_scores(shares), lambda mixture: float(true_scores(np.array([mixture]))[0]))


@cache
def published_studies(folder: Path) -> Observations:
    """All published mixtures, those learned from and those tested on."""
    sides = []
    for side in ("train", "test"):
        (weights,), (scores,) = folder.glob(f"{side}_mixture*.csv"), folder.glob(f"{side}_*loss*.csv")
        sides.append(read_observations(weights, scores))
    first, second = sides
    sources = [second.mixtures.sources.index(name) for name in first.mixtures.sources]
    columns = [second.scores.index(name) for name in first.scores]
    shares = np.vstack([first.mixtures.shares, second.mixtures.shares[:, sources]])
    values = np.vstack([first.values, second.values[:, columns]])
    mixtures = Mixtures(first.mixtures.sources, shares)
    return Observations(mixtures, first.scores, values, tuple(map(str, range(len(values)))))


@cache
def published_truth(folder: Path, score: int, smooth: bool) -> Predictor:
    published = published_studies(folder)
    fit = fit_gaussian_process if smooth else fit_trees
    return fit(published.mixtures.shares, published.values[:, score])


if __name__ == "__main__":
    main()
