"""Overlap: found where a slow search over tuples of words finds it, and in no other place."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mixproof.pipeline.heldout.overlap import SHORT_WORDS, Match, build_index, find_overlaps
from mixproof.pipeline.words.postings import make_postings

HALF = Fraction(1, 2)
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def grams_of(row: list[str], ngram: int) -> set[tuple[str, ...]]:
    if len(row) < ngram:
        return {tuple(row)} if row else set()
    return {tuple(row[first : first + ngram]) for first in range(len(row) - ngram + 1)}


def held(grams: set[tuple[str, ...]], row: list[str]) -> int:
    """How many of `grams` stand in `row`."""
    return sum(
        any(tuple(row[first : first + len(gram)]) == gram for first in range(len(row) - len(gram) + 1))
        for gram in grams
    )


def overlaps(document: list[str], text: list[str], ngram: int, overlap: Fraction) -> bool:
    """The definition, word by word."""
    for one, other in ((document, text), (text, document)):
        if len(one) < min(SHORT_WORDS, ngram):
            count = int(one == other and bool(one))
        else:
            count = held(grams_of(one, ngram), other)
        if count and count >= overlap * len(grams_of(one, ngram)):
            return True
    return False


ROWS = st.lists(st.lists(st.sampled_from("ab"), max_size=16), max_size=5)


@settings(max_examples=400)
@given(ROWS, ROWS, st.integers(1, 9), st.fractions(0, 1, max_denominator=12))
def test_documents_overlap_as_the_definition_says(
    documents: list[list[str]], texts: list[list[str]], ngram: int, overlap: Fraction
) -> None:
    index = build_index([" ".join(row) for row in texts], ngram, len(texts))
    found = find_overlaps(index, [" ".join(row) for row in documents], overlap)
    expected = {
        number: {place for place, text in enumerate(texts) if overlaps(document, text, ngram, overlap)}
        for number, document in enumerate(documents)
    }
    assert set(found) == {number for number, matched in expected.items() if matched}
    for number, match in found.items():
        assert match.text in expected[number]


def letters(first: int, last: int) -> str:
    return " ".join(ALPHABET[first:last])


def test_a_document_that_holds_half_of_a_text_overlaps_and_one_below_half_does_not() -> None:
    index = build_index([letters(0, 16)], 13, 1)  # 4 grams; those of zeros alone are one
    beside = " zero" * 40
    assert find_overlaps(index, [letters(0, 14) + beside], HALF) == {0: Match(0, 2, 4, 15)}
    assert find_overlaps(index, [letters(0, 13) + beside], HALF) == {}
    assert find_overlaps(index, [letters(0, 13) + beside], Fraction(1, 4)) == {0: Match(0, 1, 4, 14)}


def test_a_text_that_holds_half_of_a_document_overlaps_too() -> None:
    index = build_index([letters(0, 26)], 13, 1)
    assert find_overlaps(index, [letters(0, 14) + " zero one"], HALF) == {0: Match(0, 2, 14, 4)}
    assert find_overlaps(index, [letters(0, 13) + " zero one"], HALF) == {}


def test_repeated_grams_count_once() -> None:
    index = build_index(["x " * 40 + letters(0, 13)], 13, 1)
    found = find_overlaps(index, ["x " * 99], HALF)
    assert found == {0: Match(0, 1, 14, 1)}  # 13 times x; 12 that mix; the letters


def test_a_short_text_is_found_inside_a_document_and_a_short_document_inside_a_text() -> None:
    question = "What is the capital of Burkina Faso?"
    index = build_index([question, letters(0, 26)], 13, 2)
    found = find_overlaps(index, [f"He asked: {question.lower()} Nobody knew.", "c d e f g", "d c f e g"], HALF)
    assert {document: match.text for document, match in found.items()} == {0: 0, 1: 1}


def test_a_text_of_less_than_five_words_overlaps_only_with_the_same_words() -> None:
    index = build_index(["See below.", "..."], 13, 2)
    found = find_overlaps(index, ["see BELOW", "please see below for more of this", "", "..."], HALF)
    assert set(found) == {0}


def test_protected_texts_come_first_then_the_larger_share_then_the_smaller_number() -> None:
    texts = [letters(0, 15) + " zero one two", letters(0, 16), letters(0, 16), letters(0, 17)]
    document = [letters(0, 17)]
    assert find_overlaps(build_index(texts, 13, 4), document, HALF)[0].text == 1
    assert find_overlaps(build_index(texts, 13, 1), document, HALF)[0].text == 0


def test_share_is_the_larger_of_the_two() -> None:
    assert Match(0, 3, 4, 10).share == Fraction(3, 4)
    assert Match(0, 3, 10, 6).share == HALF


def test_an_index_of_nothing_finds_nothing() -> None:
    assert find_overlaps(build_index([], 13, 0), [letters(0, 26), ""], HALF) == {}
    assert find_overlaps(build_index([letters(0, 26)], 13, 1), [], HALF) == {}


def test_postings_find_every_key_and_nothing_else() -> None:
    keys = np.random.default_rng(1).integers(0, 2**64, 1000, dtype=np.uint64)
    postings = make_postings(np.concatenate([keys[:500], keys[:500], keys[:2]]), np.r_[0:500, 0:500, 900, 7])
    places, slots = postings.lookup(keys)
    assert places.tolist() == list(range(500))
    items, counts = postings.items_of(postings.lists[slots])
    assert counts.tolist() == [2, 2] + [1] * 498
    assert items[:4].tolist() == [0, 900, 1, 7]


def test_keys_with_the_same_list_share_it() -> None:
    keys = np.array([10, 20, 30, 10, 20, 30], dtype=np.uint64)
    postings = make_postings(keys, np.array([1, 1, 1, 2, 2, 3]))
    assert len(postings.items) == 4
    assert postings.lists[0] == postings.lists[1] != postings.lists[2]
    assert sorted(zip(postings.items.tolist(), postings.keys_of_items.tolist(), strict=True)) == [
        (1, 1),
        (1, 2),
        (2, 2),
        (3, 1),
    ]


def test_the_smallest_of_equal_texts_is_the_match() -> None:
    texts = ["zero", "a b c d e f", "a b c", "a b c", "a b c d e f", letters(0, 20), letters(0, 20)]
    index = build_index(texts, 13, len(texts))
    found = find_overlaps(index, ["a b c", "b c d e f", letters(0, 20), "a b c d e f"], HALF)
    assert {number: match.text for number, match in found.items()} == {0: 2, 1: 1, 2: 1, 3: 1}
