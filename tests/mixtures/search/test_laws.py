"""Laws of mixtures with few constants, the prior to the proportional mixture, and lower confidence bounds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mixproof.mixtures.search.lower_bound import lower_bound
from mixproof.mixtures.search.optimum import find_optimum
from mixproof.mixtures.search.predictors.bimix import fit_bimix
from mixproof.mixtures.search.predictors.linear import fit_linear
from mixproof.mixtures.search.predictors.mixing_law import fit_mixing_law
from mixproof.mixtures.search.predictors.predictor import FloatArray
from mixproof.mixtures.search.prior import WithPrior, divergence
from mixproof.mixtures.search.space import UNITS, Space, shares_of


def mixtures(count: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).dirichlet(np.ones(4), count)


def test_a_mixing_law_finds_its_constants_and_predicts_beyond_its_rows() -> None:
    slopes = np.array([-2.0, 0.5, 0.1, -0.3])

    def truth(shares: FloatArray) -> FloatArray:
        return np.asarray(1.7 + np.exp(shares @ slopes), np.float64)

    law = fit_mixing_law(mixtures(30), truth(mixtures(30)))
    assert law.predict(np.eye(4)) == pytest.approx(truth(np.eye(4)), abs=0.01)
    assert law.center + law.scale * law.floor == pytest.approx(1.7, abs=0.05)
    moved = law.refit(mixtures(40, 1), truth(mixtures(40, 1)) + 1.0)
    assert moved.predict(np.eye(4)) == pytest.approx(truth(np.eye(4)) + 1.0, abs=0.01)


def test_bimix_finds_the_source_of_a_score_and_its_power() -> None:
    shares = mixtures(40)
    law = fit_bimix(shares, 0.5 + 2.0 * (shares[:, 2] + 3e-3) ** -0.2)
    assert (law.source, law.offset, law.exponent) == (2, 3e-3, 0.2)
    assert (law.floor, law.scale) == pytest.approx((0.5, 2.0))
    raised = law.refit(shares, 1.5 + 2.0 * (shares[:, 2] + 3e-3) ** -0.2)
    assert raised.floor == pytest.approx(1.5)


def test_a_score_that_no_share_changes_is_predicted_as_its_mean() -> None:
    for fit in (fit_mixing_law, fit_bimix):
        assert fit(mixtures(12), np.full(12, 3.0)).predict(mixtures(3, 1)) == pytest.approx([3.0] * 3, abs=1e-6)


def test_the_prior_moves_the_optimum_to_the_closed_form_and_within_caps() -> None:
    # linear scores a plus w KL(p || q) are lowest at p proportional to q exp(-a / w)
    scores, center = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.4, 0.3, 0.2, 0.1])
    predictor = fit_linear(mixtures(20), mixtures(20) @ scores)
    names = dict(zip("abcd", (Fraction(4, 10), Fraction(3, 10), Fraction(2, 10), Fraction(1, 10)), strict=True))
    space = Space.of(names, dict.fromkeys("abcd", Fraction(1)))
    found = shares_of([find_optimum(WithPrior(predictor, center, 2.0), space, np.zeros((0, 4), np.int64), "test")])[0]
    expected = center * np.exp(-scores / 2.0)
    assert found == pytest.approx(expected / expected.sum(), abs=0.005)
    assert divergence(found[None], center)[0] == pytest.approx(float(np.sum(found * np.log(found / center))))
    assert divergence(center[None], center)[0] == pytest.approx(0) and divergence(np.eye(4), center)[3] > 2
    capped = Space.of(names, {**dict.fromkeys("abcd", Fraction(1)), "a": Fraction(3, 10)})
    units = find_optimum(WithPrior(predictor, center, 2.0), capped, np.zeros((0, 4), np.int64), "test")
    # the others share the rest as without the cap
    rest = expected[1:] / expected[1:].sum() * 0.7
    assert np.array(units) / UNITS == pytest.approx([0.3, *rest], abs=0.005)


def test_a_mixture_far_from_all_rows_has_a_lower_bound_below_its_prediction() -> None:
    random = np.random.default_rng(2)
    shares = np.clip(0.25 + 0.02 * random.normal(size=(24, 4)), 0, 1)
    shares /= shares.sum(axis=1, keepdims=True)
    scores = shares @ np.array([1.0, 2.0, 3.0, 4.0]) + 0.05 * random.normal(size=24)
    predictor = fit_linear(shares, scores)
    pool = np.vstack([np.full(4, 0.25), np.eye(4)[1]])
    gap = predictor.predict(pool) - lower_bound(predictor, (shares, scores), pool, "test")
    assert gap[1] > 5 * gap[0] > 0
    again = lower_bound(predictor, (shares, scores), pool, "test")
    assert again.tolist() == (predictor.predict(pool) - gap).tolist()
