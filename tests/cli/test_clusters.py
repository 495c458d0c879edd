"""A source divided into clusters: the same with any shards and workers, and a new file is assigned to the old ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from in_process import InProcess
from mixproof.cli.commands.audit import audit_target
from mixproof.cli.commands.build import run_build
from mixproof.cli.request import open_request
from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.mixtures.errors import SpecError
from mixproof.pipeline.cluster.cluster import Cluster
from static_table import TOPICS, text_of, write_table

SPEC = """\
schema: 1
name: clusters
sources: {all: {files: "web-*.jsonl", split_by: {clusters: {number: 3, embedding: table}}}}
heldout: {create: {tokens: 1, min_documents: 1}}
decontaminate: false
tokenizer: {train: {vocab_size: 300, bytes: 1MB}}
mixtures: {whole: {all: 100%}}
train: {sequence_length: 16, proxies: {nano: {tokens: 512, global_batch_size: 4, lr: 1e-3}}}
"""


def write_file(path: Path, first: int) -> None:
    rows = [
        {"text": text_of(topic, number), "id": f"{topic}-{number}"}
        for number in range(first, first + 12)
        for topic in TOPICS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def build(folder: Path, spec: str = SPEC, cluster: Cluster | None = None, **options: Any) -> tuple[Path, Manifest]:  # noqa: ANN401
    (folder / "spec.yaml").write_text(spec)
    with InProcess() as own:
        result = run_build(open_request(folder / "spec.yaml", str(folder / "store")), cluster or own, **options)
    return result.manifest_path, result.manifest


def cells(folder: Path, manifest: Manifest) -> dict[str, str]:
    """The part of each document, by id."""
    return {
        row["id"]: name
        for name, source in manifest.sources.items()
        for part in (*source.train.datasets, *source.heldout.datasets)
        for row in pq.read_table(folder / "store" / part.provenance).to_pylist()
        if row["label.cluster"] == name.removeprefix("all/")
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Manifest]:
    folder = tmp_path_factory.mktemp("clusters")
    write_table(folder / "table")
    write_file(folder / "web-0.jsonl", 0)
    write_file(folder / "web-1.jsonl", 12)
    return folder, *build(folder)


def test_each_topic_is_a_cluster_named_by_its_words(built: tuple[Path, Path, Manifest]) -> None:
    folder, path, manifest = built
    found = cells(folder, manifest)
    assert len(found) == 72
    parts = {topic: {part for name, part in found.items() if name.startswith(topic)} for topic in TOPICS}
    assert all(len(part) == 1 for part in parts.values()) and len(set.union(*parts.values())) == 3
    for topic, (part,) in parts.items():
        name, *words = part.removeprefix("all/").split("-")
        assert name in ("c01", "c02", "c03") and set(words) <= set(TOPICS[topic])
    (axis,) = manifest.cells["all"].axes
    assert axis.clusters is not None
    stated = json.loads((folder / "store" / axis.clusters.path).read_bytes())
    assert [cluster["name"] for cluster in stated["clusters"]] == sorted(axis.cells)
    assert audit_target(str(path), str(folder / "store"), "bytes").ok


def test_two_workers_and_small_shards_give_the_same_build(
    built: tuple[Path, Path, Manifest], tmp_path: Path, cluster: Cluster
) -> None:
    for name in ("web-0.jsonl", "web-1.jsonl"):
        (tmp_path / name).write_bytes((built[0] / name).read_bytes())
    write_table(tmp_path / "table")
    assert build(tmp_path, cluster=cluster, shard_bytes=1500)[1] == built[2]


def test_a_new_file_is_assigned_to_the_clusters_of_a_build_and_moves_no_document(
    built: tuple[Path, Path, Manifest], tmp_path: Path
) -> None:
    folder, path, manifest = built
    for name in ("web-0.jsonl", "web-1.jsonl"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    write_table(tmp_path / "table")
    write_file(tmp_path / "web-2.jsonl", 24)
    spec = SPEC.replace("{number: 3, ", f"{{from: {path}, ")
    later = build(tmp_path, spec)[1]
    found, before = cells(tmp_path, later), cells(folder, manifest)
    assert {name: found[name] for name in before} == before and len(found) == 108
    assert str(path) not in later.to_bytes().decode()
    write_table(tmp_path / "table", dimensions=9)
    with pytest.raises(RequestError, match="were found with another token table"):
        build(tmp_path, spec)


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("number: 3", "number: 1", SpecError, "1 is not a whole number of at least 2"),
        ("number: 3", "count: 3", SpecError, "unknown key"),
        ("number: 3, ", "", SpecError, "needs exactly one of `number` and `from`"),
        ("embedding: table", "embedding: none", RequestError, r"none/model\.safetensors: no such file"),
        ("number: 3", "from: none.json", RequestError, r"none\.json"),
        ("sources:", "labels: {cluster: {length: bytes}}\nsources:", SpecError, "rename the label 'cluster'"),
    ],
)
def test_what_cannot_be_clustered_is_refused(
    built: tuple[Path, Path, Manifest], old: str, new: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(built[0], SPEC.replace(old, new))
