"""Rounding closes: every deal sums to its total, and nobody is a whole unit off."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.mixtures.arithmetic.rounding import ceil, largest_remainder


def test_the_units_left_go_to_the_largest_remainders() -> None:
    shares = {"web": Fraction("0.7"), "code": Fraction("0.2995"), "rare": Fraction("0.0005")}
    assert largest_remainder(10, shares) == {"web": 7, "code": 3, "rare": 0}
    assert largest_remainder(2000, shares) == {"web": 1400, "code": 599, "rare": 1}


def test_equal_remainders_are_served_by_name() -> None:
    thirds = {name: Fraction(1, 3) for name in ("c", "a", "b")}
    assert largest_remainder(4, thirds) == {"a": 2, "b": 1, "c": 1}
    assert largest_remainder(5, thirds) == {"a": 2, "b": 2, "c": 1}


def test_shares_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(ValueError, match="9/10"):
        largest_remainder(10, {"a": Fraction("0.9")})
    with pytest.raises(ValueError, match="negative"):
        largest_remainder(-1, {"a": Fraction(1)})


@given(
    st.integers(min_value=0, max_value=10**12),
    st.dictionaries(
        st.text(min_size=1, max_size=3), st.integers(min_value=1, max_value=10**9), min_size=1, max_size=12
    ),
    st.randoms(),
)
def test_every_deal_sums_exactly_in_any_order(total: int, parts: dict[str, int], random: object) -> None:
    whole = sum(parts.values())
    shares = {name: Fraction(part, whole) for name, part in parts.items()}
    counts = largest_remainder(total, shares)
    assert sum(counts.values()) == total
    assert all(abs(counts[name] - total * shares[name]) < 1 for name in shares)
    names = list(shares)
    random.shuffle(names)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    assert largest_remainder(total, {name: shares[name] for name in names}) == counts


@given(st.fractions())
def test_ceil_is_the_next_whole_number(value: Fraction) -> None:
    assert 0 <= ceil(value) - value < 1
