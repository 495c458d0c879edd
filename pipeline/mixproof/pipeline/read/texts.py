"""A shard's texts as UTF-8 bytes, taken from its Parquet file without making strings."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.store import Store

from .shards import DOCUMENTS

BATCH_BYTES = 1 << 19
"""Bytes of text per batch, unless a document is longer: arrays made from them fit in a core's caches."""
ROWS_AT_A_TIME = 1024


def iter_texts(store: Store, folder: str, file: str = DOCUMENTS) -> Iterator[tuple[bytes, NDArray[np.int64]]]:
    """The texts of a shard, or of another of its files, in order, in batches of about BATCH_BYTES.

    Yields:
        UTF-8, and int64 [texts + 1]: text i of the batch is `data[bounds[i]:bounds[i + 1]]`.
    """
    with pq.ParquetFile(store.path(f"{folder}/{file}")) as opened:
        for part in opened.iter_batches(ROWS_AT_A_TIME, columns=["text"]):
            column = part.column(0)
            _, offsets, data = column.buffers()
            bounds = np.frombuffer(offsets, dtype=np.int64)[column.offset : column.offset + len(column) + 1]
            first = 0
            while first < len(column):
                last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + BATCH_BYTES, side="right")) - 1)
                span = data.slice(int(bounds[first]), int(bounds[last] - bounds[first])).to_pybytes()
                yield span, bounds[first : last + 1] - bounds[first]
                first = last
