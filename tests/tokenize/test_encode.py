"""Encoding one shard: ids, account and provenance against counts by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from sentencepiece import SentencePieceProcessor

from mixproof.ledger.account import Count
from mixproof.ledger.errors import AccountError, DamagedFileError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.ledger.store import Receipt, Store
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.removed.removed import list_removed
from mixproof.tokenize import shard_tokens
from mixproof.tokenize.encode import encode_shard, encode_texts, not_encoded
from mixproof.tokenize.shard_tokens import Texts
from mixproof.tokenize.tokenizer.admission import REFERENCE

WriteShard = Callable[..., Texts]


def run(store: Store, texts: Texts, tokenizer: TokenizerRecord) -> Receipt:
    return encode_shard(store, "key", texts, tokenizer, REFERENCE)


def read_tokens(store: Store) -> list[int]:
    ids: list[int] = np.fromfile(store.path("tokens/key/tokens.bin"), np.uint16).tolist()
    return ids


def test_ids_are_sentencepieces_with_an_eod_behind_each_document(
    topics: list[str], store: Store, tokenizer: TokenizerRecord, write_shard: WriteShard, model: Path
) -> None:
    run(store, write_shard("s", topics[:5]), tokenizer)
    processor = SentencePieceProcessor(model_file=str(model))
    assert tokenizer.eod_id == processor.eos_id() == 2
    assert read_tokens(store) == [token for text in topics[:5] for token in [*processor.encode(text), 2]]


def test_only_kept_documents_are_encoded(store: Store, tokenizer: TokenizerRecord, write_shard: WriteShard) -> None:
    texts = write_shard("s", ["one", "two", "three"], keep=[True, False, True], ids=["a", "b", None])
    receipt = run(store, texts, tokenizer)
    assert receipt.account[0].documents_in == receipt.account[0].documents_out == 2
    assert receipt.account[0].bytes_in == len("one") + len("three")
    rows = pq.read_table(store.path("tokens/key/provenance.parquet")).to_pydict()
    assert (rows["record"], rows["id"], rows["text_bytes"]) == ([0, 2], ["a", None], [3, 5])
    assert rows["text_xxh128"] == [xxhash.xxh3_128_hexdigest(b"one"), xxhash.xxh3_128_hexdigest(b"three")]
    assert sum(rows["tokens"]) == len(read_tokens(store)) == receipt.facts["tokens"]


def test_a_text_that_encodes_to_nothing_is_dropped_and_counted(
    store: Store, tokenizer: TokenizerRecord, write_shard: WriteShard, whitespace_eater: TokenizerRecord
) -> None:
    receipt = run(store, write_shard("s", ["one", "  \n", "two"]), whitespace_eater)
    assert receipt.account[0].dropped == {"no_tokens": Count(documents=1, bytes=3)}
    assert receipt.account[0].documents_out == 2
    assert read_tokens(store).count(whitespace_eater.eod_id) == 2


@pytest.mark.parametrize("file", ["a.jsonl", ""])
def test_documents_without_tokens_are_in_the_list_of_removed_documents(
    store: Store, write_shard: WriteShard, whitespace_eater: TokenizerRecord, inline: Cluster, file: str
) -> None:
    texts = write_shard(
        "s", [" ", "one", "  \n", "two"], keep=[False, True, True, True], ids=list("abcd"), file=file, first_record=7
    )
    if not file:
        table = pq.read_table(store.path(texts.path))
        pq.write_table(table.add_column(0, "file", pa.array(["x", "x", "y", "y"])), store.path(texts.path))
        texts = replace(texts, sha256=sha256_of_file(store.path(texts.path)), first_record=0)
    (shard,) = encode_texts([texts], whitespace_eater, store, inline)
    (listed,) = list_removed({"manual": not_encoded(shard)}, (), store, inline)["manual"]
    row = {"stage": "encode", "reason": "no_tokens", "file": file or "y", "record": 9 if file else 2, "id": "c"}
    nothing = dict.fromkeys(["kept_source", "kept_file", "kept_record", "cosine"])
    assert pq.read_table(store.path(listed.path)).to_pylist() == [row | nothing]
    assert listed.rows == 1


def test_an_id_outside_the_vocabulary_stops_the_build_before_it_is_cast(
    store: Store, tokenizer: TokenizerRecord, write_shard: WriteShard
) -> None:
    texts = write_shard("s", ["some words"])
    with pytest.raises(AccountError, match=r"E5 .*source manual.*ids from 0 to 9"):
        run(store, texts, tokenizer.model_copy(update={"vocab_size": 10}))
    assert not store.path("tokens/key").exists()


def test_an_eod_inside_a_document_stops_the_build(
    store: Store, tokenizer: TokenizerRecord, write_shard: WriteShard, model: Path
) -> None:
    inside = SentencePieceProcessor(model_file=str(model)).encode("some words")[0]
    with pytest.raises(AccountError, match="EOD inside a document"):
        run(store, write_shard("s", ["some words"]), tokenizer.model_copy(update={"eod_id": inside}))


def test_a_text_that_is_not_the_one_that_was_read_stops_the_build(
    store: Store, tokenizer: TokenizerRecord, write_shard: WriteShard
) -> None:
    texts = write_shard("s", ["some words"])
    table = pq.read_table(store.path(texts.path))
    table = table.set_column(2, "text", [["some wordz"]])
    pq.write_table(table, store.path(texts.path))
    with pytest.raises(AccountError, match="E3"):
        run(store, texts, tokenizer)


def test_a_bitmap_of_another_shard_stops_the_build(
    store: Store, tokenizer: TokenizerRecord, write_shard: WriteShard
) -> None:
    other = write_shard("other", ["one"], keep=[True])
    texts = replace(write_shard("s", ["one", "two"]), keep=other.keep)
    assert isinstance(texts.keep, Bitmap)
    with pytest.raises(DamagedFileError, match=r"expected bool \[2\], found bool \[1\]"):
        run(store, texts, tokenizer)


def test_batches_change_no_byte(
    topics: list[str],
    store: Store,
    tokenizer: TokenizerRecord,
    write_shard: WriteShard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = write_shard("s", topics[:40])
    whole = run(store, texts, tokenizer)
    monkeypatch.setattr(shard_tokens, "BATCH_BYTES", 10_000)
    batched = run(store, texts, tokenizer)
    assert batched == whole


def test_shards_are_encoded_once_and_again_only_when_their_bitmap_changes(
    topics: list[str], store: Store, tokenizer: TokenizerRecord, write_shard: WriteShard, cluster: Cluster
) -> None:
    first, second = write_shard("first", topics[:5]), write_shard("second", topics[5:10])
    before = cluster.stages_run, cluster.stages_reused
    made = encode_texts([first, second], tokenizer, store, cluster)
    assert (cluster.stages_run - before[0], cluster.stages_reused - before[1]) == (2, 0)
    assert [shard.documents for shard in made] == [5, 5]
    assert encode_texts([first, second], tokenizer, store, cluster) == made
    assert (cluster.stages_run - before[0], cluster.stages_reused - before[1]) == (2, 2)
    fewer = replace(second, keep=write_shard("third", topics[5:10], keep=[True] * 4 + [False]).keep)
    assert [shard.documents for shard in encode_texts([first, fewer], tokenizer, store, cluster)] == [5, 4]
    assert (cluster.stages_run - before[0], cluster.stages_reused - before[1]) == (3, 3)


def test_equal_shards_share_their_tokens(
    topics: list[str], store: Store, tokenizer: TokenizerRecord, write_shard: WriteShard, cluster: Cluster
) -> None:
    first = write_shard("first", topics[:3], file="a.jsonl")
    second = write_shard("second", topics[:3], file="b.jsonl")
    made = encode_texts([first, second], tokenizer, store, cluster)
    assert made[0].folder == made[1].folder
    assert [shard.texts.file for shard in made] == ["a.jsonl", "b.jsonl"]


def test_the_tokenizer_is_kept_under_the_hash_of_its_bytes(
    store: Store, tokenizer: TokenizerRecord, model: Path
) -> None:
    kept = store.path(tokenizer.path).read_bytes()
    assert kept == model.read_bytes()
    assert tokenizer.sha256 == hashlib.sha256(kept).hexdigest()
    assert tokenizer.vocab_size == 600
