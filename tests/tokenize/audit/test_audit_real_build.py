"""The audit over what `build` really writes: clean as it is, and one wrong byte in any file is named."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from in_process import InProcess
from mixproof.ledger.manifest import Manifest, read_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.tokenize.audit import audit_build
from mixproof.tokenize.audit.parts import train_parts
from mixproof.tokenize.build import build

SPEC = """\
schema: 1
name: small
sources:
  manual: {files: "manual-*.jsonl", steps: [{length: {min_chars: 100}}, {length: {max_chars: 20000}}]}
  guide: {files: "guide.jsonl.gz"}
on_bad_record: {reject: 10%}
dedup: {exact: true, keep: [manual]}
heldout: HELDOUT
decontaminate: DECONTAMINATE
tokenizer: {sentencepiece: tok.model}
mixtures: {even: {parts: {manual: 1, guide: 1}}}
train: {proxies: {nano: {tokens: 64K, global_batch_size: 4, lr: 1e-3, min_lr: 1e-4}}}
"""
CREATE = SPEC.replace("HELDOUT", "{create: {min_documents: 2, tokens: 200}}")


@pytest.fixture
def corpus(tmp_path: Path, topics: list[str], model: Path) -> Path:
    """Two sources of the Python manual's texts; `guide` repeats two of `manual` and has a bad line."""
    folder = tmp_path / "corpus"
    folder.mkdir()

    def line(text: str) -> bytes:
        return json.dumps({"text": text}).encode() + b"\n"

    for number, texts in enumerate((topics[:12], topics[12:24])):
        (folder / f"manual-{number}.jsonl").write_bytes(b"\n".join(line(text) for text in texts))
    guide = [*map(line, topics[24:40]), b"{broken\n", *map(line, topics[:2]), line("   ")]
    (folder / "guide.jsonl.gz").write_bytes(gzip.compress(b"".join(guide)))
    shutil.copy(model, folder / "tok.model")
    return folder


def build_spec(text: str, corpus: Path, store: Store, cluster: Cluster) -> Path:
    """Build in parts of 8 KB; the manifest's path."""
    (corpus / "spec.yaml").write_text(text)
    return build(load_spec(corpus / "spec.yaml"), store, cluster, part_bytes=8_000).manifest_path


def named_files(manifest: Manifest, store: Store) -> list[Path]:
    """Every file that the manifest names."""
    names = [manifest.tokenizer.path]
    for source in manifest.sources.values():
        assert source.heldout.texts is not None
        names += [source.inputs.path, source.heldout.texts.path]
        for part in (*source.train.datasets, *source.heldout.datasets):
            names += [f"{part.prefix}.bin", f"{part.prefix}.idx", part.provenance]
    return [store.path(name) for name in names]


def test_a_real_build_is_clean_and_one_wrong_byte_in_any_of_its_files_is_named(
    corpus: Path, store: Store, cluster: Cluster
) -> None:
    path = build_spec(CREATE.replace("DECONTAMINATE", "false"), corpus, store, cluster)
    assert audit_build(path, "arithmetic").failures == ()
    assert audit_build(path, "bytes").failures == ()
    manifest = read_manifest(path)
    assert len(manifest.sources["manual"].train.datasets) > 1
    draw = np.random.default_rng(1)
    for file in named_files(manifest, store):
        whole = file.read_bytes()
        raw = bytearray(whole)
        raw[draw.integers(len(raw))] ^= 1 << int(draw.integers(8))
        file.write_bytes(raw)
        report = audit_build(path, "bytes")
        assert [(f.equation, f.file) for f in report.failures] == [("checksum", str(file))]
        file.write_bytes(whole)


def test_a_build_with_imported_held_out_sets_and_decontamination_is_clean(
    corpus: Path, store: Store, cluster: Cluster
) -> None:
    first = build_spec(CREATE.replace("DECONTAMINATE", "false"), corpus, store, cluster)
    text = SPEC.replace("HELDOUT", f"{{from: {first}}}").replace("DECONTAMINATE", "{ngram: 13, overlap: 0.5}")
    path = build_spec(text, corpus, store, cluster)
    assert read_manifest(path).sources["guide"].heldout.imported_from == first.parent.name
    assert audit_build(path, "bytes").failures == ()


def test_the_parts_of_a_large_build_are_checked_as_tasks_with_the_same_outcome(
    corpus: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = InProcess()
    path = build_spec(CREATE.replace("DECONTAMINATE", "{}"), corpus, store, cluster)
    parts = [part for source in read_manifest(path).sources.values() for part in source.train.datasets]
    target = store.path(f"{parts[1].prefix}.bin")
    target.write_bytes(target.read_bytes()[:-1])
    here = audit_build(path, cluster=cluster)
    assert cluster.tasks["audit"] == 0
    monkeypatch.setattr(train_parts, "LARGE_BYTES", 1)
    assert audit_build(path, cluster=cluster) == here
    assert cluster.tasks["audit"] == len(parts) > 1
    assert [failure.file for failure in here.failures] == [str(target)]
