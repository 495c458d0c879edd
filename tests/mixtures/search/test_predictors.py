"""Predictors: exact where the truth has their form, and better than the simpler one where it has not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from mixproof.mixtures.search.choose import rank_correlation
from mixproof.mixtures.search.predictors.families import LINEAR, PROCESS, RIDGE, TREES, families
from mixproof.mixtures.search.predictors.gaussian_process import _Posterior, fit_gaussian_process
from mixproof.mixtures.search.predictors.linear import fit_linear
from mixproof.mixtures.search.predictors.predictor import FloatArray
from mixproof.mixtures.search.predictors.ridge import _Standardized, fit_ridge, pair_features


def mixtures(count: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).dirichlet([1.0, 0.5, 0.5, 1.0], count)


def bent(shares: FloatArray) -> FloatArray:
    """A loss as they are: each source helps as the logarithm of its share, and two of them help each other."""
    logs = np.log(shares + 0.003)
    return np.asarray(5 - logs @ [0.4, 0.3, 0.1, 0.02] - 0.03 * logs[:, 0] * logs[:, 1], dtype=np.float64)


def test_a_linear_truth_is_found_exactly() -> None:
    truth = np.array([1.0, 2.0, 4.0, 8.0])
    fitted = fit_linear(mixtures(20), mixtures(20) @ truth)
    assert fitted.mean + fitted.coefficients == pytest.approx(truth)
    assert fitted.predict(np.array([[0.5, 0.5, 0, 0]]))[0] == pytest.approx(1.5)


def test_pair_features_are_logarithms_and_their_products() -> None:
    features = pair_features(np.array([[1 - 0.5, 1 - 0.5]]), 0.5)  # log 1 = 0
    assert features.tolist() == [[0, 0, 0, 0, 0]]
    a, b = np.log(0.3), np.log(0.9)
    assert pair_features(np.array([[0.2, 0.8]]), 0.1)[0] == pytest.approx([a, b, a * a, a * b, b * b])


def test_the_leave_one_out_error_is_that_of_leaving_each_row_out() -> None:
    rows, scores = mixtures(12), bent(mixtures(12))
    whole = _Standardized(rows, scores, np.ones(12), 0.003)
    left_out = []
    for place in range(12):
        others = np.arange(12) != place
        features, mean = whole.features[others], scores[others].mean()
        center = features.mean(axis=0)
        inner = (features - center) @ (features - center).T + 3.0 * np.eye(11)
        weights = np.linalg.solve(inner, scores[others] - mean)
        left_out.append(scores[place] - mean - (whole.features[place] - center) @ (features - center).T @ weights)
    assert whole.leave_one_out_error(3.0) == pytest.approx(np.mean(np.square(left_out)))


@pytest.mark.parametrize("family", families())
def test_a_score_of_little_weight_hardly_moves_a_fit_and_equal_weights_move_none(family: str) -> None:
    shares, fit = mixtures(60), families()[family]
    scores = bent(shares)
    wrong = scores + np.where(np.arange(60) == 7, 3.0, 0.0)
    weights = np.where(np.arange(60) == 7, 1e-4, 1.0)
    tested = mixtures(60)[:20]
    right = fit(shares, scores).predict(tested)
    moved, held = (np.abs(fit(shares, wrong, own).predict(tested) - right).max() for own in (None, weights))
    assert held < 0.3 * moved
    assert fit(shares, scores, np.ones(60)).predict(tested) == pytest.approx(right, abs=1e-9)


def test_a_constant_source_does_not_disturb_ridge() -> None:
    shares = np.hstack([mixtures(30) * 0.9, np.full((30, 1), 0.1)])
    assert np.isfinite(fit_ridge(shares, bent(mixtures(30))).predict(shares)).all()


def test_the_gradient_of_the_process_is_the_derivative() -> None:
    scores = bent(mixtures(25))
    weights = np.random.default_rng(4).uniform(0.2, 5.0, 25)
    posterior = _Posterior(mixtures(25), (scores - scores.mean()) / scores.std(), weights)
    at = posterior.median + np.random.default_rng(3).normal(size=len(posterior.median)) * 0.3

    def value(logs: FloatArray) -> float:
        return posterior.negative_log(logs)[0]

    numerical = approx_fprime(at, value, 1e-6)
    assert posterior.negative_log(at)[1] == pytest.approx(numerical, abs=2e-4)


def test_the_process_passes_through_scores_without_noise_and_not_through_noise() -> None:
    shares, noise = mixtures(60), np.random.default_rng(1).normal(size=60)
    clean = fit_gaussian_process(shares, bent(shares))
    assert np.abs(clean.predict(shares) - bent(shares)).max() < 0.05 * bent(shares).std()
    assert fit_gaussian_process(shares, noise).predict(shares).std() < 0.7 * noise.std()


def test_the_process_does_not_mind_scores_that_are_all_alike() -> None:
    assert fit_gaussian_process(mixtures(10), np.full(10, 3.0)).predict(mixtures(2, 1)) == pytest.approx([3.0, 3.0])


@pytest.mark.parametrize("family", [LINEAR, RIDGE, TREES, PROCESS])
def test_a_fit_repeats_itself_and_refits_to_other_rows(family: str) -> None:
    shares, scores = mixtures(40), bent(mixtures(40))
    fitted, again = (families()[family](shares, scores) for _ in range(2))
    assert fitted.predict(shares).tolist() == again.predict(shares).tolist()
    raised, same = fitted.refit(shares, scores + 1.0), fitted.refit(shares, scores)
    assert raised.predict(shares) == pytest.approx(same.predict(shares) + 1.0, abs=1e-3)
    unlike = np.abs(same.predict(shares) - fitted.predict(shares)).max() / scores.std()
    assert unlike < (0.1 if family == TREES else 1e-3)  # refitted trees have fewer rounds


def test_trees_do_not_mind_a_constant_that_float32_would_round() -> None:
    shares, scores = mixtures(40), bent(mixtures(40))
    fit = families()[TREES]
    assert fit(shares, scores + 1e4).predict(shares) == pytest.approx(
        fit(shares, scores).predict(shares) + 1e4, abs=1e-6
    )


def test_predictors_that_know_of_logarithms_and_pairs_order_such_losses_better() -> None:
    train, test = mixtures(120), mixtures(200, 1)
    order = {
        name: rank_correlation(fit(train, bent(train)).predict(test), bent(test)) for name, fit in families().items()
    }
    assert order[LINEAR] < order[TREES] < order[PROCESS]
    assert order[RIDGE] > 0.99 and order[PROCESS] > 0.99
