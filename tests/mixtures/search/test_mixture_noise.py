"""Noise as a function of the mixture: equal noise, a source that makes runs noisy, and too few repeats to know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mixproof.mixtures.search.choice.calibration import Calibration
from mixproof.mixtures.search.choice.estimate import of_measured
from mixproof.mixtures.search.choice.residual_trend import ResidualTrend
from mixproof.mixtures.search.mixture_noise import (
    MixtureNoise,
    Weighting,
    fit_mixture_noise,
    misfit_variance,
    spread_over_noise,
)
from mixproof.mixtures.search.objective import fit_objective
from mixproof.mixtures.search.predictors.linear import fit_linear
from mixproof.mixtures.search.predictors.predictor import FloatArray
from mixproof.mixtures.search.predictors.weighted import Weighted

RATIO = 25.0


def deviation(shares: FloatArray) -> FloatArray:
    """0.01 without the last source, and 25 times as much with nothing else."""
    return np.asarray(0.01 * RATIO ** shares[:, -1], np.float64)


def repeated(mixtures: int, runs: int, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Mixtures from the corners inwards, each with some runs, and scores that are noise alone."""
    random = np.random.default_rng(seed)
    shares = np.repeat(random.dirichlet([0.6, 0.6, 0.6], mixtures), runs, axis=0)
    return shares, deviation(shares) * random.normal(size=len(shares))


def constant(log_variance: float, uncertainty: float) -> MixtureNoise:
    """Noise that is the same for mixtures of two sources."""
    modes, covariances = np.zeros((1, 3)), np.zeros((1, 3, 3))
    modes[0, 0], covariances[0, 0, 0] = log_variance, uncertainty
    return MixtureNoise(np.array([0.5, 0.5]), np.ones(1), modes, covariances)


def test_a_source_that_makes_runs_noisy_is_found() -> None:
    noise = fit_mixture_noise(*repeated(40, 4))
    assert noise is not None
    corners = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    assert noise.deviation(corners) == pytest.approx([0.01, 0.25], rel=0.35)
    assert noise.differs(corners)


def test_of_equal_noise_the_pooled_deviation_and_its_degrees_of_freedom_are_found() -> None:
    shares, scores = repeated(60, 3)
    scores = 0.3 * scores / deviation(shares)
    noise = fit_mixture_noise(shares, scores)
    assert noise is not None
    within = scores.reshape(60, 3) - scores.reshape(60, 3).mean(axis=1, keepdims=True)
    center = shares.mean(axis=0)[None]
    assert noise.deviation(center)[0] == pytest.approx(np.sqrt((within**2).sum() / 120), rel=0.05)
    assert 60 < noise.degrees_of_freedom(center)[0] <= 120
    assert not noise.differs(shares)


def test_a_few_repeats_give_a_wide_noise_far_away_and_intervals_that_cover() -> None:
    far, covered, degrees = np.array([[0.05, 0.05, 0.9]]), 0, []
    random = np.random.default_rng(1)
    for seed in range(200):
        noise = fit_mixture_noise(*repeated(8, 2, seed))
        assert noise is not None
        degrees.append(noise.degrees_of_freedom(far)[0])
        # the largest of a few t quantiles: 12.7, 4.3, 3.2, 2.8 ... at 1, 2, 3, 4 degrees
        half = noise.deviation(far)[0] * (12.7 if degrees[-1] < 2 else 4.3)
        covered += abs(float(random.normal() * deviation(far)[0])) <= half
    assert covered >= 180 and np.median(degrees) < 4


def test_two_repeated_mixtures_or_equal_repeats_say_nothing() -> None:
    assert fit_mixture_noise(*repeated(2, 5)) is None
    assert fit_mixture_noise(repeated(5, 3)[0], np.zeros(15)) is None


def test_spread_and_noise_are_weighted_by_precision() -> None:
    # precisions 4, 4 and 1 around the mean (4 x 1 + 4 x 3 + 1 x 11) / 9 = 3: (4 x 4 + 0 + 64) / 2 = 40 is F
    spread, noise = spread_over_noise(np.array([1.0, 3.0, 11.0]), np.array([0.25, 0.25, 1.0]))
    assert noise == pytest.approx(np.sqrt(3 / 9))
    assert (spread / noise) ** 2 == pytest.approx(40)


def test_the_error_of_a_prediction_is_what_its_residuals_have_beyond_the_noise() -> None:
    random = np.random.default_rng(0)
    noise = np.where(np.arange(2000) % 2, 0.1, 2.0)
    residuals = np.hypot(noise, 0.5) * random.normal(size=2000)
    assert misfit_variance(residuals, noise) == pytest.approx(0.25, rel=0.15)
    assert misfit_variance(0.1 * noise, noise) == 0
    assert Weighting(constant(0.0, 0.0), 3.0).weights(np.array([[0.2, 0.8]])).tolist() == [1.0]


def test_a_noisy_mixture_with_a_lucky_score_is_drawn_to_its_prediction() -> None:
    known = Calibration(0.5, 0.0, 0.0, 0.0, noise=0.1, degrees_of_freedom=3, misfit=0.04)
    quiet, noisy = (
        of_measured(1.0, 1, 2.0, Calibration(**{**vars(known), "of_mixture": constant(np.log(one), 1e-6)}).at(row))
        for one, row in ((0.01, np.array([0.2, 0.8])), (0.36, np.array([0.2, 0.8])))
    )
    # weights .04 / (.04 + .01) and .04 / (.04 + .36)
    assert [quiet.value, noisy.value] == pytest.approx([2 - 0.8, 2 - 0.1])
    # the residual's square is 20 times as large as noise and misfit explain: its variance is 1 + 20/3 times as large
    assert quiet.deviation**2 == pytest.approx((0.8**2 * 0.01 + 0.2**2 * 0.04) * (1 + 20 / 3), rel=1e-3)


def test_residuals_that_grow_with_the_noise_beyond_the_model_widen_the_intervals_of_noisy_mixtures() -> None:
    model = constant(np.log(0.36), 1e-6)
    known = Calibration(0.5, 0.0, 0.0, 0.0, noise=0.1, degrees_of_freedom=3, of_mixture=model, misfit=0.04)
    rising = replace(known, trend=ResidualTrend(np.log(4), 0.0, 0.0, -10.0, 0.0))
    row = np.array([0.2, 0.8])
    assert rising.at(row).surplus == pytest.approx(4) and known.at(row).surplus == 1
    assert rising.at(row).residual == pytest.approx(2 * np.sqrt(0.4))
    narrow, wide = (of_measured(2.0, 1, 2.0, one.at(row)).deviation for one in (known, rising))
    assert wide == pytest.approx(2 * narrow)


def test_an_objective_is_fitted_with_weights_only_if_the_noise_of_its_mixtures_differs() -> None:
    shares, scatter = repeated(20, 2)
    truth = shares @ np.array([1.0, 2.0, 3.0])
    fitted = fit_objective({"linear": fit_linear}, shares, (truth + scatter)[:, None], {"loss": 1.0})
    assert isinstance(fitted.choices["loss"].predictor, Weighted)
    equal = fit_objective({"linear": fit_linear}, shares, (truth + scatter / deviation(shares))[:, None], {"loss": 1.0})
    assert not isinstance(equal.choices["loss"].predictor, Weighted)
    corners = np.eye(3)
    plain = fit_linear(shares, truth + scatter).predict(corners)
    errors = [np.abs(found - corners @ [1.0, 2.0, 3.0]).mean() for found in (fitted.predictor.predict(corners), plain)]
    assert errors[0] < errors[1]
