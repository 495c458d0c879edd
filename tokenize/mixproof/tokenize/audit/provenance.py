"""Provenance of one part of training documents: where each came from, and whether it may be there.

Rows are read in batches: numbering from 0, tokens of each document as in the `.idx`, bytes of text, places
that the source has, in rising order, none of them held out, no text equal to a held-out one. Every batch is
checked whole; what is reported is the first row that breaks a rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.manifest import DatasetRecord

from .inputs import Inputs, check_columns, check_nulls
from .report import Checks, Equation

COLUMNS = {
    "document": "int64",
    "file": "string",
    "record": "int64",
    "id": "string",
    "text_xxh128": "string",
    "text_bytes": "int64",
    "tokens": "int32",
}
BATCH_ROWS = 1 << 17


@dataclass(frozen=True)
class Withheld:
    """What training documents must not be."""

    places: NDArray[np.int64]
    """Places of the source's own held-out documents, rising."""
    hashes: pa.Array | None
    """Text hashes of every held-out set; None where the spec turns decontamination off."""


@dataclass
class Rows:
    """What the rows of one part come to."""

    documents: int = 0
    text_bytes: int = 0
    first_place: int = -1
    last_place: int = -1
    broken: dict[str, str] = field(default_factory=dict)
    """First row that breaks a rule, by rule."""


def check_provenance(
    path: Path,
    part: DatasetRecord,
    lengths: NDArray[np.int32] | None,
    inputs: Inputs | None,
    withheld: Withheld,
    checks: Checks,
) -> Rows | None:
    """Check one part's provenance.

    Args:
        path: of its Parquet, whose checksum was good.
        part: what the manifest says of the part.
        lengths: [documents] tokens of each by the `.idx`; None where that failed.
        inputs: the source's raw files; None where that list failed.
        withheld: the documents that are held out.
        checks: where the outcome goes.

    Returns:
        Sums and the first and last place, or None where the file cannot be read.
    """
    rows = Rows()
    try:
        with pq.ParquetFile(path) as file:
            if not check_columns(file.schema_arrow, COLUMNS, checks):
                return None
            for batch in file.iter_batches(BATCH_ROWS):
                batch.validate(full=True)
                if not batch.num_rows:
                    continue
                if not check_nulls(batch, checks):
                    return None
                _check_batch(batch, rows, lengths, inputs, withheld)
    except (pa.ArrowException, OSError) as error:
        checks.true("schema", False, "a Parquet file", str(error).splitlines()[0])
        return None
    checks.equal("E6", "documents in the provenance", part.documents, rows.documents)
    for rule, equation in RULES.items():
        checks.true(equation, rule not in rows.broken, rule, rows.broken.get(rule, ""))
    return rows


NUMBERED = "documents numbered from 0"
LENGTHS = "tokens of each document as in the index"
KNOWN = "files and records that the source has"
RISING = "documents in rising order of (file, record)"
SPLIT = "no training document that is held out"
CLEAN = "no training text equal to a held-out one"
RULES: dict[str, Equation] = {
    NUMBERED: "schema",
    LENGTHS: "E5",
    KNOWN: "E1",
    RISING: "E6",
    SPLIT: "E4",
    CLEAN: "E4",
}


def _check_batch(
    batch: pa.RecordBatch,
    rows: Rows,
    lengths: NDArray[np.int32] | None,
    inputs: Inputs | None,
    withheld: Withheld,
) -> None:
    first, size = rows.documents, batch.num_rows

    def broken(rule: str, bad: NDArray[np.bool_], found: Callable[[int], object]) -> None:
        if rule not in rows.broken and bad.any():
            row = int(bad.argmax())
            rows.broken[rule] = f"{found(row)} in row {first + row}, of {int(bad.sum())} such in its batch"

    document = batch["document"].to_numpy()
    broken(NUMBERED, document != np.arange(first, first + size), lambda row: f"document {document[row]}")
    tokens = batch["tokens"].to_numpy()
    if lengths is not None:
        want = np.zeros(size, np.int32)
        have = lengths[first : first + size]
        want[: len(have)] = have
        broken(LENGTHS, tokens != want, lambda row: f"{tokens[row]} tokens, {want[row]} in the index")
    if inputs is not None:
        places = inputs.places(batch["file"], batch["record"].to_numpy())

        def name(row: int) -> str:
            return f"{batch['file'][row]} record {batch['record'][row]}"

        broken(KNOWN, places < 0, name)
        before = np.concatenate([[rows.last_place], places[:-1]])
        broken(RISING, (places <= before) & (places >= 0), name)
        broken(SPLIT, np.isin(places, withheld.places) & (places >= 0), name)
        rows.first_place = int(places[0]) if first == 0 else rows.first_place
        rows.last_place = int(places[-1])
    if withheld.hashes is not None:
        shared = pc.is_in(batch["text_xxh128"], value_set=withheld.hashes).to_numpy(zero_copy_only=False)
        broken(CLEAN, shared, lambda row: f"{batch['file'][row]} record {batch['record'][row]}")
    rows.documents += size
    rows.text_bytes += int(batch["text_bytes"].to_numpy().sum())
