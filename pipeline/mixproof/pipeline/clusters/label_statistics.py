"""What the labels of a sample say about its fine clusters: which of them are pruned, and which belong together.

A fine cluster is pruned by the mean of a number, or by the share of a category's value, as CLIMB prunes clusters by
the scores of classifiers (Diao et al. 2025, arXiv:2504.13161). The mean and the share count documents. Means are exact
fractions of the numbers as they are stored, so that no order of additions changes which clusters are pruned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.mixtures.blocks.labels import Prune

ANY = 0
"""The group of fine clusters that may be merged with those of every group."""


def pruned_clusters(
    rules: Sequence[Prune], columns: Mapping[str, Sequence[Any]], fine: NDArray[np.int64], number: int
) -> NDArray[np.bool_]:
    """Which fine clusters a rule prunes.

    Args:
        rules: any of them is enough.
        columns: by name of a label, its value for each document of the sample; None: the document has none.
        fine: int64 [documents], the fine cluster of each.
        number: of fine clusters.

    Returns:
        bool [number]; false for a cluster whose documents have no number.
    """
    found = np.zeros(number, np.bool_)
    for rule in rules:
        sums, counts = [Fraction(0)] * number, [0] * number
        for cluster, value in zip(fine.tolist(), columns[rule.label], strict=True):
            if rule.is_ is not None:
                sums[cluster] += value == rule.is_
                counts[cluster] += 1
            elif value is not None:
                sums[cluster] += Fraction(value)
                counts[cluster] += 1
        for cluster, (total, count) in enumerate(zip(sums, counts, strict=True)):
            if count:
                found[cluster] |= _is_outside(rule, total / count)
    return found


def _is_outside(rule: Prune, value: Fraction) -> bool:
    return (rule.below is not None and value < rule.below) or (rule.above is not None and value > rule.above)


def groups_of(
    names: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    fine: NDArray[np.int64],
    sizes: NDArray[np.int64],
    number: int,
    clusters: int,
) -> NDArray[np.int64]:
    """The group of each fine cluster: those whose most frequent values of some labels are equal.

    Groups of less than half a mean cluster, and fine clusters whose documents have no value, are not kept apart: they
    may be merged with any other.

    Args:
        names: of the labels.
        columns: by name of a label, its value for each document of the sample.
        fine: int64 [documents], the fine cluster of each.
        sizes: int64 [documents], bytes.
        number: of fine clusters.
        clusters: the number to which they are merged.

    Returns:
        int64 [number], from 1; ANY for those that are not kept apart.
    """
    values = list(zip(*(_most_frequent(columns[name], fine, sizes, number) for name in names), strict=True))
    of_cluster = np.bincount(fine, sizes, number).astype(np.int64)
    total: Counter[tuple[str, ...]] = Counter()
    for value, size in zip(values, of_cluster.tolist(), strict=True):
        total[value] += size
    large = sorted(value for value, size in total.items() if 2 * clusters * size >= sum(total.values()))
    apart = {value: number for number, value in enumerate(large, 1) if "" not in value}
    return np.array([apart.get(value, ANY) for value in values], np.int64)


def _most_frequent(column: Sequence[Any], fine: NDArray[np.int64], sizes: NDArray[np.int64], number: int) -> list[str]:
    """The value with the most bytes in each fine cluster, the first in order of equal ones; "" where none has one."""
    bytes_of: list[Counter[str]] = [Counter() for _ in range(number)]
    for cluster, size, value in zip(fine.tolist(), sizes.tolist(), column, strict=True):
        if value is not None:
            bytes_of[cluster][str(value)] += size
    return [min(found, key=lambda value: (-found[value], value)) if found else "" for found in bytes_of]
