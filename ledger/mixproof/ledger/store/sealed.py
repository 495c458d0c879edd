"""Sealed receipts: the receipts of many outputs of a stage in one Parquet file, instead of one small file each.

A stage that finishes with at least `SEAL_LEAST` receipts beside their outputs copies them, byte for byte, into
`sealed/<key>/receipts.parquet`, an output like any other with its own receipt. Only then are they removed from beside
their outputs. Sealed files are never rewritten: a later command of the stage seals only what it added. A sealed
receipt is as good as one beside its output, and the file sizes are checked in the same way; an output that is made
again has a new receipt beside it. Rows of removed outputs stay and are ignored.

Commands may seal at the same time: they write the same bytes, and a reader finds each receipt beside its output, in
a sealed file, or in both while a command is sealing.
"""

from __future__ import annotations

import hashlib
import logging
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.files import Found
from mixproof.ledger.fingerprint import stage_key

from .receipt import RECEIPT, Receipt, is_sealed, read_receipt

if TYPE_CHECKING:
    from .store import Store

LOGGER = logging.getLogger(__name__)
SEALED = "sealed"
VERSION = 1
RECEIPTS = "receipts.parquet"
SEAL_LEAST = 1000
"""Receipts: as many as an object store lists in one response. Fewer are left beside their outputs."""
REMEDY = "restore it from a backup, or delete its folder: the outputs it lists are then made again"
ROW_GROUP = 4096
MISSING = Found(-1, 0.0)
SCHEMA = pa.schema([pa.field("key", pa.string()), pa.field("receipt", pa.binary())])
"""One row per output, sorted by key: its key, and the bytes of its receipt, checksum included."""


def seal_receipts(store: Store, stage: str, keys: Sequence[str], *, least: int = SEAL_LEAST) -> int:
    """Seal the receipts beside the outputs `keys` of a stage, if there are at least `least`.

    Args:
        store: the store.
        stage: a stage that has finished.
        keys: keys of its outputs; outputs without a receipt beside them are ignored.
        least: fewer receipts are left beside their outputs.

    Returns:
        How many receipts were sealed.
    """
    ordered = sorted(set(keys))
    if len(ordered) < least:
        return 0
    sealed: list[str] = []
    with store.attempt(SEALED, _key(stage, ordered)) as attempt:
        with pq.ParquetWriter(attempt.path(RECEIPTS), SCHEMA, compression="zstd") as writer:
            for first in range(0, len(ordered), ROW_GROUP):
                rows = _valid_receipts(store, stage, ordered[first : first + ROW_GROUP])
                if rows:
                    writer.write_table(pa.table(list(zip(*rows, strict=True)), SCHEMA), ROW_GROUP)
                sealed += [key for key, _ in rows]
        if len(sealed) < least:
            return 0
        attempt.commit(facts={"stage": stage, "receipts": len(sealed)})
    for first in range(0, len(sealed), ROW_GROUP):
        store.remove([f"{stage}/{key}/{RECEIPT}" for key in sealed[first : first + ROW_GROUP]])
    LOGGER.info("sealed %d receipts of stage %s", len(sealed), stage)
    return len(sealed)


def write_sealed(store: Store, stage: str, receipts: Mapping[str, bytes]) -> None:
    """Write the receipts of new outputs, by key, as one sealed file; their own files have been published."""
    ordered = sorted(receipts)
    with store.attempt(SEALED, _key(stage, ordered)) as attempt:
        table = pa.table([ordered, [receipts[key] for key in ordered]], SCHEMA)
        pq.write_table(table, attempt.path(RECEIPTS), compression="zstd", row_group_size=ROW_GROUP)
        attempt.commit(facts={"stage": stage, "receipts": len(ordered)})


def _key(stage: str, ordered: Sequence[str]) -> str:
    digest = hashlib.sha256("\n".join(ordered).encode()).hexdigest()
    return stage_key(SEALED, VERSION, {"stage": stage}, [digest])


def sealed_receipt(store: Store, stage: str, key: str) -> bytes | None:
    """The bytes of one sealed receipt; None when there is none."""
    return next((raw for _, raw in read_sealed(sealed_files(store, stage), [key])), None)


def sealed_receipts(store: Store, stage: str, *, damaged: bool = False) -> Iterator[tuple[str, bytes]]:
    """Key and bytes of every sealed receipt of a stage; a key may occur more than once.

    `damaged` skips unreadable files, for callers that search for damage and find it by checksum.
    """
    for path in sealed_files(store, stage, damaged=damaged):
        with suppress(*([DamagedFileError] if damaged else [])), _opened(path) as file:
            for group in range(file.num_row_groups):
                yield from _rows(file.read_row_group(group))


def read_sealed(files: Sequence[Path], keys: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """The receipts of `keys` in these files; a key may occur more than once. Row groups without any are not read."""
    ordered = sorted(keys)
    for path in files if ordered else ():
        with _opened(path) as file:
            for group in range(file.num_row_groups):
                key_range = file.metadata.row_group(group).column(0).statistics
                first = bisect_left(ordered, key_range.min)
                if first == len(ordered) or ordered[first] > key_range.max:
                    continue
                yield from ((key, raw) for key, raw in _rows(file.read_row_group(group)) if key in keys)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise DamagedFileError(str(path), "whole file", f"{str(error).splitlines()[0]}; {REMEDY}") from error


def _rows(table: pa.Table) -> Iterator[tuple[str, bytes]]:
    return zip(table["key"].to_pylist(), table["receipt"].to_pylist(), strict=True)


def sealed_files(store: Store, stage: str | None = None, *, damaged: bool = False) -> list[Path]:
    """The Parquet files with the sealed receipts of a stage, or of all stages.

    Raises:
        DamagedFileError: when one of them does not match its receipt, unless `damaged`, which skips it. A stage must
            not skip it: it would make all its outputs again.
    """
    found = []
    for folder, own in _stages(store).items():
        if own is None:
            if not damaged:
                reason = f"does not match its receipt; {REMEDY}"
                raise DamagedFileError(store.location(f"{folder}/{RECEIPTS}"), "whole file", reason)
        elif stage is None or own == stage:
            found.append(store.path(f"{folder}/{RECEIPTS}"))
    return found


_known: dict[tuple[str, str, Found, Found], str] = {}
"""The stage of sealed files, by store, folder, and state of receipt and file: a process reads each receipt once."""


def _stages(store: Store) -> dict[str, str | None]:
    """The stage of each finished sealed file by its folder; None where it does not match its receipt."""
    found = store.find(SEALED)
    states = {
        folder: (str(store), folder, one, found.get(f"{folder}/{RECEIPTS}", MISSING))
        for name, one in sorted(found.items())
        for folder, _, file in [name.rpartition("/")]
        if file == RECEIPT
    }
    new = [f"{folder}/{RECEIPT}" for folder, state in states.items() if state not in _known]
    for name, raw in store.read(new).items():
        folder = name.removesuffix(f"/{RECEIPT}")
        receipt = _valid(raw, folder)
        if receipt is not None and receipt.files[RECEIPTS].bytes == states[folder][3].bytes:
            _known[states[folder]] = str(receipt.facts["stage"])
    return {folder: _known.get(state) for folder, state in states.items()}


def _valid(raw: bytes, folder: str) -> Receipt | None:
    """The receipt of the sealed file in this folder; None if it is damaged or that of another output."""
    try:
        receipt = read_receipt(raw)
    except ValueError:
        return None
    return receipt if f"{receipt.stage}/{receipt.key}" == folder and RECEIPTS in receipt.files else None


def _valid_receipts(store: Store, stage: str, keys: Sequence[str]) -> list[tuple[str, bytes]]:
    """Keys and receipts whose checksum matches, in the order of `keys`."""
    read = store.read([f"{stage}/{key}/{RECEIPT}" for key in keys])
    rows = []
    for key in keys:
        raw = read.get(f"{stage}/{key}/{RECEIPT}")
        if raw is not None and is_sealed(raw):
            rows.append((key, raw))
    return rows
