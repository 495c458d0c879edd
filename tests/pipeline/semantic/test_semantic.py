"""Semantic deduplication of sources: who is dropped for whom, whatever the shards and cells, and the account."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from in_process import InProcess
from mixproof.ledger.account import Count
from mixproof.ledger.manifest import MatrixRow
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.dedup import Dedup
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.bitmap import read_bitmap
from mixproof.pipeline.dedup import components, loser_blocks
from mixproof.pipeline.dedup.dedup import deduplicate
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.documents import read_sources
from mixproof.pipeline.read.selection import Selection
from mixproof.pipeline.semantic import cell_ranges, centroids, fine_cells, large_cells, make_centroids, twin_lists
from mixproof.pipeline.semantic.semantic import DeduplicatedSemantically, deduplicate_semantically
from mixproof.pipeline.semantic.vectors import semantic_table
from mixproof.pipeline.shuffle import document_rows, plan
from static_table import TOPICS, text_of, write_table

MakeSpec = Callable[..., Spec]
RULE = {"threshold": "95%", "embedding": "table", "min_chars": 10}
SOURCES: Mapping[str, Sequence[Sequence[str]]] = {
    "blog": [
        [text_of("law", 0), "too short", text_of("sea", 1), text_of("law", 2)],
        ["x y z " * 9, "\n" * 30, text_of("food", 3)],
    ],
    "news": [[text_of("food", 4), text_of("sea", 5), "of none of the topics, nothing is known of this text"]],
}


def run(
    folder: Path,
    make_spec: MakeSpec,
    sources: Mapping[str, Sequence[Sequence[str]]] = SOURCES,
    *,
    shard_bytes: int = 10**8,
    store: str = "store",
    semantic: Mapping[str, Any] = RULE,
    **dedup: Any,  # noqa: ANN401  a spec's values
) -> tuple[dict[str, list[str]], DeduplicatedSemantically, InProcess]:
    """The texts that each source keeps, in order."""
    write_table(folder / "table")
    for name, files in sources.items():
        (folder / name).mkdir(exist_ok=True)
        for number, texts in enumerate(files):
            lines = [json.dumps({"text": text, "id": f"{name}-{number}-{row}"}) for row, text in enumerate(texts)]
            (folder / name / f"{number}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    rule = Dedup.model_validate({"semantic": dict(semantic), **dedup})
    spec = make_spec({name: [f"{name}/*.jsonl"] for name in sources}, dedup=rule)
    place, cluster = Store(folder / store), InProcess()
    with cluster:
        read = read_sources(spec, find_files(spec, folder), place, cluster, shard_bytes=shard_bytes)
        whole = deduplicate(spec, read, place, cluster)
        before = {name: whole.rows.get(name, source.ledger[-1]) for name, source in read.items()}
        selection = Selection(spec, read, whole.keep, before, place, cluster)
        found = deduplicate_semantically(selection, semantic_table(spec, folder))
    left: dict[str, list[str]] = {}
    for name, source in read.items():
        left[name] = []
        for shard, bitmap in zip(source.shards, found.keep[name], strict=True):
            texts = pq.read_table(place.path(f"{shard.folder}/documents.parquet"))["text"].to_pylist()
            keep = read_bitmap(place, bitmap, shard.documents)
            left[name] += [text for text, stays in zip(texts, keep, strict=True) if stays]
    return left, found, cluster


def listed(folder: Path, found: DeduplicatedSemantically, source: str, store: str = "store") -> list[tuple[Any, ...]]:
    table = pq.read_table(folder / store / found.twins[source].path)
    assert found.twins[source].documents == len(table)
    return [tuple(row.values()) for row in table.to_pylist()]


@pytest.mark.parametrize("shard_bytes", [80, 10**8])
@pytest.mark.parametrize("cells", [False, True])
def test_the_first_of_each_topic_stays_and_the_account_closes(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, shard_bytes: int, cells: bool
) -> None:
    if cells:  # as in a large corpus: several cells in several ranges
        monkeypatch.setattr(centroids, "ONE_CELL", 2)
        monkeypatch.setattr(cell_ranges, "RANGE_RECORDS", 4)
    left, found, _ = run(tmp_path, make_spec, shard_bytes=shard_bytes)
    blog, news = SOURCES["blog"], SOURCES["news"]
    assert left == {"blog": [*blog[0][:3], *blog[1]], "news": [news[0][2]]}
    sizes = [len(text) for text in (text_of("law", 2), text_of("food", 4), text_of("sea", 5))]
    rows = found.rows
    assert (rows["blog"].documents_in, rows["blog"].documents_out) == (7, 6)
    assert rows["blog"].dropped == {"semantic_duplicate": Count(documents=1, bytes=sizes[0])}
    assert rows["news"].dropped == {"semantic_duplicate": Count(documents=2, bytes=sizes[1] + sizes[2])}
    assert found.matrix == (
        MatrixRow(source="blog", lost_to="blog", documents=1, bytes=sizes[0]),
        MatrixRow(source="news", lost_to="blog", documents=2, bytes=sizes[1] + sizes[2]),
    )
    assert [row[:-1] for row in listed(tmp_path, found, "news")] == [
        ("0.jsonl", 0, "news-0-0", sizes[1], "blog", "1.jsonl", 2),
        ("0.jsonl", 1, "news-0-1", sizes[2], "blog", "0.jsonl", 2),
    ]
    assert all(0.95 <= row[-1] <= 1 for row in listed(tmp_path, found, "news"))
    # not compared: too short, tokens of one letter, white space, unknown words
    assert (found.twins["blog"].compared, found.twins["news"].compared) == (4, 2)


def test_the_result_has_the_same_bytes_for_any_shards(tmp_path: Path, make_spec: MakeSpec) -> None:
    results = []
    for shard_bytes in (80, 300, 10**8):
        store = f"store-{shard_bytes}"
        _, found, _ = run(tmp_path, make_spec, shard_bytes=shard_bytes, store=store)
        paths = [found.twins[name].path for name in SOURCES]
        results.append((found.rows, found.twins, [(tmp_path / store / path).read_bytes() for path in paths]))
    assert results[0] == results[1] == results[2]


def test_keep_and_scope_apply_as_to_other_duplicates(tmp_path: Path, make_spec: MakeSpec) -> None:
    left, found, _ = run(tmp_path, make_spec, keep=["news"])
    assert left["news"] == list(SOURCES["news"][0])
    assert found.rows["blog"].dropped["semantic_duplicate"].documents == 3
    left, found, _ = run(tmp_path, make_spec, scope="source", store="other")
    assert found.matrix == (MatrixRow(source="blog", lost_to="blog", documents=1, bytes=len(text_of("law", 2))),)
    left, found, _ = run(tmp_path, make_spec, semantic={**RULE, "sources": ["news"]}, store="third")
    assert set(found.twins) == {"news"} and found.rows["blog"].dropped == found.rows["news"].dropped == {}


def test_a_new_file_embeds_only_its_own_texts_and_a_new_threshold_none(tmp_path: Path, make_spec: MakeSpec) -> None:
    run(tmp_path, make_spec)
    grown = {**SOURCES, "news": [*SOURCES["news"], [text_of("law", 7)]]}
    left, found, cluster = run(tmp_path, make_spec, grown)
    assert cluster.tasks["embeddings"] == 1
    assert text_of("law", 7) not in left["news"]
    _, found, cluster = run(tmp_path, make_spec, grown, semantic={**RULE, "threshold": "100%"})
    assert cluster.tasks["embeddings"] == cluster.tasks["centroids"] == cluster.tasks["cells of embeddings"] == 0
    assert not any(row.dropped for row in found.rows.values())


@pytest.mark.parametrize(
    "texts", [["one document that is alone in its corpus"], ["  ", " \n "], [text_of("sea", 1)] * 3]
)
def test_one_document_empty_texts_and_equal_texts_are_no_special_case(
    tmp_path: Path, make_spec: MakeSpec, texts: list[str]
) -> None:
    left, found, _ = run(tmp_path, make_spec, {"web": [texts]}, exact=False, semantic={**RULE, "threshold": "1"})
    assert left["web"] == list(dict.fromkeys(texts))
    lost = found.rows["web"].dropped.get("semantic_duplicate", Count(documents=0, bytes=0))
    assert lost.documents == len(texts) - len(left["web"])
    assert [row[-1] for row in listed(tmp_path, found, "web")] == [1.0] * lost.documents


def test_fewer_documents_than_cells_and_no_compared_document(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(centroids, "ONE_CELL", 0)
    monkeypatch.setattr(centroids, "cell_count", lambda _: 50)
    left, _, _ = run(tmp_path, make_spec, {"web": [[text_of(topic, n) for topic in TOPICS for n in (0, 5)]]})
    assert left["web"] == [text_of(topic, 0) for topic in TOPICS]
    nothing = ["a b c d e f g h i j k l m n o p", "b c d e f g h i j k l m n o p q"]
    left, found, _ = run(tmp_path, make_spec, {"web": [nothing]}, store="other")
    assert left["web"] == nothing and found.twins["web"].compared == 0


def decided(
    result: tuple[dict[str, list[str]], DeduplicatedSemantically, InProcess],
) -> tuple[dict[str, list[str]], DeduplicatedSemantically]:
    """What was decided, without the files that name the duplicates."""
    left, found, _ = result
    return left, replace(found, duplicates=())


def outputs(store: Store, name: str) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in store.root.glob(f"semantic/*/{name}")}


def test_many_shards_are_regrouped_to_the_same_bytes_and_a_search_resumes_with_what_is_missing(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = random.Random(5)  # noqa: S311  a fixed choice
    words = [word for topic in TOPICS.values() for word in topic]
    texts = [" ".join(chosen.choices(words, k=chosen.choice([2, 3, 8]))) + f" number {n}" for n in range(36)]
    sources = {"a": [texts[:12], texts[12:20]], "b": [texts[20:]]}
    results = []
    settings_of = {"direct": (1 << 16, 128, 1024, 10**6), "blocks": (1 << 16, 128, 1024, 2), "one": (0, 3, 2, 2)}
    for store, (openings, run_shards, fan_in, pairs) in settings_of.items():
        for module, name, value in (
            (plan, "MOST_OPENINGS", openings),
            (plan, "RUN_SHARDS", run_shards),
            (plan, "FAN_IN", fan_in),
            (plan, "RUN_BYTES", 500),
            (large_cells, "TASK_PAIRS", pairs),
            (large_cells, "BLOCK_DOCUMENTS", 2),
            (twin_lists, "PART_ROWS", pairs),
            (document_rows, "BLOCK_BYTES", 16 * 8 * 2),
            (cell_ranges, "RANGE_RECORDS", 8),
            (centroids, "ONE_CELL", 2),
            (make_centroids, "SHARDS_PER_TASK", 4),
            (components, "PART_ROWS", 4),
            (loser_blocks, "SHARDS_PER_TASK", 5),
        ):
            monkeypatch.setattr(module, name, value)
        results.append(decided(run(tmp_path, make_spec, sources, shard_bytes=160, store=store, keep=["b"])))
    assert results[0] == results[1] == results[2]
    assert sum(row.documents for row in results[0][1].matrix) > 4
    direct, blocks, one = (Store(tmp_path / name) for name in settings_of)
    for name in ("centroids.npy", "keep.npy", "twins.parquet"):
        assert outputs(direct, name) == outputs(blocks, name) == outputs(one, name) != {}
    assert len(outputs(blocks, "part.parquet")) > 2 and not outputs(direct, "part.parquet")
    ranges = outputs(direct, "forest.npy")  # beside these are the forests of blocks of large cells
    assert ranges.items() < outputs(blocks, "forest.npy").items() == outputs(one, "forest.npy").items()
    for name in ("losers.npy", "cosines.npy"):  # with many shards, blocks have lists of their own
        assert {} != outputs(direct, name).items() < outputs(one, name).items()
    assert len(outputs(one, "forest.npy")) > 4 and len(outputs(one, "losers.npy")) > 2
    assert not list(direct.root.glob("semantic/*/records.bin"))
    for name in ("records.bin", "sample.npy"):  # as `store gc` removes what nothing refers to
        paths = list(one.root.glob(f"semantic/*/{name}"))
        assert paths
        for path in paths:
            (path.parent / "receipt.json").unlink(missing_ok=True)
            path.unlink()
    forests = outputs(one, "forest.npy")
    again = run(tmp_path, make_spec, sources, shard_bytes=160, store="one", keep=["b"])
    assert decided(again) == results[0]
    assert not list(one.root.glob("semantic/*/records.bin"))  # no forest is missing, so no run is needed
    lost = one.root / "semantic" / min(ranges)
    (lost / "forest.npy").unlink()
    assert decided(run(tmp_path, make_spec, sources, shard_bytes=160, store="one", keep=["b"])) == results[0]
    assert outputs(one, "forest.npy") == forests


def test_cells_that_are_divided_find_the_same_in_any_shards_and_connect_what_one_cell_does(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = random.Random(7)  # noqa: S311  a fixed choice
    texts = [" ".join(chosen.choices(TOPICS[topic], k=9)) + f" number {n}" for n in range(20) for topic in TOPICS]
    sources = {"a": [texts[:20], texts[20:]]}
    left, _, _ = run(tmp_path, make_spec, sources, store="whole")
    for module, name, value in (
        (centroids, "ONE_CELL", 2),
        (centroids, "MOST_CELLS", 4),
        (fine_cells, "FEW", 8),
        (fine_cells, "FINE_CELL", 16),
        (fine_cells, "TASK_SAMPLE", 20),
        (fine_cells, "SAMPLE_PER_CELL", 4),
        (make_centroids, "SHARDS_PER_TASK", 3),
        (cell_ranges, "RANGE_RECORDS", 50),
    ):
        monkeypatch.setattr(module, name, value)
    results = []
    for store, shard_bytes, openings in (("one", 10**8, 1 << 16), ("many", 300, 1 << 16), ("regrouped", 300, 0)):
        monkeypatch.setattr(plan, "MOST_OPENINGS", openings)
        results.append(decided(run(tmp_path, make_spec, sources, shard_bytes=shard_bytes, store=store)))
        assert 4 < len(np.load(next((tmp_path / store).glob("semantic/*/fine.npy")))) < 30
    assert results[0][0] == results[1][0] == results[2][0] == left
    assert results[0][1].twins == results[1][1].twins and results[1] == results[2]
    assert 3 <= len(left["a"]) < len(texts)
