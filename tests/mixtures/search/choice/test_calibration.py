"""Errors of a study near its optimum."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mixproof.mixtures.search.choice.calibration import calibrate
from mixproof.mixtures.search.choose import Validation
from mixproof.mixtures.search.noise import Noise
from mixproof.mixtures.search.predictors.linear import fit_linear
from mixproof.mixtures.search.space import Space

SPACE = Space.of({"a": Fraction(1, 2), "b": Fraction(1, 2)}, {"a": Fraction(1), "b": Fraction(1)})
SHARES = np.array([[0.05 * step, 1 - 0.05 * step] for step in range(1, 17)])
NOISE = Noise(1.0, 16, 0.2, 0, "residuals")


def test_the_line_through_the_better_half_says_how_far_the_prediction_of_the_optimum_is_too_low() -> None:
    scores = 3 - SHARES[:, 0]  # from 2.95 down to 2.2, exactly linear, so halves agree
    exact = fit_linear(SHARES, scores)
    # K-fold predictions that exaggerate distances from 2.6 twofold: score = 2.6 + (predicted - 2.6) / 2
    exaggerated = 2.6 + 2 * (scores - 2.6)
    validation = Validation(1.0, 0.2, exaggerated)
    found = calibrate(exact, (SHARES, scores), (scores, validation, NOISE), SPACE, (10_000, 0))
    assert found.optimism == pytest.approx(0, abs=1e-9) and found.disagreement == pytest.approx(0, abs=1e-9)
    assert found.bias == pytest.approx(2.6 + (2.0 - 2.6) / 2 - 2.0)  # the optimum, all a, is predicted at 2.0
    # the best quarter is predicted too low by .25 to .4, but at least eight rows count: by .05 to .4
    assert found.residual == pytest.approx(np.sqrt(np.mean(np.arange(0.05, 0.41, 0.05) ** 2)))
    assert found.noise is None and found.correction == found.bias


def test_predictions_that_are_too_high_need_no_correction() -> None:
    scores = 3 - SHARES[:, 0]
    cautious = Validation(1.0, 0.1, 2.6 + (scores - 2.6) / 2)
    found = calibrate(fit_linear(SHARES, scores), (SHARES, scores), (scores, cautious, NOISE), SPACE, (10_000, 0))
    assert found.bias == 0


def test_halves_that_disagree_about_their_optima_show_optimism() -> None:
    scores = np.random.default_rng(1).normal(size=16)
    validation = Validation(0.0, 1.0, np.full(16, scores.mean()))
    repeats = Noise(1.0, 16, 0.9, 3, "repeats")
    found = calibrate(fit_linear(SHARES, scores), (SHARES, scores), (scores, validation, repeats), SPACE, (10_000, 0))
    assert found.optimism > 0.2 and found.disagreement > 0.2
    assert found.noise == 0.9 and found.degrees_of_freedom == 3
