"""The texts that matches repeat: their hashes, to compare before anything is cut, and the documents they are in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.columns import numbers
from mixproof.pipeline.read.shards import DOCUMENTS, Shard


@dataclass(frozen=True)
class Kept:
    """Where a match repeats from."""

    file: str
    record: int
    """In the whole file."""
    xxh128: str
    """xxh3_128 of the bytes there, in hexadecimal."""


def kept_texts(store: Store, shards: Mapping[int, Shard], matches: NDArray[Any]) -> list[Kept]:
    """Read what each of some matches repeats; a shard is opened once, and only the row groups that are needed.

    Args:
        store: the store.
        shards: the shards that the matches repeat from, by index in the group.
        matches: MATCH_DTYPE.
    """
    found: list[Kept | None] = [None] * len(matches)
    order = np.lexsort((matches["kept_row"], matches["shard"]))
    ordered = matches[order]
    for index, shard in shards.items():
        first, last = np.searchsorted(ordered["shard"], (index, index + 1))
        rows, starts = np.unique(ordered["kept_row"][first:last], return_index=True)
        ends = np.append(starts[1:], last - first)
        for number, file, record, text in _documents(store, shard, rows.astype(np.int64)):
            for match in order[first + starts[number] : first + ends[number]]:
                start = int(matches["kept_start"][match])
                data = text[start : start + int(matches["length"][match])]
                found[match] = Kept(file, record, xxhash.xxh3_128_hexdigest(data))
    kept = [each for each in found if each is not None]
    assert len(kept) == len(found), "a match repeats from a shard that is not given"
    return kept


def _documents(store: Store, shard: Shard, rows: NDArray[np.int64]) -> Iterator[tuple[int, str, int, bytes]]:
    """Yield index in `rows`, file, record in the whole file, and text of some rows, which ascend."""
    columns = ["record", "text"] if shard.file else ["file", "record", "text"]
    with pq.ParquetFile(store.path(f"{shard.folder}/{DOCUMENTS}")) as file:
        start = 0
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            low, high = np.searchsorted(rows, (start, end))
            if low < high:
                table = file.read_row_group(group, columns=columns).take(numbers(rows[low:high] - start))
                names = [shard.file] * len(table) if shard.file else table["file"].to_pylist()
                texts = table["text"].cast(pa.large_binary())
                for index, (name, record) in enumerate(zip(names, table["record"].to_pylist(), strict=True)):
                    yield int(low) + index, name, record + shard.first_record, texts[index].as_py()
            start = end
