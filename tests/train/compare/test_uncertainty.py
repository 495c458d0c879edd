"""Uncertainty by hand: pooled variance, intervals by Student's t, and documents drawn again."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mixproof.mixtures.search.seed_noise import SeedVariance
from mixproof.train.compare.uncertainty import (
    Documents,
    bootstrap,
    detectable,
    half_width,
    seeds_to_settle,
)


def test_the_interval_of_a_difference_is_students() -> None:
    # t(0.975; 2) = 4.30265, variance of the difference 2·0.02/2
    width = half_width(SeedVariance(0.02, 2), 2, None, 0, of=2, comparisons=1)
    assert width.total == pytest.approx(4.30265 * math.sqrt(0.02), rel=1e-5)
    assert width.seeds == pytest.approx(width.total)
    assert width.documents is None
    # two comparisons at once: t(0.9875; 2) = 6.20535
    double = half_width(SeedVariance(0.02, 2), 2, None, 0, of=2, comparisons=2)
    assert double.total == pytest.approx(6.20535 * math.sqrt(0.02), rel=1e-5)


def test_the_whole_is_the_root_of_both_components_squares_each_with_its_own_degrees_of_freedom() -> None:
    # 4.30265·sqrt(0.02) = 0.608487 by seeds, t(0.975; 100) = 1.98397 times 0.1 by documents
    width = half_width(SeedVariance(0.02, 2), 2, 0.1, 101, of=2, comparisons=1)
    assert width.seeds == pytest.approx(4.30265 * math.sqrt(0.02), rel=1e-5)
    assert width.documents == pytest.approx(1.98397 * 0.1, rel=1e-5)
    assert width.total == pytest.approx(math.sqrt(0.608487**2 + 0.198397**2), rel=1e-5)


def test_the_whole_is_never_narrower_than_a_component() -> None:
    # one t at Satterthwaite's degrees of freedom gave ±0.3909 here, below the ±0.3912 of the seeds alone
    for spread in (0.0, 0.001, 0.01, 0.1, 1.0):
        width = half_width(SeedVariance(0.0087736, 3), 2, spread, 60, of=2, comparisons=2)
        assert width.documents is not None
        assert width.total >= max(width.seeds, width.documents)


def test_seeds_that_would_settle_are_the_fewest_whose_interval_is_narrower_than_the_difference() -> None:
    # two seeds: ±0.6085; three: t(0.975; 4) = 2.77645 times sqrt(2·0.02/3) = ±0.3206
    variance = SeedVariance(0.02, 2)
    assert seeds_to_settle(0.5, variance, 2, None, 0, comparisons=1) == 3
    # four: t(0.975; 6) = 2.44691 times 0.1 = ±0.2447
    assert seeds_to_settle(0.3, variance, 2, None, 0, comparisons=1) == 4
    assert seeds_to_settle(0.5, variance, 2, 1.0, 50, comparisons=1) is None
    assert seeds_to_settle(0.0, variance, 2, None, 0, comparisons=1) is None
    # own paired differences add one degree a seed: of four, t(0.975; 3) = 3.18245 times 0.1 = ±0.3182
    assert seeds_to_settle(0.315, SeedVariance(0.02, 2), 3, None, 0, comparisons=1) == 5
    assert seeds_to_settle(0.315, SeedVariance(0.02, 4), 3, None, 0, comparisons=1) == 4


def test_the_detectable_difference_adds_the_quantile_of_the_power() -> None:
    # t(0.975; 2) + t(0.8; 2) = 4.30265 + 1.06066
    by_seeds = 5.36331 * math.sqrt(0.02)
    assert detectable(SeedVariance(0.02, 2), 2, None, 0, 1) == pytest.approx(by_seeds, rel=1e-5)
    # and t(0.975; 100) + t(0.8; 100) = 1.98397 + 0.84523 times the documents' spread
    both = math.hypot(by_seeds, 2.82920 * 0.1)
    assert detectable(SeedVariance(0.02, 2), 2, 0.1, 101, 1) == pytest.approx(both, rel=1e-5)


def test_the_bootstrap_draws_documents_and_divides_sums() -> None:
    # 1 and 3 bits a byte on 8 bytes each: one draw in four repeats the first, one the second
    bits = np.array([[8.0], [24.0]])
    replicates = bootstrap({"english": Documents(bits, np.array([8, 8]))}, {"english": 1.0})[:, 0]
    assert replicates.shape == (1000,)
    assert sorted(set(replicates.tolist())) == [1.0, 2.0, 3.0]
    assert 0.2 < float((replicates == 1.0).mean()) < 0.3
    assert replicates.std(ddof=1) == pytest.approx(math.sqrt(0.5), abs=0.05)


def test_the_bootstrap_is_the_same_every_time_and_draws_the_same_documents_for_all_mixtures() -> None:
    first = np.array([8.0, 24.0, 40.0])
    bits = np.stack([first, first + 8.0], axis=1)
    sources = {"english": Documents(bits, np.array([8, 8, 8])), "code": Documents(bits, np.array([4, 4, 4]))}
    replicates = bootstrap(sources, {"english": 0.5, "code": 0.5})
    assert np.array_equal(replicates, bootstrap(sources, {"english": 0.5, "code": 0.5}))
    # one bit a byte more of English, two of code: 1.5 whatever is drawn
    assert replicates[:, 1] - replicates[:, 0] == pytest.approx(np.full(1000, 1.5))
    assert replicates[:, 0].std() > 0.1
