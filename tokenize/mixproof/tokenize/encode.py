"""Encode: the kept documents of one shard become ids; one Ray task per shard.

The input is a Parquet file of texts and a keep-bitmap. The output is `tokens.bin` (ids with EODs, and BOS where
declared) and `provenance.parquet` (one row per document) under `tokens/<key>/`, and one ledger row. The key is made of
the checksums of texts, bitmap and tokenizer, so a shard is encoded again only if one of them changed. Ids are checked
against the vocabulary, and thereby against the dtype, before they are cast, because numpy would wrap silently. Texts
that encode to no ids are dropped and counted as `no_tokens`: an index cannot hold them. Batches are bounded in bytes,
which bounds memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import AccountError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.manifest import TokenizerRecord
from mixproof.ledger.store import Receipt, Store
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import Call, run_missing
from mixproof.pipeline.columns import array_of, column_of, flags, numbers
from mixproof.pipeline.removed.pieces import Difference

from .dataset.indexed import append_eods, ends_of, token_dtype
from .dataset.provenance import OPEN_SCHEMA, TableWriter, regroup
from .shard_tokens import LEDGER_STAGE, PROVENANCE, STAGE, TOKENS, EncodedShard, Texts, read_kept
from .tokenizer.cuts import UncutTextError
from .tokenizer.encoded import Encoded
from .tokenizer.engine import SAMPLE, choose_engine, load_engine, reference_of, split_rows
from .tokenizer.rare_texts import RareTexts
from .tokenizer.reference import load_reference

STAGE_VERSION = 1


def encode_texts(
    texts: Sequence[Texts], tokenizer: TokenizerRecord, store: Store, cluster: Cluster, *, engine: str | None = None
) -> list[EncodedShard]:
    """Encode the shards that the store does not have yet.

    Args:
        texts: the shards.
        tokenizer: the tokenizer, already in the store.
        store: where tokens go.
        cluster: runs the tasks.
        engine: name of the engine. None: the fastest one that is equal to the reference; each worker tests this for
            itself. The engine does not change the output.

    Raises:
        AccountError: when E2, E3 or E5 does not hold in a shard.
    """
    keys = [_key(shard, tokenizer) for shard in texts]

    def calls(missing: dict[str, Texts]) -> list[Call]:
        return [(store, key, shard, tokenizer, engine) for key, shard in missing.items()]

    work = dict(zip(keys, texts, strict=True))
    receipts = run_missing(store, STAGE, work, calls, encode_shard, cluster, "encode", call_bytes=_text_bytes)
    return [_finished(shard, receipts[key]) for key, shard in zip(keys, texts, strict=True)]


def _text_bytes(call: Call) -> int:
    return cast(Texts, call[2]).text_bytes


def _key(texts: Texts, tokenizer: TokenizerRecord) -> str:
    config = {"tokenizer": tokenizer.sha256, **ends_of(tokenizer)}
    keep = texts.keep.sha256 if texts.keep else None
    return stage_key(STAGE, STAGE_VERSION, config, {"texts": texts.sha256, "keep": keep})


def not_encoded(shard: EncodedShard) -> list[Difference]:
    """Return where the documents are found that encoded to no ids; nothing if there are none."""
    texts = shard.texts
    kept = f"{shard.folder}/{PROVENANCE}"
    return [
        Difference(LEDGER_STAGE, reason, texts.path, texts.keep, kept, texts.file, texts.first_record, count.documents)
        for reason, count in shard.row.dropped.items()
    ]


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


def encode_shard(store: Store, key: str, texts: Texts, tokenizer: TokenizerRecord, engine: str | None) -> Receipt:
    """Encode one shard (Ray task).

    Raises:
        AccountError: when E2, E3 or E5 does not hold.
    """
    engine = engine or choose_engine(str(store.path(tokenizer.path)))
    shard = _ShardEncoder(store, texts, tokenizer, engine)
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(TOKENS).open("wb") as out, TableWriter(attempt.path(PROVENANCE), OPEN_SCHEMA) as provenance:
            for rows in regroup(shard.encode_batch(batch, out) for batch in read_kept(store, texts)):
                provenance.write(rows)
        size = attempt.path(TOKENS).stat().st_size
        if size != shard.tokens * shard.dtype.itemsize:
            raise shard.violation("E5", f"{shard.tokens} tokens of {shard.dtype.itemsize} bytes", f"{size} bytes")
        facts = {"tokens": shard.tokens, "max_id": shard.max_id, "engine": engine, "rechecked": shard.rechecked}
        return attempt.commit(account=(shard.row(),), facts=facts)


class _ShardEncoder:
    """Encodes the batches of one shard and keeps its account."""

    def __init__(self, store: Store, texts: Texts, tokenizer: TokenizerRecord, engine: str) -> None:
        path = str(store.path(tokenizer.path))
        self._engine = load_engine(engine, path)
        self._reference = None if engine == reference_of(path) else load_reference(path)
        self._rare_texts = RareTexts(load_reference(path))
        self._texts, self._tokenizer = texts, tokenizer
        self.dtype = token_dtype(tokenizer.vocab_size)
        self._in, self._out = Count(documents=0, bytes=0), Count(documents=0, bytes=0)
        self.tokens, self.max_id, self.rechecked = 0, -1, 0

    def encode_batch(self, rows: pa.Table, out: BinaryIO) -> pa.Table:
        """Encode a batch, write its tokens to `out`, and return its provenance."""
        texts: list[bytes] = pc.cast(rows["text"], pa.large_binary()).to_pylist()
        text_bytes = array_of(rows["text_bytes"])
        hashes = [value.hex() if isinstance(value, bytes) else value for value in rows["text_xxh128"].to_pylist()]
        self._check_texts(texts, hashes, text_bytes)
        try:
            encoded = self._engine.encode(texts)
        except UncutTextError as error:
            raise self._named(error, rows) from None
        self._check_ids(encoded, len(texts))
        self._recheck(rows, texts, hashes, encoded)
        kept = encoded.lengths > 0
        tokens = append_eods(
            encoded.ids, encoded.lengths[kept], self._tokenizer.eod_id, self.dtype, self._tokenizer.bos_id
        )
        out.write(tokens.data)
        self.tokens += len(tokens)
        self._in += Count(documents=len(texts), bytes=int(text_bytes.sum()))
        self._out += Count(documents=int(kept.sum()), bytes=int(text_bytes[kept].sum()))
        return self._provenance(rows, hashes, encoded.lengths, kept)

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

    def _named(self, error: UncutTextError, rows: pa.Table) -> UncutTextError:
        """The error with the document, which is a batch of its own because of its length."""
        largest = int(array_of(rows["text_bytes"]).argmax())
        file = self._texts.file or rows["file"][largest].as_py()
        record = rows["record"][largest].as_py() + self._texts.first_record
        return UncutTextError(f"source {self._texts.source}: {file} record {record}: {error}")

    def _check_texts(self, texts: list[bytes], hashes: list[str], text_bytes: NDArray[np.int64]) -> None:
        for data, text_hash, size in zip(texts, hashes, text_bytes.tolist(), strict=True):
            if len(data) != size or xxhash.xxh3_128_hexdigest(data) != text_hash:
                raise self.violation("E3", f"a text of {size} bytes, xxh128 {text_hash}", f"{len(data)} other bytes")

    def _check_ids(self, encoded: Encoded, texts: int) -> None:
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
