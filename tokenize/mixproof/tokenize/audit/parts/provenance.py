"""The provenance of one training part: where each document came from, and whether it may be in the training data.

Rows are read in batches and checked against these rules: documents are numbered from 0; tokens per document equal the
`.idx`; every (file, record) exists in the source, in ascending order; none is held out; no text equals a held-out
text. The report names the first row that violates a rule.
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

from mixproof.ledger.records.datasets import DatasetRecord
from mixproof.tokenize.audit.cells import CELL, Bounds, check_labels, outside_cell
from mixproof.tokenize.audit.inputs import Inputs, check_columns, check_nulls
from mixproof.tokenize.audit.report import Checks, Equation

from .masks import PLAIN, Form

BATCH_ROWS = 1 << 17


@dataclass(frozen=True)
class Withheld:
    """What must not be among the training documents."""

    positions: NDArray[np.int64]
    """Positions of the source's own held-out documents in the source, ascending."""
    hashes: pa.Array | None
    """Text hashes of all held-out sets; None if the spec turns decontamination off."""
    cell: tuple[Bounds, ...] = ()
    """Bounds of the labels of its documents."""
    labels: tuple[str, ...] = ()
    """Labels that its documents have."""
    prompts: pa.Array | None = None
    """Hashes of held-out prompts: of all sources, or of the part's own if the spec turns decontamination off. None if
    the part has no prompts."""


@dataclass
class Rows:
    """Totals over the rows of one part."""

    documents: int = 0
    text_bytes: int = 0
    first_position: int = -1
    last_position: int = -1
    violations: dict[str, str] = field(default_factory=dict)
    """The first row that violates a rule, by rule."""


def check_provenance(
    path: Path,
    part: DatasetRecord,
    lengths: NDArray[np.int32] | None,
    inputs: Inputs | None,
    withheld: Withheld,
    checks: Checks,
    form: Form = PLAIN,
) -> Rows | None:
    """Check one part's provenance.

    Args:
        path: the Parquet file; its checksum has been verified.
        part: the part in the manifest.
        lengths: [documents] tokens of each document from the `.idx`; None if that failed its checks.
        inputs: the source's raw files; None if that list failed its checks.
        withheld: the held-out documents.
        checks: receives the results.
        form: the columns of the source's parts.

    Returns:
        Totals and the first and last position, or None if the file cannot be read.
    """
    rows = Rows()
    try:
        with pq.ParquetFile(path) as file:
            if not check_columns(file.schema_arrow, form.columns, checks):
                return None
            if not check_labels(file.schema_arrow, withheld.labels, withheld.cell, checks):
                return None
            for batch in file.iter_batches(BATCH_ROWS):
                batch.validate(full=True)
                if not batch.num_rows:
                    continue
                if not check_nulls(pa.Table.from_batches([batch]).drop_columns(form.nullable), checks):
                    return None
                _check_batch(batch, rows, lengths, inputs, withheld, form)
    except (pa.ArrowException, OSError) as error:
        checks.true("schema", False, "a Parquet file", str(error).splitlines()[0])
        return None
    checks.equal("E6", "documents in the provenance", part.documents, rows.documents)
    for rule, equation in (RULES | ({CELL: "E4"} if withheld.cell else {})).items():
        checks.true(equation, rule not in rows.violations, rule, rows.violations.get(rule, ""))
    return rows


NUMBERED = "documents numbered from 0"
LENGTHS = "tokens of each document as in the index"
KNOWN = "files and records that the source has"
ASCENDING = "documents in ascending order of (file, record)"
SPLIT = "no training document that is held out"
CLEAN = "no training text equal to a held-out one"
UNASKED = "no training prompt that is held out"
PAIRED = "a chosen and a rejected answer in turn"
RULES: dict[str, Equation] = {
    NUMBERED: "schema",
    LENGTHS: "E5",
    KNOWN: "E1",
    ASCENDING: "E6",
    SPLIT: "E4",
    CLEAN: "E4",
    UNASKED: "E4",
    PAIRED: "E6",
}


def _check_batch(
    batch: pa.RecordBatch,
    rows: Rows,
    lengths: NDArray[np.int32] | None,
    inputs: Inputs | None,
    withheld: Withheld,
    form: Form,
) -> None:
    first, size = rows.documents, batch.num_rows

    def forbid(rule: str, bad: NDArray[np.bool_], found: Callable[[int], object]) -> None:
        if rule not in rows.violations and bad.any():
            row = int(bad.argmax())
            rows.violations[rule] = f"{found(row)} in row {first + row}, one of {int(bad.sum())} in its batch"

    def document_of(row: int) -> str:
        return f"{batch['file'][row]} record {batch['record'][row]}"

    document = batch["document"].to_numpy()
    forbid(NUMBERED, document != np.arange(first, first + size), lambda row: f"document {document[row]}")
    tokens = batch["tokens"].to_numpy()
    if lengths is not None:
        expected = np.zeros(size, np.int32)
        stored = lengths[first : first + size]
        expected[: len(stored)] = stored
        forbid(LENGTHS, tokens != expected, lambda row: f"{tokens[row]} tokens, {expected[row]} in the index")
    if inputs is not None:
        positions = inputs.positions(batch["file"], batch["record"].to_numpy())

        forbid(KNOWN, positions < 0, document_of)
        before = np.concatenate([[rows.last_position], positions[:-1]])
        is_second = (document % form.together).astype(np.bool_)  # of a pair, which is one record
        wrong = np.where(is_second, positions != before, positions <= before)
        forbid(ASCENDING, wrong & (positions >= 0), document_of)
        forbid(SPLIT, np.isin(positions, withheld.positions) & (positions >= 0), document_of)
        rows.first_position = int(positions[0]) if first == 0 else rows.first_position
        rows.last_position = int(positions[-1])
    if withheld.hashes is not None:
        shared = pc.is_in(batch["text_xxh128"], value_set=withheld.hashes).to_numpy(zero_copy_only=False)
        forbid(CLEAN, shared, document_of)
    if withheld.cell:
        forbid(CELL, outside_cell(batch, withheld.cell), document_of)
    if withheld.prompts is not None:
        asked = pc.is_in(batch["prompt_xxh128"], value_set=withheld.prompts).to_numpy(zero_copy_only=False)
        forbid(UNASKED, asked, document_of)
    if form.kind == "preferences":
        answers = np.array(batch["answer"].to_pylist())
        forbid(PAIRED, answers != np.where(document % 2, "rejected", "chosen"), lambda row: answers[row])
    rows.documents += size
    rows.text_bytes += int(batch["text_bytes"].to_numpy().sum())
