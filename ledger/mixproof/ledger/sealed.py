"""Sealed receipts: those of many outputs of a stage in one Parquet, so a million shards are no million small files.

A stage that has finished with at least `SEAL_LEAST` receipts beside their outputs copies them, to the byte, into
`sealed/<key>/receipts.parquet`, an output like any other with a receipt of its own; only when that is there are they
removed from beside their outputs. Nothing that is sealed is written again: a later command of the stage seals what it
has added. A sealed receipt counts as one beside its output does, with the same look at the sizes of the files; an
output that is made again has one of its own beside it. Rows of outputs that were removed stay, and count for nothing.

Two receipts are sealed alike whichever command does it, and a reader finds each beside its output or here, or in both
places while a command is at it; so commands may seal at the same time.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from .errors import DamagedFileError
from .fingerprint import stage_key
from .receipt import RECEIPT, Receipt, unseal

if TYPE_CHECKING:
    from .store import Store

SEALED = "sealed"
VERSION = 1
RECEIPTS = "receipts.parquet"
SEAL_LEAST = 1000
"""Receipts: as many names as an object store lists in one answer; fewer are as well where they are."""
WAY_OUT = "bring it back, or delete its folder: what it holds is made again"
ROW_GROUP = 4096
SCHEMA = pa.schema([pa.field("key", pa.string()), pa.field("receipt", pa.binary())])
"""A row an output, sorted by key: its key, and the bytes of its receipt with their own checksum."""


def seal_receipts(store: Store, stage: str, keys: Sequence[str], *, least: int = SEAL_LEAST) -> int:
    """Seal the receipts that lie beside the outputs `keys` of a stage, where they are many.

    Args:
        store: where they are.
        stage: that has finished.
        keys: of its outputs; those without a receipt beside them are passed over.
        least: fewer are left where they are.

    Returns:
        How many were sealed.
    """
    wanted = sorted(set(keys))
    if len(wanted) < least:
        return 0
    digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()
    sealed: list[str] = []
    with store.attempt(SEALED, stage_key(SEALED, VERSION, {"stage": stage}, [digest])) as attempt:
        with pq.ParquetWriter(attempt.path(RECEIPTS), SCHEMA, compression="zstd") as writer:
            for first in range(0, len(wanted), ROW_GROUP):
                rows = _whole(store, stage, wanted[first : first + ROW_GROUP])
                if rows:
                    writer.write_table(pa.table(list(zip(*rows, strict=True)), SCHEMA), ROW_GROUP)
                sealed += [key for key, _ in rows]
        if len(sealed) < least:
            return 0
        attempt.commit(facts={"stage": stage, "receipts": len(sealed)})
    for first in range(0, len(sealed), ROW_GROUP):
        store.remove([f"{stage}/{key}/{RECEIPT}" for key in sealed[first : first + ROW_GROUP]])
    return len(sealed)


def sealed_receipt(store: Store, stage: str, key: str) -> bytes | None:
    """The bytes of one sealed receipt; None where there is none."""
    return next((raw for _, raw in read_sealed(sealed_files(store, stage), [key])), None)


def sealed_receipts(store: Store, stage: str, *, damaged: bool = False) -> Iterator[tuple[str, bytes]]:
    """Key and bytes of every sealed receipt of a stage; one key may come more than once.

    `damaged`: what cannot be read is passed over, for who looks for damage and finds it by its checksum.
    """
    for path in sealed_files(store, stage, damaged=damaged):
        with suppress(*([DamagedFileError] if damaged else [])), _opened(path) as file:
            for group in range(file.num_row_groups):
                yield from _rows(file.read_row_group(group))


def read_sealed(files: Sequence[Path], keys: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Those of `keys` that are in these files, each perhaps more than once; groups of rows without any are not read."""
    wanted = sorted(keys)
    for path in files if wanted else ():
        with _opened(path) as file:
            for group in range(file.num_row_groups):
                span = file.metadata.row_group(group).column(0).statistics
                first = bisect_left(wanted, span.min)
                if first == len(wanted) or wanted[first] > span.max:
                    continue
                yield from ((key, raw) for key, raw in _rows(file.read_row_group(group)) if key in keys)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise DamagedFileError(str(path), "whole file", f"{str(error).splitlines()[0]}; {WAY_OUT}") from error


def _rows(table: pa.Table) -> Iterator[tuple[str, bytes]]:
    return zip(table["key"].to_pylist(), table["receipt"].to_pylist(), strict=True)


def sealed_files(store: Store, stage: str | None = None, *, damaged: bool = False) -> list[Path]:
    """The Parquet files with a stage's sealed receipts, or with those of all stages.

    Raises:
        DamagedFileError: when one of them is not whole, unless `damaged` passes it over: for a stage that would be to
            make all its outputs again.
    """
    found = []
    for key in store.keys(SEALED):
        place = f"{SEALED}/{key}"
        receipt: Receipt | None = store.receipt(SEALED, key)
        if receipt is None:
            if RECEIPT in store.sizes(place) and not damaged:
                reason = f"not the file of its receipt; {WAY_OUT}"
                raise DamagedFileError(store.location(f"{place}/{RECEIPTS}"), "whole file", reason)
            continue
        if stage is None or receipt.facts["stage"] == stage:
            found.append(store.path(f"{place}/{RECEIPTS}"))
    return found


def _whole(store: Store, stage: str, keys: Sequence[str]) -> list[tuple[str, bytes]]:
    """Keys and receipts that hold, in order."""
    read = store.read([f"{stage}/{key}/{RECEIPT}" for key in keys])
    rows = []
    for key in keys:
        raw = read.get(f"{stage}/{key}/{RECEIPT}")
        if raw is not None and _holds(raw):
            rows.append((key, raw))
    return rows


def _holds(raw: bytes) -> bool:
    try:
        unseal(raw)
    except ValueError:
        return False
    return True
