"""Cells: each divided source is the sum of its parts, and each document is in the cell of its labels.

From the numbers of a manifest: the parts of a source have the same ledger up to the row `cells`, and what they keep
there adds up to what came in. From the provenance of a part: its labels are within the bounds and values that the
manifest states for its cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.cells import AxisRecord, CellsRecord
from mixproof.ledger.records.source import SourceRecord

from .report import Checks

CELLS = "cells"
UNLABELLED = "unlabelled"
PRUNED = "pruned"
"""The reason for which documents of pruned clusters are dropped."""
LABEL = "label."
"""Of the names of label columns in a provenance file."""
CELL = "labels within the bounds of the source"
LABEL_KINDS = ("string", "int64", "double")


@dataclass(frozen=True)
class Bounds:
    """What the documents of a cell have in common on one axis."""

    column: str
    value: str
    """The value of a category, or the name of the cell; `unlabelled`: no value."""
    low: float | None = None
    high: float | None = None
    """A number is at least `low` and below `high`."""
    is_number: bool = False

    def outside(self, column: pa.Array) -> NDArray[np.bool_]:
        """Which values of a part are not those of its cell."""
        if self.value == UNLABELLED:
            inside = pc.is_null(column)
        elif not self.is_number:
            inside = pc.equal(column, pa.scalar(self.value, pa.string()))
        else:
            values = pc.cast(column, pa.float64(), safe=False)
            inside = pc.is_valid(values)
            if self.low is not None:
                inside = pc.and_(inside, pc.greater_equal(values, self.low))
            if self.high is not None:
                inside = pc.and_(inside, pc.less(values, self.high))
        found: NDArray[np.bool_] = pc.fill_null(inside, False).to_numpy(zero_copy_only=False)
        return ~found


def check_cells(manifest: Manifest, checks: Checks) -> None:
    """Check that every divided source is the sum of its parts."""
    if not manifest.cells and all(row.stage != CELLS for source in manifest.sources.values() for row in source.ledger):
        return
    stated = {part for record in manifest.cells.values() for part in record.parts}
    divided = {name for name, source in manifest.sources.items() if any(row.stage == CELLS for row in source.ledger)}
    checks.equal("E4", "as parts of divided sources", sorted(divided), sorted(stated))
    for name, record in manifest.cells.items():
        at = checks.at(source=name, stage=CELLS)
        parts = {part: manifest.sources[part] for part in record.parts if part in manifest.sources}
        every = [*record.parts.values(), *([] if record.pruned is None else [record.pruned])]
        at.equal("E4", "documents in all cells and pruned", record.documents, sum(count.documents for count in every))
        at.equal("E4", "bytes in all cells and pruned", record.bytes, sum(count.bytes for count in every))
        at.equal("schema", "parts that are not cells", [], sorted(set(record.parts) - set(bounds_of(name, record))))
        for part, source in parts.items():
            _check_part(record, source, record.parts[part].documents, record.parts[part].bytes, at.at(source=part))
        before = [source.ledger[: _place(source)] for source in parts.values()]
        differ = [part for part, ledger in zip(parts, before, strict=True) if ledger != before[0]]
        at.equal("E4", "parts with another account before the division", [], differ)


def check_labels(schema: pa.Schema, labels: Sequence[str], cell: Sequence[Bounds], checks: Checks) -> bool:
    """Whether a provenance file has the columns of the labels that its source has, and is divided by."""
    needed = {*labels, *(bounds.column for bounds in cell)}
    lost = sorted(name for name in needed if f"{LABEL}{name}" not in schema.names)
    return not needed or checks.equal("schema", "labels without a column", [], lost)


def outside_cell(rows: pa.Table | pa.RecordBatch, cell: Sequence[Bounds]) -> NDArray[np.bool_]:
    """Which documents of a part have labels that are not those of its cell."""
    found = np.zeros(rows.num_rows, np.bool_)
    for bounds in cell:
        column = rows.column(f"{LABEL}{bounds.column}")
        found |= bounds.outside(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    return found


def _check_part(record: CellsRecord, source: SourceRecord, documents: int, size: int, checks: Checks) -> None:
    row = source.ledger[_place(source)]
    checks.equal("E4", "documents of the source", record.documents, row.documents_in)
    checks.equal("E4", "bytes of the source", record.bytes, row.bytes_in)
    checks.equal("E4", "documents of the cell", documents, row.documents_out)
    checks.equal("E4", "bytes of the cell", size, row.bytes_out)
    checks.equal("E4", "documents that were pruned", record.pruned, row.dropped.get(PRUNED))


def _place(source: SourceRecord) -> int:
    """The index of the row `cells`; the last row if there is none."""
    return next((index for index, row in enumerate(source.ledger) if row.stage == CELLS), len(source.ledger) - 1)


def wholes_of(manifest: Manifest) -> dict[str, SourceRecord]:
    """The sources as deduplication saw them: a divided one by its own name, with the record of any of its parts."""
    whole_of = {part: name for name, record in manifest.cells.items() for part in record.parts}
    return {whole_of.get(name, name): source for name, source in manifest.sources.items()}


def bounds_of(name: str, record: CellsRecord) -> dict[str, tuple[Bounds, ...]]:
    """What the documents of each possible cell of a source have in common, by name of the part."""
    found = {}
    for cells in product(*(_cells_of(axis) for axis in record.axes)):
        if len(cells) == 1:
            encoded = quote(cells[0].value, safe="")
            encoded = f"%2E{encoded[1:]}" if encoded.startswith(".") else encoded
        else:
            encoded = ".".join(quote(cell.value, safe="").replace(".", "%2E") for cell in cells)
        found[f"{name}/{encoded}"] = cells
    return found


def _cells_of(axis: AxisRecord) -> list[Bounds]:
    edges = [float(edge) for edge in axis.edges]
    without = Bounds(axis.column, UNLABELLED)
    if not edges:
        return [*(Bounds(axis.column, cell) for cell in axis.cells), without]
    low, high = [None, *edges], [*edges, None]
    ranges = zip(axis.cells, low, high, strict=True)
    return [*(Bounds(axis.column, cell, least, most, is_number=True) for cell, least, most in ranges), without]


def cells_of(manifest: Manifest) -> dict[str, tuple[Bounds, ...]]:
    """What the documents of every part of a divided source have in common, by name of the part."""
    return {
        part: cell
        for name, record in manifest.cells.items()
        for part, cell in bounds_of(name, record).items()
        if part in record.parts
    }


def labels_in(spec: Mapping[str, object], source: str) -> tuple[str, ...]:
    """The columns of labels that the spec in a manifest gives a source's documents, without confidences."""
    sources = spec["sources"]
    assert isinstance(sources, dict), "the form of the spec has been checked"
    return tuple(sources.get(source, {}).get("labels", {}))
