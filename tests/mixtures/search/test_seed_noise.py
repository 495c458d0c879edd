"""The noise of seeds that all mixtures share; numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mixproof.mixtures.search.seed_noise import SeedVariance, analyse, pool

SHARED = [[1.0, 2.0, 3.1], [1.5, 2.5, 3.5], [2.0, 3.0, 4.0]]


def test_variance_is_pooled_over_mixtures_with_a_degree_of_freedom_less_for_each() -> None:
    # squares about the means: 0.02 and 0.02, over 2·(2 - 1)
    pair = pool([[1.0, 1.2], [1.5, 1.7]])
    assert pair.variance == pytest.approx(0.02)
    assert pair.degrees_of_freedom == 2
    assert pool([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]) == SeedVariance(0.5, 4)
    assert pool([[1.0], [2.0]]) == SeedVariance(0.0, 0)


def test_a_shift_that_all_mixtures_share_leaves_the_interaction() -> None:
    noise = analyse(SHARED)
    assert noise.effect is not None and noise.effect.common and noise.effect.degrees_of_freedom == 4
    # the table less row and column means: squares .04444^2 + 4 x .01111^2 + 4 x .02222^2 = .0044444
    assert noise.effect.interaction_deviation**2 == pytest.approx(0.0044444 / 4, rel=1e-3)
    assert noise.shared.degrees_of_freedom == 4 and noise.pooled.variance > 0.9


def test_without_a_shared_shift_and_with_equal_noise_a_difference_is_judged_on_the_pooled_variance() -> None:
    noise = analyse([[1.0, 2.0, 1.4], [2.0, 1.0, 1.7]])
    assert noise.effect is not None and not noise.effect.common
    assert noise.unequal is not None and not noise.unequal.unequal
    # own variances .253333 and .263333; Welch: 2 (.516667)^2 / (.253333^2 + .263333^2) = 3.9985
    assert noise.of_difference(0, 1).variance == noise.pooled.variance == pytest.approx(0.258333, rel=1e-4)
    assert noise.of_difference(0, 1).degrees_of_freedom == pytest.approx(3.9985, rel=1e-4)
    assert noise.in_words(["a", "b"]) is None
    three = analyse([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [2.0, 3.0, 1.0]])
    assert three.of_difference(1, 2) == three.pooled and three.pooled.degrees_of_freedom == 6


def test_a_mean_is_judged_on_its_own_seeds_because_a_shift_makes_all_mixtures_vary_alike() -> None:
    mean = analyse(SHARED).of_mean(1)
    assert mean.variance == pytest.approx(1) and mean.degrees_of_freedom == 2
    rounded = analyse([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]])
    assert rounded.of_mean(0) == rounded.pooled  # equal scores come from rounding


def test_one_noisy_mixture_does_not_lend_its_noise_to_the_difference_of_two_quiet_ones() -> None:
    noise = analyse([[1.0, 1.01, 1.02], [1.1, 1.12, 1.1], [2.0, 3.0, 1.0]])
    assert noise.unequal is not None and noise.unequal.unequal and noise.unequal.deviations[2] == pytest.approx(1)
    # differences .10, .11, .08: variance .00023333, half of it for one run
    quiet = noise.of_difference(0, 1)
    assert quiet.variance == pytest.approx(0.000116667, rel=1e-4) and quiet.degrees_of_freedom == 2
    assert noise.of_difference(0, 2).variance > 0.4 and noise.of_mean(2).variance == pytest.approx(1)
    said = str(noise.in_words(["a", "b", "code"]))
    assert said.startswith("mixtures may differ in noise (p = ") and "to 1 (code)" in said


def test_one_seed_or_one_mixture_shows_nothing() -> None:
    assert analyse([[1.0], [2.0]]).effect is None and analyse([[1.0, 2.0]]).unequal is None
    assert analyse([[1.0], [2.0]]).of_difference(0, 1).degrees_of_freedom == 0
    assert analyse([[1.0, 2.0]]).in_words(["a"]) is None


def test_an_interaction_of_zero_comes_from_rounding_and_is_not_believed() -> None:
    noise = analyse([[1.0, 2.0], [3.0, 4.0]])
    assert noise.effect is not None and not noise.effect.common
    assert noise.of_difference(0, 1) == noise.pooled == SeedVariance(0.5, 2)


def test_a_shared_shift_is_said_with_both_deviations() -> None:
    shared = analyse([[1.0, 2.0, 3.05], [2.0, 3.0, 4.0], [2.5, 3.45, 4.5]])
    assert str(shared.in_words(["a", "b", "c"])).startswith("seeds shift all mixtures equally (p = ")


@pytest.mark.parametrize(("shift", "noisy"), [(0.0, 1.0), (1.0, 1.0), (4.0, 1.0), (0.0, 25.0), (4.0, 25.0)])
def test_intervals_of_differences_cover_the_truth_with_any_seed_effect_and_one_noisy_mixture(
    shift: float, noisy: float
) -> None:
    random = np.random.default_rng(7)
    mixtures, seeds, tables = 4, 4, 400
    deviations = np.array([noisy, 1, 1, 1])[:, None]
    covered = []
    for _ in range(tables):
        table = deviations * random.normal(size=(mixtures, seeds)) + shift * random.normal(size=seeds)
        noise = analyse(table.tolist())
        for first, second in ((0, 1), (2, 3)):
            variance = noise.of_difference(first, second)
            half = stats.t.ppf(0.975, variance.degrees_of_freedom) * np.sqrt(2 * variance.variance / seeds)
            covered.append(abs(table[first].mean() - table[second].mean()) <= half)
    assert np.mean(covered) > 0.93  # 95% less 2.6 standard errors
