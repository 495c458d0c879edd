"""Words and n-grams: what a word is, and that hashes are equal where the words are, and nowhere else."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.pipeline import ngrams
from mixproof.pipeline.ngrams import BATCH_CHARS, Ragged, hashes_at, ranges, window_hashes, word_hashes


def words_of(text: str) -> list[str]:
    """Split a text of Latin letters, kana, ideographs and signs into words, character by character."""
    words, inside = [], False
    for char in text:
        if "\u3040" <= char <= "\u30ff" or "\u4e00" <= char <= "\u9fff":
            words.append(char)
            inside = False
        elif char == "_" or unicodedata.category(char)[0] in "LMN":
            words = [*words[:-1], words[-1] + char.lower()] if inside else [*words, char.lower()]
            inside = True
        else:
            inside = False
    return words


def same(one: str, other: str) -> bool:
    """Whether two texts have the same words."""
    hashes = word_hashes([one, other])
    return np.array_equal(hashes.of(0), hashes.of(1))


def test_words_are_runs_of_letters_digits_and_underscores_in_lower_case() -> None:
    assert word_hashes(["It's 2 o'clock, my_dear Watson!"]).lengths.tolist() == [7]
    assert same("It's 2 o'clock, my_dear Watson!", "it s 2 O CLOCK «my_dear» — watson")
    assert not same("watson", "watsons")
    assert not same("a b", "ab")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("我们在这里", 5),
        ("GPUで学習する", 6),  # gpu, then five kana and ideographs
        ("한국어 문장", 2),  # written with spaces
        ("สวัสดี", 6),
        ("नमस्ते दुनिया", 2),  # marks belong to their word
        ("cafe\u0301 au lait", 3),
        ("“quoted” … – ☃ 😀", 1),
        ("İstanbul ΑΘΗΝΑ", 2),
        ("", 0),
        (" \n\t.", 0),
    ],
)
def test_how_many_words_a_text_has(text: str, words: int) -> None:
    assert word_hashes([text]).lengths.tolist() == [words]


def test_upper_case_of_any_script_is_the_lower_case_word() -> None:
    assert same("ΑΘΗΝΑ Москва ÉCOLE", "αθηνα москва école")


@given(st.lists(st.text(st.sampled_from("aBbéÉ_1 .,\n“日本かカ"), max_size=40), max_size=6))
def test_texts_have_equal_hashes_where_they_have_equal_words(texts: list[str]) -> None:
    hashes = word_hashes(texts)
    seen: dict[int, str] = {}
    for number, text in enumerate(texts):
        words = words_of(text)
        assert len(hashes.of(number)) == len(words)
        for value, word in zip(hashes.of(number).tolist(), words, strict=True):
            assert seen.setdefault(value, word) == word
    assert len(set(seen.values())) == len(seen)


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


def test_a_text_longer_than_a_batch_has_the_words_of_its_pieces() -> None:
    line = "the quick brown fox jumps, and the lazy dog sleeps\n"
    times = 3 * BATCH_CHARS // len(line)
    short, long = word_hashes([line]), word_hashes([line * times, "end"])
    assert np.array_equal(long.of(0), np.tile(short.of(0), times))
    assert len(long.of(1)) == 1


def test_a_word_longer_than_a_batch_is_one_word() -> None:
    word = "x" * (2 * BATCH_CHARS)
    assert word_hashes([f"{word} y", word]).lengths.tolist() == [2, 1]
    assert same(f"a {word}", f"A, {word.upper()}")


def test_ranges_stand_one_after_another() -> None:
    assert ranges(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]


def test_no_texts_have_no_words() -> None:
    none = word_hashes([])
    assert len(none) == 0
    assert isinstance(window_hashes(none, 13), Ragged)


@given(st.lists(st.text(alphabet="ab_Z1 .\né日İ“–§²\xa0\u203fⅣ", max_size=20), max_size=8), st.integers(1, 12))
def test_words_of_utf8_bytes_are_the_words_of_the_strings(texts: list[str], batch: int) -> None:
    parts = [text.encode() for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams, "BATCH_CHARS", batch)
        found = ngrams.word_hashes_of_utf8(b"".join(parts), np.cumsum([0, *map(len, parts)]))
    wanted = ngrams.word_hashes(texts)
    assert found.offsets.tolist() == wanted.offsets.tolist()
    assert found.values.tolist() == wanted.values.tolist()


@given(st.lists(st.text(alphabet="abZ1_ .\n", max_size=20), min_size=1, max_size=5))
def test_a_batch_of_ascii_has_the_words_that_it_has_beside_other_texts(texts: list[str]) -> None:
    alone = ngrams.word_hashes(texts)
    assert ngrams.word_hashes([*texts, "é"]).values.tolist()[:-1] == alone.values.tolist()


def test_signs_that_are_taken_for_spaces_are_no_letters() -> None:
    signs = [chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000]
    taken = [sign for sign in signs if ord(sign) > 127 and ngrams._without_signs(sign.encode()).isspace()]
    assert len(taken) == 64 + 17
    assert word_hashes(taken).lengths.sum() == 0
