"""JSON lines: what is a document, what is rejected and why, and who owns which line."""

from __future__ import annotations

import gzip
from collections.abc import Generator
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from mixproof.ledger.errors import DamagedFileError
from mixproof.mixtures.blocks.source import Limits
from mixproof.pipeline.readers import jsonl, raw
from mixproof.pipeline.readers.jsonl import read_jsonl, split_lines
from mixproof.pipeline.readers.value import value_of
from mixproof.pipeline.record import Raw, Reject


def records(
    path: Path,
    start: int = 0,
    end: int | None = None,
    compression: str | None = None,
    fields: bool = False,
    limits: Limits = Limits(),  # noqa: B008  frozen
) -> list[Raw | Reject]:
    stop = path.stat().st_size if end is None else end
    return list(
        read_jsonl(str(path), compression, start, stop, text="text", id_="id", with_fields=fields, limits=limits)
    )


def outcomes(found: list[Raw | Reject]) -> list[str]:
    return [item.text if isinstance(item, Raw) else item.reason for item in found]


BAD_LINES = {
    b'{"text": "broken': "invalid_json",
    b"not json": "invalid_json",
    b'{"text": NaN}': "invalid_json",
    b'{"text": "\\u00"}': "invalid_json",
    b'{"text": "a"} {"text": "b"}': "invalid_json",
    b"[" * 100_000 + b'"\\u0041"': "invalid_json",
    b'["text", "a"]': "not_an_object",
    b'"text"': "not_an_object",
    b"null": "not_an_object",
    b'{"other": "a"}': "missing_text",
    b'{"text": null}': "missing_text",
    b'{"text": 12.5}': "text_not_string",
    b'{"text": ["a"]}': "text_not_string",
    b'{"text": ""}': "empty_text",
    b'{"text": "\xff"}': "invalid_utf8",
    b'{"text": "\xed\xa0\x80"}': "invalid_utf8",
    b'{"text": "a\\ud800b"}': "lone_surrogate",
    b'{"text": "a", "id": "\\udfff"}': "lone_surrogate",
    b"": "blank_line",
    b" \t\r": "blank_line",
    b'\xef\xbb\xbf"text"': "not_an_object",
}


@pytest.mark.parametrize(("line", "reason"), BAD_LINES.items(), ids=[str(line[:24]) for line in BAD_LINES])
def test_a_bad_line_is_rejected_with_its_reason_and_place_and_its_neighbours_are_not(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "before"}\n' + line + b'\n{"text": "after"}\n')
    before, bad, after = records(path)
    assert (before, after) == (Raw(0, None, "before"), Raw(2, None, "after"))
    assert isinstance(bad, Reject)
    assert (bad.record, bad.line, bad.reason) == (1, 2, reason)
    assert len(bad.detail) <= 200


GOOD_LINES: dict[bytes, tuple[str | None, str]] = {
    b'{"text": "a", "id": "x"}': ("x", "a"),
    b'{"text": "a", "id": 7}': ("7", "a"),
    b'{"text": "a", "id": null}': (None, "a"),
    b'{"text": " "}\r': (None, " "),
    b'{"text": "\\ud83d\\ude00"}': (None, "\U0001f600"),
    b'{"text": "a", "other": "\\ud800"}': (None, "a"),
    b'{"text": "first", "text": "last"}': (None, "last"),
    '{"text": "zwölf\\u0000\u2028"}'.encode(): (None, "zwölf\0\u2028"),
}


@pytest.mark.parametrize(("line", "expected"), GOOD_LINES.items())
def test_a_good_line_is_a_document_as_json_means_it(
    tmp_path: Path, line: bytes, expected: tuple[str | None, str]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line)
    assert records(path) == [Raw(0, *expected)]


def test_a_byte_order_mark_at_the_start_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\n{"text": "b"}\n')
    assert outcomes(records(path)) == ["a", "b"]
    path.write_bytes(b"\xef\xbb\xbf")
    assert records(path) == []


def test_an_empty_file_has_no_records_and_a_missing_last_newline_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"")
    assert records(path) == []
    path.write_bytes(b'{"text": "a"}\n{"text": "b"}')
    assert outcomes(records(path)) == ["a", "b"]
    path.write_bytes(b'{"text": "a"}\n{"text": "b"}\n\n')
    assert outcomes(records(path)) == ["a", "b", "blank_line"]


def test_other_fields_come_along_only_when_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a", "id": "x", "url": "u"}\n')
    assert records(path) == [Raw(0, "x", "a", None)]
    assert records(path, fields=True) == [Raw(0, "x", "a", {"id": "x", "url": "u"})]


def test_a_line_above_the_limit_is_rejected_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": "%s"}\n{"text": "b"}\n' % (b"x" * 3_000_000))
    found = records(path, limits=Limits(line_bytes=30))
    assert outcomes(found) == ["a", "line_too_long", "b"]
    assert (
        isinstance(found[1], Reject)
        and found[1].detail == "more than 30 bytes, the limit set by `limits: {line_bytes: ...}`"
    )
    path.write_bytes(b'{"text": "a"}\n{"text": "%s"}' % (b"x" * 3_000_000))
    assert outcomes(records(path, limits=Limits(line_bytes=30))) == ["a", "line_too_long"]


LINE = st.sampled_from(
    [b"", b"\r", b'{"text": "a"}', b'{"text": "\xc3\xa9\xc3\xa9"}', b"bad", b'{"text": "bbbbbbbbbbbb"}']
)


def test_a_range_inside_a_long_line_is_not_read_beyond_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, block, read = tmp_path / "a.jsonl", 1 << 20, 0
    path.write_bytes(b'{"text": "' + b"x" * (8 * block) + b'"}\n{"text": "b"}\n')
    blocks_from = raw.blocks_from

    def counted(url: str, start: int) -> Generator[bytes, None, None]:
        nonlocal read
        for data in blocks_from(url, start):
            read += len(data)
            yield data

    monkeypatch.setattr(jsonl, "blocks_from", counted)
    lines = list(jsonl.lines_of(str(path), None, block, 2 * block, Limits()))
    assert (lines, read) == ([], 2 * block)


@given(
    lines=st.lists(LINE, max_size=12),
    newline=st.booleans(),
    mark=st.booleans(),
    cuts=st.lists(st.integers(0, 250), max_size=6),
)
def test_ranges_cut_anywhere_give_every_line_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], newline: bool, mark: bool, cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("ranges") / "a.jsonl"
    data = (b"\xef\xbb\xbf" if mark else b"") + b"\n".join(lines) + (b"\n" if newline else b"")
    path.write_bytes(data)
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    parts = [records(path, *pair) for pair in pairwise(bounds)]
    assert [place for part in parts for place in outcomes(part)] == outcomes(records(path))
    assert all([item.record for item in part] == list(range(len(part))) for part in parts)


@given(data=st.binary(max_size=60).map(lambda raw: raw.replace(b"a", b"\n")), size=st.integers(1, 7))
def test_lines_are_those_of_bytes_split_whatever_the_blocks(data: bytes, size: int) -> None:
    blocks = [data[first : first + size] for first in range(0, len(data), size)]
    found = list(split_lines(blocks))
    expected = data.split(b"\n")[:-1] if data.endswith(b"\n") or not data else data.split(b"\n")
    assert [line for line, _ in found] == expected
    assert sum(length for _, length in found) == len(data)


TEXTS = [b'{"text": "%d"}\n' % number for number in range(4)]


def test_gzip_members_and_zstd_frames_follow_each_other_in_one_file(tmp_path: Path) -> None:
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(TEXTS[0]) + gzip.compress(TEXTS[1] + TEXTS[2][:5]) + gzip.compress(TEXTS[2][5:]))
    assert outcomes(records(packed, compression="gz")) == ["0", "1", "2"]
    packed.write_bytes(packed.read_bytes() + b"\0" * 100_000)
    assert outcomes(records(packed, compression="gz")) == ["0", "1", "2"]
    frame = zstandard.ZstdCompressor().compress
    skippable = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    framed = tmp_path / "a.jsonl.zst"
    framed.write_bytes(frame(TEXTS[0]) + frame(TEXTS[1] + TEXTS[2][:5]) + skippable + frame(TEXTS[2][5:]))
    assert outcomes(records(framed, compression="zst")) == ["0", "1", "2"]


@pytest.mark.parametrize("compression", ["gz", "zst"])
def test_every_truncation_of_a_compressed_file_is_damage_that_names_file_and_offset(
    tmp_path: Path, compression: str
) -> None:
    whole = b"".join(b'{"text": "%d"}\n' % (number * 7919) for number in range(300))
    pack = gzip.compress if compression == "gz" else zstandard.ZstdCompressor(write_checksum=True).compress
    data = pack(whole)
    path = tmp_path / f"cut file.jsonl.{compression}"
    for length in (0, 1, 5, len(data) // 2, len(data) - 5, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(DamagedFileError, match=rf"cut file.*offset {length}\b"):
            records(path, compression=compression)
    two = data + data
    for length in (len(data) + 3, len(two) - 1):
        path.write_bytes(two[:length])
        with pytest.raises(DamagedFileError, match="truncated"):
            records(path, compression=compression)


@pytest.mark.parametrize("compression", ["gz", "zst"])
def test_a_flipped_byte_and_garbage_after_the_end_are_damage(tmp_path: Path, compression: str) -> None:
    whole = b"".join(b'{"text": "%d"}\n' % (number * 7919) for number in range(3000))
    pack = gzip.compress if compression == "gz" else zstandard.ZstdCompressor(write_checksum=True).compress
    data = pack(whole)
    path = tmp_path / f"a.jsonl.{compression}"
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0x10
    path.write_bytes(flipped)
    with pytest.raises(DamagedFileError):
        records(path, compression=compression)
    path.write_bytes(data + b"garbage")
    with pytest.raises(DamagedFileError, match="not valid"):
        records(path, compression=compression)


def test_an_id_may_lie_in_a_nested_field(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a", "meta": {"url": "u"}}\n{"text": "b", "meta": 7, "meta.url": 5}\n{"text": "c"}\n')
    found = read_jsonl(str(path), None, 0, path.stat().st_size, text="text", id_="meta.url", with_fields=False)
    assert list(found) == [Raw(0, "u", "a"), Raw(1, "5", "b"), Raw(2, None, "c")]


def written(folder: Path, data: bytes) -> Path:
    path = folder / "a.jsonl"
    path.write_bytes(data)
    return path


def test_ids_are_as_json_spells_them(tmp_path: Path) -> None:
    spelled = ["18446744073709551617", "-36893488147419103233", "1.10", "1e3", "-0", "0", "7", "true", "false"]
    lines = [f'{{"id": {number}, "text": "a"}}' for number in spelled]
    lines += [line.replace('"a"', '"a", "title": "\\ud800"') for line in lines]  # which takes the slow parser
    path = written(tmp_path, "\n".join(lines).encode())
    assert [item.id for item in records(path) if isinstance(item, Raw)] == 2 * spelled
    path = written(
        tmp_path, b'{"id": {"$oid": "5f"}, "text": "a"}\n{"id": [1, "x"], "text": "a"}\n{"id": null, "text": "a"}'
    )
    assert [item.id for item in records(path) if isinstance(item, Raw)] == ['{"$oid":"5f"}', '[1,"x"]', None]


def test_integers_beyond_64_bits_are_values_to_split_by(tmp_path: Path) -> None:
    path = written(tmp_path, b'{"n": 36893488147419103232, "text": "a"}\n{"n": 36893488147419103233, "text": "b"}')
    found = read_jsonl(str(path), None, 0, 999, text="text", id_="id", with_fields=True, exact="n")
    assert [value_of(item, "n") for item in found if isinstance(item, Raw)] == [
        "36893488147419103232", "36893488147419103233",
    ]  # fmt: skip


def test_a_byte_order_mark_where_files_were_joined_costs_no_record(tmp_path: Path) -> None:
    one = b'\xef\xbb\xbf{"text": "a"}\n'
    odd = b'\xef\xbb\xbf{"text": "b", "title": "\\ud800"}\n'
    found = records(written(tmp_path, one + one + odd + b"\xef\xbb\xbf\n"))
    assert [item.text if isinstance(item, Raw) else item.reason for item in found] == ["a", "a", "b", "blank_line"]
