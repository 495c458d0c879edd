"""The files of one part: checksums, tokens, provenance and mask, and ids of texts that are encoded again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.records.datasets import DatasetRecord
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.tokenize.audit.checksums import check_file
from mixproof.tokenize.audit.report import Checks, Reencoded
from mixproof.tokenize.audit.rows import check_parquet

from .dataset import check_part, open_part
from .masks import check_mask

T = TypeVar("T")
Reencode = Callable[[Any, Path, Checks], Reencoded]
"""Encodes documents of an open part again: the part, its provenance, and where the result goes."""


def check_part_files(
    root: Path,
    part: DatasetRecord,
    tokenizer: TokenizerRecord,
    checks: Checks,
    check_rows_of: Callable[[Path, DatasetRecord, NDArray[np.int32] | None, Checks], T | None],
    reencode: Reencode | None,
) -> tuple[T | None, Reencoded]:
    """Check one part: checksums, the tokens if `.bin` and `.idx` are intact, the provenance, then ids of texts."""
    own = Checks(checks.location)
    bin_path = check_file(root, f"{part.prefix}.bin", part.bin_sha256, own)
    idx_path = check_file(root, f"{part.prefix}.idx", part.idx_sha256, own)
    path = check_parquet(root, part.provenance, part.provenance_sha256, own)
    mask = None
    if part.mask_sha256 is not None:
        mask = check_file(root, f"{part.prefix}.mask", part.mask_sha256, own)
    at = own.at(file=str(path))
    rows, reencoded = None, Reencoded()
    if bin_path is not None and idx_path is not None:
        with open_part(part, bin_path, tokenizer, own) as dataset:
            sound = dataset is not None and check_part(dataset, part, bin_path, tokenizer, own)
            if path is not None:
                rows = check_rows_of(path, part, dataset.index.sequence_lengths if sound else None, at)
            if mask is not None and sound:
                lengths = dataset.index.sequence_lengths
                check_mask(mask, part, lengths, None if rows is None else path, own.at(file=str(mask)))
            if path is not None and reencode is not None and not own.failures:
                reencoded = reencode(dataset, path, own.at(file=str(bin_path)))
    elif path is not None:
        rows = check_rows_of(path, part, None, at)
    checks.merge([own])
    return rows, reencoded
