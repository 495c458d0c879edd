"""Dolma's documents with attributes: joined by id, filtered and counted, and never joined to other documents."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.documents import SourceDocuments, read_sources

SPEC = """\
schema: 1
name: dolma
sources:
  web:
    files: "documents/*.jsonl.gz"
    attributes: [attributes/pii, attributes/quality]
    steps:
      - {attribute: {name: pii__emails, of: count, max: 1}}
      - {attribute: {name: quality__score, min: 0.5}}
tokenizer: {sentencepiece: tok.model}
mixtures: {all: {web: 100%}}
train: {proxies: {nano: {tokens: 1000, global_batch_size: 2, lr: 1.0e-3}}}
"""
EMAILS = {"a": [], "b": [[0, 3, 1.0], [5, 8, 1.0]], "c": [[0, 3, 1.0]], "d": [], "e": []}
SCORES = {"a": [[0, 9, 0.9]], "b": [[0, 9, 0.9]], "c": [[0, 9, 0.4]], "d": [[0, 9, 0.5]], "e": []}


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def line_of(name: str, attribute: str, spans: Any) -> str:  # noqa: ANN401  any JSON
    return json.dumps({"id": name, "attributes": {attribute: spans}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Documents a to e, and a line that is not JSON, which taggers left out."""
    documents = [json.dumps({"id": name, "text": f"text of {name}", "source": "web"}) for name in "abcde"]
    write_lines(tmp_path / "documents/0.jsonl.gz", [*documents[:2], "{no json", *documents[2:]])
    write_lines(tmp_path / "attributes/pii/0.jsonl.gz", [line_of(n, "pii__emails", s) for n, s in EMAILS.items()])
    write_lines(
        tmp_path / "attributes/quality/0.jsonl.gz", [line_of(n, "quality__score", s) for n, s in SCORES.items()]
    )
    (tmp_path / "spec.yaml").write_text(SPEC.replace("on_bad", "on_bad") + "on_bad_record: {reject: 50%}\n")
    return tmp_path


def read(folder: Path, cluster: Cluster) -> SourceDocuments:
    loaded = load_spec(folder / "spec.yaml")
    files = find_files(loaded.spec, loaded.base)
    return read_sources(loaded.spec, files, Store(folder / "store"), cluster)["web"]


def test_documents_are_filtered_by_their_attributes_and_counted_by_filter(folder: Path, cluster: Cluster) -> None:
    """B has two addresses, c a low score, e none; d is on the bound."""
    rows = {row.stage: row for row in read(folder, cluster).ledger}
    assert (rows["read"].documents_in, rows["read"].documents_out) == (6, 5)
    dropped = {name: {reason: n.documents for reason, n in row.dropped.items()} for name, row in rows.items()}
    assert dropped["attribute"] == {"attribute_above": 1}
    assert dropped["attribute#2"] == {"attribute_below": 2}
    assert rows["attribute#2"].documents_out == 2


def test_changed_attributes_are_read_again(folder: Path, cluster: Cluster) -> None:
    before = read(folder, cluster).ledger[-1].documents_out
    changed: Mapping[str, Any] = {**SCORES, "e": [[0, 9, 0.8]]}
    lines = [line_of(name, "quality__score", spans) for name, spans in changed.items()]
    write_lines(folder / "attributes/quality/0.jsonl.gz", lines)
    assert (before, read(folder, cluster).ledger[-1].documents_out) == (2, 3)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("abcd", "line 4: no attributes of document 'e'"),
        ("abcdex", "line 6: attributes of 'x', which is not in the file of documents"),
        ("abdce", "attributes of document 'd', but the file of documents has 'c' there"),
        ("acbde", "line 2: attributes of document 'c', but the file of documents has 'b' there"),
    ],
)
def test_files_that_do_not_match_are_refused_with_line_and_id(
    folder: Path, cluster: Cluster, names: str, message: str
) -> None:
    documents = [json.dumps({"id": name, "text": f"text of {name}"}) for name in "abcde"]
    write_lines(folder / "documents/0.jsonl.gz", documents)
    lines = [line_of(name, "quality__score", [[0, 9, 1.0]]) for name in names]
    write_lines(folder / "attributes/quality/0.jsonl.gz", lines)
    with pytest.raises(DamagedFileError, match=re.escape(message)) as error:
        read(folder, cluster)
    assert "attributes/quality/0.jsonl.gz" in str(error.value)


def test_a_missing_file_of_attributes_is_an_error_before_any_work(folder: Path, cluster: Cluster) -> None:
    (folder / "attributes/pii/0.jsonl.gz").unlink()
    with pytest.raises(RequestError, match=r"sources\.web\.attributes: there is no file attributes/pii/0\.jsonl\.gz"):
        read(folder, cluster)
    assert not (folder / "store").exists()
