"""Parquet: any string-like column, bad values one by one, row groups owned by ranges, damage named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.mixtures.blocks.source import Limits
from mixproof.pipeline.readers import parquet, parquet_weight, raw
from mixproof.pipeline.readers.parquet import Rows, owned_rows, read_parquet
from mixproof.pipeline.readers.parquet_weight import weigh
from mixproof.pipeline.record import Raw, Reject


def records(path: Path, start: int = 0, end: int | None = None, fields: bool = False) -> list[Raw | Reject]:
    stop = path.stat().st_size if end is None else end
    return list(read_parquet(str(path), start, stop, text="text", id_="id", with_fields=fields))


def write(path: Path, columns: dict[str, Any], rows: int = 1024) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=rows)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.string()),
        pa.string_view(), pa.binary_view(),
    ],
)  # fmt: skip
def test_every_string_like_column_gives_the_same_texts(tmp_path: Path, kind: Any) -> None:  # noqa: ANN401
    texts = ["one", "zwei ü", "one", None, ""]
    path = write(tmp_path / "a.parquet", {"text": pa.array(texts, pa.string()).cast(kind), "id": [5, 6, 7, 8, 9]})
    found = records(path)
    assert found[:3] == [Raw(0, "5", "one"), Raw(1, "6", "zwei ü"), Raw(2, "7", "one")]
    assert [(item.record, item.reason) for item in found[3:] if isinstance(item, Reject)] == [
        (3, "missing_text"),
        (4, "empty_text"),
    ]


def test_a_string_that_is_not_utf8_is_rejected_alone(tmp_path: Path) -> None:
    bad = pa.array([b"good", b"ba\xffd", b"\xed\xa0\x80", b"end"], pa.binary()).view(pa.string())
    found = records(write(tmp_path / "a.parquet", {"text": bad}))
    assert [item.text if isinstance(item, Raw) else item.reason for item in found] == [
        "good", "invalid_utf8", "invalid_utf8", "end",
    ]  # fmt: skip
    assert isinstance(found[1], Reject)
    assert (found[1].line, found[1].detail) == (None, "ba\\xffd")


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(4)])
def test_bytes_that_are_no_text_are_rejected_alone(tmp_path: Path, kind: Any) -> None:  # noqa: ANN401
    path = write(tmp_path / "a.parquet", {"text": pa.array([b"good", b"ba\xffd", b"also"], kind)})
    assert [item.text if isinstance(item, Raw) else item.reason for item in records(path)] == [
        "good", "invalid_utf8", "also",
    ]  # fmt: skip


def test_an_id_of_sixteen_bytes_is_written_in_hexadecimal(tmp_path: Path) -> None:
    ids = pa.array([b"\xff" * 16, None], pa.binary(16))
    assert records(write(tmp_path / "a.parquet", {"text": ["a", "b"], "id": ids})) == [
        Raw(0, "ff" * 16, "a"),
        Raw(1, None, "b"),
    ]
    (bad,) = records(write(tmp_path / "b.parquet", {"text": ["a"], "id": [b"\xff"]}))
    assert isinstance(bad, Reject)
    assert (bad.reason, bad.detail) == ("invalid_utf8", r"id: b'\xff'")


def test_an_id_may_lie_in_a_struct_and_one_that_is_named_must_be_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"text": ["a", "b"], "meta": [{"url": "u", "n": 1}, None]})

    def read(id_: str, fields: bool = False) -> list[Raw | Reject]:
        return list(read_parquet(str(path), 0, path.stat().st_size, text="text", id_=id_, with_fields=fields))

    assert read("meta.url") == [Raw(0, "u", "a"), Raw(1, None, "b")]
    assert read("meta.n", fields=True)[0] == Raw(0, "1", "a", {"meta": {"url": "u", "n": 1}})
    assert read("id") == [Raw(0, None, "a"), Raw(1, None, "b")]
    with pytest.raises(RequestError, match=r"a\.parquet: there is no column 'uuid' to use as the id; .* text, meta"):
        read("uuid")


def test_a_text_is_handed_on_as_its_utf8_and_as_a_string_when_asked() -> None:
    same = Raw(0, "x", "zwölf"), Raw(0, "x", "zwölf".encode())
    assert same[0] == same[1]
    assert [(item.text, item.data) for item in same] == [("zwölf", b"zw\xc3\xb6lf")] * 2
    assert Raw(0, "x", "zwei") != same[0]
    assert Raw(1, "x", "zwölf") != same[0]


def test_a_text_column_of_another_type_and_a_missing_one_are_refused_by_file_column_and_type(tmp_path: Path) -> None:
    for values, kind in (
        ([1.5, 2.5], "double"),
        ([{"a": "x"}], "struct<a: string>"),
        ([["x"]], "list<element: string>"),
    ):
        with pytest.raises(RequestError, match=rf"a\.parquet: column 'text' is of type {kind}, not text"):
            records(write(tmp_path / "a.parquet", {"text": values}))
    with pytest.raises(RequestError, match=r"b\.parquet: there is no column 'text'; the columns are content, id"):
        records(write(tmp_path / "b.parquet", {"content": ["a"], "id": ["x"]}))


def test_other_columns_come_along_only_when_they_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"id": ["x", "y"], "text": ["a", "b"], "url": ["u", None]})
    assert records(path) == [Raw(0, "x", "a", None), Raw(1, "y", "b", None)]
    assert records(path, fields=True) == [
        Raw(0, "x", "a", {"id": "x", "url": "u"}),
        Raw(1, "y", "b", {"id": "y", "url": None}),
    ]


@pytest.mark.parametrize("width", [1, 7, 100, 1000, 10**6])
def test_ranges_of_any_width_give_every_row_once_and_in_order(tmp_path: Path, width: int) -> None:
    path = write(tmp_path / "a.parquet", {"text": [str(number) * 50 for number in range(40)]}, rows=3)
    size = path.stat().st_size
    parts = [records(path, start, min(start + width, size)) for start in range(0, size, width)]
    assert [item.text for part in parts for item in part if isinstance(item, Raw)] == [
        str(number) * 50 for number in range(40)
    ]
    assert all([item.record for item in part] == list(range(len(part))) for part in parts)


def test_damage_names_the_file_and_the_place(tmp_path: Path) -> None:
    path = tmp_path / "a file.parquet"
    columns = {"text": [f"{number * 7919:x}" * 50 for number in range(4000)]}
    pq.write_table(pa.table(columns), path, row_group_size=1000, compression="zstd", use_dictionary=False)
    whole = path.read_bytes()
    for data in (b"", b"PAR1", b"not parquet at all", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(data)
        with pytest.raises(DamagedFileError, match=r"a file\.parquet: footer"):
            records(path)
    hurt = bytearray(whole)
    hurt[len(whole) // 2 : len(whole) // 2 + 400] = bytes(400)
    path.write_bytes(hurt)
    with pytest.raises(DamagedFileError, match=r"a file\.parquet: row group [12]"):
        records(path)


def bomb(path: Path, values: pa.Array, **options: object) -> Path:
    pq.write_table(pa.table({"text": values}), path, compression="zstd", **options)
    return path


def test_a_dictionary_without_the_values_that_rows_name_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": pa.array(["one", "two"] * 8).dictionary_encode()})
    pq.write_table(table, path, compression="none", write_statistics=False)
    data = bytearray(path.read_bytes())
    assert data[12] == 4  # zigzag of 2 values, in the head of the dictionary's page behind the file's four bytes
    data[12] = 2
    path.write_bytes(data)
    with pytest.raises(
        DamagedFileError, match=r"a\.parquet: row group 0, from row 0 on: cannot be read: Index 1 out of"
    ):
        records(path)


@pytest.mark.parametrize(
    "options",
    [{}, {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}}, {"use_dictionary": False}],
    ids=["dictionary", "shared beginnings", "plain"],
)
def test_a_row_group_that_unpacks_to_far_more_than_its_size_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    monkeypatch.setattr(raw, "FREE_UNPACKED_BYTES", 10_000_000)
    path = bomb(tmp_path / "a.parquet", pa.array(["x" * 1_000_000] * 60), **options)
    assert path.stat().st_size < 100_000
    wide = Limits(expansion=10**6)
    assert len(list(read_parquet(str(path), 0, 10**9, text="text", id_="id", with_fields=False, limits=wide))) == 60
    with pytest.raises(
        DamagedFileError, match=r"row group 0.*decompresses to more .* 200 times .*`limits: {expansion: ...}`"
    ):
        list(read_parquet(str(path), 0, 10**9, text="text", id_="id", with_fields=False))


def test_a_batch_holds_no_more_values_than_their_dictionary_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bomb(tmp_path / "a.parquet", pa.array(["x" * 100_000, "y"] * 400))
    with pq.ParquetFile(path) as file:
        metadata = file.metadata
    found = weigh(path, metadata, 0, ["text"], Limits(), "a")
    assert found == (metadata.row_group(0).column(0).total_compressed_size, parquet_weight.BATCH_ROWS)
    monkeypatch.setattr(parquet_weight, "BATCH_BYTES", 1_000_000)
    assert weigh(path, metadata, 0, ["text"], Limits(), "a")[1] == 9  # of 100,000 bytes and two lengths of 4
    items = read_parquet(str(path), 0, 10**9, text="text", id_="id", with_fields=False)
    assert [item.text for item in items if isinstance(item, Raw)] == ["x" * 100_000, "y"] * 400


def test_a_footer_whose_column_has_a_broken_name_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", "b"]}), path)
    data = bytearray(path.read_bytes())
    data[data.rfind(b"text") + 3] ^= 0x80  # in the chunk's own path, after the schema
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match=r"a\.parquet.*footer, row group 0.*not a complete Parquet file"):
        list(read_parquet(str(path), 0, 10**9, text="text", id_="id", with_fields=False))


def test_a_nested_column_with_a_broken_name_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a"], "meta": [{"inner": 1}]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"inner", b"in\xd7er"))
    with pytest.raises(DamagedFileError, match=r"a\.parquet.*footer: not a complete Parquet file: .*invalid cont"):
        records(path)


def test_the_rows_of_a_large_group_are_divided_among_the_ranges_of_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"document {number} with some words {number * number}" for number in range(1000)]
    path = write(tmp_path / "a.parquet", {"text": texts}, rows=600)
    with pq.ParquetFile(path) as file:
        metadata = file.metadata
    first, second = (metadata.row_group(group).column(0).total_compressed_size for group in (0, 1))
    assert second < first - 1
    # a quarter of the bytes of the first group: row r starts at byte r * first // 600
    assert owned_rows(metadata, 0, first // 4, large=second) == [Rows(0, 0, -(-(first // 4) * 600 // first))]
    assert owned_rows(metadata, 599 * first // 600, first + 1, large=second) == [Rows(0, 599, 600), Rows(1, 0, 400)]
    assert owned_rows(metadata, 0, 1, large=first) == [Rows(0, 0, 600)], (
        "small groups belong to the range that they start in"
    )
    whole = records(path)
    monkeypatch.setattr(parquet, "LARGE_GROUP_BYTES", second)
    for step in (97, 1000, 4000):
        bounds = range(0, path.stat().st_size, step)
        parts = [records(path, start, start + step) for start in bounds]
        found = [item.text for part in parts for item in part if isinstance(item, Raw)]
        assert found == [item.text for item in whole if isinstance(item, Raw)] == texts
        assert all(item.record == index for part in parts for index, item in enumerate(part))
        assert max(len(part) for part in parts) <= 400 + 600 * step // first + 1
