"""The raw files of a source as listed in `inputs.parquet`: E1 per file, and positions of documents in the source.

A pair (file, record) becomes one integer, its position: the number of records before it in the source. Order and
existence of documents are then integer comparisons.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.records.inputs import InputsRecord

from .cells import LABEL, LABEL_KINDS
from .report import Checks
from .rows import check_parquet

COLUMNS = {"file": "string", "sha256": "string", "bytes": "int64", "records": "int64"}


@dataclass(frozen=True)
class Inputs:
    """The raw files of one source, in order."""

    files: pa.Array
    """[files] names, ascending."""
    first_position: NDArray[np.int64]
    """[files + 1] number of records in all files before."""

    def positions(self, files: pa.Array, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of documents in the source: [documents], -1 if the source has no such file or record."""
        file_index = pc.index_in(files, value_set=self.files).fill_null(-1).to_numpy(zero_copy_only=False)
        counts = np.diff(self.first_position)
        known = (file_index >= 0) & (records >= 0)
        known[known] = records[known] < counts[file_index[known]]
        positions = np.full(len(records), -1, np.int64)
        positions[known] = self.first_position[file_index[known]] + records[known]
        return positions


def check_inputs(root: Path, record: InputsRecord, checks: Checks) -> Inputs | None:
    """Check a source's list of raw files against the manifest; None if it cannot be used."""
    path = check_parquet(root, record.path, record.sha256, checks)
    if path is None:
        return None
    at = checks.at(file=str(path), stage="read")
    table = read_table(path, COLUMNS, at)
    if table is None:
        return None
    files = table["file"].combine_chunks()
    records = table["records"].to_numpy()
    at.equal("E1", "files", record.files, len(files))
    at.equal("E1", "records in all files", record.records, int(records.sum()))
    at.equal("E1", "bytes in all files", record.bytes, int(table["bytes"].to_numpy().sum()))
    ascending = len(files) < 2 or bool(pc.all(pc.less(files[:-1], files[1:])).as_py())
    at.true("schema", ascending, "files in ascending order, each once", "another order")
    first_position = np.concatenate([[0], np.cumsum(records)]).astype(np.int64)
    return Inputs(files, first_position) if ascending else None


def read_table(
    path: Path, columns: dict[str, str], checks: Checks, *, nullable: Collection[str] = ()
) -> pa.Table | None:
    """Read a whole Parquet file that must have exactly the columns `columns`; None and a failure if it has not.

    Only the columns `nullable` may contain nulls.
    """
    try:
        table = pq.read_table(path, partitioning=None)
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        checks.true("schema", False, "a Parquet file", str(error).splitlines()[0])
        return None
    is_valid = check_columns(table.schema, columns, checks) and check_nulls(table.drop_columns(list(nullable)), checks)
    return table if is_valid else None


def check_columns(schema: pa.Schema, columns: dict[str, str], checks: Checks) -> bool:
    """Whether a Parquet file has exactly these columns in this order; 64-bit offsets (`large_` types) are accepted.

    After them may come columns of labels.
    """
    kinds = zip(schema.names, schema.types, strict=True)
    found = {name: str(kind).removeprefix("large_") for name, kind in kinds if not name.startswith(LABEL)}
    labels = {str(schema.field(name).type) for name in schema.names if name.startswith(LABEL)}
    if labels:
        checks.equal("schema", "kinds of labels", [], sorted(labels - set(LABEL_KINDS)))
    return checks.true("schema", list(found.items()) == list(columns.items()), f"{columns}", f"{found}")


def check_nulls(table: pa.Table | pa.RecordBatch, checks: Checks) -> bool:
    """Whether no value is null, except of labels."""
    names = [name for name in table.schema.names if not name.startswith(LABEL)]
    nulls = [name for name in names if table.column(name).null_count]
    return checks.equal("schema", "columns with nulls", [], nulls)
