"""The participating documents of a shard, one after another."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.store import Store
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.read.shard_output import ROW_GROUP_ROWS
from mixproof.pipeline.read.shards import DOCUMENTS


def participating_documents(
    store: Store, folder: str, file: str, bitmap: str | None
) -> Iterator[tuple[int, str, int, str | None, bytes]]:
    """Yield row, file, record, id and text of each participating document.

    Args:
        store: where the shard is.
        folder: of its documents.
        file: name of the input file; "" where the documents name theirs.
        bitmap: path of the bitmap of participating rows; None: all.
    """
    keep = None if bitmap is None else load_array(store.path(bitmap), mmap_mode="r")
    columns = ["record", "id", "text"] if file else ["file", "record", "id", "text"]
    first = 0
    with pq.ParquetFile(store.path(f"{folder}/{DOCUMENTS}")) as documents:
        for batch in documents.iter_batches(ROW_GROUP_ROWS, columns=columns):
            names = [file] * len(batch) if file else batch["file"].to_pylist()
            texts = batch["text"].view(pa.large_binary())
            ids = zip(names, batch["record"].to_pylist(), batch["id"].to_pylist(), strict=True)
            for index, (name, record, id_) in enumerate(ids):
                if keep is None or keep[first + index]:
                    yield first + index, name, record, id_, texts[index].as_py()
            first += len(batch)
