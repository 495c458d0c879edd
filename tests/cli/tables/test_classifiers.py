"""A classifier that a build trains: its account, what it reaches, and where it refuses to be trained."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from in_process import InProcess, build_in
from mixproof.cli.commands.audit import audit_target
from mixproof.cli.commands.inspect import all_documents, label_distributions, trained_on
from mixproof.cli.request import open_request
from mixproof.ledger.account import Count
from mixproof.ledger.errors import MixproofError, RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.datasets import HeldoutTexts
from mixproof.mixtures.errors import SpecError
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.labels.of_spec import labelers_of
from mixproof.pipeline.read.documents import read_sources
from mixproof.tokenize.audit import replay_build
from mixproof.tokenize.audit.classifiers import check_classifiers, retrain_classifiers, tables_of
from mixproof.tokenize.audit.report import Checks
from static_table import text_of, write_table

SPEC = """\
schema: 1
name: classifiers
labels:
  good:
    classifier:
      {positive: [law, "extra/*.jsonl"], negative: sea, kind: linear, embedding: table, evaluate: judged.jsonl.gz}
sources:
  law: {files: law.jsonl}
  sea: {files: sea.jsonl}
  web: {files: "web-*.jsonl", split_by: {score: good, edges: [0.5]}}
heldout: {create: {tokens: 1, min_documents: 2}}
decontaminate: {against: exam.jsonl, questions: false}
tokenizer: {train: {vocab_size: 300, bytes: 1MB}}
mixtures: {whole: {web: 100%}}
train: {sequence_length: 16, proxies: {nano: {tokens: 512, global_batch_size: 4, lr: 1e-3}}}
"""
FASTTEXT = SPEC.replace("kind: linear, embedding: table", "kind: fasttext").replace(
    "files: law.jsonl", "files: law.jsonl, keep: {score: good, top: 75%}"
)


def lines(topic: str, numbers: range) -> str:
    return "".join(json.dumps({"text": text_of(topic, n), "id": f"{topic}-{n}"}) + "\n" for n in numbers)


def write(folder: Path) -> Path:
    (folder / "extra").mkdir(parents=True)
    write_table(folder / "table")
    (folder / "law.jsonl").write_text(lines("law", range(100, 140)))
    (folder / "sea.jsonl").write_text(lines("sea", range(100, 140)))
    (folder / "extra" / "a.jsonl").write_text(lines("law", range(200, 230)))
    for number in range(2):
        own = range(number * 20, number * 20 + 20)
        (folder / f"web-{number}.jsonl").write_text(lines("law", own) + lines("sea", own))
    judged = [{"text": text_of(topic, n), "label": topic == "law"} for topic in ("law", "sea") for n in range(115, 120)]
    data = "".join(json.dumps(each) + "\n" for each in judged).encode()
    (folder / "judged.jsonl.gz").write_bytes(gzip.compress(data, mtime=0))
    (folder / "exam.jsonl").write_text(json.dumps({"question": text_of("sea", 130)}) + "\n")
    return folder


def build(folder: Path, spec: str = SPEC, cluster: Cluster | None = None, **options: Any) -> tuple[Path, Manifest]:  # noqa: ANN401
    return build_in(folder, spec, cluster, **options)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Manifest]:
    folder = write(tmp_path_factory.mktemp("classifiers") / "here")
    return folder, *build(folder)


def test_the_account_of_a_classifier_closes_and_leaves_out_what_it_must_not_see(
    built: tuple[Path, Path, Manifest],
) -> None:
    folder, _, manifest = built
    record = manifest.classifiers["good"]
    assert [(each.entry, each.side, each.total.documents) for each in record.sources] == [
        ("law", "positive", 40),
        ("positive[1]", "positive", 30),
        ("sea", "negative", 40),
    ]
    for each in record.sources:
        assert sum(each.left_out.values(), each.trained) == each.total
    examples = pq.read_table(folder / "store" / record.examples).to_pylist()
    texts = {row["text"] for row in examples}
    judged = {text_of(topic, n) for topic in ("law", "sea") for n in range(115, 120)}
    assert not texts & {*judged, text_of("sea", 130)}
    assert all(int(row["text_xxh128"][:16], 16) >= 2**64 // 5 for row in examples)
    law, _, sea = record.sources
    reserved = [each.left_out.get("heldout", Count(documents=0, bytes=0)).documents for each in (law, sea)]
    assert min(reserved) > 0 and sum(reserved) < 32  # a fifth of 80 is expected
    assert (record.evaluated[0].texts, record.evaluated[0].positive) == (10, 5)
    assert (record.mean_auc, record.evaluated[0].auc) == (1.0, 1.0)
    held = {
        row["text_xxh128"]
        for source in manifest.sources.values()
        for part in source.heldout.datasets
        for row in pq.read_table(folder / "store" / part.provenance).to_pylist()
    }
    assert not held & {row["text_xxh128"] for row in examples}


def test_documents_are_divided_by_the_score(built: tuple[Path, Path, Manifest]) -> None:
    folder, path, manifest = built
    parts = {"web/b01": "sea", "web/b02": "law"}
    assert set(manifest.sources) == {"law", "sea", *parts}
    for part, topic in parts.items():
        source = manifest.sources[part]
        rows = [
            row
            for each in (*source.train.datasets, *source.heldout.datasets)
            for row in pq.read_table(folder / "store" / each.provenance).to_pylist()
        ]
        assert len(rows) == 40 and all(row["id"].startswith(topic) for row in rows)
        assert all((row["label.good"] >= 0.5) == (topic == "law") for row in rows)
    assert "extra" not in path.read_text() and str(folder) not in path.read_text()


def test_two_workers_and_small_shards_give_the_same_build(
    built: tuple[Path, Path, Manifest], tmp_path: Path, cluster: Cluster
) -> None:
    assert build(write(tmp_path / "other"), cluster=cluster, shard_bytes=900)[1] == built[2]


def test_fasttext_is_trained_the_same_again_and_audited(tmp_path: Path) -> None:
    folder = write(tmp_path / "one")
    path, manifest = build(folder, FASTTEXT)
    record = manifest.classifiers["good"]
    assert record.kind == "fasttext" and record.mean_auc > 0.9 and record.evaluated[0].auc > 0.9
    checks = Checks()
    retrain_classifiers(folder / "store", manifest, {}, checks)
    assert not checks.failures and checks.count == 1 + len(manifest.sources)
    (kept,) = (row for row in manifest.sources["law"].ledger if row.stage == "keep")
    assert (kept.documents_in, kept.documents_out, kept.dropped["good_below"].documents) == (40, 30, 10)
    request = open_request(folder / "spec.yaml", str(folder / "store"))
    with InProcess() as cluster:
        assert replay_build(request.spec, request.files(), request.store, path, cluster).ok
    assert build(write(tmp_path / "two"), FASTTEXT)[1] == manifest
    borrowed = FASTTEXT.replace("extra/*.jsonl", "extra/a.jsonl").replace(
        "decontaminate: {against: exam.jsonl, questions: false}\n", ""
    )
    first = borrowed.index("{positive")
    borrowed = borrowed[:first] + f"{{from: {path}}}" + borrowed[borrowed.index("\n", first) :]
    other_path, other = build(write(tmp_path / "three"), borrowed)
    assert other.classifiers["good"].model_sha256 == record.model_sha256
    assert other.classifiers["good"].sources == record.sources
    assert other.spec["sources"]["sea"]["labels"]["good"] == {
        "classifier": {"from": record.model_sha256, "model": record.model_sha256}
    }
    assert audit_target(str(other_path), str(tmp_path / "three" / "store"), "bytes").ok
    with pytest.raises(RequestError, match="has no classifier 'bad', it has good"):
        build(tmp_path / "three", borrowed.replace("manifest.json}", "manifest.json, name: bad}"))
    untrue = record.model_copy(update={"examples": write_swapped(folder / "store", record.examples)})
    retrain_classifiers(folder / "store", manifest.model_copy(update={"classifiers": {"good": untrue}}), {}, checks)
    assert [failure.equation for failure in checks.failures] == ["checksum"]


def write_swapped(store: Path, examples: str) -> str:
    """Write the examples with sides exchanged; returns the path in the store."""
    table = pq.read_table(store / examples)
    sides = pa.array([not each for each in table["is_positive"].to_pylist()])
    pq.write_table(table.set_column(1, "is_positive", sides), store / "swapped.parquet")
    return "swapped.parquet"


def test_the_audit_finds_an_example_that_is_held_out_a_wrong_account_and_another_model(
    built: tuple[Path, Path, Manifest],
) -> None:
    folder, path, manifest = built
    assert audit_target(str(path), str(folder / "store"), "bytes").ok
    record, law = manifest.classifiers["good"], manifest.sources["law"]
    example = pq.read_table(folder / "store" / record.examples)["text_xxh128"].to_pylist()[0]
    pq.write_table(pa.table({"text_xxh128": [example]}), folder / "store" / "held.parquet")
    held = law.heldout.model_copy(update={"texts": HeldoutTexts(path="held.parquet", sha256="")})
    moved = record.sources[0].model_copy(update={"trained": Count(documents=1, bytes=1)})
    other = record.model_copy(update={"sources": (moved, *record.sources[1:]), "model_sha256": "0" * 64})
    wrong = {"classifiers": {"good": other}, "sources": {"law": law.model_copy(update={"heldout": held})}}
    checks = Checks()
    check_classifiers(folder / "store", manifest.model_copy(update=wrong), checks)
    found = [(failure.equation, failure.expected) for failure in checks.failures]
    assert len(found) == 6 and [equation for equation, _ in found] == ["checksum", *["E3"] * 4, "E6"]
    assert found[-1][1] == "0 held-out texts among the examples"


def test_a_linear_model_with_a_table_of_its_own_is_trained_again(built: tuple[Path, Path, Manifest]) -> None:
    folder, _, manifest = built
    spec = open_request(folder / "spec.yaml", str(folder / "store")).loaded.as_written
    checks = Checks()
    retrain_classifiers(folder / "store", manifest, tables_of(spec, folder, folder / "store", manifest), checks)
    assert not checks.failures and checks.count == 1 + len(manifest.sources)
    with pytest.raises(RequestError, match="no such|none|table"):
        tables_of(spec, folder / "extra", folder / "store", manifest)


def test_inspect_trains_on_its_sample_and_warns_where_it_is_too_small(built: tuple[Path, Path, Manifest]) -> None:
    request, cluster = open_request(built[0] / "spec.yaml", str(built[0] / "store")), InProcess()
    spec, base = request.loaded.as_written, request.loaded.base
    sources = read_sources(spec, find_files(spec, base), request.store, cluster)
    everything = all_documents(spec, sources, request.store, cluster)
    labelers, trained, problems = trained_on(everything, labelers_of(spec, base))
    assert not problems and trained["good"].mean_auc == 1.0
    found = label_distributions(spec, sources, labelers, request.store, cluster)
    assert found["web"]["good"].documents == 80 and found["web"]["good"].quantiles["5"] < 0.5
    few = {**sources, "sea": replace(sources["sea"], shards=sources["sea"].shards[:0])}
    own, none, (problem,) = trained_on(all_documents(spec, few, request.store, cluster), labelers_of(spec, base))
    assert not none and "the negative side has 0 texts" in problem
    assert "good" not in label_distributions(spec, few, own, request.store, cluster).get("web", {})


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("negative: sea", "negative: see", SpecError, "there is no source 'see'; did you mean 'sea'"),
        ("negative: sea", "negative: []", SpecError, "is empty"),
        ("negative: sea", "negative: [sea, law]", SpecError, "law is both positive and negative"),
        ("negative: sea", "negative: web/b01", SpecError, "'web' is divided into cells after classifiers are trained"),
        ("kind: linear", "kind: forest", SpecError, "must be 'fasttext' or 'linear'"),
        ("kind: linear", "kind: fasttext", SpecError, "`embedding` applies only to `kind: linear`"),
        (
            "embedding: table",
            "embedding: table, text: body",
            RequestError,
            "its records have no field 'body'; they",
        ),
        ("extra/*.jsonl", "extra/*.json", RequestError, "no files match 'extra/"),
        ("evaluate: judged.jsonl.gz", "evaluate: exam.jsonl", RequestError, "missing_text"),
        ("evaluate: judged.jsonl.gz", "evaluate: law.jsonl", RequestError, "the field 'label' must be 1 or 0"),
        ("embedding: table", "embedding: table, reserve: 99%", RequestError, "fewer than 10; left out: heldout "),
        ("embedding: table", "embedding: table, reserve: 1%", RequestError, "held-out texts of source"),
        ("{score: good, edges: [0.5]}", "good", SpecError, "'good' is a number; write"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    built: tuple[Path, Path, Manifest], old: str, new: str, error: type[MixproofError], message: str
) -> None:
    assert old in SPEC
    with pytest.raises(error, match=message):
        build(built[0], SPEC.replace(old, new))
