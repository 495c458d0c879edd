"""Samples of dropped documents: the first of each reason, with the value that decided and its threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixproof.ledger.store import Store
from mixproof.pipeline.heldout.document_matches import DROPPED_SCHEMA
from mixproof.tokenize.page.account import account_table, loss_table
from mixproof.tokenize.page.build_evidence import BuildEvidence, Statement
from mixproof.tokenize.page.palette import OF_SOURCES, looks
from mixproof.tokenize.page.samples import EXCERPT, Dropped, Sample, dropped
from small_manifest import divided_manifest, manifest

SPEC: dict[str, Any] = {
    "sources": {"code": {"steps": [{"name": "length", "options": {"min_chars": 20}}]}},
    "decontaminate": {"ngram": 13, "overlap": "0.5", "against": []},
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def build(**lists: list[dict[str, Any]]) -> BuildEvidence:
    made = manifest().model_copy(update={"spec": SPEC})
    return BuildEvidence(made, Statement("manifest.json", made.to_bytes().decode()), {"lists": {"code": lists}})


def listed(
    store: Store, name: str, table: pa.Table, file: str | None = "a.jsonl", first_record: int = 0
) -> dict[str, Any]:
    pq.write_table(table, store.path(name))
    return {"path": name, "file": file, "first_record": first_record, "rows": len(table)}


def by_reason(found: list[Dropped]) -> dict[str, Dropped]:
    return {one.loss.reason: one for one in found}


def test_a_document_that_a_step_dropped_shows_its_text_value_and_threshold(store: Store) -> None:
    rows = [
        {"record": number, "id": None, "step": "length", "reason": "too_short", "text": "x" * (5 + number)}
        for number in range(4)
    ]
    entry = listed(store, "dropped.parquet", pa.Table.from_pylist(rows), first_record=100)
    found = by_reason(dropped(store, build(dropped=[entry])))
    short = found["too_short"]
    assert short.threshold == "min_chars: 20"
    assert short.loss.documents == 30
    assert short.samples == (
        Sample("a.jsonl, record 100", "xxxxx", "5"),
        Sample("a.jsonl, record 101", "xxxxxx", "6"),
    )
    assert found["exact_duplicate"].samples == ()


def test_an_overlap_shows_its_share_of_the_shorter_text(store: Store) -> None:
    row = dict.fromkeys(DROPPED_SCHEMA.names) | {
        "record": 3,
        "file": "b.jsonl",
        "id": "b3",
        "start": "once",
        "ngrams": 10,
        "reason": "heldout_overlap",
        "shared_ngrams": 6,
        "match": "code",
        "match_record": 1,
        "match_ngrams": 8,
        "match_start": "upon",
    }
    entry = listed(store, "overlap.parquet", pa.Table.from_pylist([row], schema=DROPPED_SCHEMA), file=None)
    (sample,) = by_reason(dropped(store, build(decontaminated=[entry])))["heldout_overlap"].samples
    assert sample == Sample("b.jsonl, record 3, id b3", "once\n\noverlaps with code, which begins: upon", "0.75")
    assert by_reason(dropped(store, build()))["heldout_overlap"].threshold == "overlap: 0.5"


def test_a_duplicate_shows_the_document_kept_instead(store: Store) -> None:
    row = {
        "stage": "dedup",
        "reason": "exact_duplicate",
        "file": "a.jsonl",
        "record": 1_234,
        "id": None,
        "kept_source": "english",
        "kept_file": "c.parquet",
        "kept_record": 5,
    }
    entry = listed(store, "removed.parquet", pa.Table.from_pylist([row]), file=None)
    (sample,) = by_reason(dropped(store, build(removed=[entry])))["exact_duplicate"].samples
    assert sample == Sample("a.jsonl, record 1,234", "kept instead: english, c.parquet, record 5")
    entry = listed(store, "removed.parquet", pa.Table.from_pylist([{**row, "cosine": 0.96789}]), file=None)
    (sample,) = by_reason(dropped(store, build(removed=[entry])))["exact_duplicate"].samples
    assert sample.value == "0.968"


def test_a_rejected_record_shows_what_the_reader_said_cut_to_an_excerpt(store: Store) -> None:
    row = {"record": 9, "line": 10, "reason": "invalid_json", "detail": "y" * 1_000}
    entry = listed(store, "rejects.parquet", pa.Table.from_pylist([row]))
    (sample,) = by_reason(dropped(store, build(rejected=[entry])))["invalid_json"].samples
    assert sample.text == "y" * EXCERPT + " …"


def test_of_a_document_without_a_recorded_text_the_location_is_shown(store: Store) -> None:
    row = {"stage": "length", "reason": "too_short", "file": "a.jsonl", "record": 7, "id": "x", "kept_file": None}
    entry = listed(store, "removed.parquet", pa.Table.from_pylist([row]), file=None)
    assert by_reason(dropped(store, build(removed=[entry])))["too_short"].samples == (
        Sample("a.jsonl, record 7, id x", ""),
    )


def test_what_a_source_lost_before_it_was_divided_is_stated_once_under_its_name(store: Store) -> None:
    made = divided_manifest()
    rows = [
        {"stage": "dedup", "reason": "exact_duplicate", "file": "a.jsonl", "record": 4, "id": None}
        | {"kept_source": "code", "kept_file": "a.jsonl", "kept_record": 2}
    ]
    entry = listed(store, "removed.parquet", pa.Table.from_pylist(rows), file=None)
    evidence = BuildEvidence(
        made, Statement("manifest.json", made.to_bytes().decode()), {"lists": {"code": {"removed": [entry]}}}
    )
    found = dropped(store, evidence)
    assert [(one.loss.source, one.loss.reason, len(one.samples)) for one in found] == [
        ("code", "invalid_json", 0),
        ("code", "too_short", 0),
        ("code", "exact_duplicate", 1),
    ]
    sources = looks(made.sources, OF_SOURCES)
    lost = loss_table(evidence, sources, 0)
    assert [(row[0].text, row[3].text) for row in lost.rows] == [("code", lost) for lost in ("10", "30", "0", "25")]
    account = {row[0].text: [cell.text for cell in row[2:4]] for row in account_table(evidence, sources, 0).rows}
    assert (account["code"], account["code/a"], account["code/b"]) == (["1,000", "–"], ["–", "690"], ["–", "225"])


def test_without_lists_the_counts_are_all_there_is(store: Store) -> None:
    found = dropped(store, build())
    assert [(one.loss.reason, one.loss.documents, one.samples) for one in found] == [
        ("invalid_json", 10, ()),
        ("too_short", 30, ()),
        ("exact_duplicate", 25, ()),
        ("heldout_overlap", 3, ()),
    ]
