"""Rounding once: whole numbers whose sum is what it was, by largest remainder."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction


def largest_remainder(total: int, shares: Mapping[str, Fraction]) -> dict[str, int]:
    """Deal `total` units by shares: each gets its floor, the units left go to the largest remainders.

    No count is a whole unit away from its exact value, and the counts sum to `total`. Equal remainders are
    served by name, so that the order of `shares` never matters.

    Args:
        total: units to deal, 0 or more.
        shares: exact shares by name, none negative, summing to 1.

    Raises:
        ValueError: when `total` or a share is negative, or the shares do not sum to 1.

    """
    if total < 0 or any(share < 0 for share in shares.values()):
        raise ValueError(f"nothing negative can be dealt: {total} by {dict(shares)}")
    if sum(shares.values(), Fraction(0)) != 1:
        raise ValueError(f"shares sum to {sum(shares.values(), Fraction(0))}, not to 1")
    exact = {name: total * share for name, share in shares.items()}
    counts = {name: amount.numerator // amount.denominator for name, amount in exact.items()}
    rest = total - sum(counts.values())
    by_remainder = sorted(shares, key=lambda name: (counts[name] - exact[name], name))
    for name in by_remainder[:rest]:
        counts[name] += 1
    assert sum(counts.values()) == total
    return counts


def ceil(value: Fraction) -> int:
    """Round up to a whole number, exactly."""
    return -(-value.numerator // value.denominator)
