"""Deduplication of so many shards that their records are regrouped: the same keepers, byte for byte."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import orjson
import pytest

from in_process import InProcess
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.dedup import Dedup, FuzzyDedup
from mixproof.pipeline.dedup import buckets, components, exact, loser_blocks
from mixproof.pipeline.dedup.dedup import Deduplicated, deduplicate
from mixproof.pipeline.dedup.duplicates import exact_twins, fuzzy_twins
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.documents import read_sources
from mixproof.pipeline.shuffle import document_rows, plan

RULE = Dedup(fuzzy=FuzzyDedup(bands=12, rows=3, threshold=Fraction(6, 10)))
DIRECT = 1 << 16


def write_corpus(folder: Path, seed: int) -> None:
    """Two sources of 30 texts each, of which most are copies or near copies of earlier ones."""
    chosen = random.Random(seed)  # noqa: S311  a fixed choice
    words, texts = [f"word{k}" for k in range(300)], [" ".join(f"first{k}" for k in range(60))]
    for source in "ab":
        lines = []
        for _ in range(30):
            text = chosen.choice(texts).split() if chosen.random() < 0.7 else chosen.choices(words, k=60)
            for _ in range(chosen.choice([0, 1, 1, 4])):
                text[chosen.randrange(len(text))] = chosen.choice(words)
            texts.append(" ".join(text))
            lines.append(orjson.dumps({"text": texts[-1]}) + b"\n")
        (folder / f"{source}.jsonl").write_bytes(b"".join(lines))


def run(folder: Path, store: Store, make_spec: Callable[..., Any], shard_bytes: int) -> Deduplicated:
    spec = make_spec({source: [f"{source}.jsonl"] for source in "ab"}, dedup=RULE)
    with InProcess() as cluster:
        sources = read_sources(spec, find_files(spec, folder), store, cluster, shard_bytes=shard_bytes)
        return deduplicate(spec, sources, store, cluster)


def outputs(store: Store, stage: str, name: str) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in store.root.glob(f"{stage}/*/{name}")}


def duplicates(store: Store, found: Deduplicated) -> list[tuple[Any, ...]]:
    """Search, shard and number of documents of each list, and its rows."""
    return [
        (each.search, each.shard, each.documents, twins.rows.tolist())
        for group in found.duplicates
        for each in group.lists
        for twins in [exact_twins(store, each) if each.search == "exact" else fuzzy_twins(store, each, group.shards)]
    ]


def small(monkeypatch: pytest.MonkeyPatch, openings: int, run_shards: int, fan_in: int) -> None:
    for module, name, value in (
        (plan, "MOST_OPENINGS", openings),
        (plan, "RUN_SHARDS", run_shards),
        (plan, "FAN_IN", fan_in),
        (plan, "RUN_BYTES", 2000),
        (exact, "RANGE_DOCUMENTS", 16),
        (buckets, "RANGE_RECORDS", 200),
        (document_rows, "BLOCK_BYTES", 16 * 12 * 3 * 2),
        (components, "PART_ROWS", 10),
        (loser_blocks, "SHARDS_PER_TASK", 5),
    ):
        monkeypatch.setattr(module, name, value)


def test_regrouped_records_give_the_same_forests_losers_and_bitmaps(
    tmp_path: Path, make_spec: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path, 1)
    stores = [Store(tmp_path / name) for name in ("direct", "one", "many")]
    results = []
    for store, settings in zip(stores, ((DIRECT, 128, 1024), (0, 3, 2), (0, 7, 1024)), strict=True):
        small(monkeypatch, *settings)
        results.append(run(tmp_path, store, make_spec, 2000))
    assert sum(row.documents for row in results[0].matrix) > 15
    found = [replace(result, duplicates=()) for result in results]
    assert found[1:] == found[:1] * 2
    named = [duplicates(store, result) for store, result in zip(stores, results, strict=True)]
    assert named[0] == named[1] == named[2]
    assert {search for search, *_ in named[0]} == {"exact", "fuzzy"}
    for stage, name in (("dedup", "keep.npy"), ("fuzzy", "forest.npy"), ("fuzzy", "keep.npy")):
        direct, one, many = (outputs(store, stage, name) for store in stores)
        assert direct == one == many != {}
    for stage in ("dedup", "fuzzy"):  # with many shards, blocks have lists of their own
        direct, one, many = (outputs(store, stage, "losers.npy") for store in stores)
        assert {} != direct.items() < one.items() and direct.items() < many.items()
    assert not list(stores[0].root.glob("*/*/records.bin"))
    assert list(stores[1].root.glob("*/*/records.bin"))


def test_a_regrouped_search_resumes_with_what_is_missing_and_repeats_nothing(
    tmp_path: Path, make_spec: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path, 3)
    store = Store(tmp_path / "store")
    small(monkeypatch, 0, 3, 4)
    whole = run(tmp_path, store, make_spec, 2000)
    forests = outputs(store, "fuzzy", "forest.npy")
    runs = sorted(store.root.glob("fuzzy/*/records.bin"))
    for path in runs:  # as `store gc` removes what nothing refers to
        (path.parent / "receipt.json").unlink()
        path.unlink()
    assert run(tmp_path, store, make_spec, 2000) == whole
    assert not list(store.root.glob("fuzzy/*/records.bin"))  # no forest is missing, so no run is needed
    (store.root / "fuzzy" / min(forests) / "receipt.json").unlink()
    (store.root / "fuzzy" / min(forests) / "forest.npy").unlink()
    assert run(tmp_path, store, make_spec, 2000) == whole
    assert outputs(store, "fuzzy", "forest.npy") == forests
