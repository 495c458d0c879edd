"""Arrays of a run's saved index: checksum first, then the values that were derived again; and the seeds of epochs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.tokenize.audit.checksums import check_file
from mixproof.tokenize.audit.report import Checks, Equation
from mixproof.train.data.saved_index import ArrayRecord


def seed_of(seed: int, source: str, epoch: int) -> int:
    """Return the first 31 bits of the SHA-256 of the seed's name."""
    digest = hashlib.sha256(f"stream/{seed}/{source}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def compare_array(
    root: Path,
    folder: str,
    array: ArrayRecord,
    expected: NDArray[Any] | None,
    equation: Equation,
    checks: Checks,
) -> NDArray[Any] | None:
    """Check an array's checksum, then its values; return it if the checksum holds."""
    path = check_file(root, f"{folder}/{array.file}", array.sha256, checks)
    if path is None:
        return None
    at = checks.at(file=str(path))
    try:
        found: NDArray[Any] = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        at.true("schema", False, "a numpy array", str(error))
        return None
    if expected is not None:
        same = found.shape == expected.shape and np.array_equal(found, expected)
        at.true(equation, same, "the array derived from draw, seed and counts", _difference(found, expected))
    return found


def _difference(found: NDArray[Any], expected: NDArray[Any]) -> str:
    if found.shape != expected.shape:
        return f"shape {found.shape} instead of {expected.shape}"
    rows = np.flatnonzero((found != expected).reshape(len(found), -1).any(axis=1))
    return f"{len(rows)} of {len(found)} rows differ" + (f", the first at {rows[0]}" if len(rows) else "")
