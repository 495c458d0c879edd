"""The training documents of a mixture, source by source, as the exports for other trainers read them.

A source is exported as a build holds it, or, where a proxy is named, as the runs of that proxy read it: its draw. Every
file is checked against its recorded checksum before it is read, so a damaged part never reaches another trainer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.content import content_sha256
from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.datasets import DatasetRecord
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.tokenize.dataset.indexed import ends_of, read_index, token_dtype
from mixproof.tokenize.dataset.provenance import OPEN_SCHEMA
from mixproof.train.request import Draw

MIXTURE = "mixture.json"
ROWS = 8192
"""Documents read at a time."""


@dataclass(frozen=True)
class DatasetFiles:
    """One `.bin/.idx` pair with its provenance."""

    prefix: Path
    provenance: Path


@dataclass(frozen=True)
class TokenizedDocuments:
    """Consecutive documents of a part."""

    ids: NDArray[Any]
    """[tokens] ids of all documents, each with its EOD."""
    lengths: NDArray[np.int32]
    """[documents] tokens of each."""
    rows: pa.Table
    """Provenance: `id`, `file`, `record` and the rest of its schema."""


@dataclass(frozen=True)
class SourceData:
    """One source of a mixture."""

    name: str
    documents: int
    tokens: int
    """EODs included."""
    planned_tokens: int
    """Tokens that the run reads of it."""
    parts: tuple[DatasetFiles, ...]


def sources_of(
    manifest: Manifest, store: Store, budget: RunBudget, draws: Mapping[str, Draw] | None = None
) -> list[SourceData]:
    """Find the data of every source that a run reads, by name.

    Args:
        manifest: of the build in `store`.
        store: where the datasets and draws are.
        budget: the run's.
        draws: by source, to export what the run reads; None: the whole training side.

    Raises:
        RequestError: when the run reads several draws of a source.
        DamagedFileError: when a file is missing or its checksum is not the recorded one.
    """
    if draws is not None and budget.has_own_phases:
        raise RequestError(
            "phases with their own sequence_length or min_tokens read several draws of a source, which this format "
            "cannot tell apart; leave out `--draw`: `mixture.json` then states the length and min_tokens of each phase"
        )
    found = []
    for name, planned in budget.tokens_of.items():
        split = manifest.sources[name].train
        draw = draws[name] if draws is not None else None
        records = [draw.as_part] if draw is not None else [part for part in split.datasets if part.tokens]
        counts = (draw.documents, draw.tokens) if draw is not None else (split.documents, split.tokens)
        parts = tuple(_checked_part(store, record) for record in records)
        found.append(SourceData(name, *counts, planned, parts))
    return found


def documents_of(part: DatasetFiles) -> Iterator[TokenizedDocuments]:
    """Read a part, some thousand documents at a time, in order."""
    index = read_index(part.prefix.with_name(f"{part.prefix.name}.idx"))
    ids = np.memmap(part.prefix.with_name(f"{part.prefix.name}.bin"), index.dtype, mode="r")
    starts, first = index.starts, 0
    with pq.ParquetFile(part.provenance) as file:
        for batch in file.iter_batches(ROWS, columns=OPEN_SCHEMA.names):
            stop = first + batch.num_rows
            yield TokenizedDocuments(
                ids[starts[first] : starts[stop]], index.lengths[first:stop], pa.Table.from_batches([batch])
            )
            first = stop


def write_statement(
    folder: Path,
    form: str,
    manifest: Manifest,
    budget: RunBudget,
    names: tuple[str, str],
    data: Sequence[SourceData],
    files: Mapping[str, Sequence[str]],
    *,
    is_draw: bool,
) -> None:
    """Write `mixture.json`: what the export holds, with counts and shares by source and phase.

    Args:
        folder: of the export.
        form: name of the format.
        manifest: of the build.
        budget: of the run.
        names: mixture and proxy.
        data: the sources.
        files: names of the files of each source, relative to `folder`.
        is_draw: whether the sources are the draws of the proxy's runs.
    """
    statement = {
        "format": form,
        "build": manifest.build,
        "mixture": names[0],
        "proxy": names[1],
        "documents": "draw" if is_draw else "all training documents",
        "dtype": token_dtype(manifest.tokenizer.vocab_size).name,
        "vocab_size": manifest.tokenizer.vocab_size,
        **ends_of(manifest.tokenizer),
        "sequence_length": budget.sequence_length,
        "phases": [
            {
                "samples": phase.windows,
                "shares": {name: samples / phase.windows for name, samples in phase.samples_of.items()},
                **({} if phase.sequence_length is None else {"sequence_length": phase.sequence_length}),
                **({} if phase.rope_base is None else {"rope_base": phase.rope_base}),
                **({} if phase.min_tokens is None else {"min_tokens": phase.min_tokens}),
            }
            for phase in budget.phases
        ],
        "sources": {
            source.name: {
                "documents": source.documents,
                "tokens": source.tokens,
                "planned_tokens": source.planned_tokens,
                "files": list(files[source.name]),
            }
            for source in data
        },
    }
    (folder / MIXTURE).write_text(json.dumps(statement, indent=1, sort_keys=True) + "\n")


def _checked_part(store: Store, record: DatasetRecord) -> DatasetFiles:
    prefix = store.folder(record.prefix)
    files = {
        f"{record.prefix}.bin": record.bin_sha256,
        f"{record.prefix}.idx": record.idx_sha256,
        record.provenance: record.provenance_sha256,
    }
    for name, sha256 in files.items():
        path = store.path(name)
        if not path.is_file():
            raise DamagedFileError(name, "whole file", "is missing; run `mixproof build` again")
        if (found := content_sha256(path)) != sha256:
            raise DamagedFileError(
                name, "whole file", f"SHA-256 is {found}, but {sha256} is recorded; delete its folder and build again"
            )
    return DatasetFiles(prefix, store.path(record.provenance))
