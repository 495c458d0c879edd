"""Columns beside the text that Python cannot hold cost no document; two columns of one name are an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixproof.ledger.errors import RequestError
from mixproof.pipeline.readers.arrow import read_arrow
from mixproof.pipeline.readers.parquet import read_parquet
from mixproof.pipeline.record import Raw, Records, Reject

NOT_UTF8 = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
Read = Callable[[pa.Table], list[Raw | Reject]]


@pytest.fixture(params=["parquet", "arrow"])
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Read:
    """Read a table from a file of either format, all its columns."""
    options: dict[str, Any] = {"text": "text", "id_": "id", "with_fields": True}

    def run(table: pa.Table) -> list[Raw | Reject]:
        path = tmp_path / f"a.{request.param}"
        found: Records
        if request.param == "parquet":
            pq.write_table(table, path)
            found = read_parquet(str(path), 0, path.stat().st_size, **options)
        else:
            with pa.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table)
            found = read_arrow(str(path), **options)
        return list(found)

    return run


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (pa.array([2**62], pa.timestamp("us")), "<value out of range: 4611686018427387904>"),
        (pa.array([2**30], pa.date32()), None),
        (pa.array([0], pa.timestamp("us", "Nowhere/At_All")), None),
    ],
)
def test_a_field_that_python_cannot_hold_leaves_its_document_alone(read: Read, column: pa.Array, value: object) -> None:
    (raw,) = read(pa.table({"text": ["a text"], "id": ["x"], "odd": column}))
    assert isinstance(raw, Raw) and raw.fields is not None
    assert (raw.text, raw.id) == ("a text", "x")
    assert value is None or raw.fields["odd"] == value
    (rejected,) = read(pa.table({"text": column}))
    assert isinstance(rejected, Reject) and rejected.reason in ("text_not_string", "missing_text")


def test_invalid_utf8_inside_a_column_of_parquet_is_not_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a text"], "odd": pa.StructArray.from_arrays([NOT_UTF8], ["inner"])}), path)
    (raw,) = read_parquet(str(path), 0, path.stat().st_size, text="text", id_="id", with_fields=True)
    assert raw == Raw(0, None, "a text", {"odd": None})


@pytest.mark.parametrize("name", ["text", "id", "score"])
def test_two_columns_of_one_name_are_an_error_that_names_it(read: Read, name: str) -> None:
    columns = {"text": pa.array(["a"]), "id": pa.array(["x"]), "score": pa.array([1])}
    table = pa.Table.from_arrays([*columns.values(), columns[name]], names=[*columns, name])
    with pytest.raises(RequestError, match=rf"a\.\w+: 2 columns are named '{name}'"):
        read(table)
