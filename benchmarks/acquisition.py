"""Which candidates later rounds of a search should try: those with low predictions, or with low confidence bounds.

    python benchmarks/acquisition.py FOLDER [--searches 30]

FOLDER is as for `benchmarks/search.py`. A search runs 24, 16 and 12 candidates on the mixtures that the published ones
span. The truth is a Gaussian process fitted to all published mixtures and one of their losses; a run adds normal noise.
All rules see the same first round. A row is the mean difference from the rule `1 deviation, 75%` over the same
searches, in spreads of the published losses, with its standard error: of the truth of the recommended mixture (the
confirmed finalist, or the anchor if none is recommended), of the best mixture that was tried, and of the predicted
optimum; below 0 is better.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from final_choice import published_studies, published_truth
from mixproof.mixtures.search.blas import one_blas_thread
from mixproof.mixtures.search.outcome import Trial
from mixproof.mixtures.search.phases.spanned import spanned_space
from mixproof.mixtures.search.plan import Plan
from mixproof.mixtures.search.predictors.families import PROCESS, RIDGE, families
from mixproof.mixtures.search.rounds import search
from mixproof.mixtures.search.space import shares_of

ROUNDS = (24, 16, 12)
RULES = ((0.0, 1.0), (0.0, 0.75), (1.0, 1.0), (1.0, 0.75), (2.0, 0.75), (1.0, 0.5))
"""Deviations of the bound, and share of a round that follows it."""
BASE = (1.0, 0.75)
NOISE = (0.1, 0.5)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--searches", type=int, default=30)
    options = parser.parse_args()
    print("| noise | deviations | follow the bound | recommended | best tried | optimum |")
    print("|--:|--:|--:|--:|--:|--:|")
    for noise in NOISE:
        found = {}
        for rule in RULES:
            tasks = [(options.folder, number, noise, *rule) for number in range(options.searches)]
            with ProcessPoolExecutor() as pool:
                found[rule] = np.array(list(pool.map(replay, *zip(*tasks, strict=True))))
        for rule in RULES:
            differences = found[rule] - found[BASE]
            errors = differences.std(axis=0, ddof=1) / np.sqrt(len(differences))
            cells = [f"{mean:+.3f} ± {error:.3f}" for mean, error in zip(differences.mean(axis=0), errors, strict=True)]
            print(f"| {noise:g} | {rule[0]:g} | {rule[1]:.0%} | {' | '.join(cells)} |", flush=True)


def replay(folder: Path, number: int, noise: float, deviations: float, exploitation: float) -> tuple[float, ...]:
    """The truth of the recommended mixture, of the best one tried, and of the optimum, in spreads."""
    published = published_studies(folder)
    values = published.values[:, number % len(published.scores)]
    spread = float(values.std())
    space = spanned_space(published.mixtures.sources, published.mixtures.shares, None, {})
    fits = {name: fit for name, fit in families().items() if name in (RIDGE, PROCESS)}
    with one_blas_thread():
        truth = published_truth(folder, number % len(published.scores), smooth=True)

        def true_score(units: tuple[int, ...]) -> float:
            return float(truth.predict(shares_of([units]))[0])

        def score(trials: Sequence[Trial]) -> list[tuple[float, ...] | None]:
            seeds = [np.random.default_rng([number, one.seed, *one.units]) for one in trials]
            errors = [noise * spread * float(random.normal()) for random in seeds]
            return [(true_score(one.units) + error,) for one, error in zip(trials, errors, strict=True)]

        plan = Plan(ROUNDS, exploitation=exploitation, deviations=deviations, name=f"replay-{number}")
        outcome = search(space, plan, score, {"loss": 1.0}, fits)
    recommended = space.anchor if outcome.recommended is None else outcome.recommended.units
    tried = min(true_score(one.trial.units) for one in outcome.measured)
    optimum = space.anchor if outcome.choice is None else outcome.choice.optimum
    return tuple(value / spread for value in (true_score(recommended), tried, true_score(optimum)))


if __name__ == "__main__":
    main()
