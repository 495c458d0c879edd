"""One side of a source of conversations, as the exports of single sources read it: ids, masks and raw messages.

Every file is checked against its recorded checksum before it is read, the raw files against those of the build.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.content import content_sha256
from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.datasets import SplitRecord
from mixproof.ledger.records.source import SourceRecord
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.source import Limits, Source
from mixproof.pipeline.chat.conversations import FORMS
from mixproof.pipeline.chat.forms import Example
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.read.identify import hash_input
from mixproof.pipeline.read.read_task import read_task
from mixproof.pipeline.read.records import records_of
from mixproof.pipeline.read.shards import ShardPlan
from mixproof.pipeline.record import Raw
from mixproof.tokenize.dataset.indexed import read_index


@dataclass(frozen=True)
class MaskedDocuments:
    """The documents of one part."""

    ids: NDArray[Any]
    """[tokens] ids of all documents, each with its EOD."""
    mask: NDArray[np.uint8]
    """[tokens] 1 where the token is supervised."""
    lengths: NDArray[np.int32]
    """[documents] tokens of each."""


def conversations_of(manifest: Manifest, name: str) -> SourceRecord:
    """The record of a source of conversations.

    Raises:
        RequestError: when the build has no such source, or its records are plain documents.
    """
    record = manifest.sources.get(name)
    marked = sorted(other for other, found in manifest.sources.items() if found.kind is not None)
    choices = f"sources of conversations: {', '.join(marked) or 'none'}"
    if record is None:
        raise RequestError(f"--source {name}: not in the build; {choices}")
    if record.kind is None:
        raise RequestError(f"--source {name}: its records are plain documents, without supervised tokens; {choices}")
    return record


def masked_documents(store: Store, split: SplitRecord) -> Iterator[MaskedDocuments]:
    """The documents of a side, part by part.

    Raises:
        DamagedFileError: when a file is missing or its checksum is not the recorded one.
    """
    for part in split.datasets:
        prefix = store.folder(part.prefix)
        paths = {suffix: prefix.with_name(f"{prefix.name}.{suffix}") for suffix in ("bin", "idx", "mask")}
        recorded = {"bin": part.bin_sha256, "idx": part.idx_sha256, "mask": part.mask_sha256}
        for suffix, path in paths.items():
            _check(path, recorded[suffix])
        index = read_index(paths["idx"])
        ids = np.memmap(paths["bin"], index.dtype, mode="r")
        yield MaskedDocuments(ids, np.memmap(paths["mask"], np.uint8, mode="r"), index.lengths)


def raw_examples(
    files: Sequence[InputFile], source: Source, limits: Limits, record: SourceRecord, store: Store
) -> Iterator[tuple[str, int, Example]]:
    """The file, the index and the messages of every usable record, read from the raw files again.

    Raises:
        RequestError: when a raw file is not the one that was built.
    """
    assert source.kind is not None, "plain documents have no messages"
    built = _sha256_of(store, record)
    for file in files:
        if built.get(file.name) != hash_input(file.url, file.bytes):
            raise RequestError(f"source {file.source}: {file.url} has changed since the build; build again")
        task = read_task(ShardPlan(file.source, (file,), 0, file.bytes), source, {file.url: ""}, limits)
        for item in records_of(file, task, lambda _: None):
            if isinstance(item, Raw):
                yield file.name, item.record, FORMS[source.kind](item.fields or {})


def records_of_side(store: Store, split: SplitRecord) -> set[tuple[str, int]]:
    """File and index of every record of a side."""
    found: set[tuple[str, int]] = set()
    for part in split.datasets:
        path = store.path(part.provenance)
        _check(path, part.provenance_sha256)
        rows = pq.read_table(path, columns=["file", "record"], partitioning=None)
        found.update(zip(rows["file"].to_pylist(), rows["record"].to_pylist(), strict=True))
    return found


def _sha256_of(store: Store, record: SourceRecord) -> Mapping[str, str]:
    path = store.path(record.inputs.path)
    _check(path, record.inputs.sha256)
    rows = pq.read_table(path, columns=["file", "sha256"], partitioning=None)
    return dict(zip(rows["file"].to_pylist(), rows["sha256"].to_pylist(), strict=True))


def _check(path: Path, sha256: str | None) -> None:
    if not path.is_file():
        raise DamagedFileError(str(path), "whole file", "is missing; build again")
    if (found := content_sha256(path)) != sha256:
        raise DamagedFileError(str(path), "whole file", f"SHA-256 is {found}, the manifest states {sha256}")
