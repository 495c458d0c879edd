"""What values a label has in a source: the most frequent ones of a category, the quantiles of a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixproof.ledger.store import Store
from mixproof.pipeline.columns import array_of

from .columns_of_rows import read_column

SHOWN_VALUES = 20
QUANTILES = (0, 5, 25, 50, 75, 95, 100)
"""In percent; 0 is the smallest and 100 the largest value."""


@dataclass(frozen=True)
class Distribution:
    """The values of one column of labels."""

    documents: int
    unlabelled: int
    """Documents that have no value."""
    values: Mapping[str, int]
    """Documents by value of a category, the most frequent first; empty for a number."""
    distinct: int
    """Number of different values of a category."""
    quantiles: Mapping[str, float]
    """Of a number, by percent; empty for a category, and where no document has a value."""


def distributions(store: Store, columns: Sequence[str], shards: Sequence[Mapping[str, str]]) -> dict[str, Distribution]:
    """The distribution of each column.

    Args:
        store: the store.
        columns: names of labels, or of their confidences.
        shards: for each shard the file of each label.
    """
    return {name: distribution([read_column(store, paths, name) for paths in shards]) for name in columns}


def distribution(columns: Sequence[pa.ChunkedArray]) -> Distribution:
    """The distribution of one column, given for each shard."""
    documents = sum(len(column) for column in columns)
    present = [pc.drop_null(column) for column in columns]
    unlabelled = documents - sum(map(len, present))
    if any(pa.types.is_string(column.type) for column in columns):
        counts: Counter[str] = Counter()
        for column in present:
            counts.update({pair["values"]: pair["counts"] for pair in pc.value_counts(column).to_pylist()})
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return Distribution(documents, unlabelled, dict(ordered[:SHOWN_VALUES]), len(counts), {})
    numbers = np.sort(np.concatenate([np.zeros(0), *(array_of(pc.cast(column, pa.float64())) for column in present)]))
    last = len(numbers) - 1
    quantiles = {str(percent): float(numbers[last * percent // 100]) for percent in QUANTILES} if last >= 0 else {}
    return Distribution(documents, unlabelled, {}, 0, quantiles)
