"""A source divided into cells, through every command: counted by hand, audited, planned, found and divided again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from in_process import InProcess
from mixproof.cli.commands.audit import audit_target
from mixproof.cli.commands.build import run_build
from mixproof.cli.commands.inspect import label_distributions, print_labels
from mixproof.cli.commands.plan import make_plan
from mixproof.cli.output import stdout
from mixproof.cli.plan_report import plan_json
from mixproof.cli.request import Request, open_request
from mixproof.cli.tables.account_table import account_table
from mixproof.ledger.account import Count
from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.source import SourceRecord
from mixproof.mixtures.errors import SpecError
from mixproof.pipeline.labels.distribution import Distribution
from mixproof.pipeline.labels.of_spec import labelers_of
from mixproof.pipeline.read.documents import read_sources
from mixproof.tokenize.audit import replay_build
from mixproof.tokenize.audit.arithmetic import check_arithmetic
from mixproof.tokenize.audit.report import Checks

SPEC = """\
schema: 1
name: cells
labels: {size: {length: bytes}}
sources:
  all: {files: "web-*.jsonl", split_by: {score: meta.quality, quantiles: 4}}
  rest: {files: "rest.jsonl", split_by: [topic, {score: size, edges: [40]}]}
dedup: {exact: true, scope: source}
heldout: {create: {tokens: 1, min_documents: 1}}
decontaminate: false
tokenizer: {train: {vocab_size: 300, bytes: 1MB}}
mixtures:
  some: {all: 60%, "rest/law.b01": 40%}
train: {sequence_length: 16, proxies: {nano: {tokens: 512, global_batch_size: 4, lr: 1e-3}}}
"""
Place = tuple[str, int]


def web() -> dict[Place, dict[str, Any]]:
    """60 records of two files: every third without a quality, some qualities equal, the last five texts repeated."""
    found: dict[Place, dict[str, Any]] = {}
    for number in range(60):
        own = number if number < 55 else number - 55
        quality = {} if number % 3 == 0 else {"meta": {"quality": (own * 7) % 20 / 100}}
        text = f"Text {own} of the web, which says {'that ' * (own % 5)}{own} is a number."
        found[f"web-{number // 30}.jsonl", number % 30] = {"text": text, **quality}
    return found


def rest() -> dict[Place, dict[str, Any]]:
    topics = [{"topic": "law"}, {"topic": "art.new"}, {}]
    return {
        ("rest.jsonl", number): {
            "text": f"The {number}th of the rest {'with more ' * (number % 4)}.",
            **topics[number % 3],
        }
        for number in range(48)
    }


@dataclass(frozen=True)
class Folder:
    """A folder with a spec, its files and a store."""

    path: Path

    def open(self, spec: str = SPEC) -> Request:
        """The spec as a command opens it."""
        (self.path / "spec.yaml").write_text(spec)
        return open_request(self.path / "spec.yaml", str(self.path / "store"))

    def build(self, spec: str = SPEC, shard_bytes: int = 10**8) -> tuple[Manifest, InProcess]:
        """Build the spec; returns the cluster as well, which counts tasks."""
        with InProcess() as cluster:
            return run_build(self.open(spec), cluster, shard_bytes=shard_bytes).manifest, cluster

    def rows(self, source: SourceRecord) -> list[dict[str, Any]]:
        """The provenance of both sides."""
        parts = (*source.train.datasets, *source.heldout.datasets)
        return [row for part in parts for row in pq.read_table(self.path / "store" / part.provenance).to_pylist()]


def write(folder: Path) -> Folder:
    folder.mkdir()
    for records in (web(), rest()):
        for name in {file for file, _ in records}:
            lines = [json.dumps(record) + "\n" for (file, _), record in records.items() if file == name]
            (folder / name).write_text("".join(lines))
    return Folder(folder)


def expected() -> dict[str, set[Place]]:
    """Where each part's documents are, counted from the records without the code under test."""
    parts: dict[str, set[Place]] = {}
    seen: set[str] = set()
    kept = {}
    for place, record in web().items():
        if record["text"] not in seen:
            seen.add(record["text"])
            kept[place] = record.get("meta", {}).get("quality")
    ordered = sorted(value for value in kept.values() if value is not None)
    edges = [ordered[k * len(ordered) // 4] for k in (1, 2, 3)]
    for place, value in kept.items():
        cell = "unlabelled" if value is None else f"q{1 + sum(edge <= value for edge in edges):02d}"
        parts.setdefault(f"all/{cell}", set()).add(place)
    for place, record in rest().items():
        size = len(record["text"].encode())
        cell = f"b{1 + (size >= 40):02d}"
        topic = record.get("topic", "unlabelled").replace(".", "%2E")
        parts.setdefault(f"rest/{topic}.{cell}", set()).add(place)
    return parts


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, Manifest]:
    folder = write(tmp_path_factory.mktemp("cells") / "here")
    return folder, folder.build()[0]


def test_every_document_is_in_the_cell_of_its_labels(built: tuple[Folder, Manifest]) -> None:
    folder, manifest = built
    found = {
        name: {(row["file"], row["record"]) for row in folder.rows(source)} for name, source in manifest.sources.items()
    }
    assert found == expected()
    assert {"all/q01", "all/unlabelled", "rest/art%2Enew.b02", "rest/law.b01"} <= set(found)
    assert sum(map(len, found.values())) == 55 + 48


def test_cells_close_the_account_of_their_source(built: tuple[Folder, Manifest]) -> None:
    _, manifest = built
    record = manifest.cells["all"]
    (axis,) = record.axes
    assert (record.documents, axis.unlabelled, axis.cells) == (55, 19, ("q01", "q02", "q03", "q04"))
    assert all(Decimal(edge) in {Decimal(number) / 100 for number in range(20)} for edge in axis.edges)
    for name, count in record.parts.items():
        read, dedup, cells, *_ = manifest.sources[name].ledger
        assert (read.documents_in, dedup.documents_out, cells.stage) == (60, 55, "cells")
        others = Count(documents=55 - count.documents, bytes=record.bytes - count.bytes)
        assert (cells.documents_out, cells.dropped) == (count.documents, {"of_another_part": others})
    shown = [list(map(str, column.cells)) for column in account_table(manifest).columns]
    rows = {row[0]: row for row in zip(*shown, strict=True)}
    assert (rows["all"][1:4], rows["all"][5]) == (("60", "0", "5"), "55")
    assert rows["all/q01"][1:4] == (str(record.parts["all/q01"].documents), "0", "0")


def test_provenance_rows_have_the_labels(built: tuple[Folder, Manifest]) -> None:
    folder, manifest = built
    records = web() | rest()
    for name, source in manifest.sources.items():
        for row in folder.rows(source):
            record = records[row["file"], row["record"]]
            assert row["label.size"] == len(record["text"].encode()) == row["text_bytes"]
            if name.startswith("all/"):
                assert row["label.meta.quality"] == record.get("meta", {}).get("quality")
            else:
                assert row["label.topic"] == record.get("topic")


def test_every_depth_of_the_audit_is_clean(built: tuple[Folder, Manifest]) -> None:
    folder, _ = built
    request = folder.open()
    assert audit_target(str(folder.path / "spec.yaml"), str(folder.path / "store"), "bytes").ok
    with InProcess() as cluster:
        report = replay_build(request.spec, request.files(), request.store, request.manifest_path(), cluster)
        assert report.ok and cluster.tasks["replay"] == 2  # the cells of a source are read once, together


def test_the_audit_finds_a_document_outside_its_cell_and_cells_that_do_not_add_up(
    built: tuple[Folder, Manifest],
) -> None:
    folder, manifest = built
    record = manifest.cells["all"]
    parts = {**record.parts, "all/q01": Count(documents=record.parts["all/q01"].documents + 1, bytes=1)}
    checks = Checks()
    check_arithmetic(manifest.model_copy(update={"cells": {"all": record.model_copy(update={"parts": parts})}}), checks)
    assert {(failure.equation, failure.source) for failure in checks.failures} >= {("E4", "all"), ("E4", "all/q01")}
    (axis,) = record.axes
    moved = axis.model_copy(update={"edges": ("0.0", *axis.edges[1:])})
    wrong = manifest.model_copy(
        update={"cells": {**manifest.cells, "all": record.model_copy(update={"axes": (moved,)})}}
    )
    path = folder.path / "store" / "builds" / wrong.build / "manifest.json"
    path.parent.mkdir()
    path.write_bytes(wrong.to_bytes())
    failures = audit_target(str(path), str(folder.path / "store"), "bytes").failures
    assert any("labels within the bounds of the source" in failure.expected for failure in failures)


def test_shards_change_nothing_and_an_added_label_changes_no_token(
    built: tuple[Folder, Manifest], tmp_path: Path
) -> None:
    folder, manifest = built
    assert write(tmp_path / "other").build(shard_bytes=1800)[0] == manifest
    labelled, own = folder.build(SPEC.replace("labels: {", "labels: {head: {regex: '^(\\w+)'}, "))
    assert own.tasks["labels"] == 1 and own.tasks["read"] == own.tasks["encode"] == 0
    name = "all/q01"
    assert [part.bin_sha256 for part in labelled.sources[name].train.datasets] == [
        part.bin_sha256 for part in manifest.sources[name].train.datasets
    ]
    assert {row["label.head"] for row in folder.rows(labelled.sources[name])} == {"Text"}


def test_plan_knows_the_cells_of_a_build_and_before_one_those_that_the_spec_names(
    built: tuple[Folder, Manifest], tmp_path: Path
) -> None:
    folder, manifest = built
    planned = plan_json(make_plan(folder.open()))
    assert set(planned["sources"]) == set(manifest.sources)  # type: ignore[call-overload]  # JSON
    assert set(write(tmp_path / "new").open().spec.sources) == {"all/unread", "rest/law.b01"}


def test_a_value_of_a_label_stays_on_its_line() -> None:
    found = Distribution(3, 0, {"de\n# HELP x": 2, "en\u202e": 1}, 2, {})
    with stdout.capture() as shown:
        print_labels({"lang": found})
    lines = ["label lang: 3 documents, 0 without a value", "  de\\n# HELP x 2, en\ufffd 1"]
    assert shown.get().splitlines()[:2] == lines


def test_inspect_shows_what_values_labels_have(built: tuple[Folder, Manifest]) -> None:
    folder, _ = built
    request, cluster = folder.open(), InProcess()
    spec, base = request.loaded.as_written, request.loaded.base
    files = {name: request.files()[part] for name, part in (("all", "all/q01"), ("rest", "rest/law.b01"))}
    found = label_distributions(
        spec, read_sources(spec, files, request.store, cluster), labelers_of(spec, base), request.store, cluster
    )
    assert found["rest"]["topic"].values == {"art.new": 16, "law": 16}
    assert (found["all"]["meta.quality"].unlabelled, found["all"]["size"].documents) == (20, 60)


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        (
            "quantiles: 4}",
            "quantiles: 4, missing: error}",
            RequestError,
            "19 of 55 documents have no value in 'meta.qual",
        ),
        ("meta.quality", "meta.rank", RequestError, "no document has a number in 'meta.rank'"),
        ("[topic,", "[theme,", RequestError, "no document has a value in 'theme'"),
        ("law.b01", "law.b09", SpecError, r"source 'rest' has no part 'rest/law\.b09'"),
        ("[topic,", "[size,", SpecError, r"'size' is a number; write \{score: size, quantiles: 20\}"),
        ("scope: source", "keep: [all/q01]", SpecError, "'all' is divided into cells after deduplication"),
        ("quantiles: 4", "quantiles: 4, edges: [1]", SpecError, "needs exactly one of `quantiles` and `edges`"),
        ("edges: [40]", "edges: [70, 60]", SpecError, "`edges` must ascend"),
        ("quantiles: 4", "quantile: 4", SpecError, "did you mean 'quantiles'"),
        (
            "min_documents: 1}",
            "min_documents: 17}",
            RequestError,
            r"all\.split_by: 4 of 5 cells have too few documents: all/q01 \(\d+\), .*, all/q04 \(\d+\); .*at least 17",
        ),
        ("{length: bytes}", "{length: lines}", SpecError, "must be 'bytes', 'characters' or 'words'"),
    ],
)
def test_what_cannot_be_divided_is_refused(
    built: tuple[Folder, Manifest], old: str, new: str, error: type[Exception], message: str
) -> None:
    assert old in SPEC
    with pytest.raises(error, match=message):
        built[0].build(SPEC.replace(old, new))
