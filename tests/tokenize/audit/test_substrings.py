"""A build without repeated substrings: audited, replayed, and wrong lines of its lists are caught."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from audited_builds import edit_list, failures, make
from mixproof.ledger.manifest import read_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.load import LoadedSpec, load_spec
from mixproof.tokenize.audit import missed_repeats
from mixproof.tokenize.audit.missed_repeats import WindowSample, _missed

SPEC = """\
schema: 1
name: small
sources:
  manual: {files: "manual.jsonl", steps: [pii]}
  guide: {files: "guide.jsonl"}
dedup: {paragraphs: {min_words: 5, min_doc_words: 1}, substrings: {bytes: 150, min_doc_words: 8}}
heldout: {create: {min_documents: 1, tokens: 100}}
tokenizer: {sentencepiece: tok.model}
mixtures: {even: {parts: {manual: 1, guide: 1}}}
train: {proxies: {nano: {tokens: 64K, global_batch_size: 4, lr: 1e-3, min_lr: 1e-4}}}
"""
NOTICE = (
    "Über diese Seite bestimmt ihr Verfasser; write to someone.else@gmail.com about it, please, and allow for a number "
    "of weeks, because it is a long way from here to there."
)
MASKED = NOTICE.replace("someone.else@gmail.com", "email@example.com")
LINE = "Every page of this manual has this line, which paragraphs take"


@pytest.fixture
def loaded(tmp_path: Path, topics: list[str], model: Path) -> LoadedSpec:
    """Two sources whose texts share a notice in their last line, and a text of little else."""
    shutil.copy(model, tmp_path / "tok.model")
    for name, texts in {
        "manual": [
            *(f"{LINE}\n{text} {number} {NOTICE}" for number, text in enumerate(topics[:8], 10)),
            f"Too {NOTICE}",
        ],
        "guide": [f"{text} {number} {MASKED}" for number, text in enumerate(topics[24:32])],
    }.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "spec.yaml").write_text(SPEC)
    return load_spec(tmp_path / "spec.yaml")


def test_a_build_without_repeated_substrings_is_audited_and_replayed(loaded: LoadedSpec, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    path = make(loaded, store)
    manifest = read_manifest(path)
    assert failures(loaded, store, path) == []
    guide, manual = manifest.sources["guide"], manifest.sources["manual"]
    stages = ["read", "dedup", "paragraphs", "substrings", "decontaminate", "split", "encode"]
    assert [row.stage for row in guide.ledger] == stages
    assert (guide.ledger[3].bytes_removed, guide.substring_cuts[0].documents) == (7 * len(f" {MASKED}".encode()), 7)
    assert manual.ledger[4].dropped["too_short"].documents == 1
    assert (manual.cuts[0].documents, manual.substring_cuts[0].documents) == (7, 9)
    assert {(row.source, row.lost_to) for row in manifest.dedup_matrix} >= {("manual", "guide"), ("guide", "guide")}


def test_repeats_that_are_in_no_list_are_found_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missed_repeats, "BLOCK", 64)  # windows in different blocks are compared, too
    notice = "A notice of some bytes that is on both of the pages."

    def missed(*texts: str, matched: tuple[int, int] = (0, 0)) -> list[tuple[str, str]]:
        sample = WindowSample(window=40, spacing=1)
        for number, text in enumerate(texts):
            inside = np.zeros(len(text), np.bool_)
            inside[slice(*matched)] = number == 1
            sample.add(("a.jsonl", number), text.encode(), inside)
        return _missed([("web", sample)])

    pages = ("0123456789" * 6, "9876543210" * 6)
    assert missed(*pages) == []
    pages = (pages[0] + notice, pages[1] + notice)
    assert len(missed(*pages)) == len(notice) - 40 + 1
    assert missed(*pages)[0][0].startswith("web a.jsonl record 0 byte")
    assert missed(*pages, matched=(60, 60 + len(notice))) == []
    assert missed("x" * 79) == [] and len(missed("x" * 80)) == 1


def test_a_build_without_substrings_has_no_lists_of_them(loaded: LoadedSpec, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.replace(", substrings: {bytes: 150, min_doc_words: 8}", ""))
    manifest = json.loads(make(load_spec(tmp_path / "spec.yaml"), Store(tmp_path / "store")).read_bytes())
    assert "substrings" not in manifest["spec"]["dedup"]
    assert "substring_cuts" not in manifest["sources"]["guide"]


def _edited(column: str, change: Callable[[Any], Any]) -> Callable[[pa.Table], pa.Table]:
    def edit(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        index = table.schema.get_field_index(column)
        edited = pa.array([change(values[0]), *values[1:]], table.schema.field(column).type)
        return table.set_column(index, table.schema.field(column), edited)

    return edit


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (_edited("starts", lambda starts: [starts[0] - 1]), "repeated bytes"),
        (_edited("kept_starts", lambda starts: [starts[0] + 1]), "kept copy"),
        (_edited("kept_records", lambda records: [records[0] + 100]), "lose or keep"),
        (_edited("starts", lambda starts: [*starts, 0]), "numbers of items"),
        (_edited("bytes", lambda size: size + 1), "lists of substrings"),
    ],
)
def test_an_edited_list_is_caught_by_more_than_its_checksum(
    loaded: LoadedSpec, tmp_path: Path, edit: Callable[[pa.Table], pa.Table], expected: str
) -> None:
    store = Store(tmp_path / "store")
    path = make(loaded, store)
    edit_list(store, path, read_manifest(path).sources["manual"].substring_cuts[0], edit)
    assert expected in " ".join(str(failure) for failure in failures(loaded, store, path))
