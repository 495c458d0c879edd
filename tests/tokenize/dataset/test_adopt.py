"""Existing `.bin/.idx` pairs as sources: copied as they are, counted, and refused where they are not what they say."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import xxhash
from megatron.core.datasets.indexed_dataset import DType, IndexedDatasetBuilder
from sentencepiece import SentencePieceProcessor

from mixproof.ledger.errors import DamagedFileError, MixproofError, RequestError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.ledger.records.source import SourceRecord
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.ledger.store import Store
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.load import load_spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.tokenize.audit import audit_build
from mixproof.tokenize.audit.report import Reencoded
from mixproof.tokenize.build import BuildResult, build
from mixproof.tokenize.dataset.adopt import adopt_pair
from mixproof.tokenize.dataset.foreign_pair import Pair
from mixproof.tokenize.dataset.parts import PART_BYTES
from mixproof.tokenize.estimate import estimate

SPEC = """\
schema: 1
name: adopted
sources:
  legacy: {megatron: old/web}
heldout: {create: {min_documents: 2, tokens: 200}}
tokenizer: {sentencepiece: tok.model}
mixtures:
  all: {legacy: 100%}
train:
  proxies:
    nano: {tokens: 64K, global_batch_size: 4, lr: 1e-3, min_lr: 1e-4}
"""
EOD = 2


def write_pair(prefix: Path, documents: Sequence[Sequence[Sequence[int]]], dtype: type = np.uint16) -> None:
    """Write documents of sequences with Megatron's own builder."""
    prefix.parent.mkdir(exist_ok=True)
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=dtype)
    for sequences in documents:
        for sequence in sequences:
            builder.add_item(torch.tensor(sequence, dtype=torch.int64))
        builder.end_document()
    builder.finalize(f"{prefix}.idx")


@pytest.fixture
def folder(tmp_path: Path, model: Path, topics: list[str]) -> Path:
    """`old/web`: the first 20 topics as `preprocess_data.py --append-eod` would write them."""
    processor = SentencePieceProcessor(model_file=str(model))
    shutil.copy(model, tmp_path / "tok.model")
    assert processor.eos_id() == EOD
    write_pair(tmp_path / "old" / "web", [[[*processor.encode(text), EOD]] for text in topics[:20]])
    return tmp_path


@pytest.fixture
def run(folder: Path, store: Store, inline: Cluster) -> Callable[..., BuildResult]:
    def run(spec: str = SPEC, part_bytes: int = PART_BYTES) -> BuildResult:
        (folder / "spec.yaml").write_text(spec)
        return build(load_spec(folder / "spec.yaml"), store, inline, part_bytes=part_bytes)

    return run


def legacy(result: BuildResult) -> SourceRecord:
    return result.manifest.sources["legacy"]


def test_a_dataset_of_megatrons_is_taken_byte_for_byte_and_counted(
    run: Callable[..., BuildResult], folder: Path, store: Store
) -> None:
    source = legacy(run())
    (part,) = source.train.datasets
    for end in (".bin", ".idx"):
        assert store.path(part.prefix + end).read_bytes() == (folder / f"old/web{end}").read_bytes()
    assert [row.stage for row in source.ledger] == ["read"]
    tokens = (folder / "old/web.bin").stat().st_size // 2
    assert (source.train.documents, source.train.tokens, source.train.eod_tokens, source.train.bytes) == (
        20,
        tokens,
        20,
        0,
    )
    assert (source.heldout.documents, source.heldout.datasets) == (0, ())
    inputs = pq.read_table(store.path(source.inputs.path)).to_pylist()
    assert [(row["file"], row["records"]) for row in inputs] == [("web.bin", 20), ("web.idx", 0)]
    assert inputs[0]["sha256"] == sha256_of_file(folder / "old/web.bin")


def test_each_document_is_traceable_to_its_place_and_named_by_its_ids(
    run: Callable[..., BuildResult], folder: Path, store: Store
) -> None:
    (part,) = legacy(run()).train.datasets
    rows = pq.read_table(store.path(part.provenance)).to_pylist()
    ids = np.fromfile(folder / "old/web.bin", np.uint16)
    first = ids[: rows[0]["tokens"] - 1].astype("<i4")
    assert rows[0]["text_xxh128"] == xxhash.xxh3_128_hexdigest(first.tobytes())
    assert [row["id"] for row in rows] == [f"web.bin#{record}" for record in range(20)]


def test_the_build_passes_its_audit_and_is_reused(run: Callable[..., BuildResult]) -> None:
    result = run()
    report = audit_build(result.manifest_path, "bytes")
    assert report.ok, report.failures
    assert report.reencoded == Reencoded(without_texts=("legacy",))
    assert run().manifest.build == result.manifest.build


def test_it_stands_beside_a_source_of_texts_in_one_build(
    run: Callable[..., BuildResult], folder: Path, topics: list[str]
) -> None:
    lines = [json.dumps({"text": text}) for text in topics[20:60]]
    (folder / "new.jsonl").write_text("\n".join(lines) + "\n")
    spec = SPEC.replace("{megatron: old/web}", "{megatron: old/web}\n  new: {files: new.jsonl}")
    result = run(spec.replace("all: {legacy: 100%}", "all: {legacy: 50%, new: 50%}") + "dedup: {exact: true}\n")
    assert result.manifest.sources["new"].heldout.documents >= 2
    assert result.manifest.totals.documents == 60
    report = audit_build(result.manifest_path, "bytes")
    assert report.ok
    new = result.manifest.sources["new"]
    assert new.train.documents < 50
    counts = {"heldout": new.heldout.documents, "train": new.train.documents}
    assert report.reencoded == Reencoded(**counts, without_texts=("legacy",))


def test_documents_of_sentences_and_without_tokens_are_joined_and_dropped(
    run: Callable[..., BuildResult], folder: Path, store: Store
) -> None:
    write_pair(folder / "old/web", [[[5, 6], [7, EOD]], [], [[EOD]], [[8, EOD]]], np.int32)
    source = legacy(run())
    assert source.ledger[0].dropped["no_tokens"].documents == 2
    (part,) = source.train.datasets
    assert np.fromfile(store.path(f"{part.prefix}.bin"), np.uint16).tolist() == [5, 6, 7, EOD, 8, EOD]
    assert pq.read_table(store.path(part.provenance))["record"].to_pylist() == [0, 3]


def test_a_glob_takes_several_pairs_in_order_and_parts_are_cut_anew(
    run: Callable[..., BuildResult], folder: Path
) -> None:
    write_pair(folder / "old/more", [[[9, 9, EOD]], [[8, EOD]]])
    spec = SPEC.replace("old/web", '"old/*"')
    whole = legacy(run(spec))
    assert (whole.inputs.files, whole.train.documents, len(whole.train.datasets)) == (4, 22, 1)
    cut = legacy(run(spec, part_bytes=20_000))
    assert len(cut.train.datasets) > 1
    assert sum(part.tokens for part in cut.train.datasets) == whole.train.tokens


def cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"ab")


def patch(path: Path, at: int, value: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[at : at + len(value)] = value
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda old: cut(old / "web.bin", 1000), r"web\.bin: byte 1000: truncated: .*web\.idx states \d+ tokens"),
        (lambda old: cut(old / "web.idx", 100), r"web\.idx: byte 100: truncated: 20 sequences take"),
        (lambda old: cut(old / "web.idx", 5), r"web\.idx: byte 0: not a Megatron index"),
        (lambda old: cut(old / "web.bin", -2), r"truncated"),
        (lambda old: lengthen(old / "web.bin"), r"longer than its index says"),
        (lambda old: patch(old / "web.idx", 17, b"\x05"), r"byte 17: dtype code 5 \(int64\)"),
        (lambda old: patch(old / "web.idx", 9, b"\x02"), r"byte 9: version 2"),
        (lambda old: patch(old / "web.idx", 34 + 80, struct.pack("<q", 4)), r"sequence 0: starts at byte 4"),
        (lambda old: patch(old / "web.idx", 34 + 240, struct.pack("<q", 1)), r"document index: does not ascend from 0"),
    ],
)
def test_a_damaged_pair_is_named_with_the_place(
    run: Callable[..., BuildResult], folder: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(folder / "old")
    with pytest.raises(DamagedFileError, match=said):
        run()


@pytest.mark.parametrize(
    ("documents", "dtype", "said"),
    [
        ([[[5, EOD]], [[5, 6]]], np.uint16, r"document 1 ends with id 6 instead of EOD 2, and so do 1 of 2 documents"),
        ([[[5, EOD]], [[5, EOD, 6, EOD]]], np.uint16, r"document 1 contains EOD 2 before its end"),
        (
            [[[5, EOD]], [[600, EOD]]],
            np.uint16,
            r"document 1 contains id 600, but the ids of the tokenizer are below 600",
        ),
        ([[[5, EOD]], [[-1, EOD]]], np.int32, r"document 1 contains id -1"),
        ([[[EOD]], []], np.uint16, r"sources\.legacy: its `\.bin/\.idx` contain no document with tokens"),
    ],
)
def test_ids_that_are_not_the_tokenizers_are_refused_with_their_document(
    run: Callable[..., BuildResult], folder: Path, documents: list[list[list[int]]], dtype: type, said: str
) -> None:
    write_pair(folder / "old/web", documents, dtype)
    with pytest.raises(RequestError, match=said):
        run()


def test_the_tokenizer_that_the_spec_names_must_be_the_builds(run: Callable[..., BuildResult], folder: Path) -> None:
    given = "{megatron: old/web, tokenizer_sha256: %s}"
    plain = run().manifest.build
    sha256 = sha256_of_file(folder / "tok.model")
    assert run(SPEC.replace("{megatron: old/web}", given % sha256)).manifest.build == plain
    with pytest.raises(RequestError, match=r"spec\.yaml:4: sources\.legacy\.tokenizer_sha256: .* their ids mean other"):
        run(SPEC.replace("{megatron: old/web}", given % ("ab" * 32)))


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ([".idx"], r"old/web\.bin exists but .*old/web\.idx does not"),
        ([".bin"], r"old/web\.idx exists but .*old/web\.bin does not"),
        ([".bin", ".idx"], r"spec\.yaml:4: sources\.legacy\.megatron: no files old/web\.bin and old/web\.idx"),
    ],
)
def test_a_pair_that_is_not_whole_is_refused(
    run: Callable[..., BuildResult], folder: Path, missing: list[str], said: str
) -> None:
    for end in missing:
        (folder / f"old/web{end}").unlink()
    with pytest.raises(RequestError, match=said):
        run()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("old/web}", "old/web, steps: [length]}", r"legacy\.steps: applies only to texts"),
        ("{sentencepiece: tok.model}", "{train: {vocab_size: 500}}", r"legacy\.megatron: needs the tokenizer"),
        ("heldout:", "dedup: {exact: true, keep: [legacy]}\nheldout:", r"dedup\.keep.*'legacy' has only tokens"),
        (
            "megatron: old/web",
            "files: a.jsonl, tokenizer_sha256: " + "ab" * 32,
            r"tokenizer_sha256: applies only to a `megatron` source",
        ),
    ],
)
def test_keys_that_need_texts_are_refused(run: Callable[..., BuildResult], old: str, new: str, said: str) -> None:
    with pytest.raises((SpecError, MixproofError), match=said):
        run(SPEC.replace(old, new))


def test_a_copy_of_a_pair_is_refused_in_another_source_and_in_the_same(
    run: Callable[..., BuildResult], folder: Path
) -> None:
    for end in (".bin", ".idx"):
        shutil.copy(folder / f"old/web{end}", folder / f"old/copy{end}")
    for declared in ("legacy: {megatron: old/web}\n  again: {megatron: old/copy}", "legacy: {megatron: 'old/*'}"):
        with pytest.raises(RequestError, match=r"old/(copy|web)\.bin has the same content as .*old/(copy|web)\.bin of"):
            run(SPEC.replace("legacy: {megatron: old/web}", declared))


def test_its_tokens_are_planned_by_count_and_not_by_guess(folder: Path) -> None:
    (folder / "spec.yaml").write_text(SPEC)
    loaded = load_spec(folder / "spec.yaml")
    found = estimate(find_files(loaded.spec, loaded.base)["legacy"])
    assert found.tokens == found.tokens_at_most == (folder / "old/web.bin").stat().st_size // 2


def test_megatrons_own_choice_of_dtype_is_the_one_expected() -> None:
    assert DType.optimal_dtype(65_499) is np.uint16


@pytest.mark.parametrize("end", [".bin", ".idx"])
def test_a_file_that_is_replaced_after_it_was_identified_is_refused(
    folder: Path, store: Store, tokenizer: TokenizerRecord, end: str
) -> None:
    size = (folder / "old/web.bin").stat().st_size
    urls = [str(folder / "old/web.bin"), str(folder / "old/web.idx")]
    sha256 = [sha256_of_file(Path(url)) for url in urls]
    right = Pair("legacy", "web.bin", urls[0], size, urls[1], (sha256[0], sha256[1]))
    assert adopt_pair(store, "ab" * 32, right, tokenizer).account[0].documents_out == 20
    sha256[[".bin", ".idx"].index(end)] = "0" * 64
    with pytest.raises(RequestError, match=rf"web\{end}: the file changed during the build: its SHA-256 was 000"):
        adopt_pair(store, "cd" * 32, replace(right, sha256=(sha256[0], sha256[1])), tokenizer)
    assert store.receipt("adopt", "cd" * 32) is None
