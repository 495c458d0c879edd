"""Semantic deduplication in a build: listed, audited, replayed, resumed; refused before work where it cannot run."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from in_process import InProcess
from mixproof.cli.before_work import check_inputs
from mixproof.cli.commands.audit import audit_target
from mixproof.cli.commands.build import run_build
from mixproof.cli.request import open_request
from mixproof.cli.tables.account_table import losses_of
from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.errors import SpecError
from mixproof.tokenize.audit import replay_build
from mixproof.tokenize.audit.inputs import check_inputs as check_list
from mixproof.tokenize.audit.report import Checks
from mixproof.tokenize.audit.rows import rows_checksum
from mixproof.tokenize.audit.twins import check_cosines, check_twins
from static_table import TOPICS, write_table

SPEC = """\
schema: 1
name: twins
sources:
  old: {files: old.jsonl}
  web: {files: "web-*.jsonl"}
dedup: {exact: true, keep: [old], semantic: {threshold: 0.98, embedding: table, min_chars: 10}}
heldout: {create: {tokens: 1, min_documents: 1}}
decontaminate: false
tokenizer: {train: {vocab_size: 300, bytes: 1MB}}
mixtures: {whole: {old: 50%, web: 50%}}
train: {sequence_length: 16, proxies: {nano: {tokens: 512, global_batch_size: 4, lr: 1e-3}}}
"""


def text_of(number: int) -> str:
    """A text on several topics, in proportions that the number's digits to the base of five say."""
    digits = [number % 5, number // 5 % 5, number // 25 % 5]
    return " ".join(words[0] for words, count in zip(TOPICS.values(), digits, strict=True) for _ in range(count))


def write_file(path: Path, first: int, last: int) -> None:
    rows = [{"text": text_of(number), "id": f"text-{number}"} for number in range(first, last)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_table(tmp_path / "table")
    write_file(tmp_path / "old.jsonl", 5, 60)
    write_file(tmp_path / "web-0.jsonl", 40, 100)
    return tmp_path


@pytest.fixture
def built(folder: Path) -> tuple[Path, Path, Manifest]:
    """The folder, the manifest's path and the manifest of a build."""
    path, manifest, _ = build(folder)
    return folder, path, manifest


def build(folder: Path, spec: str = SPEC, store: str = "store", **options: Any) -> tuple[Path, Manifest, InProcess]:  # noqa: ANN401
    (folder / "spec.yaml").write_text(spec)
    with InProcess() as cluster:
        result = run_build(open_request(folder / "spec.yaml", str(folder / store)), cluster, **options)
    return result.manifest_path, result.manifest, cluster


def replay(folder: Path, manifest: Path, share: float = 1) -> list[str]:
    request = open_request(folder / "spec.yaml", str(folder / "store"))
    with InProcess() as cluster:
        report = replay_build(
            request.spec, request.files(), request.store, manifest, cluster, Fraction(share), base=request.loaded.base
        )
    return [f"{failure.equation} {failure.found}" for failure in report.failures]


def twins_of(folder: Path, manifest: Manifest, source: str) -> list[dict[str, Any]]:
    record = manifest.sources[source].twins
    assert record is not None
    rows: list[dict[str, Any]] = pq.read_table(folder / "store" / record.path).to_pylist()
    return rows


def test_a_build_lists_who_was_dropped_for_whom_and_its_audit_embeds_the_pairs_again(folder: Path) -> None:
    path, manifest, _ = build(folder)
    rows = twins_of(folder, manifest, "web")
    web = manifest.sources["web"]
    assert rows and web.twins is not None and web.twins.compared == 40
    assert losses_of(web)["semantic"] == len(rows)
    assert {row["kept_source"] for row in rows} <= {"old", "web"} and all(row["cosine"] >= 0.98 for row in rows)
    assert [row.stage for row in web.ledger] == ["read", "dedup", "semantic", "split", "encode"]
    lists = json.loads((path.parent / "circumstances.json").read_bytes())["lists"]["web"]
    (removed,) = lists["removed"]
    listed = [
        row for row in pq.read_table(folder / "store" / removed["path"]).to_pylist() if row["stage"] == "semantic"
    ]
    assert [(row["reason"], row["id"], row["kept_record"], row["cosine"]) for row in listed] == [
        ("semantic_duplicate", row["id"], row["kept_record"], row["cosine"]) for row in rows
    ]
    report = audit_target(str(path), str(folder / "store"), "bytes")
    assert report.ok, report.failures
    assert replay(folder, path) == replay(folder, path, 0.5) == []


def test_a_replay_notices_another_cosine_and_another_table(built: tuple[Path, Path, Manifest]) -> None:
    folder, path, manifest = built
    rows = [{**row, "source": "web"} for row in twins_of(folder, manifest, "web")[:1]]
    checks = Checks()
    check_cosines(rows, {"web": {}, rows[0]["kept_source"]: {}}, checks)
    assert [failure.equation for failure in checks.failures] == ["E1"]
    one = np.array([3, 4], np.int16)
    places = {(rows[0]["file"], rows[0]["record"]): one, (rows[0]["kept_file"], rows[0]["kept_record"]): one[::-1]}
    checks = Checks()
    check_cosines([{**rows[0], "cosine": 24 / 25}], {"web": places, rows[0]["kept_source"]: places}, checks)
    assert not checks.failures
    check_cosines(rows, {"web": places, rows[0]["kept_source"]: places}, checks)
    assert "0.96" in str(checks.failures[0].found)
    write_table(folder / "table", dimensions=9)
    with pytest.raises(RequestError, match="spec.yaml:6: dedup.semantic: the build used another token table"):
        replay(folder, path)


@pytest.mark.parametrize(
    ("column", "value", "failure"),
    [
        ("cosine", 0.5, "cosines below 0.98"),
        ("kept_record", 10**6, "kept documents that do not exist"),
        ("bytes", 1, "dropped by the list of semantic duplicates"),
        ("kept_source", "other", "kept documents of a compared source"),
        ("record", 5, "documents of the source in order, each once"),
    ],
)
def test_an_edited_list_is_caught_though_its_checksum_is_renewed(
    built: tuple[Path, Path, Manifest], column: str, value: object, failure: str
) -> None:
    folder, _, manifest = built
    record = manifest.sources["web"].twins
    assert record is not None
    root = folder / "store"
    table = pq.read_table(root / record.path)
    field = table.schema.field(column)
    edited = table.set_column(table.schema.get_field_index(column), field, pa.array([value] * len(table), field.type))
    pq.write_table(edited, root / "edited.parquet")
    changed = record.model_copy(update={"path": "edited.parquet", "sha256": rows_checksum(root / "edited.parquet")})
    web = manifest.sources["web"].model_copy(update={"twins": changed})
    forged = manifest.model_copy(update={"sources": {**manifest.sources, "web": web}})
    inputs = {name: check_list(root, source.inputs, Checks()) for name, source in manifest.sources.items()}
    checks = Checks()
    check_twins(root, manifest, inputs, checks)
    assert not checks.failures
    check_twins(root, forged, inputs, checks)
    assert failure in " ".join(str(each) for each in checks.failures)


def test_a_killed_build_resumes_and_a_new_file_embeds_only_itself(folder: Path) -> None:
    _, manifest, _ = build(folder, store="other")
    build(folder)
    for stage in ("builds", "semantic"):
        shutil.rmtree(folder / "store" / stage)
    _, again, cluster = build(folder, shard_bytes=200)
    assert again.build == manifest.build
    _, again, cluster = build(folder)
    assert again.build == manifest.build and cluster.tasks["embeddings"] == 0
    write_file(folder / "web-1.jsonl", 100, 120)
    _, grown, cluster = build(folder)
    assert cluster.tasks["embeddings"] == 1 and grown.build != manifest.build


def test_the_list_names_files_as_they_are_named_now(built: tuple[Path, Path, Manifest]) -> None:
    folder, _, manifest = built
    (folder / "web-0.jsonl").rename(folder / "web-7.jsonl")
    path, renamed, _ = build(folder)
    before, after = (twins_of(folder, each, "web") for each in (manifest, renamed))
    assert {row["file"] for row in before} == {"web-0.jsonl"} and {row["file"] for row in after} == {"web-7.jsonl"}
    assert {"old.jsonl", "web-7.jsonl"} >= {row["kept_file"] for row in after}
    assert audit_target(str(path), str(folder / "store"), "bytes").ok


def test_what_cannot_work_is_refused_before_work(folder: Path) -> None:
    def refuse(semantic: str) -> str:
        text = SPEC.replace("semantic: {threshold: 0.98, embedding: table, min_chars: 10}", semantic)
        (folder / "spec.yaml").write_text(text)
        with pytest.raises((RequestError, SpecError)) as error:
            check_inputs(open_request(folder / "spec.yaml", str(folder / "store")))
        assert not Store(folder / "store").root.exists()
        return str(error.value)

    assert "dedup.semantic.threshold: must be above 0" in refuse("semantic: {threshold: 0}")
    assert "a share must be between 0 and 1" in refuse("semantic: {threshold: 95}")
    assert "dedup.semantic" in refuse("semantic: {embedding: nowhere}") and "no such file" in refuse(
        "semantic: {embedding: nowhere}"
    )
    assert "there is no source 'wep'" in refuse("semantic: {embedding: table, sources: [wep]}")
    assert "compares whole texts only" in refuse("on: prompts, semantic: {embedding: table}")
