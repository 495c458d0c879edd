"""The raw files of a source as `inputs.parquet` lists them: E1 at the level of files, and places of documents.

A place (file, record) becomes one integer, the number of records before it in the source, so that the order
of documents and whether a record exists are one comparison of integers each.
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

from mixproof.ledger.manifest import InputsRecord

from .checksums import check_file
from .report import Checks

COLUMNS = {"file": "string", "sha256": "string", "bytes": "int64", "records": "int64"}


@dataclass(frozen=True)
class Inputs:
    """Files of one source in order."""

    files: pa.Array
    """[files] names, rising."""
    first_place: NDArray[np.int64]
    """[files + 1] records in the files before."""

    def places(self, files: pa.Array, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places of documents: [documents], -1 where the source has no such file or record."""
        ranks = pc.index_in(files, value_set=self.files).fill_null(-1).to_numpy(zero_copy_only=False)
        counts = np.diff(self.first_place)
        known = (ranks >= 0) & (records >= 0)
        known[known] = records[known] < counts[ranks[known]]
        places = np.full(len(records), -1, np.int64)
        places[known] = self.first_place[ranks[known]] + records[known]
        return places


def check_inputs(root: Path, record: InputsRecord, checks: Checks) -> Inputs | None:
    """Check a source's list of raw files against the manifest; None where it cannot be used."""
    path = check_file(root, record.path, record.sha256, checks)
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
    rising = len(files) < 2 or bool(pc.all(pc.less(files[:-1], files[1:])).as_py())
    at.true("schema", rising, "files in rising order, each once", "another order")
    first_place = np.concatenate([[0], np.cumsum(records)]).astype(np.int64)
    return Inputs(files, first_place) if rising else None


def read_table(
    path: Path, columns: dict[str, str], checks: Checks, *, nullable: Collection[str] = ()
) -> pa.Table | None:
    """Read a whole Parquet file whose columns must be `columns`; None, with a failure, if it is another.

    Only the columns `nullable` may have nulls.
    """
    try:
        table = pq.read_table(path, partitioning=None)
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        checks.true("schema", False, "a Parquet file", str(error).splitlines()[0])
        return None
    held = check_columns(table.schema, columns, checks) and check_nulls(table.drop_columns(list(nullable)), checks)
    return table if held else None


def check_columns(schema: pa.Schema, columns: dict[str, str], checks: Checks) -> bool:
    """Whether a Parquet file has exactly these columns in this order; offsets may be wide (`large_`)."""
    found = {name: str(kind).removeprefix("large_") for name, kind in zip(schema.names, schema.types, strict=True)}
    return checks.true("schema", list(found.items()) == list(columns.items()), f"{columns}", f"{found}")


def check_nulls(table: pa.Table | pa.RecordBatch, checks: Checks) -> bool:
    """Whether every row has every value."""
    nulls = [name for name in table.schema.names if table.column(name).null_count]
    return checks.equal("schema", "columns with nulls", [], nulls)
