"""A held-out set: its texts as a Parquet file in the store, keyed by its content.

The columns are `file`, `record`, `id`, `text`, `text_xxh128` (32 hex digits) and `text_bytes`, in the order of hashes.
The key is made from these rows, so it does not depend on shards, and other builds can import the set
(`import_heldout.py`).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.account import Count
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Store
from mixproof.ledger.store.batch import Batch
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.columns import array_of

HELDOUT = "heldout"
VERSION = 2
ROW_GROUP_ROWS = 1024

PROMPT_HASH = "prompt_xxh128"
TEXTS_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("record", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("text", pa.large_string()),
        pa.field("text_xxh128", pa.string()),
        pa.field("text_bytes", pa.int64()),
    ]
)
CONVERSATIONS_SCHEMA = pa.schema(
    [*TEXTS_SCHEMA, pa.field("marks", pa.large_string()), pa.field(PROMPT_HASH, pa.string())]
)
"""Of a set of conversations, which are in the order of their prompts' hashes."""


@dataclass(frozen=True)
class HeldoutSet:
    """A source's held-out texts."""

    source: str
    path: str
    """Of the Parquet file, relative to the store."""
    sha256: str
    """SHA-256 of the Parquet file's rows (`ledger/content.py`)."""
    documents: int
    text_bytes: int
    hashes: tuple[str, ...]
    """`text_xxh128` of each text in the order of the set, 32 hex digits each, ascending."""
    imported_from: str | None = None
    """Id of the build that the set was imported from; then its texts are not documents of this source (E4)."""

    is_marked: bool = False
    """Whether the texts are rendered conversations, with marks and the hashes of their prompts."""

    @property
    def taken(self) -> Count:
        """What the set takes from its source: nothing if it was imported."""
        if self.imported_from is not None:
            return Count(documents=0, bytes=0)
        return Count(documents=self.documents, bytes=self.text_bytes)


@dataclass(frozen=True)
class Heldout:
    """The held-out set of every source, and what remains for training."""

    texts: dict[str, HeldoutSet]
    train: dict[str, tuple[Bitmap | None, ...]]
    """For each source one bitmap per shard."""


def read_set(store: Store, source: str, path: str, sha256: str, imported_from: str | None = None) -> HeldoutSet:
    """Read the set whose texts are at `path` in the store."""
    with pq.ParquetFile(store.path(path)) as file:
        is_marked = PROMPT_HASH in file.schema_arrow.names
        columns = file.read(["text_xxh128", "text_bytes"], use_threads=False)
    return HeldoutSet(
        source=source,
        path=path,
        sha256=sha256,
        documents=columns.num_rows,
        text_bytes=int(array_of(columns["text_bytes"]).sum()),
        hashes=tuple(columns["text_xxh128"].to_pylist()),
        imported_from=imported_from,
        is_marked=is_marked,
    )


def write_set(
    store: Store, source: str, texts: pa.Table, copy_of: Path | None = None, batch: Batch | None = None
) -> tuple[str, str]:
    """Write a set's Parquet file unless the store has it.

    Args:
        store: where to write.
        source: the set's source.
        texts: its rows, with TEXTS_SCHEMA.
        copy_of: a file with these rows, to be copied so that both are equal byte for byte.
        batch: of new sets to which this one belongs; those whose receipts are sealed are written again.

    Returns:
        The file's path in the store, and the SHA-256 of its rows.
    """
    key, name = _key(source, texts), f"{source}.parquet"
    receipt = store.receipt(HELDOUT, key, sealed=batch is None)
    if receipt is None:
        with (batch or store).attempt(HELDOUT, key) as attempt:
            path = attempt.path(name)
            if copy_of is None:
                pq.write_table(texts, path, compression="zstd", compression_level=1, row_group_size=ROW_GROUP_ROWS)
            else:
                shutil.copyfile(copy_of, path)
            receipt = attempt.commit()
    return f"{HELDOUT}/{key}/{name}", receipt.files[name].content_sha256


def _key(source: str, texts: pa.Table) -> str:
    """Make the key of a set from all of its rows, with each text by its hash."""
    columns = [name for name in texts.schema.names if name != "text"]
    rows = [list(row) for row in zip(*(texts[name].to_pylist() for name in columns), strict=True)]
    return stage_key(HELDOUT, VERSION, {"source": source}, rows)
