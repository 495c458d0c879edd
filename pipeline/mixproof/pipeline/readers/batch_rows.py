"""Rows of Arrow batches as records; shared by the readers of Parquet and Arrow IPC.

pyarrow accepts invalid UTF-8 and fails only when a value is converted, so each batch is validated and, if that fails,
converted value by value. Texts are passed on as UTF-8, which is what is hashed and written; strings are made of them
only for steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.mixtures.blocks.source import Source
from mixproof.pipeline.record import Raw, Records, Reject, detail_of, field_of, id_of, text_fault

_NO_PYTHON_VALUE = (ArithmeticError, ValueError, LookupError, pa.ArrowException)
DEFAULT_ID = str(Source.model_fields["id"].default)
"""The column used as the id if the spec names none; it may be missing."""


def names_of(schema: Any, url: str) -> list[str]:  # noqa: ANN401 - pyarrow ships no types
    """Names of the columns, which pyarrow decodes on access.

    Raises:
        DamagedFileError: when a name is not valid UTF-8.
    """
    try:
        return list(schema.names)
    except UnicodeDecodeError as error:
        raise DamagedFileError(url, "schema", f"the name of a column is not valid UTF-8: {error}") from error


def columns_of(schema: Any, text: str | None, id_: str, url: str, *, with_fields: bool) -> list[str]:  # noqa: ANN401 - as above
    """Columns to read: those of text and id, or all.

    Raises:
        DamagedFileError: when the name of a column is not valid UTF-8.
        RequestError: when the column `text` or the declared column `id` is missing, or two have the same name, or the
            column `text` holds no texts.
    """
    names = names_of(schema, url)
    if text is not None and text not in names:
        raise RequestError(f"{url}: there is no column {text!r}; the columns are {', '.join(names)}")
    id_column = _id_column(names, id_)
    if id_column is None and id_ != DEFAULT_ID:
        raise RequestError(f"{url}: there is no column {id_!r} to use as the id; the columns are {', '.join(names)}")
    if text is not None:
        _check_text_type(schema, text, url)
    if id_column not in (None, id_):
        check_field(schema, id_, "id", url)
    columns = names if with_fields else [column for column in names if column in (text, id_column)]
    for column in columns:
        if names.count(column) > 1:
            raise RequestError(f"{url}: {names.count(column)} columns are named {column!r}; rename all but one")
    return columns


def _check_text_type(schema: Any, text: str, url: str) -> None:  # noqa: ANN401 - as above
    if schema.names.count(text) != 1:
        return  # which `columns_of` refuses
    kind = schema.field(text).type
    stored = _stored(kind)
    if not (_is_text(stored) or _is_binary(stored) or pa.types.is_null(stored)):
        raise RequestError(
            f"{url}: column {text!r} is of type {kind}, not text; set `text` to another column, or convert it"
        )


def _stored(kind: Any) -> Any:  # noqa: ANN401 - as above
    """The type of the values that a type stands for: those of a dictionary, and those that an extension stores."""
    while True:
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        elif isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        else:
            return kind


def check_field(schema: Any, name: str, key: str, url: str) -> None:  # noqa: ANN401 - as above
    """Check that a column, or a field inside of one (`meta.url`), can be there; in a map any field can.

    Raises:
        RequestError: naming the file and the fields that there are.
    """
    if name in schema.names:
        return
    first, *inner = name.split(".")
    fields: list[str] = list(schema.names)
    kind: Any = None
    for depth, part in enumerate([first, *inner]):
        if part not in fields:
            where = f"column {'.'.join([first, *inner][:depth])!r} of type {kind}" if depth else "the file"
            raise RequestError(
                f"{url}: there is no field {name!r} for `{key}`: {where} has {', '.join(fields) or 'no fields'}"
            )
        kind = schema.field(part).type if depth == 0 else kind.field(part).type
        kind = _stored(kind)
        if pa.types.is_map(kind):
            return
        fields = [kind.field(index).name for index in range(kind.num_fields)] if pa.types.is_struct(kind) else []


def _id_column(names: Sequence[str], id_: str) -> str | None:
    """The column that holds the id: the one with the full name, else the struct that its first part names."""
    first = id_.partition(".")[0]
    return next((name for name in (id_, first) if name in names), None)


def batch_rows(
    batch: Any,  # noqa: ANN401 - as above
    texts: Sequence[Any] | None,
    first: int,
    text: str | None,
    id_: str,
    with_fields: bool,
) -> Records:
    """Yield the records of a batch; `first` is the index of its first row, `texts` comes from `texts_of`.

    Without texts, every row is a record with an empty text and all columns as its fields.
    """
    ids = _ids(batch, id_)
    others = [column for column in batch.schema.names if with_fields and column != text]
    fields = list(zip(*(_values(batch.column(column)) for column in others), strict=True)) if others else []
    if texts is None:
        for row, record_id in enumerate(ids):
            yield _record_without_text(first + row, record_id, dict(zip(others, fields[row], strict=True)))
        return
    for row, (value, record_id) in enumerate(zip(texts, ids, strict=True)):
        if type(value) is bytes and value and type(record_id) is not bytes:
            entry = dict(zip(others, fields[row], strict=True)) if others else {}
            yield Raw(first + row, id_of(record_id), value, entry if with_fields else None)
            continue
        if isinstance(value, _NotUtf8):
            reason, raw = "invalid_utf8", value.data
        elif type(value) is bytes:
            reason, raw = ("invalid_utf8", b"id: %r" % record_id) if value else ("empty_text", b"''")
        else:
            reason, raw = text_fault(value) or "text_not_string", repr(value).encode(errors="backslashreplace")
        yield Reject(first + row, None, reason, detail_of(raw))


def _record_without_text(record: int, record_id: object, fields: dict[str, Any]) -> Raw | Reject:
    if type(record_id) is bytes:
        return Reject(record, None, "invalid_utf8", detail_of(b"id: %r" % record_id))
    return Raw(record, id_of(record_id), "", fields)


def _ids(batch: Any, id_: str) -> list[Any]:  # noqa: ANN401 - as above
    """The rows' ids as their column holds them; fixed-size binary ids (such as UUIDs) in hexadecimal."""
    name = _id_column(batch.schema.names, id_)
    if name is None:
        return [None] * int(batch.num_rows)
    column = batch.column(name)
    if name != id_:
        return [field_of({name: value}, id_) for value in _values(column)]
    if pa.types.is_fixed_size_binary(column.type):
        return [None if value is None else value.hex() for value in column.to_pylist()]
    return _values(column)


@dataclass(frozen=True)
class _NotUtf8:
    """A value that should be a text and is not valid UTF-8."""

    data: bytes


def texts_of(column: Any) -> list[Any]:  # noqa: ANN401 - as above
    """A column's texts as UTF-8, copied from Arrow's memory: making strings would take half of a reader's time."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return texts_of(column.storage)
    if pa.types.is_dictionary(kind):
        return _by_index(column, texts_of)
    if not _is_text(kind) and not _is_binary(kind):
        return _python_values(column)
    if pa.types.is_string(kind):
        values = column.view(pa.binary()).to_pylist()
    else:
        values = column.cast(pa.large_binary()).to_pylist()
    if _is_text(kind) and _is_valid(column):
        return list(values)
    return [value if value is None or _is_utf8(value) else _NotUtf8(value) for value in values]


def bytes_of(texts: Iterable[Any]) -> int:
    """Bytes of the texts that `texts_of` returned."""
    return sum(len(text) for text in texts if type(text) is bytes)


def _values(column: Any) -> list[Any]:  # noqa: ANN401 - as above
    """Python values of a column; strings that are not valid UTF-8 stay bytes, binary columns are read as strings."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _by_index(column, _values)
    if not _is_text(kind) and not _is_binary(kind):
        return _python_values(column)
    if _is_text(kind):
        if _is_valid(column):
            return list(column.to_pylist())
        column = column.cast(pa.large_binary())
    return [value.decode() if value is not None and _is_utf8(value) else value for value in column.to_pylist()]


def _python_values(column: Any) -> list[Any]:  # noqa: ANN401 - as above
    """Python values of any column. A value that Python cannot represent is returned as Arrow prints it, else as None.

    Examples are dates after the year 9999, times in an unknown zone, and invalid UTF-8 inside a struct.
    """
    try:
        return list(column.to_pylist())
    except _NO_PYTHON_VALUE:
        return [_python_value(value) for value in column]


def _python_value(value: Any) -> object:  # noqa: ANN401 - as above
    with suppress(*_NO_PYTHON_VALUE):
        return value.as_py()
    with suppress(*_NO_PYTHON_VALUE):
        return value.cast(pa.string()).as_py()
    return None


def _by_index(column: Any, values_of: Callable[[Any], list[Any]]) -> list[Any]:  # noqa: ANN401 - as above
    """Values of a dictionary column, each made once."""
    used = pc.drop_null(pc.unique(column.indices))
    values = dict(zip(used.to_pylist(), values_of(column.dictionary.take(used)), strict=True))
    return [None if index is None else values[index] for index in column.indices.to_pylist()]


def _is_text(kind: Any) -> bool:  # noqa: ANN401 - as above
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_binary(kind: Any) -> bool:  # noqa: ANN401 - as above
    views_and_fixed = pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or views_and_fixed)


def _is_valid(column: Any) -> bool:  # noqa: ANN401 - as above
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def first_line(error: BaseException) -> str:
    """The first line of an error; Arrow's messages may hold a page of schema."""
    return str(error).partition("\n")[0]
