"""The checksum of a Parquet file's rows: what changes the rows changes it, and nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixproof.ledger.content import content_sha256, rows_sha256
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.ledger.store import Store
from mixproof.tokenize.audit.rows import rows_checksum

COLUMNS: dict[str, Any] = {
    "file": pa.array(["a", "bc", None, "", "a"], pa.string()),
    "record": pa.array([1, None, 3, 4, 5], pa.int64()),
    "digest": pa.array([b"12", b"34", b"56", None, b"78"], pa.binary(2)),
    "lines": pa.array([[1, 2], None, [], [3], [None, 4]], pa.list_(pa.int32())),
    "flag": pa.array([True, False, None, True, True], pa.bool_()),
}
TABLE = pa.table(COLUMNS)


def written(path: Path, table: pa.Table, **options: Any) -> str:  # noqa: ANN401  whatever a writer takes
    pq.write_table(table, path, **options)
    assert rows_checksum(path) == rows_sha256(path), "the auditor computes the same checksum by other code"
    return rows_sha256(path)


def test_the_writer_and_its_settings_do_not_matter(tmp_path: Path) -> None:
    settings: list[dict[str, Any]] = [
        {},
        {"compression": "zstd", "compression_level": 9},
        {"row_group_size": 2, "use_dictionary": False, "write_statistics": False},
        {"data_page_version": "2.0", "version": "1.0", "store_schema": False},
    ]
    paths = [tmp_path / f"{number}.parquet" for number in range(len(settings))]
    assert len({written(path, TABLE, **options) for path, options in zip(paths, settings, strict=True)}) == 1
    assert len({sha256_of_file(path) for path in paths}) == len(paths)
    with_metadata = TABLE.replace_schema_metadata({"writer": "another"})
    assert written(tmp_path / "m.parquet", with_metadata) == rows_sha256(paths[0])
    chunked = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1, 3), TABLE.slice(4)])
    assert written(tmp_path / "c.parquet", chunked) == rows_sha256(paths[0])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("file", ["a", "bc", None, "", "b"]),
        ("file", ["ab", "c", None, "", "a"]),
        ("file", ["a", "bc", "", "", "a"]),
        ("record", [1, 0, 3, 4, 5]),
        ("digest", [b"12", b"34", b"56", b"\0\0", b"78"]),
        ("lines", [[1], [2], [], [3], [None, 4]]),
        ("lines", [[1, 2], [], [], [3], [None, 4]]),
        ("lines", [[1, 2], None, [], [3], [4, None]]),
        ("flag", [True, True, None, True, True]),
    ],
)
def test_every_value_null_and_border_between_values_counts(tmp_path: Path, name: str, values: list[object]) -> None:
    column = TABLE.schema.get_field_index(name)
    changed = TABLE.set_column(column, name, pa.array(values, TABLE.schema.field(name).type))
    assert written(tmp_path / "a.parquet", TABLE) != written(tmp_path / "b.parquet", changed)


def test_order_names_and_types_count(tmp_path: Path) -> None:
    plain = written(tmp_path / "a.parquet", TABLE)
    others = [
        TABLE.take([1, 0, 2, 3, 4]),
        TABLE.select(["record", "file", "digest", "lines", "flag"]),
        TABLE.rename_columns(["File", "record", "digest", "lines", "flag"]),
        TABLE.set_column(1, "record", TABLE["record"].cast(pa.int32())),
        TABLE.slice(0, 4),
        TABLE.drop_columns(["flag"]),
    ]
    assert plain not in {written(tmp_path / f"{number}.parquet", other) for number, other in enumerate(others)}


def test_a_text_is_represented_by_its_hash_and_wide_offsets_do_not_matter(tmp_path: Path) -> None:
    def texts(text: str, digest: str, kind: Any = pa.large_string()) -> pa.Table:  # noqa: ANN401, B008
        return pa.table({"text": pa.array([text], kind), "text_xxh128": pa.array([digest], pa.string())})

    plain = written(tmp_path / "a.parquet", texts("one", "11"))
    assert written(tmp_path / "b.parquet", texts("one", "11", pa.string())) == plain
    assert written(tmp_path / "c.parquet", texts("two", "22")) != plain
    assert written(tmp_path / "d.parquet", texts("one", "11").select(["text"])) != plain


def test_a_damaged_file_has_another_checksum_and_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    plain = written(path, TABLE)
    path.write_bytes(path.read_bytes()[:-5])
    assert content_sha256(path) == sha256_of_file(path) != plain


def test_a_receipt_keeps_both_checksums_of_a_parquet_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with store.attempt("read", "ab" * 32) as attempt:
        pq.write_table(TABLE, attempt.path("rows.parquet"))
        attempt.path("other.bin").write_bytes(b"1234")
        attempt.commit()
    receipt = store.receipt("read", "ab" * 32)
    assert receipt is not None
    rows, other = receipt.files["rows.parquet"], receipt.files["other.bin"]
    path = store.path(f"read/{'ab' * 32}/rows.parquet")
    assert (rows.sha256, rows.content_sha256) == (sha256_of_file(path), rows_sha256(path))
    assert other.content_sha256 == other.sha256 == content_sha256(path.with_name("other.bin"))
    assert b'"other.bin":{"bytes":4,"sha256":"' in receipt.to_bytes()
