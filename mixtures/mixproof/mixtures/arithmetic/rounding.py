"""Rounding to whole numbers that keep their sum, by the method of largest remainders."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction


def largest_remainder(total: int, shares: Mapping[str, Fraction]) -> dict[str, int]:
    """Distribute `total` units by shares: each gets its floor, and the remaining units go to the largest remainders.

    Every count differs from its exact value by less than one unit, and the counts sum to `total`. Equal remainders are
    served in order of name, so the order of `shares` does not matter.

    Args:
        total: units to distribute, 0 or more.
        shares: exact shares by name, not negative, which sum to 1.

    Raises:
        ValueError: when `total` or a share is negative, or the shares do not sum to 1.

    """
    if total < 0 or any(share < 0 for share in shares.values()):
        raise ValueError(f"total and shares must not be negative: {total} by {dict(shares)}")
    if sum(shares.values(), Fraction(0)) != 1:
        raise ValueError(f"shares sum to {sum(shares.values(), Fraction(0))}, not to 1")
    exact = {name: total * share for name, share in shares.items()}
    counts = {name: amount.numerator // amount.denominator for name, amount in exact.items()}
    remaining = total - sum(counts.values())
    by_remainder = sorted(shares, key=lambda name: (counts[name] - exact[name], name))
    for name in by_remainder[:remaining]:
        counts[name] += 1
    assert sum(counts.values()) == total
    return counts


def ceil(value: Fraction) -> int:
    """Round up to a whole number."""
    return -(-value.numerator // value.denominator)
