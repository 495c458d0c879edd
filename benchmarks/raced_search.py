"""Whether a search whose candidates race recommends as good a mixture, and how many tokens it trains.

    python benchmarks/raced_search.py FOLDER [--searches 20] [--rungs 10%]

FOLDER is as for `benchmarks/search.py`. A search runs 32, 16 and 8 candidates on the mixtures that the published ones
span. The truth at the full budget is a Gaussian process fitted to all published mixtures and one of their losses. At a
part p of the tokens, with h = p^-0.35 - 1, its spread is 1 + SHRINKING · h times as large, and `crossing` · h times a
second surface is added: another published loss, with the spread of the first and without what it has in common with
it. So curves cross as in `racing.py`, smoothly over mixtures. A run adds normal noise, p^-0.35 times as large at rungs.

A row is the mean difference of the raced searches from whole ones over the same losses and noise, in spreads, with its
standard error: of the truth of the recommended mixture (the anchor if none is recommended), of the best mixture that
was run to the end, and of the predicted optimum; below 0 is better.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from final_choice import published_studies, published_truth
from mixproof.mixtures.search.blas import one_blas_thread
from mixproof.mixtures.search.outcome import Trial
from mixproof.mixtures.search.phases.spanned import spanned_space
from mixproof.mixtures.search.plan import Plan
from mixproof.mixtures.search.predictors.families import PROCESS, RIDGE, families
from mixproof.mixtures.search.race.account import RunTokens, race_tokens
from mixproof.mixtures.search.race.round_stops import RoundRace
from mixproof.mixtures.search.rounds import search
from mixproof.mixtures.search.space import Space, shares_of
from mixproof.mixtures.values.quantities import parse_share

ROUNDS, REPEATED, DECAY, BETA, SHRINKING = (32, 16, 8), 4, Fraction(1, 5), 0.35, 0.2
NOISE = (0.05, 0.2)
CROSSING = (0.25,)
TOKENS = 1000
"""Of a whole run."""

Truth = Callable[[Sequence[tuple[int, ...]], Fraction], NDArray[np.float64]]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--searches", type=int, default=20)
    parser.add_argument("--rungs", default="10%")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    print("| noise | crossing | recommended | best run to the end | optimum | recommend one: raced, whole | tokens |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    for noise in NOISE:
        for crossing in CROSSING:
            tasks = [(options.folder, number, noise, crossing, options.rungs) for number in range(options.searches)]
            with ProcessPoolExecutor(options.processes) as pool:
                found = np.array(list(pool.map(both, *zip(*tasks, strict=True))))
            differences = found[:, 0] - found[:, 1]
            errors = differences.std(axis=0, ddof=1) / np.sqrt(len(differences))
            means = zip(differences.mean(axis=0)[:3], errors[:3], strict=True)
            cells = " | ".join(f"{mean:+.3f} ± {error:.3f}" for mean, error in means)
            said = ", ".join(f"{share:.0%}" for share in found[:, :, 3].mean(axis=0))
            tokens = found[:, 0, 4].sum() / found[:, 1, 4].sum()
            print(f"| {noise:g} | {crossing:g} | {cells} | {said} | {tokens:.0%} |", flush=True)


def both(folder: Path, number: int, noise: float, crossing: float, rungs: str) -> list[list[float]]:
    """Results of a raced search, and of one of whole runs."""
    mixtures = published_studies(folder).mixtures
    space = spanned_space(mixtures.sources, mixtures.shares, None, {})
    race = RoundRace(tuple(parse_share(part) for part in rungs.split(",")))
    with one_blas_thread():
        truth = surfaces(folder, number, crossing)
        return [one_search(space, truth, number, noise, how) for how in (race, None)]


def one_search(space: Space, truth: Truth, number: int, noise: float, race: RoundRace | None) -> list[float]:
    """Truths of the recommended mixture, the best one run to the end and the optimum; if one is recommended; tokens."""
    trained: list[Trial] = []

    def score(trials: Sequence[Trial]) -> list[tuple[float, ...] | None]:
        trained.extend(trials)
        found: list[tuple[float, ...] | None] = []
        for one in trials:
            random = np.random.default_rng([number, one.seed, *one.part.as_integer_ratio(), *one.units])
            error = noise * float(one.part) ** -BETA * float(random.normal())
            found.append((float(truth([one.units], one.part)[0]) + error,))
        return found

    fits = {name: fit for name, fit in families().items() if name in (RIDGE, PROCESS)}
    plan = Plan(ROUNDS, race=race, repeated=REPEATED, name=f"replay-{number}")
    outcome = search(space, plan, score, {"loss": 1.0}, fits)
    recommended = space.anchor if outcome.recommended is None else outcome.recommended.units
    optimum = space.anchor if outcome.choice is None else outcome.choice.optimum
    tried = float(truth([one.trial.units for one in outcome.measured], Fraction(1)).min())
    best, predicted = truth([recommended, optimum], Fraction(1)).tolist()
    parts = (*(() if race is None else race.rungs), Fraction(1))
    tokens_of = {part: RunTokens(round(TOKENS * part * (1 - DECAY)), round(TOKENS * part * DECAY)) for part in parts}
    tokens = race_tokens([(one.units, one.seed, one.part) for one in trained], tokens_of, plan.seeds[0])
    return [best, tried, predicted, float(outcome.recommended is not None), tokens.trained]


def surfaces(folder: Path, number: int, crossing: float) -> Truth:
    """The true score of mixtures at a part of the tokens, in spreads from the mean of the published ones."""
    published = published_studies(folder)
    scores, shares = len(published.scores), published.mixtures.shares
    first = published_truth(folder, number % scores, smooth=True)
    second = published_truth(folder, (number + 1 + number // scores) % scores, smooth=True)
    own, other = first.predict(shares), second.predict(shares)
    slope = float(np.cov(own, other)[0, 1] / own.var(ddof=1))
    scale = float((other - slope * own).std())

    def at(units: Sequence[tuple[int, ...]], part: Fraction) -> NDArray[np.float64]:
        asked = shares_of(np.array(units))
        level, falling = (first.predict(asked) - own.mean()) / own.std(), float(part) ** -BETA - 1
        change = (second.predict(asked) - other.mean() - slope * own.std() * level) / scale
        return np.asarray(level + falling * (SHRINKING * level + crossing * change), np.float64)

    return at


if __name__ == "__main__":
    main()
