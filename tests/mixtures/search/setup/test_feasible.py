"""A search that could never recommend a mixture is refused before anything is trained."""

from __future__ import annotations

from fractions import Fraction

import pytest

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.setup.feasible import check_rounds, check_space
from mixproof.mixtures.search.space import Space


def two_sources(least_a: int, most_a: int) -> Space:
    """Source a may have `least_a` to `most_a` percent; the center is in the middle."""
    middle = Fraction(least_a + most_a, 200)
    return Space.of({"a": middle, "b": 1 - middle}, {"a": Fraction(most_a, 100), "b": Fraction(100 - least_a, 100)})


def test_the_anchor_and_the_candidates_are_eight_mixtures_at_least() -> None:
    check_rounds((7,), 4)
    check_rounds((4, 3), 1)
    with pytest.raises(SpecError, match=r"--rounds: 6 candidates and the anchor are too few .* at least 7 candidates"):
        check_rounds((4, 2), 4)


def test_more_runs_than_a_predictor_can_be_fitted_to_are_refused() -> None:
    check_rounds((9_000, 996), 4)
    with pytest.raises(SpecError, match=r"9,996 candidates and 5 runs of the anchor are too many .* at most 10,000"):
        check_rounds((9_000, 996), 5)
    with pytest.raises(SpecError, match="too many to fit a predictor to"):
        check_rounds((2**63,), 4)
    with pytest.raises(SpecError, match="too many to fit a predictor to"):
        check_rounds((64,), 2**63)


def test_a_space_with_room_for_eight_mixtures_is_searched() -> None:
    check_space(two_sources(0, 100))
    check_space(two_sources(40, 54))  # 40%, 42%, ..., 54%
    check_space(
        Space.of({"a": Fraction(1, 3), "b": Fraction(1, 3), "c": Fraction(1, 3)}, dict.fromkeys("abc", Fraction(1, 2)))
    )


def test_a_space_without_room_for_eight_mixtures_is_refused_with_the_room_of_each_source() -> None:
    with pytest.raises(SpecError, match=r"leave room for 5 mixtures that differ by 2% or more.*a 54%, b 54%"):
        check_space(two_sources(46, 54))  # 46%, 48%, 50%, 52%, 54%

    third = dict.fromkeys("abc", Fraction(1, 3))
    with pytest.raises(SpecError, match="leave room for 1 mixtures"):
        check_space(Space.of(third, dict.fromkeys("abc", Fraction(3340, 10_000))))


def test_a_space_with_one_usable_source_is_refused() -> None:
    with pytest.raises(SpecError, match="at least two sources to mix, and only a can be used"):
        check_space(Space.of({"a": Fraction(1, 2), "b": Fraction(1, 2)}, {"a": Fraction(1), "b": Fraction(1, 1000)}))
