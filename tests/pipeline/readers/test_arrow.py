"""Arrow IPC: files and streams give the same rows, and one that was cut is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.mixtures.blocks.source import Limits
from mixproof.pipeline.readers import raw
from mixproof.pipeline.readers.arrow import read_arrow
from mixproof.pipeline.record import Raw, Reject

TABLE = pa.table({"text": ["a", None, "", "zwölf"], "id": [1, 2, 3, 4], "other": ["w", "x", "y", "z"]})


def records(path: Path, *, fields: bool = False) -> list[Raw | Reject]:
    return list(read_arrow(str(path), text="text", id_="id", with_fields=fields))


@pytest.fixture(params=["file", "stream"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Path]:
    def make(table: Any, rows: int = 2) -> Path:  # noqa: ANN401 - pyarrow ships no types
        path = tmp_path / f"{request.param}.arrow"
        new = pa.ipc.new_file if request.param == "file" else pa.ipc.new_stream
        with new(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=rows)
        return path

    return make


def test_rows_of_all_batches_are_counted_on_and_bad_texts_rejected(write: Callable[..., Path]) -> None:
    path = write(TABLE)
    first, missing, empty, last = records(path)
    assert (first, last) == (Raw(0, "1", "a"), Raw(3, "4", "zwölf"))
    assert isinstance(missing, Reject) and isinstance(empty, Reject)
    assert [(bad.record, bad.line, bad.reason) for bad in (missing, empty)] == [
        (1, None, "missing_text"),
        (2, None, "empty_text"),
    ]
    assert records(path, fields=True)[3] == Raw(3, "4", "zwölf", {"id": 4, "other": "z"})


def test_no_rows_are_no_records_and_a_missing_column_is_named(write: Callable[..., Path]) -> None:
    assert records(write(TABLE.slice(0, 0))) == []
    for rows in (0, 4):
        with pytest.raises(RequestError, match="no column 'text'; the columns are id, other"):
            records(write(TABLE.slice(0, rows).drop_columns(["text"])))


def test_invalid_utf8_is_one_bad_record_and_a_column_of_numbers_is_refused(write: Callable[..., Path]) -> None:
    broken = pa.array([b"ok", b"\xff\xfe", b"ok"]).view(pa.string())
    found = records(write(pa.table({"text": broken})))
    assert [item.text if isinstance(item, Raw) else item.reason for item in found] == ["ok", "invalid_utf8", "ok"]
    with pytest.raises(RequestError, match=r"column 'text' is of type int64, not text"):
        records(write(pa.table({"text": [1, 2]})))


def test_every_cut_of_a_file_or_stream_is_damage(write: Callable[..., Path]) -> None:
    path = write(TABLE, rows=1)
    data = path.read_bytes()
    for length in (0, 3, 100, len(data) // 2, len(data) - 8, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(DamagedFileError, match=path.name):
            records(path)


def test_a_stream_cut_between_two_batches_is_damage(tmp_path: Path) -> None:
    path, two = tmp_path / "s.arrow", tmp_path / "t.arrow"
    for place, table in ((path, TABLE.slice(0, 2)), (two, TABLE)):
        with pa.ipc.new_stream(str(place), TABLE.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    path.write_bytes(two.read_bytes()[: path.stat().st_size - 8])
    with pytest.raises(DamagedFileError, match="no end mark"):
        records(path)


def test_offsets_beyond_the_buffer_are_damage_and_not_a_crash(write: Callable[..., Path]) -> None:
    path = write(pa.table({"text": ["abcdefgh"] * 3}), rows=3)
    data = path.read_bytes()
    offsets = b"".join(n.to_bytes(4, "little") for n in (0, 8, 16, 24))
    assert data.count(offsets) == 1
    path.write_bytes(data.replace(offsets, offsets[:4] + (2_000_000_000).to_bytes(4, "little") + offsets[8:]))
    with pytest.raises(DamagedFileError, match=r"batch of record 0"):
        records(path)


def test_a_dictionary_that_stands_for_far_more_than_its_batch_is_damage(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "FREE_UNPACKED_BYTES", 10_000_000)
    texts = pa.array(["x" * 1_000_000] * 600 + [None]).dictionary_encode()
    path = write(pa.table({"text": texts}), rows=1000)
    wide = Limits(expansion=10**6)
    found = list(read_arrow(str(path), text="text", id_="id", with_fields=False, limits=wide))
    assert [type(item) for item in found] == [Raw] * 600 + [Reject]
    with pytest.raises(DamagedFileError, match=r"batch of record 0: decompresses to more .* 200 times its size"):
        list(read_arrow(str(path), text="text", id_="id", with_fields=False))


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("kind", ["file", "stream"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_a_packed_batch_is_weighed_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, compression: str, dictionary: bool
) -> None:
    texts = pa.array([str(number % 2) * 200_000 for number in range(10)])
    table = pa.table({"text": texts.dictionary_encode() if dictionary else texts, "id": range(10)})
    path = tmp_path / "a.arrow"
    new = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with new(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    found = list(read_arrow(str(path), text="text", id_="id", with_fields=False))
    assert [len(item.text) for item in found if isinstance(item, Raw)] == [200_000] * 10
    monkeypatch.setattr(raw, "FREE_UNPACKED_BYTES", 100_000)
    with pytest.raises(
        DamagedFileError, match=r"a\.arrow: message \d: decompresses to more than 100000 bytes and .* 2 times"
    ):
        list(read_arrow(str(path), text="text", id_="id", with_fields=False, limits=Limits(expansion=2)))


def test_a_head_that_cannot_be_followed_is_damage(tmp_path: Path) -> None:
    good = tmp_path / "good.arrow"
    with pa.ipc.new_stream(str(good), TABLE.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(TABLE)
    data = good.read_bytes()
    outcomes: set[object] = set()
    for place in range(0, len(data), 7):
        path = tmp_path / "bad.arrow"
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            outcomes.add(len(list(read_arrow(str(path), text="text", id_="id", with_fields=False))))
        except (DamagedFileError, RequestError) as error:
            outcomes.add(type(error) if "bad.arrow" in str(error) else str(error))
    assert DamagedFileError in outcomes
    assert not [outcome for outcome in outcomes if isinstance(outcome, str)]


def test_what_stands_behind_the_end_of_a_stream_is_not_lost_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    with pa.ipc.new_stream(str(path), TABLE.schema) as writer:
        writer.write_table(TABLE)
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(DamagedFileError, match=r"a\.arrow: after batch 0: \d+ bytes follow .* several streams"):
        records(path)


def test_a_column_that_is_not_read_may_be_of_any_kind(write: Callable[..., Path]) -> None:
    union = pa.UnionArray.from_dense(
        pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array([1]), pa.array(["b"])]
    )
    table = pa.table({"text": ["a", "b"], "id": [1, 2], "either": union})
    assert records(write(table)) == [Raw(0, "1", "a"), Raw(1, "2", "b")]
    assert records(write(table.slice(0, 0))) == []


def test_a_nested_column_with_a_broken_name_costs_no_document(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    table = pa.table({"text": ["a"], "meta": [{"inner": 1}]})
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    path.write_bytes(path.read_bytes().replace(b"inner", b"in\xd7er"))
    assert records(path) == [Raw(0, None, "a")]
    assert records(path, fields=True)[0] == Raw(0, None, "a", {"meta": None})
