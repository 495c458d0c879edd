"""Divide a number of documents equally among sources, as far as they have them."""

from __future__ import annotations

from collections.abc import Sequence


def equal_shares(available: Sequence[int], total: int) -> list[int]:
    """How many documents to take of each source: equally many, and from larger ones what smaller ones lack.

    >>> equal_shares([5, 100, 100], 45)
    [5, 20, 20]
    """
    shares = [0] * len(available)
    remaining = total
    ordered = sorted(range(len(available)), key=lambda index: (available[index], index))
    for number, index in enumerate(ordered):
        shares[index] = min(available[index], remaining // (len(ordered) - number))
        remaining -= shares[index]
    return shares
