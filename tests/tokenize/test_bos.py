"""BOS: one at the start of every document, counted, audited and replayed; builds without it keep their keys."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.tokenize.audit import audit_build, replay_build
from mixproof.tokenize.build import BuildResult, build
from mixproof.tokenize.dataset.indexed import read_index
from mixproof.tokenize.tokenizer.huggingface import HuggingFaceReference

SPEC = """\
schema: 1
name: bos
sources:
  manual: {files: manual.jsonl}
heldout: {create: {min_documents: 2, tokens: 200}}
decontaminate: false
tokenizer: {sentencepiece: tok.model, bos: true}
mixtures:
  all: {manual: 100%}
train:
  proxies:
    nano: {tokens: 64K, global_batch_size: 4, lr: 1e-3, min_lr: 1e-4}
"""
BOS, EOD = 1, 2


@pytest.fixture
def folder(tmp_path: Path, topics: list[str], model: Path) -> Path:
    texts = [*topics[:12], "a literal <s> and </s>"]
    (tmp_path / "manual.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "tok.model").write_bytes(model.read_bytes())
    return tmp_path


def run(folder: Path, store: Store, cluster: Cluster, spec: str = SPEC) -> BuildResult:
    (folder / "spec.yaml").write_text(spec)
    return build(load_spec(folder / "spec.yaml"), store, cluster)


def ids_of(store: Store, result: BuildResult) -> tuple[np.ndarray, np.ndarray]:
    (part,) = result.manifest.sources["manual"].train.datasets
    return np.fromfile(store.path(f"{part.prefix}.bin"), np.uint16), read_index(store.path(f"{part.prefix}.idx")).starts


def test_every_document_has_one_at_its_start_and_it_is_counted(folder: Path, store: Store, inline: Cluster) -> None:
    plain = run(folder, store, inline, SPEC.replace(", bos: true", ""))
    with_bos = run(folder, store, inline)
    ids, starts = ids_of(store, with_bos)
    documents = with_bos.manifest.sources["manual"].train.documents
    assert np.array_equal(np.flatnonzero(ids == BOS), starts[:-1])
    assert np.array_equal(np.flatnonzero(ids == EOD), starts[1:] - 1)
    assert np.array_equal(ids[ids != BOS], ids_of(store, plain)[0])
    assert with_bos.manifest.totals.tokens == plain.manifest.totals.tokens + plain.manifest.totals.documents
    assert (documents, with_bos.manifest.tokenizer.bos_id) == (len(starts) - 1, BOS)
    assert b"bos" not in plain.manifest_path.read_bytes()


def test_it_is_audited_and_replayed(folder: Path, store: Store, inline: Cluster) -> None:
    result = run(folder, store, inline)
    report = audit_build(result.manifest_path, "bytes")
    assert report.ok, report.failures
    assert report.reencoded is not None
    assert (report.reencoded.heldout, report.reencoded.train) == (2, 11)
    loaded = load_spec(folder / "spec.yaml")
    files = find_files(loaded.spec, loaded.base)
    assert replay_build(loaded.spec, files, store, result.manifest_path, inline).ok
    (part,) = result.manifest.sources["manual"].train.datasets
    path = store.path(f"{part.prefix}.bin")
    path.chmod(0o644)
    ids = np.fromfile(path, np.uint16)
    ids[0] = 5
    ids.tofile(path)
    found = {
        failure.expected for failure in replay_build(loaded.spec, files, store, result.manifest_path, inline).failures
    }
    assert any("ids of the reference and an EOD" in expected for expected in found)


def test_a_dataset_of_another_tool_must_have_it_as_well(folder: Path, store: Store, inline: Cluster) -> None:
    adopted = SPEC.replace("{files: manual.jsonl}", "{megatron: old/web}").replace(
        "  min_documents: 2, tokens: 200", ""
    )
    (folder / "old").mkdir()
    for bos, says in ((", bos: true", None), ("", "starts with id")):
        result = run(folder, store, inline, SPEC.replace(", bos: true", bos))
        (part,) = result.manifest.sources["manual"].train.datasets
        for end in (".bin", ".idx"):
            (folder / f"old/web{end}").write_bytes(store.path(f"{part.prefix}{end}").read_bytes())
        if says is None:
            kept = run(folder, store, inline, adopted)
            assert kept.manifest.sources["manual"].train.tokens == part.tokens
            assert audit_build(kept.manifest_path, "bytes").ok
        else:
            with pytest.raises(RequestError, match=f"document 0 {says} .* instead of BOS 1"):
                run(folder, store, inline, adopted)


def test_a_template_names_the_token_that_a_text_begins_with(tmp_path: Path, topics: list[str]) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<|begin|>", "<|end|>", "<|other|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(topics[:3], trainer)
    both = processors.TemplateProcessing(
        single="<|begin|> $A <|end|>", special_tokens=[("<|begin|>", 0), ("<|end|>", 1)]
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), both])
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    reference = HuggingFaceReference(str(path))
    assert (reference.find_bos(None, path), reference.find_bos("<|other|>", path)) == (0, 2)
    assert 0 not in reference.encode(["a text"]).ids
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.save(str(path))
    with pytest.raises(RequestError, match="puts no token before a text, and no bos_token"):
        HuggingFaceReference(str(path)).find_bos(None, path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<|begin|>"}))
    assert HuggingFaceReference(str(path)).find_bos(None, path) == 0


@pytest.mark.parametrize(
    ("bos", "message"),
    [
        ("</s>", "its id 2 is that of the EOD, which separates documents already"),
        ("<unk>", "'<unk>' is not a control piece, so a text that contains it would start a new document there"),
        ("<x>", "tokenizer.bos: the model has no piece '<x>'"),
    ],
)
def test_a_piece_that_cannot_begin_documents_is_refused(
    folder: Path, store: Store, inline: Cluster, bos: str, message: str
) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        run(folder, store, inline, SPEC.replace("bos: true", f"bos: {bos}"))
