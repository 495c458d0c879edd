"""A study of measured results: weights of the objective, the space of what was run, a recommendation or none."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.choice.finalists import find_anchor
from mixproof.mixtures.search.objective import fit_objective
from mixproof.mixtures.search.observations import Mixtures, Observations
from mixproof.mixtures.search.predictors.families import families
from mixproof.mixtures.search.study import anchor_of, check_size, objective_weights, recommend_from

SHARES = np.random.default_rng(0).dirichlet([2.0, 1.0, 1.0], 40)
MIXTURES = Mixtures(("a", "b", "c"), SHARES)
SCORES = -np.log(SHARES + 0.01) @ np.array([[0.5, 0.1], [0.3, 0.1], [0.2, 0.8]])
OBSERVATIONS = Observations(MIXTURES, ("first", "second"), SCORES, tuple(map(str, range(40))))


def test_the_objective_is_the_plain_mean_or_that_of_the_named_scores() -> None:
    assert objective_weights(OBSERVATIONS, []) == {"first": 0.5, "second": 0.5}
    assert objective_weights(OBSERVATIONS, ["second"]) == {"second": 1.0}
    with pytest.raises(SpecError, match="--objective secnd: no such score; did you mean 'second'"):
        objective_weights(OBSERVATIONS, ["secnd"])


def test_too_few_different_mixtures_are_refused() -> None:
    rows = np.vstack([SHARES[:4], SHARES[:4]])
    with pytest.raises(SpecError, match="4 distinct mixtures are too few"):
        check_size(Observations(Mixtures(("a", "b", "c"), rows), ("first",), SCORES[:8, :1], tuple("12345678")))


def test_more_runs_than_a_predictor_can_be_fitted_to_are_refused_before_any_fit() -> None:
    rows, scores = np.tile(SHARES, (101, 1)), np.zeros((4040, 1))
    many = Observations(Mixtures(("a", "b", "c"), rows), ("first",), scores, tuple(map(str, range(4040))))
    with pytest.raises(SpecError, match="4,040 runs are too many for a predictor; at most 4,000"):
        check_size(many)


def test_the_best_mixture_of_the_named_score_is_a_finalist_and_its_interval_holds_the_truth() -> None:
    objective = fit_objective(families(), SHARES, SCORES[:, [0]], {"first": 1.0})
    found = recommend_from(MIXTURES, SCORES[:, [0]], objective)
    assert found.refused is None and found.choice is not None
    optimum = next(one for one in found.choice.finalists if one.kind == "optimum")
    assert optimum.shares == pytest.approx([0.505, 0.299, 0.196], abs=0.03)  # 50, 30, 20, less the .01 in the logarithm
    truth = -sum(gain * np.log(share + 0.01) for gain, share in zip([0.5, 0.3, 0.2], optimum.shares, strict=True))
    low, high = optimum.estimate.interval
    assert low < truth < high
    assert optimum.estimate.value > optimum.predicted or found.choice.calibration.correction == 0


def test_the_anchor_is_the_named_mixture_or_the_most_repeated_or_the_most_central_one() -> None:
    assert anchor_of(OBSERVATIONS, "7") == anchor_of(OBSERVATIONS, "07.0") == 7
    with pytest.raises(SpecError, match="--anchor 40: no mixture has this index"):
        anchor_of(OBSERVATIONS, "40")
    corners = np.array([[0.9, 0.1], [0.1, 0.9], [0.45, 0.55]])
    assert find_anchor(corners) == 2  # the mean is 0.483 and 0.517
    assert find_anchor(np.vstack([corners, corners[1]])) == 1


def test_scores_of_pure_noise_are_no_recommendation() -> None:
    noise = np.random.default_rng(9).normal(size=(40, 1))
    found = recommend_from(MIXTURES, noise, fit_objective(families(), SHARES, noise, {"first": 1.0}))
    assert found.choice is None and found.refused is not None


def test_mixtures_above_a_cap_are_learned_from_and_not_recommended() -> None:
    objective = fit_objective(families(), SHARES, SCORES[:, [0]], {"first": 1.0})
    caps = {"a": Fraction(3, 10)}  # the best mixture has half of a
    choice = recommend_from(MIXTURES, SCORES[:, [0]], objective, caps=caps).choice
    assert choice is not None
    assert len(choice.finalists) > 2 and all(one.shares[0] <= 0.3 + 1e-9 for one in choice.finalists)
    assert choice.region()["a"][1] <= 0.3 + 1e-9
    above = int(SHARES[:, 0].argmax())
    with pytest.raises(SpecError, match=f"--anchor {above}: this mixture exceeds a cap"):
        anchor_of(OBSERVATIONS, str(above), caps)
