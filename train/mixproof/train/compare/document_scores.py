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
from mixproof.train.record import HeldoutScore, RunRecord

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
        for name, amounts in sums.items():
            bits[name].append(amounts / len(of_mixture))
    return {name: Documents(np.stack(columns, axis=1), documents_of[name][2]) for name, columns in bits.items()}


def _read_scores(
    path: Path, record: RunRecord, weights: Mapping[str, float]
) -> dict[str, tuple[DocumentList, NDArray[np.float64]]]:
    """By source: its documents, or prompts of conversations, and what is minimized of each."""
    if not path.is_file() or sha256_of_file(path) != record.files[SCORES]:
        reason = "missing, or its SHA-256 is not the one in run.json; train the run again"
        raise DamagedFileError(str(path), "whole file", reason)
    table = pq.read_table(path)
    sources = table["source"].to_numpy(zero_copy_only=False)
    scores = {}
    for name in weights:
        rows = table.filter(sources == name)
        amounts, sizes = _amounts(rows, record.heldout[name])
        if "prompt_xxh128" in rows.column_names and not rows["prompt_xxh128"].null_count:
            scores[name] = _by_prompt(rows["prompt_xxh128"].to_pylist(), amounts, sizes)
            continue
        scores[name] = ((rows["file"].to_pylist(), rows["record"].to_pylist(), sizes), amounts)
    return scores


def _amounts(rows: pa.Table, score: HeldoutScore) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return [documents] what is minimized and what divides it: bits, bytes; wrong pairs, pairs; errors, ratings."""
    if score.pairs is not None:
        difference = np.diff(rows["reward"].to_numpy().reshape(-1, 2), axis=1)[:, 0]  # rejected - chosen
        wrong = (difference > 0) + 0.5 * (difference == 0)
        return np.stack([wrong, 0 * wrong], axis=1).ravel(), np.tile(np.array([1, 0]), len(wrong))
    if score.attributes is not None:
        rated = [np.isfinite(rows[f"attribute.{name}"].to_numpy()) for name in score.attributes]
        return rows["nll_nats"].to_numpy(), np.sum(rated, axis=0, dtype=np.int64)
    return rows["nll_nats"].to_numpy() / np.log(2), _scored_bytes(rows)


def _by_prompt(
    prompts: list[str], amounts: NDArray[np.float64], sizes: NDArray[np.int64]
) -> tuple[DocumentList, NDArray[np.float64]]:
    """Add up the answers to one prompt, which are drawn together."""
    names, number = np.unique(np.array(prompts), return_inverse=True)
    totals = np.bincount(number, sizes).astype(np.int64)
    summed: NDArray[np.float64] = np.bincount(number, amounts).astype(np.float64)
    return (names.tolist(), [0] * len(names), totals), summed


def _scored_bytes(rows: pa.Table) -> NDArray[np.int64]:
    """Return the bytes that bits per byte divide by: of the answers if only these were scored, else of the texts."""
    answers = rows["answer_bytes"] if "answer_bytes" in rows.column_names else None
    scored = rows["text_bytes"] if answers is None or answers.null_count else answers
    found: NDArray[np.int64] = scored.to_numpy()
    return found
