"""A shard's texts as UTF-8 bytes, taken from its Parquet file without making strings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
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
        for part in batches_of(opened, ["text"]):
            data, bounds = utf8_of(part.column(0))
            first = 0
            while first < len(part):
                last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + BATCH_BYTES, side="right")) - 1)
                span = data.slice(int(bounds[first]), int(bounds[last] - bounds[first])).to_pybytes()
                yield span, bounds[first : last + 1] - bounds[first]
                first = last


def batches_of(file: pq.ParquetFile, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of a shard's file, ROWS_AT_A_TIME or fewer.

    A batch is of one row group, as long texts have groups of their own; otherwise 1,000 of them would be read at once.
    """
    for group in range(file.num_row_groups):
        yield from file.iter_batches(ROWS_AT_A_TIME, row_groups=[group], columns=columns, use_threads=False)


def utf8_of(texts: pa.LargeStringArray) -> tuple[pa.Buffer, NDArray[np.int64]]:
    """The memory of texts without nulls, and int64 [texts + 1]: text i is `data[bounds[i]:bounds[i + 1]]`."""
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return pa.py_buffer(b"") if data is None else data, bounds
