"""Exact deduplication: who keeps a text, who loses it to whom, whatever the split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.ledger.account import Count
from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import MatrixRow
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.dedup import Dedup
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.bitmap import read_bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.dedup import exact
from mixproof.pipeline.dedup.dedup import Deduplicated, deduplicate
from mixproof.pipeline.dedup.exact import losers_of, range_count
from mixproof.pipeline.dedup.scope import dedup_groups
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.by_hash import HASHED_DTYPE
from mixproof.pipeline.read.documents import read_sources
from mixproof.pipeline.read.shards import SHARD_BYTES

MakeSpec = Callable[..., Spec]

TEXTS = {
    "a": {"1.jsonl": ["x", "only a", "y", "x"], "2.jsonl": ["éé", "x"]},
    "b": {"1.jsonl": ["y", "only b", "z"]},
    "c": {"1.jsonl": ["z", "x", "y", "éé", "c", "c"]},
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for source, files in TEXTS.items():
        (tmp_path / source).mkdir()
        for name, texts in files.items():
            (tmp_path / source / name).write_bytes(b"".join(orjson.dumps({"text": t}) + b"\n" for t in texts))
    return tmp_path


def run(
    corpus: Path, make_spec: MakeSpec, cluster: Cluster, rule: Dedup | None, shard_bytes: int = SHARD_BYTES
) -> tuple[dict[str, list[str]], Deduplicated]:
    """The texts that each source keeps, in order."""
    spec = make_spec({name: [f"{name}/*.jsonl"] for name in TEXTS}, dedup=rule)
    store = Store(corpus / f"store{shard_bytes}")
    sources = read_sources(spec, find_files(spec, corpus), store, cluster, shard_bytes=shard_bytes)
    result = deduplicate(spec, sources, store, cluster)
    kept: dict[str, list[str]] = {}
    for name, source in sources.items():
        kept[name] = []
        for shard, bitmap in zip(source.shards, result.keep[name], strict=True):
            texts = pq.read_table(store.path(f"{shard.folder}/documents.parquet"))["text"].to_pylist()
            keep = read_bitmap(store, bitmap, shard.documents)
            kept[name] += [text for text, stays in zip(texts, keep, strict=True) if stays]
    return kept, result


@pytest.mark.parametrize("shard_bytes", [14, 40, SHARD_BYTES])
def test_the_first_of_equal_texts_stays_and_the_matrix_says_who_lost_to_whom(
    corpus: Path, make_spec: MakeSpec, cluster: Cluster, shard_bytes: int
) -> None:
    kept, result = run(corpus, make_spec, cluster, Dedup(), shard_bytes)
    assert kept == {"a": ["x", "only a", "y", "éé"], "b": ["only b", "z"], "c": ["c"]}
    assert result.matrix == (
        MatrixRow(source="a", lost_to="a", documents=2, bytes=2),
        MatrixRow(source="b", lost_to="a", documents=1, bytes=1),
        MatrixRow(source="c", lost_to="a", documents=3, bytes=6),
        MatrixRow(source="c", lost_to="b", documents=1, bytes=1),
        MatrixRow(source="c", lost_to="c", documents=1, bytes=1),
    )
    row = result.rows["c"]
    assert (row.stage, row.documents_in, row.documents_out, row.bytes_in, row.bytes_out) == ("dedup", 6, 1, 9, 1)
    assert row.dropped == {"exact_duplicate": Count(documents=5, bytes=8)}


def test_declared_priority_comes_before_the_name(corpus: Path, make_spec: MakeSpec, cluster: Cluster) -> None:
    kept, result = run(corpus, make_spec, cluster, Dedup(keep=("c", "b")))
    assert kept == {"a": ["only a"], "b": ["only b"], "c": ["z", "x", "y", "éé", "c"]}
    assert {(row.source, row.lost_to): row.documents for row in result.matrix} == {
        ("a", "c"): 5, ("b", "c"): 2, ("c", "c"): 1,
    }  # fmt: skip


def test_scope_source_compares_within_each_source_only(corpus: Path, make_spec: MakeSpec, cluster: Cluster) -> None:
    kept, result = run(corpus, make_spec, cluster, Dedup(scope="source"))
    assert kept == {
        "a": ["x", "only a", "y", "éé"],
        "b": ["y", "only b", "z"],
        "c": ["z", "x", "y", "éé", "c"],
    }
    assert all(row.source == row.lost_to for row in result.matrix)
    assert result.keep["b"] == (None,)


def test_named_groups_compare_within_each_group(corpus: Path, make_spec: MakeSpec, cluster: Cluster) -> None:
    kept, _ = run(corpus, make_spec, cluster, Dedup(scope={"both": ("b", "c")}))
    assert kept == {"a": ["x", "only a", "y", "éé"], "b": ["y", "only b", "z"], "c": ["x", "éé", "c"]}


def test_more_ranges_of_hashes_give_the_same_result(
    corpus: Path, make_spec: MakeSpec, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, result = run(corpus, make_spec, cluster, Dedup())
    monkeypatch.setattr(exact, "RANGE_DOCUMENTS", 2)
    assert range_count(15) == 8
    more_kept, more = run(corpus, make_spec, cluster, Dedup())
    assert (more_kept, more.rows, more.matrix) == (kept, result.rows, result.matrix)
    digests = [[b and b.sha256 for b in found.keep["a"]] for found in (result, more)]
    assert digests[0] == digests[1]


def test_a_finished_deduplication_is_reused(corpus: Path, make_spec: MakeSpec, cluster: Cluster) -> None:
    first = run(corpus, make_spec, cluster, Dedup())
    before = cluster.stages_run
    assert run(corpus, make_spec, cluster, Dedup()) == first
    assert cluster.stages_run == before


def test_off_means_that_nothing_is_compared(corpus: Path, make_spec: MakeSpec, cluster: Cluster) -> None:
    for rule in (None, Dedup(exact=False)):
        _, result = run(corpus, make_spec, cluster, rule)
        assert result == Deduplicated({"a": (None, None), "b": (None,), "c": (None,)}, {}, ())


def test_groups_in_order_of_priority_and_wrong_names() -> None:
    names = ["web", "code", "books"]
    assert dedup_groups(Dedup(keep=("web",)), names) == [["web", "books", "code"]]
    assert dedup_groups(Dedup(scope="source"), names) == [["books"], ["code"], ["web"]]
    assert dedup_groups(Dedup(scope={"g": ("web", "books")}, keep=("web",)), names) == [["web", "books"], ["code"]]
    with pytest.raises(RequestError, match=r"dedup\.keep: there is no source 'wbe'; the sources are web, code, books"):
        dedup_groups(Dedup(keep=("wbe",)), names)
    with pytest.raises(RequestError, match=r"dedup\.scope: source 'web' is named twice"):
        dedup_groups(Dedup(scope={"g": ("web",), "h": ("code", "web")}), names)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(1, 2), st.integers(0, 3)), max_size=30, unique=True
    )
)
def test_losers_are_all_but_the_first_of_each_hash_and_length(rows: list[tuple[int, int, int, int]]) -> None:
    table = np.zeros(len(rows), dtype=HASHED_DTYPE)
    for place, (high, low, size, shard) in enumerate(rows):
        table[place] = (high, low, size, place, shard)
    expected = []
    for place, (high, low, size, shard) in enumerate(rows):
        equal = [(s, p) for p, (h, w, z, s) in enumerate(rows) if (h, w, z) == (high, low, size)]
        if min(equal) != (shard, place):
            expected.append((shard, min(equal)[0], size, place, min(equal)[1]))
    assert [tuple(int(value) for value in row) for row in losers_of(table)] == sorted(
        expected, key=lambda row: (row[0], row[3])
    )
