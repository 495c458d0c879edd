"""Conversations are cut as declared, and their supervised tokens are counted in the mask."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mixproof.train.data.pieces import Pieces, TooLong, cut_conversations

SHORT = [0, 0, 1, 1]
LONG = [0, 1, 1, 0, 0, 1, 1, 1, 1, 0]
"""Two answers that end after 3 and 9 of 10 tokens."""
NOTHING = [0, 0]


def cut(masks: list[list[int]], too_long: TooLong, length: int = 6) -> list[tuple[int, ...]]:
    lengths = np.array([len(mask) for mask in masks], np.int32)
    mask = np.concatenate([np.array(mask, np.uint8) for mask in masks])
    return rows(cut_conversations(lengths, mask, length, too_long))


def rows(pieces: Pieces) -> list[tuple[int, ...]]:
    assert pieces.supervised is not None
    columns = (pieces.documents, pieces.first_tokens, pieces.tokens, pieces.supervised)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_a_long_conversation_is_kept_up_to_its_last_whole_answer() -> None:
    assert cut([SHORT, LONG], "truncate") == [(0, 0, 4, 2), (1, 0, 3, 2)]


def test_a_first_answer_that_does_not_fit_is_cut_at_the_end_of_the_window() -> None:
    assert cut([[0, 0, 1, 1, 1, 1, 1, 1], SHORT], "truncate") == [(0, 0, 6, 4), (1, 0, 4, 2)]


def test_an_answer_that_ends_with_the_window_is_whole() -> None:
    assert cut([[0, 1, 1, 0, 0, 1, 0, 1]], "truncate") == [(0, 0, 6, 3)]


def test_split_cuts_windows_and_drop_leaves_out() -> None:
    assert cut([LONG, SHORT], "split") == [(0, 0, 6, 3), (0, 6, 4, 3), (1, 0, 4, 2)]
    assert cut([LONG, SHORT], "drop") == [(1, 0, 4, 2)]


def test_a_piece_without_a_supervised_token_is_left_out() -> None:
    assert cut([NOTHING, SHORT, NOTHING], "truncate") == [(1, 0, 4, 2)]
    assert cut([[0] * 6 + [1, 1]], "split") == [(0, 6, 2, 2)]
    assert cut([[0] * 6 + [1, 1]], "truncate") == []


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=20), min_size=1, max_size=12),
    st.sampled_from(["truncate", "split", "drop"]),
    st.integers(2, 9),
)
def test_every_count_is_that_of_the_mask(masks: list[list[int]], too_long: TooLong, length: int) -> None:
    found = cut(masks, too_long, length)
    read: set[tuple[int, int]] = set()
    for document, first, tokens, supervised in found:
        assert 1 <= tokens <= length and supervised == masks[document][first : first + tokens].count(1) > 0
        places = {(document, token) for token in range(first, first + tokens)}
        assert not read & places
        read |= places
    if too_long == "split":
        assert sum(row[3] for row in found) == sum(mask.count(1) for mask in masks)
    fits = [number for number, mask in enumerate(masks) if len(mask) <= length and 1 in mask]
    assert set(fits) <= {row[0] for row in found}
