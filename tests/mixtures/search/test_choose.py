"""The choice of a predictor, by what it says of rows that it was not fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from mixproof.mixtures.search.choose import assign_folds, choose, rank_correlation, validate
from mixproof.mixtures.search.objective import combine, fit_objective
from mixproof.mixtures.search.predictors.linear import fit_linear
from mixproof.mixtures.search.predictors.predictor import FloatArray


@dataclass(frozen=True)
class Memory:
    """Knows the scores that it was fitted to, and nothing else."""

    known: dict[tuple[float, ...], float]

    def predict(self, shares: FloatArray) -> FloatArray:
        """Recall, or say 0."""
        return np.array([self.known.get(tuple(row), 0.0) for row in shares.tolist()])

    def refit(self, shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> Memory:
        """Remember others."""
        return remember(shares, scores)


def remember(shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> Memory:
    return Memory({tuple(row): score for row, score in zip(shares.tolist(), scores.tolist(), strict=True)})


def shares(count: int) -> FloatArray:
    return np.random.default_rng(0).dirichlet([1.0, 1.0, 1.0], count)


def test_rank_correlation_by_hand() -> None:
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 90.0])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([3.0, 1.0, 2.0])) == pytest.approx(-0.5)
    assert rank_correlation(np.array([1.0, 1.0, 3.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(0.75**0.5)
    assert rank_correlation(np.zeros(3), np.array([1.0, 2.0, 3.0])) == 0


def test_folds_are_even_and_repeats_of_a_mixture_stay_together() -> None:
    rows = np.vstack([shares(25), shares(25)[:5], shares(25)[:5]])
    fold = assign_folds(rows)
    assert fold[:5].tolist() == fold[25:30].tolist() == fold[30:].tolist()
    assert np.bincount(fold[:25]).tolist() == [3, 3, 3, 3, 3, 2, 2, 2, 2, 2]
    assert np.bincount(assign_folds(shares(100))).tolist() == [20] * 5
    assert sorted(assign_folds(shares(4)).tolist()) == [0, 1, 2, 3]


def test_a_predictor_that_only_remembers_says_nothing_of_held_out_rows_even_of_repeats() -> None:
    rows = np.vstack([shares(20), shares(20)])
    found = validate(remember, rows, rows[:, 0], assign_folds(rows))
    assert found.rank_correlation == 0
    assert found.residual_deviation == pytest.approx(np.sqrt(np.mean(rows[:, 0] ** 2)))


def test_the_better_one_is_chosen_and_all_are_reported() -> None:
    rows = shares(40)
    choice = choose({"memory": remember, "linear": fit_linear}, rows, rows @ [1.0, 2.0, 3.0])
    assert choice.family == "linear"
    assert choice.validation.rank_correlation == pytest.approx(1)
    assert choice.validations["memory"].rank_correlation == 0
    assert choice.predictor.predict(np.array([[0.0, 0.0, 1.0]]))[0] == pytest.approx(3)


def test_a_tie_goes_to_the_simpler_one() -> None:
    rows = shares(40)
    assert choose({"first": remember, "second": remember}, rows, rows[:, 0]).family == "first"


def test_an_objective_is_the_weighted_mean_of_its_parts() -> None:
    rows = shares(40)
    scores = np.stack([rows @ [1.0, 2.0, 3.0], rows @ [9.0, 9.0, 1.0]], axis=1)
    objective = fit_objective({"linear": fit_linear}, rows, scores, {"loss": 0.75, "other": 0.25})
    assert objective.predictor.predict(np.array([[0.0, 0.0, 1.0]]))[0] == pytest.approx(0.75 * 3 + 0.25 * 1)
    assert objective.validation.rank_correlation == pytest.approx(1)
    assert objective.validation.residual_deviation == pytest.approx(0, abs=1e-9)
    refitted = objective.predictor.refit(rows, scores + np.array([0.0, 4.0]))
    assert refitted.predict(np.array([[0.0, 0.0, 1.0]]))[0] == pytest.approx(2.5 + 1)


def test_an_objective_may_weigh_some_of_the_scores_that_were_fitted() -> None:
    rows = shares(40)
    choices = {name: choose({"linear": fit_linear}, rows, rows[:, place]) for place, name in enumerate("abc")}
    objective = combine({"b": choices["b"]}, rows[:, [1]], {"b": 1.0})
    assert objective.predictor.predict(np.array([[0.2, 0.3, 0.5]]))[0] == pytest.approx(0.3)
