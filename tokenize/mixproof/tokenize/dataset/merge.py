"""Merge the parts of each side of each source into one dataset, for tools that accept only one prefix.

`<source>-train.{bin,idx,parquet}` and `<source>-heldout...` are byte-identical to a single part of unlimited size.
Tokens are copied in blocks, and the index is written part by part, each array at its offset in the file, so memory is
bounded by the index of one part. Each file is checked against the manifest's checksum while it is copied, so a damaged
part is never merged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.content import content_sha256
from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.datasets import DatasetRecord
from mixproof.ledger.store import Store
from mixproof.pipeline.columns import numbers

from .indexed import CODE_OF_DTYPE, HEADER, MAGIC, VERSION, Index, read_index, token_dtype
from .provenance import ROW_GROUP, SCHEMA, TableWriter, part_schema, regroup

COPY_BYTES = 16 << 20


@dataclass(frozen=True)
class Merged:
    """The merged parts of one side of a source."""

    prefix: str
    """File name without suffix, relative to the folder."""
    parts: int
    documents: int
    tokens: int
    """EODs included."""


def merge_parts(store: Store, manifest: Manifest, folder: Path) -> list[Merged]:
    """Write each side of each source of a build as one dataset; sides without documents are skipped.

    Args:
        store: the store of the build.
        manifest: the manifest of the build.
        folder: an empty folder.

    Raises:
        DamagedFileError: when a part is missing or its checksum is not that of the manifest.
    """
    dtype = token_dtype(manifest.tokenizer.vocab_size)
    merged = []
    for name, source in sorted(manifest.sources.items()):
        for side, split in (("train", source.train), ("heldout", source.heldout)):
            if split.datasets:
                done = Merged(f"{name}-{side}", len(split.datasets), split.documents, split.tokens)
                prefix = folder / done.prefix
                prefix.parent.mkdir(exist_ok=True)  # the name of a split source has a folder
                _join_tokens(store, split.datasets, prefix.with_name(f"{prefix.name}.bin"))
                if source.kind is not None:
                    _join_masks(store, split.datasets, prefix.with_name(f"{prefix.name}.mask"))
                _join_indexes(store, split.datasets, done, dtype, prefix.with_name(f"{prefix.name}.idx"))
                schema = part_schema(source.kind, source.attributes)
                _join_provenance(store, split.datasets, schema, prefix.with_name(f"{prefix.name}.parquet"))
                merged.append(done)
    return merged


def _join_tokens(store: Store, parts: Sequence[DatasetRecord], path: Path) -> None:
    _join_bytes(store, [(f"{part.prefix}.bin", part.bin_sha256) for part in parts], path)


def _join_masks(store: Store, parts: Sequence[DatasetRecord], path: Path) -> None:
    _join_bytes(store, [(f"{part.prefix}.mask", part.mask_sha256 or "") for part in parts], path)


def _join_bytes(store: Store, files: Sequence[tuple[str, str]], path: Path) -> None:
    """Join files, given with their recorded SHA-256."""
    with path.open("wb") as out:
        for name, sha256 in files:
            digest = hashlib.sha256()
            with _present(store, name).open("rb") as tokens:
                while block := tokens.read(COPY_BYTES):
                    digest.update(block)
                    out.write(block)
            _compare(name, sha256, digest.hexdigest())


def _join_indexes(
    store: Store,
    parts: Sequence[DatasetRecord],
    merged: Merged,
    dtype: np.dtype[np.uint16] | np.dtype[np.int32],
    path: Path,
) -> None:
    """Write lengths, pointers and boundaries of each part at their offsets in the whole index."""
    total = merged.documents
    lengths_offset = len(MAGIC) + HEADER.size
    pointers_offset, boundaries_offset = lengths_offset + 4 * total, lengths_offset + 12 * total
    documents, tokens = 0, 0
    with path.open("wb") as out:
        out.write(MAGIC + HEADER.pack(VERSION, CODE_OF_DTYPE[dtype.name], total, total + 1))
        for part in parts:
            index = _checked_index(store, part)
            starts = index.starts
            arrays = (
                (lengths_offset + 4 * documents, index.lengths),
                (pointers_offset + 8 * documents, (starts[:-1] + tokens) * dtype.itemsize),
                (boundaries_offset + 8 * documents, np.arange(documents, documents + len(index.lengths) + 1)),
            )
            for offset, array in arrays:
                out.seek(offset)
                out.write(np.ascontiguousarray(array).data)
            documents += len(index.lengths)
            tokens += int(starts[-1])


def _join_provenance(store: Store, parts: Sequence[DatasetRecord], schema: pa.Schema, path: Path) -> None:
    first = 0
    with TableWriter(path, schema) as out:
        for rows in regroup(_rows(store, parts, schema)):
            documents = numbers(np.arange(first, first + rows.num_rows, dtype=np.int64))
            out.write(rows.set_column(0, SCHEMA.field("document"), documents))
            first += rows.num_rows


def _rows(store: Store, parts: Sequence[DatasetRecord], schema: pa.Schema) -> Iterator[pa.Table]:
    for part in parts:
        path = _present(store, part.provenance)
        _compare(part.provenance, part.provenance_sha256, content_sha256(path))
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROW_GROUP, columns=schema.names):
                yield pa.Table.from_batches([batch], schema=schema)


def _checked_index(store: Store, part: DatasetRecord) -> Index:
    name = f"{part.prefix}.idx"
    path = _present(store, name)
    _compare(name, part.idx_sha256, content_sha256(path))
    return read_index(path)


def _present(store: Store, name: str) -> Path:
    path = store.path(name)
    if not path.is_file():
        raise DamagedFileError(name, "whole file", "is missing; build again")
    return path


def _compare(name: str, expected: str, found: str) -> None:
    if found != expected:
        reason = f"SHA-256 is {found}, but the manifest states {expected}; delete its folder and build again"
        raise DamagedFileError(name, "whole file", reason)
