"""Whether the final choice of a search survives noise: replays of a published study.

    python benchmarks/final_choice.py FOLDER [--replays 1000]

FOLDER is as for `benchmarks/search.py`. A replay draws some of the published mixtures and one of the losses, adds
normal noise, repeats the anchor or nothing, and lets the search choose. The truth of a published mixture is its
published loss; that of any other mixture comes from a predictor fitted to all published mixtures, a Gaussian process in
one half of the replays and LightGBM in the other. The search uses all predictors but LightGBM, which takes most of the
time.

Printed by noise (its deviation relative to the spread of the losses): how often nothing is recommended, how often an
optimum that was not run, by how much the recommended mixture's truth is above that of the best measured one (in
spreads; below 0 is better), how often "better than the anchor" is said, and wrongly, and how often the 95% interval
covers the truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np

from mixproof.mixtures.search.blas import one_blas_thread
from mixproof.mixtures.search.choice.finalists import find_anchor
from mixproof.mixtures.search.objective import fit_objective
from mixproof.mixtures.search.observations import Mixtures, Observations, read_observations
from mixproof.mixtures.search.predictors.families import TREES, families
from mixproof.mixtures.search.predictors.gaussian_process import fit_gaussian_process
from mixproof.mixtures.search.predictors.predictor import FloatArray, Predictor
from mixproof.mixtures.search.predictors.trees import fit_trees
from mixproof.mixtures.search.study import recommend_from

NOISE = (0.0, 0.1, 0.25, 0.5, 1.0)
MIXTURES = (32, 64, 112)
REPEATS = (0, 3)
"""Further runs of the anchor."""
ROUNDING = 1e-9
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


def main() -> None:
    """Replay and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--replays", type=int, default=1000)
    options = parser.parse_args()
    with ProcessPoolExecutor() as pool:
        tasks = [(options.folder, number) for number in range(options.replays)]
        found = list(pool.map(replay, *zip(*tasks, strict=True), chunksize=5))
    print(" ".join(f"{name:>11}" for name in COLUMNS))
    found.sort(key=lambda one: one.noise)
    for noise, group in groupby(found, key=lambda one: one.noise):
        _print_row(f"{noise:g}", list(group))
    _print_row("all", found)


def replay(folder: Path, number: int) -> Replay:
    """Draw a study, let the search choose, and compare the choice with the truth."""
    random = np.random.default_rng(number)
    published = _published(folder)
    noise, count, repeats = NOISE[number % 5], MIXTURES[number // 5 % 3], REPEATS[number // 15 % 2]
    score = int(random.integers(len(published.scores)))
    rows = random.permutation(len(published.values))[:count]
    rows = np.concatenate([rows, np.repeat(rows[find_anchor(published.mixtures.shares[rows])], repeats)])
    shares, truth = published.mixtures.shares[rows], published.values[rows, score]
    spread = float(truth[:count].std())
    measured = truth + noise * spread * random.normal(size=len(rows))
    fits = {name: fit for name, fit in families().items() if name != TREES}
    with one_blas_thread():
        objective = fit_objective(fits, shares, measured[:, None], {"loss": 1.0})
        found = recommend_from(Mixtures(published.mixtures.sources, shares), measured[:, None], objective)
        choice = found.choice
        if choice is None:
            return Replay(noise, refused=True)
        chosen = choice.recommended
        best = float(truth[int(measured[:count].argmin())])
        anchor = float(truth[find_anchor(shares)])
        own = float(truth[chosen.row]) if chosen.row is not None else _surrogate(folder, score, number, chosen.shares)
    low, high = chosen.estimate.interval
    return Replay(
        noise=noise,
        refused=False,
        optimum=chosen.kind == "optimum",
        regret=(own - best) / spread,
        claimed=choice.better_than_anchor,
        wrong=choice.better_than_anchor and own >= anchor,
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


@cache
def _published(folder: Path) -> Observations:
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


def _surrogate(folder: Path, score: int, number: int, shares: tuple[float, ...]) -> float:
    """The truth of a mixture that was not published."""
    predicted: FloatArray = _truth(folder, score, number // 30 % 2 == 0).predict(np.array([shares]))
    return float(predicted[0])


@cache
def _truth(folder: Path, score: int, smooth: bool) -> Predictor:
    published = _published(folder)
    fit = fit_gaussian_process if smooth else fit_trees
    return fit(published.mixtures.shares, published.values[:, score])


if __name__ == "__main__":
    main()
