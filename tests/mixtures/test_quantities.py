"""Quantities are exact, have one spelling, and say what they are not."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.mixtures.values.quantities import (
    exact_string,
    parse_bytes,
    parse_number,
    parse_positive,
    parse_share,
    parse_tokens,
    parse_whole,
    percent_string,
)


def test_equal_amounts_are_equal_in_every_spelling() -> None:
    assert (
        parse_share("70%") == parse_share("0.7") == parse_share(Decimal("0.70")) == parse_share(0.7) == Fraction(7, 10)
    )
    assert parse_number("3.0e-4") == parse_number(0.0003) == Fraction(3, 10_000)
    assert parse_share("0.1%") != parse_share("0.1")


def test_tokens_and_bytes_have_decimal_suffixes() -> None:
    assert parse_tokens("10T") == 10 * 10**12
    assert parse_tokens("1.5B") == 1_500_000_000
    assert parse_tokens("2_000") == parse_tokens("2k") == parse_tokens(2000) == 2000
    assert parse_bytes("200MB") == 200_000_000
    assert parse_bytes("1KB") == 1000
    assert parse_whole(Decimal("8.0")) == 8


@pytest.mark.parametrize("value", ["10X", "1.0005K", "0", 0, -5, "-5", True, None, "1e3", "5MB", [], "nan"])
def test_what_is_no_number_of_tokens_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="tokens"):
        parse_tokens(value)


@pytest.mark.parametrize("value", [70, "120%", 1.01, -0.1, "-1%", True, "x", None, float("inf"), "1e400", "1/0"])
def test_what_is_no_share_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        parse_share(value)


def test_a_share_of_70_suggests_the_percentage() -> None:
    with pytest.raises(ValueError, match="write 70% for a percentage"):
        parse_share(70)


def test_whole_and_positive_numbers_refuse_what_is_too_small_or_broken() -> None:
    for value in (0, -1, Decimal("1.5"), "8", True):
        with pytest.raises(ValueError):
            parse_whole(value)
    with pytest.raises(ValueError, match="above 0"):
        parse_positive("0.0")


def test_spellings_for_people() -> None:
    assert percent_string(Fraction(7, 10)) == "70%"
    assert percent_string(Fraction(1, 3)) == "~33.3333%"
    assert exact_string(Fraction(1, 3)) == "1/3"
    assert exact_string(Fraction(3, 10_000)) == "0.0003"
    assert exact_string(Fraction(-5, 4)) == "-1.25"


@given(st.fractions(min_value=0, max_value=10**6))
def test_the_exact_spelling_reads_back_as_the_same_number(number: Fraction) -> None:
    assert parse_number(exact_string(number)) == number


@given(st.decimals(min_value=0, max_value=1, allow_nan=False, places=12))
def test_a_decimal_is_never_rounded(number: Decimal) -> None:
    assert parse_share(number) == Fraction(number)
