"""Columns beside the text that Python cannot hold cost no document; two columns of one name are an error."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
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
    with pytest.raises(RequestError, match="column 'text' is of type"):
        read(pa.table({"text": column}))


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


MAP = pa.array([[("url", "u0"), ("lang", "de")], None, [("lang", "en")]], pa.map_(pa.string(), pa.string()))


@pytest.fixture(params=["parquet", "arrow"])
def ids(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[pa.Table, str], list[str | None]]:
    """The ids of a table's rows, from a file of either format."""

    def run(table: pa.Table, id_: str) -> list[str | None]:
        path = tmp_path / f"a.{request.param}"
        if request.param == "parquet":
            pq.write_table(table, path)
            found = read_parquet(str(path), 0, path.stat().st_size, text="text", id_=id_, with_fields=False)
        else:
            with pa.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table)
            found = read_arrow(str(path), text="text", id_=id_, with_fields=False)
        return [item.id for item in found if isinstance(item, Raw)]

    return run


def test_an_id_is_looked_for_in_maps_as_in_structs(ids: Callable[[pa.Table, str], list[str | None]]) -> None:
    texts = ["a", "b", "c"]
    assert ids(pa.table({"text": texts, "meta": MAP}), "meta.url") == ["u0", None, None]
    deep = pa.StructArray.from_arrays([MAP], names=["inner"])
    assert ids(pa.table({"text": texts, "meta": deep}), "meta.inner.lang") == ["de", None, "en"]


def test_an_id_in_a_field_that_the_schema_does_not_have_is_refused(
    ids: Callable[[pa.Table, str], list[str | None]],
) -> None:
    table = pa.table({"text": ["a"], "meta": [{"url": "u", "more": {"n": 1}}], "tags": ["x"]})
    assert ids(table, "meta.more.n") == ["1"]
    for id_, wrong in (
        ("meta.link", r"column 'meta' of type struct<.*> has url, more"),
        ("meta.more.m", r"column 'meta.more' of type struct<n: int64> has n"),
        ("tags.x", r"column 'tags' of type string has no fields"),
    ):
        with pytest.raises(RequestError, match=rf"there is no field '{id_}' for `id`: {wrong}"):
            ids(table, id_)


def test_ids_of_every_type_are_text(ids: Callable[[pa.Table, str], list[str | None]]) -> None:
    columns = {
        "uint64": pa.array([2**64 - 1], pa.uint64()),
        "decimal": pa.array([Decimal(2) ** 70], pa.decimal128(38, 0)),
        "bool": pa.array([True]),
        "list": pa.array([["x", "y"]]),
    }
    expected = {"uint64": "18446744073709551615", "decimal": str(2**70), "bool": "true", "list": '["x","y"]'}
    for name, column in columns.items():
        assert ids(pa.table({"text": ["a"], "id": column}), "id") == [expected[name]]
