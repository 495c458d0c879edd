"""The audit of a build: a whole one passes, and every way to tamper with one is caught and named."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.ledger.store.receipt import seal
from mixproof.ledger.store.sealed import seal_receipts
from mixproof.tokenize.audit import AuditReport, audit_build
from mixproof.tokenize.audit.receipts import check_receipts
from mixproof.tokenize.audit.report import Checks


class Build(Protocol):
    """What `conftest.HandBuild` offers."""

    root: Path
    manifest: Path

    def load(self) -> dict[str, Any]:
        """The manifest as plain JSON."""

    def edit(self, data: dict[str, Any], *, rename: bool) -> Path:
        """Write the manifest anew."""

    def forge(self, data: dict[str, Any]) -> Path:
        """Write it with the checksums that the files have now."""


def equations(report: AuditReport) -> set[str]:
    """Equations that failed."""
    return {failure.equation for failure in report.failures}


def leaves(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], object]]:
    """Every scalar of a JSON value with its path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path, value
        return
    for name, item in items:
        yield from leaves(item, (*path, name))


def put(data: Any, path: tuple[Any, ...], value: object) -> None:  # noqa: ANN401  (plain JSON)
    """Set the scalar at `path`."""
    for name in path[:-1]:
        data = data[name]
    data[path[-1]] = value


def files_of(build: Build) -> list[Path]:
    """Every file that the manifest speaks for, itself included."""
    return sorted(path for path in build.root.rglob("*") if path.is_file())


def rewrite(path: Path, column: str, values: list[Any]) -> None:
    """Replace one column of a Parquet file."""
    table = pq.read_table(path)
    number = table.schema.get_field_index(column)
    pq.write_table(table.set_column(number, table.schema.field(number), pa.array(values, table[column].type)), path)


def test_a_whole_build_passes_and_the_deeper_audit_checks_more(hand_build: Build) -> None:
    arithmetic = audit_build(hand_build.manifest, "arithmetic")
    whole = audit_build(hand_build.manifest, "bytes")
    assert arithmetic.failures == ()
    assert whole.failures == ()
    assert (arithmetic.ok, whole.ok) == (True, True)
    assert 0 < arithmetic.checks < whole.checks
    reencoded = {"heldout": 8, "train": 104, "not_restored": 0, "with_control_tokens": 0, "without_texts": ()}
    assert whole.to_json() == {
        "ok": True,
        "depth": "bytes",
        "checks": whole.checks,
        "failures": [],
        "reencoded": reencoded,
    }
    assert arithmetic.to_json()["reencoded"] is None


def test_a_hundred_random_corruptions_of_files_are_each_caught_and_the_file_is_named(hand_build: Build) -> None:
    rng = np.random.default_rng(20)
    originals = {path: path.read_bytes() for path in files_of(hand_build)}
    for _ in range(100):
        path = list(originals)[rng.integers(len(originals))]
        raw = bytearray(originals[path])
        kind = str(rng.choice(["flip", "truncate", "delete", "replace", "append"]))
        if kind == "delete" and path == hand_build.manifest:
            continue
        if kind == "flip":
            raw[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
        elif kind == "truncate":
            del raw[rng.integers(len(raw)) :]
        elif kind == "append":
            raw += b"\0"
        elif kind == "replace":
            others = [other for other in originals if originals[other] != originals[path]]
            raw = bytearray(originals[others[rng.integers(len(others))]])
        path.write_bytes(raw) if kind != "delete" else path.unlink()
        report = audit_build(hand_build.manifest, "bytes")
        assert not report.ok, (kind, path)
        assert ("checksum", str(path)) in {(f.equation, f.file) for f in report.failures}, (kind, path)
        path.write_bytes(originals[path])
    assert audit_build(hand_build.manifest, "bytes").ok


def test_every_number_of_the_manifest_is_caught_when_edited_though_the_folder_is_renamed(hand_build: Build) -> None:
    numbers = [(path, value) for path, value in leaves(hand_build.load()) if isinstance(value, int)]
    assert len(numbers) > 100
    for path, value in numbers:
        data = hand_build.load()
        put(data, path, value + 1)
        report = audit_build(hand_build.edit(data, rename=True), "bytes")
        assert not report.ok, path
        if path[0] == "sources":
            assert path[1] in {failure.source for failure in report.failures}, path


def test_counts_of_documents_tokens_and_bytes_are_caught_by_arithmetic_alone(hand_build: Build) -> None:
    for path, value in list(leaves(hand_build.load())):
        if path[0] in ("sources", "totals", "dedup_matrix") and isinstance(value, int):
            data = hand_build.load()
            put(data, path, value + 1)
            report = audit_build(hand_build.edit(data, rename=True), "arithmetic")
            assert not report.ok, path


def test_every_name_and_checksum_of_the_manifest_is_caught_when_edited(hand_build: Build) -> None:
    for path, value in list(leaves(hand_build.load())):
        # the writer's version is no statement about any byte
        if isinstance(value, str) and path != ("mixproof",):
            data = hand_build.load()
            put(data, path, value[:-1] + ("0" if value[-1] != "0" else "1"))
            report = audit_build(hand_build.edit(data, rename=True), "bytes")
            assert not report.ok, path


def test_an_edited_count_in_place_fails_the_checksum_and_the_equation_that_it_breaks(hand_build: Build) -> None:
    data = hand_build.load()
    data["sources"]["web"]["train"]["documents"] = 53
    report = audit_build(hand_build.edit(data, rename=False), "arithmetic")
    found = {(f.equation, f.source, f.expected, f.found) for f in report.failures}
    assert "checksum" in equations(report)
    assert ("E4", "web", "58 documents, train + held out", "57 documents, train + held out") in found
    assert ("E5", "web", "53 EODs", "54 EODs") in found
    assert ("E6", "web", "53 documents in all parts", "54 documents in all parts") in found


@pytest.mark.parametrize("depth", ["arithmetic", "bytes"])
def test_equations_that_do_not_close_are_named_with_source_stage_and_both_sides(hand_build: Build, depth: Any) -> None:  # noqa: ANN401  (a literal)
    data = hand_build.load()
    data["sources"]["web"]["ledger"][2]["dropped"]["exact_duplicate"]["bytes"] = 19
    report = audit_build(hand_build.edit(data, rename=True), depth)
    assert [(f.equation, f.source, f.stage, f.expected, f.found) for f in report.failures] == [
        ("E2", "web", "dedup", "2260 bytes", "2259 bytes"),
        ("E2", "web", "dedup", "19 bytes lost by the matrix", "20 bytes lost by the matrix"),
    ]


def test_a_stale_index_is_caught_though_its_checksum_is_recorded(hand_build: Build) -> None:
    prefix = hand_build.root / "encode/11/code-train-00000"
    shutil.copy(f"{hand_build.root}/encode/11/code-train-00001.idx", f"{prefix}.idx")
    assert equations(audit_build(hand_build.manifest, "bytes")) == {"checksum"}
    report = audit_build(hand_build.forge(hand_build.load()), "bytes")
    assert equations(report) == {"E5"}
    assert {failure.file for failure in report.failures} == {f"{prefix}.idx"}
    assert {failure.shard for failure in report.failures} == {"encode/11/code-train-00000"}


def test_a_truncated_part_is_caught_though_its_checksum_is_recorded(hand_build: Build) -> None:
    path = hand_build.root / "encode/12/web-train-00000.bin"
    path.write_bytes(path.read_bytes()[:-2])
    report = audit_build(hand_build.forge(hand_build.load()), "bytes")
    assert [(f.equation, f.file) for f in report.failures] == [("E5", str(path))]


def test_an_id_beyond_the_vocabulary_and_a_moved_end_of_document_are_caught(hand_build: Build) -> None:
    path = hand_build.root / "encode/12/web-train-00000.bin"
    tokens = np.fromfile(path, np.uint16)
    whole = tokens.copy()
    tokens[0] = 300
    tokens.tofile(path)
    report = audit_build(hand_build.forge(hand_build.load()), "bytes")
    assert [(f.equation, f.expected, f.found) for f in report.failures] == [("E5", "ids below 300", "id 300")]
    end = int(np.argmax(whole == 2))
    whole[[end, end + 1]] = whole[[end + 1, end]]
    whole.tofile(path)
    report = audit_build(hand_build.forge(hand_build.load()), "bytes")
    assert [f.expected for f in report.failures] == ["0 documents without an EOD at their end"]


def test_an_index_that_shifts_a_boundary_is_caught_though_every_sum_holds(hand_build: Build) -> None:
    path = hand_build.root / "encode/12/web-train-00000.idx"
    raw = bytearray(path.read_bytes())
    lengths = np.frombuffer(raw, np.int32, 54, 34)
    at = int(np.argmax((lengths[:-1] > 3) & (lengths[1:] > 3)))
    lengths[at] -= 1
    lengths[at + 1] += 1
    path.write_bytes(raw)
    report = audit_build(hand_build.forge(hand_build.load()), "bytes")
    assert [f.expected for f in report.failures] == ["contiguous documents"]


def test_parts_in_another_order_are_caught(hand_build: Build) -> None:
    data = hand_build.load()
    data["sources"]["code"]["train"]["datasets"].reverse()
    report = audit_build(hand_build.edit(data, rename=True), "bytes")
    assert [(f.equation, f.source, f.stage, f.shard) for f in report.failures] == [
        ("E6", "code", "train", "encode/11/code-train-00000")
    ]


def test_parts_swapped_between_sources_are_caught_by_name(hand_build: Build) -> None:
    code, web = (hand_build.root / f"encode/{name}-train-00000.bin" for name in ("11/code", "12/web"))
    kept = code.read_bytes()
    shutil.copy(web, code)
    web.write_bytes(kept)
    report = audit_build(hand_build.manifest, "bytes")
    assert [(f.equation, f.file) for f in report.failures] == [("checksum", str(code)), ("checksum", str(web))]


@pytest.mark.parametrize(
    ("column", "row", "value", "equation", "rule"),
    [
        ("document", 3, 4, "schema", "documents numbered from 0"),
        ("file", 0, "c.jsonl", "E1", "files and records that the source has"),
        ("record", 53, 30, "E1", "files and records that the source has"),
        ("record", 1, 5, "E6", "documents in ascending order of (file, record)"),
        ("record", 0, 4, "E4", "no training document that is held out"),
        ("tokens", 2, 500, "E5", "tokens of each document as in the index"),
        ("text_bytes", 2, 500, "E6", None),
        ("text_xxh128", 2, None, "schema", "[] columns with nulls"),
    ],
)
def test_provenance_that_breaks_a_rule_is_caught(
    hand_build: Build, column: str, row: int, value: object, equation: str, rule: str | None
) -> None:
    path = hand_build.root / "encode/12/web-train-00000.parquet"
    values = pq.read_table(path)[column].to_pylist()
    rewrite(path, column, [*values[:row], value, *values[row + 1 :]])
    report = audit_build(hand_build.forge(hand_build.load()), "bytes")
    assert [(f.equation, f.source) for f in report.failures] == [(equation, "web")]
    assert rule is None or report.failures[0].expected == rule


def test_a_training_text_equal_to_any_held_out_text_is_caught_unless_the_spec_says_so(hand_build: Build) -> None:
    held = pq.read_table(hand_build.root / "encode/11/code-heldout-00000.parquet")["text_xxh128"].to_pylist()
    path = hand_build.root / "encode/12/web-train-00000.parquet"
    hashes = pq.read_table(path)["text_xxh128"].to_pylist()
    rewrite(path, "text_xxh128", [*hashes[:7], held[2], *hashes[8:]])
    data = hand_build.load()
    report = audit_build(hand_build.forge(data), "bytes")
    assert [(f.equation, f.source, f.expected) for f in report.failures] == [
        ("E4", "web", "no training text equal to a held-out one")
    ]
    assert "a.jsonl record 12 in row 7" in report.failures[0].found


def test_a_held_out_text_that_was_edited_is_caught_by_its_own_hash(hand_build: Build) -> None:
    path = hand_build.root / "heldout/12/web.parquet"
    texts = pq.read_table(path)["text"].to_pylist()
    rewrite(path, "text", [texts[0].upper(), *texts[1:]])
    report = audit_build(hand_build.forge(hand_build.load()), "bytes")
    assert [(f.equation, f.expected, f.found) for f in report.failures] == [
        ("checksum", "0 texts with a wrong text_xxh128", "1 texts with a wrong text_xxh128")
    ]


def test_a_manifest_that_leads_out_of_the_store_is_not_followed(hand_build: Build) -> None:
    data = hand_build.load()
    data["tokenizer"]["path"] = "../tok.model"
    report = audit_build(hand_build.edit(data, rename=True), "bytes")
    reason = "tokenizer.path: Value error, '../tok.model' leads out of the store"
    assert [(f.equation, f.found) for f in report.failures] == [("schema", reason)]


def test_a_manifest_of_another_form_is_named_and_one_that_is_not_there_is_a_wrong_request(hand_build: Build) -> None:
    data = hand_build.load()
    del data["totals"]["tokens"]
    report = audit_build(hand_build.edit(data, rename=True), "bytes")
    assert [(f.equation, f.found) for f in report.failures] == [("schema", "totals.tokens: Field required")]
    with pytest.raises(RequestError, match="no manifest found"):
        audit_build(hand_build.root / "builds" / "none" / "manifest.json", "bytes")


@pytest.mark.parametrize("files", [b"[1]", b'{"a":5}', b'{"a":{}}', b'"\xff"', b"[" * 100_000])
def test_a_receipt_that_no_stage_wrote_fails_and_raises_nothing(tmp_path: Path, files: bytes) -> None:
    path = tmp_path / "read" / ("0" * 64) / "receipt.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(seal(b'{"stage":"read","key":"' + b"0" * 64 + b'","files":' + files + b"}"))
    checks = Checks()
    check_receipts(tmp_path, {f"read/{'0' * 64}/a": "1" * 64}, checks)
    (failure,) = checks.report("bytes").failures
    assert (failure.equation, failure.file) == ("checksum", str(path))


def test_a_sealed_receipt_is_audited_as_one_beside_its_output(hand_build: Build) -> None:
    store = Store(hand_build.root)
    (key, *_) = store.keys("encode")
    assert seal_receipts(store, "encode", store.keys("encode"), least=1) == len(store.keys("encode"))
    assert not (hand_build.root / "encode" / key / "receipt.json").exists()
    assert audit_build(hand_build.manifest).ok
    (path,) = hand_build.root.glob("sealed/*/receipts.parquet")
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        row["receipt"] = row["receipt"].replace(b'"facts":{}', b'"facts":{"a":1}')
    pq.write_table(pa.Table.from_pylist(rows), path)
    failures = audit_build(hand_build.manifest).failures
    assert {failure.file for failure in failures} == {
        str(hand_build.root / "encode" / key / "receipt.json") for key in store.keys("encode")
    }
    assert {failure.found for failure in failures} == {"another checksum"}
    path.write_bytes(b"no Parquet")
    assert str(path) in {failure.file for failure in audit_build(hand_build.manifest).failures}
