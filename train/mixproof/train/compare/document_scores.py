"""Per-document scores of runs for the bootstrap, read from `scores.parquet` after its checksum was verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.train.record import RunRecord
from mixproof.train.score_record import HeldoutScore

from .ranked_score import RankedScore
from .resampled_scores import CalibrationError, RankCorrelation, ResampledScores, Statistic
from .uncertainty import Documents, HeldoutSample

SCORES = "scores.parquet"
Amounts = tuple[NDArray[np.float64], NDArray[np.int64]]
"""[rows] what is summed, and what the sum is divided by: bits and bytes; right pairs and pairs; errors and ratings."""


@dataclass(frozen=True)
class _Read:
    """What one run scored on one source."""

    documents: tuple[list[str], list[int]]
    """File and record of each document, or prompt and 0."""
    number: NDArray[np.int64]
    """[rows] the document, or prompt, of each row."""
    amounts: Amounts | Statistic


def read_documents(
    runs: Sequence[Sequence[RunRecord]],
    weights: Mapping[str, float],
    folders: Mapping[str, Path],
    score: RankedScore,
) -> dict[str, HeldoutSample]:
    """Per-document scores of [mixtures][seeds] runs; empty if the folder of any run is not known.

    Raises:
        DamagedFileError: when a run's scores do not match its record, or are for different documents.
    """
    if any(record.key not in folders or SCORES not in record.files for of_mixture in runs for record in of_mixture):
        return {}
    found: dict[str, list[list[_Read]]] = {name: [] for name in weights}
    for of_mixture in runs:
        for reads in found.values():
            reads.append([])
        for record in of_mixture:
            path = folders[record.key] / SCORES
            for name, read in _read_scores(path, record, weights, score).items():
                if next((reads[0] for reads in found[name] if reads), read).documents != read.documents:
                    reason = "other runs scored different documents; train the run again"
                    raise DamagedFileError(str(path), f"source {name}", reason)
                found[name][-1].append(read)
    return {name: _sample(reads) for name, reads in found.items()}


def _sample(reads: Sequence[Sequence[_Read]]) -> HeldoutSample:
    """Join what the [mixtures][seeds] runs scored on one source."""
    number, size = reads[0][0].number, len(reads[0][0].documents[0])
    sums: list[NDArray[np.float64]] = []
    sizes = np.zeros(size, np.int64)
    statistics: list[list[Statistic]] = []
    for seeds in reads:
        statistics.append([read.amounts for read in seeds if not isinstance(read.amounts, tuple)])
        ratios = [read.amounts for read in seeds if isinstance(read.amounts, tuple)]
        if ratios:
            total = sum((np.bincount(number, amounts, size) for amounts, _ in ratios), np.zeros(size))
            sums.append(total / len(ratios))
            sizes = np.bincount(number, ratios[0][1], size).astype(np.int64)
    return Documents(np.stack(sums, axis=1), sizes) if sums else ResampledScores(number, size, statistics)


def _read_scores(path: Path, record: RunRecord, weights: Mapping[str, float], score: RankedScore) -> dict[str, _Read]:
    """By source: its documents, or prompts of conversations, whose answers are drawn together."""
    if not path.is_file() or sha256_of_file(path) != record.files[SCORES]:
        reason = "missing, or its SHA-256 is not the one in run.json; train the run again"
        raise DamagedFileError(str(path), "whole file", reason)
    table = pq.read_table(path)
    sources = table["source"].to_numpy(zero_copy_only=False)
    found = {}
    for name in weights:
        rows, heldout = table.filter(sources == name), record.heldout[name]
        if heldout.pairs is not None:
            rows = _pairs(rows)
        amounts = _amounts(rows, heldout, score)
        if "prompt_xxh128" in rows.column_names and not rows["prompt_xxh128"].null_count:
            names, number = np.unique(np.array(rows["prompt_xxh128"].to_pylist()), return_inverse=True)
            found[name] = _Read((names.tolist(), [0] * len(names)), number.astype(np.int64), amounts)
        else:
            documents = (rows["file"].to_pylist(), rows["record"].to_pylist())
            found[name] = _Read(documents, np.arange(rows.num_rows), amounts)
    return found


def _pairs(rows: pa.Table) -> pa.Table:
    """Return the rows of chosen answers, with the column `difference`: of their rewards from those of rejected ones."""
    reward = rows["reward"].to_numpy().reshape(-1, 2)
    chosen = rows.take(pa.array(np.arange(0, rows.num_rows, 2)))
    return chosen.append_column("difference", pa.array(reward[:, 0] - reward[:, 1]))


def _amounts(rows: pa.Table, heldout: HeldoutScore, score: RankedScore) -> Amounts | Statistic:
    """Return what the bootstrap needs to compute a score from any rows; those of pairs are the chosen answers."""
    name = score.name if score.name != "default" else heldout.default_score
    if heldout.pairs is not None and name in ("pair_accuracy", "wrong_pairs", "margin", "kl", "calibration_error"):
        return _of_pairs(rows, name)
    if name == "kl":
        return _divergence(rows)
    if heldout.attributes is not None:
        return _of_attributes(rows, heldout, score, name)
    if name == "bits_per_byte":
        return rows["nll_nats"].to_numpy() / np.log(2), _scored(rows, "answer_bytes", "text_bytes")
    units = _scored(rows, "supervised_tokens", "tokens") if heldout.bits_per_byte is not None else _ones(rows)
    return rows["nll_nats"].to_numpy(), units


def _of_pairs(rows: pa.Table, name: str) -> Amounts | Statistic:
    difference = rows["difference"].to_numpy()
    if name == "calibration_error":
        return CalibrationError(difference)
    if name == "kl":
        return _divergence(rows)
    if name == "margin":
        return difference, _ones(rows)
    right = (difference > 0) + 0.5 * (difference == 0)
    return right if name == "pair_accuracy" else 1 - right, _ones(rows)


def _divergence(rows: pa.Table) -> Amounts:
    return rows["kl_nats"].to_numpy(), rows["supervised_tokens"].to_numpy()


def _of_attributes(rows: pa.Table, heldout: HeldoutScore, score: RankedScore, name: str) -> Amounts | Statistic:
    names = list(score.attributes_of(heldout))
    rated, predicted = (
        np.stack([rows[f"{part}.{attribute}"].to_numpy().astype(np.float64) for attribute in names], axis=1)
        for part in ("attribute", "predicted")
    )
    if name == "rank_correlation":
        return RankCorrelation(rated, predicted)
    errors = np.abs(predicted - rated) if name == "mean_absolute_error" else (predicted - rated) ** 2
    return np.nansum(errors, axis=1), np.isfinite(rated).sum(axis=1)


def _ones(rows: pa.Table) -> NDArray[np.int64]:
    return np.ones(rows.num_rows, np.int64)


def _scored(rows: pa.Table, of_answers: str, of_texts: str) -> NDArray[np.int64]:
    """Return a column of the answers if only these were scored, else of the texts."""
    answers = rows[of_answers] if of_answers in rows.column_names else None
    found: NDArray[np.int64] = (rows[of_texts] if answers is None or answers.null_count else answers).to_numpy()
    return found
