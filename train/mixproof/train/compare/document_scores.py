"""Per-document scores of runs for the bootstrap, read from `scores.parquet` after its checksum was verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.train.record import RunRecord

from .uncertainty import Documents

SCORES = "scores.parquet"
DocumentList = tuple[list[str], list[int], NDArray[np.int64]]
"""File, record and UTF-8 bytes of each document."""


def read_documents(
    runs: Sequence[Sequence[RunRecord]], weights: Mapping[str, float], folders: Mapping[str, Path]
) -> dict[str, Documents]:
    """Per-document scores of [mixtures][seeds] runs; empty if the folder of any run is not known.

    Raises:
        DamagedFileError: when a run's scores do not match its record, or are for different documents.
    """
    if any(record.key not in folders or SCORES not in record.files for of_mixture in runs for record in of_mixture):
        return {}
    bits: dict[str, list[NDArray[np.float64]]] = {name: [] for name in weights}
    documents_of: dict[str, DocumentList] = {}
    for of_mixture in runs:
        sums: dict[str, NDArray[np.float64]] = {}
        for record in of_mixture:
            path = folders[record.key] / SCORES
            for name, (documents, nats) in _read_scores(path, record, weights).items():
                if documents_of.setdefault(name, documents)[:2] != documents[:2]:
                    raise DamagedFileError(
                        str(path),
                        f"source {name}",
                        "other runs scored different documents; train the run again",
                    )
                sums[name] = sums[name] + nats if name in sums else nats
        for name, nats in sums.items():
            bits[name].append(nats / (len(of_mixture) * np.log(2)))
    return {name: Documents(np.stack(columns, axis=1), documents_of[name][2]) for name, columns in bits.items()}


def _read_scores(
    path: Path, record: RunRecord, weights: Mapping[str, float]
) -> dict[str, tuple[DocumentList, NDArray[np.float64]]]:
    """By source: its documents, and the nats of each."""
    if not path.is_file() or sha256_of_file(path) != record.files[SCORES]:
        reason = "missing, or its SHA-256 is not the one in run.json; train the run again"
        raise DamagedFileError(str(path), "whole file", reason)
    table = pq.read_table(path)
    sources = table["source"].to_numpy(zero_copy_only=False)
    scores = {}
    for name in weights:
        rows = table.filter(sources == name)
        documents = (rows["file"].to_pylist(), rows["record"].to_pylist(), _scored_bytes(rows))
        scores[name] = (documents, rows["nll_nats"].to_numpy())
    return scores


def _scored_bytes(rows: pa.Table) -> NDArray[np.int64]:
    """Return the bytes that bits per byte divide by: of the answers if only these were scored, else of the texts."""
    answers = rows["answer_bytes"] if "answer_bytes" in rows.column_names else None
    scored = rows["text_bytes"] if answers is None or answers.null_count else answers
    found: NDArray[np.int64] = scored.to_numpy()
    return found
