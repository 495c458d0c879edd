"""Encode the texts of one shard, batch by batch: ids, checks of every id, provenance, and the account.

Ids are checked against the vocabulary, and so against the dtype, before they are cast, because numpy would wrap
silently. Texts that encode to no ids are dropped and counted as `no_tokens`: an index cannot hold them.
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import AccountError
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.ledger.store import Store
from mixproof.pipeline.columns import array_of, column_of, flags, numbers

from .dataset.indexed import append_eods, token_dtype
from .dataset.provenance import OPEN_SCHEMA
from .shard_tokens import LEDGER_STAGE, Texts
from .tokenizer.cuts import UncutTextError
from .tokenizer.encoded import Encoded
from .tokenizer.engine import SAMPLE, load_engine, reference_of, split_rows
from .tokenizer.rare_texts import RareTexts
from .tokenizer.reference import load_reference


class ShardAccount:
    """The account of encoding one shard, and the checks that every way of encoding shares."""

    def __init__(self, texts: Texts, tokenizer: TokenizerRecord) -> None:
        self._texts, self._tokenizer = texts, tokenizer
        self.dtype = token_dtype(tokenizer.vocab_size)
        self._in, self._out = Count(documents=0, bytes=0), Count(documents=0, bytes=0)
        self.tokens, self.max_id = 0, -1

    def row(self) -> StageRow:
        """The shard's ledger row."""
        documents, text_bytes = self._in.documents - self._out.documents, self._in.bytes - self._out.bytes
        row = StageRow(
            stage=LEDGER_STAGE,
            documents_in=self._in.documents,
            documents_out=self._out.documents,
            bytes_in=self._in.bytes,
            bytes_out=self._out.bytes,
            dropped={"no_tokens": Count(documents=documents, bytes=text_bytes)} if documents else {},
        )
        return row.check(source=self._texts.source, unit=self._texts.path)

    def violation(self, equation: str, expected: object, found: object) -> AccountError:
        """The error for an equation that does not hold in this shard."""
        source, unit = self._texts.source, self._texts.file or self._texts.path
        return AccountError(equation, expected, found, source=source, stage="encode", unit=unit)

    def count(self, sizes: NDArray[np.int64], kept: NDArray[np.bool_]) -> None:
        """Count a batch: the UTF-8 bytes of its texts, and which of them have tokens."""
        self._in += Count(documents=len(sizes), bytes=int(sizes.sum()))
        self._out += Count(documents=int(kept.sum()), bytes=int(sizes[kept].sum()))

    def check_texts(self, texts: list[bytes], hashes: list[str], text_bytes: NDArray[np.int64]) -> None:
        """Check that the texts are those that were read (E3)."""
        for data, text_hash, size in zip(texts, hashes, text_bytes.tolist(), strict=True):
            if len(data) != size or xxhash.xxh3_128_hexdigest(data) != text_hash:
                raise self.violation("E3", f"a text of {size} bytes, xxh128 {text_hash}", f"{len(data)} other bytes")

    def check_ids(self, encoded: Encoded, texts: int) -> None:
        """Check the lengths and the range of a batch's ids, and that none is the EOD (E5)."""
        ids, size = encoded.ids, self._tokenizer.vocab_size
        if len(encoded.lengths) != texts or int(encoded.lengths.sum()) != len(ids):
            lengths = f"{len(encoded.lengths)} texts, {int(encoded.lengths.sum())} ids by their lengths"
            raise self.violation("E5", f"{texts} texts, {len(ids)} ids", lengths)
        if not len(ids):
            return
        largest = int(ids.max())
        if int(ids.min()) < 0 or largest >= size:
            raise self.violation("E5", f"ids from 0 to {size - 1}", f"ids from {int(ids.min())} to {largest}")
        if (ids == self._tokenizer.eod_id).any():
            raise self.violation("E5", f"EOD {self._tokenizer.eod_id} only after documents", "EOD inside a document")
        bos_id = self._tokenizer.bos_id
        if bos_id is not None and (ids == bos_id).any():
            raise self.violation("E5", f"BOS {bos_id} only before documents", "BOS inside a document")
        self.max_id = max(self.max_id, largest, self._tokenizer.eod_id, bos_id or 0)


def hex_hashes(column: pa.ChunkedArray) -> list[str]:
    """A column of hashes as hexadecimal digits, which shards hold as bytes and held-out sets as text."""
    return [value.hex() if isinstance(value, bytes) else value for value in column.to_pylist()]


class ShardEncoder(ShardAccount):
    """Encodes the texts of one shard."""

    def __init__(self, store: Store, texts: Texts, tokenizer: TokenizerRecord, engine: str) -> None:
        super().__init__(texts, tokenizer)
        path = str(store.path(tokenizer.path))
        self._engine = load_engine(engine, path)
        self._reference = None if engine == reference_of(path) else load_reference(path)
        self._rare_texts = RareTexts(load_reference(path))
        self.rechecked = 0

    def encode_batch(self, rows: pa.Table, out: BinaryIO) -> pa.Table:
        """Encode a batch, write its tokens to `out`, and return its provenance."""
        texts: list[bytes] = pc.cast(rows["text"], pa.large_binary()).to_pylist()
        text_bytes = array_of(rows["text_bytes"])
        hashes = hex_hashes(rows["text_xxh128"])
        self.check_texts(texts, hashes, text_bytes)
        try:
            encoded = self._engine.encode(texts)
        except UncutTextError as error:
            raise self._named(error, rows) from None
        self.check_ids(encoded, len(texts))
        self._recheck(rows, texts, hashes, encoded)
        kept = encoded.lengths > 0
        tokens = append_eods(
            encoded.ids, encoded.lengths[kept], self._tokenizer.eod_id, self.dtype, self._tokenizer.bos_id
        )
        out.write(tokens.data)
        self.tokens += len(tokens)
        self.count(text_bytes, kept)
        return self._provenance(rows, hashes, encoded.lengths, kept)

    def _named(self, error: UncutTextError, rows: pa.Table) -> UncutTextError:
        """The error with the document, which is a batch of its own because of its length."""
        largest = int(array_of(rows["text_bytes"]).argmax())
        file = self._texts.file or rows["file"][largest].as_py()
        record = rows["record"][largest].as_py() + self._texts.first_record
        return UncutTextError(f"source {self._texts.source}: {file} record {record}: {error}")

    def _recheck(self, rows: pa.Table, texts: list[bytes], hashes: list[str], encoded: Encoded) -> None:
        """Compare the ids of a sample with those of the reference: rare texts first, then one in `SAMPLE` by hash."""
        if self._reference is None:
            return
        chosen = [index for index, text_hash in enumerate(hashes) if int(text_hash, 16) % SAMPLE == 0]
        chosen = sorted({*chosen, *self._rare_texts.choose(rows["text"])})
        expected = split_rows(self._reference.encode([texts[index].decode() for index in chosen]))
        ends = np.cumsum(encoded.lengths)
        for index, ids in zip(chosen, expected, strict=True):
            if not np.array_equal(encoded.ids[ends[index] - encoded.lengths[index] : ends[index]], ids):
                raise self.violation(
                    "E5", f"the ids of the reference for text {hashes[index]}", "others by the fast engine"
                )
        self.rechecked += len(chosen)

    def _provenance(
        self, rows: pa.Table, hashes: list[str], lengths: NDArray[np.int64], kept: NDArray[np.bool_]
    ) -> pa.Table:
        has_file = "file" in rows.column_names
        columns = [
            rows["file"] if has_file else pa.nulls(rows.num_rows, pa.string()),
            rows["record"],
            rows["id"],
            column_of(hashes, pa.string()),
            rows["text_bytes"],
            numbers((lengths + self._tokenizer.around).astype(np.int32)),
        ]
        return pa.table(columns, schema=OPEN_SCHEMA).filter(flags(kept))
