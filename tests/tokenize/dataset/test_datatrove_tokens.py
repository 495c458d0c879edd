"""datatrove's `.ds` token files as a source: written by datatrove itself, counted, audited, damage named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from datatrove.pipeline.tokens.tokenizer import TokenizedFile
from sentencepiece import SentencePieceProcessor

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.tokenize.audit import audit_build
from mixproof.tokenize.build import BuildResult, build
from mixproof.tokenize.dataset.foreign_index import read_foreign_index
from mixproof.tokenize.estimate import estimate

SPEC = """\
schema: 1
name: adopted
sources:
  legacy: {megatron: "old/*.ds"}
heldout: {create: {min_documents: 2, tokens: 200}}
tokenizer: {sentencepiece: tok.model}
mixtures:
  all: {legacy: 100%}
train:
  proxies:
    nano: {tokens: 64K, global_batch_size: 4, lr: 1e-3, min_lr: 1e-4}
"""
EOD = 2


def write_ds(folder: Path, name: str, documents: list[list[int]], token_size: int) -> None:
    file = TokenizedFile(str(folder), name, token_size=token_size)
    dtype = {2: np.uint16, 4: np.uint32}[token_size]
    for ids in documents:
        file.write_bytes(np.array(ids, dtype).tobytes())
    file.close()


@pytest.fixture
def documents(model: Path, topics: list[str]) -> list[list[int]]:
    processor = SentencePieceProcessor(model_file=str(model))
    return [[*processor.encode(text), EOD] for text in topics[:10]]


@pytest.fixture
def run(
    tmp_path: Path, model: Path, documents: list[list[int]], store: Store, inline: Cluster
) -> Callable[[], BuildResult]:
    shutil.copy(model, tmp_path / "tok.model")
    (tmp_path / "spec.yaml").write_text(SPEC)
    write_ds(tmp_path / "old", "a.ds", documents[:4], 2)
    write_ds(tmp_path / "old", "b.ds", documents[4:], 4)
    return lambda: build(load_spec(tmp_path / "spec.yaml"), store, inline)


def test_both_widths_are_taken_in_order_and_counted(
    run: Callable[[], BuildResult], store: Store, documents: list[list[int]], tmp_path: Path
) -> None:
    result = run()
    (part,) = result.manifest.sources["legacy"].train.datasets
    ids = np.fromfile(store.path(f"{part.prefix}.bin"), np.uint16)
    assert ids.tolist() == [token for document in documents for token in document]
    assert (part.documents, result.manifest.sources["legacy"].inputs.records) == (10, 10)
    report = audit_build(result.manifest_path, "bytes")
    assert report.ok, report.failures
    loaded = load_spec(tmp_path / "spec.yaml")
    assert estimate(find_files(loaded.spec, loaded.base)["legacy"]).tokens == len(ids)


def test_a_file_without_its_index_is_refused(run: Callable[[], BuildResult], tmp_path: Path) -> None:
    (tmp_path / "old/b.ds.index").unlink()
    with pytest.raises(RequestError, match=r"b\.ds exists but .*b\.ds\.index does not; a dataset needs both"):
        run()


def test_a_truncated_file_is_named(run: Callable[[], BuildResult], tmp_path: Path) -> None:
    path = tmp_path / "old/a.ds"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DamagedFileError, match=r"a\.ds.* states \d+ tokens, which take \d+ or \d+ bytes"):
        run()


def test_ends_that_do_not_ascend_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ds.index"
    np.array([5, 3], "<u8").tofile(path)
    with pytest.raises(DamagedFileError, match="document 1.* ends do not ascend"):
        read_foreign_index(str(path), str(tmp_path / "a.ds"), 6)
    path.write_bytes(bytes(12))
    with pytest.raises(DamagedFileError, match="truncated: the end of each document takes 8 bytes"):
        read_foreign_index(str(path), str(tmp_path / "a.ds"), 6)
