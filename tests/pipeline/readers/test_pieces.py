"""A stream is divided at line ends or behind WARC records, so that its pieces give what the whole gives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.ledger.errors import DamagedFileError
from mixproof.pipeline.readers.pieces import copy_lines
from mixproof.pipeline.readers.warc_records import Malformed, WarcRecord, copy_records, split_records


class Pieces:
    """Keeps the pieces in memory."""

    def __init__(self) -> None:
        self.found = [b""]

    @property
    def length(self) -> int:  # noqa: D102  as in PieceSink, and so below
        return len(self.found[-1])

    def write(self, data: bytes) -> None:  # noqa: D102
        self.found[-1] += data

    def end_piece(self) -> None:  # noqa: D102
        self.found.append(b"")


def blocks_of(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@given(
    lines=st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=30),
    ends_with_newline=st.booleans(),
    block=st.integers(1, 40),
    least=st.integers(1, 50),
)
def test_pieces_end_behind_the_first_line_end_at_their_size(
    lines: list[bytes], ends_with_newline: bool, block: int, least: int
) -> None:
    data = b"\n".join(lines) + (b"\n" if ends_with_newline else b"")
    pieces = Pieces()
    copy_lines(blocks_of(data, block), pieces, least)
    assert b"".join(pieces.found) == data
    for piece in pieces.found[:-1]:
        assert piece.endswith(b"\n") and len(piece) >= least
        assert b"\n" not in piece[least - 1 : -1], "the first line end at or after the size"
    assert b"\n" not in pieces.found[-1][least - 1 :]


def record(number: int, block: bytes) -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: resource\r\nn: {number}\r\nContent-Length: {len(block)}\r\n\r\n".encode()
    return head + block + b"\r\n\r\n"


MALFORMED = b"WARC/1.0\r\nContent-Length: many\r\n\r\nlost\r\n\r\n"


@given(
    kinds=st.lists(st.sampled_from([0, 1, 70, 300, -1]), min_size=1, max_size=12),
    block=st.integers(1, 400),
    least=st.integers(1, 600),
)
def test_pieces_of_a_warc_give_its_records(kinds: list[int], block: int, least: int) -> None:
    data = b"".join(MALFORMED if size < 0 else record(n, b"x" * size) for n, size in enumerate([5, *kinds]))
    pieces = Pieces()
    copy_records(blocks_of(data, block), "a.warc", pieces, least)
    assert b"".join(pieces.found) == data
    assert all(len(piece) >= least for piece in pieces.found[:-1])
    found: list[WarcRecord | Malformed] = []
    for number, piece in enumerate(pieces.found):
        found += split_records(blocks_of(piece, block), "a piece", is_start=number == 0)
    assert found == list(split_records([data], "a.warc"))


def test_a_truncated_warc_is_damaged_when_it_is_copied() -> None:
    with pytest.raises(DamagedFileError, match=r"a\.warc: record 1: the file ends inside a WARC record of 100 bytes"):
        copy_records([record(0, b"x" * 100) + record(1, b"y" * 100)[:-50]], "a.warc", Pieces(), 10)
