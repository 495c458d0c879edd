"""Word n-grams: every run of n words of one text, with one hash for the same words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.pipeline.words.ngrams import Ragged, hashes_at, ranges, window_hashes
from mixproof.pipeline.words.words import word_hashes


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=12), max_size=6), st.integers(1, 9))
def test_windows_are_all_words_in_a_row_of_one_text(rows: list[list[str]], width: int) -> None:
    windows = window_hashes(word_hashes([" ".join(row) for row in rows]), width)
    seen: dict[int, tuple[str, ...]] = {}
    for number, row in enumerate(rows):
        expected = [tuple(row[first : first + width]) for first in range(len(row) - width + 1)]
        assert len(windows.of(number)) == len(expected)
        for value, window in zip(windows.of(number).tolist(), expected, strict=True):
            assert seen.setdefault(value, window) == window
    assert len(set(seen.values())) == len(seen)


def test_windows_of_all_words_are_the_whole() -> None:
    words = word_hashes(["one two three", "four five six", "seven"])
    whole = hashes_at(words.values, words.offsets[:2], 3)
    assert whole.tolist() == window_hashes(words, 3).values.tolist()


def test_the_words_are_left_as_they_were() -> None:
    words = word_hashes(["one two"])
    before = words.values.tolist()
    window_hashes(words, 1)
    assert words.values.tolist() == before


def test_a_window_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one word"):
        window_hashes(word_hashes(["a"]), 0)


def test_ranges_stand_one_after_another() -> None:
    assert ranges(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]


def test_no_texts_have_no_words() -> None:
    none = word_hashes([])
    assert len(none) == 0
    assert isinstance(window_hashes(none, 13), Ragged)
