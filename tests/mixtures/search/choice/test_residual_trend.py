"""The trend of residuals with a quantity, and what it does to the residual of one mixture."""

from __future__ import annotations

import numpy as np
import pytest

from mixproof.mixtures.search.choice.calibration import Calibration
from mixproof.mixtures.search.choice.residual_trend import fit_trend


def test_squares_that_grow_exponentially_are_followed_and_not_extrapolated() -> None:
    quantity = np.linspace(0, 2, 9)
    trend = fit_trend(quantity, 0.01 * np.exp(3 * quantity))
    assert trend is not None
    assert trend.mean_square(1.0) == pytest.approx(0.01 * np.exp(3), rel=1e-6)
    assert trend.mean_square(5.0) == trend.mean_square(2.0) == pytest.approx(0.01 * np.exp(6), rel=1e-6)
    assert trend.mean_square(-1.0) == pytest.approx(0.01, rel=1e-6)


def test_a_quantity_that_does_not_vary_leaves_the_mean_and_exact_predictions_have_no_trend() -> None:
    trend = fit_trend(np.ones(4), np.array([1.0, 2.0, 3.0, 2.0]))
    assert trend is not None and trend.mean_square(1.0) == pytest.approx(2)
    assert fit_trend(np.arange(4.0), np.zeros(4)) is None


def test_a_mixture_far_from_the_middle_has_the_larger_residual_of_its_distance() -> None:
    trend = fit_trend(np.array([0.0, 0.25, 0.5]), np.array([0.01, 0.04, 0.16]))
    study = Calibration(0.2, 0.0, 0.0, 0.0, 0.1, 3, middle=np.array([0.5, 0.5]), trend=trend)
    # half the sum of differences: .5 and 0; the square is quadrupled every .25
    far, near = study.at(np.array([1.0, 0.0])), study.at(np.array([0.5, 0.5]))
    assert far.residual == pytest.approx(0.4, rel=1e-6) and near.residual == 0.2
    assert far.known_residual == near.known_residual == 0.2
