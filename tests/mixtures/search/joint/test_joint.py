"""Scores of two sizes, carried to a third: by hand, and against a law that is known."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.candidates import draw, generator
from mixproof.mixtures.search.choose import rank_correlation
from mixproof.mixtures.search.joint.carry import carry
from mixproof.mixtures.search.joint.process import Rows, fit_joint
from mixproof.mixtures.search.joint.sizes import SIZES, Sizes, check_sizes
from mixproof.mixtures.search.predictors.gaussian_process import fit_gaussian_process
from mixproof.mixtures.search.predictors.predictor import FloatArray
from mixproof.mixtures.search.space import Space, shares_of


def sizes(*values: tuple[float, float]) -> Sizes:
    return Sizes(SIZES, np.array(values))


def test_tokens_that_grow_with_parameters_have_no_term_of_their_own() -> None:
    assert sizes((1e6, 2e7), (1e7, 2e8), (1e8, 2e9)).terms == (0,)
    assert sizes((1e6, 2e7), (1e7, 9e8)).terms == (0,)  # two sizes cannot separate two terms
    assert sizes((1e6, 2e7), (1e6, 2e8), (1e7, 2e7)).terms == (0, 1)
    assert sizes((1e6, 2e7), (1e6, 2e8)).terms == (1,)


def test_runs_of_one_size_and_targets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SpecError, match=r"run at one size \(1,000,000 parameters, 20,000,000 tokens\)"):
        check_sizes(sizes((1e6, 2e7), (1e6, 2e7)))
    assert sizes((1e6, 2e7)).target({"tokens": 5, "parameters": 3}).tolist() == [3.0, 5.0]
    with pytest.raises(SpecError, match="--target: give tokens as well"):
        sizes((1e6, 2e7)).target({"parameters": 3})
    with pytest.raises(SpecError, match="--target token: the mixtures that were run have no column 'token'"):
        sizes((1e6, 2e7)).target({"token": 3})


def truth(shares: FloatArray, parameters: float) -> FloatArray:
    """The first source helps small models, the second large ones; at 1e9 the second matters more."""
    small = (1 - shares[:, 0]) * (parameters / 1e6) ** -0.3
    return np.asarray(2 + small + 0.3 * np.exp(-4 * shares[:, 1]), np.float64)


def test_a_law_from_two_sizes_ranks_a_third_better_than_the_larger_one_alone() -> None:
    center = {"a": Fraction(1, 2), "b": Fraction(1, 4), "c": Fraction(1, 4)}
    shares = shares_of(draw(Space.of(center, dict.fromkeys(center, Fraction(1))), 160, generator("joint")))
    runs = [1e6] * 60 + [3e7] * 40
    scores = np.array([truth(row[None], size)[0] for row, size in zip(shares[:100], runs, strict=True)])
    rows = Rows(shares[:100], sizes(*((size, 20 * size) for size in runs)), scores)
    asked, target = shares[100:], np.tile([1e9, 2e10], (60, 1))
    right = truth(asked, 1e9)
    joint = rank_correlation(fit_joint(rows).predict(asked, target), right)
    alone = rank_correlation(fit_gaussian_process(rows.shares[60:], scores[60:]).predict(asked), right)
    assert joint > 0.9 and joint > alone + 0.1
    assert rank_correlation(carry(rows, target[0]), truth(rows.shares, 1e9)) > 0.9
