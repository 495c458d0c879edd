"""Merged parts equal one part of unlimited size, and a damaged part is never merged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.tokenize.build import BuildResult, build
from mixproof.tokenize.dataset.merge import Merged, merge_parts

SPEC = """\
schema: 1
name: merged
sources:
  manual: {files: manual.jsonl}
heldout: {create: {min_documents: 2, tokens: 200}}
decontaminate: false
tokenizer: {sentencepiece: tok.model}
mixtures:
  all: {manual: 100%}
train:
  proxies:
    nano: {tokens: 64K, global_batch_size: 4, lr: 1e-3, min_lr: 1e-4}
"""


@pytest.fixture
def run(tmp_path: Path, model: Path, topics: list[str], store: Store, inline: Cluster) -> Callable[[int], BuildResult]:
    """Build the manual's first 30 texts into parts of at most so many bytes."""
    shutil.copy(model, tmp_path / "tok.model")
    (tmp_path / "manual.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in topics[:30]))
    (tmp_path / "spec.yaml").write_text(SPEC)
    return lambda part_bytes: build(load_spec(tmp_path / "spec.yaml"), store, inline, part_bytes=part_bytes)


def test_many_parts_merge_into_the_bytes_of_one(
    run: Callable[[int], BuildResult], store: Store, tmp_path: Path
) -> None:
    whole, cut = run(10**9).manifest, run(10_000).manifest
    parts = cut.sources["manual"].train
    assert len(parts.datasets) > 3
    (folder := tmp_path / "merged").mkdir()
    merged = merge_parts(store, cut, folder)
    assert merged[0] == Merged("manual-train", len(parts.datasets), parts.documents, parts.tokens)
    assert [one.prefix for one in merged] == ["manual-train", "manual-heldout"]
    for side, split in (("train", whole.sources["manual"].train), ("heldout", whole.sources["manual"].heldout)):
        (part,) = split.datasets
        for end in (".bin", ".idx", ".parquet"):
            assert (folder / f"manual-{side}{end}").read_bytes() == store.path(part.prefix + end).read_bytes(), end


@pytest.mark.parametrize("end", [".bin", ".idx", ".parquet"])
def test_a_damaged_part_is_named_and_not_merged(
    run: Callable[[int], BuildResult], store: Store, tmp_path: Path, end: str
) -> None:
    manifest = run(10_000).manifest
    path = store.path(manifest.sources["manual"].train.datasets[1].prefix + end)
    if end == ".parquet":  # its identity is that of its rows
        rows = pq.read_table(path)
        pq.write_table(rows.set_column(rows.column_names.index("record"), "record", pc.add(rows["record"], 1)), path)
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    (folder := tmp_path / "merged").mkdir()
    with pytest.raises(DamagedFileError, match=f"manual-train-00001{end}: whole file: SHA-256 is"):
        merge_parts(store, manifest, folder)


def test_a_missing_part_is_named(run: Callable[[int], BuildResult], store: Store, tmp_path: Path) -> None:
    manifest = run(10**9).manifest
    store.path(manifest.sources["manual"].train.datasets[0].prefix + ".idx").unlink()
    (folder := tmp_path / "merged").mkdir()
    with pytest.raises(DamagedFileError, match=r"manual-train-00000\.idx: whole file: is missing"):
        merge_parts(store, manifest, folder)
