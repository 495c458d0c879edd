"""Encode: the kept documents of one shard into ids, a Ray task a shard.

Takes a Parquet of texts and a keep-bitmap, gives `tokens.bin` (ids with EODs) and `provenance.parquet` (a row a
document) under `tokens/<key>/`, and one row of the ledger. The key is made of the texts' checksum, the
bitmap's and the tokenizer's, so a shard is encoded again only where one of these changed. Ids are checked
against the vocabulary, and so against the dtype, before they are cast: numpy would wrap silently. Texts that
encode to nothing are dropped and counted as `no_tokens`: an index cannot hold them. Batches are bounded in
bytes, so memory is, whatever the documents are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import AccountError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.manifest import TokenizerRecord
from mixproof.ledger.receipts import find_receipts
from mixproof.ledger.sealed import seal_receipts
from mixproof.ledger.store import Receipt, Store
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.columns import array_of, column_of, flags, numbers

from .dataset.indexed import append_eods, token_dtype
from .dataset.provenance import OPEN_SCHEMA, TableWriter, regroup
from .shard_tokens import PROVENANCE, STAGE, TOKENS, EncodedShard, Texts, read_kept
from .tokenizer.encoded import Encoded
from .tokenizer.engine import SAMPLE, choose_engine, load_engine, reference_of
from .tokenizer.reference import load_reference

STAGE_VERSION = 1


def encode_texts(
    texts: Sequence[Texts], tokenizer: TokenizerRecord, store: Store, cluster: Cluster, *, engine: str | None = None
) -> list[EncodedShard]:
    """Encode shards, each unless the store has it.

    Args:
        texts: the shards.
        tokenizer: what encodes them, already in the store.
        store: where tokens go.
        cluster: what runs the tasks.
        engine: what encodes; None: the fastest that is equal to the reference, which each worker tries for itself. It
            changes no byte.

    Raises:
        AccountError: E2, E3 or E5 does not close in a shard.
    """
    keys = [_key(shard, tokenizer) for shard in texts]
    known = find_receipts(store, STAGE, keys)
    missing = {key: shard for key, shard in zip(keys, texts, strict=True) if key not in known}
    calls = [(str(store), key, shard, tokenizer, engine) for key, shard in missing.items()]
    receipts = known | dict(zip(missing, cluster.run(encode_shard, calls, label="encode"), strict=True))
    seal_receipts(store, STAGE, receipts.beside)
    cluster.count(run=len(missing), reused=len(known))
    return [_finished(shard, receipts[key]) for key, shard in zip(keys, texts, strict=True)]


def _key(texts: Texts, tokenizer: TokenizerRecord) -> str:
    config = {"tokenizer": tokenizer.sha256, "eod_id": tokenizer.eod_id}
    keep = texts.keep.sha256 if texts.keep else None
    return stage_key(STAGE, STAGE_VERSION, config, {"texts": texts.sha256, "keep": keep})


def _finished(texts: Texts, receipt: Receipt) -> EncodedShard:
    (row,) = receipt.account
    facts = receipt.facts
    return EncodedShard(
        texts=texts,
        folder=f"{STAGE}/{receipt.key}",
        documents=row.documents_out,
        tokens=facts["tokens"],
        row=row,
        engine=facts["engine"],
        rechecked=facts["rechecked"],
    )


def encode_shard(store_url: str, key: str, texts: Texts, tokenizer: TokenizerRecord, engine: str | None) -> Receipt:
    """Encode one shard: the task.

    Raises:
        AccountError: E2, E3 or E5 does not close.
    """
    store = Store(store_url)
    engine = engine or choose_engine(str(store.path(tokenizer.path)))
    shard = _ShardEncoder(store, texts, tokenizer, engine)
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(TOKENS).open("wb") as out, TableWriter(attempt.path(PROVENANCE), OPEN_SCHEMA) as provenance:
            for rows in regroup(shard.encode_batch(batch, out) for batch in read_kept(store, texts)):
                provenance.write(rows)
        size = attempt.path(TOKENS).stat().st_size
        if size != shard.tokens * shard.dtype.itemsize:
            raise shard.broken("E5", f"{shard.tokens} tokens of {shard.dtype.itemsize} bytes", f"{size} bytes")
        facts = {"tokens": shard.tokens, "max_id": shard.max_id, "engine": engine, "rechecked": shard.rechecked}
        return attempt.commit(account=(shard.row(),), facts=facts)


class _ShardEncoder:
    """The account of one shard while its batches are encoded."""

    def __init__(self, store: Store, texts: Texts, tokenizer: TokenizerRecord, engine: str) -> None:
        path = str(store.path(tokenizer.path))
        self._engine = load_engine(engine, path)
        self._reference = None if engine == reference_of(path) else load_reference(path)
        self._texts, self._tokenizer = texts, tokenizer
        self.dtype = token_dtype(tokenizer.vocab_size)
        self._in, self._out = Count(documents=0, bytes=0), Count(documents=0, bytes=0)
        self.tokens, self.max_id, self.rechecked = 0, -1, 0

    def encode_batch(self, rows: pa.Table, out: BinaryIO) -> pa.Table:
        """Encode a batch, write its tokens to `out`, return its provenance."""
        texts: list[bytes] = pc.cast(rows["text"], pa.large_binary()).to_pylist()
        text_bytes = array_of(rows["text_bytes"])
        hashes = [value.hex() if isinstance(value, bytes) else value for value in rows["text_xxh128"].to_pylist()]
        self._check_texts(texts, hashes, text_bytes)
        encoded = self._engine.encode(texts)
        self._check_ids(encoded, len(texts))
        self._recheck(texts, hashes, encoded)
        full = encoded.lengths > 0
        tokens = append_eods(encoded.ids, encoded.lengths[full], self._tokenizer.eod_id, self.dtype)
        out.write(tokens.data)
        self.tokens += len(tokens)
        self._in += Count(documents=len(texts), bytes=int(text_bytes.sum()))
        self._out += Count(documents=int(full.sum()), bytes=int(text_bytes[full].sum()))
        return self._provenance(rows, hashes, encoded.lengths, full)

    def row(self) -> StageRow:
        """The shard's row of the ledger."""
        documents, text_bytes = self._in.documents - self._out.documents, self._in.bytes - self._out.bytes
        row = StageRow(
            stage="encode",
            documents_in=self._in.documents,
            documents_out=self._out.documents,
            bytes_in=self._in.bytes,
            bytes_out=self._out.bytes,
            dropped={"no_tokens": Count(documents=documents, bytes=text_bytes)} if documents else {},
        )
        return row.check(source=self._texts.source, unit=self._texts.path)

    def broken(self, equation: str, expected: object, found: object) -> AccountError:
        """The error for an equation that does not close in this shard."""
        source, unit = self._texts.source, self._texts.file or self._texts.path
        return AccountError(equation, expected, found, source=source, stage="encode", unit=unit)

    def _check_texts(self, texts: list[bytes], hashes: list[str], text_bytes: NDArray[np.int64]) -> None:
        for data, text_hash, size in zip(texts, hashes, text_bytes.tolist(), strict=True):
            if len(data) != size or xxhash.xxh3_128_hexdigest(data) != text_hash:
                raise self.broken("E3", f"a text of {size} bytes, xxh128 {text_hash}", f"another of {len(data)} bytes")

    def _check_ids(self, encoded: Encoded, texts: int) -> None:
        ids, size = encoded.ids, self._tokenizer.vocab_size
        if len(encoded.lengths) != texts or int(encoded.lengths.sum()) != len(ids):
            raise self.broken("E5", f"{texts} texts, {len(ids)} ids", f"lengths {encoded.lengths.tolist()}")
        if not len(ids):
            return
        largest = int(ids.max())
        if int(ids.min()) < 0 or largest >= size:
            raise self.broken("E5", f"ids from 0 to {size - 1}", f"ids from {int(ids.min())} to {largest}")
        if (ids == self._tokenizer.eod_id).any():
            raise self.broken("E5", f"EOD {self._tokenizer.eod_id} behind documents only", "EOD inside a document")
        self.max_id = max(self.max_id, largest, self._tokenizer.eod_id)

    def _recheck(self, texts: list[bytes], hashes: list[str], encoded: Encoded) -> None:
        if self._reference is None:
            return
        ends = np.cumsum(encoded.lengths)
        for i in (i for i, text_hash in enumerate(hashes) if int(text_hash, 16) % SAMPLE == 0):
            found = encoded.ids[ends[i] - encoded.lengths[i] : ends[i]]
            expected = self._reference.encode([texts[i].decode()]).ids
            if not np.array_equal(found, expected):
                raise self.broken("E5", f"the ids of the reference for text {hashes[i]}", "others by the fast engine")
            self.rechecked += 1

    def _provenance(
        self, rows: pa.Table, hashes: list[str], lengths: NDArray[np.int64], full: NDArray[np.bool_]
    ) -> pa.Table:
        named = "file" in rows.column_names
        columns = [
            rows["file"] if named else pa.nulls(rows.num_rows, pa.string()),
            rows["record"],
            rows["id"],
            column_of(hashes, pa.string()),
            rows["text_bytes"],
            numbers((lengths + 1).astype(np.int32)),
        ]
        return pa.table(columns, schema=OPEN_SCHEMA).filter(flags(full))
