"""Noise against spread, by hand-computed numbers."""

from __future__ import annotations

import numpy as np
import pytest

from mixproof.mixtures.search.choose import Validation
from mixproof.mixtures.search.noise import Noise, measure_noise, refusal


def validation(residual: float) -> Validation:
    return Validation(0.9, residual, np.zeros(0))


def test_noise_is_the_pooled_deviation_of_repeats_and_spread_that_of_means() -> None:
    shares = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.5, 0.5]])
    noise = measure_noise(shares, np.array([1.0, 2.0, 3.0, 5.0, 7.0, 4.0]), validation(9))
    # means 2, 6, 4; squares 1 + 0 + 1 + 1 + 1 over 2 + 1 degrees
    assert (noise.kind, noise.mixtures, noise.degrees_of_freedom) == ("repeats", 3, 3)
    assert noise.spread == pytest.approx(2)
    assert noise.deviation == pytest.approx((4 / 3) ** 0.5)


def test_without_repeats_the_residuals_stand_for_the_noise() -> None:
    noise = measure_noise(np.eye(3), np.array([1.0, 2.0, 3.0]), validation(0.25))
    assert noise == Noise(1.0, 3, 0.25, 0, "residuals")


def test_a_spread_far_above_the_noise_is_no_reason_to_refuse() -> None:
    assert refusal(Noise(1.0, 64, 0.1, 3, "repeats"), 0.9) is None
    assert refusal(Noise(1.0, 64, 0.5, 0, "residuals"), 0.9) is None


def test_a_spread_that_repeats_could_have_made_is_refused_at_the_f_test_s_limit() -> None:
    # F(.95; 63, 3) is 8.57, whose root is 2.93
    assert refusal(Noise(2.92, 64, 1.0, 3, "repeats"), 0.9) is not None
    assert refusal(Noise(2.94, 64, 1.0, 3, "repeats"), 0.9) is None
    assert "too much noise" in str(refusal(Noise(1.0, 64, 1.0, 60, "repeats"), 0.9))


def test_predictions_that_miss_by_the_whole_spread_are_refused() -> None:
    assert "too much noise" in str(refusal(Noise(1.0, 64, 1.0, 0, "residuals"), 0.9))


def test_an_order_that_chance_could_have_made_is_refused() -> None:
    # 1.645 / sqrt(64 - 1) is 0.207
    assert "no predictor ranks held-out mixtures" in str(refusal(Noise(1.0, 64, 0.1, 3, "repeats"), 0.20))
    assert refusal(Noise(1.0, 64, 0.1, 3, "repeats"), 0.21) is None


def test_too_few_mixtures_are_refused() -> None:
    assert "7 mixtures are too few" in str(refusal(Noise(1.0, 7, 0.0, 3, "repeats"), 1.0))


def test_scores_that_differ_by_rounding_alone_recommend_nothing() -> None:
    shares = np.column_stack([np.linspace(0, 1, 9), np.linspace(1, 0, 9)])
    noise = measure_noise(shares, np.array([2.5 + 1e-15 * row for row in range(9)]), validation(1e-16))
    assert noise.spread == 0
    assert str(refusal(noise, 0.9)).startswith("all 9 mixtures have the same score, so none of them is better")
