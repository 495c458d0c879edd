"""Coverage of the 95% intervals of differences between mixtures: simulated, and on real repeats.

    python benchmarks/paired_seeds.py                      # simulation, about two minutes
    python benchmarks/paired_seeds.py STORE/runs.parquet   # runs of a spec with many seeds per mixture
    python benchmarks/paired_seeds.py FOLDER/rungs.json    # those of known_ranking.py

Simulated: scores of M mixtures with k seeds, with a shift that a seed gives to all mixtures and with the noise of the
first mixture multiplied. `noisy` is the difference with this mixture, `quiet` that of the last two (with two mixtures
the same); `pooled` is an interval from the variance between seeds pooled over mixtures. `mean` is the interval of the
mean of a mixture, over all mixtures. Widths are medians, in deviations of a quiet mixture.

Real: k seeds give the interval, and the mean over all other seeds stands for the truth. Its own noise widens the
interval by sqrt(1 + k / others).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import stats

from mixproof.mixtures.search.seed_noise import SeedVariance, analyse

TABLES = 1000
SIZES = ((2, 3), (3, 3), (4, 2), (4, 3), (8, 3), (4, 5))
SHIFTS = (0.0, 2.0)
NOISY = (1.0, 3.0, 10.0, 25.0)


def half_width(variance: SeedVariance, seeds: int) -> float:
    """Half-width of the 95% interval of a difference of two means."""
    quantile = float(stats.t.ppf(0.975, variance.degrees_of_freedom))
    return quantile * float(np.sqrt(2 * variance.variance / seeds))


def simulate() -> Iterator[str]:
    """Rows of the table of simulated coverage."""
    names = "shift | noisy | noisy: covered | pooled | quiet: covered | pooled | mean | width | pooled"
    yield f"| mixtures x seeds | {names} |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for (mixtures, seeds), shift, noisy in product(SIZES, SHIFTS, NOISY):
        random = np.random.default_rng(11)
        deviations = np.array([noisy] + [1.0] * (mixtures - 1))[:, None]
        found = []
        for _ in range(TABLES):
            scores = deviations * random.normal(size=(mixtures, seeds)) + shift * random.normal(size=seeds)
            noise, means = analyse(scores.tolist()), scores.mean(axis=1)
            pairs = (0, 1), (mixtures - 2, mixtures - 1)
            gaps = [abs(means[first] - means[second]) for first, second in pairs]
            halves = [half_width(noise.of_difference(*pair), seeds) for pair in pairs]
            pooled = half_width(noise.pooled, seeds)
            of_means = [half_width(noise.of_mean(row), seeds) / np.sqrt(2) for row in range(mixtures)]
            mean = np.mean(np.abs(means) <= of_means)
            differences = [gap <= half for gap, own in zip(gaps, halves, strict=True) for half in (own, pooled)]
            found.append([*differences, mean, halves[1], pooled])
        rows = np.array(found, np.float64)
        covered, widths = rows[:, :5].mean(axis=0), np.median(rows[:, 5:], axis=0)
        cells = [f"{value:.1%}" for value in covered] + [f"{value:.2f}" for value in widths]
        yield f"| {mixtures} x {seeds} | {shift:g} | {noisy:g} | {' | '.join(cells)} |"


def replay(path: Path) -> Iterator[str]:
    """Rows of the table of coverage on the runs of a store, by pairs of mixtures."""
    names, scores = objectives(path)
    count = scores.shape[1]
    noise = analyse(scores.tolist())
    yield f"{len(names)} mixtures, {count} seeds: {noise.in_words(names) or 'equal noise, no shift shared by mixtures'}"
    yield "| seeds | pair | covered | pooled | width | pooled |"
    yield "|--:|---|--:|--:|--:|--:|"
    for seeds in (2, 3, 4, 5):
        random = np.random.default_rng(seeds)
        splits = [random.permutation(count) for _ in range(TABLES)]
        analysed = [analyse(scores[:, order[:seeds]].tolist()) for order in splits]
        widen = np.sqrt(1 + seeds / (count - seeds))
        for first, second in combinations(range(len(names)), 2):
            difference = scores[first] - scores[second]
            gaps = [abs(difference[order[:seeds]].mean() - difference[order[seeds:]].mean()) for order in splits]
            halves = [half_width(one.of_difference(first, second), seeds) for one in analysed]
            pooled = [half_width(one.pooled, seeds) for one in analysed]
            covered = [np.mean(np.array(gaps) <= widen * np.array(half)) for half in (halves, pooled)]
            cells = [f"{value:.1%}" for value in covered] + [f"{np.median(half):.4f}" for half in (halves, pooled)]
            yield f"| {seeds} | {names[first]}, {names[second]} | {' | '.join(cells)} |"


def objectives(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Names of mixtures, and their plain mean of held-out bits per byte [mixtures, seeds], of one proxy."""
    if path.suffix == ".json":
        final = json.loads(path.read_text())["rungs"]["1.0"]
        return list(final), np.array(list(final.values()))
    runs = [run for run in pq.read_table(path).to_pylist() if run["status"] == "done"]
    names = sorted({run["mixture"] for run in runs})
    seeds = sorted({run["seed"] for run in runs})
    mean = {(run["mixture"], run["seed"]): _mean_bits(run) for run in runs}
    return names, np.array([[mean[name, seed] for seed in seeds] for name in names])


def _mean_bits(run: dict[str, object]) -> float:
    scores = run["heldout"]
    assert isinstance(scores, list)
    return float(np.mean([score["bits_per_byte"] for score in scores]))


if __name__ == "__main__":
    for line in replay(Path(sys.argv[1])) if len(sys.argv) > 1 else simulate():
        print(line, flush=True)
