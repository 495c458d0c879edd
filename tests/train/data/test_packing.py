"""Best-fit packing: whole documents in windows, every token once, as few windows as best fit decreasing gives."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.ledger.errors import AccountError
from mixproof.train.data import packed_windows, packing, pieces
from mixproof.train.data.packed_windows import check_pack
from mixproof.train.data.packing import Pack, count_windows, pack_documents
from mixproof.train.data.pieces import cut_documents

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60)


def packed(lengths: Sequence[int], sequence_length: int, seed: int = 1) -> Pack:
    return pack_documents(np.array(lengths, np.int32), sequence_length, seed)


def windows_in(pack: Pack) -> list[list[tuple[int, int, int]]]:
    """Document, first token and tokens of each piece, window by window."""
    rows = list(zip(pack.documents.tolist(), pack.first_tokens.tolist(), pack.tokens.tolist(), strict=True))
    starts = pack.window_starts.tolist()
    return [rows[start:end] for start, end in pairwise(starts)]


def by_hand(lengths: Sequence[int], sequence_length: int) -> int:
    """Windows of best fit decreasing, one piece at a time."""
    pieces = [sequence_length] * sum(length // sequence_length for length in lengths)
    pieces += [length % sequence_length for length in lengths if length % sequence_length]
    rooms: list[int] = []
    windows = 0
    for piece in sorted(pieces, reverse=True):
        at = bisect_left(rooms, piece)
        if at == len(rooms):
            windows += 1
            room = sequence_length
        else:
            room = rooms.pop(at)
        insort(rooms, room - piece)
    return windows


def test_documents_that_fit_stay_whole_and_share_windows() -> None:
    found = windows_in(packed([5, 3, 8, 2, 6], 8))
    assert sorted(sorted(window) for window in found) == [
        [(0, 0, 5), (1, 0, 3)],
        [(2, 0, 8)],
        [(3, 0, 2), (4, 0, 6)],
    ]


def test_a_longer_document_is_cut_into_whole_windows_and_a_remainder() -> None:
    found = windows_in(packed([19, 4], 8))
    assert sorted(sorted(window) for window in found) == [[(0, 0, 8)], [(0, 8, 8)], [(0, 16, 3), (1, 0, 4)]]


def test_a_piece_goes_into_the_fullest_window_that_has_room() -> None:
    """The piece of 3 tokens goes beside the 7, and the piece of 4 beside the 6."""
    found = windows_in(packed([7, 6, 4, 3], 10))
    assert sorted(sorted(window) for window in found) == [[(0, 0, 7), (3, 0, 3)], [(1, 0, 6), (2, 0, 4)]]


@given(LENGTHS, st.integers(1, 24), st.integers(0, 2**31 - 1))
def test_every_token_is_in_one_window_and_the_number_of_windows_is_that_of_best_fit_decreasing(
    lengths: list[int], sequence_length: int, seed: int
) -> None:
    pack = packed(lengths, sequence_length, seed)
    array = np.array(lengths, np.int32)
    check_pack(pack, cut_documents(array, sequence_length), sequence_length, source="a", epoch=0)
    assert (
        len(pack.window_starts) - 1
        == count_windows(cut_documents(array, sequence_length), sequence_length)
        == by_hand(lengths, sequence_length)
    )
    seen = sorted(
        (document, token)
        for window in windows_in(pack)
        for document, first, tokens in window
        for token in range(first, first + tokens)
    )
    assert seen == [(document, token) for document, length in enumerate(lengths) for token in range(length)]


def test_the_seed_shuffles_documents_of_one_length_and_the_order_of_windows() -> None:
    lengths = [4] * 50
    one, same, other = packed(lengths, 8), packed(lengths, 8), packed(lengths, 8, seed=2)
    assert windows_in(one) == windows_in(same) != windows_in(other)
    assert one.documents.tolist() != sorted(one.documents.tolist())


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"tokens": [5, 3, 8, 2, 5]}, "other pieces"),
        ({"first_tokens": [0, 0, 0, 0, 1]}, "other pieces"),
        ({"documents": [0, 1, 2, 3, 3]}, "other pieces"),
        ({"window_starts": [0, 3, 5]}, "found 16"),
        ({"window_starts": [0, 2, 2, 3, 5]}, "other windows"),
        ({"window_starts": [0, 2, 3]}, "other windows"),
    ],
)
def test_a_pass_that_does_not_close_is_an_error(change: dict[str, list[int]], found: str) -> None:
    arrays = {
        "window_starts": [0, 2, 3, 5],
        "documents": [0, 1, 2, 3, 4],
        "first_tokens": [0] * 5,
        "tokens": [5, 3, 8, 2, 6],
    }
    lengths = np.array([5, 3, 8, 2, 6], np.int32)

    def pack(values: dict[str, list[int]]) -> Pack:
        return Pack(**{name: np.array(value) for name, value in values.items()})

    check_pack(pack(arrays), cut_documents(lengths, 8), 8, source="a", epoch=0)
    with pytest.raises(AccountError, match=r"E7 does not close \(source a, stage stream, .*epoch 3\)") as caught:
        check_pack(pack({**arrays, **change}), cut_documents(lengths, 8), 8, source="a", epoch=3)
    assert found in str(caught.value)


def test_blocks_do_not_change_a_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = np.random.default_rng(3).integers(1, 90, 500).astype(np.int32)
    whole = pack_documents(lengths, 32, 7)
    for module in (packing, pieces, packed_windows):
        monkeypatch.setattr(module, "BLOCK", 11)
    divided = pack_documents(lengths, 32, 7)
    for name, array in vars(whole).items():
        assert array is None or np.array_equal(array, getattr(divided, name))
    check_pack(divided, cut_documents(lengths, 32), 32, source="a", epoch=0)
    swapped = replace(divided, documents=divided.documents[::-1])
    with pytest.raises(AccountError, match="other pieces"):
        check_pack(swapped, cut_documents(lengths, 32), 32, source="a", epoch=0)
