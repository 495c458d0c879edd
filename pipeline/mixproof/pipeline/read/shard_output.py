"""The Parquet files of a shard, the hashes of its texts, and the counts for its account.

Rows are written in groups of fixed size, so that a file's bytes depend only on the rows.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.store import Store
from mixproof.pipeline.chat.marks import Marks
from mixproof.pipeline.columns import table_of
from mixproof.pipeline.record import OTHER_PART, Raw, Reject
from mixproof.pipeline.steps import NOT_SAMPLED, Counted, StepFailedError, apply_steps

from .shards import REJECTS

ROW_GROUP_ROWS = 1024
ROW_GROUP_BYTES = 64 * 1000 * 1000
"""A group also ends at this many bytes of text, which bounds the memory for long documents."""

HASH_DTYPE = np.dtype([("high", "<u8"), ("low", "<u8"), ("bytes", "<i8"), ("row", "<i8")])
"""One document in `hashes.npy`, which is sorted by these fields: the halves of its text's xxh3_128, its
UTF-8 bytes, its row in `documents.parquet`. A range of hashes is one slice of the file."""

_FILE = pa.field("file", pa.string())
_DOCUMENT_FIELDS = [
    pa.field("record", pa.int64()),
    pa.field("id", pa.string()),
    pa.field("text", pa.large_string()),
    pa.field("text_xxh128", pa.binary(16)),
    pa.field("text_bytes", pa.int64()),
]
MARKS, PROMPT_HASH, SYSTEM_HASH = "marks", "prompt_xxh128", "system_xxh64"
_CONVERSATION_FIELDS = [pa.field(MARKS, pa.large_string()), pa.field(PROMPT_HASH, pa.binary(16))]
_DROPPED_FIELDS = [
    pa.field("record", pa.int64()),
    pa.field("id", pa.string()),
    pa.field("step", pa.string()),
    pa.field("reason", pa.string()),
]
_DROPPED_TEXT = pa.field("text", pa.large_string())
"""Null for documents that `sampler` did not draw."""
_PROMPT_FIELDS = [pa.field("text", pa.large_string()), pa.field(SYSTEM_HASH, pa.binary(8))]
_REJECT_FIELDS = [
    pa.field("record", pa.int64()),
    pa.field("line", pa.int64()),
    pa.field("reason", pa.string()),
    pa.field("detail", pa.string()),
]


class ShardOutput:
    """The Parquet files of a shard, written in groups of rows, and the counts for its account."""

    def __init__(
        self,
        documents: Path,
        rejects: Path,
        dropped: Path | None,
        *,
        grouped: bool,
        dropped_texts: bool = False,
        conversations: bool = False,
        prompts: Path | None = None,
    ) -> None:
        self._grouped, self._dropped_texts, self._conversations = grouped, dropped_texts, conversations
        files = [_FILE] if grouped else []
        self._documents = DocumentRows(documents, grouped=grouped, conversations=conversations)
        self._rejects = Rows(rejects, pa.schema(files + _REJECT_FIELDS), optional=True)
        fields = files + _DROPPED_FIELDS + ([_DROPPED_TEXT] if dropped_texts else [])
        self._dropped = None if dropped is None else Rows(dropped, pa.schema(fields))
        self._prompts = None if prompts is None else Rows(prompts, pa.schema(_PROMPT_FIELDS))
        self._rejected: Counter[str] = Counter()
        self.records = 0
        self.attributes: set[str] = set()
        """Names of the attributes of the documents."""
        self.poison: dict[int, str] = {}
        """Indices of the documents on which a step raised an error, and the error; with any, the counts are void."""
        self._read_bytes = 0

    def __enter__(self) -> ShardOutput:
        return self

    def __exit__(self, *error: object) -> None:
        self._documents.close()
        self._rejects.close()
        for more in (self._dropped, self._prompts):
            if more is not None:
                more.close()

    def take(self, item: Raw | Reject, steps: Sequence[Counted], file: str) -> None:
        """Count a record, run a document through the steps, and write its text or the reason why it is dropped."""
        self.records += 1
        head: tuple[object, ...] = (file,) if self._grouped else ()
        if isinstance(item, Reject):
            self._rejected[item.reason] += 1
            if item.reason != OTHER_PART:  # listed by that part
                self._rejects.add((*head, *item))
            return
        data = item.data
        self._read_bytes += len(data)

        def on_drop(step: str, reason: str, text: bytes) -> None:
            if self._dropped is not None:
                kept = text if self._dropped_texts and reason != NOT_SAMPLED else None
                row = (*head, item.record, item.id, step, reason)
                self._dropped.add((*row, kept) if self._dropped_texts else row, len(kept or b""))

        try:
            text = apply_steps(item, data, steps, on_drop)
        except StepFailedError as error:
            self.poison[self.records - 1] = str(error)
            return
        if text is None:
            return
        if item.marks is not None and item.prompt_hash is not None:
            self.attributes.update(Marks.from_json(item.marks).attributes)
            self._documents.add(head, item.record, item.id, text, (item.marks, item.prompt_hash))
            if self._prompts is not None and item.prompt is not None:
                self._prompts.add(item.prompt, len(item.prompt.text))
        else:
            self._documents.add(head, item.record, item.id, text)

    def read_row(self) -> StageRow:
        """The account of reading, before any step."""
        return StageRow(
            stage="read",
            documents_in=self.records,
            documents_out=self.records - self._rejected.total(),
            bytes_in=self._read_bytes,
            bytes_out=self._read_bytes,
            dropped={name: Count(documents=n, bytes=0) for name, n in sorted(self._rejected.items())},
        )

    def save_hashes(self, hashes: Path, prompts: Path) -> None:
        """Write `hashes.npy`, and `prompts.npy` if the documents are conversations."""
        self._documents.save_hashes(hashes)
        if self._conversations:
            self._documents.save_prompts(prompts)


class DocumentRows:
    """The documents of a shard, and the hashes of their texts."""

    def __init__(self, path: Path, *, grouped: bool, conversations: bool = False) -> None:
        files = [_FILE] if grouped else []
        more = _CONVERSATION_FIELDS if conversations else []
        self._rows = Rows(path, pa.schema(files + _DOCUMENT_FIELDS + more))
        self._hashes, self._prompts = bytearray(), bytearray()
        self._lengths = array("q")
        """24 bytes a document with its hash; as Python objects they would take 110, 0.7 GB for 6 million words."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add(
        self,
        head: tuple[object, ...],
        record: int,
        id_: str | None,
        text: bytes,
        conversation: tuple[()] | tuple[bytes, bytes] = (),
    ) -> None:
        """Add a document.

        Args:
            head: its file's name where the shard is a group of files, else empty.
            record: its index.
            id_: its id.
            text: its text as UTF-8.
            conversation: of a conversation, its marks and the hash of its prompt.
        """
        digest = xxhash.xxh3_128_digest(text)
        self._rows.add((*head, record, id_, text, digest, len(text), *conversation), len(text))
        self._hashes += digest
        if conversation:
            self._prompts += conversation[1]
        self._lengths.append(len(text))

    def save_hashes(self, path: Path) -> None:
        """Write `hashes.npy`."""
        self._save(path, self._hashes)

    def save_prompts(self, path: Path) -> None:
        """Write `prompts.npy`."""
        self._save(path, self._prompts)

    def _save(self, path: Path, hashes: bytearray) -> None:
        halves = np.frombuffer(hashes, dtype=">u8").reshape(-1, 2)
        lengths = np.frombuffer(self._lengths, dtype=np.int64)
        rows = np.lexsort((lengths, halves[:, 1], halves[:, 0]))  # stable, so equal documents stay in order
        table = np.empty(len(rows), dtype=HASH_DTYPE)
        table["high"], table["low"] = halves[rows, 0], halves[rows, 1]
        table["bytes"], table["row"] = lengths[rows], rows
        with path.open("wb") as file:
            np.save(file, table, allow_pickle=False)

    def close(self) -> None:
        """Write the remaining rows."""
        self._rows.close()


class Rows:
    """A Parquet file written in groups of fixed size, so that its bytes depend only on the rows.

    `optional`: without any rows there is no file.
    """

    def __init__(self, path: Path, schema: Any, *, optional: bool = False) -> None:  # noqa: ANN401 - no types
        self._path, self._schema = path, schema
        self._writer = None if optional else self._open()
        self._rows: list[tuple[object, ...]] = []
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add(self, row: tuple[object, ...], text_bytes: int = 0) -> None:
        """Add a row; `text_bytes` count towards the size of its group."""
        self._rows.append(row)
        self._bytes += text_bytes
        if len(self._rows) == ROW_GROUP_ROWS or self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write the remaining rows."""
        if self._rows:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def _open(self) -> Any:  # noqa: ANN401 - pyarrow ships no types
        options = {"compression": "zstd", "compression_level": 1, "use_dictionary": False, "write_statistics": False}
        return pq.ParquetWriter(self._path, self._schema, **options)

    def _flush(self) -> None:
        self._writer = self._writer or self._open()
        self._writer.write_table(table_of(self._rows, self._schema), row_group_size=ROW_GROUP_ROWS)
        self._rows, self._bytes = [], 0


def iter_rejects(store: Store, folder: str) -> Iterator[dict[str, Any]]:
    """The rejected records of a finished shard (`folder`: relative to the store), in order, blank lines included."""
    path = store.path(f"{folder}/{REJECTS}")
    if not path.is_file():  # nothing was rejected
        return
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROW_GROUP_ROWS):
            yield from batch.to_pylist()
