"""How well mixtures are ranked at a size that was not run: the joint law against predictors of one size.

    python benchmarks/joint_sizes.py [--studies 20]

Made-up studies with a known law that no predictor here has (the joint law of Shukor et al. 2025, arXiv:2507.09404):

    E + 1 / sum C_i h_i^gamma_i + A(h) / N^alpha + B(h) / D^beta

A and B are powers of linear forms of the shares h. `same` has A and B that do not depend on the mixture, so that all
sizes rank mixtures equally. Runs: 256 mixtures at 1M parameters and 64 others at 60M, with 20 tokens per parameter and
normal noise in spreads of the losses; asked: 256 new mixtures at 1B without noise.

Printed: Spearman x 100 at 1B of the predictor chosen for scores that the joint law carried there, as `search --target`
does, of the predictor chosen for the runs of one size, and of the true losses at 60M themselves (what a perfect
predictor of that size would reach); and the error of the predicted losses in spreads.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from itertools import product

import numpy as np

from mixproof.mixtures.search.blas import one_blas_thread
from mixproof.mixtures.search.candidates import draw
from mixproof.mixtures.search.choose import choose, rank_correlation
from mixproof.mixtures.search.joint.carry import carry
from mixproof.mixtures.search.joint.process import Rows
from mixproof.mixtures.search.joint.sizes import SIZES, Sizes
from mixproof.mixtures.search.predictors.families import TREES, families
from mixproof.mixtures.search.predictors.predictor import FloatArray
from mixproof.mixtures.search.space import Space, rounded_center, shares_of

SOURCES = 8
SMALL, MIDDLE, LARGE = 1e6, 60e6, 1e9
TOKENS_PER_PARAMETER = 20
RUNS = {SMALL: 256, MIDDLE: 64}
ASKED = 256
NOISE = (0.0, 0.1, 0.3)
Law = Callable[[FloatArray, float], FloatArray]


def main() -> None:
    """Print a table by kind of law and noise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=20)
    studies = parser.parse_args().studies
    print("| law | noise | joint | 60M alone | 1M alone | truth at 60M | error |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    with ProcessPoolExecutor() as pool:
        for same, noise in product((False, True), NOISE):
            found = np.array(list(pool.map(study, range(studies), [noise] * studies, [same] * studies)))
            cells = [f"{100 * value:.1f}" for value in found.mean(axis=0)[:4]] + [f"{found[:, 4].mean():.2f}"]
            print(f"| {'same' if same else 'joint'} | {noise:g} | {' | '.join(cells)} |", flush=True)


def study(seed: int, noise: float, same: bool) -> tuple[float, ...]:
    """Rank correlations of one study, and the joint law's root mean square error in spreads at 1B."""
    random = np.random.default_rng([seed, 3])
    space = Space.of(
        rounded_center({f"source-{rank}": 10**6 // (rank + 1) for rank in range(SOURCES)}),
        {f"source-{rank}": Fraction(1) for rank in range(SOURCES)},
    )
    law = made_up_law(random, same)
    shares = {size: shares_of(draw(space, count, random)) for size, count in RUNS.items()}
    asked = shares_of(draw(space, ASKED, random))
    scores = {}
    for size, own in shares.items():
        truth = law(own, size)
        scores[size] = truth + noise * truth.std() * random.normal(size=len(truth))
    truth = law(asked, LARGE)
    values = np.array([[size, TOKENS_PER_PARAMETER * size] for size, own in shares.items() for _ in own])
    rows = Rows(np.vstack(list(shares.values())), Sizes(SIZES, values), np.concatenate(list(scores.values())))
    with one_blas_thread():
        fits = {name: fit for name, fit in families().items() if name != TREES}
        carried = carry(rows, np.array([LARGE, TOKENS_PER_PARAMETER * LARGE]))
        predicted = choose(fits, rows.shares, carried).predictor.predict(asked)
        alone = [choose(fits, shares[size], scores[size]).predictor.predict(asked) for size in (MIDDLE, SMALL)]
    correlations = [rank_correlation(one, truth) for one in (predicted, *alone, law(asked, MIDDLE))]
    return (*correlations, float(np.sqrt(np.mean((predicted - truth) ** 2)) / truth.std()))


def made_up_law(random: np.random.Generator, same: bool) -> Law:
    """A joint law, the mean of three losses."""
    parts, exponents = [], random.uniform(0.2, 0.45, size=2)
    for _ in range(3):
        levels, powers = random.uniform(0.5, 2.0, size=SOURCES), random.uniform(0.1, 0.5, size=SOURCES)
        forms = random.uniform(0.2, 2.0, size=(2, SOURCES)) if not same else np.ones((2, SOURCES))
        parts.append((levels, powers, forms, random.uniform(0.3, 1.0, size=2)))

    def law(shares: FloatArray, parameters: float) -> FloatArray:
        tokens, losses = TOKENS_PER_PARAMETER * parameters, []
        for levels, powers, forms, gammas in parts:
            base = 1.5 + 3.0 / (levels * (shares + 1e-3) ** powers).sum(axis=1)
            by_size = [(shares @ form) ** gamma for form, gamma in zip(forms, gammas, strict=True)]
            falling = [
                by_size[term] * (size / start) ** -exponents[term]
                for term, (size, start) in enumerate(((parameters, SMALL), (tokens, TOKENS_PER_PARAMETER * SMALL)))
            ]
            losses.append(base + falling[0] + falling[1])
        return np.asarray(np.mean(losses, axis=0), np.float64)

    return law


if __name__ == "__main__":
    main()
