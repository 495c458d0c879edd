"""Parts: cut at documents, the same under every split into shards, readable by Megatron."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from megatron.core.datasets.indexed_dataset import IndexedDataset
from sentencepiece import SentencePieceProcessor

from mixproof.ledger.account import StageRow
from mixproof.ledger.errors import AccountError
from mixproof.ledger.records.datasets import DatasetRecord
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.tokenize.dataset import parts
from mixproof.tokenize.dataset.parts import make_datasets, plan_parts
from mixproof.tokenize.encode import encode_texts
from mixproof.tokenize.shard_tokens import EncodedShard, Texts
from mixproof.tokenize.tokenizer.admission import REFERENCE

WriteShard = Callable[..., Texts]


def make(
    shards: Sequence[Texts], tokenizer: TokenizerRecord, store: Store, cluster: Cluster, part_bytes: int
) -> tuple[DatasetRecord, ...]:
    encoded = encode_texts(shards, tokenizer, store, cluster)
    (datasets,) = make_datasets([("manual", "train", encoded)], tokenizer, store, cluster, part_bytes=part_bytes)
    return datasets


def split(write_shard: WriteShard, topics: Sequence[str], cuts: Sequence[int], name: str) -> list[Texts]:
    """Shards of one file, cut at the given records."""
    ranges = zip([0, *cuts], [*cuts, len(topics)], strict=True)
    return [
        write_shard(f"{name}{start}", topics[start:stop], file="manual.jsonl", first_record=start)
        for start, stop in ranges
    ]


def test_the_split_into_shards_changes_neither_bytes_nor_keys(
    topics: list[str],
    store: Store,
    tokenizer: TokenizerRecord,
    write_shard: WriteShard,
    cluster: Cluster,
) -> None:
    texts = topics[:30]
    one = make(split(write_shard, texts, [], "one"), tokenizer, store, cluster, 40_000)
    before = cluster.stages_run
    three = make(split(write_shard, texts, [7, 19], "three"), tokenizer, store, cluster, 40_000)
    assert len(one) > 2
    assert three == one
    assert cluster.stages_run - before == 3, "three shards are encoded, no part is made again"
    single = make(split(write_shard, texts, range(1, 30), "single"), tokenizer, store, cluster, 40_000)
    assert single == one


def test_provenance_names_file_record_and_id_of_every_document(
    store: Store, tokenizer: TokenizerRecord, write_shard: WriteShard, cluster: Cluster
) -> None:
    first = write_shard("first", ["one", "two"], ids=["x", None], file="a.jsonl")
    second = write_shard("second", ["three"], file="b.jsonl", first_record=70)
    (part,) = make([first, second], tokenizer, store, cluster, 1000)
    table = pq.read_table(store.path(part.provenance))
    assert table.column_names == ["document", "file", "record", "id", "text_xxh128", "text_bytes", "tokens"]
    assert [str(kind) for kind in table.schema.types] == [
        "int64", "string", "int64", "string", "string", "int64", "int32",
    ]  # fmt: skip
    rows = table.to_pydict()
    assert rows["document"] == [0, 1, 2]
    assert rows["file"] == ["a.jsonl", "a.jsonl", "b.jsonl"]
    assert rows["record"] == [0, 1, 70]
    assert rows["id"] == ["x", "a.jsonl#1", "b.jsonl#70"]
    assert rows["text_bytes"] == [3, 3, 5]
    assert sum(rows["tokens"]) == part.tokens


def test_megatron_reads_the_parts_as_sentencepiece_encodes_the_texts(
    topics: list[str],
    store: Store,
    tokenizer: TokenizerRecord,
    write_shard: WriteShard,
    cluster: Cluster,
    model: Path,
) -> None:
    processor = SentencePieceProcessor(model_file=str(model))
    shards = split(write_shard, topics[:12], [5], "s")
    datasets = make(shards, tokenizer, store, cluster, 20_000)
    found = []
    for part in datasets:
        dataset = IndexedDataset(str(store.path(part.prefix)))
        assert len(dataset) == part.documents
        found += [dataset[i].tolist() for i in range(len(dataset))]
    assert found == [[*processor.encode(text), tokenizer.eod_id] for text in topics[:12]]


def encoded_shards(store: Store, lengths: Sequence[Sequence[int]]) -> list[EncodedShard]:
    """Encoded shards of which only the lengths exist, in tokens."""
    shards = []
    for number, shard in enumerate(lengths):
        row = StageRow(stage="encode", documents_in=0, documents_out=0, bytes_in=0, bytes_out=0)
        texts = Texts("", "", None, "a.jsonl", 0, "manual")
        folder = f"{number}:{','.join(str(length) for length in shard)}"
        shards.append(EncodedShard(texts, folder, folder, len(shard), sum(shard), row, REFERENCE, 0))
    return shards


def lengths_of(shard: EncodedShard) -> list[int]:
    return [int(length) for length in shard.folder.partition(":")[2].split(",") if length]


def plan(store: Store, lengths: Sequence[Sequence[int]], limit: int, patch: pytest.MonkeyPatch) -> list[list[int]]:
    """Tokens of each document of each part."""
    shards = encoded_shards(store, lengths)
    patch.setattr(parts, "read_lengths", lambda _, shard: np.array(lengths_of(shard), np.int64))
    by_folder = {shard.folder: lengths_of(shard) for shard in shards}
    planned = plan_parts(shards, store, limit)
    return [
        [length for piece in part for length in by_folder[piece.folder][piece.start : piece.stop]] for part in planned
    ]


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([[4, 4, 4]], [[4, 4], [4]]),
        ([[4, 6, 1]], [[4, 6], [1]]),
        ([[4], [6], [1]], [[4, 6], [1]]),
        ([[4], [7]], [[4], [7]]),
        ([[11, 2]], [[11], [2]]),
        ([[2, 11], [3]], [[2], [11], [3]]),
        ([[], [5], []], [[5]]),
        ([[]], []),
    ],
)
def test_a_part_holds_whole_documents_up_to_ten_tokens(
    store: Store, monkeypatch: pytest.MonkeyPatch, lengths: list[list[int]], expected: list[list[int]]
) -> None:
    assert plan(store, lengths, 10, monkeypatch) == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shards=st.lists(st.lists(st.integers(2, 15), max_size=8), max_size=8),
    limit=st.integers(1, 30),
)
def test_parts_hold_every_document_once_and_do_not_depend_on_shards(
    store: Store, monkeypatch: pytest.MonkeyPatch, shards: list[list[int]], limit: int
) -> None:
    planned = plan(store, shards, limit, monkeypatch)
    documents = [length for shard in shards for length in shard]
    assert [length for part in planned for length in part] == documents
    assert all(sum(part) <= limit or len(part) == 1 for part in planned)
    assert planned == plan(store, [documents], limit, monkeypatch)


def test_tokens_that_are_cut_short_are_found_when_parts_are_made(
    topics: list[str], store: Store, tokenizer: TokenizerRecord, write_shard: WriteShard, cluster: Cluster
) -> None:
    (shard,) = encode_texts([write_shard("s", topics[:3])], tokenizer, store, cluster)
    path = store.path(f"{shard.folder}/tokens.bin")
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(AccountError, match=r"E5 .*source manual, stage encode, shard manual-train-00000"):
        make_datasets([("manual", "train", [shard])], tokenizer, store, cluster)
