"""A source divided into clusters: the same with any shards and workers, and a new file is assigned to the old ones."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from in_process import InProcess, build_in
from mixproof.cli.commands.audit import audit_target
from mixproof.cli.request import open_request
from mixproof.cli.tables.account_table import losses_of
from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.labels import Clusters
from mixproof.mixtures.errors import SpecError
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.clusters.cluster_file import ClusterFile, to_bytes
from mixproof.pipeline.clusters.cluster_texts import cluster_texts
from mixproof.pipeline.clusters.token_table import TableFiles, find_table
from mixproof.tokenize.audit import replay_build
from mixproof.tokenize.audit.replay.assignments import Assignments
from mixproof.tokenize.audit.report import Checks
from mixproof.tokenize.page.build_evidence import BuildEvidence, Statement
from mixproof.tokenize.page.build_page import render_build
from mixproof.tokenize.page.clusters import cluster_views
from mixproof.tokenize.page.flow import flow_of_texts
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
        {"text": text_of(topic, number), "id": f"{topic}-{number}", "topic": topic, "stars": number % 5}
        for number in range(first, first + 12)
        for topic in TOPICS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def build(folder: Path, spec: str = SPEC, cluster: Cluster | None = None, **options: Any) -> tuple[Path, Manifest]:  # noqa: ANN401
    return build_in(folder, spec, cluster, **options)


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


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> TableFiles:
    return find_table(write_table(tmp_path_factory.mktemp("table")))


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
    request = open_request(folder / "spec.yaml", str(folder / "store"))
    with InProcess() as own:
        replay = partial(replay_build, request.spec, request.files(), request.store, path, own, base=folder)
        report = replay()
        assert report.ok and report.checks > len(found)
        write_table(folder / "table", dimensions=9)
        with pytest.raises(RequestError, match="were found with another token table"):
            replay()
        write_table(folder / "table")


def test_a_document_in_a_foreign_cluster_is_found_by_the_replay(table: TableFiles, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    texts = [text_of(topic, number) for number in range(8) for topic in TOPICS]
    form = cluster_texts(texts, texts, np.full(len(texts), 40), Clusters(number=3), table)
    with store.attempt("clusters", "k") as attempt:
        attempt.path("clusters.json").write_bytes(to_bytes(form))
        attempt.commit()
    clusters, checks = ClusterFile("clusters/k/clusters.json", "", table), Checks()
    own, *_ = clusters.names_of(store, texts)
    assignments = Assignments(store, clusters, "cluster")
    assignments.add(texts[0], own, checks)
    assignments.add(texts[1], own, checks.at(shard="web-0.jsonl record 1"))
    assignments.flush()
    (failure,) = checks.report("replay").failures
    assert (
        failure.expected == f"{own} as cluster of the document embedded again"
        and failure.shard == "web-0.jsonl record 1"
    )


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


PRUNED = SPEC.replace(
    "sources:", "labels: {topic: {field: topic}, stars: {field: {name: stars, type: number}}}\nsources:"
).replace("number: 3", "number: 2, within: [topic], prune: [{label: topic, is: food, above: 50%}]")


def test_pruned_clusters_leave_the_corpus_in_the_account_and_are_listed(
    built: tuple[Path, Path, Manifest], tmp_path: Path
) -> None:
    for name in ("web-0.jsonl", "web-1.jsonl"):
        (tmp_path / name).write_bytes((built[0] / name).read_bytes())
    write_table(tmp_path / "table")
    path, manifest = build(tmp_path, PRUNED)
    found = cells(tmp_path, manifest)
    assert {name.partition("-")[0] for name in found} == {"law", "sea"} and len(found) == 48
    assert len(manifest.sources) == 2 == len({found[f"{topic}-0"] for topic in ("law", "sea")})
    record = manifest.cells["all"]
    assert record.pruned is not None and (record.documents, record.pruned.documents) == (72, 24)
    for source in manifest.sources.values():
        row = next(row for row in source.ledger if row.stage == "cells")
        assert {reason: count.documents for reason, count in row.dropped.items()} == {
            "of_another_part": 24,
            "pruned": 24,
        }
    (axis,) = record.axes
    assert axis.clusters is not None and "pruned" not in axis.cells
    stated = json.loads((tmp_path / "store" / axis.clusters.path).read_bytes())
    assert (stated["pruned"]["sample_documents"], len(stated["clusters"])) == (24, 2)
    circumstances = json.loads(path.with_name("circumstances.json").read_bytes())
    (listed,) = circumstances["lists"]["all"]["removed"]
    rows = pq.read_table(tmp_path / "store" / listed["path"]).to_pylist()
    assert sorted(row["id"] for row in rows) == sorted(f"food-{number}" for number in range(24))
    assert {(row["stage"], row["reason"], row["file"]) for row in rows} == {
        ("cells", "pruned", name) for name in ("web-0.jsonl", "web-1.jsonl")
    }
    assert audit_target(str(path), str(tmp_path / "store"), "bytes").ok
    (view,) = cluster_views(Store(str(tmp_path / "store")), manifest)
    assert {row[1].text.partition("; ")[2] for row in view.table.rows} == {"topic law 100%", "topic sea 100%"}
    assert "were pruned: 24 documents of" in view.sentence
    shown = flow_of_texts(manifest, "documents")
    exits = [(one.label, one.total) for stage in shown.stages for one in stage.exits if stage.label == "cells"]
    assert exits == [("pruned", 24)]
    assert {losses_of(source)["filters"] for source in manifest.sources.values()} == {0}


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("number: 3", "number: 1", SpecError, "1 is not a whole number of at least 2"),
        ("number: 3", "count: 3", SpecError, "unknown key"),
        ("number: 3, ", "", SpecError, "needs exactly one of `number` and `from`"),
        ("embedding: table", "embedding: none", RequestError, r"none/model\.safetensors: no such file"),
        ("number: 3", "from: none.json", RequestError, r"none\.json"),
        ("number: 3", "number: 3, within: [topics]", SpecError, r"within\[0\]: there is no label 'topics'"),
        ("number: 3", "number: 3, prune: [{label: none, below: 1}]", SpecError, "there is no label 'none'"),
        ("number: 3", "number: 3, prune: [{label: none}]", SpecError, "exactly one of `below` and `above`"),
        ("sources:", "labels: {cluster: {length: bytes}}\nsources:", SpecError, "rename the label 'cluster'"),
    ],
)
def test_what_cannot_be_clustered_is_refused(
    built: tuple[Path, Path, Manifest], old: str, new: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(built[0], SPEC.replace(old, new))


def test_the_page_of_a_build_shows_each_cluster_with_its_size_labels_and_typical_documents(
    built: tuple[Path, Path, Manifest],
) -> None:
    folder, path, manifest = built
    store = Store(str(folder / "store"))
    (view,) = cluster_views(store, manifest)
    assert (view.source, len(view.table.rows), len(view.maps)) == ("all", 3, 2)
    for row in view.table.rows:
        name, labels, typical, documents, *_ = (cell.text for cell in row)
        topic = next(topic for topic in TOPICS if typical.startswith(topic))
        assert documents == "24" and name in manifest.cells["all"].axes[0].cells and labels == "none"
        assert {each.partition("-")[0] for each in typical.split(", ")} == {topic}
        assert set((row[0].note or "").split(", ")) & set(TOPICS[topic])
    statement = Statement(str(path), manifest.to_bytes().decode())
    page = render_build(store, BuildEvidence(manifest, statement, {}), "clusters", "0")
    assert 'id="clusters"' in page and page.count('<circle class="band"') == 2 * 3
