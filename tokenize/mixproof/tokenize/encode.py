"""Encode: the kept documents of one shard become ids; one Ray task per shard, or for several small ones.

The input is a Parquet file of texts and a keep-bitmap. The output is `tokens.bin` (ids with EODs, and BOS where
declared) and `provenance.parquet` (one row per document) under `tokens/<key>/`, and one ledger row. The key is made of
the checksums of texts, bitmap and tokenizer, so a shard is encoded again only if one of them changed. Batches are
bounded in bytes, which bounds memory. Conversations also get `tokens.mask`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.ledger.store import Receipt, Store
from mixproof.ledger.store.batch import Outputs, open_batch
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import Call, run_missing
from mixproof.pipeline.read.batches import SHARDS_PER_TASK, share_tasks
from mixproof.pipeline.removed.pieces import Difference

from .dataset.indexed import ends_of
from .dataset.provenance import OPEN_SCHEMA, TableWriter, regroup
from .marked_shard import MarkedShardEncoder
from .shard_encoder import ShardEncoder
from .shard_tokens import LEDGER_STAGE, MASK, PROVENANCE, STAGE, TOKENS, EncodedShard, Texts, read_kept
from .tokenizer.engine import choose_engine, reference_of

STAGE_VERSION = 1
TASK_BYTES = 4_000_000
"""Small shards share a task up to this many bytes of text, half a second of work."""
MARKED_VERSION = 1
"""Raised when the same conversations get other ids, masks or provenance."""


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
        shared = share_tasks(
            missing.items(), lambda item: item[1].text_bytes, most_bytes=TASK_BYTES, most_items=SHARDS_PER_TASK
        )
        return [(store, batch, tokenizer, engine) for batch in shared]

    work = dict(zip(keys, texts, strict=True))
    receipts = run_missing(store, STAGE, work, calls, encode_shards, cluster, "encode", call_bytes=_text_bytes)
    return [_finished(shard, receipts[key]) for key, shard in zip(keys, texts, strict=True)]


def _text_bytes(call: Call) -> int:
    return sum(texts.text_bytes for _, texts in cast(Sequence[tuple[str, Texts]], call[1]))


def _key(texts: Texts, tokenizer: TokenizerRecord) -> str:
    config: dict[str, object] = {"tokenizer": tokenizer.sha256, **ends_of(tokenizer)}
    if texts.kind is not None:
        config |= {"kind": texts.kind, "attributes": texts.attributes, "version": MARKED_VERSION}
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
        output=f"{STAGE}/{receipt.key}",
        folder=receipt.folder,
        documents=facts.get("documents", row.documents_out),
        tokens=facts["tokens"],
        row=row,
        engine=facts["engine"],
        rechecked=facts["rechecked"],
        supervised_tokens=facts.get("supervised_tokens"),
    )


def encode_shards(
    store: Store, shards: Sequence[tuple[str, Texts]], tokenizer: TokenizerRecord, engine: str | None
) -> None:
    """Encode some shards, each under its key (Ray task).

    Raises:
        AccountError: when E2, E3 or E5 does not hold.
    """
    missing = [each for each in shards if store.receipt(STAGE, each[0], sealed=False) is None]  # a task may have died
    if missing:
        with open_batch(store, STAGE, [key for key, _ in missing], packs=True) as outputs:
            for key, texts in missing:
                encode_shard(store, key, texts, tokenizer, engine, outputs)


def encode_shard(
    store: Store,
    key: str,
    texts: Texts,
    tokenizer: TokenizerRecord,
    engine: str | None,
    outputs: Outputs | None = None,
) -> Receipt:
    """Encode one shard.

    Raises:
        AccountError: when E2, E3 or E5 does not hold.
    """
    if texts.kind is not None:
        return _encode_conversations(store, key, texts, tokenizer, outputs or store)
    engine = engine or choose_engine(str(store.path(tokenizer.path)))
    shard = ShardEncoder(store, texts, tokenizer, engine)
    with (outputs or store).attempt(STAGE, key) as attempt:
        with attempt.path(TOKENS).open("wb") as out, TableWriter(attempt.path(PROVENANCE), OPEN_SCHEMA) as provenance:
            for rows in regroup(shard.encode_batch(batch, out) for batch in read_kept(store, texts)):
                provenance.write(rows)
        size = attempt.path(TOKENS).stat().st_size
        if size != shard.tokens * shard.dtype.itemsize:
            raise shard.violation("E5", f"{shard.tokens} tokens of {shard.dtype.itemsize} bytes", f"{size} bytes")
        facts = {"tokens": shard.tokens, "max_id": shard.max_id, "engine": engine, "rechecked": shard.rechecked}
        return attempt.commit(account=(shard.row(),), facts=facts)


def _encode_conversations(
    store: Store, key: str, texts: Texts, tokenizer: TokenizerRecord, outputs: Outputs
) -> Receipt:
    """Encode one shard of conversations, by the reference of the tokenizer, because only it places tokens in a text."""
    shard = MarkedShardEncoder(store, texts, tokenizer)
    documents = 0
    with outputs.attempt(STAGE, key) as attempt:
        with (
            attempt.path(TOKENS).open("wb") as out,
            attempt.path(MASK).open("wb") as mask,
            TableWriter(attempt.path(PROVENANCE), shard.schema) as provenance,
        ):
            for rows in regroup(shard.encode_batch(batch, out, mask) for batch in read_kept(store, texts)):
                provenance.write(rows)
                documents += rows.num_rows
        sizes = [attempt.path(name).stat().st_size for name in (TOKENS, MASK)]
        if sizes != [shard.tokens * shard.dtype.itemsize, shard.tokens]:
            raise shard.violation("E5", f"{shard.tokens} tokens and their mask", f"files of {sizes} bytes")
        facts = {
            "documents": documents,
            "tokens": shard.tokens,
            "supervised_tokens": shard.supervised_tokens,
            "max_id": shard.max_id,
            "engine": reference_of(str(store.path(tokenizer.path))),
            "rechecked": 0,
        }
        return attempt.commit(account=(shard.row(),), facts=facts)
