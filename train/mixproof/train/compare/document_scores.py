"""Per-document scores of runs, as they enter the bootstrap: read from `scores.parquet` after its checksum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.train.record import RunRecord

from .uncertainty import Documents

SCORES = "scores.parquet"
Places = tuple[list[str], list[int], NDArray[np.int64]]
"""File, record and UTF-8 bytes of each document."""


def read_documents(
    runs: Sequence[Sequence[RunRecord]], weights: Mapping[str, float], folders: Mapping[str, Path]
) -> dict[str, Documents]:
    """Per-document scores of [mixtures][seeds] runs; empty where some run's folder is not known.

    Raises:
        DamagedFileError: when a run's scores are not the recorded ones, or are of other documents.
    """
    if any(record.key not in folders or SCORES not in record.files for of_mixture in runs for record in of_mixture):
        return {}
    bits: dict[str, list[NDArray[np.float64]]] = {name: [] for name in weights}
    order: dict[str, Places] = {}
    for of_mixture in runs:
        sums: dict[str, NDArray[np.float64]] = {}
        for record in of_mixture:
            path = folders[record.key] / SCORES
            for name, (places, nats) in _read_scores(path, record, weights).items():
                if order.setdefault(name, places)[:2] != places[:2]:
                    raise DamagedFileError(str(path), f"source {name}", "scores of other documents than other runs'")
                sums[name] = sums[name] + nats if name in sums else nats
        for name, nats in sums.items():
            bits[name].append(nats / (len(of_mixture) * np.log(2)))
    return {name: Documents(np.stack(columns, axis=1), order[name][2]) for name, columns in bits.items()}


def _read_scores(
    path: Path, record: RunRecord, weights: Mapping[str, float]
) -> dict[str, tuple[Places, NDArray[np.float64]]]:
    """Places with text bytes, and nats, of each source's documents."""
    if not path.is_file() or sha256_of_file(path) != record.files[SCORES]:
        raise DamagedFileError(str(path), "whole file", "not the scores that run.json records; train the run again")
    table = pq.read_table(path)
    sources = table["source"].to_numpy(zero_copy_only=False)
    scores = {}
    for name in weights:
        rows = table.filter(sources == name)
        places = (rows["file"].to_pylist(), rows["record"].to_pylist(), rows["text_bytes"].to_numpy())
        scores[name] = (places, rows["nll_nats"].to_numpy())
    return scores
