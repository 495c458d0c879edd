"""The checksum of a Parquet file's rows, computed independently of the code that records it.

The manifest names Parquet files by their rows, because their bytes change with the version of the library that wrote
them. Form: the SHA-256 of canonical JSON `{"columns": [[name, type, digest], ...], "rows": n}`. A column's digest is a
list of three SHA-256: of a byte per row that is 1 if the value is not null, of the lengths (int64) of its strings or
lists, and of its bytes, without nulls; for lists the digest of their values follows. `text` beside `text_xxh128` has
the digest null.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .checksums import check_file, path_in_store
from .receipts import receipt_files
from .report import Checks

GROUP_ROWS = 1 << 17


def check_parquet(root: Path, relative: str, sha256: str, checks: Checks) -> Path | None:
    """Check one Parquet file of the store: its bytes against its output's receipt, its rows against a record.

    Args:
        root: the store's folder.
        relative: the file's name, relative to the store, as recorded.
        sha256: the recorded SHA-256 of its rows.
        checks: receives the results; a failure names the file.

    Returns:
        The path, or None if the file is missing or damaged.
    """
    path = path_in_store(root, relative, checks)
    if path is None:
        return None
    stage, key, name = (*relative.split("/", maxsplit=2), "", "")[:3]
    receipt = receipt_files(root, f"{stage}/{key}").get(name)
    if receipt is not None and "rows_sha256" not in receipt:
        return check_file(root, relative, sha256, checks)  # an output from before rows had checksums
    if receipt is not None and check_file(root, relative, receipt["sha256"], checks) is None:
        return None
    at = checks.at(file=str(path))
    try:
        found = rows_checksum(path)
    except (OSError, pa.ArrowException) as error:
        at.true("checksum", False, f"rows of sha256 {sha256}", f"unreadable file: {str(error).splitlines()[0]}")
        return None
    return path if at.true("checksum", found == sha256, f"rows of sha256 {sha256}", f"sha256 {found}") else None


def rows_checksum(path: Path) -> str:
    """The checksum of a Parquet file's rows."""
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        hashed = [name for name in schema.names if not (name == "text" and "text_xxh128" in schema.names)]
        states = {name: _new_state(schema.field(name).type) for name in hashed}
        for batch in file.iter_batches(GROUP_ROWS, columns=hashed):
            for name in hashed:
                _add(states[name], batch.column(name))
        columns = []
        for field in schema:
            digest = _hex(states[field.name]) if field.name in states else None
            columns.append([field.name, str(field.type).replace("large_", ""), digest])
        form = {"columns": columns, "rows": file.metadata.num_rows}
    text = json.dumps(form, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _new_state(kind: Any) -> list[Any]:  # noqa: ANN401  pyarrow ships no types
    state: list[Any] = [hashlib.sha256() for _ in range(3)]
    return [*state, _new_state(kind.value_type)] if pa.types.is_list(kind) or pa.types.is_large_list(kind) else state


def _hex(state: list[Any]) -> list[Any]:
    return [part.hexdigest() if hasattr(part, "hexdigest") else _hex(part) for part in state]


def _add(state: list[Any], column: Any) -> None:  # noqa: ANN401  pyarrow ships no types
    valid, lengths, data, *items = state
    valid.update(np.asarray(column.is_valid().to_numpy(zero_copy_only=False), np.uint8).tobytes())
    values = column.drop_null()
    if items:
        lengths.update(pc.list_value_length(values).to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        _add(items[0], values.flatten())
        return
    kind = values.type
    if pa.types.is_fixed_size_binary(kind):
        data.update(b"".join(values.to_pylist()))
    elif pa.types.is_boolean(kind) or pa.types.is_primitive(kind):
        numbers = values.to_numpy(zero_copy_only=False)
        data.update((numbers.astype(np.uint8) if pa.types.is_boolean(kind) else numbers).tobytes())
    else:
        wide = values.cast(pa.large_binary())
        lengths.update(pc.binary_length(wide).to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        data.update(b"".join(wide.to_pylist()))
