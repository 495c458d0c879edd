"""Words: what a word is, and that hashes are equal where the words are, and nowhere else."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.pipeline.words import letters, words
from mixproof.pipeline.words.words import BLOCK_BYTES, word_hashes


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


def test_a_text_longer_than_a_batch_has_the_words_of_its_pieces() -> None:
    line = "the quick brown fox jumps, and the lazy dog sleeps\n"
    times = 3 * BLOCK_BYTES // len(line)
    short, long = word_hashes([line]), word_hashes([line * times, "end"])
    assert np.array_equal(long.of(0), np.tile(short.of(0), times))
    assert len(long.of(1)) == 1


def test_a_word_longer_than_a_batch_is_one_word() -> None:
    word = "x" * (2 * BLOCK_BYTES)
    assert word_hashes([f"{word} y", word]).lengths.tolist() == [2, 1]
    assert same(f"a {word}", f"A, {word.upper()}")


@given(st.lists(st.text(alphabet="ab_Z1 .\né日İ“–§²\xa0\u203fⅣ", max_size=20), max_size=8), st.integers(1, 12))
def test_words_of_utf8_bytes_are_the_words_of_the_strings(texts: list[str], batch: int) -> None:
    parts = [text.encode() for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "BATCH_CHARS", batch)
        patch.setattr(words, "BLOCK_BYTES", batch)
        patch.setattr(letters, "BLOCK_BYTES", batch)
        found = words.word_hashes_of_utf8(b"".join(parts), np.cumsum([0, *map(len, parts)]))
    wanted = words.word_hashes(texts)
    assert found.offsets.tolist() == wanted.offsets.tolist()
    assert found.values.tolist() == wanted.values.tolist()


@given(st.lists(st.text(alphabet="abZ1_ .\n", max_size=20), min_size=1, max_size=5))
def test_a_batch_of_ascii_has_the_words_that_it_has_beside_other_texts(texts: list[str]) -> None:
    alone = words.word_hashes(texts)
    assert words.word_hashes([*texts, "é"]).values.tolist()[:-1] == alone.values.tolist()


def test_every_character_has_the_same_words_as_utf8_and_as_a_string() -> None:
    chars = [chr(code) for code in [*range(0xD800), *range(0xE000, 0x11000), *range(0x1F300, 0x1F700)]]
    texts = [f"a{char}B" for char in chars]
    data = b"".join(text.encode() for text in texts)
    offsets = np.cumsum([0, *(len(text.encode()) for text in texts)])
    found, wanted = words.word_hashes_of_utf8(data, offsets), word_hashes(texts)
    assert found.offsets.tolist() == wanted.offsets.tolist()
    assert np.array_equal(found.values, wanted.values)
    _, hard = letters.letters_of_utf8(data)
    assert len(hard) < len(texts) // 2  # Korean, most scripts of three bytes and all but a few of two bytes are not


LONG = st.text(alphabet="ab", min_size=7, max_size=27)


@given(st.lists(LONG, max_size=12), st.booleans())
def test_long_words_have_a_hash_of_their_own_beside_any_others(texts: list[str], accents: bool) -> None:
    if accents:
        texts = [text.replace("ab", "aé") for text in texts]
    together = word_hashes(["; ".join(texts)]).values.tolist()
    assert together == [value for text in texts for value in word_hashes([text]).values.tolist()]
    assert len(set(together)) == len(set(texts))
