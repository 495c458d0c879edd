"""The data-constrained law, against published values and by hand."""

from __future__ import annotations

import math

import pytest

from mixproof.mixtures.arithmetic.repetition import R_STAR
from mixproof.train.scaling.repetition_law import PUBLISHED


@pytest.mark.parametrize(
    ("parameters", "tokens", "unique_tokens", "loss"),
    [(6.34e9, 242e9, 25e9, 2.2256440889984477), (8.67e9, 178e9, 25e9, 2.2269634075087867)],
)
def test_the_published_law_gives_the_published_losses(
    parameters: float, tokens: float, unique_tokens: float, loss: float
) -> None:
    assert PUBLISHED.loss(parameters, tokens, unique_tokens) == pytest.approx(loss, rel=1e-15)


def test_its_constants_are_those_of_the_paper() -> None:
    assert (R_STAR, PUBLISHED.excess_parameters) == (15.387756, 5.309743)
    rounded = (PUBLISHED.irreducible, PUBLISHED.parameter_scale, PUBLISHED.token_scale)
    assert [round(value, 2) for value in rounded] == [1.87, 520.82, 1487.72]


def test_without_repetition_and_excess_it_is_a_sum_of_two_powers() -> None:
    exponent = 0.3526596
    by_hand = math.exp(0.6254804) + math.exp(6.255414) / 1e8**exponent + math.exp(7.3049974) / 1e11**exponent
    assert PUBLISHED.optimal_parameters(1e11) > 1e8
    assert PUBLISHED.loss(1e8, 1e11, 1e11) == pytest.approx(by_hand, rel=1e-12)
    assert PUBLISHED.loss(1e8, 1e11, 5e11) == PUBLISHED.loss(1e8, 1e11, 1e11)


def test_the_optimal_parameters_balance_both_terms() -> None:
    # along a line of equal compute, parameters × tokens, the loss is lowest there
    tokens = 1e11
    best = PUBLISHED.optimal_parameters(tokens)
    plain = [
        PUBLISHED.parameter_scale / (best * factor) ** 0.3526596
        + PUBLISHED.token_scale / (tokens / factor) ** 0.3526596
        for factor in (0.99, 1.0, 1.01)
    ]
    assert plain[1] < min(plain[0], plain[2])


def test_repeated_tokens_are_worth_less_than_new_ones_and_more_than_none() -> None:
    once, repeated, new = (PUBLISHED.loss(1e9, *tokens) for tokens in ((1e10, 1e10), (4e10, 1e10), (4e10, 4e10)))
    assert new < repeated < once
    assert repeated - new < (once - repeated) / 4  # four epochs are worth 3.73 new ones


def test_nothing_below_zero_has_a_loss() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        PUBLISHED.loss(1e9, 0, 1e9)
