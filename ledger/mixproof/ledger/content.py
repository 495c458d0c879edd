"""Checksums of the content of a file, which do not depend on the library that wrote it.

A Parquet file's bytes change with the version of its writer: the footer names it, and encodings, statistics and
compression differ. Identities (keys, manifests) therefore use the SHA-256 of the rows. The receipt of an output also
keeps the SHA-256 of the file's bytes, so damage anywhere in the file, even in its footer, is still found.

The checksum of rows is the SHA-256 of canonical JSON `{"columns": [[name, type, digest], ...], "rows": n}`; columns are
in the order of the schema. Types are Arrow's names without `large_`. The digest of a column is a list of SHA-256:

1. of one byte per row, 1 if the value is not null;
2. of the lengths of its non-null strings, binaries or lists, as int64 (of nothing for other types);
3. of the bytes of its non-null values, little-endian (of nothing for lists);
4. for lists, the digest of their values.

Row groups and chunks do not matter. A column `text` beside a column `text_xxh128` has the digest null: it is
represented by that hash, which every reader of texts checks.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .fingerprint import canonical_json, sha256_of_file

BATCH_ROWS = 1 << 16
PARQUET = ".parquet"
TEXT, TEXT_HASH = "text", "text_xxh128"


def content_sha256(path: Path) -> str:
    """SHA-256 of the rows of a Parquet file, of the bytes of any other file and of a damaged Parquet file.

    Raises:
        OSError: when the file cannot be read.
    """
    if path.suffix == PARQUET:
        with suppress(pa.ArrowException):
            return rows_sha256(path)
    return sha256_of_file(path)


def rows_sha256(path: Path) -> str:
    """SHA-256 of the rows of a Parquet file, in the form that this module describes."""
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        names = [name for name in schema.names if name != TEXT or TEXT_HASH not in schema.names]
        columns = {name: _Column(schema.field(name).type) for name in names}
        for batch in file.iter_batches(BATCH_ROWS, columns=names, use_threads=False):  # small files take less time so
            for name, values in zip(batch.schema.names, batch.columns, strict=True):
                columns[name].update(values)
        digests = [
            [name, _type_name(schema.field(name).type), columns[name].digest() if name in columns else None]
            for name in schema.names
        ]
        rows = file.metadata.num_rows
    return hashlib.sha256(canonical_json({"rows": rows, "columns": digests})).hexdigest()


def _type_name(kind: Any) -> str:  # noqa: ANN401  pyarrow ships no types
    return str(kind).replace("large_", "")


class _Column:
    """The digests of one column, fed with its values in order."""

    def __init__(self, kind: Any) -> None:  # noqa: ANN401  pyarrow ships no types
        self._valid, self._lengths, self._data = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        self._items = _Column(kind.value_type) if is_list else None

    def update(self, values: Any) -> None:  # noqa: ANN401  pyarrow ships no types
        self._valid.update(_bytes_of(pc.cast(pc.is_valid(values), pa.uint8())))
        if values.null_count:
            values = values.drop_null()
        if self._items is not None:
            self._lengths.update(_bytes_of(pc.cast(pc.list_value_length(values), pa.int64())))
            self._items.update(values.flatten())
        elif _has_offsets(values.type):
            self._lengths.update(_bytes_of(pc.cast(pc.binary_length(values), pa.int64())))
            self._data.update(_string_bytes(values))
        else:
            self._data.update(_bytes_of(pc.cast(values, pa.uint8()) if pa.types.is_boolean(values.type) else values))

    def digest(self) -> list[object]:
        own: list[object] = [each.hexdigest() for each in (self._valid, self._lengths, self._data)]
        return own if self._items is None else [*own, self._items.digest()]


def _has_offsets(kind: Any) -> bool:  # noqa: ANN401  pyarrow ships no types
    types = pa.types
    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind)
    )


def _bytes_of(values: Any) -> memoryview:  # noqa: ANN401  pyarrow ships no types
    """The bytes of an array of values of a fixed width without nulls."""
    width = values.type.byte_width
    buffer = values.buffers()[1]
    return memoryview(b"") if buffer is None else memoryview(buffer)[values.offset * width :][: len(values) * width]


def _string_bytes(values: Any) -> memoryview:  # noqa: ANN401  pyarrow ships no types
    """The concatenated bytes of an array of strings or binaries without nulls."""
    _, offsets, data = values.buffers()
    if not len(values) or data is None:
        return memoryview(b"")
    is_large = pa.types.is_large_string(values.type) or pa.types.is_large_binary(values.type)
    ends = np.frombuffer(offsets, np.int64 if is_large else np.int32)
    start, stop = int(ends[values.offset]), int(ends[values.offset + len(values)])
    return memoryview(data)[start:stop]
