"""How often a race has the winner of the full ablation, and how many of its tokens it trains: simulated curves.

    python benchmarks/racing.py [--races 500]
    python benchmarks/racing.py --replay FOLDER/rungs.json    # real runs, see known_ranking.py

Every mixture has a loss E + B / tokens^beta. Mixtures differ in E by a normal deviation of 1 and in the term that falls
with tokens by `crossing` of that at the end of the run, so curves cross: the larger `crossing` is, the more often the
best mixture at a rung is not the best at the end. A run's noise, in the same unit, has a part that a seed gives to all
mixtures, and a part of its own that is `noise`; both are independent between rungs. The winner of the full ablation is
the best mean over the same seeds at the full budget.

Replayed: races over real runs of every mixture at every rung, with all choices of 2, 3 and 4 of their seeds.

A rung's runs branch from the trunk at the end of the rung before (`mixproof.mixtures.arithmetic.rungs`), so a mixture
costs the tokens from there to the end of its decay.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixproof.mixtures.search.race.stops import RUNGS, stopped_at

MIXTURES, SEEDS, DECAY, BETA = 8, 3, Fraction(1, 5), 0.35
NOISE = (0.05, 0.1, 0.2, 0.4)
CROSSING = (0.0, 0.25, 0.5)


def main() -> None:
    """Print a table by noise and crossing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--races", type=int, default=500)
    parser.add_argument("--replay", type=Path)
    options = parser.parse_args()
    if options.replay is not None:
        print("\n".join(replays(options.replay)))
        return
    races = options.races
    print(f"{MIXTURES} mixtures, {SEEDS} seeds, rungs {', '.join(f'{float(part):.0%}' for part in RUNGS)}")
    print("| noise | crossing | same winner | best mixture kept | tokens of the full ablation |")
    print("|--:|--:|--:|--:|--:|")
    for noise in NOISE:
        for crossing in CROSSING:
            found = np.array([race(np.random.default_rng([seed, 6]), noise, crossing) for seed in range(races)])
            same, kept, tokens = found.mean(axis=0)
            print(f"| {noise:g} | {crossing:g} | {same:.1%} | {kept:.1%} | {tokens:.0%} |", flush=True)


def race(random: np.random.Generator, noise: float, crossing: float) -> tuple[bool, bool, float]:
    """Run one race; whether it has the winner of the full ablation, whether the truly best is kept, and its tokens."""
    final = random.normal(size=MIXTURES)
    falling = crossing * random.normal(size=MIXTURES)
    parts = (*RUNGS, Fraction(1))
    level = {part: final + falling * (float(part) ** -BETA - 1) for part in parts}
    scores = {
        part: level[part][:, None]
        + noise * random.normal(size=(MIXTURES, SEEDS))
        + 2 * noise * random.normal(size=SEEDS)
        for part in parts
    }
    best, left, tokens = _raced(scores)
    full = int(scores[Fraction(1)].mean(axis=1).argmin())
    return best == full, int(final.argmin()) in left, tokens


def replays(path: Path) -> Iterator[str]:
    """Rows of the table of races over real runs."""
    rungs = json.loads(path.read_text())["rungs"]
    scores = {Fraction(part).limit_denominator(1000): np.array(list(own.values())) for part, own in rungs.items()}
    final = scores[Fraction(1)]
    mixtures, count = final.shape
    best = int(final.mean(axis=1).argmin())
    yield f"{mixtures} mixtures, {count} seeds"
    yield "| seeds | races | same winner | best mixture kept | tokens of the full ablation |"
    yield "|--:|--:|--:|--:|--:|"
    for seeds in (2, 3, 4):
        found = []
        for chosen in combinations(range(count), seeds):
            winner, left, tokens = _raced({part: own[:, chosen] for part, own in scores.items()})
            found.append((winner == int(final[:, chosen].mean(axis=1).argmin()), best in left, tokens))
        same, kept, tokens = np.mean(np.array(found, np.float64), axis=0)
        yield f"| {seeds} | {len(found)} | {same:.1%} | {kept:.1%} | {tokens:.0%} |"


def _raced(scores: Mapping[Fraction, NDArray[np.float64]]) -> tuple[int, Sequence[int], float]:
    """Race over scores [mixtures, seeds] by part of the budget.

    Returns:
        The winner, the mixtures that were not stopped, and the tokens relative to the full ablation.
    """
    parts = sorted(scores)
    mixtures = len(scores[parts[-1]])
    left, tokens, noise = list(range(mixtures)), 0.0, None
    for number, part in enumerate(parts):
        tokens += len(left) * float(part - (parts[number - 1] * (1 - DECAY) if number else 0))
        if part < 1:
            own = {f"{index}": scores[part][index].tolist() for index in left}
            stops, noise = stopped_at(own, number + 1, parts[:-1], before=noise)
            left = [index for index in left if f"{index}" not in stops]
        if len(left) == 1:
            break
    means = scores[part].mean(axis=1)
    return min(left, key=lambda index: float(means[index])), left, tokens / mixtures


if __name__ == "__main__":
    main()
