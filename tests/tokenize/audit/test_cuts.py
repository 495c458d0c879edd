"""A build without the paragraphs that other places keep: audited, replayed, and one wrong line of a list is caught."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from audited_builds import edit_list, failures, make
from mixproof.ledger.manifest import read_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.load import LoadedSpec, load_spec

SPEC = """\
schema: 1
name: small
sources:
  manual: {files: "manual.jsonl", steps: [pii]}
  guide: {files: "guide.jsonl"}
dedup: {exact: false, paragraphs: {min_words: 5, min_doc_words: 8}}
heldout: {create: {min_documents: 1, tokens: 100}}
tokenizer: {sentencepiece: tok.model}
mixtures: {even: {parts: {manual: 1, guide: 1}}}
train: {proxies: {nano: {tokens: 64K, global_batch_size: 4, lr: 1e-3, min_lr: 1e-4}}}
"""
FOOTER = "All rights to this page are reserved; write to someone.else@gmail.com about it."


@pytest.fixture
def loaded(tmp_path: Path, topics: list[str], model: Path) -> LoadedSpec:
    """Two sources whose texts share a last line, the first line of one, and a text of nothing else."""
    shutil.copy(model, tmp_path / "tok.model")
    mail = FOOTER.replace("someone.else@gmail.com", "email@example.com")
    for name, texts in {
        "manual": [*(f"{text}\n{FOOTER}" for text in topics[:8]), f"Too few words\n{FOOTER}"],
        "guide": [*(f"{text}\n{mail}\n" for text in topics[24:32]), mail],
    }.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "spec.yaml").write_text(SPEC)
    return load_spec(tmp_path / "spec.yaml")


def test_a_build_without_repeated_paragraphs_is_audited_and_replayed(loaded: LoadedSpec, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    path = make(loaded, store)
    manifest = read_manifest(path)
    assert failures(loaded, store, path) == []
    guide, manual = manifest.sources["guide"], manifest.sources["manual"]
    assert [row.stage for row in guide.ledger] == ["read", "paragraphs", "decontaminate", "split", "encode"]
    assert set(guide.ledger[1].dropped) == {"no_new_paragraph"}
    assert manual.ledger[2].dropped["too_short"].documents == 1
    assert {(row.source, row.lost_to) for row in manifest.dedup_matrix} >= {("manual", "guide"), ("guide", "guide")}
    assert manual.cuts[0].documents == 9


def test_a_build_without_paragraphs_says_nothing_of_them(loaded: LoadedSpec, tmp_path: Path) -> None:
    lines = [line for line in SPEC.splitlines(keepends=True) if "dedup" not in line]
    (tmp_path / "spec.yaml").write_text("".join(lines))
    manifest = json.loads(make(load_spec(tmp_path / "spec.yaml"), Store(tmp_path / "store")).read_bytes())
    assert manifest["spec"]["dedup"] is None
    assert "cuts" not in manifest["sources"]["guide"]


def _another_line(table: pa.Table) -> pa.Table:
    lines = table["paragraphs"].to_pylist()
    return table.set_column(3, table.schema.field(3), pa.array([[0], *lines[1:]], table.schema.field(3).type))


def _another_size(table: pa.Table) -> pa.Table:
    sizes = table["bytes"].to_pylist()
    return table.set_column(5, table.schema.field(5), pa.array([sizes[0] + 1, *sizes[1:]], pa.int64()))


def _another_order(table: pa.Table) -> pa.Table:
    return table.take([1, 0, *range(2, len(table))])


@pytest.mark.parametrize(
    ("edit", "equation"), [(_another_line, "checksum"), (_another_size, "E2"), (_another_order, "schema")]
)
def test_an_edited_list_is_caught_by_more_than_its_checksum(
    loaded: LoadedSpec, tmp_path: Path, edit: Callable[[pa.Table], pa.Table], equation: str
) -> None:
    store = Store(tmp_path / "store")
    path = make(loaded, store)
    edit_list(store, path, read_manifest(path).sources["manual"].cuts[0], edit)
    assert equation in {failure.equation for failure in failures(loaded, store, path)}
