"""Replay: what raw files, steps and the reference tokenizer give once more is what the build says they gave."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from in_process import InProcess
from mixproof.ledger.manifest import Manifest, read_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.load import LoadedSpec, load_spec
from mixproof.pipeline.inputs.files import InputFile, find_files
from mixproof.tokenize.audit import Failure, replay_build
from mixproof.tokenize.build import build

SPEC = """\
schema: 1
name: small
sources:
  manual: {files: "manual-*.jsonl", steps: [{length: {min_chars: 100}}, pii]}
  guide: {files: "guide.jsonl.gz"}
  code: {files: "code/*.txt", format: code}
on_bad_record: {reject: 10%}
dedup: {exact: true, keep: [manual]}
heldout: {create: {min_documents: 1, tokens: 100}}
tokenizer: {sentencepiece: tok.model}
mixtures: {even: {parts: {manual: 1, guide: 1, code: 1}}}
train: {proxies: {nano: {tokens: 64K, global_batch_size: 4, lr: 1e-3, min_lr: 1e-4}}}
"""


@dataclass(frozen=True)
class Built:
    """A build in a store, with the raw files that it came from."""

    loaded: LoadedSpec
    store: Store
    manifest_path: Path

    @property
    def manifest(self) -> Manifest:
        """The build's statement."""
        return read_manifest(self.manifest_path)

    @property
    def files(self) -> Mapping[str, Sequence[InputFile]]:
        """The raw files as they are now."""
        return find_files(self.loaded.spec, self.loaded.base)

    def replay(self, share: Fraction = Fraction(1)) -> tuple[Failure, ...]:
        """Failures of a replay."""
        with InProcess() as cluster:
            spec = self.loaded.spec
            return replay_build(spec, self.files, self.store, self.manifest_path, cluster, share).failures


@pytest.fixture
def built(tmp_path: Path, topics: list[str], model: Path) -> Built:
    """Three sources: steps that drop and change, bad records, documents lost to another source, a tree of files."""
    shutil.copy(model, tmp_path / "tok.model")

    def line(text: str) -> bytes:
        return json.dumps({"text": text}).encode() + b"\n"

    mail = "Write to someone.else@gmail.com about it, please. " * 5
    for number, part in enumerate((topics[:8], [*topics[8:16], "too short", mail])):
        (tmp_path / f"manual-{number}.jsonl").write_bytes(b"\n".join(map(line, part)))
    guide = [*map(line, topics[24:34]), b"{broken\n", *map(line, topics[:2]), line("   ")]
    (tmp_path / "guide.jsonl.gz").write_bytes(gzip.compress(b"".join(guide)))
    (tmp_path / "code").mkdir()
    for number, text in enumerate(topics[40:46]):
        (tmp_path / "code" / f"{number}.txt").write_text(text)
    (tmp_path / "spec.yaml").write_text(SPEC)
    loaded, store = load_spec(tmp_path / "spec.yaml"), Store(tmp_path / "store")
    with InProcess() as cluster:
        return Built(loaded, store, build(loaded, store, cluster, part_bytes=8_000).manifest_path)


def test_a_build_is_what_its_raw_files_give_once_more(built: Built) -> None:
    assert built.replay() == ()
    assert built.replay(Fraction(1, 3)) == ()


def test_ids_that_are_not_those_of_the_text_are_caught_where_no_checksum_is_left_to_tell(built: Built) -> None:
    part = built.manifest.sources["manual"].train.datasets[0]
    path = built.store.path(f"{part.prefix}.bin")
    ids = np.fromfile(path, np.uint16)
    ids[0] ^= 1
    ids.tofile(path)
    assert [(f.equation, f.file) for f in built.replay()] == [("E5", str(path))]


def test_provenance_that_names_another_text_or_record_is_caught(built: Built) -> None:
    part = built.manifest.sources["guide"].train.datasets[0]
    path = built.store.path(part.provenance)
    table = pq.read_table(path)

    def replace(column: str, values: list[object]) -> set[tuple[str, str]]:
        place = table.schema.get_field_index(column)
        field = table.schema.field(column)
        pq.write_table(table.set_column(place, field, pa.array(values, field.type)), path)
        return {(failure.equation, failure.file) for failure in built.replay()}

    hashes = table["text_xxh128"].to_pylist()
    assert replace("text_xxh128", ["0" * 32, *hashes[1:]]) == {("checksum", str(path))}
    records = table["record"].to_pylist()
    assert ("E1", str(path)) in replace("record", [*records[:-1], 99])


def test_an_edited_reason_and_a_changed_raw_file_are_caught(built: Built) -> None:
    text = built.manifest_path.read_text()
    assert text.count("invalid_json") == 1
    built.manifest_path.write_text(text.replace("invalid_json", "missing_text"))
    assert [(f.equation, f.stage, f.source) for f in built.replay()] == [("E1", "read", "guide")]
    built.manifest_path.write_text(text)
    raw = built.loaded.base / "code" / "3.txt"
    raw.write_text(raw.read_text() + "!")
    assert [(f.equation, f.file) for f in built.replay()] == [("checksum", str(raw))]
